"""SCC: each agent's Q-network is regressed to its Shapley share of a joint value, from replayed episodes."""

import dataclasses
import functools
from typing import Annotated, Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from seca.algos.base import Algorithm, Claim, Claims
from seca.credit.base import Mixed
from seca.credit.shapley import check_pairs, shapley_fast
from seca.learning import buffer as buffers
from seca.learning.acting import act_on_values, fresh_agent, initial_carry, unroll, utility_gain
from seca.learning.buffer import Replay, ReplayOptions
from seca.learning.counted import per_step
from seca.learning.devices import episode_keys, global_sum, step_keys
from seca.learning.joint_critic import fit, regression_targets, taken_values, td_error
from seca.learning.measures import count_steps, mean_over_steps, measure_critic
from seca.learning.memory import training_bytes, visited
from seca.learning.options import ActorCriticOptions, check_numbers
from seca.learning.rows import Packed, map_rows, pack, to_rows, unpack
from seca.learning.through_time import through_time
from seca.learning.trained import Copied, Trained, clip_each, fresh, never_copied, norm
from seca.nets.critics import CoalitionCritic
from seca.policies import Exploration, mode, of_taken
from seca.ranges import Count, Positive, Range
from seca.returns import Targets
from seca.sizes import sizes
from seca.types import EnvSpec, Episodes, PyTree


@dataclasses.dataclass(frozen=True)
class SccConfig(Targets, ReplayOptions, Exploration, ActorCriticOptions):
    """Options of SCC; the defaults are its authors', with batches of the paper's comparison.

    RMSprop steps the agents, Adam the critic. Exploration is ours: theirs ends after 50,000 env steps,
    over 1,000 updates of a single runner but 32 of 32 runners.
    """

    sampler: Literal["orders", "sizes"] = "orders"
    """How coalitions are drawn: prefixes of random orders, which is unbiased for the Shapley value; or, as in the
    public code, 1 to all of the other agents left out, each number alike, which is not. Of one agent or two, `sizes`
    leaves out the agent itself, observation and all."""
    credit_orders: Annotated[int, Range(1, 100_000)] = 8
    """Orders averaged over in each step by `orders`: random ones and their reverses, or all of a small team."""
    credit_samples: Annotated[int, Range(1, 100_000)] = 3
    """Coalitions drawn for each agent and step by `sizes`."""
    epsilon_steps: Count = 500_000
    """Env steps over which the share falls linearly."""
    buffer_episodes: Count = 1000
    """Episodes the buffer holds."""
    target_interval: Count = 200
    """Training episodes between two copies of the critic into its target."""
    clip_norm: Positive = 5.0
    """Norm above which the gradient of a single array of parameters is scaled down."""
    critic_hidden: Count = 128
    """Width of the two layers that read one agent's observation and action."""
    joint_width: Count = 128
    """Width of the hidden layer that reads all agents. The public code has none: its value is a sum over agents, of
    which no coalition says more than another."""


class Learner(eqx.Module):
    """Everything that SCC learns or counts. Arrays only."""

    actor: Trained
    critic: Trained
    episodes: Copied
    """Training episodes collected, and how many there were when the critic was last copied into the target."""


def scc(name: str, spec: EnvSpec, config: SccConfig) -> Algorithm:
    """Build SCC for one environment. Li et al. 2021 (KDD).

    Each update adds one batch of whole episodes to the buffer and takes a critic and an actor step on drawn ones.
    Agents act on their Q-networks, epsilon-greedily.

    Raises:
        ValueError: an option is out of range, orders do not come in pairs, or the buffer cannot hold a batch.
    """
    check_numbers(config)
    if config.sampler == "orders":
        check_pairs(spec.n_agents, config.credit_orders)
    buffer = config.buffer(spec)
    bind = {"spec": spec, "config": config}
    return Algorithm(
        name=name,
        init=functools.partial(init, **bind),
        policy=lambda learner: learner.actor.params,
        initial_carry=functools.partial(initial_carry, spec=spec, hidden=config.actor_hidden),
        act=functools.partial(act_on_values, exploration=config),
        update=functools.partial(update, config=config),
        memory=functools.partial(memory, **bind),
        buffer=buffer,
        claims=Claims(
            "shapley",
            functools.partial(claim, config=config),
            says="its utility, regressed to its Shapley share, of what it did less the mean under its policy",
        ),
    )


