"""Proximal policy optimisation over stretches of episodes: what MAPPO and IPPO differentiate."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from seca.distributions import policy_for
from seca.learning.acting import last_actions
from seca.learning.devices import global_sum
from seca.learning.rows import pack_alone, sum_value_and_grad
from seca.nets.agents import NormalisedAgent, agent_inputs
from seca.nets.several import own
from seca.sizes import sizes
from seca.types import Episodes, PyTree


@dataclasses.dataclass(frozen=True)
class PpoLoss:
    """Coefficients of the loss."""

    clip: float
    """How far the ratio of new to old probability may leave 1, and the value its old one, before the loss is flat."""
    entropy_coef: float
    huber_delta: float


class Networks(eqx.Module):
    """Actor and critic."""

    actor: PyTree
    """A network of all, or of `nets.several`."""
    critic: NormalisedAgent


class ReturnScale(eqx.Module):
    """Running moments of returns, decaying from 0 and rid of that bias by `weight`."""

    mean: Float[Array, ""]
    square: Float[Array, ""]
    weight: Float[Array, ""]

    def moments(self) -> tuple[Float[Array, ""], Float[Array, ""]]:
        """Mean and standard deviation; the variance is at least 0.01."""
        weight = jnp.maximum(self.weight, 1e-5)
        mean = self.mean / weight
        return mean, jnp.sqrt(jnp.maximum(self.square / weight - mean**2, 0.01))


class Stretch(eqx.Module):
    """Some steps of an episode in a row, time before batch, and the recurrent states that they start from."""

    actor_inputs: Float[Array, "*batch time agents inputs"]
    critic_inputs: Float[Array, "*batch time judges features"]
    actor_hidden: Float[Array, "*batch agents hidden"]
    critic_hidden: Float[Array, "*batch judges width"]
    avail: Bool[Array, "*batch time agents actions"]
    actions: Int[Array, "*batch time agents"] | Float[Array, "*batch time agents numbers"]
    old_log_prob: Float[Array, "*batch time agents"]
    advantage: Float[Array, "*batch time agents"]
    old_value: Float[Array, "*batch time judges"]
    returns: Float[Array, "*batch time judges"]
    active: Float[Array, "*batch time agents"]
    """1 where the step is real and the agent has a choice."""
    valid: Bool[Array, "*batch time"]
    """Whether the step is real."""
    judged: Bool[Array, "*batch time columns"] | None = None
    """Which values count, in one column where all of a step do or none; None where those of real steps do."""


class Counts(eqx.Module):
    """What means are over, in the whole batch."""

    choices: Float[Array, ""]
    """Active agents, over all steps."""
    values: Float[Array, ""]
    """Values of real steps: one for the state, else one for each agent, the dead among them where all count."""


class Terms(eqx.Module):
    """The three means, or what each of some stretches adds to them."""

    policy: Float[Array, "*batch"]
    entropy: Float[Array, "*batch"]
    value: Float[Array, "*batch"]


def normalised(
    advantage: Float[Array, "batch time agents"], active: Float[Array, "batch time agents"], axis: str | None
) -> Float[Array, "batch time agents"]:
    """Advantages of mean 0 and deviation 1 over the active ones of all devices; 0 elsewhere."""
    count, total = global_sum((active.sum(), (active * advantage).sum()), axis)
    count = jnp.maximum(count, 1)
    apart = active * (advantage - total / count)
    return apart / (jnp.sqrt(global_sum((apart**2).sum(), axis) / count) + 1e-5)


def huber(error: Float[Array, "..."], delta: float) -> Float[Array, "..."]:
    """e^2 / 2 up to `delta`, linear beyond."""
    size = jnp.abs(error)
    return jnp.where(size <= delta, error**2 / 2, delta * (size - delta / 2))


def terms(networks: Networks, part: Stretch, scale: ReturnScale, counts: Counts, loss: PpoLoss) -> Terms:
    """What each of some stretches adds to the three means. Yu et al. 2022, appendix A.

    policy: min(r A, clip(r, 1 - c, 1 + c) A),   r = pi(u) / pi_old(u);      entropy: H;
    value: max(huber(y - v), huber(y - v_old - clip(v - v_old, -c, c))),    y the normalised return

    Policy and entropy are means over active agents; the value is one over all values of real steps. That of the state
    counts once for each step, as it does where n agents share it and none is masked.
    """
    actor = own(networks.actor)
    assert isinstance(actor, NormalisedAgent)
    _, outputs = actor.through_time(part.actor_inputs, part.actor_hidden)
    _, values = networks.critic.through_time(part.critic_inputs, part.critic_hidden)
    policy = policy_for(part.actions)(outputs, part.avail)
    ratio = jnp.exp(policy.log_prob(part.actions) - part.old_log_prob)
    flat = jnp.clip(ratio, 1 - loss.clip, 1 + loss.clip)
    gain = jnp.minimum(ratio * part.advantage, flat * part.advantage)
    mean, deviation = scale.moments()
    goal, value = (part.returns - mean) / deviation, values[..., 0]
    near = part.old_value + jnp.clip(value - part.old_value, -loss.clip, loss.clip)
    error = jnp.maximum(huber(goal - value, loss.huber_delta), huber(goal - near, loss.huber_delta))
    judged = part.valid[..., None] if part.judged is None else part.judged
    return Terms(
        jnp.where(part.active > 0, gain, 0).sum(axis=(-2, -1)) / counts.choices,
        jnp.where(part.active > 0, policy.entropy(), 0).sum(axis=(-2, -1)) / counts.choices,
        jnp.where(judged, error, 0).sum(axis=(-2, -1)) / counts.values,
    )


def stretches(
    episodes: Episodes, hidden: tuple[Array, Array], per_step: dict[str, Array], critic_inputs: Array, length: int
) -> Stretch:
    """Episodes cut into pieces of `length` steps (no more than they have room for), `[batch * pieces, length, ...]`."""
    time = episodes.valid.shape[1]
    length = min(length, time)
    pieces = -(-time // length)

    def cut(array: Array) -> Array:
        array = array[:, :time]
        padded = jnp.pad(array, ((0, 0), (0, pieces * length - time)) + ((0, 0),) * (array.ndim - 2))
        return padded.reshape(-1, length, *array.shape[2:])

    previous = last_actions(episodes)
    return Stretch(
        actor_inputs=cut(agent_inputs(episodes.obs, previous)),
        critic_inputs=cut(critic_inputs),
        actor_hidden=cut(hidden[0])[:, 0],
        critic_hidden=cut(hidden[1])[:, 0],
        avail=cut(episodes.avail),
        actions=cut(episodes.actions),
        **{name: cut(array) for name, array in per_step.items()},
    )


def ppo_gradient(
    networks: Networks,
    everything: Stretch,
    scale: ReturnScale,
    counts: Counts,
    ppo: PpoLoss,
    axis: str | None,
    group: int | None = None,
) -> tuple[PyTree, Terms]:
    """Gradient of -policy - xi entropy + value, each a mean, and those means.

    The work follows the stretches that hold real steps, whether or not anybody has a choice in them; `group` of them
    are visited at once.
    """
    real = everything.valid.any(axis=1)
    packed = pack_alone(real, group or sizes().stretches)

    def loss(params: Networks, _: PyTree, part: Stretch) -> tuple[Array, Terms]:
        found = terms(params, part, scale, counts, ppo)
        return -found.policy - ppo.entropy_coef * found.entropy + found.value, found

    alone = jax.tree.map(lambda array: array[None], everything)
    found = sum_value_and_grad(loss, packed, networks, (), alone, axis=axis)
    means = jax.tree.map(lambda x: jnp.where(packed.is_step, x, 0).sum(), found.kept.arrays)
    return found.gradient, global_sum(means, axis)
