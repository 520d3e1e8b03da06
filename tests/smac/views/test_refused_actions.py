"""What is no action is refused by every view, in words, and never made into one."""

import decimal

import jax.numpy as jnp
import numpy as np
import pytest

from seca.smac.views.battle import SingleBattle
from seca.smac.views.gymnasium import SmacEnv
from seca.smac.views.pettingzoo import SmacParallelEnv
from seca.smac.views.pymarl import SmacMultiAgentEnv

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
