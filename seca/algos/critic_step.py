"""One gradient of the critic: TD(lambda) regression of the taken joint actions."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from seca.algos.optim import global_sum
from seca.algos.packing import Chunk, Packed, flat, over_chunks, room_for, unpack, write
from seca.nets.critics import MixingCritic
from seca.returns import td_lambda
from seca.types import Episodes, PyTree


class CriticGradient(eqx.Module):
    """The critic's loss and gradient over a batch, and what explains them."""

    gradient: PyTree
    loss: Float[Array, ""]
    targets: Float[Array, "batch time"]
    taken: Float[Array, "batch time"]
    """f(s_t, u_t) before the step."""
    target_values: Float[Array, "batch time1"]


def critic_gradient(
    critic: MixingCritic,
    target: MixingCritic,
    episodes: Episodes,
    packed: Packed,
    chunk: int,
    gamma: float,
    lam: float,
    terminal_limit: bool,
    axis: str | None,
) -> CriticGradient:
    """Gradient of the masked mean squared TD(lambda) error.

        L = sum_{b,t} m (f(s_t, u_t) - y_t)^2 / sum m,     y from the target critic at the taken actions.

    Zang et al. 2023, Eq. 12. Gradients of the packed rows' chunks are summed; sums and counts are global over `axis`.

    Args:
        critic: online critic f.
        target: target critic, used for y alone.
        episodes: whole episodes.
        packed: their real rows.
        chunk: rows visited at once.
        gamma: discount.
        lam: lambda of the targets.
        terminal_limit: treat an episode cut by the time limit as ended.
        axis: mapped axis of devices, or None.
    """
    state, actions = flat(episodes.state), flat(episodes.actions)

    def evaluate(buffer: Array, rows: Chunk) -> Array:
        return write(buffer, _taken(target, state[rows.index], actions[rows.index]), rows)

    values = over_chunks(packed, chunk, evaluate, room_for(packed, (), state.dtype))
    values = unpack(values, packed)
    ended = episodes.terminated | episodes.truncated if terminal_limit else episodes.terminated
    targets = jax.vmap(functools.partial(td_lambda, gamma=gamma, lam=lam))(
        episodes.reward, ended, episodes.valid, values
    )
    no_step = jnp.zeros((targets.shape[0], 1), bool)
    valid = jnp.concatenate([episodes.valid, no_step], axis=1).reshape(-1)
    y = jnp.concatenate([targets, no_step.astype(targets.dtype)], axis=1).reshape(-1)

    def accumulate(carry: PyTree, rows: Chunk) -> PyTree:
        total, loss, buffer = carry
        counts = rows.real & valid[rows.index]
        (chunk_loss, taken), gradient = _squared_error(
            critic, state[rows.index], actions[rows.index], y[rows.index], counts
        )
        return jax.tree.map(jnp.add, total, gradient), loss + chunk_loss, write(buffer, taken, rows)

    zeros = jax.tree.map(jnp.zeros_like, critic)
    init = (zeros, jnp.zeros((), state.dtype), room_for(packed, (), state.dtype))
    gradient, loss, taken = over_chunks(packed, chunk, accumulate, init)
    gradient, loss, count = global_sum((gradient, loss, episodes.valid.sum()), axis)
    return CriticGradient(
        gradient=jax.tree.map(lambda g: g / count.astype(g.dtype), gradient),
        loss=loss / count.astype(loss.dtype),
        targets=targets,
        taken=unpack(taken, packed)[:, :-1],
        target_values=values,
    )


def _taken(critic: MixingCritic, state: Array, actions: Array) -> Array:
    return critic.weights(state, actions.shape[-1]).taken_value(actions)


@functools.partial(jax.value_and_grad, has_aux=True)
def _squared_error(
    critic: MixingCritic, state: Array, actions: Array, y: Array, counts: Bool[Array, " chunk"]
) -> tuple[Array, Array]:
    """Sum (not mean) over a chunk, so that chunks and devices add up."""
    taken = _taken(critic, state, actions)
    return jnp.where(counts, (taken - y) ** 2, 0).sum(), taken