def make_optimisers(config: SccConfig) -> tuple[optax.GradientTransformation, optax.GradientTransformation]:
    """RMSprop of the actor in TensorFlow's form, Adam of the critic; clipped array by array."""
    rmsprop = optax.rmsprop(config.actor_lr, decay=0.9, eps=1e-10, initial_scale=1.0)
    adam = optax.adam(config.critic_lr)
    return optax.chain(clip_each(config.clip_norm), rmsprop), optax.chain(clip_each(config.clip_norm), adam)


def init(key: PRNGKeyArray, spec: EnvSpec, config: SccConfig) -> Learner:
    """Fresh networks; the target is a copy of the critic."""
    actor_key, critic_key = jax.random.split(key)
    n, a = spec.n_agents, spec.n_actions
    actor = fresh_agent(actor_key, spec, config.actor_hidden, a)
    critic = CoalitionCritic.init(critic_key, n, a, spec.obs_size, config.critic_hidden, config.joint_width)
    actor_rule, critic_rule = make_optimisers(config)
    return Learner(fresh(actor, actor_rule), fresh(critic, critic_rule, target=True), never_copied())


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
    rows = batch.state, batch.actions, step_keys(keys, batch.actions.shape[1])
    shares = functools.partial(_shares, critic, config, batch.avail.shape[-1])
    found = unpack(map_rows(shares, packed, *rows), packed)
    return jax.lax.stop_gradient(jnp.where(batch.valid[..., None], found[:, :-1], 0))


def _shares(
    critic: CoalitionCritic,
    config: SccConfig,
    n_actions: int,
    features: Array,
    actions: Array,
    keys: Key[Array, " rows"],
) -> Float[Array, "rows agents"]:
    """Credits of some rows."""
    taken = jax.nn.one_hot(actions, n_actions, dtype=features.dtype)
    if config.sampler == "orders":
        return shapley_fast(critic.mix(features, taken), actions, keys, config.credit_orders)
    if actions.shape[-1] > 2:
        return jax.vmap(functools.partial(by_sizes, samples=config.credit_samples))(critic.mix(features, taken), keys)
    return jax.vmap(functools.partial(by_absence, critic))(features, taken)


def to_credit(outputs: Float[Array, "*rows actions"], told: tuple[Array, Array, PyTree]) -> tuple[Array, Array]:
    """(Q_i(tau_i, u_i) - phi_i)^2, of actions, credits and whose steps count; a loss for `through_time`."""
    actions, share, counted = told
    loss = (of_taken(outputs, actions) - share) ** 2
    loss = loss if counted is None else jnp.where(counted, loss, 0)
    return loss, loss


def taken_value(
    critic: CoalitionCritic, features: Float[Array, "rows features"], actions: Int[Array, "rows agents"], n_actions: int
) -> Float[Array, " rows"]:
    """The joint value at taken actions."""
    return critic.value(features, jax.nn.one_hot(actions, n_actions, dtype=features.dtype))


def update(
    learner: Learner,
    episodes: Episodes,
    replay: Replay,
    key: PRNGKeyArray,
    axis: str | None,
    config: SccConfig,
) -> tuple[Learner, dict[str, Array]]:
    """Take one step of critic and actor on drawn episodes once there are enough, copy the critic when due."""
    sample_key, credit_key = jax.random.split(key)
    ready = buffers.has(replay, config.batch_episodes)
    drawn = buffers.sample(replay, config.batch_episodes, sample_key, axis)
    step = functools.partial(train, drawn, credit_key, config, axis)
    before = learner.actor, learner.critic
    nothing = jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(step, before)[1])
    (actor, critic), found = jax.lax.cond(ready, step, lambda same: (same, nothing), before)
    collected = learner.episodes.sofar + global_sum(episodes.valid[:, 0].sum(dtype=jnp.int32), axis)
    copy_now = ready & learner.episodes.due(collected, config.target_interval)
    following = Learner(actor, critic.copy_when(copy_now), learner.episodes.after(collected, copy_now))
    return following, {"gradient_steps": actor.steps + critic.steps} | found


