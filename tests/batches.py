"""Made-up episodes to feed updates with."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seca.types import EnvSpec, Episodes

SPEC = EnvSpec("test", "1", n_agents=3, n_actions=4, obs_size=5, state_size=6, episode_limit=7)
LENGTHS = (7, 3, 1, 5, 7, 2, 6, 4)


def random_episodes(seed: int = 0, garbage: float = 0.0) -> Episodes:
    """Episodes of unequal lengths: some terminated, some truncated short of the padding; dead agents at the end."""
    rng = np.random.default_rng(seed)
    batch, time = len(LENGTHS), SPEC.episode_limit
    length = np.array(LENGTHS)
    valid = np.arange(time) < length[:, None]
    last = np.arange(time) == length[:, None] - 1
    terminated = last & (np.arange(batch) % 2 == 0)[:, None]
    avail = rng.random((batch, time + 1, SPEC.n_agents, SPEC.n_actions)) < 0.6
    avail[..., 0], avail[..., 1] = False, True
    dead = (np.arange(time + 1) > length[:, None] // 2)[..., None] & (np.arange(SPEC.n_agents) == 1)
    avail[dead] = np.arange(SPEC.n_actions) == 0
    weights = avail * rng.random(avail.shape)
    filled = np.arange(time + 1) <= length[:, None]

    def pad(array: np.ndarray) -> jax.Array:
        rows = filled if array.shape[1] == time + 1 else valid
        mask = rows.reshape(rows.shape + (1,) * (array.ndim - 2))
        noise = garbage * rng.normal(size=array.shape)
        return jnp.asarray(np.where(mask, array, noise).astype(array.dtype))

    return Episodes(
        reward=pad(rng.normal(size=(batch, time))),
        terminated=jnp.asarray(terminated),
        truncated=jnp.asarray(last & ~terminated),
        valid=jnp.asarray(valid),
        obs=pad(rng.normal(size=(batch, time + 1, SPEC.n_agents, SPEC.obs_size))),
        state=pad(rng.normal(size=(batch, time + 1, SPEC.state_size))),
        avail=jnp.asarray(avail),
        actions=jnp.asarray(weights.argmax(axis=-1)),
    )


ALONE = dataclasses.replace(SPEC, id="alone", n_agents=1)
"""The environment of one agent of `SPEC`."""


def alone(episodes: Episodes) -> Episodes:
    """The episodes as its first agent lives them."""
    own = {name: getattr(episodes, name)[:, :, :1] for name in ("obs", "avail", "actions")}
    return dataclasses.replace(episodes, **own)


def in_float64(tree: Any) -> Any:
    """The tree with its real numbers in double precision."""
    return jax.tree.map(lambda x: x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def in_float32(tree: Any) -> Any:
    """The tree with its real numbers in single precision."""
    return jax.tree.map(lambda x: x.astype(jnp.float32) if jnp.issubdtype(x.dtype, jnp.floating) else x, tree)


def widened(episodes: Episodes, extra: int) -> Episodes:
    """The same episodes with `extra` more rows of padding."""

    def pad(array: jax.Array) -> jax.Array:
        return jnp.pad(array, ((0, 0), (0, extra)) + ((0, 0),) * (array.ndim - 2))

    return dataclasses.replace(
        episodes, **{f.name: pad(getattr(episodes, f.name)) for f in dataclasses.fields(episodes) if f.name != "record"}
    )
