"""What is no action is refused by every view, in words, and never made into one."""

import decimal

import jax.numpy as jnp
import numpy as np
import pytest

from seca.smac.views.battle import SingleBattle, whole_numbers
from seca.smac.views.gymnasium import SmacEnv
from seca.smac.views.pettingzoo import SmacParallelEnv
from seca.smac.views.pymarl import SmacMultiAgentEnv

NAMES = ["agent 0", "agent 1", "agent 2"]
WRONG = [
    1.9,
    -0.5,
    float("nan"),
    float("inf"),
    np.float32(1.5),
    decimal.Decimal("1.9"),
    "1",
    b"1",
    None,
    True,
    np.bool_(True),
    jnp.array(True),
    1 + 0j,
    [1, 2],
    np.ones(2),
]
OUTSIDE = [-1, 9, 2**31, 2**40, -(2**70), 1e30]


class Scalar:
    """As PyTorch's: an integer when asked for one."""

    def __index__(self) -> int:
        return 4


RIGHT = [1, 1.0, np.int8(1), np.uint64(1), np.float32(1), np.array(1), np.array(1.0), jnp.array(1), jnp.array(1.0)]


def _steps():
    """The four faces, each with the names it gives its agents, and a step with this action of the second."""
    single, gym, zoo, pymarl = SingleBattle("3m", {}), SmacEnv("3m"), SmacParallelEnv("3m"), SmacMultiAgentEnv("3m")
    single.reset(seed=0)
    gym.reset(seed=0)
    zoo.reset(seed=0)
    pymarl.reset()
    return {
        "battle": ("agent 1", lambda action: single.step([1, action, 1])),
        "gymnasium": ("agent 1", lambda action: gym.step([1, action, 1])),
        "pettingzoo": ("agent_1", lambda action: zoo.step({"agent_0": 1, "agent_1": action, "agent_2": 1})),
        "pymarl": ("agent 1", lambda action: pymarl.step([1, action, 1])),
    }


def test_every_view_names_agent_value_and_range():
    for view, (agent, step) in _steps().items():
        whole = "a whole number in 0 .. 8"
        for wrong in WRONG:
            with pytest.raises(ValueError) as error:
                step(wrong)
            assert str(error.value) == f"`actions` of {agent} must be {whole}, got {wrong!r}", view
        for outside in OUTSIDE:
            with pytest.raises(ValueError) as error:
                step(outside)
            choices = "among [1, 2, 3, 4, 5]" if view == "pymarl" else whole
            assert str(error.value) == f"`actions` of {agent} must be {choices}, got {int(outside)}", view


def test_whole_numbers_of_any_kind():
    for right in RIGHT:
        assert whole_numbers([1, right, 1], NAMES, 9) == [1, 1, 1]
    assert whole_numbers([Scalar(), 2, 3], NAMES, 9) == [4, 2, 3]
    for joint in (np.array([0, 2, 4]), np.array([0.0, 2.0, 4.0]), jnp.array([0, 2, 4]), (0, 2, 4), iter([0, 2, 4])):
        assert whole_numbers(joint, NAMES, 9) == [0, 2, 4]


@pytest.mark.parametrize(
    "joint", [[1, 1], np.ones(4, int), [], 1, None, np.array(1), {1: 0, 2: 0, 3: 0}, {1, 2, 3}, b"111"], ids=str
)
def test_one_action_per_agent(joint):
    with pytest.raises(ValueError, match="`actions` must hold one action per agent, 3; got"):
        whole_numbers(joint, NAMES, 9)


@pytest.mark.parametrize("joint", [np.array([True] * 3), jnp.array([True] * 3), np.array(["1"] * 3), "111"], ids=str)
def test_arrays_of_what_are_no_numbers(joint):
    with pytest.raises(ValueError, match="`actions` of agent 0 must be a whole number in 0 .. 8, got"):
        whole_numbers(joint, NAMES, 9)
