"""Backpropagation through time for the recurrent agent, from hidden states that are already known.

Acting, or an unroll, has computed every hidden state. So all gates can be had again from a few large products, and only
the recurrence of the gradient itself is sequential. Where the states were computed with the parameters that are to be
differentiated, the gradient is that of the unrolled network (tests/learning/test_through_time.py). Where they were
recorded by an earlier policy, as in the second and later actor steps on a batch, each row's output is a function of the
present parameters and the recorded state before it, and the gradient goes back as if those parameters had made these
states: an approximation, by what the parameters have moved since. Its work follows the longest episode.

Outputs, loss and gradient of a block are had in one visit, which `jax.custom_vjp` cannot: benchmarks/bptt.py.
"""

import dataclasses
import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from seca.learning.acting import last_actions
from seca.nets.agents import GRUCell, GRUGates, RecurrentAgent, agent_inputs
from seca.nets.linear import Linear, times_transposed
from seca.nets.several import SharedOrOwn, by_network, own
from seca.sizes import sizes
from seca.types import Episodes, PyTree

RowLoss = Callable[
    [Float[Array, "batch block agents outputs"], PyTree], tuple[Float[Array, "batch block agents"], Array]
]
"""`loss(outputs, told) -> (losses, part)`: loss of each agent in each row, and a part of it to be reported."""


class Swept(eqx.Module):
    """Sums over all steps of a batch; what the backward loop carries from later blocks to earlier ones."""

    gradient: PyTree
    loss: Float[Array, ""]
    part: Float[Array, ""]
    from_later: Float[Array, "batch agents hidden"]
    """dL/d(hidden state before the earliest row done so far)."""


class _Rows(eqx.Module):
    """What a block of rows needs."""

    obs: Float[Array, "batch block agents obs"]
    last_action: Float[Array, "batch block agents actions"]
    hidden: Float[Array, "batch block agents hidden"]
    is_step: Bool[Array, "batch block"]
    told: PyTree


