"""Sums and keys that are the same however many devices share a batch."""

import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key, PRNGKeyArray

from seca.types import PyTree


def global_sum(tree: PyTree, axis: str | None) -> PyTree:
    """Sum over the devices that share the batch; the identity on one device (`axis` None)."""
    return tree if axis is None else jax.lax.psum(tree, axis)


def global_max(value: PyTree, axis: str | None) -> PyTree:
    """Largest over the devices that share the batch; the identity on one device (`axis` None)."""
    return value if axis is None else jax.lax.pmax(value, axis)


def first_of_share(size: int, axis: str | None) -> Int[Array, ""] | int:
    """Number in the whole batch of this device's first episode, of `size` that it has."""
    return 0 if axis is None else jax.lax.axis_index(axis) * size


def episode_keys(key: PRNGKeyArray, size: int, axis: str | None) -> Key[Array, " batch"]:
    """A key for each of this device's `size` episodes, the same whatever the number of devices."""
    return jax.vmap(functools.partial(jax.random.fold_in, key))(first_of_share(size, axis) + jnp.arange(size))


def step_keys(keys: Key[Array, " batch"], rows: int) -> Key[Array, "batch time1"]:
    """A key for each of the `rows` rows of every episode."""
    return jax.vmap(lambda key: jax.vmap(functools.partial(jax.random.fold_in, key))(jnp.arange(rows)))(keys)
