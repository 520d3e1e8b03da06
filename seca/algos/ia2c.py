"""IA2C: every agent an advantage actor-critic of its own, rewarded as the team is."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from seca.algos.base import Algorithm, Claim, Claims
from seca.learning.acting import act_in, acting_over, fresh_agent, initial_carry
from seca.learning.agent_critic import Seen, outputs_of, regress_all, rows_at_once, seen_in, targets_of
from seca.learning.buffer import Replay
from seca.learning.counted import per_step
from seca.learning.devices import global_sum
from seca.learning.measures import count_steps, measure_actor, measure_advantage, measure_critic
from seca.learning.memory import training_bytes, visited
from seca.learning.options import ActorCriticOptions, check_numbers
from seca.learning.policy_gradient import FOLLOWED_BY_EACH, PolicyLoss, actor_gradient
from seca.learning.rows import Packed, pack
from seca.learning.trained import Trained, clipped_adam, fresh, norm
from seca.nets.mixers import Deep
from seca.ranges import Count, Fraction, NonNegative
from seca.returns import Targets, n_step
from seca.types import EnvSpec, Episodes


@dataclasses.dataclass(frozen=True)
class Ia2cConfig(Targets, ActorCriticOptions):
    """Options of IA2C; the defaults are EPyMARL's, but for the networks' width and rewards as they are; by Adam."""

    n_step: Count = 5
    """Rewards counted in a target before it bootstraps."""
    entropy_coef: NonNegative = 0.001
    """Weight of the mean entropy, a plain bonus."""
    target_share: Fraction = 0.01
    """Share of the critic that each update mixes into its target."""
    standardise_rewards: bool = False
    """Subtract the running mean of rewards and divide by their deviation. Where episodes differ in length this changes
    what is best: a reward of nothing is then worth something."""


class RewardScale(eqx.Module):
    """Running moments of the rewards of all valid steps so far."""

    count: Float[Array, ""]
    mean: Float[Array, ""]
    squares: Float[Array, ""]
    """Sum of squared deviations from the mean."""


class Learner(eqx.Module):
    """Everything that IA2C learns or counts. Arrays only."""

    actor: Trained
    critic: Trained
    rewards: RewardScale


def ia2c(name: str, spec: EnvSpec, config: Ia2cConfig) -> Algorithm:
    """Build IA2C for one environment. Mnih et al. 2016; Papoudakis et al. 2021 (EPyMARL).

    Agents share parameters and tell each other apart by index. Each update takes one batch of whole episodes, one
    critic and one actor step, and drops the batch.

    Raises:
        ValueError: an option is out of range.
    """
    check_numbers(config)
    bind = {"spec": spec, "config": config}
    return Algorithm(
        name=name,
        init=functools.partial(init, **bind),
        policy=lambda learner: learner.actor.params,
        initial_carry=functools.partial(initial_carry, spec=spec, hidden=config.actor_hidden),
        act=act_in(spec),
        update=functools.partial(update, config=config),
        memory=functools.partial(memory, **bind),
        claims=Claims(None, functools.partial(claim, config=config), says=FOLLOWED_BY_EACH),
    )


def critic_inputs(seen: Seen) -> Float[Array, "*rows agents inputs"]:
    """Own observation and index."""
    n_agents = seen.obs.shape[-2]
    index = jnp.broadcast_to(jnp.eye(n_agents, dtype=seen.obs.dtype), (*seen.obs.shape[:-1], n_agents))
    return jnp.concatenate([seen.obs, index], axis=-1)


def init(key: PRNGKeyArray, spec: EnvSpec, config: Ia2cConfig) -> Learner:
    """Fresh networks; the target is a copy of the critic."""
    actor_key, critic_key = jax.random.split(key)
    actor = fresh_agent(actor_key, spec, config.actor_hidden, spec.action_width)
    critic = Deep.init(critic_key, (spec.obs_size + spec.n_agents, config.critic_hidden, config.critic_hidden, 1))
    zero = jnp.zeros((), jnp.float32)
    return Learner(
        actor=fresh(actor, clipped_adam(config.actor_lr, config.clip_norm)),
        critic=fresh(critic, clipped_adam(config.critic_lr, config.clip_norm), target=True),
        rewards=RewardScale(zero, zero, zero),
    )


def with_rewards(before: RewardScale, episodes: Episodes, axis: str | None) -> RewardScale:
    """The moments with a batch's valid steps added. Chan, Golub and LeVeque 1983, Eq. 2.1."""
    valid, reward = episodes.valid, jnp.where(episodes.valid, episodes.reward, 0)
    count, total = global_sum((valid.sum().astype(reward.dtype), reward.sum()), axis)
    mean = total / count
    squares = global_sum(jnp.where(valid, (reward - mean) ** 2, 0).sum(), axis)
    both, apart = before.count + count, mean - before.mean
    return RewardScale(
        both,
        before.mean + apart * count / both,
        before.squares + squares + apart**2 * before.count * count / both,
    )