def through_time(
    agent: SharedOrOwn,
    episodes: Episodes,
    hidden: Float[Array, "batch time1 agents hidden"],
    told: PyTree,
    loss: RowLoss,
    block: int | None = None,
    group: int | None = None,
) -> Swept:
    """Gradient of the sum of a loss over all steps t < L of this device's episodes, and that sum.

    Args:
        agent: parameters.
        episodes: whole episodes, in whatever order.
        hidden: recurrent states before each row.
        told: what the loss depends on besides the network's outputs, `[batch, time + 1, ...]`; constants.
        loss: of some rows.
        block: time steps handled at once; None is what suits the platform.
        group: episodes handled at once, at most; likewise.
    """
    given, agent = agent, own(agent)
    assert isinstance(agent, RecurrentAgent)
    batch, n_rows, n_agents = episodes.actions.shape[:3]
    block, group = min(block or sizes().time_block, n_rows), group or sizes().episodes
    group = max(size for size in range(1, min(group, batch) + 1) if batch % size == 0)
    everything = _Rows(
        episodes.obs,
        last_actions(episodes),
        hidden,
        jnp.pad(episodes.valid, ((0, 0), (0, 1))),
        told,
    )
    # Episodes of like length together: the work of a group follows its longest episode.
    by_length = jnp.argsort(-episodes.length)

    def sweep(number: Int[Array, ""], sofar: Swept) -> Swept:
        chosen = jax.lax.dynamic_slice_in_dim(by_length, number * group, group)
        fresh = dataclasses.replace(sofar, from_later=jnp.zeros_like(sofar.from_later))
        return _backward(agent, everything, chosen, episodes.length[chosen].max(), loss, block, fresh)

    zero = jnp.zeros((), hidden.dtype)
    from_later = jnp.zeros((group, n_agents, hidden.shape[-1]), hidden.dtype)
    nothing = Swept(jax.tree.map(jnp.zeros_like, agent), zero, zero, from_later)
    swept = jax.lax.fori_loop(0, batch // group, sweep, nothing)
    return dataclasses.replace(swept, gradient=by_network(given, swept.gradient))


def _backward(
    agent: RecurrentAgent,
    everything: _Rows,
    chosen: Int[Array, " batch"],
    length: Int[Array, ""],
    loss: RowLoss,
    block: int,
    init: Swept,
) -> Swept:
    """Add the rows 0 .. length - 1 of some episodes, from last to first."""

    def step(number: Int[Array, ""], sofar: Swept) -> Swept:
        end = length - number * block
        # The earliest block starts at row 0 even if it then reaches into rows already done: those are masked.
        times = jnp.maximum(end - block, 0) + jnp.arange(block)
        rows = jax.tree.map(lambda array: array[chosen[:, None], times], everything)
        return _block(agent, rows, times < end, loss, sofar)

    return jax.lax.fori_loop(0, (length + block - 1) // block, step, init)


def _block(agent: RecurrentAgent, rows: _Rows, new: Bool[Array, " block"], loss: RowLoss, sofar: Swept) -> Swept:
    """One block: forward from known states, loss, backward recurrence, parameter gradients as large products."""
    inputs, h_before = agent_inputs(rows.obs, rows.last_action), rows.hidden
    encoded = agent.encoder(inputs)
    x = jax.nn.relu(encoded)
    gates = agent.cell.gates(x, h_before)
    h_after = gates.apply(h_before)
    counts = (new & rows.is_step)[..., None]

    def summed(outputs: Array) -> tuple[Array, Array]:
        # Rows already done, and those past the end of their episode, drop out of loss and gradient alike.
        losses, part = loss(outputs, rows.told)
        return jnp.where(counts, losses, 0).sum(), jnp.where(counts, part, 0).sum()

    (total, part), d_outputs = jax.value_and_grad(summed, has_aux=True)(agent.head(h_after))
    d_inputs, d_recurrent, from_later = _recurrence(
        agent.cell, gates, h_before, times_transposed(d_outputs, agent.head.weight), new, sofar.from_later
    )
    d_encoded = times_transposed(d_inputs, agent.cell.weight_ih) * (encoded > 0)
    shared = agent.head.weight.ndim == 2
    linear, over = functools.partial(_linear_gradient, shared=shared), (0, 1, 2) if shared else (0, 1)
    gradient = RecurrentAgent(
        encoder=linear(d_encoded, inputs),
        cell=GRUCell(
            weight_ih=_outer(d_inputs, x, shared),
            weight_hh=_outer(d_recurrent, h_before, shared),
            bias_ih=d_inputs.sum(axis=over),
            bias_hh=d_recurrent.sum(axis=over),
        ),
        head=linear(d_outputs, h_after),
    )
    return Swept(jax.tree.map(jnp.add, sofar.gradient, gradient), sofar.loss + total, sofar.part + part, from_later)


def _recurrence(
    cell: GRUCell, gates: GRUGates, h_before: Array, d_after: Array, new: Array, from_later: Array
) -> tuple[Array, Array, Array]:
    """Gradients at the gates' inputs (from x and from h), rows of a block from last to first.

    dn = dh (1 - z) (1 - n^2),  dz = dh (h - n) z (1 - z),  dr = dn g r (1 - r),  g the recurrent part of n,
    dh_before = dh z + [dr, dz, dn r] U.
    """
    inputs_side, recurrent_side = [], []
    for row in reversed(range(new.shape[0])):
        reset, update, candidate, recurrent = (
            part[:, row] for part in (gates.reset, gates.update, gates.new, gates.recurrent_new)
        )
        d_h = d_after[:, row] + from_later
        d_n = d_h * (1 - update) * (1 - candidate**2)
        d_z = d_h * (h_before[:, row] - candidate) * update * (1 - update)
        d_r = d_n * recurrent * reset * (1 - reset)
        d_recurrent = jnp.where(new[row], jnp.concatenate([d_r, d_z, d_n * reset], axis=-1), 0)
        inputs_side.append(jnp.where(new[row], jnp.concatenate([d_r, d_z, d_n], axis=-1), 0))
        recurrent_side.append(d_recurrent)
        from_later = jnp.where(new[row], d_h * update + times_transposed(d_recurrent, cell.weight_hh), from_later)
    stack = lambda rows: jnp.stack(rows[::-1], axis=1)  # noqa: E731
    return stack(inputs_side), stack(recurrent_side), from_later


def _outer(d_outputs: Array, inputs: Array, shared: bool) -> Array:
    """Sum over all rows of the outer products, as one matrix product; of each agent apart unless they share."""
    if shared:
        return d_outputs.reshape(-1, d_outputs.shape[-1]).T @ inputs.reshape(-1, inputs.shape[-1])
    d_rows, rows = (x.reshape(-1, *x.shape[-2:]) for x in (d_outputs, inputs))
    return jnp.einsum("bno,bni->noi", d_rows, rows)


def _linear_gradient(d_outputs: Array, inputs: Array, shared: bool) -> Linear:
    return Linear(_outer(d_outputs, inputs, shared), d_outputs.sum(axis=(0, 1, 2) if shared else (0, 1)))
