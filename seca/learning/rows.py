"""Rows, once: functions of a step applied to all real steps of a batch, in chunks that fit the cache.

Episodes are padded to the time limit, but most end long before it. What a method computes step by step is therefore
written as a function of some rows and handed to `map_rows` or `sum_value_and_grad`: the rows t = 0 .. L of all episodes
are gathered into one list and visited chunk by chunk in a loop whose trip count is data. One compiled program for all
lengths, and results that do not depend on the chunk (tests/learning/test_rows.py).
"""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from seca.learning.devices import global_sum
from seca.types import PyTree


class Packed(eqx.Module):
    """Where the real rows of padded episodes lie, episode by episode."""

    index: Int[Array, " rows"]
    """Position in the flattened `[batch * (time + 1)]` axis; entries from `count` on are fillers."""
    is_step: Bool[Array, " rows"]
    """Whether the row is a step t < L: neither a filler nor the row of a final observation."""
    count: Int[Array, ""]
    """Number of real rows: the sum of L + 1."""
    row_of: Int[Array, "batch time1"]
    """Row of each step; meaningless on padding."""
    chunk: int = eqx.field(static=True)
    """Rows that a visit takes at once: as asked for, or all that the padded batch has room for."""


class InRows(eqx.Module):
    """Arrays `[rows, ...]` in the order of a `Packed`: what one visit leaves for the next."""

    arrays: PyTree


class Summed(eqx.Module):
    """Sums over all steps, all devices, and what was kept of each row."""

    value: Float[Array, ""]
    gradient: PyTree
    """Of the sum, in the parameters."""
    slopes: InRows
    """Of each row's loss, in what the rows are made of."""
    kept: InRows


def pack(valid: Bool[Array, "batch time"], chunk: int) -> Packed:
    """List the rows t <= L of each episode; room is left for a chunk to run over the end."""
    first = jnp.ones((valid.shape[0], 1), bool)
    return _listed(jnp.concatenate([first, valid], axis=1), jnp.pad(valid, ((0, 0), (0, 1))), chunk)


def pack_alone(real: Bool[Array, " rows"], chunk: int) -> Packed:
    """List the real ones of rows that stand alone, such as stretches of episodes: a batch of 1, all of them steps."""
    return _listed(real[None], real[None], chunk)


def _listed(filled: Bool[Array, "batch time1"], is_step: Bool[Array, "batch time1"], chunk: int) -> Packed:
    number = filled.size
    chunk = min(chunk, number)  # A visit takes no more than there can be: batches of a few steps are quick.
    room = number + chunk
    flat = filled.reshape(-1)
    row_of = jnp.cumsum(flat, dtype=jnp.int32) - 1
    # Padding is sent past the end and dropped.
    slot = jnp.where(flat, row_of, room)
    index = jnp.zeros(room, jnp.int32).at[slot].set(jnp.arange(number, dtype=jnp.int32), mode="drop")
    count = flat.sum(dtype=jnp.int32)
    steps = is_step.reshape(-1)[index] & (jnp.arange(room, dtype=jnp.int32) < count)
    return Packed(index, steps, count, row_of.reshape(filled.shape), chunk)


def map_rows(fn: Callable[..., PyTree], packed: Packed, *of: PyTree) -> InRows:
    """`fn` of every real row.

    Args:
        fn: takes trees of arrays `[chunk, ...]` and returns one; a row of it depends on that row alone.
        packed: the real rows.
        of: trees of arrays `[batch, time + 1, ...]`, or `InRows`.
    """
    rooms = _rooms(packed, jax.eval_shape(lambda: fn(*_rows_at(packed, jnp.zeros((), jnp.int32), of))))
    body = functools.partial(_write_rows, fn, packed, of)
    return InRows(jax.lax.fori_loop(0, _visits(packed), body, rooms))


