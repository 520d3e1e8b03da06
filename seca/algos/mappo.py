"""MAPPO: proximal policy optimisation with a central value; with V of own observations it is IPPO."""

import dataclasses
import functools
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from seca.algos.acting import act, initial_carry, n_agent_inputs
from seca.algos.actor_step import ActorGradient, last_actions, masked_log_probs, unroll
from seca.algos.base import Algorithm
from seca.algos.config import check_numbers
from seca.algos.measures import measure_actor, measure_advantage, measure_critic
from seca.algos.optim import clip_by_norm, global_sum, optimiser_state
from seca.nets.agents import NormalisedAgent, agent_inputs
from seca.order.simple import entropy
from seca.ranges import Count, Fraction, NonNegative, Positive, Range
from seca.returns import td_lambda
from seca.types import EnvSpec, Episodes, PyTree

GROUP = 16
"""Stretches of episodes handled at once: their activations stay in a core's cache (64 take up to 1.5 times as long).
Results do not depend on it."""


@dataclasses.dataclass(frozen=True)
class MappoConfig:
    """Options of MAPPO; the defaults are the authors', with the epochs that they use on hard maps."""

    actor_lr: Positive = 5e-4
    """Adam step size of the actor."""
    critic_lr: Positive = 5e-4
    """Adam step size of the critic."""
    gamma: Fraction = 0.99
    """Discount per env step."""
    gae_lambda: Fraction = 0.95
    """Lambda of the generalised advantage estimate."""
    epochs: Annotated[int, Range(1, 10_000)] = 5
    """Passes over each batch, a step of actor and critic each."""
    clip: NonNegative = 0.2
    """How far the ratio of new to old probability may leave 1, and the value its old one, before the loss is flat."""
    entropy_coef: NonNegative = 0.01
    """Weight of the mean entropy, a plain bonus."""
    huber_delta: Positive = 10.0
    """Error of the normalised value beyond which its loss is linear."""
    stretch: Annotated[int, Range(1, 1_000_000)] = 10
    """Steps that gradients go back through time, from recurrent states of the old networks."""
    value_of: Literal["state", "agent", "observation"] = "state"
    """What a value is of: the state, one for all agents; state and own observation, of which only the index is left of
    the dead (no choice, and an observation of zeros); own observation alone (IPPO)."""
    norm_decay: Fraction = 0.99999
    """Decay per gradient step of the running moments of returns."""
    clip_norm: Positive = 10.0
    """Global gradient norm above which the gradient is scaled down, actor and critic apart."""
    actor_hidden: Count = 64
    """Width of the actor's layers and of its recurrent state."""
    critic_hidden: Count = 64
    """Width of the critic's layers and of its recurrent state."""
    time_limit: Literal["bootstrap", "terminal"] = "bootstrap"
    """Whether an episode cut by the time limit bootstraps from its last state or counts as ended."""


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


class Networks(eqx.Module):
    """Actor and critic, each with an optimiser of its own."""

    actor: NormalisedAgent
    critic: NormalisedAgent


class Learner(eqx.Module):
    """Everything that MAPPO learns or counts. Arrays only."""

    networks: Networks
    actor_opt: PyTree
    critic_opt: PyTree
    scale: ReturnScale
    updates: Int[Array, ""]


class Stretch(eqx.Module):
    """Some steps of an episode in a row, time before batch, and the recurrent states that they start from."""

    actor_inputs: Float[Array, "*batch time agents inputs"]
    critic_inputs: Float[Array, "*batch time judges features"]
    actor_hidden: Float[Array, "*batch agents hidden"]
    critic_hidden: Float[Array, "*batch judges width"]
    avail: Bool[Array, "*batch time agents actions"]
    actions: Int[Array, "*batch time agents"]
    old_log_prob: Float[Array, "*batch time agents"]
    advantage: Float[Array, "*batch time agents"]
    old_value: Float[Array, "*batch time judges"]
    returns: Float[Array, "*batch time judges"]
    active: Float[Array, "*batch time agents"]
    """1 where the step is real and the agent has a choice."""
    valid: Bool[Array, "*batch time"]
    """Whether the step is real."""


class Counts(eqx.Module):
    """What means are over, in the whole batch."""

    choices: Float[Array, ""]
    """Active agents, over all steps."""
    values: Float[Array, ""]
    """Values of real steps: one for the state, else one for each agent, the dead among them."""


class Terms(eqx.Module):
    """The three means, or what some stretches add to them."""

    policy: Float[Array, ""]
    entropy: Float[Array, ""]
    value: Float[Array, ""]


