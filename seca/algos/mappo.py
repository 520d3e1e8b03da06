"""MAPPO: proximal policy optimisation with a central value; with V of own observations it is IPPO."""

import dataclasses
import functools
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from seca.algos.base import Algorithm, Claim, Claims
from seca.distributions import has_choice, log_prob_of
from seca.learning.acting import Acting, act_in, acting_over, initial_carry, n_agent_inputs
from seca.learning.agent_critic import targets_of
from seca.learning.buffer import Replay
from seca.learning.counted import agent_steps
from seca.learning.devices import global_sum
from seca.learning.measures import measure_actor, measure_advantage, measure_critic
from seca.learning.memory import training_bytes
from seca.learning.options import ActorCriticOptions, check_numbers
from seca.learning.policy_gradient import FOLLOWED_BY_ALL, FOLLOWED_BY_EACH, ActorGradient
from seca.learning.ppo import (
    Counts,
    Networks,
    PpoLoss,
    ReturnScale,
    Stretch,
    Terms,
    normalised,
    ppo_gradient,
    stretches,
)
from seca.learning.trained import Trained, clipped_adam, fresh, norm
from seca.nets.agents import NormalisedAgent, agent_inputs
from seca.nets.several import several
from seca.ranges import Count, Fraction, NonNegative, Positive, Range
from seca.returns import Targets, lambda_returns
from seca.sizes import sizes
from seca.types import EnvSpec, Episodes, PyTree


@dataclasses.dataclass(frozen=True)
class MappoConfig(Targets, ActorCriticOptions):
    """Options of MAPPO; the defaults are the authors', with the epochs that they use on hard maps; by Adam."""

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
    critic_hidden: Count = 64
    """Width of the critic's layers and of its recurrent state."""


