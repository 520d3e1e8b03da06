"""Direct gradient: the actor climbs the critic's value of its own policies, with no advantage in between."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, PRNGKeyArray

from seca.algos import replay as replays
from seca.algos.acting import act, initial_carry, n_agent_inputs
from seca.algos.actor_step import Acting, ActorGradient, actor_gradient, direct, unroll
from seca.algos.base import Algorithm
from seca.algos.config import MixingCriticConfig, check_numbers
from seca.algos.critic_step import (
    CRITIC_CHUNK,
    CriticGradient,
    CriticTraining,
    chunk_rows,
    fresh_critic,
    mixing_memory,
    step_joint,
    train_critic,
)
from seca.algos.measures import mean_over_steps, measure_actor, measure_critic
from seca.algos.optim import clip_by_norm, clipped_adam, global_sum, optimiser_state
from seca.algos.packing import Chunk, Packed, flat, over_chunks, pack, room_for, unpack, write
from seca.nets.agents import RecurrentAgent
from seca.nets.critics import MixingCritic, UtilityCritic
from seca.ranges import Count, Fraction, NonNegative, Positive
from seca.types import EnvSpec, Episodes, PyTree


@dataclasses.dataclass(frozen=True)
class LicaConfig(MixingCriticConfig):
    """Options of LICA; the defaults are the published ones, with the compact critic."""

    actor_lr: Positive = 2.5e-3
    """Adam step size of the actor."""
    entropy_coef: NonNegative = 0.06
    """Xi, weight of the adaptive entropy term; the authors advise 0.06, and 0.03 on the hardest maps."""
    entropy: Literal["batch_mean", "per_sample", "alive_only"] = "batch_mean"
    """Form of the adaptive entropy: xi * H / sg(H) of the batch mean, of each agent and step, or of the mean over
    agents that have a choice."""
    actor_hidden: Count = 64
    """Width of the actor's layers and of its recurrent state."""


@dataclasses.dataclass(frozen=True)
class RiitConfig:
    """Options of RIIT; the defaults are its authors', with batches of the paper's comparison."""

    actor_lr: Positive = 1e-3
    """Adam step size of the actor."""
    critic_lr: Positive = 1e-3
    """Adam step size of the critic."""
    gamma: Fraction = 0.99
    """Discount per env step."""
    td_lambda: Fraction = 0.6
    """Lambda of the targets on new episodes; on replayed ones, which older policies played, it is 0."""
    entropy_coef: NonNegative = 0.03
    """Xi, weight of the adaptive entropy term."""
    entropy: Literal["batch_mean", "per_sample", "alive_only"] = "batch_mean"
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
    buffer_episodes: Count = 5000
    """Episodes the buffer holds."""
    buffer_gib: Positive = 2.0
    """Memory the buffer may take on each device; on large maps it holds fewer episodes for that."""
    target_interval: Count = 200
    """Training episodes between two copies of the critic into its target."""
    clip_norm: Positive = 10.0
    """Global gradient norm above which the gradient is scaled down, actor and critic apart."""
    actor_hidden: Count = 64
    """Width of the actor's layers and of its recurrent state."""
    critic_hidden: Count = 128
    """Width of the two hidden layers that value an agent's own observation and action."""
    embed: Count = 32
    """Width of the mixing network."""
    time_limit: Literal["bootstrap", "terminal"] = "bootstrap"
    """Whether an episode cut by the time limit bootstraps from its last state or counts as ended."""


class Learner(eqx.Module):
    """Everything that LICA learns or counts. Arrays only."""

    actor: RecurrentAgent
    actor_opt: PyTree
    training: CriticTraining


class Climb(eqx.Module):
    """The critic at the actor's policies, and which way is up."""

    value: Float[Array, "batch time1"]
    """f(s, pi_1 .. pi_n); meaningless on padding."""
    slope: Float[Array, "batch time1 agents actions"]
    """df/dpi; meaningless on padding."""


def lica(name: str, spec: EnvSpec, config: LicaConfig) -> Algorithm:
    """Build LICA for one environment. Zhou et al. 2020.

    Each update takes one batch of whole episodes: one critic step, as SeCA's, then one actor step up the critic just
    stepped, then the batch is dropped.

    Raises:
        ValueError: an option is out of range.
    """
    check_numbers(config)
    return Algorithm(
        name=name,
        init=functools.partial(init, spec=spec, config=config),
        policy=lambda learner: learner.actor,
        initial_carry=functools.partial(initial_carry, spec=spec, hidden=config.actor_hidden),
        act=act,
        update=functools.partial(update, spec=spec, config=config),
        memory=functools.partial(mixing_memory, spec=spec, config=config, hidden=config.actor_hidden),
    )


