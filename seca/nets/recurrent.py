"""Backpropagation through time for the recurrent agent, from hidden states that are already known.

Acting has computed every hidden state with the parameters that are to be differentiated. So all gates can be had again
from a few large products, and only the recurrence of the gradient itself is sequential. Equal to `jax.grad` of the
unrolled network (tests/nets); its work follows the longest episode.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from seca.nets.agents import GRUCell, GRUGates, RecurrentAgent
from seca.nets.linear import Linear
from seca.types import PyTree

LogitLoss = Callable[[Int[Array, ""], Float[Array, "batch block agents actions"]], tuple[Float[Array, ""], PyTree]]
"""`(start, logits) -> (sum of losses, sums to report)` for the rows start .. start + block - 1."""


class BlockRows(eqx.Module):
    """What the forward pass of a block of rows needs."""

    inputs: Float[Array, "batch block agents inputs"]
    h_before: Float[Array, "batch block agents hidden"]


class Sweep(eqx.Module):
    """What the backward loop carries from later blocks to earlier ones."""

    gradient: RecurrentAgent
    from_later: Float[Array, "batch agents hidden"]
    """dL/d(hidden state before the earliest row done so far)."""
    loss: Float[Array, ""]
    reported: PyTree


def backward(
    agent: RecurrentAgent,
    rows_of: Callable[[Int[Array, ""]], BlockRows],
    logit_loss: LogitLoss,
    init: Sweep,
    length: Int[Array, ""],
    block: int,
) -> Sweep:
    """Add the gradient of the summed loss of rows 0 .. length - 1 in the agent's parameters.

    Args:
        agent: parameters with which the hidden states were computed.
        rows_of: network inputs and the recurrent states before them, for the `block` rows from a given one on.
        logit_loss: loss of a block of rows as a function of their logits.
        init: what to add to; see `empty_sweep`.
        length: rows that count.
        block: rows handled at once.
    """

    def step(number: Int[Array, ""], sweep: Sweep) -> Sweep:
        end = length - number * block
        # The earliest block starts at row 0 even if it then reaches into rows already done: those are masked.
        start = jnp.maximum(end - block, 0)
        new = start + jnp.arange(block) < end
        return _block(agent, rows_of(start), new, lambda logits: logit_loss(start, logits), sweep)

    return jax.lax.fori_loop(0, (length + block - 1) // block, step, init)


def empty_sweep(agent: RecurrentAgent, batch: int, n_agents: int, reported: PyTree) -> Sweep:
    """Nothing summed yet; `reported` holds zeros in the structure of what the loss reports."""
    weight = agent.cell.weight_hh
    zeros = jax.tree.map(jnp.zeros_like, agent)
    from_later = jnp.zeros((batch, n_agents, weight.shape[1]), weight.dtype)
    return Sweep(zeros, from_later, jnp.zeros((), weight.dtype), reported)


def _block(agent: RecurrentAgent, rows: BlockRows, new: Array, loss_fn: Callable, sweep: Sweep) -> Sweep:
    """One block: forward from known states, loss, backward recurrence, parameter gradients as large products."""
    inputs, h_before = rows.inputs, rows.h_before
    new = new[:, None, None]
    encoded = agent.encoder(inputs)
    x = jax.nn.relu(encoded)
    gates = agent.cell.gates(x, h_before)
    h_after = gates.apply(h_before)
    logits = agent.head(h_after)
    # Rows already done drop out of loss and gradient alike.
    (loss, reported), d_logits = jax.value_and_grad(
        lambda z: loss_fn(jnp.where(new, z, jax.lax.stop_gradient(z))), has_aux=True
    )(logits)
    d_logits = jnp.where(new, d_logits, 0)
    d_inputs, d_recurrent, from_later = _recurrence(
        agent.cell, gates, h_before, d_logits @ agent.head.weight, new[:, 0, 0], sweep.from_later
    )
    d_encoded = (d_inputs @ agent.cell.weight_ih) * (encoded > 0)
    gradient = RecurrentAgent(
        encoder=_linear_gradient(d_encoded, inputs),
        cell=GRUCell(
            weight_ih=_outer(d_inputs, x),
            weight_hh=_outer(d_recurrent, h_before),
            bias_ih=d_inputs.sum(axis=(0, 1, 2)),
            bias_hh=d_recurrent.sum(axis=(0, 1, 2)),
        ),
        head=_linear_gradient(d_logits, h_after),
    )
    return Sweep(
        jax.tree.map(jnp.add, sweep.gradient, gradient),
        from_later,
        sweep.loss + loss,
        jax.tree.map(jnp.add, sweep.reported, reported),
    )


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
        from_later = jnp.where(new[row], d_h * update + d_recurrent @ cell.weight_hh, from_later)
    stack = lambda rows: jnp.stack(rows[::-1], axis=1)  # noqa: E731
    return stack(inputs_side), stack(recurrent_side), from_later


def _outer(d_outputs: Array, inputs: Array) -> Array:
    """Sum over all rows of the outer products, as one matrix product."""
    return d_outputs.reshape(-1, d_outputs.shape[-1]).T @ inputs.reshape(-1, inputs.shape[-1])


def _linear_gradient(d_outputs: Array, inputs: Array) -> Linear:
    return Linear(_outer(d_outputs, inputs), d_outputs.sum(axis=(0, 1, 2)))
