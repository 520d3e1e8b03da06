"""Value-decomposition actor-critics: the agents' own values make the team's, whose error moves all policies alike."""

import dataclasses
import functools
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from seca.algos.base import Algorithm, Claim, Claims
from seca.distributions import Distribution, floored_policy
from seca.learning.acting import act, acting_over, fresh_agent, initial_carry
from seca.learning.buffer import Replay
from seca.learning.counted import per_step
from seca.learning.devices import global_sum
from seca.learning.measures import count_steps, mean_over_steps, measure_actor, measure_advantage, measure_critic
from seca.learning.memory import training_bytes, visited
from seca.learning.options import check_numbers
from seca.learning.policy_gradient import (
    FOLLOWED_BY_ALL,
    ActorGradient,
    PolicyLoss,
    Rows,
    actor_gradient,
    score_function,
)
from seca.learning.rows import map_rows, pack, sum_value_and_grad, to_rows, unpack
from seca.learning.trained import Trained, clipped_rmsprop, fresh, norm
from seca.nets.mixers import Choice, MonotoneMixer, SumMixer
from seca.policies import FloorConfig, of_taken
from seca.ranges import Count, NonNegative, Positive
from seca.returns import LambdaTargets, lambda_returns
from seca.sizes import sizes
from seca.types import EnvSpec, Episodes, PyTree


@dataclasses.dataclass(frozen=True)
class VdacConfig(LambdaTargets):
    """Options of VDAC; the defaults are the authors'."""

    mixing: Literal["sum", "monotone"] = "monotone"
    """How agents' values make the team's: added up (VDAC-sum), or by QMIX's network of non-negative weights (VMIX)."""
    lr: Positive = 5e-4
    """RMSprop step size, of agents and mixer together."""
    value_coef: NonNegative = 0.1
    """Weight of the team value's squared error beside the policy loss."""
    entropy_coef: NonNegative = 0.0
    """Weight of the mean entropy, a plain bonus."""
    floor: FloorConfig = FloorConfig()
    """Exploration: policies are mixed with the uniform one, in acting and learning alike."""
    clip_norm: Positive = 10.0
    """Global gradient norm above which the gradient is scaled down."""
    actor_hidden: Count = 64
    """Width of the agent's layers and of its recurrent state."""
    embed: Count = 32
    """Width of the monotone mixing network."""
    width: Count = 64
    """Width of its hypernetworks' hidden layer."""


class Networks(eqx.Module):
    """All that is trained, by one optimiser."""

    agent: PyTree
    """Its head has one output more than there are actions: V_i."""
    mixer: MonotoneMixer | SumMixer


class Learner(eqx.Module):
    """Everything that VDAC learns or counts. Arrays only."""

    networks: Trained
    env_steps: Array
    """Env steps before the next batch, from which the floor of its policies follows."""


class Valued(eqx.Module):
    """The team's value over a batch, and what its error asks of mixer and agents."""

    team: Float[Array, "batch time1"]
    """V_tot; meaningless on padding."""
    targets: Float[Array, "batch time"]
    loss: Float[Array, ""]
    """Mean squared error."""
    gradient: PyTree
    """Of the mean squared error, in the mixer's parameters."""
    slope: Float[Array, "batch time agents"]
    """d (V_tot - y)^2 / d V_i of each step."""
    error: Float[Array, "batch time"]
    """y - V_tot, everybody's advantage; 0 on padding."""


class Signal(eqx.Module):
    """What agents are told of each row."""

    advantage: Float[Array, "batch time1 agents"]
    slope: Float[Array, "batch time1 agents"]


