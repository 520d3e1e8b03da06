"""SCC: each agent's Q-network is regressed to its Shapley share of a joint value, from replayed episodes."""

import dataclasses
import functools
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from seca.algos import replay as replays
from seca.algos import value_based
from seca.algos.acting import initial_carry, n_agent_inputs
from seca.algos.actor_step import Rows, actor_gradient, unroll
from seca.algos.base import Algorithm
from seca.algos.config import check_numbers
from seca.algos.critic_step import CRITIC_CHUNK, step_joint
from seca.algos.measures import mean_over_steps, measure_critic
from seca.algos.optim import clip_each, global_sum, optimiser_state
from seca.algos.packing import Chunk, Packed, flat, over_chunks, pack, room_for, unpack, write
from seca.algos.value_config import NoMixing, ValueBasedConfig
from seca.credit.shapley import check_pairs, drawn_orders
from seca.nets.agents import RecurrentAgent
from seca.nets.critics import CoalitionCritic, Mixed
from seca.ranges import Count, Fraction, Positive, Range
from seca.types import EnvSpec, Episodes, PyTree

CHUNK = 256
"""Rows whose coalitions are valued at once; results do not depend on it."""


@dataclasses.dataclass(frozen=True)
class SccConfig:
    """Options of SCC; the defaults are its authors', with batches of the paper's comparison.

    Exploration is ours: theirs ends after 50,000 env steps, over 1,000 updates of a single runner but 32 of 32 runners.
    """

    actor_lr: Positive = 5e-4
    """RMSprop step size of the agents."""
    critic_lr: Positive = 5e-4
    """Adam step size of the critic."""
    gamma: Fraction = 0.99
    """Discount per env step."""
    sampler: Literal["orders", "sizes"] = "orders"
    """How coalitions are drawn: prefixes of random orders, which is unbiased for the Shapley value; or, as in the
    public code, 1 to all of the other agents left out, each number alike, which is not. Of one agent or two, `sizes`
    leaves out the agent itself, observation and all."""
    credit_orders: Annotated[int, Range(1, 100_000)] = 8
    """Orders averaged over in each step by `orders`: random ones and their reverses, or all of a small team."""
    credit_samples: Annotated[int, Range(1, 100_000)] = 3
    """Coalitions drawn for each agent and step by `sizes`."""
    epsilon_start: Fraction = 1.0
    """Share of random actions at first."""
    epsilon_finish: Fraction = 0.05
    """Share of random actions at last."""
    epsilon_steps: Count = 500_000
    """Env steps over which the share falls linearly."""
    batch_episodes: Count = 32
    """Episodes drawn from the buffer for each update."""
    buffer_episodes: Count = 1000
    """Episodes the buffer holds."""
    buffer_gib: Positive = 2.0
    """Memory the buffer may take on each device; on large maps it holds fewer episodes for that."""
    target_interval: Count = 200
    """Training episodes between two copies of the critic into its target."""
    clip_norm: Positive = 5.0
    """Norm above which the gradient of a single array of parameters is scaled down."""
    actor_hidden: Count = 64
    """Width of the agents' layers and of their recurrent state."""
    critic_hidden: Count = 128
    """Width of the two layers that read one agent's observation and action."""
    joint_width: Count = 128
    """Width of the hidden layer that reads all agents. The public code has none: its value is a sum over agents, of
    which no coalition says more than another."""
    time_limit: Literal["bootstrap", "terminal"] = "bootstrap"
    """Whether an episode cut by the time limit bootstraps from its last state or counts as ended."""


class Learner(eqx.Module):
    """Everything that SCC learns, counts or remembers. Arrays only."""

    actor: RecurrentAgent
    critic: CoalitionCritic
    target: CoalitionCritic
    actor_opt: PyTree
    critic_opt: PyTree
    replay: replays.Replay
    episodes: Int[Array, ""]
    """Training episodes collected."""
    copied_at: Int[Array, ""]
    """How many there were when the critic was last copied into the target."""
    gradient_steps: Int[Array, ""]


class Trained(eqx.Module):
    """What one update of the networks changes."""

    actor: RecurrentAgent
    critic: CoalitionCritic
    actor_opt: PyTree
    critic_opt: PyTree


