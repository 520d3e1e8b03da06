"""COMA as first published: a critic per agent that outputs the value of each of its actions."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from seca.algos.base import Algorithm, Claim, Claims
from seca.distributions import floored_policy
from seca.learning.acting import act, acting_over, fresh_agent, initial_carry
from seca.learning.agent_critic import Seen, outputs_of, rows_at_once, seen_in, squared_errors, targets_of
from seca.learning.buffer import Replay
from seca.learning.counted import per_step
from seca.learning.devices import global_max, global_sum
from seca.learning.measures import count_steps, measure_actor, measure_advantage, measure_critic
from seca.learning.memory import training_bytes, visited
from seca.learning.options import ActorCriticOptions, check_numbers
from seca.learning.policy_gradient import PolicyLoss, actor_gradient
from seca.learning.rows import Packed, pack
from seca.learning.trained import Trained, clipped_rmsprop, fresh, norm
from seca.nets.mixers import Deep
from seca.policies import FloorConfig, of_taken
from seca.ranges import Count
from seca.returns import LambdaTargets, lambda_returns
from seca.types import EnvSpec, Episodes


@dataclasses.dataclass(frozen=True)
class ComaConfig(LambdaTargets, ActorCriticOptions):
    """Options of COMA; the defaults are PyMARL's, and both optimisers RMSprop."""

    floor: FloorConfig = FloorConfig()
    """Exploration: policies are mixed with the uniform one, in acting and learning alike."""
    target_interval: Count = 200
    """Critic steps after which the next update copies the critic into its target."""


class Learner(eqx.Module):
    """Everything that COMA learns or counts. Arrays only."""

    actor: Trained
    critic: Trained
    copied_at: Int[Array, ""]
    """Critic steps when the critic was last copied into the target."""
    env_steps: Array
    """Env steps before the next batch, from which the floor of its policies follows."""


class Stepped(eqx.Module):
    """The critic after one step for each time of a batch, and what it said on the way."""

    critic: Trained
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
        policy=lambda learner: learner.actor.params,
        initial_carry=functools.partial(initial_carry, spec=spec, hidden=config.actor_hidden),
        act=functools.partial(act, policy_at=functools.partial(floored_policy, floor=config.floor)),
        update=functools.partial(update, config=config),
        memory=functools.partial(memory, **bind),
        claims=Claims("counterfactual", functools.partial(claim, config=config)),
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
    actor = fresh_agent(actor_key, spec, config.actor_hidden, spec.n_actions)
    hidden = config.critic_hidden
    critic = Deep.init(critic_key, (n_critic_inputs(spec), hidden, hidden, spec.n_actions))
    return Learner(
        actor=fresh(actor, clipped_rmsprop(config.actor_lr, config.clip_norm)),
        critic=fresh(critic, clipped_rmsprop(config.critic_lr, config.clip_norm), target=True),
        copied_at=jnp.zeros((), jnp.int32),
        env_steps=jnp.zeros((), jnp.uint32),
    )


