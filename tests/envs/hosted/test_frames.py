"""Frames held against their spec: each way to break it is one line that names the agent and the step."""

import dataclasses
from typing import Any

import numpy as np
import pytest

from seca.envs.hosted import frames
from seca.envs.hosted.single import Broken, Frame, Spec

SPEC = Spec("kind:game", "game-1", n_agents=3, n_actions=5, obs_size=4, state_size=7, episode_limit=9)


def good() -> Frame:
    return Frame(np.zeros((3, 4), np.float32), np.zeros(7, np.float32), np.ones((3, 5), bool))


def test_a_good_frame_is_passed_on() -> None:
    frame = good()
    assert frames.checked(SPEC, frame, "reset") is frame


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"obs": np.zeros((3, 5), np.float32)}, "`obs` has shape [3, 5]; by the spec it is [3, 4]"),
        ({"obs": np.zeros((2, 4), np.float32), "avail": np.ones((2, 5), bool)}, "`obs` has shape [2, 4]"),
        ({"state": np.zeros(6, np.float32)}, "`state` has shape [6]; by the spec it is [7]"),
        ({"avail": np.ones((3, 4), bool)}, "`avail` has shape [3, 4]"),
        ({"obs": np.where(np.arange(12).reshape(3, 4) == 6, np.nan, 0).astype(np.float32)}, "of agent b holds nan as"),
        ({"state": np.full(7, np.inf, np.float32)}, "the state holds inf as number 0"),
        ({"avail": np.arange(15).reshape(3, 5) < 10}, "agent c has no available action"),
        ({"reward": float("nan")}, "the reward is nan"),
        ({"terminated": True, "truncated": True}, "both terminated and was truncated"),
    ],
)
def test_what_is_broken_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(Broken) as caught:
        frames.checked(SPEC, dataclasses.replace(good(), **change), "step 3", ["a", "b", "c"])
    line = str(caught.value)
    assert line.startswith("`env` kind:game breaks its contract at step 3: ") and words in line and "\n" not in line


def test_a_reward_that_float32_cannot_hold() -> None:
    with np.errstate(over="ignore"), pytest.raises(Broken, match="the reward is 1e"):
        frames.checked(SPEC, dataclasses.replace(good(), reward=1e300), "step 1")


def test_who_does_not_act_in_a_box_is_no_breach() -> None:
    spec = dataclasses.replace(SPEC, box=((0.0,) * 5, (1.0,) * 5))
    nobody = dataclasses.replace(good(), avail=np.zeros((3, 5), bool))
    assert frames.checked(spec, nobody, "reset") is nobody


def test_vectors() -> None:
    assert frames.vector("e", "reset", "x", [[1, 2], [3, 4]], 4).tolist() == [1, 2, 3, 4]
    assert np.isinf(frames.vector("e", "reset", "x", [1e300], 1)).all()  # For `checked` to see.
    for value, words in (([1, 2], "x has 2 numbers instead of 3"), ("abc", "x is str"), ([[1], [1, 2]], "x is list")):
        with pytest.raises(Broken, match=words):
            frames.vector("e", "reset", "x", value, 3)


def test_padding() -> None:
    rows = [np.ones(3, np.float32), np.full(1, 2, np.float32)]
    assert frames.padded(rows, 3).tolist() == [[1, 1, 1], [2, 0, 0]]


def test_masks_are_of_zeros_and_ones() -> None:
    assert frames.mask("e", "reset", "a", [0, 1, 1], 3).tolist() == [False, True, True]
    with pytest.raises(Broken, match="the action mask of agent a holds -1e"):
        frames.mask("e", "reset", "a", [0, -1e9, 1], 3)
    with pytest.raises(Broken, match="the action mask of agent a has 2 numbers instead of 3"):
        frames.mask("e", "reset", "a", [0, 1], 3)


def test_availability() -> None:
    """Of 5 actions: one agent has 3 and no mask, one a mask, one is gone; at the end an empty mask is as gone."""
    masks = [None, np.array([0, 0, 1, 0, 1], bool), np.ones(5, bool)]
    avail = frames.availability(SPEC, [3, 5, 5], masks, [False, False, True], False)
    assert avail.astype(int).tolist() == [[1, 1, 1, 0, 0], [0, 0, 1, 0, 1], [1, 0, 0, 0, 0]]
    empty = [np.zeros(5, bool)] * 3
    assert not frames.availability(SPEC, [5] * 3, empty, [False] * 3, False).any()
    over = frames.availability(SPEC, [5] * 3, empty, [False] * 3, True)
    assert over.astype(int).tolist() == [[1, 0, 0, 0, 0]] * 3
    spec = dataclasses.replace(SPEC, box=((0.0,) * 5, (1.0,) * 5))
    boxed = frames.availability(spec, [5] * 3, [None] * 3, [False, True, False], False)
    assert boxed.all(axis=1).tolist() == [True, False, True] and not boxed[1].any()


