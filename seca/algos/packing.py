"""Work that follows the steps really played: valid rows packed together and visited in chunks.

Episodes are padded to the time limit, but most end long before it. Feed-forward parts of an update therefore gather
the rows t = 0 .. L of all episodes into one list and visit it chunk by chunk in a loop whose trip count is data: one
compiled program for all lengths, and a working set that fits the cache.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int

from seca.types import PyTree


class Packed(eqx.Module):
    """Where the real rows of padded episodes lie, episode by episode, so that row r + 1 follows row r in time."""

    index: Int[Array, " rows"]
    """Position in the flattened `[batch * (time + 1)]` axis; entries from `count` on are fillers."""
    count: Int[Array, ""]
    """Number of real rows: the sum of L + 1."""
    row_of: Int[Array, "batch time1"]
    """Row of each step; meaningless on padding."""


class Chunk(eqx.Module):
    """A run of consecutive rows."""

    start: Int[Array, ""]
    index: Int[Array, " chunk"]
    next_index: Int[Array, " chunk"]
    """Flat position of the following row: the next step of the same episode, unless this is its last."""
    real: Bool[Array, " chunk"]


def pack(valid: Bool[Array, "batch time"], chunk: int) -> Packed:
    """List the rows t <= L of each episode; room is left for chunks of `chunk` rows to run over the end."""
    batch, time = valid.shape
    filled = jnp.concatenate([jnp.ones((batch, 1), bool), valid], axis=1).reshape(-1)
    row_of = jnp.cumsum(filled, dtype=jnp.int32) - 1
    room = batch * (time + 1) + chunk + 1
    # Padding is sent past the end and dropped.
    slot = jnp.where(filled, row_of, room)
    index = jnp.zeros(room, jnp.int32).at[slot].set(jnp.arange(batch * (time + 1), dtype=jnp.int32), mode="drop")
    return Packed(index, filled.sum(dtype=jnp.int32), row_of.reshape(batch, time + 1))


def over_chunks(packed: Packed, chunk: int, body: Callable[[PyTree, Chunk], PyTree], init: PyTree) -> PyTree:
    """Fold `body` over chunks of `chunk` rows; the number of chunks follows `packed.count`."""

    def step(number: Int[Array, ""], carry: PyTree) -> PyTree:
        start = number * chunk
        index = jax.lax.dynamic_slice_in_dim(packed.index, start, chunk + 1)
        real = start + jnp.arange(chunk, dtype=jnp.int32) < packed.count
        return body(carry, Chunk(start, index[:-1], index[1:], real))

    return jax.lax.fori_loop(0, (packed.count + chunk - 1) // chunk, step, init)


def flat(array: Array) -> Array:
    """Merge the batch and time axes."""
    return array.reshape(-1, *array.shape[2:])


def room_for(packed: Packed, shape: tuple[int, ...], dtype: jnp.dtype) -> Array:
    """A zeroed buffer with one entry per row."""
    return jnp.zeros((packed.index.shape[0], *shape), dtype)


def write(buffer: Array, rows: Array, chunk: Chunk) -> Array:
    """Store a chunk's results at its rows."""
    return jax.lax.dynamic_update_slice_in_dim(buffer, rows, chunk.start, axis=0)


def unpack(buffer: Array, packed: Packed) -> Array:
    """Back to `[batch, time + 1, ...]`; padding holds whatever row its filler names."""
    return buffer[packed.row_of]
