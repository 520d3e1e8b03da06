"""The kinds of environments of others: each is found, none is imported before it is asked for."""

import importlib.util
import pathlib
import re
import subprocess
import sys
from typing import Any

import breaching
import numpy as np
import pytest

from seca.envs.hosted import arrays as blocks
from seca.envs.hosted import kinds
from seca.envs.hosted.lanes import Lanes, Recipe


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
    assert all("\n" not in line and len(line) < 250 for line in lines)


def test_offers_say_what_an_extra_adds(monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.util.find_spec

    def without(name: str, *rest: Any) -> Any:
        return None if name in ("pettingzoo", "gymnasium", "smac") else real(name, *rest)

    monkeypatch.setattr(importlib.util, "find_spec", without)
    told = dict(zip(kinds.KINDS, kinds.offers(), strict=True))
    assert told["pettingzoo"].endswith("with pip install 'seca[pettingzoo]'")
    assert told["gymnasium"].endswith("with pip install 'seca[gymnasium]'")
    assert told["starcraft"].endswith("needs SMAC: pip install git+https://github.com/oxwhirl/smac.git")


EXAMPLES = re.findall(
    r"`(my_\w+)\.py`:\n\n```python\n(.*?)```\n\n```sh\n.*? --env (\w+):(\S+) ",
    (pathlib.Path(__file__).parents[3] / "docs" / "environments.md").read_text(),
    flags=re.DOTALL,
)


def test_there_is_a_short_example_of_each_kind() -> None:
    assert [kind for _, _, kind, _ in EXAMPLES] == ["pettingzoo", "gymnasium", "pymarl"]
    for module, text, _, name in EXAMPLES:
        assert len(text.splitlines()) < 30 and max(map(len, text.splitlines())) <= 120 and name.startswith(module)


def towards(frame: Any) -> np.ndarray:
    """Of two on a line: each towards the other, but the second waits where one step is left."""
    here, there = np.round(frame.obs[0] * 4)
    one, other = (2, 0) if here < there else (0, 2)
    return np.array([one, other if abs(here - there) > 1 else 1])


@pytest.mark.parametrize(("module", "text", "kind", "name"), EXAMPLES, ids=[kind for _, _, kind, _ in EXAMPLES])
def test_the_examples_play(
    module: str, text: str, kind: str, name: str, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By their names, from a file: at their best they end early, idle they are cut at their limit."""
    pytest.importorskip("gymnasium" if kind == "pymarl" else kind)
    (tmp_path / f"{module}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    env = kinds.KINDS[kind](name)
    for seed in range(5):
        frame, steps = env.reset(seed), 0
        while not frame.done:
            best = np.where(frame.avail[:, -1], 2, 1)
            frame, steps = env.step(towards(frame) if kind != "pymarl" else best), steps + 1
        assert frame.terminated and steps <= (2 if kind != "pymarl" else 7) and frame.reward > 0.8
        frame, steps = env.reset(seed), 0
        while not frame.done:
            frame, steps = env.step(np.ones(env.spec.n_agents, np.int64)), steps + 1
        assert frame.truncated and steps == env.spec.episode_limit
    env.close()


@pytest.mark.parametrize("how", ["", *breaching.WAYS])
def test_frames_of_ones_own_are_held_against_the_spec(how: str) -> None:
    """As adapters' are, at every step; what is broken is no failure, which starting anew would mend."""
    recipe = Recipe("python", "breaching.single", (("at", 3), ("every", 5), ("how", how)))
    env = kinds.make(recipe)
    arrays = blocks.views(bytearray(blocks.size(blocks.layout(env.spec, 2))), blocks.layout(env.spec, 2))
    lanes = Lanes(lambda: kinds.make(recipe), env, arrays)
    arrays["seeds"][:] = (7, 10)  # Of which the second breaks it.
    replies = [lanes.do(asked, [0, 1]) for asked in ("reset", "step", "step", "step")]
    assert not any(reply.broken or reply.lost for reply in replies[:-1]) and not replies[-1].lost
    assert replies[-1].broken.startswith("`env` breaching breaks its contract at step 3: " if how else "")
    assert bool(replies[-1].broken) == bool(how)