def scc(name: str, spec: EnvSpec, config: SccConfig) -> Algorithm:
    """Build SCC for one environment. Li et al. 2021 (KDD).

    Each update adds one batch of whole episodes to the buffer and takes a critic and an actor step on drawn ones.
    Agents act on their Q-networks, epsilon-greedily.

    Raises:
        ValueError: an option is out of range, orders do not come in pairs, or the buffer cannot hold a batch.
    """
    check_numbers(config)
    check(spec, config)
    bind = {"spec": spec, "config": config}
    exploring = ValueBasedConfig(
        NoMixing(),
        epsilon_start=config.epsilon_start,
        epsilon_finish=config.epsilon_finish,
        epsilon_steps=config.epsilon_steps,
    )
    return Algorithm(
        name=name,
        init=functools.partial(init, **bind),
        policy=lambda learner: learner.actor,
        initial_carry=functools.partial(initial_carry, spec=spec, hidden=config.actor_hidden),
        act=functools.partial(value_based.act, config=exploring),
        update=functools.partial(update, config=config),
        memory=functools.partial(memory, **bind),
        buffer=room(spec, config) * replays.episode_bytes(spec),
        room=room(spec, config),
        drawn={"batch_episodes": config.batch_episodes},
    )


def room(spec: EnvSpec, config: SccConfig) -> int:
    """Episodes that the buffer holds."""
    return replays.capacity(spec, config.buffer_episodes, config.buffer_gib)


def check(spec: EnvSpec, config: SccConfig) -> None:
    """Raise ValueError in words for options that make no sense."""
    replays.check_room(spec, config.buffer_episodes, config.buffer_gib, batch_episodes=config.batch_episodes)
    if config.sampler == "orders":
        check_pairs(spec.n_agents, config.credit_orders)


def make_optimisers(config: SccConfig) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """RMSprop of the actor in TensorFlow's form, Adam of the critic; clipped array by array."""
    rmsprop = optax.rmsprop(config.actor_lr, decay=0.9, eps=1e-10, initial_scale=1.0)
    adam = optax.adam(config.critic_lr)
    return optax.chain(clip_each(config.clip_norm), rmsprop), optax.chain(clip_each(config.clip_norm), adam)


def init(key: PRNGKeyArray, spec: EnvSpec, config: SccConfig) -> Learner:
    """Fresh networks, a target that is a copy of the critic, and an empty buffer."""
    actor_key, critic_key = jax.random.split(key)
    n, a = spec.n_agents, spec.n_actions
    actor = RecurrentAgent.init(actor_key, n_agent_inputs(spec), config.actor_hidden, a)
    critic = CoalitionCritic.init(critic_key, n, a, spec.obs_size, config.critic_hidden, config.joint_width)
    actor_rule, critic_rule = make_optimisers(config)
    zero = jnp.zeros((), jnp.int32)
    return Learner(
        actor=actor,
        critic=critic,
        target=jax.tree.map(jnp.copy, critic),
        actor_opt=optimiser_state(actor_rule, actor),
        critic_opt=optimiser_state(critic_rule, critic),
        replay=replays.init(spec, room(spec, config)),
        episodes=zero,
        copied_at=zero,
        gradient_steps=zero,
    )


def of_observations(episodes: Episodes) -> Episodes:
    """The batch with all observations in the state's place: all that the critic reads."""
    return dataclasses.replace(episodes, state=episodes.obs.reshape(*episodes.obs.shape[:2], -1))


def by_sizes(mixed: Mixed, key: PRNGKeyArray, samples: int) -> Float[Array, " agents"]:
    """The public code's credit of one step: k of the others are left out, k uniform in 1 .. n - 1.

        phi_i = mean over draws of v(C + i) - v(C),    |C| = n - 1 - k

    Not the Shapley value: C is never all the others, and the credits do not add up to v(N) - v({}).
    """
    n_agents = mixed.delta.shape[0]
    size_key, member_key = jax.random.split(key)
    left_out = jax.random.randint(size_key, (samples, n_agents, 1), 1, n_agents)
    scores = jax.random.uniform(member_key, (samples, n_agents, n_agents), jnp.float32)
    # An agent's own score is past all others', so that it is never a member of what it joins.
    scores = jnp.where(jnp.eye(n_agents, dtype=bool), 2.0, scores)
    rank = jnp.argsort(jnp.argsort(scores, axis=-1), axis=-1)
    members = (rank < n_agents - 1 - left_out).astype(mixed.delta.dtype)
    before = mixed.policy + jnp.einsum("mij,je->mie", members, mixed.delta)
    return (mixed.value(before + mixed.delta) - mixed.value(before)).mean(axis=0)