class Learner(eqx.Module):
    """Everything that MAPPO learns or counts. Arrays only."""

    actor: Trained
    critic: Trained
    scale: ReturnScale


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
    says = FOLLOWED_BY_ALL if config.value_of == "state" else FOLLOWED_BY_EACH
    return Algorithm(
        name=name,
        init=functools.partial(init, **bind),
        policy=lambda learner: learner.actor.params,
        initial_carry=functools.partial(initial_carry, spec=spec, hidden=config.actor_hidden),
        act=act_in(spec),
        update=functools.partial(update, config=config),
        memory=functools.partial(memory, **bind),
        claims=Claims(None, functools.partial(claim, config=config), says=says),
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
    dead = ~has_choice(episodes.avail, episodes.actions) & (episodes.obs == 0).all(axis=-1)
    return jnp.concatenate([jnp.where(dead[..., None], 0, everywhere), own], axis=-1)


def optimiser(lr: float, limit: float) -> optax.GradientTransformation:
    """Clip, then Adam with eps 1e-5."""
    return clipped_adam(lr, limit, eps=1e-5)


def init(key: PRNGKeyArray, spec: EnvSpec, config: MappoConfig) -> Learner:
    """Fresh networks."""
    actor_key, critic_key = jax.random.split(key)
    make = functools.partial(NormalisedAgent.init, hidden=config.actor_hidden, head_gain=0.01)
    make = functools.partial(make, n_inputs=n_agent_inputs(spec), n_outputs=spec.action_width)
    actor = several(make, actor_key, spec.networks)
    critic = NormalisedAgent.init(critic_key, n_value_inputs(spec, config), config.critic_hidden, 1, 1.0)
    zero = jnp.zeros((), jnp.float32)
    return Learner(
        actor=fresh(actor, optimiser(config.actor_lr, config.clip_norm)),
        critic=fresh(critic, optimiser(config.critic_lr, config.clip_norm)),
        scale=ReturnScale(zero, zero, zero),
    )


def values_of(
    critic: NormalisedAgent, inputs: Float[Array, "batch time1 judges inputs"]
) -> tuple[Float[Array, "batch time1 judges hidden"], Float[Array, "batch time1 judges"]]:
    """Recurrent states before each row, and normalised values."""
    start = jnp.zeros((inputs.shape[0], inputs.shape[2], critic.cell.weight_hh.shape[1]), inputs.dtype)
    hidden, values = critic.through_time(inputs, start)
    return jnp.concatenate([start[:, None], hidden[:, :-1]], axis=1), values[..., 0]


class Valued(eqx.Module):
    """What the critic says of a batch."""

    hidden: Float[Array, "batch time1 judges hidden"]
    """Its recurrent states before each row."""
    values: Float[Array, "batch time1 judges"]
    """Normalised."""
    own: Float[Array, "batch time judges"]
    """The same, in the scale of returns."""
    targets: Float[Array, "batch time judges"]


def valued(
    critic: NormalisedAgent,
    scale: ReturnScale,
    features: Float[Array, "batch time1 judges inputs"],
    episodes: Episodes,
    config: MappoConfig,
) -> Valued:
    """Values and their TD(lambda) targets y, so that GAE(lambda) = y - V. Schulman et al. 2016, Eq. 16."""
    hidden, values = values_of(critic, features)
    mean, deviation = scale.moments()
    own = mean + deviation * values
    returns = functools.partial(lambda_returns, gamma=config.gamma, lam=config.gae_lambda)
    return Valued(hidden, values, own[:, :-1], targets_of(own, episodes, config.time_limit, returns))


class Judged(eqx.Module):
    """What the old networks say of a batch: fixed over all epochs."""

    stretches: Stretch
    counts: Counts
    moments: tuple[Float[Array, ""], Float[Array, ""]]
    """Means of the returns and of their squares."""
    own: Float[Array, "batch time judges"]
    """Values, in the scale of returns."""
    targets: Float[Array, "batch time judges"]
    advantage: Float[Array, "batch time agents"]
    """Normalised."""


def judge(
    critic: NormalisedAgent,
    scale: ReturnScale,
    episodes: Episodes,
    acting: Acting,
    config: MappoConfig,
    axis: str | None,
) -> Judged:
    """Advantages A = GAE(lambda) by the old networks, and the batch cut into stretches."""
    valid, n_agents = episodes.valid, episodes.actions.shape[2]
    features = value_inputs(episodes, config)
    judged = valid[..., None] if config.value_of == "state" else agent_steps(episodes)
    found = valued(critic, scale, features, episodes, config)
    values, targets = found.values, found.targets
    choice = agent_steps(episodes) & has_choice(episodes.avail[:, :-1], episodes.actions[:, :-1])
    active = choice.astype(values.dtype)
    advantage = jnp.broadcast_to(targets - found.own, (*valid.shape, n_agents))
    advantage = normalised(jnp.where(choice, advantage, 0), active, axis)
    per_step = {
        "old_log_prob": log_prob_of(acting.probs[:, :-1], episodes.actions[:, :-1], choice),
        "advantage": advantage,
        "old_value": jnp.where(valid[..., None], values[:, :-1], 0),
        "returns": targets,
        "active": active,
        "valid": valid,
        "judged": judged,
    }
    choices, number = global_sum((active.sum(), judged.sum()), axis)
    number = jnp.maximum(number, 1).astype(values.dtype) * (targets.shape[-1] // judged.shape[-1])
    counts, told = Counts(jnp.maximum(choices, 1), number), jnp.where(judged, targets, 0)
    sums = global_sum((told.sum(), (told**2).sum()), axis)
    return Judged(
        stretches=stretches(episodes, (acting.hidden, found.hidden), per_step, features, config.stretch),
        counts=counts,
        moments=(sums[0] / counts.values, sums[1] / counts.values),
        own=found.own,
        targets=targets,
        advantage=advantage,
    )


def epoch(
    judged: Judged, config: MappoConfig, axis: str | None, before: Learner
) -> tuple[Learner, tuple[PyTree, Terms]]:
    """One step of actor and critic on the whole batch; also the gradient and the means it is of."""
    keep, scale = config.norm_decay, before.scale
    scale = ReturnScale(
        keep * scale.mean + (1 - keep) * judged.moments[0],
        keep * scale.square + (1 - keep) * judged.moments[1],
        keep * scale.weight + (1 - keep),
    )
    loss = PpoLoss(config.clip, config.entropy_coef, config.huber_delta)
    networks = Networks(before.actor.params, before.critic.params)
    slope, found = ppo_gradient(networks, judged.stretches, scale, judged.counts, loss, axis)
    actor = before.actor.step(slope.actor, optimiser(config.actor_lr, config.clip_norm))
    critic = before.critic.step(slope.critic, optimiser(config.critic_lr, config.clip_norm))
    return Learner(actor, critic, scale), (slope, found)


def update(
    learner: Learner,
    episodes: Episodes,
    replay: Replay | None,
    key: PRNGKeyArray,
    axis: str | None,
    config: MappoConfig,
) -> tuple[Learner, dict[str, Array]]:
    """Advantages by the old networks, then `epochs` steps of actor and critic. Yu et al. 2022, algorithm 1."""
    del replay, key  # On policy; all data go into every step.
    acting = acting_over(learner.actor.params, episodes)
    judged = judge(learner.critic.params, learner.scale, episodes, acting, config, axis)
    one = functools.partial(epoch, judged, config, axis)
    following, (slope, found) = one(learner)
    following = jax.lax.fori_loop(1, config.epochs, lambda _, sofar: one(sofar)[0], following)
    # Measures are those of the first epoch, whose ratios are 1.
    loss = -found.policy - config.entropy_coef * found.entropy
    climbed = ActorGradient(slope.actor, loss, -found.policy, found.entropy)
    metrics = {"gradient_steps": following.actor.steps + following.critic.steps}
    metrics |= measure_critic(episodes, judged.own, judged.targets, found.value, norm(slope.critic), axis)
    metrics |= measure_actor(episodes, acting, climbed, axis) | measure_advantage(episodes, judged.advantage, axis)
    del metrics["critic_explained"]  # The loss is of normalised values: not a share of the targets' variance.
    return following, metrics


def claim(learner: Learner, episodes: Episodes, env_steps: Array, key: PRNGKeyArray, config: MappoConfig) -> Claim:
    """The advantages that policies follow, before they are normalised, of agents without a choice too."""
    del env_steps, key  # No schedules, nothing drawn.
    features = value_inputs(episodes, config)
    found = valued(learner.critic.params, learner.scale, features, episodes, config)
    error = jnp.where(episodes.valid[..., None], found.targets - found.own, 0)
    return Claim(
        jnp.broadcast_to(error, (*error.shape[:2], episodes.actions.shape[2])),
        team=error.mean(axis=-1),
        policy=acting_over(learner.actor.params, episodes).probs[:, :-1],
        value=found.own.mean(axis=-1),
    )


def memory(batch: int, spec: EnvSpec, config: MappoConfig) -> int:
    """Estimated peak bytes of training: episodes cut into stretches, activations of a group."""
    learner = jax.eval_shape(functools.partial(init, spec=spec, config=config), jax.random.key(0))
    judges = 1 if config.value_of == "state" else spec.n_agents
    stretch = min(config.stretch, spec.episode_limit)
    steps = stretch * min(sizes().stretches, batch * -(-spec.episode_limit // stretch))
    working = 20 * steps * (spec.n_agents * config.actor_hidden + judges * config.critic_hidden)
    per_agent = n_agent_inputs(spec) + 4 * spec.action_width + 2 * config.actor_hidden
    per_agent += judges * (2 * n_value_inputs(spec, config) + 5 * config.critic_hidden) // spec.n_agents
    return training_bytes(learner, spec, batch, per_agent, working)
