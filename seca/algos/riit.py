"""RIIT: the actor climbs a critic that is monotone in the agents' own values, on new and replayed episodes."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from seca.algos.base import Algorithm, Claim, Claims
from seca.learning import buffer as buffers
from seca.learning.acting import act_in, acting_over, fresh_agent, initial_carry
from seca.learning.buffer import Buffer, Replay, ReplayOptions
from seca.learning.climbing import ALONG_SLOPE, along_slope, climb, climbing_gradient
from seca.learning.devices import global_sum
from seca.learning.joint_critic import CriticStep, fit, regression_targets, td_error
from seca.learning.measures import count_steps, measure_actor, measure_critic
from seca.learning.memory import training_bytes, visited
from seca.learning.options import ActorCriticOptions, check_numbers
from seca.learning.policy_gradient import EntropyForm
from seca.learning.rows import pack
from seca.learning.trained import Copied, Trained, clipped_adam, fresh, never_copied
from seca.nets.critics import UtilityCritic
from seca.ranges import Count, Fraction, NonNegative, Positive
from seca.returns import LambdaTargets
from seca.sizes import sizes
from seca.types import EnvSpec, Episodes


@dataclasses.dataclass(frozen=True)
class RiitConfig(LambdaTargets, ReplayOptions, ActorCriticOptions):
    """Options of RIIT; the defaults are its authors', with batches of the paper's comparison; by Adam."""

    actor_lr: Positive = 1e-3
    """Adam step size of the actor."""
    critic_lr: Positive = 1e-3
    """Adam step size of the critic."""
    td_lambda: Fraction = 0.6
    """Lambda of the targets on new episodes; on replayed ones, which older policies played, it is 0."""
    entropy_coef: NonNegative = 0.03
    """Xi, weight of the adaptive entropy term."""
    entropy: EntropyForm = "batch_mean"
    """Form of the adaptive entropy: xi * H / sg(H) of the batch mean, of each agent and step, or of the mean over
    agents that have a choice."""
    off_policy: bool = True
    """Whether the critic takes a step on replayed episodes before the one on new episodes."""
    batch_episodes: Count = 32
    """Episodes drawn from the buffer for that step."""
    start_episodes: Count = 128
    """Episodes that the buffer holds before the first of these steps."""
    latest_episodes: Count | None = None
    """Episodes that the other step of the critic and the actor's are on: so many of those collected last, or fewer
    until there are as many; None, the new ones alone. The older ones are from earlier policies, uncorrected."""
    target_interval: Count = 200
    """Training episodes between two copies of the critic into its target."""
    critic_hidden: Count = 128
    """Width of the two hidden layers that value an agent's own observation and action."""
    embed: Count = 32
    """Width of the mixing network."""


class Learner(eqx.Module):
    """Everything that RIIT learns or counts. Arrays only."""

    actor: Trained
    critic: Trained
    episodes: Copied
    """Training episodes collected, and how many there were when the critic was last copied into the target."""


