"""Order by contribution: integrated gradients of the critic along the episode's own path."""

import functools
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from seca.order.base import CriticAt, GradientOrder, Order
from seca.order.simple import descending
from seca.types import Episodes, PyTree


@runtime_checkable
class Weights(Protocol):
    """A critic at some states, as far as contributions need it (`nets.critics.MixingWeights`)."""

    b1: Float[Array, "*rows embed"]

    def project(self, inputs: Array) -> Array:
        """Each agent's own addition to the hidden layer, `[*rows, agents, embed]`."""
        ...

    def slope(self, hidden: Array) -> Array:
        """df/d(hidden before its ReLU), `[*rows, embed]`."""
        ...


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


def transition_contribution_fast(
    weights_at: Callable[[Float[Array, "rows state"]], Weights],
    at_step: Weights,
    state_t: Float[Array, "rows state"],
    state_tp1: Float[Array, "rows state"],
    probs_t: Float[Array, "rows agents actions"],
    probs_tp1: Float[Array, "rows agents actions"],
    options: GradientOrder,
) -> Float[Array, "rows agents"]:
    """`transition_contribution` of many steps, with the critic's gradient in closed form.

    `at_step` are the weights at `state_t`, which the left rule's first point needs.
    """
    step = (probs_t - probs_tp1) if options.sign == "earned" else (probs_tp1 - probs_t)
    points = jnp.asarray(sample_points(options), step.dtype)

    def earned(weights: Weights, probs: Array) -> Array:
        # Two contractions of W1, the largest array here, each a batched product (one stacked product is 2x slower).
        hidden = weights.project(probs).sum(axis=-2) + weights.b1
        return (weights.project(step) * weights.slope(hidden)[:, None, :]).sum(axis=-1)

    def at_point(number: Int[Array, ""], total: Array) -> Array:
        alpha = points[number]
        weights = weights_at(state_t + alpha * (state_tp1 - state_t))
        return total + earned(weights, probs_t + alpha * (probs_tp1 - probs_t))

    # The left rule's first point is the step itself, whose weights are at hand.
    shared = options.rule == "left"
    first = earned(at_step, probs_t) if shared else jnp.zeros(step.shape[:-1], step.dtype)
    # A loop, not an unrolled sum: the points then share one buffer for W1, which stays in cache.
    return jax.lax.fori_loop(int(shared), options.points, at_point, first) / options.points


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

    This is the plain form; training computes the same from one packed pass (`learning.judging`). `reduce` and `source`
    concern several episodes and are the caller's.
    """
    per_step = jax.vmap(lambda s0, s1, p0, p1: transition_contribution(critic, s0, s1, p0, p1, options))(
        state[:-1], state[1:], probs[:-1], probs[1:]
    )
    contribution = by_stage(per_step, valid, options)
    return jax.vmap(descending)(contribution), contribution


def first_contributions(key: PRNGKeyArray, n_agents: int) -> Float[Array, " agents"]:
    """What stands for the mean contributions of the batch before the first: random numbers."""
    return jax.random.normal(key, (n_agents,), jnp.float32)


def by_gradients(options: GradientOrder) -> Order:
    """Who contributed most along the episode is judged first.

    Raises:
        ValueError: options contradict each other.
    """
    if options.reduce == "batch_mean" and options.stage is not None:
        raise ValueError(f"`path.reduce` batch_mean orders whole episodes; `path.stage` is {options.stage}, not None")
    if options.source == "previous" and options.reduce != "batch_mean":
        raise ValueError("`path.source` previous needs `path.reduce` batch_mean; it is episode")
    return Order("gradients", functools.partial(_of_episode, options), first_contributions, options, reads_critic=True)


def _of_episode(
    options: GradientOrder,
    critic: CriticAt,
    episode: Episodes,
    probs: Float[Array, "time1 agents actions"],
    key: PRNGKeyArray,
    state: PyTree,
) -> Int[Array, "time agents"]:
    del key, state  # Deterministic, and of this episode alone.
    return by_contribution(critic, episode.state, probs, episode.valid, options)[0]


BY_GRADIENTS = by_gradients(GradientOrder())
"""By contribution along the whole episode."""