def train(
    drawn: Episodes, key: PRNGKeyArray, config: SccConfig, axis: str | None, before: tuple[Trained, Trained]
) -> tuple[tuple[Trained, Trained], dict[str, Array]]:
    """One critic step, then one actor step towards the credits of the critic just stepped.

    critic: sum m (Q - y)^2 / sum m,   y = r + gamma (1 - d) Q^-(o', u');
    actor: sum m (Q_i(tau_i, u_i) - phi_i)^2 / (n sum m),   phi by the critic just stepped
    """
    actor, critic = before
    batch, count = of_observations(drawn), count_steps(drawn, axis)
    packed = pack(batch.valid, sizes().critic_rows)
    actor_rule, critic_rule = make_optimisers(config)
    value = functools.partial(taken_value, n_actions=drawn.avail.shape[-1])
    targets = regression_targets(critic.target, batch, packed, config.gamma, 0.0, config.time_limit, value)
    critic, regressed = fit(critic, targets, batch, packed, critic_rule, count, axis, value)
    keys = episode_keys(key, batch.valid.shape[0], axis)
    share = credits_of(critic.params, batch, pack(batch.valid, sizes().coalition_rows), keys, config)
    told = drawn.actions, to_rows(share), to_rows(drawn.counted)
    swept = through_time(actor.params, drawn, unroll(actor.params, drawn).hidden, told, to_credit)
    gradient, loss = global_sum((swept.gradient, swept.loss), axis)
    gradient, loss = jax.tree.map(lambda x: x / (count * per_step(drawn, axis)), (gradient, loss))
    metrics = measure_critic(batch, regressed.taken, targets, regressed.loss, regressed.gradient_norm, axis)
    metrics |= {
        "actor_loss": loss,
        "actor_gradient_norm": norm(gradient),
        "credit_mean": mean_over_steps(share, batch, axis).mean(),
        "credit_agent_abs": mean_over_steps(jnp.abs(share), batch, axis),
    }
    return (actor.step(gradient, actor_rule), critic), metrics


def claim(learner: Learner, episodes: Episodes, env_steps: Array, key: PRNGKeyArray, config: SccConfig) -> Claim:
    """What the agents act on: q_i(u_i) less its mean under the epsilon-greedy policy, q_i regressed to Shapley shares.

    Those shares are of coalitions without the absent agents' actions, not with those drawn again. The value is the
    critic's of the greedy joint action.
    """
    del key  # Nothing is drawn.
    q, batch = unroll(learner.actor.params, episodes).outputs, of_observations(episodes)
    credit, probs = utility_gain(q[:, :-1], episodes, config.epsilon(env_steps))
    packed, greedy = pack(batch.valid, sizes().critic_rows), dataclasses.replace(batch, actions=mode(q, batch.avail))
    value = functools.partial(taken_value, n_actions=episodes.avail.shape[-1])
    error = td_error(learner.critic, batch, packed, config, 0.0, value)
    best = taken_values(learner.critic.params, greedy, packed, value)[:, :-1]
    return Claim(credit, team=error, policy=probs, value=best)


def memory(batch: int, spec: EnvSpec, config: SccConfig) -> int:
    """Estimated peak bytes of training on one device: new and drawn episodes, a chunk of the critic."""
    learner = jax.eval_shape(functools.partial(init, spec=spec, config=config), jax.random.key(0))
    inputs, n = spec.obs_size + spec.n_actions, spec.n_agents
    at_once = sizes().critic_rows, sizes().coalition_rows
    rows, judged = (visited(chunk, spec, config.batch_episodes) for chunk in at_once)
    working = rows * n * (3 * inputs + 8 * config.critic_hidden + 2 * config.joint_width)
    coalitions = max(config.credit_orders, config.credit_samples * n) * n
    working += judged * coalitions * config.joint_width * 3
    per_agent = 2 * config.actor_hidden + 2 * spec.n_actions
    return training_bytes(learner, spec, batch + config.batch_episodes, per_agent, working)