def standardised(episodes: Episodes, scale: RewardScale) -> Episodes:
    """The batch with rewards of mean 0 and deviation 1 by the running moments; as they are before the first of them."""
    variance = jnp.where(scale.count > 0, scale.squares / jnp.maximum(scale.count, 1), 1)
    deviation = jnp.sqrt(jnp.maximum(variance, 1e-8))
    return dataclasses.replace(episodes, reward=(episodes.reward - scale.mean) / deviation)


def targets_by(
    critic: Deep, episodes: Episodes, seen: Seen, packed: Packed, config: Ia2cConfig
) -> Float[Array, "batch time agents"]:
    """y: n-step targets by a critic's values of the agents' own observations."""
    values = outputs_of(critic, critic_inputs, seen, packed)[..., 0]
    returns = functools.partial(n_step, gamma=config.gamma, n=config.n_step)
    return targets_of(values, episodes, config.time_limit, returns)


def update(
    learner: Learner,
    episodes: Episodes,
    replay: Replay | None,
    key: PRNGKeyArray,
    axis: str | None,
    config: Ia2cConfig,
) -> tuple[Learner, dict[str, Array]]:
    """One critic step, one actor step on the advantages before it, and a step of the target.

    L = - sum m (log pi_i(u_i | tau_i) A_i + xi H_i) / (n sum m),    A_i = y_i - V(o_i),    y n-step
    """
    del replay, key  # On policy, deterministic.
    rewards, count = with_rewards(learner.rewards, episodes, axis), count_steps(episodes, axis)
    if config.standardise_rewards:
        episodes = standardised(episodes, rewards)
    actor, critic, seen = learner.actor, learner.critic, seen_in(episodes)
    packed = pack(episodes.valid, rows_at_once(episodes.actions.shape[2], critic.params.layers[0].weight.shape[1]))
    targets = targets_by(critic.target, episodes, seen, packed, config)
    if episodes.counted is not None:
        count = count * per_step(episodes, axis)
    found = regress_all(critic.params, critic_inputs, seen, targets, packed, count, axis, counted=episodes.counted)
    own = found.outputs[..., 0]
    advantage = jnp.where(episodes.valid[..., None], targets - own, 0)
    acting = acting_over(actor.params, episodes)
    slope = actor_gradient(
        actor.params, PolicyLoss(entropy_coef=config.entropy_coef), episodes, acting, advantage, axis
    )
    actor = actor.step(slope.gradient, clipped_adam(config.actor_lr, config.clip_norm))
    critic = critic.step(found.gradient, clipped_adam(config.critic_lr, config.clip_norm)).mix(config.target_share)
    metrics = {"gradient_steps": actor.steps + critic.steps}
    metrics |= measure_critic(episodes, own, targets, found.loss, norm(found.gradient), axis)
    metrics |= measure_actor(episodes, acting, slope, axis) | measure_advantage(episodes, advantage, axis)
    return Learner(actor, critic, rewards), metrics


def claim(learner: Learner, episodes: Episodes, env_steps: Array, key: PRNGKeyArray, config: Ia2cConfig) -> Claim:
    """The advantages that policies follow, by the critic and the scale of rewards as they are."""
    del env_steps, key  # No schedules, nothing drawn.
    if config.standardise_rewards:
        episodes = standardised(episodes, learner.rewards)
    critic, seen, n_agents = learner.critic, seen_in(episodes), episodes.actions.shape[2]
    packed = pack(episodes.valid, rows_at_once(n_agents, critic.params.layers[0].weight.shape[1]))
    own = outputs_of(critic.params, critic_inputs, seen, packed)[:, :-1, :, 0]
    targets = targets_by(critic.target, episodes, seen, packed, config)
    advantage = jnp.where(episodes.valid[..., None], targets - own, 0)
    return Claim(
        advantage,
        team=advantage.mean(axis=-1),
        policy=acting_over(learner.actor.params, episodes).probs[:, :-1],
        value=own.mean(axis=-1),
    )


def memory(batch: int, spec: EnvSpec, config: Ia2cConfig) -> int:
    """Estimated peak bytes of training."""
    learner = jax.eval_shape(functools.partial(init, spec=spec, config=config), jax.random.key(0))
    inputs = spec.obs_size + spec.n_agents
    rows = visited(rows_at_once(spec.n_agents, inputs), spec, batch)
    working = rows * spec.n_agents * (3 * inputs + 6 * config.critic_hidden)
    return training_bytes(learner, spec, batch, 3 * spec.action_width + 4 * config.actor_hidden, working)
