"""COMA as first published: a critic per agent that outputs the value of each of its actions."""

import dataclasses
import functools
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from seca.algos.acting import act, initial_carry, n_agent_inputs
from seca.algos.actor_step import actor_gradient, unroll
from seca.algos.agent_critic import Seen, outputs_of, regress, rows_at_once, seen_in, taken_output, targets_of
from seca.algos.base import Algorithm
from seca.algos.config import check_numbers
from seca.algos.floor import FloorConfig, floored_policy
from seca.algos.measures import measure_actor, measure_advantage, measure_critic
from seca.algos.optim import clipped_rmsprop, global_max, global_sum, optimiser_state
from seca.algos.packing import pack
from seca.nets.agents import RecurrentAgent
from seca.nets.mixers import Deep
from seca.ranges import Count, Fraction, Positive
from seca.returns import td_lambda
from seca.types import EnvSpec, Episodes, PyTree


@dataclasses.dataclass(frozen=True)
class ComaConfig:
    """Options of COMA; the defaults are PyMARL's."""

    actor_lr: Positive = 5e-4
    """RMSprop step size of the actor."""
    critic_lr: Positive = 5e-4
    """RMSprop step size of the critic."""
    gamma: Fraction = 0.99
    """Discount per env step."""
    td_lambda: Fraction = 0.8
    """Lambda of the TD(lambda) targets."""
    floor: FloorConfig = FloorConfig()
    """Exploration: policies are mixed with the uniform one, in acting and learning alike."""
    target_interval: Count = 200
    """Critic steps after which the next update copies the critic into its target."""
    clip_norm: Positive = 10.0
    """Global gradient norm above which the gradient is scaled down, actor and critic apart."""
    actor_hidden: Count = 64
    """Width of the actor's layers and of its recurrent state."""
    critic_hidden: Count = 128
    """Width of the critic's two hidden layers."""
    time_limit: Literal["bootstrap", "terminal"] = "bootstrap"
    """Whether an episode cut by the time limit bootstraps from its last state or counts as ended."""


class Learner(eqx.Module):
    """Everything that COMA learns or counts. Arrays only."""

    actor: RecurrentAgent
    critic: Deep
    target: Deep
    actor_opt: PyTree
    critic_opt: PyTree
    critic_steps: Int[Array, ""]
    copied_at: Int[Array, ""]
    """Critic steps when the critic was last copied into the target."""
    updates: Int[Array, ""]
    env_steps: Array
    """Env steps before the next batch, from which the floor of its policies follows."""


class Stepped(eqx.Module):
    """The critic after one step for each time of a batch, and what it said on the way."""

    critic: Deep
    opt: PyTree
    q: Float[Array, "batch time agents actions"]
    """Values at time t, read before the step at t and after those of all later times; 0 past the longest episode."""
    losses: Float[Array, " time"]
    """Mean squared error at each time, before its step."""
    norms: Float[Array, " time"]
    """Gradient norm of each step, before clipping."""
    squared: Float[Array, ""]
    """Sum of squared errors over all steps and agents, each before its step."""


