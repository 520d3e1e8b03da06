"""IA2C: every agent an advantage actor-critic of its own, rewarded as the team is."""

import dataclasses
import functools
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from seca.algos.acting import act, initial_carry, n_agent_inputs
from seca.algos.actor_step import actor_gradient, unroll
from seca.algos.agent_critic import Seen, first_output, outputs_of, regress_all, rows_at_once, seen_in, targets_of
from seca.algos.base import Algorithm
from seca.algos.config import check_numbers
from seca.algos.measures import measure_actor, measure_advantage, measure_critic
from seca.algos.optim import clipped_adam, global_sum, optimiser_state
from seca.algos.packing import pack
from seca.nets.agents import RecurrentAgent
from seca.nets.mixers import Deep
from seca.ranges import Count, Fraction, NonNegative, Positive
from seca.returns import n_step
from seca.types import EnvSpec, Episodes, PyTree


@dataclasses.dataclass(frozen=True)
class Ia2cConfig:
    """Options of IA2C; the defaults are EPyMARL's, but for the networks' width and rewards as they are."""

    actor_lr: Positive = 5e-4
    """Adam step size of the actor."""
    critic_lr: Positive = 5e-4
    """Adam step size of the critic."""
    gamma: Fraction = 0.99
    """Discount per env step."""
    n_step: Count = 5
    """Rewards counted in a target before it bootstraps."""
    entropy_coef: NonNegative = 0.001
    """Weight of the mean entropy, a plain bonus."""
    target_share: Fraction = 0.01
    """Share of the critic that each update mixes into its target."""
    standardise_rewards: bool = False
    """Subtract the running mean of rewards and divide by their deviation. Where episodes differ in length this changes
    what is best: a reward of nothing is then worth something."""
    clip_norm: Positive = 10.0
    """Global gradient norm above which the gradient is scaled down, actor and critic apart."""
    actor_hidden: Count = 64
    """Width of the actor's layers and of its recurrent state."""
    critic_hidden: Count = 128
    """Width of the critic's two hidden layers."""
    time_limit: Literal["bootstrap", "terminal"] = "bootstrap"
    """Whether an episode cut by the time limit bootstraps from its last state or counts as ended."""


class RewardScale(eqx.Module):
    """Running moments of the rewards of all valid steps so far."""

    count: Float[Array, ""]
    mean: Float[Array, ""]
    squares: Float[Array, ""]
    """Sum of squared deviations from the mean."""


class Learner(eqx.Module):
    """Everything that IA2C learns or counts. Arrays only."""

    actor: RecurrentAgent
    critic: Deep
    target: Deep
    actor_opt: PyTree
    critic_opt: PyTree
    rewards: RewardScale
    updates: Int[Array, ""]


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
        policy=lambda learner: learner.actor,
        initial_carry=functools.partial(initial_carry, spec=spec, hidden=config.actor_hidden),
        act=act,
        update=functools.partial(update, config=config),
        memory=functools.partial(memory, **bind),
    )


def critic_inputs(seen: Seen) -> Float[Array, "*rows agents inputs"]:
    """Own observation and index."""
    n_agents = seen.obs.shape[-2]
    index = jnp.broadcast_to(jnp.eye(n_agents, dtype=seen.obs.dtype), (*seen.obs.shape[:-1], n_agents))
    return jnp.concatenate([seen.obs, index], axis=-1)


