"""Env steps in the order in which they were made, to learn from so many of them wherever episodes end."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from seca.distributions import is_continuous
from seca.types import Actions, EnvSpec, Episodes, TimeLimit


class Transitions(eqx.Module):
    """Single env steps, in the order in which they were made; `rows` of them."""

    obs: Float[Array, "*rows agents obs"]
    avail: Bool[Array, "*rows agents actions"]
    actions: Actions
    reward: Float[Array, "*rows"]
    ended: Bool[Array, "*rows"]
    """Nothing is bootstrapped."""
    next_obs: Float[Array, "*rows agents obs"]
    next_avail: Bool[Array, "*rows agents actions"]


def room(spec: EnvSpec, rows: int) -> Transitions:
    """Zeros, for so many rows."""
    n, a, obs = spec.n_agents, spec.n_actions, spec.obs_size
    seen, may = jnp.zeros((rows, n, obs), jnp.float32), jnp.zeros((rows, n, a), bool)
    no, number = jnp.zeros(rows, bool), jnp.zeros(rows, jnp.float32)
    done = jnp.zeros((rows, n), jnp.int32) if spec.box is None else jnp.zeros((rows, n, a), jnp.float32)
    return Transitions(seen, may, done, number, no, seen, may)


def steps_of(episodes: Episodes, time_limit: TimeLimit) -> Transitions:
    """All rows of episodes, padding too, `[batch, time]`; `time_limit` says whether one cut by it counts as ended."""
    obs, avail, actions = episodes.obs, episodes.avail, episodes.actions[:, :-1]
    return Transitions(
        obs=obs[:, :-1],
        avail=avail[:, :-1],
        actions=actions if is_continuous(actions) else actions.astype(jnp.int32),
        reward=episodes.reward,
        ended=episodes.ended(time_limit),
        next_obs=obs[:, 1:],
        next_avail=avail[:, 1:],
    )


def in_order(
    waiting: Transitions, count: Int[Array, ""], episodes: Episodes, time_limit: TimeLimit
) -> tuple[Transitions, Int[Array, ""]]:
    """Env steps that waited, then those of one episode after another, and how many there are; then padding.

    Args:
        waiting: steps from before, as many as an update takes.
        count: how many of them are there; the rest is padding.
        episodes: new ones.
        time_limit: whether an episode cut by the time limit counts as ended.
    """
    size = waiting.reward.shape[0]

    def flat(array: Array) -> Array:
        return array.reshape(-1, *array.shape[2:])

    new = jax.tree.map(flat, steps_of(episodes, time_limit))
    real = jnp.concatenate([jnp.arange(size) < count, flat(episodes.valid)])
    place = jnp.argsort(~real, stable=True)

    def join(old: Array, more: Array) -> Array:
        rows = jnp.concatenate([old, more])[place]
        return jnp.concatenate([rows, jnp.zeros((size, *rows.shape[1:]), rows.dtype)])

    return jax.tree.map(join, waiting, new), real.sum()