def test_actions_that_may_not_be_become_the_first_that_may() -> None:
    """Against a slow twin, over all actions and some that are none."""
    rng = np.random.default_rng(0)
    for _ in range(50):
        avail = rng.random((3, 5)) < 0.4
        avail[np.arange(3), rng.integers(5, size=3)] = True
        actions = rng.integers(-2, 8, size=3)
        wanted = [
            int(a) if 0 <= a < 5 and row[a] else next(i for i in range(5) if row[i])
            for a, row in zip(actions, avail, strict=True)
        ]
        assert frames.allowed(SPEC, avail, actions).tolist() == wanted
    spec, numbers = dataclasses.replace(SPEC, box=((0.0,) * 5, (1.0,) * 5)), np.ones((3, 5), np.float32)
    assert frames.allowed(spec, np.zeros((3, 5), bool), numbers) is numbers


def test_the_reward_of_the_team() -> None:
    assert frames.team("e", "step 1", [1, 2, 6], "mean") == 3
    assert frames.team("e", "step 1", [1, 2, 6], "sum") == 9
    assert frames.team("e", "step 1", 2.5, "sum") == frames.team("e", "step 1", 2.5, "mean") == 2.5
    for rewards, words in (("much", "no number"), ([], "there is no reward"), ({"a": 1}, "no number")):
        with pytest.raises(Broken, match=words):
            frames.team("e", "step 1", rewards, "mean")


class Script:
    """Shows what it is told to, a frame after another."""

    spec, wins = SPEC, True

    def __init__(self, *shown: Any) -> None:
        self._shown, self.closed = list(shown), False

    def reset(self, seed: int) -> Any:
        return self._shown.pop(0)

    def step(self, actions: np.ndarray) -> Any:
        return self._shown.pop(0)

    def close(self) -> None:
        self.closed = True


def loosely(**changes: Any) -> Frame:
    """A frame as somebody makes it whose types nobody checks."""
    frame = good()
    for name, value in changes.items():
        object.__setattr__(frame, name, value)
    return frame


def test_what_a_single_shows_is_passed_on_in_the_types_of_the_spec() -> None:
    """Episode after episode: steps are counted from `reset`."""
    doubles = loosely(obs=[[0.1] * 4] * 3, state=np.arange(7), avail=np.ones((3, 5), int))
    won = loosely(terminated=np.True_, won=np.True_, reward=np.float64(0.5))
    script = Script(doubles, won, good(), good(), loosely(reward=1e300))
    env = frames.Checked(script)
    assert (env.spec, env.wins) == (SPEC, True)
    shown, end = env.reset(3), env.step(np.zeros(3, np.int32))
    assert (shown.obs.dtype, shown.state.dtype, shown.avail.dtype) == (np.float32, np.float32, bool)
    assert (shown.obs == np.float32(0.1)).all() and shown.state.tolist() == list(range(7)) and not shown.done
    assert (end.reward, end.terminated, end.truncated, end.won) == (0.5, True, False, True)
    env.reset(4)
    env.step(np.zeros(3, np.int32))
    with pytest.raises(Broken, match="at step 2: the reward is inf"):
        env.step(np.zeros(3, np.int32))
    env.close()
    assert script.closed


@pytest.mark.parametrize(
    ("shown", "words"),
    [
        ({"obs": 1}, "what is returned is dict, no Frame"),
        (loosely(obs=np.full((3, 4), 1e300)), "observation of agent 0 holds inf as number 0"),
        (loosely(obs=np.zeros((3, 3))), "`obs` has shape [3, 3]; by the spec it is [3, 4]"),
        (loosely(obs=[[1.0], [1.0, 2.0], []]), "`obs` is list, and no array of numbers of one shape"),
        (loosely(state="s"), "`state` is str, and no array of numbers of one shape"),
        (loosely(avail=np.zeros((3, 5))), "agent 0 has no available action"),
        (loosely(reward=np.zeros(3)), "`reward` has shape [3]; it must be one number, of the team"),
    ],
)
def test_what_a_single_breaks_is_named(shown: Any, words: str) -> None:
    with pytest.raises(Broken) as caught:
        frames.Checked(Script(shown)).reset(0)
    assert str(caught.value).startswith("`env` kind:game breaks its contract at reset: ") and words in str(caught.value)


def test_a_breach_names_its_environment_once() -> None:
    assert frames.breach(str(frames.broken("x", "step 3", "the reward is nan"))) == (
        "breaks its contract at step 3: the reward is nan"
    )
    assert frames.breach("agent_0 shows NaN") == "does not keep its contract: agent_0 shows NaN"