def init(key: PRNGKeyArray, spec: EnvSpec, config: Ia2cConfig) -> Learner:
    """Fresh networks; the target is a copy of the critic."""
    actor_key, critic_key = jax.random.split(key)
    actor = RecurrentAgent.init(actor_key, n_agent_inputs(spec), config.actor_hidden, spec.n_actions)
    critic = Deep.init(critic_key, (spec.obs_size + spec.n_agents, config.critic_hidden, config.critic_hidden, 1))
    zero = jnp.zeros((), jnp.float32)
    return Learner(
        actor=actor,
        critic=critic,
        target=jax.tree.map(jnp.copy, critic),
        actor_opt=optimiser_state(clipped_adam(config.actor_lr, config.clip_norm), actor),
        critic_opt=optimiser_state(clipped_adam(config.critic_lr, config.clip_norm), critic),
        rewards=RewardScale(zero, zero, zero),
        updates=jnp.zeros((), jnp.int32),
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
    """The batch with rewards of mean 0 and deviation 1 by the running moments."""
    deviation = jnp.sqrt(jnp.maximum(scale.squares / scale.count, 1e-8))
    return dataclasses.replace(episodes, reward=(episodes.reward - scale.mean) / deviation)


def update(
    learner: Learner, episodes: Episodes, key: PRNGKeyArray, axis: str | None, config: Ia2cConfig
) -> tuple[Learner, dict[str, Array]]:
    """One critic step, one actor step on the advantages before it, and a step of the target.

    L = - sum m (log pi_i(u_i | tau_i) A_i + xi H_i) / (n sum m),    A_i = y_i - V(o_i),    y n-step
    """
    del key  # Deterministic.
    rewards = with_rewards(learner.rewards, episodes, axis)
    if config.standardise_rewards:
        episodes = standardised(episodes, rewards)
    seen, n_agents = seen_in(episodes), episodes.actions.shape[2]
    chunk = rows_at_once(n_agents, learner.critic.layers[0].weight.shape[1])
    packed = pack(episodes.valid, chunk)
    values = outputs_of(learner.target, critic_inputs, seen, packed, chunk)[..., 0]
    returns = functools.partial(n_step, gamma=config.gamma, n=config.n_step)
    targets = targets_of(values, episodes, config.time_limit, returns)
    found = regress_all(learner.critic, critic_inputs, first_output, seen, targets, episodes.valid, packed, chunk, axis)
    own = found.outputs[..., 0]
    advantage = jnp.where(episodes.valid[..., None], targets - own, 0)
    acting = unroll(learner.actor, episodes) if episodes.record is None else episodes.record
    slope = actor_gradient(learner.actor, episodes, acting, advantage, config.entropy_coef, "plain", axis)

    actor_moves, actor_opt = clipped_adam(config.actor_lr, config.clip_norm).update(slope.gradient, learner.actor_opt)
    critic_moves, critic_opt = clipped_adam(config.critic_lr, config.clip_norm).update(
        found.gradient, learner.critic_opt
    )
    critic = eqx.apply_updates(learner.critic, critic_moves)
    share = config.target_share
    following = Learner(
        actor=eqx.apply_updates(learner.actor, actor_moves),
        critic=critic,
        target=jax.tree.map(lambda old, new: (1 - share) * old + share * new, learner.target, critic),
        actor_opt=actor_opt,
        critic_opt=critic_opt,
        rewards=rewards,
        updates=learner.updates + 1,
    )
    metrics = {"gradient_steps": 2 * following.updates}
    metrics |= measure_critic(episodes, own, targets, found.loss, optax.tree.norm(found.gradient), axis)
    metrics |= measure_actor(episodes, acting, slope, axis) | measure_advantage(episodes, advantage, axis)
    return following, metrics


def memory(batch: int, spec: EnvSpec, config: Ia2cConfig) -> int:
    """Estimated peak bytes of training: parameters, episodes, a chunk of the critic."""
    inputs = spec.obs_size + spec.n_agents
    critic = config.critic_hidden * (inputs + config.critic_hidden)
    per_row = spec.n_agents * (spec.obs_size + 4 * spec.n_actions + 4 * config.actor_hidden) + spec.state_size
    rows = batch * (spec.episode_limit + 1)
    working = rows_at_once(spec.n_agents, inputs) * spec.n_agents * (3 * inputs + 6 * config.critic_hidden)
    return 4 * (6 * critic + 3 * rows * per_row + working)