def init(key: PRNGKeyArray, spec: EnvSpec, config: LicaConfig) -> Learner:
    """Fresh networks; the target is a copy of the critic."""
    actor_key, critic_key = jax.random.split(key)
    actor = RecurrentAgent.init(actor_key, n_agent_inputs(spec), config.actor_hidden, spec.n_actions)
    return Learner(
        actor=actor,
        actor_opt=optimiser_state(clipped_adam(config.actor_lr, config.clip_norm), actor),
        training=fresh_critic(critic_key, spec, config),
    )


ValueAndSlope = Callable[[PyTree, Array, Array], tuple[Array, Array]]
"""`(critic, state, probs) -> (f, df/dprobs)` of many rows."""


def mixing_value_and_slope(
    critic: MixingCritic, state: Float[Array, "rows state"], probs: Float[Array, "rows agents actions"]
) -> tuple[Float[Array, " rows"], Float[Array, "rows agents actions"]]:
    """Of the mixing critic, the gradient in closed form."""
    weights = critic.weights(state, probs.shape[1])
    return weights.value(probs), weights.input_gradient(probs)


def climb(
    critic: PyTree,
    episodes: Episodes,
    probs: Float[Array, "batch time1 agents actions"],
    packed: Packed,
    chunk: int,
    value_and_slope: ValueAndSlope = mixing_value_and_slope,
) -> Climb:
    """f(s, pi) and df/dpi of every step."""
    state, pi = flat(episodes.state), flat(probs)

    def body(carry: PyTree, rows: Chunk) -> PyTree:
        found = value_and_slope(critic, state[rows.index], pi[rows.index])
        return jax.tree.map(lambda buffer, new: write(buffer, new, rows), carry, found)

    room = functools.partial(room_for, packed, dtype=pi.dtype)
    value, slope = over_chunks(packed, chunk, body, (room(()), room(pi.shape[1:])))
    return Climb(unpack(value, packed), unpack(slope, packed))


def climbing_gradient(
    actor: RecurrentAgent,
    episodes: Episodes,
    acting: Acting,
    up: Climb,
    config: "LicaConfig | RiitConfig",
    axis: str | None,
) -> ActorGradient:
    """Gradient of -mean f(s, pi) with the entropy bonus, and these losses in value."""
    # The loss is a mean over agents too; the value is one for all of them.
    signal = episodes.actions.shape[2] * up.slope[:, :-1]
    slope = actor_gradient(actor, episodes, acting, signal, config.entropy_coef, config.entropy, axis, direct)
    # In value, the linear part that was differentiated is not the loss.
    policy_part = -mean_over_steps(up.value[:, :-1], episodes, axis)
    return dataclasses.replace(slope, loss=slope.loss - slope.policy_part + policy_part, policy_part=policy_part)