def mappo(name: str, spec: EnvSpec, config: MappoConfig) -> Algorithm:
    """Build MAPPO for one environment. Yu et al. 2022.

    Each update takes one batch of whole episodes, makes `epochs` steps on it and drops it. Agents without a choice
    (the dead) count in no mean of policies. Their values do count: the targets of steps before a death bootstrap from
    them, so they must be learned too (the authors, too, train SMAC without masks of the value loss).

    Raises:
        ValueError: an option is out of range.
    """
    check_numbers(config)
    bind = {"spec": spec, "config": config}
    return Algorithm(
        name=name,
        init=functools.partial(init, **bind),
        policy=lambda learner: learner.networks.actor,
        initial_carry=functools.partial(initial_carry, spec=spec, hidden=config.actor_hidden),
        act=act,
        update=functools.partial(update, config=config),
        memory=functools.partial(memory, **bind),
    )


def n_value_inputs(spec: EnvSpec, config: MappoConfig) -> int:
    """Numbers that the critic reads."""
    own = spec.obs_size + spec.n_agents
    return {"state": spec.state_size, "agent": spec.state_size + own, "observation": own}[config.value_of]


def value_inputs(episodes: Episodes, config: MappoConfig) -> Float[Array, "batch time1 judges inputs"]:
    """What the critic reads of each row: one row for the state, else one for each agent."""
    shared = episodes.state[..., None, :]
    if config.value_of == "state":
        return shared
    own = agent_inputs(episodes.obs, jnp.zeros((*episodes.obs.shape[:-1], 0), episodes.obs.dtype))
    if config.value_of == "observation":
        return own
    everywhere = jnp.broadcast_to(shared, (*own.shape[:-1], shared.shape[-1]))
    # Neither sign is enough alone: an observation is of zeros too where nothing is in sight, and agents that take turns
    # have no choice in between.
    dead = (episodes.avail.sum(axis=-1) <= 1) & (episodes.obs == 0).all(axis=-1)
    return jnp.concatenate([jnp.where(dead[..., None], 0, everywhere), own], axis=-1)


def optimiser(lr: float, limit: float) -> optax.GradientTransformation:
    """Clip, then Adam with eps 1e-5."""
    return optax.chain(clip_by_norm(limit), optax.adam(lr, eps=1e-5))


def init(key: PRNGKeyArray, spec: EnvSpec, config: MappoConfig) -> Learner:
    """Fresh networks."""
    actor_key, critic_key = jax.random.split(key)
    networks = Networks(
        NormalisedAgent.init(actor_key, n_agent_inputs(spec), config.actor_hidden, spec.n_actions, 0.01),
        NormalisedAgent.init(critic_key, n_value_inputs(spec, config), config.critic_hidden, 1, 1.0),
    )
    zero = jnp.zeros((), jnp.float32)
    return Learner(
        networks=networks,
        actor_opt=optimiser_state(optimiser(config.actor_lr, config.clip_norm), networks.actor),
        critic_opt=optimiser_state(optimiser(config.critic_lr, config.clip_norm), networks.critic),
        scale=ReturnScale(zero, zero, zero),
        updates=jnp.zeros((), jnp.int32),
    )


def values_of(
    critic: NormalisedAgent, inputs: Float[Array, "batch time1 judges inputs"]
) -> tuple[Float[Array, "batch time1 judges hidden"], Float[Array, "batch time1 judges"]]:
    """Recurrent states before each row, and normalised values."""
    start = jnp.zeros((inputs.shape[0], inputs.shape[2], critic.cell.weight_hh.shape[1]), inputs.dtype)
    hidden, values = critic.through_time(inputs, start)
    return jnp.concatenate([start[:, None], hidden[:, :-1]], axis=1), values[..., 0]


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


