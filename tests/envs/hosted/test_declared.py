"""Observations held against the spaces that an environment says they are of, as they come."""

import pathlib
from typing import Any

import numpy as np
import pytest

from seca.envs.hosted import declared, gymnasium, pymarl, spaces
from seca.envs.hosted.lanes import Recipe
from seca.envs.hosted.single import Broken

library = pytest.importorskip("gymnasium")
kinds = library.spaces


def watched(space: Any, *values: Any) -> dict[str, str]:
    """What is said of these observations of one agent, step after step."""
    watch, how = declared.Watch(), spaces.seen("x", "0", space)
    for step, value in enumerate(values):
        watch(f"step {step}", "0", how, value)
    return {name: line for name, line, note in watch.found() if note == (name != "outside-space")}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_bounds_are_kept_but_for_rounding(dtype: type) -> None:
    """Of each number its own bounds, of some none; what is no number at all others say."""
    space = kinds.Box(np.array([0, -np.inf, -3], dtype), np.array([1, np.inf, 3], dtype), dtype=dtype)
    right = [[0, -1e30, -3], [1, 1e30, 3], [1 + 1e-7, 0, -3.00001], [np.nan, np.inf, 0]]
    assert watched(space, *(np.array(row, dtype) for row in right)) == {}
    low, high = np.array([-0.01, 0, 0], dtype), np.array([5, 0, 3.01], dtype)
    found = watched(space, np.zeros(3, dtype), low, high, high)
    assert list(found) == ["outside-space"]
    line = "agent 0 sees -0.01 as number 0 at step 1, and its space goes from 0 to 1 (and 1 more number like it): give "
    assert found["outside-space"].startswith(line)


def test_other_forms_are_told_once() -> None:
    space = kinds.Box(0, 1, (2, 2))
    assert watched(space, np.zeros((2, 2), np.float32)) == {}
    for shown, words in (
        (np.zeros(4, np.float32), "float32[4]"),
        (np.zeros((2, 2), np.int64), "int64[2, 2]"),
        ([[0, 0], [0, 1]], "a list"),
    ):
        found = watched(space, np.zeros((2, 2), np.float32), shown, shown)
        assert list(found) == ["not-as-declared"]
        assert f"agent 0 is shown {words} at step 1, and its space says float32[2, 2]: it" in found["not-as-declared"]


def test_what_others_say_is_left_to_them() -> None:
    """Observations of another length, or that are no numbers, and spaces other than boxes."""
    assert watched(kinds.Box(0, 1, (2,)), np.ones(3, np.float32), "red", None) == {}
    assert watched(kinds.Discrete(3), 7) == {}
    seen = kinds.Dict({"observation": kinds.Box(0, 1, (1,)), "action_mask": kinds.MultiBinary(2)})
    assert watched(seen, "red", {}) == {}
    assert list(watched(seen, {"observation": np.array([2], np.float32)})) == ["outside-space"]


class Late(library.Env):
    """Two agents see the step, which a space of a shorter limit holds; both send numbers from -1 to 2."""

    observation_space, action_space = kinds.Box(0, 3, (2, 1)), kinds.Box(-1, 2, (4,))

    def __init__(self, fails: str = "") -> None:
        self.fails, self.least, self.most = fails, 9.0, -9.0

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.t = 0
        return np.zeros((2, 1), np.float32), {}

    def step(self, action: Any) -> Any:
        assert action.shape == (4,) and self.action_space.contains(action)
        self.least, self.most = min(self.least, action.min()), max(self.most, action.max())
        self.t += 1
        if self.t == 5 and self.fails == "raise":
            raise OSError("no display")
        nan = self.t == 5 and self.fails == "nan"
        return np.full((2, 1), np.nan if nan else self.t, np.float32), 1.0, False, False, {}


def joint(limit: int = 6, fails: str = "") -> gymnasium.Joint:
    return gymnasium.Joint(Late(fails), "gymnasium:late", "late-1", limit, n_agents=2)


def test_it_is_played_to_the_end_and_watched_no_longer() -> None:
    env = joint()
    looked = declared.look(env)
    [(name, line, note)] = looked.found
    assert looked.reseeds and (name, note) == ("outside-space", False)
    assert line.startswith("agent 0 sees 4 as number 0 at step 4, and its space goes from 0 to 3 (and 1 more number")
    inside = env._env.unwrapped
    assert -1 <= inside.least < -0.5 and 1.5 < inside.most <= 2 and env.watch is None
    assert declared.look(joint(limit=3)) == declared.look(joint(), steps=3) == declared.Looked()


@pytest.mark.parametrize(("fails", "name"), [("raise", "raises"), ("nan", "contract")])
def test_what_fails_meanwhile_is_told_too(fails: str, name: str) -> None:
    found = declared.look(joint(fails=fails)).found
    assert [one[0] for one in found] == ["outside-space", name]
    with pytest.raises((OSError, Broken)):
        env = joint(fails=fails)
        env.reset(0)
        for _ in range(5):
            env.step(np.zeros((2, 2), np.float32))


class Hunt:
    """As much of PyMARL's interface as is asked for before a game is started."""

    def __init__(self, seed: int | None = None) -> None: ...

    def get_env_info(self) -> dict[str, int]:
        return dict.fromkeys(("n_agents", "n_actions", "obs_shape", "state_shape", "episode_limit"), 2)

    def get_obs(self) -> None: ...

    def get_state(self) -> None: ...

    def get_avail_actions(self) -> None: ...

    def step(self, actions: Any) -> None: ...

    def reset(self) -> None:
        raise AssertionError("a game was started")


class Reseeded(Hunt):
    def reset(self, seed: int | None = None) -> None:  # pyrefly: ignore
        del seed
        super().reset()


@pytest.mark.parametrize(("build", "reseeds"), [(Hunt, False), (Reseeded, True)])
def test_of_games_only_their_seeds_are_asked(build: type, reseeds: bool) -> None:
    assert declared.look(pymarl.Told(build, "pymarl:hunt", "hunt-1")) == declared.Looked(reseeds)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "name", "seconds"),
    [
        ("os._exit(3)", "not-looked-at", 60.0),
        ("time.sleep(99)", "not-looked-at", 5.0),
        ("raise SystemExit(3)", "raises", 60.0),
    ],
)
def test_a_process_of_its_own(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, body: str, name: str, seconds: float
) -> None:
    """It may print, die and hang."""
    (tmp_path / "a_late_one.py").write_text(
        f"""
import gymnasium, numpy as np, os, time
from gymnasium.spaces import Box, Discrete
print("hello")
class Late(gymnasium.Env):
    observation_space, action_space = Box(0, 1, (1,)), Discrete(2)
    t = 0
    def reset(self, *, seed=None, options=None):
        return np.zeros(1, np.float32), {{}}
    def step(self, action):
        {body}
gymnasium.register("Late-v0", entry_point=Late, max_episode_steps=6)
"""
    )
    monkeypatch.syspath_prepend(tmp_path)
    looked = declared.ask(Recipe("gymnasium", "a_late_one:Late-v0"), seconds)
    assert [one[0] for one in looked.found] == [name] and looked.reseeds