def by_absence(
    critic: CoalitionCritic, features: Float[Array, " features"], taken: Float[Array, "agents actions"]
) -> Float[Array, " agents"]:
    """The public code's credit of one step where there are one or two agents: phi_i = v(N) - v(N without i).

    Unlike in a coalition's value, the observation of who is absent is left out too.
    """
    n_agents = taken.shape[0]
    obs = features.reshape(n_agents, -1)

    def without(kept: Float[Array, " agents"]) -> Float[Array, ""]:
        return critic.value((obs * kept[:, None]).ravel(), taken * kept[:, None])

    return critic.value(features, taken) - jax.vmap(without)(1 - jnp.eye(n_agents, dtype=obs.dtype))


def by_orders(mixed: Mixed, key: PRNGKeyArray, orders: int) -> Float[Array, " agents"]:
    """Shapley values of one step over drawn orders: v of each prefix with, less without, its last agent."""
    drawn = drawn_orders(key, mixed.delta.shape[0], orders)
    return jax.vmap(mixed.sequential)(drawn).mean(axis=0)


def credits_of(
    critic: CoalitionCritic,
    batch: Episodes,
    packed: Packed,
    keys: Key[Array, " batch"],
    config: SccConfig,
) -> Float[Array, "batch time agents"]:
    """Each agent's share of the joint value in each step; 0 on padding.

    Args:
        critic: online critic.
        batch: episodes `of_observations`.
        packed: their real rows.
        keys: one per episode.
        config: the sampler.
    """
    features, actions = flat(batch.state), flat(batch.actions)
    n_agents, n_actions = batch.avail.shape[2:]
    rows_each = batch.valid.shape[1] + 1

    def shares(features: Array, taken: Array, step_keys: Array) -> Array:
        if config.sampler == "orders":
            one = functools.partial(by_orders, orders=config.credit_orders)
        elif n_agents > 2:
            one = functools.partial(by_sizes, samples=config.credit_samples)
        else:
            return jax.vmap(functools.partial(by_absence, critic))(features, taken)
        return jax.vmap(one)(critic.mix(features, taken), step_keys)

    def body(buffer: Array, rows: Chunk) -> Array:
        step_keys = jax.vmap(jax.random.fold_in)(keys[rows.index // rows_each], rows.index % rows_each)
        taken = jax.nn.one_hot(actions[rows.index], n_actions, dtype=features.dtype)
        return write(buffer, shares(features[rows.index], taken, step_keys), rows)

    found = unpack(over_chunks(packed, CHUNK, body, room_for(packed, (n_agents,), features.dtype)), packed)
    return jax.lax.stop_gradient(jnp.where(batch.valid[..., None], found[:, :-1], 0))


def to_credit(outputs: Array, log_probs: Array, rows: Rows) -> Float[Array, "batch block agents"]:
    """(Q_i(tau_i, u_i) - phi_i)^2; `rows.signal` holds phi."""
    del log_probs  # The outputs are values, not a policy.
    return (jnp.take_along_axis(outputs, rows.actions[..., None], axis=-1)[..., 0] - rows.signal) ** 2


def update(
    learner: Learner, episodes: Episodes, key: PRNGKeyArray, axis: str | None, config: SccConfig
) -> tuple[Learner, dict[str, Array]]:
    """Store the new episodes, take one step on drawn ones once there are enough, copy the critic when due.

    critic: sum m (Q - y)^2 / sum m,   y = r + gamma (1 - d) Q^-(o', u');
    actor: sum m (Q_i(tau_i, u_i) - phi_i)^2 / (n sum m),   phi by the critic just stepped
    """
    sample_key, credit_key = jax.random.split(key)
    replay = replays.add(learner.replay, episodes, axis)
    ready = replays.has(replay, config.batch_episodes)
    drawn = replays.sample(replay, config.batch_episodes, sample_key, axis)
    step = functools.partial(_step, learner.target, drawn, credit_key, config, axis)
    before = Trained(learner.actor, learner.critic, learner.actor_opt, learner.critic_opt)
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(step, before)[1])
    after, found = jax.lax.cond(ready, step, lambda same: (same, nothing), before)
    collected = learner.episodes + global_sum(jnp.asarray(episodes.valid.shape[0], jnp.int32), axis)
    copy_now = ready & (collected - learner.copied_at >= config.target_interval)
    following = Learner(
        actor=after.actor,
        critic=after.critic,
        target=jax.tree.map(lambda new, old: jnp.where(copy_now, new, old), after.critic, learner.target),
        actor_opt=after.actor_opt,
        critic_opt=after.critic_opt,
        replay=replay,
        episodes=collected,
        copied_at=jnp.where(copy_now, collected, learner.copied_at),
        gradient_steps=learner.gradient_steps + 2 * ready,
    )
    counts = {"gradient_steps": following.gradient_steps, "buffer_episodes": replays.filled(replay)}
    return following, counts | found


def _step(
    target: CoalitionCritic,
    drawn: Episodes,
    key: PRNGKeyArray,
    config: SccConfig,
    axis: str | None,
    before: Trained,
) -> tuple[Trained, dict[str, Array]]:
    """One critic step, then one actor step towards the credits of the critic just stepped."""
    batch, n_actions = of_observations(drawn), drawn.avail.shape[-1]
    packed = pack(batch.valid, max(CHUNK, CRITIC_CHUNK))
    actor_rule, critic_rule = make_optimisers(config)

    def value(params: CoalitionCritic, features: Array, actions: Array) -> Array:
        return params.value(features, jax.nn.one_hot(actions, n_actions, dtype=features.dtype))

    terminal = config.time_limit == "terminal"
    critic, critic_opt, goal, regressed = step_joint(
        before.critic, target, before.critic_opt, batch, packed, critic_rule, config.gamma, 0.0, terminal, axis, value
    )
    size = batch.valid.shape[0]
    first = 0 if axis is None else jax.lax.axis_index(axis) * size
    keys = jax.vmap(functools.partial(jax.random.fold_in, key))(first + jnp.arange(size))
    share = credits_of(critic, batch, packed, keys, config)
    slope = actor_gradient(before.actor, drawn, unroll(before.actor, drawn), share, 0.0, "plain", axis, to_credit)
    moves, actor_opt = actor_rule.update(slope.gradient, before.actor_opt)
    norm = optax.tree.norm(regressed.gradient)
    metrics = measure_critic(batch, regressed.taken, goal.targets, regressed.loss, norm, axis)
    metrics |= {
        "actor_loss": slope.loss,
        "actor_gradient_norm": optax.tree.norm(slope.gradient),
        "credit_mean": mean_over_steps(share, batch, axis).mean(),
        "credit_agent_abs": mean_over_steps(jnp.abs(share), batch, axis),
    }
    return Trained(eqx.apply_updates(before.actor, moves), critic, actor_opt, critic_opt), metrics


def memory(batch: int, spec: EnvSpec, config: SccConfig) -> int:
    """Estimated peak bytes of training on one device: buffer, new and drawn episodes, a chunk of the critic."""
    episodes = (room(spec, config) + 3 * batch + 4 * config.batch_episodes) * replays.episode_bytes(spec)
    inputs, n = spec.obs_size + spec.n_actions, spec.n_agents
    chunk = CRITIC_CHUNK * n * (3 * inputs + 8 * config.critic_hidden + 2 * config.joint_width)
    coalitions = CHUNK * max(config.credit_orders, config.credit_samples * n) * n * config.joint_width * 3
    rows = config.batch_episodes * (spec.episode_limit + 1) * n
    passes = rows * (5 * config.actor_hidden + 6 * spec.n_actions)
    critic = config.critic_hidden * (inputs + config.critic_hidden + n * config.joint_width)
    return episodes + 4 * (chunk + coalitions + passes + 6 * critic)