def terms(networks: Networks, part: Stretch, scale: ReturnScale, counts: Counts, config: MappoConfig) -> Terms:
    """What some stretches add to the three means. Yu et al. 2022, appendix A.

    policy: min(r A, clip(r, 1 - c, 1 + c) A),   r = pi(u) / pi_old(u);      entropy: H;
    value: max(huber(y - v), huber(y - v_old - clip(v - v_old, -c, c))),    y the normalised return

    Policy and entropy are means over active agents; the value is one over all values of real steps. That of the state
    counts once for each step, as it does where n agents share it and none is masked.
    """
    _, logits = networks.actor.through_time(part.actor_inputs, part.actor_hidden)
    _, values = networks.critic.through_time(part.critic_inputs, part.critic_hidden)
    log_probs = masked_log_probs(logits, part.avail)
    ratio = jnp.exp(jnp.take_along_axis(log_probs, part.actions[..., None], axis=-1)[..., 0] - part.old_log_prob)
    flat = jnp.clip(ratio, 1 - config.clip, 1 + config.clip)
    gain = jnp.minimum(ratio * part.advantage, flat * part.advantage)
    mean, deviation = scale.moments()
    goal, value = (part.returns - mean) / deviation, values[..., 0]
    near = part.old_value + jnp.clip(value - part.old_value, -config.clip, config.clip)
    error = jnp.maximum(huber(goal - value, config.huber_delta), huber(goal - near, config.huber_delta))
    return Terms(
        jnp.where(part.active > 0, gain, 0).sum() / counts.choices,
        jnp.where(part.active > 0, entropy(jnp.exp(log_probs)), 0).sum() / counts.choices,
        jnp.where(part.valid[..., None], error, 0).sum() / counts.values,
    )


