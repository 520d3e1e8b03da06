"""How tests drive learners: an actor's pass that can be differentiated, and the loop's half of an update."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

from seca.algos.base import Algorithm
from seca.distributions import PolicyFn, masked
from seca.learning import buffer
from seca.learning.acting import Acting, last_actions, observed
from seca.nets.agents import AnyAgent, agent_inputs
from seca.types import Episodes


def plain_acting(agent: AnyAgent, episodes: Episodes, policy: PolicyFn = masked) -> Acting:
    """`learning.acting.acting_over` as a scan over all rows, padding too: autodiff goes through it."""
    previous = last_actions(episodes)
    inputs = jnp.moveaxis(agent_inputs(episodes.obs, previous), 1, 0)

    def step(hidden: jax.Array, inputs_t: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        following, outputs = agent(inputs_t, hidden)
        return following, (hidden, outputs)

    shape = (*episodes.obs.shape[:1], episodes.obs.shape[2], agent.cell.weight_hh.shape[1])
    _, (hidden, outputs) = jax.lax.scan(step, jnp.zeros(shape, episodes.obs.dtype), inputs)
    hidden, outputs = jnp.moveaxis(hidden, 0, 1), jnp.moveaxis(outputs, 0, 1)
    return observed(hidden, outputs, episodes.avail, policy)[0]


def stepping(algorithm: Algorithm, axis: str | None = None) -> Callable:
    """`step(learner, replay, episodes, key) -> (learner, replay, metrics)`: store, then update, as the loop does."""

    def step(learner, replay, episodes: Episodes, key: jax.Array):
        replay = None if replay is None else buffer.add(replay, episodes, axis)
        learner, metrics = algorithm.update(learner, episodes, replay, key, axis)
        return learner, replay, metrics

    return step
