"""Whose steps count in the losses of single agents: everybody's, or those of the living alone.

What is a loss of the team, such as the error of a joint value, counts each step once, whoever lives.
"""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from seca.learning.devices import global_sum
from seca.types import Episodes


def agent_steps(episodes: Episodes) -> Bool[Array, "batch time judges"]:
    """Real steps that count: one column for all agents where all count, else one for each."""
    valid = episodes.valid[..., None]
    return valid if episodes.counted is None else valid & episodes.counted


def per_step(episodes: Episodes, axis: str | None) -> Float[Array, ""] | int:
    """Agents that count in a step, in the mean over the batch of all devices: all n, or the living; more than 0."""
    if episodes.counted is None:
        return episodes.actions.shape[2]
    counted, steps = global_sum((agent_steps(episodes).sum(), episodes.valid.sum()), axis)
    real = episodes.reward.dtype
    return jnp.maximum(counted, 1).astype(real) / jnp.maximum(steps, 1).astype(real)