def vdac(name: str, spec: EnvSpec, config: VdacConfig) -> Algorithm:
    """Build VDAC-sum or VMIX for one environment. Su, Adams and Beling 2021 (VDAC).

    Each update takes one batch of whole episodes, makes one step, and drops the batch.

    Raises:
        ValueError: an option is out of range.
    """
    check_numbers(config)
    bind = {"spec": spec, "config": config}
    return Algorithm(
        name=name,
        init=functools.partial(init, **bind),
        policy=lambda learner: learner.networks.params.agent,
        initial_carry=functools.partial(initial_carry, spec=spec, hidden=config.actor_hidden),
        act=functools.partial(act, policy_at=functools.partial(floored_policy, floor=config.floor)),
        update=functools.partial(update, config=config),
        memory=functools.partial(memory, **bind),
        claims=Claims(None, functools.partial(claim, config=config), says=FOLLOWED_BY_ALL),
    )


def init(key: PRNGKeyArray, spec: EnvSpec, config: VdacConfig) -> Learner:
    """Fresh networks."""
    agent_key, mixer_key = jax.random.split(key)
    agent = fresh_agent(agent_key, spec, config.actor_hidden, spec.n_actions + 1)
    monotone = config.mixing == "monotone"
    make = functools.partial(MonotoneMixer.init, mixer_key, spec.n_agents, spec.state_size)
    networks = Networks(agent, make(config.embed, config.width) if monotone else SumMixer())
    return Learner(fresh(networks, clipped_rmsprop(config.lr, config.clip_norm)), jnp.zeros((), jnp.uint32))


def team_value(
    mixer: MonotoneMixer | SumMixer, state: Float[Array, "*rows state"], values: Float[Array, "*rows agents"]
) -> Float[Array, "*rows"]:
    """V_tot = mix(V_1 .. V_n; s). Su et al. 2021, Eq. 8 and 9."""
    # A mixer of values reads no actions.
    return mixer(state, Choice(q=values, best=values, one_hot=values[..., None]))


def valued(
    mixer: MonotoneMixer | SumMixer,
    episodes: Episodes,
    values: Float[Array, "batch time1 agents"],
    config: VdacConfig,
    axis: str | None,
) -> Valued:
    """Team values, their TD(lambda) targets by the same networks, and both gradients of the squared error.

    L = sum m (V_tot - y)^2 / sum m
    """
    packed, count = pack(episodes.valid, sizes().mixer_rows), count_steps(episodes, axis)
    team = unpack(map_rows(functools.partial(team_value, mixer), packed, episodes.state, values), packed)
    returns = functools.partial(lambda_returns, gamma=config.gamma, lam=config.td_lambda)
    targets = jax.vmap(returns)(episodes.reward, episodes.ended(config.time_limit), episodes.valid, team)
    found = sum_value_and_grad(squared_error, packed, mixer, values, episodes.state, to_rows(targets), axis=axis)
    gradient = jax.tree.map(lambda g: g / count, found.gradient)
    error = jnp.where(episodes.valid, targets - team[:, :-1], 0)
    return Valued(team, targets, found.value / count, gradient, unpack(found.slopes, packed)[:, :-1], error)


def squared_error(
    mixer: MonotoneMixer | SumMixer,
    values: Float[Array, "rows agents"],
    state: Float[Array, "rows state"],
    targets: Float[Array, " rows"],
) -> tuple[Float[Array, " rows"], tuple[()]]:
    """(V_tot - y)^2 of some rows; a loss for `sum_value_and_grad`."""
    return (team_value(mixer, state, values) - targets) ** 2, ()


def both_heads(outputs: Array, policy: Distribution, rows: Rows) -> Float[Array, "batch block agents"]:
    """Policy loss and, linear in V_i, the pull of the team value's error: its gradient is the error's own."""
    score = score_function(outputs, policy, dataclasses.replace(rows, signal=rows.signal.advantage))
    return score + outputs[..., -1] * rows.signal.slope