def riit(name: str, spec: EnvSpec, config: RiitConfig) -> Algorithm:
    """Build RIIT, on and off policy or on policy alone, for one environment. Hu et al. 2021 (arXiv 2102.03479).

    Each update takes one batch of whole episodes: a critic step on replayed episodes once there are enough, a critic
    step and an actor step on the new ones, or on the latest.

    Raises:
        ValueError: an option is out of range, or the buffer cannot hold what it should.
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
        buffer=buffer(spec, config),
        claims=Claims("independent", functools.partial(claim, config=config), says=ALONG_SLOPE),
    )


def buffer(spec: EnvSpec, config: RiitConfig) -> Buffer | None:
    """No more episodes than are ever looked at. Raises ValueError when it cannot hold them."""
    drawn = {"batch_episodes": config.batch_episodes} if config.off_policy else {}
    drawn |= {} if config.latest_episodes is None else {"latest_episodes": config.latest_episodes}
    needed = drawn | ({"start_episodes": config.start_episodes} if config.off_policy else {})
    config.check_room(spec, **needed)
    if config.off_policy:
        return Buffer(spec, config.capacity(spec), drawn)
    return Buffer(spec, config.latest_episodes, drawn) if config.latest_episodes else None


def adam(lr: float, config: RiitConfig) -> optax.GradientTransformation:
    """Clip, then Adam with eps 1e-7."""
    return clipped_adam(lr, config.clip_norm, eps=1e-7)


def critic_optimiser(config: RiitConfig) -> optax.GradientTransformation:
    """Of half the mean squared error, as the error itself is differentiated."""
    return optax.chain(optax.scale(0.5), adam(config.critic_lr, config))


def init(key: PRNGKeyArray, spec: EnvSpec, config: RiitConfig) -> Learner:
    """Fresh networks; the target is a copy of the critic."""
    actor_key, critic_key = jax.random.split(key)
    n, a = spec.n_agents, spec.n_actions
    actor = fresh_agent(actor_key, spec, config.actor_hidden, a)
    critic = UtilityCritic.init(critic_key, n, a, spec.obs_size, spec.state_size, config.critic_hidden, config.embed)
    return Learner(
        actor=fresh(actor, adam(config.actor_lr, config)),
        critic=fresh(critic, critic_optimiser(config), target=True),
        episodes=never_copied(),
    )


def with_observations(episodes: Episodes) -> Episodes:
    """The batch with all observations beside the state in its place: all that the critic reads."""
    obs = episodes.obs.reshape(*episodes.obs.shape[:2], -1)
    return dataclasses.replace(episodes, state=jnp.concatenate([episodes.state, obs], axis=-1))


def taken_value(
    critic: UtilityCritic, features: Float[Array, "rows features"], actions: Int[Array, "rows agents"], n_actions: int
) -> Float[Array, " rows"]:
    """Q_tot at taken actions."""
    return critic.value(features, jax.nn.one_hot(actions, n_actions, dtype=features.dtype))


def value_and_slope(
    critic: UtilityCritic, features: Float[Array, "rows features"], probs: Float[Array, "rows agents actions"]
) -> tuple[Float[Array, " rows"], Float[Array, "rows agents actions"]]:
    """Q_tot at policies and its gradient in them."""

    def total(pi: Array) -> tuple[Array, Array]:
        value = critic.value(features, pi)
        return value.sum(), value

    slope, value = jax.grad(total, has_aux=True)(probs)
    return value, slope


def critic_step(
    critic: Trained, episodes: Episodes, lam: float, config: RiitConfig, axis: str | None
) -> tuple[Trained, CriticStep]:
    """One step on half the mean squared error, on episodes `with_observations`."""
    packed, count = pack(episodes.valid, sizes().critic_rows), count_steps(episodes, axis)
    value = functools.partial(taken_value, n_actions=episodes.avail.shape[-1])
    targets = regression_targets(critic.target, episodes, packed, config.gamma, lam, config.time_limit, value)
    return fit(critic, targets, episodes, packed, critic_optimiser(config), count, axis, value)


def update(
    learner: Learner,
    episodes: Episodes,
    replay: Replay | None,
    key: PRNGKeyArray,
    axis: str | None,
    config: RiitConfig,
) -> tuple[Learner, dict[str, Array]]:
    """Critic on replayed, then on new episodes, then the actor on the new ones. Hu et al. 2021, section 4.

    critic: 1/2 sum m (Q_tot - y)^2 / sum m;     actor: - sum m Q_tot(s, pi_1 .. pi_n) / sum m  -  xi Hbar / sg(Hbar)

    With `latest_episodes` the latest take the place of the new ones, and all measures are of them.
    """
    critic, actor = learner.critic, learner.actor
    collected = learner.episodes.sofar + global_sum(episodes.valid[:, 0].sum(dtype=jnp.int32), axis)
    if replay is not None and config.off_policy:
        ready = buffers.has(replay, max(config.start_episodes, config.batch_episodes))
        drawn = with_observations(buffers.sample(replay, config.batch_episodes, key, axis))
        replayed = lambda before: critic_step(before, drawn, 0.0, config, axis)[0]  # noqa: E731
        critic = jax.lax.cond(ready, replayed, lambda same: same, critic)
    if replay is not None and config.latest_episodes is not None:
        episodes = buffers.latest(replay, config.latest_episodes, axis)
    acting, new = acting_over(actor.params, episodes), with_observations(episodes)
    critic, found = critic_step(critic, new, config.td_lambda, config, axis)
    packed = pack(episodes.valid, sizes().critic_rows)
    up = climb(critic.params, value_and_slope, new.state, acting.probs, packed)
    slope = climbing_gradient(actor.params, episodes, acting, up, config.entropy_coef, config.entropy, axis)
    actor = actor.step(slope.gradient, adam(config.actor_lr, config))
    copy_now = learner.episodes.due(collected, config.target_interval)
    following = Learner(actor, critic.copy_when(copy_now), learner.episodes.after(collected, copy_now))
    metrics = {"gradient_steps": critic.steps + actor.steps}
    metrics |= measure_critic(episodes, found.taken, found.targets, found.loss, found.gradient_norm, axis)
    return following, metrics | measure_actor(episodes, acting, slope, axis)


def claim(learner: Learner, episodes: Episodes, env_steps: Array, key: PRNGKeyArray, config: RiitConfig) -> Claim:
    """What the critic's slope says of each action: dQ_tot/dpi_i (u_i - pi_i)."""
    del env_steps, key  # No schedules, nothing drawn.
    acting, seen = acting_over(learner.actor.params, episodes), with_observations(episodes)
    packed = pack(episodes.valid, sizes().critic_rows)
    up = climb(learner.critic.params, value_and_slope, seen.state, acting.probs, packed)
    value = functools.partial(taken_value, n_actions=episodes.avail.shape[-1])
    return Claim(
        along_slope(up, acting.probs, episodes),
        team=td_error(learner.critic, seen, packed, config, config.td_lambda, value),
        policy=acting.probs[:, :-1],
        value=up.value[:, :-1],
    )


def memory(batch: int, spec: EnvSpec, config: RiitConfig) -> int:
    """Estimated peak bytes of training on one device: new and drawn episodes, a chunk of the critic."""
    learner = jax.eval_shape(functools.partial(init, spec=spec, config=config), jax.random.key(0))
    drawn = config.batch_episodes if config.off_policy else 0
    inputs = spec.obs_size + spec.n_agents + spec.n_actions
    episodes = max(batch, config.latest_episodes or 0) + drawn
    rows = visited(sizes().critic_rows, spec, max(episodes - drawn, drawn))
    working = rows * spec.n_agents * (3 * inputs + 8 * config.critic_hidden)
    return training_bytes(learner, spec, episodes, 2 * config.actor_hidden + 2 * spec.n_actions, working, kept=5)
