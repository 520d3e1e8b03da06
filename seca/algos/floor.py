"""Policies with a floor: exploration by a share of the uniform policy, in acting and learning alike."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from seca.algos.actor_step import MASKED, PolicyFn
from seca.ranges import Count, Fraction


@dataclasses.dataclass(frozen=True)
class FloorConfig:
    """The least probability of every action, a share of the uniform policy that falls linearly with env steps."""

    start: Fraction = 0.5
    """Share of the uniform policy at first."""
    finish: Fraction = 0.01
    """Share of the uniform policy at last."""
    steps: Count = 100_000
    """Env steps from first to last."""
    masked: bool = False
    """Whether softmax and floor are over the available actions alone (PyMARL2), or over all, of which the available
    ones are then kept (PyMARL)."""


def floored_policy(env_steps: Array, floor: FloorConfig) -> PolicyFn:
    """The policy's form after so many env steps."""
    gone = jnp.minimum(env_steps.astype(jnp.float32) / floor.steps, 1)
    epsilon = floor.start + (floor.finish - floor.start) * gone
    return functools.partial(floored_log_probs, epsilon=epsilon, masked=floor.masked)


def floored_log_probs(
    logits: Float[Array, "*rows actions"],
    avail: Bool[Array, "*rows actions"],
    epsilon: Float[Array, ""],
    masked: bool = False,
) -> Float[Array, "*rows actions"]:
    """Log-probabilities with a floor under every action; about -1e9 at actions that are not available.

        p = (1 - eps) softmax(logits) + eps / A over all actions, then 0 where unavailable, then rescaled to sum 1;
        masked: over the available actions alone, A their number, which sums to 1 as it is.

    The first is PyMARL's order of things (`mask_before_softmax` False): what the softmax gives to impossible actions is
    lost. The second is PyMARL2's.
    """
    share, counted = epsilon.astype(logits.dtype), avail | (not masked)
    soft = jax.nn.softmax(jnp.where(counted, logits, MASKED))
    number = counted.sum(axis=-1, keepdims=True, dtype=logits.dtype)
    possible = jnp.where(avail, (1 - share) * soft + share / jnp.maximum(number, 1), 0)
    total = possible.sum(axis=-1, keepdims=True)
    positive = possible > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, possible / jnp.where(total > 0, total, 1), 1)), MASKED)