def sum_value_and_grad(
    loss: Callable[..., tuple[Float[Array, "chunk ..."], PyTree]],
    packed: Packed,
    params: PyTree,
    inputs: PyTree,
    *of: PyTree,
    axis: str | None,
) -> Summed:
    """Sum of a loss over all steps t < L of all devices, with its gradient in parameters and in inputs.

        sum_{b, t < L} l(params, inputs_bt, of_bt)

    Args:
        loss: `loss(params, inputs, *of) -> (losses, keep)` of some rows, arrays `[chunk, ...]`.
        packed: the real rows.
        params: differentiated, one gradient for all rows.
        inputs: differentiated row by row: `[batch, time + 1, ...]`, `InRows`, or () for none.
        of: constants of the rows, likewise.
        axis: mapped axis of devices, or None.
    """
    value_and_grad = jax.value_and_grad(_masked(loss), argnums=(0, 1), has_aux=True)
    body = functools.partial(_add_rows, value_and_grad, packed, params, (inputs, *of))
    some = functools.partial(_rows_at, packed, jnp.zeros((), jnp.int32))
    losses, keep = jax.eval_shape(lambda: loss(params, *some((inputs, *of))))
    slopes = jax.eval_shape(lambda: some((inputs,))[0])
    nothing = Summed(
        jnp.zeros((), losses.dtype),
        jax.tree.map(jnp.zeros_like, params),
        InRows(_rooms(packed, slopes)),
        InRows(_rooms(packed, keep)),
    )
    found = jax.lax.fori_loop(0, _visits(packed), body, nothing)
    value, gradient = global_sum((found.value, found.gradient), axis)
    return Summed(value, gradient, found.slopes, found.kept)


def unpack(rows: InRows, packed: Packed) -> PyTree:
    """Back to `[batch, time + 1, ...]`; padding holds whatever row its filler names."""
    return jax.tree.map(lambda x: x[packed.row_of], rows.arrays)


def to_rows(steps: PyTree) -> PyTree:
    """Arrays of steps, `[batch, time, ...]`, with a row of zeros at the end of each: `[batch, time + 1, ...]`."""
    return jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, 1)) + ((0, 0),) * (x.ndim - 2)), steps)


def next_row(rows: PyTree) -> PyTree:
    """In each row the one that follows; the last row follows itself."""
    return jax.tree.map(lambda x: jnp.concatenate([x[:, 1:], x[:, -1:]], axis=1), rows)


def _visits(packed: Packed) -> Int[Array, ""]:
    return (packed.count + packed.chunk - 1) // packed.chunk


def _rows_at(packed: Packed, start: Int[Array, ""], of: PyTree) -> PyTree:
    """A chunk of each tree."""
    index = jax.lax.dynamic_slice_in_dim(packed.index, start, packed.chunk)

    def cut(node: PyTree) -> PyTree:
        if isinstance(node, InRows):
            return jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, start, packed.chunk), node.arrays)
        return node.reshape(-1, *node.shape[2:])[index]

    return jax.tree.map(cut, of, is_leaf=lambda node: isinstance(node, InRows))


def _rooms(packed: Packed, one_chunk: PyTree) -> PyTree:
    """Zeroed arrays with an entry per row, as a chunk's results want them."""
    return jax.tree.map(lambda x: jnp.zeros((packed.index.shape[0], *x.shape[1:]), x.dtype), one_chunk)


def _write(rooms: PyTree, rows: PyTree, start: Int[Array, ""]) -> PyTree:
    put = functools.partial(jax.lax.dynamic_update_slice_in_dim, start_index=start, axis=0)
    return jax.tree.map(put, rooms, rows)


def _write_rows(fn: Callable[..., PyTree], packed: Packed, of: PyTree, visit: Int[Array, ""], rooms: PyTree) -> PyTree:
    start = visit * packed.chunk
    return _write(rooms, fn(*_rows_at(packed, start, of)), start)


def _masked(loss: Callable[..., tuple[Array, PyTree]]) -> Callable[..., tuple[Array, PyTree]]:
    """The sum of a loss over rows that count."""

    def total(params: PyTree, inputs: PyTree, counts: Array, *of: PyTree) -> tuple[Array, PyTree]:
        losses, keep = loss(params, inputs, *of)
        mask = counts.reshape(counts.shape + (1,) * (losses.ndim - 1))
        return jnp.where(mask, losses, 0).sum(), keep

    return total


def _add_rows(
    value_and_grad: Callable[..., PyTree],
    packed: Packed,
    params: PyTree,
    of: PyTree,
    visit: Int[Array, ""],
    sofar: Summed,
) -> Summed:
    start = visit * packed.chunk
    counts = jax.lax.dynamic_slice_in_dim(packed.is_step, start, packed.chunk)
    inputs, *rest = _rows_at(packed, start, of)
    (value, keep), (gradient, slopes) = value_and_grad(params, inputs, counts, *rest)
    return Summed(
        sofar.value + value,
        jax.tree.map(jnp.add, sofar.gradient, gradient),
        InRows(_write(sofar.slopes.arrays, slopes, start)),
        InRows(_write(sofar.kept.arrays, keep, start)),
    )
