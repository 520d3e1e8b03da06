"""The critic's half of an update: TD(lambda) regression of the taken joint actions."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from seca.algos.optim import global_sum
from seca.algos.packing import Chunk, Packed, flat, over_chunks, room_for, unpack, write
from seca.nets.critics import MixingCritic
from seca.returns import td_lambda
from seca.types import Episodes, PyTree

TakenValue = Callable[[MixingCritic, Float[Array, "rows state"], Int[Array, "rows agents"]], Float[Array, " rows"]]
"""f(s, u) of many rows: `plain_taken_value`, or `algos.grouped.taken_value`, which is faster and equal."""


def plain_taken_value(
    critic: MixingCritic, state: Float[Array, "rows state"], actions: Int[Array, "rows agents"]
) -> Float[Array, " rows"]:
    """f(s, u) of each row from the whole W1(s)."""
    return critic.weights(state, actions.shape[-1]).taken_value(actions)


class Regression(eqx.Module):
    """What the critic is regressed to: fixed over all gradient steps on a batch."""

    targets: Float[Array, "batch time"]
    """y_t; 0 on padding."""
    target_values: Float[Array, "batch time1"]
    """Target critic at the taken actions; meaningless on padding."""


class CriticGradient(eqx.Module):
    """The critic's loss and gradient over a batch."""

    gradient: PyTree
    loss: Float[Array, ""]
    taken: Float[Array, "batch time"]
    """f(s_t, u_t) before the step."""


def regression(
    target: MixingCritic,
    episodes: Episodes,
    packed: Packed,
    chunk: int,
    gamma: float,
    lam: float,
    terminal_limit: bool,
    taken_value: TakenValue = plain_taken_value,
) -> Regression:
    """TD(lambda) targets by the target critic at the taken actions. Zang et al. 2023, Eq. 12.

    Args:
        target: target critic, used for y alone.
        episodes: whole episodes.
        packed: their real rows.
        chunk: rows visited at once.
        gamma: discount.
        lam: lambda of the targets.
        terminal_limit: treat an episode cut by the time limit as ended.
        taken_value: how f(s, u) is computed.
    """
    state, actions = flat(episodes.state), flat(episodes.actions)

    def evaluate(buffer: Array, rows: Chunk) -> Array:
        return write(buffer, taken_value(target, state[rows.index], actions[rows.index]), rows)

    values = unpack(over_chunks(packed, chunk, evaluate, room_for(packed, (), state.dtype)), packed)
    ended = episodes.terminated | episodes.truncated if terminal_limit else episodes.terminated
    targets = jax.vmap(functools.partial(td_lambda, gamma=gamma, lam=lam))(
        episodes.reward, ended, episodes.valid, values
    )
    return Regression(targets, values)


def critic_gradient(
    critic: MixingCritic,
    goal: Regression,
    episodes: Episodes,
    packed: Packed,
    chunk: int,
    axis: str | None,
    taken_value: TakenValue = plain_taken_value,
) -> CriticGradient:
    """Gradient of the masked mean squared error, L = sum_{b,t} m (f(s_t, u_t) - y_t)^2 / sum m.

    Zang et al. 2023, Eq. 12. Chunks' gradients are summed; sums and counts are global over `axis`.

    Args:
        critic: online critic f.
        goal: targets y.
        episodes: whole episodes.
        packed: their real rows.
        chunk: rows visited at once.
        axis: mapped axis of devices, or None.
        taken_value: how f(s, u) is computed.
    """
    state, actions = flat(episodes.state), flat(episodes.actions)
    final_row = ((0, 0), (0, 1))
    valid, y = flat(jnp.pad(episodes.valid, final_row)), flat(jnp.pad(goal.targets, final_row))
    slope = jax.value_and_grad(functools.partial(_squared_error, taken_value), has_aux=True)

    def accumulate(carry: PyTree, rows: Chunk) -> PyTree:
        total, loss, buffer = carry
        counts = rows.real & valid[rows.index]
        (chunk_loss, taken), gradient = slope(critic, state[rows.index], actions[rows.index], y[rows.index], counts)
        return jax.tree.map(jnp.add, total, gradient), loss + chunk_loss, write(buffer, taken, rows)

    zeros = jax.tree.map(jnp.zeros_like, critic)
    init = (zeros, jnp.zeros((), state.dtype), room_for(packed, (), state.dtype))
    gradient, loss, taken = over_chunks(packed, chunk, accumulate, init)
    gradient, loss, count = global_sum((gradient, loss, episodes.valid.sum()), axis)
    return CriticGradient(
        gradient=jax.tree.map(lambda g: g / count.astype(g.dtype), gradient),
        loss=loss / count.astype(loss.dtype),
        taken=unpack(taken, packed)[:, :-1],
    )


def _squared_error(
    taken_value: TakenValue,
    critic: MixingCritic,
    state: Array,
    actions: Array,
    y: Array,
    counts: Bool[Array, " chunk"],
) -> tuple[Array, Array]:
    """Sum (not mean) over a chunk, so that chunks and devices add up."""
    taken = taken_value(critic, state, actions)
    return jnp.where(counts, (taken - y) ** 2, 0).sum(), taken
