"""Gymnasium's spaces as rows of numbers and as actions."""

import numpy as np
import pytest

from seca.envs.hosted import spaces
from seca.envs.hosted.single import Broken

gymnasium = pytest.importorskip("gymnasium")
kinds = spaces.library()


def box(*shape: int, low: float = -1.0, high: float = 1.0):
    return kinds.Box(low, high, shape, np.float32)


@pytest.mark.parametrize(
    ("space", "value", "row"),
    [
        (box(3), [1, 2, 3], [1, 2, 3]),
        (box(2, 1, 2), [[[1, 2]], [[3, 4]]], [1, 2, 3, 4]),
        (kinds.Discrete(4), 2, [0, 0, 1, 0]),
        (kinds.Discrete(3, start=5), 7, [0, 0, 1]),
        (kinds.MultiBinary(3), np.array([1, 0, 1], np.int8), [1, 0, 1]),
        (kinds.MultiDiscrete([2, 3]), np.array([1, 0]), [0, 1, 1, 0, 0]),
        (
            kinds.Dict({"observation": box(2), "action_mask": kinds.MultiBinary(5)}),
            {"observation": [7, 8], "action_mask": [1] * 5},
            [7, 8],
        ),
    ],
)
def test_observations(space, value, row) -> None:
    how = spaces.seen("k:x", "a", space)
    assert how.size == len(row)
    found = spaces.numbers("k:x", "reset", "a", how, value)
    assert found.tolist() == row and found.dtype == np.float32


@pytest.mark.parametrize(
    ("space", "value", "words"),
    [
        (box(3), [1, 2], "observation of agent a has 2 numbers instead of 3"),
        (kinds.Discrete(4), 4, "observation of agent a does not fit its space: ValueError: 4 is not in"),
        (kinds.Discrete(4), -1, "does not fit its space"),
        (kinds.Dict({"observation": box(2)}), [1, 2], "observation of agent a is list; its space is a Dict"),
    ],
)
def test_observations_that_do_not_fit(space, value, words) -> None:
    how = spaces.seen("k:x", "a", space)
    with pytest.raises(Broken) as caught:
        spaces.numbers("k:x", "step 2", "a", how, value)
    assert words in str(caught.value) and "at step 2" in str(caught.value)


def test_spaces_that_are_not_served() -> None:
    with pytest.raises(ValueError, match="shows agent a a Graph .*served are Box, Discrete"):
        spaces.seen("k:x", "a", kinds.Graph(box(2), None))
    with pytest.raises(ValueError, match="shows agent a map beside observation and action_mask: not served"):
        spaces.seen("k:x", "a", kinds.Dict({"observation": box(2), "map": box(2)}))


def test_masks() -> None:
    """In the observation before `info`, under either name."""
    assert spaces.mask_in("k:x", "reset", "a", 3, [1, 2], {}) is None
    assert spaces.mask_in("k:x", "reset", "a", 3, {"action_mask": None}, None) is None
    found = spaces.mask_in("k:x", "reset", "a", 3, {"action_mask": [1, 0, 0]}, {"action_mask": [0, 0, 1]})
    assert found is not None and found.tolist() == [True, False, False]
    found = spaces.mask_in("k:x", "reset", "a", 3, [1], {"avail_actions": [0, 0, 1]})
    assert found is not None and found.tolist() == [False, False, True]


def test_actions() -> None:
    counts, shared = spaces.counts_of("k:x", [kinds.Discrete(3), kinds.Discrete(5, start=2)])
    assert (counts, shared) == ([3, 5], None)
    counts, shared = spaces.counts_of("k:x", [box(2, low=-2)] * 3)
    assert counts == [2, 2, 2] and shared is not None and shared == ((-2, -2), (1, 1))
    sent = spaces.own(kinds.Discrete(5, start=2), np.int64(4))
    assert sent == 6 and type(sent) is int
    assert spaces.own(box(2), np.array([0.5, 1])).dtype == np.float32
    exact = kinds.Box(-0.1, 0.1, (1,), np.float64)  # In float32 its ends lie beyond it.
    assert exact.contains(spaces.own(exact, np.array([0.1], np.float32)))


@pytest.mark.parametrize(
    ("of_all", "words"),
    [
        ([kinds.Discrete(3), box(2)], "has action spaces Discrete, Box: served are"),
        ([kinds.MultiBinary(3)] * 2, "has action spaces MultiBinary: served are"),
        ([box(2), box(3)], "served are Discrete, or one Box"),
        ([box(2), box(2, high=2.0)], "has boxes that differ, or are not bounded"),
        ([box(2, high=np.inf)] * 2, "or are not bounded"),
    ],
)
def test_actions_that_are_not_served(of_all, words) -> None:
    with pytest.raises(ValueError, match=words):
        spaces.counts_of("k:x", of_all)