def stretches(
    episodes: Episodes, hidden: tuple[Array, Array], per_step: dict[str, Array], critic_inputs: Array, length: int
) -> Stretch:
    """Episodes cut into pieces of `length` steps, `[batch * pieces, length, ...]`."""
    time = episodes.valid.shape[1]
    pieces = -(-time // length)

    def cut(array: Array) -> Array:
        array = array[:, :time]
        padded = jnp.pad(array, ((0, 0), (0, pieces * length - time)) + ((0, 0),) * (array.ndim - 2))
        return padded.reshape(-1, length, *array.shape[2:])

    previous = last_actions(episodes.actions, episodes.avail.shape[-1], episodes.obs.dtype)
    return Stretch(
        actor_inputs=cut(agent_inputs(episodes.obs, previous)),
        critic_inputs=cut(critic_inputs),
        actor_hidden=cut(hidden[0])[:, 0],
        critic_hidden=cut(hidden[1])[:, 0],
        avail=cut(episodes.avail),
        actions=cut(episodes.actions),
        **{name: cut(array) for name, array in per_step.items()},
    )


def gradient(
    networks: Networks,
    everything: Stretch,
    scale: ReturnScale,
    counts: Counts,
    config: MappoConfig,
    axis: str | None,
) -> tuple[PyTree, Terms]:
    """Gradient of -policy - xi entropy + value, each a mean, and those means.

    The work follows the stretches that hold real steps, whether or not anybody has a choice in them.
    """
    real = everything.valid.any(axis=1)
    number = real.shape[0]
    group = min(GROUP, number)
    first = jnp.pad(jnp.argsort(~real, stable=True), (0, group))

    def loss(params: Networks, part: Stretch) -> tuple[Array, Terms]:
        found = terms(params, part, scale, counts, config)
        return -found.policy - config.entropy_coef * found.entropy + found.value, found

    def add(turn: Int[Array, ""], sofar: tuple[PyTree, Terms]) -> tuple[PyTree, Terms]:
        chosen = jax.lax.dynamic_slice_in_dim(first, turn * group, group)
        part = jax.tree.map(lambda array: array[chosen], everything)
        inside = (turn * group + jnp.arange(group) < number)[:, None]
        active = jnp.where(inside[..., None], part.active, 0)
        part = dataclasses.replace(part, active=active, valid=inside & part.valid)
        slope, found = jax.grad(loss, has_aux=True)(networks, part)
        return jax.tree.map(jnp.add, sofar, (slope, found))

    zero = jnp.zeros((), counts.choices.dtype)
    init = (jax.tree.map(jnp.zeros_like, networks), Terms(zero, zero, zero))
    return global_sum(jax.lax.fori_loop(0, (real.sum() + group - 1) // group, add, init), axis)


def update(
    learner: Learner, episodes: Episodes, key: PRNGKeyArray, axis: str | None, config: MappoConfig
) -> tuple[Learner, dict[str, Array]]:
    """Advantages by the old networks, then `epochs` steps of actor and critic. Yu et al. 2022, algorithm 1.

    A = GAE(lambda) = y - V,   y the TD(lambda) target of the old values (Schulman et al. 2016, Eq. 16)
    """
    del key  # All data go into every step.
    valid, n_agents = episodes.valid, episodes.actions.shape[2]
    acting = unroll(learner.networks.actor, episodes) if episodes.record is None else episodes.record
    features = value_inputs(episodes, config)
    critic_hidden, values = values_of(learner.networks.critic, features)
    mean, deviation = learner.scale.moments()
    own = mean + deviation * values
    ended = episodes.terminated | episodes.truncated if config.time_limit == "terminal" else episodes.terminated
    returns = functools.partial(td_lambda, gamma=config.gamma, lam=config.gae_lambda)
    per_judge = jax.vmap(returns, in_axes=(None, None, None, -1), out_axes=-1)
    targets = jax.vmap(per_judge)(episodes.reward, ended, valid, own)
    choice = valid[..., None] & (episodes.avail[:, :-1].sum(axis=-1) > 1)
    active = choice.astype(values.dtype)
    advantage = jnp.broadcast_to(targets - own[:, :-1], (*valid.shape, n_agents))
    advantage = normalised(jnp.where(choice, advantage, 0), active, axis)
    taken = jnp.take_along_axis(acting.probs[:, :-1], episodes.actions[:, :-1, :, None], axis=-1)[..., 0]
    log_prob = jnp.log(jnp.where(choice & (taken > 0), taken, 1))
    per_step = {
        "old_log_prob": log_prob,
        "advantage": advantage,
        "old_value": jnp.where(valid[..., None], values[:, :-1], 0),
        "returns": targets,
        "active": active,
        "valid": valid,
    }
    everything = stretches(episodes, (acting.hidden, critic_hidden), per_step, features, config.stretch)
    choices, steps = global_sum((active.sum(), valid.sum()), axis)
    counts = Counts(jnp.maximum(choices, 1), steps.astype(values.dtype) * targets.shape[-1])
    moments = global_sum((targets.sum(), (targets**2).sum()), axis)
    moments = (moments[0] / counts.values, moments[1] / counts.values)

    def epoch(before: Learner) -> tuple[Learner, PyTree, Terms]:
        keep = config.norm_decay
        scale = ReturnScale(
            keep * before.scale.mean + (1 - keep) * moments[0],
            keep * before.scale.square + (1 - keep) * moments[1],
            keep * before.scale.weight + (1 - keep),
        )
        slope, found = gradient(before.networks, everything, scale, counts, config, axis)
        actor_rule = optimiser(config.actor_lr, config.clip_norm)
        critic_rule = optimiser(config.critic_lr, config.clip_norm)
        actor_moves, actor_opt = actor_rule.update(slope.actor, before.actor_opt)
        critic_moves, critic_opt = critic_rule.update(slope.critic, before.critic_opt)
        networks = Networks(
            eqx.apply_updates(before.networks.actor, actor_moves),
            eqx.apply_updates(before.networks.critic, critic_moves),
        )
        return Learner(networks, actor_opt, critic_opt, scale, before.updates), slope, found

    following, slope, found = epoch(learner)
    following = jax.lax.fori_loop(1, config.epochs, lambda _, sofar: epoch(sofar)[0], following)
    following = dataclasses.replace(following, updates=learner.updates + 1)
    # Measures are those of the first epoch, whose ratios are 1.
    policy_part = -found.policy
    climbed = ActorGradient(slope.actor, policy_part - config.entropy_coef * found.entropy, policy_part, found.entropy)
    metrics = {"gradient_steps": 2 * config.epochs * following.updates}
    norm = optax.tree.norm(slope.critic)
    metrics |= measure_critic(episodes, own[:, :-1], targets, found.value, norm, axis)
    metrics |= measure_actor(episodes, acting, climbed, axis) | measure_advantage(episodes, advantage, axis)
    del metrics["critic_explained"]  # The loss is of normalised values: not a share of the targets' variance.
    return following, metrics


def memory(batch: int, spec: EnvSpec, config: MappoConfig) -> int:
    """Estimated peak bytes of training: parameters, episodes cut into stretches, activations of a group."""
    judges = 1 if config.value_of == "state" else spec.n_agents
    features = n_value_inputs(spec, config)
    actor_rows = spec.n_agents * (2 * n_agent_inputs(spec) + 4 * spec.n_actions + 2 * config.actor_hidden)
    critic_rows = judges * (2 * features + 5 * config.critic_hidden)
    rows = batch * (spec.episode_limit + config.stretch)
    at_once = GROUP * config.stretch * 20 * (spec.n_agents * config.actor_hidden + judges * config.critic_hidden)
    weights = config.actor_hidden * (n_agent_inputs(spec) + 8 * config.actor_hidden + spec.n_actions)
    weights += config.critic_hidden * (features + 8 * config.critic_hidden)
    return 4 * (3 * rows * (actor_rows + critic_rows + spec.state_size) + at_once + 5 * weights)
