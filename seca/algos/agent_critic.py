"""Critics with a row of their own for each agent: targets, values and regression.

Used by COMA, whose critic has an output per action of the agent judged, and by IA2C, whose critic values the agent's
own observation.
"""

from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from seca.algos.actor_step import last_actions
from seca.algos.optim import global_sum
from seca.algos.packing import Chunk, Packed, flat, over_chunks, room_for, unpack, write
from seca.nets.mixers import Deep
from seca.types import Episodes, PyTree


class Seen(eqx.Module):
    """What a critic may read of a row."""

    state: Float[Array, "*rows state"]
    obs: Float[Array, "*rows agents obs"]
    actions: Int[Array, "*rows agents"]
    last_action: Float[Array, "*rows agents actions"]
    """One-hot; zeros at t = 0."""


InputFn = Callable[[Seen], Float[Array, "*rows agents inputs"]]
"""What the critic of each agent reads."""

Readout = Callable[[Float[Array, "*rows agents outputs"], Int[Array, "*rows agents"]], Float[Array, "*rows agents"]]
"""The value that is regressed, from the critic's outputs and the actions."""


class AgentRegression(eqx.Module):
    """Loss and gradient of a regression over a set of rows, before any step, and the outputs found on the way."""

    gradient: PyTree
    loss: Float[Array, ""]
    outputs: Float[Array, "..."]


def seen_in(episodes: Episodes) -> Seen:
    """All rows of a batch, `[batch, time + 1, ...]`."""
    n_actions = episodes.avail.shape[-1]
    last = last_actions(episodes.actions, n_actions, episodes.obs.dtype)
    return Seen(episodes.state, episodes.obs, episodes.actions, last)


def first_output(outputs: Array, actions: Array) -> Array:
    """V_i of a critic with one output."""
    del actions  # A state value.
    return outputs[..., 0]


def taken_output(outputs: Array, actions: Array) -> Array:
    """Q_i(., u_i) of a critic with one output per action."""
    return jnp.take_along_axis(outputs, actions[..., None], axis=-1)[..., 0]


def outputs_of(critic: Deep, inputs: InputFn, seen: Seen, packed: Packed, chunk: int) -> Array:
    """The critic's outputs in every real row, `[batch, time + 1, agents, outputs]`; meaningless on padding."""
    rows_of = jax.tree.map(flat, seen)
    shape = (seen.obs.shape[2], critic.layers[-1].bias.shape[0])

    def evaluate(buffer: Array, rows: Chunk) -> Array:
        return write(buffer, critic(inputs(jax.tree.map(lambda x: x[rows.index], rows_of))), rows)

    return unpack(over_chunks(packed, chunk, evaluate, room_for(packed, shape, seen.obs.dtype)), packed)


def targets_of(
    values: Float[Array, "batch time1 agents"],
    episodes: Episodes,
    time_limit: Literal["bootstrap", "terminal"],
    returns: Callable[..., Float[Array, " time"]],
) -> Float[Array, "batch time agents"]:
    """Each agent's own targets from the team reward.

    Args:
        values: v_t of each agent by the target network.
        episodes: whole episodes.
        time_limit: whether an episode cut by the time limit counts as ended.
        returns: `returns(reward, terminated, valid, value)` of one stream, as `returns.td_lambda`.
    """
    ended = episodes.terminated | episodes.truncated if time_limit == "terminal" else episodes.terminated
    by_agent = jax.vmap(returns, in_axes=(None, None, None, -1), out_axes=-1)
    return jax.vmap(by_agent)(episodes.reward, ended, episodes.valid, values)


def regress(
    critic: Deep,
    inputs: InputFn,
    readout: Readout,
    seen: Seen,
    targets: Float[Array, "*rows agents"],
    counts: Bool[Array, "*rows"],
) -> AgentRegression:
    """Summed squared error over rows that count, and its gradient: not yet divided, so that parts and devices add up.

    L = sum_{rows, i} m (q_i - y_i)^2
    """

    def loss(params: Deep) -> tuple[Array, Array]:
        outputs = params(inputs(seen))
        error = readout(outputs, seen.actions) - targets
        return jnp.where(counts[..., None], error**2, 0).sum(), outputs

    (total, outputs), gradient = jax.value_and_grad(loss, has_aux=True)(critic)
    return AgentRegression(gradient, total, outputs)


def regress_all(
    critic: Deep,
    inputs: InputFn,
    readout: Readout,
    seen: Seen,
    targets: Float[Array, "batch time agents"],
    valid: Bool[Array, "batch time"],
    packed: Packed,
    chunk: int,
    axis: str | None,
) -> AgentRegression:
    """Mean squared error over all valid steps and agents of a batch, all devices, and its gradient."""
    final = ((0, 0), (0, 1))
    rows_of, counted = jax.tree.map(flat, seen), flat(jnp.pad(valid, final))
    goal = flat(jnp.pad(targets, (*final, (0, 0))))

    def accumulate(carry: PyTree, rows: Chunk) -> PyTree:
        total, loss, buffer = carry
        part = jax.tree.map(lambda x: x[rows.index], rows_of)
        found = regress(critic, inputs, readout, part, goal[rows.index], rows.real & counted[rows.index])
        return jax.tree.map(jnp.add, total, found.gradient), loss + found.loss, write(buffer, found.outputs, rows)

    shape = (seen.obs.shape[2], critic.layers[-1].bias.shape[0])
    zeros = jax.tree.map(jnp.zeros_like, critic)
    init = (zeros, jnp.zeros((), targets.dtype), room_for(packed, shape, targets.dtype))
    gradient, loss, outputs = over_chunks(packed, chunk, accumulate, init)
    gradient, loss, count = global_sum((gradient, loss, valid.sum() * seen.obs.shape[2]), axis)
    count = count.astype(loss.dtype)
    return AgentRegression(jax.tree.map(lambda g: g / count, gradient), loss / count, unpack(outputs, packed)[:, :-1])


def rows_at_once(n_agents: int, n_inputs: int) -> int:
    """Rows per chunk that keep the critic's inputs around 4 MiB: a power of two from 16 to 1024."""
    fitting = 2**20 // (n_agents * n_inputs)
    return 2 ** min(max(fitting, 16).bit_length() - 1, 10)
