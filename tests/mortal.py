"""A game in which agents die: unequal lengths, numbers of odd sizes, and features that never vary."""

import functools

import jax
import jax.numpy as jnp
import numpy as np

from seca.envs.base import Env
from seca.types import EnvSpec, TimeStep

N_AGENTS, N_ACTIONS, LIMIT = 3, 4, 5
SPEC = EnvSpec("test/mortal", "1", N_AGENTS, N_ACTIONS, obs_size=4, state_size=3, episode_limit=LIMIT, ally_features=1)
REWARD = 300.0


def env(blind: bool = True) -> Env:
    """Episodes end after 2 to 5 steps or more, cut at 5; agent 1 dies after 1 to 3 steps and sees nothing if `blind`.

    Observations are (7, 1000 + 50 x, own index, 0), the state (x, t, 0), the reward 300 times the share of the living
    who took action 1.
    """
    return Env(SPEC, _reset(blind), functools.partial(_step, blind))


def dead(length: np.ndarray | jax.Array, t: np.ndarray | jax.Array) -> jax.Array:
    """Of each agent."""
    gone = t >= 1 + length % 3
    return jnp.stack([jnp.zeros_like(gone), gone, jnp.zeros_like(gone)], axis=-1)


def _shown(blind: bool, state, reward: jax.Array) -> TimeStep:
    keys, length, t = state
    x = jax.vmap(lambda key, t: jax.random.normal(jax.random.fold_in(key, t), ()))(keys, t)
    gone = dead(length, t)
    zero, own = jnp.zeros_like(x), jnp.arange(N_AGENTS, dtype=jnp.float32)
    of = lambda index: jnp.stack([zero + 7, 1000 + 50 * x, zero + own[index], zero], axis=-1)  # noqa: E731
    obs = jnp.stack([of(index) for index in range(N_AGENTS)], axis=1)
    able = jnp.broadcast_to(jnp.arange(N_ACTIONS) > 0, (*gone.shape, N_ACTIONS))
    terminated = t >= length
    return TimeStep(
        obs=jnp.where(gone[..., None], 0, obs) if blind else obs,
        state=jnp.stack([x, t.astype(jnp.float32), zero], axis=-1),
        avail=jnp.where(gone[..., None], jnp.arange(N_ACTIONS) == 0, able),
        reward=reward,
        terminated=terminated,
        truncated=(t >= LIMIT) & ~terminated,
        info={},
    )


def _reset(blind: bool):
    def reset(keys: jax.Array):
        length = jax.vmap(lambda key: jax.random.randint(key, (), 2, 8))(keys)
        state = keys, length, jnp.zeros_like(length)
        return state, _shown(blind, state, jnp.zeros(keys.shape[0], jnp.float32))

    return reset


def _step(blind: bool, state, actions: jax.Array):
    keys, length, t = state
    alive = ~dead(length, t)
    share = ((actions == 1) & alive).sum(axis=-1) / alive.sum(axis=-1)
    over = (t >= length) | (t >= LIMIT)
    following = keys, length, jnp.where(over, t, t + 1)
    return following, _shown(blind, following, jnp.where(over, 0, REWARD * share).astype(jnp.float32))