def coma(name: str, spec: EnvSpec, config: ComaConfig) -> Algorithm:
    """Build COMA for one environment. Foerster et al. 2018.

    Each update takes one batch of whole episodes: a critic step for each time step, last first, then one actor step,
    then the batch is dropped.

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
        act=functools.partial(act, policy_at=functools.partial(floored_policy, floor=config.floor)),
        update=functools.partial(update, config=config),
        memory=functools.partial(memory, **bind),
    )


def critic_inputs(seen: Seen) -> Float[Array, "*rows agents inputs"]:
    """State, own observation, all agents' actions with the own one blanked, all agents' last actions, index."""
    n_agents, n_actions = seen.last_action.shape[-2:]
    rows, dtype = seen.obs.shape[:-2], seen.obs.dtype
    taken = jax.nn.one_hot(seen.actions, n_actions, dtype=dtype)
    index = jnp.eye(n_agents, dtype=dtype)
    others = (taken[..., None, :, :] * (1 - index)[..., None]).reshape(*rows, n_agents, -1)
    last = seen.last_action.reshape(*rows, 1, -1)

    def each(shared: Array) -> Array:
        return jnp.broadcast_to(shared, (*rows, n_agents, shared.shape[-1]))

    return jnp.concatenate([each(seen.state[..., None, :]), seen.obs, others, each(last), each(index)], axis=-1)


def n_critic_inputs(spec: EnvSpec) -> int:
    """Length of a row of `critic_inputs`."""
    return spec.state_size + spec.obs_size + 2 * spec.n_agents * spec.n_actions + spec.n_agents


def init(key: PRNGKeyArray, spec: EnvSpec, config: ComaConfig) -> Learner:
    """Fresh networks; the target is a copy of the critic."""
    actor_key, critic_key = jax.random.split(key)
    actor = RecurrentAgent.init(actor_key, n_agent_inputs(spec), config.actor_hidden, spec.n_actions)
    hidden = config.critic_hidden
    critic = Deep.init(critic_key, (n_critic_inputs(spec), hidden, hidden, spec.n_actions))
    zero = jnp.zeros((), jnp.int32)
    return Learner(
        actor=actor,
        critic=critic,
        target=jax.tree.map(jnp.copy, critic),
        actor_opt=optimiser_state(clipped_rmsprop(config.actor_lr, config.clip_norm), actor),
        critic_opt=optimiser_state(clipped_rmsprop(config.critic_lr, config.clip_norm), critic),
        critic_steps=zero,
        copied_at=zero,
        updates=zero,
        env_steps=jnp.zeros((), jnp.uint32),
    )


def step_through_time(
    critic: Deep,
    opt: PyTree,
    seen: Seen,
    targets: Float[Array, "batch time agents"],
    valid: Bool[Array, "batch time"],
    optimiser: optax.GradientTransformation,
    axis: str | None,
) -> Stepped:
    """One gradient step of the critic for each time step of the batch, from the last to the first.

        L_t = sum_{b,i} m (Q_i(u_i) - y)^2 / sum_{b,i} m,     at one t over all episodes that reach it

    Args:
        critic: online critic.
        opt: state of its optimiser.
        seen: rows of the batch, `[batch, time + 1, ...]`.
        targets: y, from the target critic.
        valid: real steps.
        optimiser: clipping included.
        axis: mapped axis of devices, or None.
    """
    batch, time, n_agents = targets.shape
    n_actions = seen.last_action.shape[-1]
    longest = global_max(valid.sum(axis=1).max(), axis)

    def step(number: Int[Array, ""], sofar: Stepped) -> Stepped:
        t = longest - 1 - number
        row = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, t, 1, keepdims=False), (seen, targets, valid))
        found = regress(sofar.critic, critic_inputs, taken_output, *row)
        gradient, squared, count = global_sum((found.gradient, found.loss, row[2].sum() * n_agents), axis)
        count = count.astype(targets.dtype)
        gradient = jax.tree.map(lambda g: g / count, gradient)
        moves, opt = optimiser.update(gradient, sofar.opt)
        return Stepped(
            critic=eqx.apply_updates(sofar.critic, moves),
            opt=opt,
            q=jax.lax.dynamic_update_index_in_dim(sofar.q, found.outputs, t, 1),
            losses=sofar.losses.at[t].set(squared / count),
            norms=sofar.norms.at[t].set(optax.tree.norm(gradient)),
            squared=sofar.squared + squared,
        )

    none = jnp.zeros(time, targets.dtype)
    q = jnp.zeros((batch, time, n_agents, n_actions), targets.dtype)
    return jax.lax.fori_loop(0, longest, step, Stepped(critic, opt, q, none, none, none.sum()))


def advantages(
    q: Float[Array, "batch time agents actions"],
    probs: Float[Array, "batch time agents actions"],
    actions: Int[Array, "batch time agents"],
) -> Float[Array, "batch time agents"]:
    """A_i = Q_i(u_i) - sum_a pi_i(a) Q_i(a). Foerster et al. 2018, Eq. 4."""
    return taken_output(q, actions) - (probs * q).sum(axis=-1)


def update(
    learner: Learner, episodes: Episodes, key: PRNGKeyArray, axis: str | None, config: ComaConfig
) -> tuple[Learner, dict[str, Array]]:
    """Critic steps back through time, then one actor step, then the target when due. Foerster et al. 2018, section 4.

    L = - sum m log pi_i(u_i | tau_i) A_i / (n sum m),     A by the critic as it was at each time's own step
    """
    del key  # Deterministic.
    valid, seen = episodes.valid, seen_in(episodes)
    n_agents = episodes.actions.shape[2]
    chunk = rows_at_once(n_agents, learner.critic.layers[0].weight.shape[1])
    packed = pack(valid, chunk)
    target_q = taken_output(outputs_of(learner.target, critic_inputs, seen, packed, chunk), episodes.actions)
    returns = functools.partial(td_lambda, gamma=config.gamma, lam=config.td_lambda)
    targets = targets_of(target_q, episodes, config.time_limit, returns)
    critic_optimiser = clipped_rmsprop(config.critic_lr, config.clip_norm)
    stepped = step_through_time(learner.critic, learner.critic_opt, seen, targets, valid, critic_optimiser, axis)

    policy = floored_policy(learner.env_steps, config.floor)
    acting = unroll(learner.actor, episodes, policy) if episodes.record is None else episodes.record
    taken = episodes.actions[:, :-1]
    advantage = jnp.where(valid[..., None], advantages(stepped.q, acting.probs[:, :-1], taken), 0)
    slope = actor_gradient(learner.actor, episodes, acting, advantage, 0.0, "plain", axis, policy=policy)
    moves, actor_opt = clipped_rmsprop(config.actor_lr, config.clip_norm).update(slope.gradient, learner.actor_opt)

    steps, count = global_sum((valid.sum(), valid.sum() * n_agents), axis)
    longest = global_max(valid.sum(axis=1).max(), axis).astype(jnp.int32)
    critic_steps = learner.critic_steps + longest
    copy_now = critic_steps - learner.copied_at >= config.target_interval
    following = Learner(
        actor=eqx.apply_updates(learner.actor, moves),
        critic=stepped.critic,
        target=jax.tree.map(lambda new, old: jnp.where(copy_now, new, old), stepped.critic, learner.target),
        actor_opt=actor_opt,
        critic_opt=stepped.opt,
        critic_steps=critic_steps,
        copied_at=jnp.where(copy_now, critic_steps, learner.copied_at),
        updates=learner.updates + 1,
        env_steps=learner.env_steps + steps.astype(jnp.uint32),
    )
    loss, norm = stepped.squared / count.astype(targets.dtype), stepped.norms.sum() / longest.astype(targets.dtype)
    metrics = {"gradient_steps": critic_steps + following.updates}
    metrics |= measure_critic(episodes, taken_output(stepped.q, taken), targets, loss, norm, axis)
    metrics |= measure_actor(episodes, acting, slope, axis) | measure_advantage(episodes, advantage, axis)
    return following, metrics


def memory(batch: int, spec: EnvSpec, config: ComaConfig) -> int:
    """Estimated peak bytes of training: parameters, episodes, values, one time step's critic inputs."""
    inputs = n_critic_inputs(spec)
    critic = config.critic_hidden * (inputs + config.critic_hidden + spec.n_actions)
    per_row = spec.n_agents * (spec.obs_size + 6 * spec.n_actions + 2 * config.actor_hidden) + spec.state_size
    rows = batch * (spec.episode_limit + 1)
    working = max(batch, rows_at_once(spec.n_agents, inputs)) * spec.n_agents * (3 * inputs + 6 * config.critic_hidden)
    return 4 * (6 * critic + 3 * rows * per_row + working)