def step_through_time(
    critic: Trained,
    seen: Seen,
    targets: Float[Array, "batch time agents"],
    valid: Bool[Array, "batch time"],
    optimiser: optax.GradientTransformation,
    axis: str | None,
    counted: Bool[Array, "batch time agents"] | None = None,
) -> Stepped:
    """One gradient step of the critic for each time step of the batch, from the last to the first.

        L_t = sum_{b,i} m (Q_i(u_i) - y)^2 / sum_{b,i} m,     at one t over all episodes that reach it

    Args:
        critic: the critic.
        seen: rows of the batch, `[batch, time + 1, ...]`.
        targets: y, from the target critic.
        valid: real steps.
        optimiser: clipping included.
        axis: mapped axis of devices, or None.
        counted: agents whose steps count; None where all do.
    """
    batch, time, n_agents = targets.shape
    told = valid[..., None] if counted is None else valid[..., None] & counted
    n_actions = seen.last_action.shape[-1]
    longest = global_max(valid.sum(axis=1).max(), axis)

    def step(number: Int[Array, ""], sofar: Stepped) -> Stepped:
        t = longest - 1 - number
        row = jax.tree.map(lambda x: jax.lax.dynamic_index_in_dim(x, t, 1, keepdims=False), (seen, targets, told))
        (squared, outputs), gradient = jax.value_and_grad(_squared_error, has_aux=True)(sofar.critic.params, *row)
        gradient, squared, count = global_sum((gradient, squared, row[2].sum() * (n_agents // told.shape[2])), axis)
        count = (count if counted is None else jnp.maximum(count, 1)).astype(targets.dtype)
        gradient = jax.tree.map(lambda g: g / count, gradient)
        return Stepped(
            critic=sofar.critic.step(gradient, optimiser),
            q=jax.lax.dynamic_update_index_in_dim(sofar.q, outputs, t, 1),
            losses=sofar.losses.at[t].set(squared / count),
            norms=sofar.norms.at[t].set(norm(gradient)),
            squared=sofar.squared + squared,
        )

    none = jnp.zeros(time, targets.dtype)
    q = jnp.zeros((batch, time, n_agents, n_actions), targets.dtype)
    return jax.lax.fori_loop(0, longest, step, Stepped(critic, q, none, none, none.sum()))


def _squared_error(critic: Deep, seen: Seen, targets: Array, counts: Array) -> tuple[Array, Array]:
    """Summed over the episodes that reach one time, not yet divided, so that devices add up; and all values."""
    losses, outputs = squared_errors(critic_inputs, of_taken, critic, (), seen, targets)
    return jnp.where(counts, losses, 0).sum(), outputs


def baselines(
    q: Float[Array, "batch time agents actions"], probs: Float[Array, "batch time agents actions"]
) -> Float[Array, "batch time agents"]:
    """sum_a pi_i(a) Q_i(a): what each agent would get anyway, beside what the others do."""
    return (probs * q).sum(axis=-1)


def advantages(
    q: Float[Array, "batch time agents actions"],
    probs: Float[Array, "batch time agents actions"],
    actions: Int[Array, "batch time agents"],
) -> Float[Array, "batch time agents"]:
    """A_i = Q_i(u_i) - sum_a pi_i(a) Q_i(a). Foerster et al. 2018, Eq. 4."""
    return of_taken(q, actions) - baselines(q, probs)


def targets_by(
    critic: Deep, episodes: Episodes, seen: Seen, packed: Packed, config: ComaConfig
) -> Float[Array, "batch time agents"]:
    """y: TD(lambda) targets by a critic's values of the taken actions."""
    q = of_taken(outputs_of(critic, critic_inputs, seen, packed), episodes.actions)
    returns = functools.partial(lambda_returns, gamma=config.gamma, lam=config.td_lambda)
    return targets_of(q, episodes, config.time_limit, returns)


def update(
    learner: Learner,
    episodes: Episodes,
    replay: Replay | None,
    key: PRNGKeyArray,
    axis: str | None,
    config: ComaConfig,
) -> tuple[Learner, dict[str, Array]]:
    """Critic steps back through time, then one actor step, then the target when due. Foerster et al. 2018, section 4.

    L = - sum m log pi_i(u_i | tau_i) A_i / (n sum m),     A by the critic as it was at each time's own step
    """
    del replay, key  # On policy, deterministic.
    valid, seen, taken = episodes.valid, seen_in(episodes), episodes.actions[:, :-1]
    packed = pack(valid, rows_at_once(taken.shape[2], learner.critic.params.layers[0].weight.shape[1]))
    targets = targets_by(learner.critic.target, episodes, seen, packed, config)
    optimiser = clipped_rmsprop(config.critic_lr, config.clip_norm)
    stepped = step_through_time(learner.critic, seen, targets, valid, optimiser, axis, episodes.counted)

    policy = floored_policy(learner.env_steps, config.floor)
    acting = acting_over(learner.actor.params, episodes, policy)
    advantage = jnp.where(valid[..., None], advantages(stepped.q, acting.probs[:, :-1], taken), 0)
    slope = actor_gradient(learner.actor.params, PolicyLoss(policy=policy), episodes, acting, advantage, axis)
    actor = learner.actor.step(slope.gradient, clipped_rmsprop(config.actor_lr, config.clip_norm))

    critic = stepped.critic
    copy_now = critic.steps - learner.copied_at >= config.target_interval
    steps = global_sum(valid.sum(), axis).astype(jnp.uint32)
    following = Learner(
        actor,
        critic.copy_when(copy_now),
        jnp.where(copy_now, critic.steps, learner.copied_at),
        learner.env_steps + steps,
    )
    loss = stepped.squared / (count_steps(episodes, axis) * per_step(episodes, axis))
    mean_norm = stepped.norms.sum() / (critic.steps - learner.critic.steps).astype(targets.dtype)
    metrics = {"gradient_steps": critic.steps + actor.steps}
    metrics |= measure_critic(episodes, of_taken(stepped.q, taken), targets, loss, mean_norm, axis)
    metrics |= measure_actor(episodes, acting, slope, axis) | measure_advantage(episodes, advantage, axis)
    return following, metrics


def claim(learner: Learner, episodes: Episodes, env_steps: Array, key: PRNGKeyArray, config: ComaConfig) -> Claim:
    """Advantages by the critic as it is."""
    del key  # Nothing is drawn.
    seen, taken = seen_in(episodes), episodes.actions[:, :-1]
    packed = pack(episodes.valid, rows_at_once(taken.shape[2], learner.critic.params.layers[0].weight.shape[1]))
    q = outputs_of(learner.critic.params, critic_inputs, seen, packed)[:, :-1]
    probs = acting_over(learner.actor.params, episodes, floored_policy(env_steps, config.floor)).probs[:, :-1]
    error = targets_by(learner.critic.target, episodes, seen, packed, config) - of_taken(q, taken)
    return Claim(
        jnp.where(episodes.valid[..., None], advantages(q, probs, taken), 0),
        team=jnp.where(episodes.valid, error.mean(axis=-1), 0),
        policy=probs,
        value=baselines(q, probs).mean(axis=-1),
    )


def memory(batch: int, spec: EnvSpec, config: ComaConfig) -> int:
    """Estimated peak bytes of training."""
    learner = jax.eval_shape(functools.partial(init, spec=spec, config=config), jax.random.key(0))
    inputs = n_critic_inputs(spec)
    at_once = max(batch, visited(rows_at_once(spec.n_agents, inputs), spec, batch))
    working = at_once * spec.n_agents * (3 * inputs + 6 * config.critic_hidden)
    return training_bytes(learner, spec, batch, 5 * spec.n_actions + 2 * config.actor_hidden, working)
