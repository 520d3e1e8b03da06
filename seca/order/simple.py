"""Orders that need no critic: by probability, by entropy, random, fixed."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from seca.distributions import entropy_of, is_continuous, of_encoding
from seca.order.base import CriticAt, Order
from seca.policies import of_taken
from seca.types import Actions, Episodes, PyTree


def descending(score: Float[Array, " agents"]) -> Int[Array, " agents"]:
    """Agents by descending score; equal scores keep index order. `order[k]` is the agent judged k-th."""
    return jnp.argsort(-score, stable=True)


def by_probability(probs: Float[Array, "agents actions"], action: Actions) -> Int[Array, " agents"]:
    """Agents whose taken action was most probable first (SeCA-Prob, section 4.2); by density where continuous."""
    if is_continuous(action):
        return descending(of_encoding(probs).log_prob(action))
    return descending(of_taken(probs, action))


def by_entropy(probs: Float[Array, "agents actions"], action: Actions) -> Int[Array, " agents"]:
    """Agents of lowest policy entropy first (SeCA-Entro, section 4.2); `action` tells of what kind policies are.

    Impossible actions count 0 log 0 = 0; the authors' release has NaN there, which leaves its order to the sort.
    """
    return descending(-entropy_of(probs, action))


def shuffled(key: PRNGKeyArray, n_agents: int) -> Int[Array, " agents"]:
    """A uniformly random order (SeCA-Fixed draws it once per run, SeCA-random once per episode)."""
    return jax.random.permutation(key, n_agents)


def index_order(key: PRNGKeyArray, n_agents: int) -> Int[Array, " agents"]:
    """Agents as they are numbered."""
    del key  # Deterministic.
    return jnp.arange(n_agents, dtype=jnp.int32)


def _step_by_step(
    rule: Callable[[Array, Array], Array],
    critic: CriticAt,
    episode: Episodes,
    probs: Float[Array, "time1 agents actions"],
    key: PRNGKeyArray,
    state: PyTree,
) -> Int[Array, "time agents"]:
    """An order made anew at each step, from its policies and its joint action."""
    del critic, key, state
    return jax.vmap(rule)(probs[:-1], episode.actions[:-1])


def _drawn(
    critic: CriticAt, episode: Episodes, probs: Float[Array, "time1 agents actions"], key: PRNGKeyArray, state: PyTree
) -> Int[Array, "time agents"]:
    """One random order for the episode."""
    del critic, state
    return _throughout(shuffled(key, probs.shape[1]), episode)


def _remembered(
    critic: CriticAt, episode: Episodes, probs: Float[Array, "time1 agents actions"], key: PRNGKeyArray, state: PyTree
) -> Int[Array, "time agents"]:
    """The run's own order, which is its state."""
    del critic, probs, key
    return _throughout(state, episode)


def _throughout(order: Int[Array, " agents"], episode: Episodes) -> Int[Array, "time agents"]:
    return jnp.broadcast_to(order, (*episode.valid.shape, *order.shape))


BY_PROBABILITY = Order("probability", functools.partial(_step_by_step, by_probability))
BY_ENTROPY = Order("entropy", functools.partial(_step_by_step, by_entropy))
RANDOM = Order("random", _drawn)
FIXED = Order("fixed", _remembered, lambda key, n_agents: shuffled(key, n_agents).astype(jnp.int32))
IDENTITY = Order("identity", _remembered, index_order)