def update(
    learner: Learner,
    episodes: Episodes,
    replay: Replay | None,
    key: PRNGKeyArray,
    axis: str | None,
    config: VdacConfig,
) -> tuple[Learner, dict[str, Array]]:
    """One step of agents and mixer. Su et al. 2021, section 4.

        L = - sum m log pi_i(u_i | tau_i) A / (n sum m)  +  c sum m (V_tot - y)^2 / sum m  -  xi Hbar,    A = y - V_tot

    The advantage is the same for all agents; y is held constant and comes from the same networks.
    """
    del replay, key  # On policy, deterministic.
    networks, n_agents = learner.networks.params, episodes.actions.shape[2]
    policy = floored_policy(learner.env_steps, config.floor)
    acting = acting_over(networks.agent, episodes, policy)
    assert acting.value is not None  # The head has an output for it.
    found = valued(networks.mixer, episodes, acting.value, config, axis)
    advantage = jnp.broadcast_to(found.error[..., None], (*found.error.shape, n_agents))
    if episodes.counted is not None:
        advantage = jnp.where(episodes.counted, advantage, 0)
    # The policy loss is a mean over agents too, the value loss is one for all of them.
    signal = Signal(advantage, per_step(episodes, axis) * config.value_coef * found.slope)
    loss = PolicyLoss(both_heads, config.entropy_coef, policy=policy, team_too=True)
    slope = actor_gradient(networks.agent, loss, episodes, acting, signal, axis)
    gradient = Networks(slope.gradient, jax.tree.map(lambda g: config.value_coef * g, found.gradient))
    trained = learner.networks.step(gradient, clipped_rmsprop(config.lr, config.clip_norm))
    steps = global_sum(episodes.valid.sum(), axis).astype(jnp.uint32)
    metrics = {"gradient_steps": trained.steps}
    metrics |= measure_critic(episodes, found.team[:, :-1], found.targets, found.loss, norm(found.gradient), axis)
    metrics |= measure_actor(
        episodes, acting, _in_value(slope, episodes, acting.probs, advantage, found, config, axis), axis
    )
    return Learner(trained, learner.env_steps + steps), metrics | measure_advantage(episodes, advantage, axis)


def _in_value(
    slope: ActorGradient,
    episodes: Episodes,
    probs: Array,
    advantage: Array,
    found: Valued,
    config: VdacConfig,
    axis: str | None,
) -> ActorGradient:
    """The gradient with its losses as they are: the linear part that was differentiated is not the error's value."""
    taken = of_taken(probs[:, :-1], episodes.actions[:, :-1])
    of_each = mean_over_steps(jnp.log(jnp.where(taken > 0, taken, 1)) * advantage, episodes, axis)
    policy = -of_each.mean() * (of_each.shape[0] / per_step(episodes, axis))
    loss = policy + config.value_coef * found.loss - config.entropy_coef * slope.entropy
    return dataclasses.replace(slope, loss=loss, policy_part=policy)


def claim(learner: Learner, episodes: Episodes, env_steps: Array, key: PRNGKeyArray, config: VdacConfig) -> Claim:
    """The advantage that all policies follow."""
    del key  # Nothing is drawn.
    networks, policy = learner.networks.params, floored_policy(env_steps, config.floor)
    acting = acting_over(networks.agent, episodes, policy)
    assert acting.value is not None  # The head has an output for it.
    found = valued(networks.mixer, episodes, acting.value, config, None)
    credit = jnp.broadcast_to(found.error[..., None], (*found.error.shape, episodes.actions.shape[2]))
    return Claim(credit, team=found.error, policy=acting.probs[:, :-1], value=found.team[:, :-1])


def memory(batch: int, spec: EnvSpec, config: VdacConfig) -> int:
    """Estimated peak bytes of training."""
    learner = jax.eval_shape(functools.partial(init, spec=spec, config=config), jax.random.key(0))
    working = 6 * visited(sizes().mixer_rows, spec, batch) * (config.embed * (spec.n_agents + 1) + 2 * config.width)
    return training_bytes(learner, spec, batch, 3 * spec.n_actions + 4 * config.actor_hidden, working)
