"""Direct gradients: an actor that climbs a joint critic's value of its own policies."""

import dataclasses
import functools
from collections.abc import Callable

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array, Float

from seca.distributions import encoded, is_continuous
from seca.learning.acting import Acting
from seca.learning.counted import per_step
from seca.learning.measures import mean_over_steps
from seca.learning.policy_gradient import ActorGradient, EntropyForm, PolicyLoss, actor_gradient, direct
from seca.learning.rows import Packed, map_rows, unpack
from seca.nets.several import SharedOrOwn
from seca.policies import of_taken
from seca.types import Episodes, PyTree

ValueAndSlope = Callable[[PyTree, Array, Array], tuple[Array, Array]]
"""`(critic, features, probs) -> (f, df/dprobs)` of many rows."""

ALONG_SLOPE = "the critic's slope along what the agent did, df/dpi_i (u_i - pi_i)"
"""What `along_slope` is, in half a sentence."""


class Climb(eqx.Module):
    """The critic at the actor's policies, and which way is up."""

    value: Float[Array, "batch time1"]
    """f where it was climbed, at the policies or at actions; meaningless on padding."""
    slope: Float[Array, "batch time1 agents actions"]
    """Its slope there; meaningless on padding."""


def climb(
    critic: PyTree,
    value_and_slope: ValueAndSlope,
    features: Float[Array, "batch time1 features"],
    probs: Float[Array, "batch time1 agents actions"],
    packed: Packed,
) -> Climb:
    """f and its slope at given inputs of every step."""
    return Climb(*unpack(map_rows(functools.partial(value_and_slope, critic), packed, features, probs), packed))


def along_slope(
    up: Climb, middle: Float[Array, "batch time1 agents actions"], episodes: Episodes
) -> Float[Array, "batch time agents"]:
    """Each agent's action by the slope at the middle of its policy, df/dpi_i (u_i - pi_i).

    It is 0 in the mean over the policy, and on padding.
    """
    slope, at, actions = up.slope[:, :-1], middle[:, :-1], episodes.actions[:, :-1]
    if is_continuous(actions):
        gain = ((encoded(actions, at.shape[-1], at.dtype) - at) * slope).sum(axis=-1)
    else:
        gain = of_taken(slope, actions) - (at * slope).sum(axis=-1)
    return jnp.where(episodes.valid[..., None], gain, 0)


def climbing_gradient(
    actor: SharedOrOwn,
    episodes: Episodes,
    acting: Acting,
    up: Climb,
    entropy_coef: float,
    entropy: EntropyForm,
    axis: str | None,
) -> ActorGradient:
    """Gradient of -mean f(s, pi) with the entropy bonus, and these losses in value."""
    # The loss is a mean over agents too; the value is one for all of them.
    signal = per_step(episodes, axis) * up.slope[:, :-1]
    slope = actor_gradient(actor, PolicyLoss(direct, entropy_coef, entropy), episodes, acting, signal, axis)
    # In value, the linear part that was differentiated is not the loss.
    policy_part = -mean_over_steps(up.value[:, :-1], episodes, axis)
    return dataclasses.replace(slope, loss=slope.loss - slope.policy_part + policy_part, policy_part=policy_part)
