"""Acting on values: which actions are explored, and how often."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import SPEC

from seca.learning.acting import act_on_values, initial_carry, n_agent_inputs
from seca.nets.agents import RecurrentAgent, agent_inputs
from seca.policies import Exploration
from seca.types import TimeStep

pytestmark = pytest.mark.slow


@pytest.mark.parametrize(("share", "greedy"), [(1.0, False), (0.3, False), (1.0, True)])
def test_exploration_is_uniform_over_available_actions(share: float, greedy: bool) -> None:
    """4,000 teams in one situation: agents act best or at random, never the unavailable, each for itself."""
    batch, hidden = 4000, 8
    agent = RecurrentAgent.init(jax.random.key(0), n_agent_inputs(SPEC), hidden, SPEC.n_actions)
    avail = np.array([[True, True, False, True], [False, True, False, False], [True, True, True, True]])
    step = TimeStep(
        obs=jnp.ones((batch, 3, SPEC.obs_size)),
        state=jnp.ones((batch, SPEC.state_size)),
        avail=jnp.broadcast_to(jnp.asarray(avail), (batch, 3, 4)),
        reward=jnp.zeros(batch),
        terminated=jnp.zeros(batch, bool),
        truncated=jnp.zeros(batch, bool),
        info={},
    )
    keys = jax.random.split(jax.random.key(1), batch)
    options = Exploration(share, share, 100)
    play = jax.jit(functools.partial(act_on_values, exploration=options), static_argnames="greedy")
    acted = play(agent, initial_carry(batch, SPEC, hidden), step, keys, jnp.uint32(0), greedy=greedy)
    _, q = agent(agent_inputs(step.obs[:1], jnp.zeros((1, 3, 4))), jnp.zeros((1, 3, hidden)))
    best = np.where(avail, np.asarray(q)[0], -np.inf).argmax(axis=-1)
    often = np.stack([(np.asarray(acted.actions) == action).mean(axis=0) for action in range(4)], axis=1)
    share = 0.0 if greedy else share
    expected = share * avail / avail.sum(axis=1, keepdims=True) + (1 - share) * np.eye(4)[best]
    np.testing.assert_allclose(often, expected, atol=0.04)
    assert (often[~avail] == 0).all()
