"""What users say of their environments, and the lines where it does not fit."""

import functools
import types
from typing import Any

import numpy as np
import pytest

from seca.envs.hosted import given


def test_imports() -> None:
    assert given.imported("k:x", "functools.partial") is functools.partial
    assert given.imported("k:x", "functools") is functools
    assert given.imported("k:x", "os.path").__name__ == "posixpath"
    for path in ("nowhere.at.all", "functools.nothing", "", "."):
        with pytest.raises(ValueError, match="`env` 'k:x' cannot be imported .* PYTHONPATH") as caught:
            given.imported("k:x", path)
        assert "\n" not in str(caught.value)


def test_a_module_that_fails_when_imported(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bad_module_of_a_game.py").write_text("raise SystemExit('a game\\nis missing')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError, match="SystemExit: a game is missing"):
        given.imported("k:x", "bad_module_of_a_game.make")


def test_making() -> None:
    def make(size: int) -> list[int]:
        if size < 0:
            raise OSError("no such\nsize")
        return [0] * size

    assert given.made("k:x", make, {"size": 3}) == [0, 0, 0]
    with pytest.raises(ValueError, match="`env-options` do not fit k:x: got an unexpected keyword argument 'sise'"):
        given.made("k:x", make, {"size": 3, "sise": 3})
    with pytest.raises(ValueError, match="`env` 'k:x' cannot be made: OSError: no such size"):
        given.made("k:x", make, {"size": -1})
    assert given.takes(make, "size") and not given.takes(make, "sise") and not given.takes(dict, "size")


@pytest.mark.parametrize(
    ("limit", "known", "wanted"),
    [(None, [7], 7), (None, [None, 9, 7, 0], 7), (5, [7], 5), (7, [7], 7), (5, [], 5), (5, [None, True, "x"], 5)],
)
def test_limits(limit: int | None, known: list[Any], wanted: int) -> None:
    assert given.limit_of("k:x", limit, known) == wanted


@pytest.mark.parametrize(
    ("limit", "known", "words"),
    [
        (None, [], "`env-options` limit is missing: k:x says of no length"),
        (None, [None, 0, -3], "`env-options` limit is missing"),
        (8, [7], "`env-options` limit is 8 but k:x ends after 7 env steps"),
        (0, [7], "`env-options` limit is 0; it must be a whole number of at least 1"),
        (True, [7], "`env-options` limit is True; it must be"),
        ("9", [], "`env-options` limit is '9'; it must be"),
    ],
)
def test_limits_that_are_none(limit: Any, known: list[Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        given.limit_of("k:x", limit, known)
    assert words in str(caught.value)


def test_numpys_numbers_are_limits() -> None:
    known = [None, np.int64(9), True, np.bool_(True), 7.0, np.uint8(8), 0, np.int32(-1)]
    assert given.least(known) == 8 and type(given.least(known)) is int
    assert given.limit_of("x", None, known) == 8 and given.limit_of("x", 8, known) == 8
    with pytest.raises(ValueError, match="`env-options` limit is 9 but x ends after 8 env steps"):
        given.limit_of("x", 9, known)
    assert given.least([None, 0]) is None


def test_types() -> None:
    """Of the environment, or of the one inside its wrappers; one name for each agent, in order."""
    inside = types.SimpleNamespace(agent_types=("ox", "mule"))
    for env in (inside, types.SimpleNamespace(unwrapped=inside), types.SimpleNamespace(agent_types=["ox", "mule"])):
        assert given.types_in("x", env, 2) == ["ox", "mule"]
    assert given.types_in("x", types.SimpleNamespace(), 2) is None
    for said in (["ox"], "ox", {"a": "ox", "b": "ox"}, [1, 2], 2):
        with pytest.raises(ValueError, match="`env` 'x' has agent_types .*; it must hold 2 names, one for each agent"):
            given.types_in("x", types.SimpleNamespace(agent_types=said), 2)


def test_limits_are_looked_for_inside_wrappers() -> None:
    class Inside:
        max_cycles = 4

    class Outside:
        metadata = {"max_cycles": 6}
        max_steps = 5
        unwrapped = Inside()

    assert {limit for limit in given.limits_in(Outside()) if limit} == {4, 5, 6}
    assert not any(given.limits_in(object()))


def test_what_is_kept() -> None:
    assert given.kept({"b": 2, "a": 1}, limit=None, team_reward="mean") == (("a", 1), ("b", 2))
    assert given.kept({"b": 2}, limit=3, team_reward="sum") == (("b", 2), ("limit", 3), ("team_reward", "sum"))
    assert given.team_reward_of("sum") == "sum"
    with pytest.raises(ValueError, match="`env-options` team_reward is 'max'; choose mean or sum"):
        given.team_reward_of("max")


def test_versions() -> None:
    assert given.version_of("numpy.random") == f"numpy-{np.__version__}"
    assert given.version_of("nobody_installed_this.module") == "nobody_installed_this"
