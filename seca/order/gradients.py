"""Order by contribution: integrated gradients of the critic along the episode's own path."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from seca.order.simple import descending
from seca.ranges import Range


@dataclasses.dataclass(frozen=True)
class GradientOrder:
    """Descending contribution to the value earned along the path (section 3.3, Eq. 17 and 18)."""

    points: Annotated[int, Range(1, 1_000)] = 5
    """K, points of the path per transition."""
    rule: Literal["left", "midpoint"] = "left"
    """Where on each of its K pieces a transition is sampled."""
    stage: Annotated[int, Range(1, 1_000_000)] | None = None
    """Steps judged in one order; None is the whole episode."""
    window: Literal["block", "sliding"] = "block"
    """Whether stages are disjoint blocks or, at each step, the `stage` steps to come."""
    sign: Literal["earned", "eq18"] = "earned"
    """`earned`: contribution to f(start) - f(end), as the authors' code has it; `eq18`: Eq. 18 as printed."""
    end: Literal["final", "last_step"] = "final"
    """Whether the path ends at the final observation (row L) or at the last step (row L - 1)."""
    reduce: Literal["episode", "batch_mean"] = "episode"
    """Whether each episode has its own contributions or all share the batch's mean."""
    source: Literal["same", "previous"] = "same"
    """Whether the order comes from the batch it is applied to or from the batch before."""


CriticAt = Callable[[Float[Array, " state"], Float[Array, "agents actions"]], Float[Array, ""]]
"""f(s, v): the critic with everything else closed over."""


def sample_points(options: GradientOrder) -> tuple[float, ...]:
    """Positions in [0, 1) at which each transition's straight piece of the path is sampled."""
    offset = 0.5 if options.rule == "midpoint" else 0.0
    return tuple((k + offset) / options.points for k in range(options.points))


def transition_contribution(
    critic: CriticAt,
    state_t: Float[Array, " state"],
    state_tp1: Float[Array, " state"],
    probs_t: Float[Array, "agents actions"],
    probs_tp1: Float[Array, "agents actions"],
    options: GradientOrder,
) -> Float[Array, " agents"]:
    """Contribution of each agent's policy along the straight line from (pi_t, s_t) to (pi_{t+1}, s_{t+1}).

        c_i = sum_k df/dpi_i(p_k) . (pi_{t,i} - pi_{t+1,i}) / K,     p_k the sampled points,

    for sign `earned`: policy and state both move, the gradient is taken in the policy alone, so that
    sum_i c_i plus the state's part tends to f(start) - f(end) as K grows. Sign `eq18` is minus that.
    Zang et al. 2023, Eq. 17 and 18.
    """
    step = (probs_t - probs_tp1) if options.sign == "earned" else (probs_tp1 - probs_t)

    def slope(alpha: Float[Array, ""]) -> Float[Array, "agents actions"]:
        state = state_t + alpha * (state_tp1 - state_t)
        return jax.grad(critic, argnums=1)(state, probs_t + alpha * (probs_tp1 - probs_t))

    points = jnp.asarray(sample_points(options), probs_t.dtype)
    return (jax.vmap(slope)(points).mean(axis=0) * step).sum(axis=-1)


def on_path(valid: Bool[Array, " time"], options: GradientOrder) -> Bool[Array, " time"]:
    """Which transitions t -> t + 1 belong to the episode's path; the one into row L is left out by `last_step`."""
    if options.end == "final":
        return valid
    return valid & jnp.concatenate([valid[1:], jnp.zeros_like(valid[:1])])


def by_stage(
    contribution: Float[Array, "time agents"], valid: Bool[Array, " time"], options: GradientOrder
) -> Float[Array, "time agents"]:
    """Contribution of the stage that each step belongs to.

    The whole episode, or disjoint blocks of `stage` steps from the episode's start, or, sliding, the steps t .. t +
    stage - 1. What lies in the padding does not count.
    """
    path = jnp.where(on_path(valid, options)[:, None], contribution, 0)
    time = path.shape[0]
    if options.stage is None:
        return jnp.broadcast_to(path.sum(axis=0), path.shape)
    if options.window == "sliding":
        later = jnp.pad(path, ((0, options.stage - 1), (0, 0)))
        return jax.vmap(lambda t: jax.lax.dynamic_slice_in_dim(later, t, options.stage).sum(axis=0))(jnp.arange(time))
    n_stages = -(-time // options.stage)
    padded = jnp.pad(path, ((0, n_stages * options.stage - time), (0, 0)))
    sums = padded.reshape(n_stages, options.stage, -1).sum(axis=1)
    return jnp.repeat(sums, options.stage, axis=0)[:time]


def by_contribution(
    critic: CriticAt,
    state: Float[Array, "time1 state"],
    probs: Float[Array, "time1 agents actions"],
    valid: Bool[Array, " time"],
    options: GradientOrder,
) -> tuple[Int[Array, "time agents"], Float[Array, "time agents"]]:
    """Order of each step of one episode, and the contributions it follows from.

    This is the plain form; training computes the same from one packed pass (`algos.credit_pass`). `reduce` and
    `source` concern several episodes and are the caller's.
    """
    per_step = jax.vmap(lambda s0, s1, p0, p1: transition_contribution(critic, s0, s1, p0, p1, options))(
        state[:-1], state[1:], probs[:-1], probs[1:]
    )
    contribution = by_stage(per_step, valid, options)
    return jax.vmap(descending)(contribution), contribution