def update(
    learner: Learner, episodes: Episodes, key: PRNGKeyArray, axis: str | None, spec: EnvSpec, config: LicaConfig
) -> tuple[Learner, dict[str, Array]]:
    """One critic step, then one actor step. Zhou et al. 2020, section 4.

    L = - sum m f(s, pi_1 .. pi_n) / sum m  -  xi Hbar / sg(Hbar),     the gradient through f into the policies.
    """
    del key  # Deterministic.
    chunk = chunk_rows(spec, config)
    packed = pack(episodes.valid, max(chunk, CRITIC_CHUNK))
    training, goal, regressed = train_critic(learner.training, episodes, packed, config, axis)
    acting = unroll(learner.actor, episodes) if episodes.record is None else episodes.record
    up = climb(training.critic, episodes, acting.probs, packed, chunk)
    slope = climbing_gradient(learner.actor, episodes, acting, up, config, axis)
    steps, actor_opt = clipped_adam(config.actor_lr, config.clip_norm).update(slope.gradient, learner.actor_opt)
    metrics = {"gradient_steps": training.steps + training.steps // config.critic_epochs}
    metrics |= measure_critic(episodes, regressed.taken, goal.targets, regressed.loss, regressed.gradient_norm, axis)
    metrics |= measure_actor(episodes, acting, slope, axis)
    return Learner(eqx.apply_updates(learner.actor, steps), actor_opt, training), metrics


class RiitLearner(eqx.Module):
    """Everything that RIIT learns, counts or remembers. Arrays only."""

    actor: RecurrentAgent
    critic: UtilityCritic
    target: UtilityCritic
    actor_opt: PyTree
    critic_opt: PyTree
    replay: replays.Replay | None
    episodes: Int[Array, ""]
    """Training episodes collected."""
    copied_at: Int[Array, ""]
    """How many there were when the critic was last copied into the target."""
    gradient_steps: Int[Array, ""]


def riit(name: str, spec: EnvSpec, config: RiitConfig) -> Algorithm:
    """Build RIIT, on and off policy or on policy alone, for one environment. Hu et al. 2021 (arXiv 2102.03479).

    Each update takes one batch of whole episodes: a critic step on replayed episodes once there are enough, a critic
    step and an actor step on the new ones, or on the latest. The actor climbs a critic that is monotone in the agents'
    own values.

    Raises:
        ValueError: an option is out of range, or the buffer cannot hold what it should.
    """
    check_numbers(config)
    bind = {"spec": spec, "config": config}
    needed = {"batch_episodes": config.batch_episodes, "start_episodes": config.start_episodes}
    needed = needed if config.off_policy else {}
    if config.latest_episodes is not None:
        needed["latest_episodes"] = config.latest_episodes
    replays.check_room(spec, config.buffer_episodes, config.buffer_gib, **needed)
    room = room_riit(spec, config)
    return Algorithm(
        name=name,
        init=functools.partial(init_riit, **bind),
        policy=lambda learner: learner.actor,
        initial_carry=functools.partial(initial_carry, spec=spec, hidden=config.actor_hidden),
        act=act,
        update=functools.partial(update_riit, config=config),
        memory=functools.partial(memory_riit, **bind),
        buffer=room * replays.episode_bytes(spec),
        room=room or None,
        drawn={option: count for option, count in needed.items() if option != "start_episodes"},
    )


def room_riit(spec: EnvSpec, config: RiitConfig) -> int:
    """Episodes that the buffer holds: no more than are ever looked at."""
    if not config.off_policy:
        return config.latest_episodes or 0
    return replays.capacity(spec, config.buffer_episodes, config.buffer_gib)


def riit_adam(lr: float, limit: float) -> optax.GradientTransformation:
    """Clip, then Adam with eps 1e-7."""
    return optax.chain(clip_by_norm(limit), optax.adam(lr, eps=1e-7))


def init_riit(key: PRNGKeyArray, spec: EnvSpec, config: RiitConfig) -> RiitLearner:
    """Fresh networks, a target that is a copy of the critic, and an empty buffer where one is needed."""
    actor_key, critic_key = jax.random.split(key)
    n, a = spec.n_agents, spec.n_actions
    actor = RecurrentAgent.init(actor_key, n_agent_inputs(spec), config.actor_hidden, a)
    critic = UtilityCritic.init(critic_key, n, a, spec.obs_size, spec.state_size, config.critic_hidden, config.embed)
    room, zero = room_riit(spec, config), jnp.zeros((), jnp.int32)
    return RiitLearner(
        actor=actor,
        critic=critic,
        target=jax.tree.map(jnp.copy, critic),
        actor_opt=optimiser_state(riit_adam(config.actor_lr, config.clip_norm), actor),
        critic_opt=optimiser_state(riit_adam(config.critic_lr, config.clip_norm), critic),
        replay=replays.init(spec, room) if room else None,
        episodes=zero,
        copied_at=zero,
        gradient_steps=zero,
    )


def with_observations(episodes: Episodes) -> Episodes:
    """The batch with all observations beside the state in its place: all that the critic reads."""
    obs = episodes.obs.reshape(*episodes.obs.shape[:2], -1)
    return dataclasses.replace(episodes, state=jnp.concatenate([episodes.state, obs], axis=-1))


def utility_value_and_slope(
    critic: UtilityCritic, features: Float[Array, "rows features"], probs: Float[Array, "rows agents actions"]
) -> tuple[Float[Array, " rows"], Float[Array, "rows agents actions"]]:
    """Q_tot at policies and its gradient in them."""

    def total(pi: Array) -> tuple[Array, Array]:
        value = critic.value(features, pi)
        return value.sum(), value

    slope, value = jax.grad(total, has_aux=True)(probs)
    return value, slope


def _riit_step(
    critic: UtilityCritic,
    target: UtilityCritic,
    opt: PyTree,
    episodes: Episodes,
    lam: float,
    config: RiitConfig,
    axis: str | None,
) -> tuple[UtilityCritic, PyTree, Array, CriticGradient]:
    """One critic step on half the mean squared error; also the targets and what was found before the step."""
    n_actions, dtype = episodes.avail.shape[-1], episodes.state.dtype

    def value(params: UtilityCritic, features: Array, actions: Array) -> Array:
        return params.value(features, jax.nn.one_hot(actions, n_actions, dtype=dtype))

    halved = optax.chain(optax.scale(0.5), riit_adam(config.critic_lr, config.clip_norm))
    packed = pack(episodes.valid, CRITIC_CHUNK)
    terminal = config.time_limit == "terminal"
    critic, opt, goal, found = step_joint(
        critic, target, (optax.EmptyState(), opt), episodes, packed, halved, config.gamma, lam, terminal, axis, value
    )
    return critic, opt[1], goal.targets, found


def update_riit(
    learner: RiitLearner, episodes: Episodes, key: PRNGKeyArray, axis: str | None, config: RiitConfig
) -> tuple[RiitLearner, dict[str, Array]]:
    """Critic on replayed, then on new episodes, then the actor on the new ones. Hu et al. 2021, section 4.

    critic: 1/2 sum m (Q_tot - y)^2 / sum m;     actor: - sum m Q_tot(s, pi_1 .. pi_n) / sum m  -  xi Hbar / sg(Hbar)

    With `latest_episodes` the latest take the place of the new ones, and all measures are of them.
    """
    critic, opt, replay = learner.critic, learner.critic_opt, learner.replay
    collected = learner.episodes + global_sum(jnp.asarray(episodes.valid.shape[0], jnp.int32), axis)
    ready = jnp.zeros((), bool)
    metrics: dict[str, Array] = {}
    if replay is not None:
        replay = replays.add(replay, episodes, axis)
        metrics["buffer_episodes"] = replays.filled(replay)
    if replay is not None and config.off_policy:
        ready = replays.has(replay, max(config.start_episodes, config.batch_episodes))
        drawn = with_observations(replays.sample(replay, config.batch_episodes, key, axis))

        def replayed(before: UtilityCritic, state: PyTree) -> tuple[UtilityCritic, PyTree]:
            return _riit_step(before, learner.target, state, drawn, 0.0, config, axis)[:2]

        critic, opt = jax.lax.cond(ready, replayed, lambda *same: same, critic, opt)
    if replay is not None and config.latest_episodes is not None:
        episodes = replays.latest(replay, config.latest_episodes, axis)
    acting = unroll(learner.actor, episodes) if episodes.record is None else episodes.record
    new = with_observations(episodes)
    critic, opt, targets, found = _riit_step(critic, learner.target, opt, new, config.td_lambda, config, axis)
    up = climb(critic, new, acting.probs, pack(episodes.valid, CRITIC_CHUNK), CRITIC_CHUNK, utility_value_and_slope)
    slope = climbing_gradient(learner.actor, episodes, acting, up, config, axis)
    moves, actor_opt = riit_adam(config.actor_lr, config.clip_norm).update(slope.gradient, learner.actor_opt)
    copy_now = collected - learner.copied_at >= config.target_interval
    following = RiitLearner(
        actor=eqx.apply_updates(learner.actor, moves),
        critic=critic,
        target=jax.tree.map(lambda fresh, old: jnp.where(copy_now, fresh, old), critic, learner.target),
        actor_opt=actor_opt,
        critic_opt=opt,
        replay=replay,
        episodes=collected,
        copied_at=jnp.where(copy_now, collected, learner.copied_at),
        gradient_steps=learner.gradient_steps + 2 + ready,
    )
    metrics["gradient_steps"] = following.gradient_steps
    metrics |= measure_critic(episodes, found.taken, targets, found.loss, optax.tree.norm(found.gradient), axis)
    return following, metrics | measure_actor(episodes, acting, slope, axis)


def memory_riit(batch: int, spec: EnvSpec, config: RiitConfig) -> int:
    """Estimated peak bytes of training on one device: buffer, new and drawn episodes, a chunk of the critic."""
    drawn = config.batch_episodes if config.off_policy else 0
    batch = max(batch, config.latest_episodes or 0)
    episodes = (5 * batch + 4 * drawn + room_riit(spec, config)) * replays.episode_bytes(spec)
    inputs = spec.obs_size + spec.n_agents + spec.n_actions
    chunk = CRITIC_CHUNK * spec.n_agents * (3 * inputs + 8 * config.critic_hidden)
    acting = batch * (spec.episode_limit + 1) * spec.n_agents * (4 * config.actor_hidden + 6 * spec.n_actions)
    bare = dataclasses.replace(config, off_policy=False, latest_episodes=None)
    learner = jax.eval_shape(functools.partial(init_riit, spec=spec, config=bare), jax.random.key(0))
    parameters = sum(leaf.size for leaf in jax.tree.leaves(learner))
    return episodes + 4 * (chunk + acting + 2 * parameters)
