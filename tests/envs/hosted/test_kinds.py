"""The kinds of environments of others: each is found, none is imported before it is asked for."""

import importlib.util
import subprocess
import sys
from typing import Any

import pytest

from seca.envs.hosted import kinds


def test_each_kind_makes() -> None:
    assert list(kinds.KINDS) == ["pettingzoo", "gymnasium", "pymarl", "starcraft"]
    for kind, make in kinds.KINDS.items():
        with pytest.raises(ValueError, match=f"`env` '?{kind}:"):
            make("nothing.at.all_of_that_name")


@pytest.mark.slow
def test_nothing_is_imported_before_it_is_asked_for() -> None:
    code = (
        "import sys; from seca.envs.hosted import kinds; kinds.offers();"
        "print(*sorted({'pettingzoo', 'gymnasium', 'pysc2', 'mpe2'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"


def test_offers() -> None:
    lines = kinds.offers()
    assert [line.partition(":")[0] for line in lines] == list(kinds.KINDS)
    assert all("\n" not in line and len(line) < 200 for line in lines)


def test_offers_say_what_an_extra_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def without(name: str, *rest: Any) -> Any:
        return None if name in ("pettingzoo", "gymnasium", "smac") else real(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    told = dict(zip(kinds.KINDS, kinds.offers(), strict=True))
    assert told["pettingzoo"].endswith("with pip install 'seca[pettingzoo]'")
    assert told["gymnasium"].endswith("with pip install 'seca[gymnasium]'")
    assert told["starcraft"].endswith("needs SMAC: pip install git+https://github.com/oxwhirl/smac.git")
