"""One gradient of a value-based method: unroll, targets, loss row by row, and back through time.

Agents and mixers are differentiated apart. Networks unroll once over the drawn episodes, up to the longest of them;
losses are then a matter of single rows, visited packed and in chunks, which gives the slope of the loss in the agents'
outputs; and that goes back through time with the hidden states already known. Equal to `jax.grad` of the whole
(tests/algos), its work follows the steps really played.
"""

import dataclasses
import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from seca.algos.actor_step import MASKED, last_actions
from seca.algos.optim import global_sum
from seca.algos.packing import Chunk, Packed, flat, over_chunks, pack, room_for, unpack, write
from seca.algos.value_config import TransformedMixing, ValueBasedConfig, WeightedMixing
from seca.nets.agents import RecurrentAgent, agent_inputs
from seca.nets.linear import Linear
from seca.nets.mixers import Choice
from seca.nets.recurrent import BlockRows, Sweep, backward, empty_sweep
from seca.returns import q_lambda, td_lambda
from seca.types import Episodes, PyTree

CHUNK = 512
"""Rows visited at once by mixers and losses."""
BLOCK, GROUP = 8, 8
"""Time steps and episodes handled at once by the backward pass, as in `actor_step`; results do not depend on them."""


class Mixers(eqx.Module):
    """What turns utilities into joint values."""

    main: PyTree
    """A mixer of `nets.mixers`."""
    central: PyTree = None
    """The unrestricted mixer of weighted QMIX, or None."""


class Networks(eqx.Module):
    """All that is trained, and copied into the targets."""

    agent: RecurrentAgent
    mixers: Mixers
    central: RecurrentAgent | None = None
    """The agents of weighted QMIX's central value, or None."""


class Outputs(eqx.Module):
    """What the agents' networks say in some rows."""

    agent: Float[Array, "*rows agents outputs"]
    """Q_i(tau_i, .); for QTRAN the new recurrent state follows."""
    central: Float[Array, "*rows agents actions"] | None


class Rows(eqx.Module):
    """What is known of some rows."""

    state: Float[Array, "*rows state"]
    avail: Bool[Array, "*rows agents actions"]
    actions: Int[Array, "*rows agents"]


class Goal(eqx.Module):
    """What a row is regressed to; one column, or one for each agent where they learn alone."""

    y: Float[Array, "*rows columns"]
    best: Float[Array, "*rows columns"]
    """Target networks' value of the greedy joint action at this row."""


ValueFn = Callable[[Mixers, Rows, Outputs, Int[Array, "rows agents"]], Float[Array, "rows columns"]]
"""`value(mixers, rows, outputs, actions)`: joint value of some actions, as targets are made of it."""
LossFn = Callable[[Mixers, Rows, Outputs, Goal], tuple[Float[Array, "rows columns"], Float[Array, "rows columns"]]]
"""`loss(mixers, rows, outputs, goal) -> (losses, values of the taken actions)`."""


@dataclasses.dataclass(frozen=True)
class Method:
    """What tells one value-based method from another, besides its networks."""

    value: ValueFn
    loss: LossFn
    reads_hidden: bool = False
    """Whether the agents' recurrent states are read too (QTRAN)."""


def method_of(config: ValueBasedConfig) -> Method:
    """The method that goes with the mixer's options."""
    mixing = config.mixing
    if isinstance(mixing, WeightedMixing):
        return Method(central_value, functools.partial(weighted_loss, mixing=mixing, scale=config.loss_scale))
    if isinstance(mixing, TransformedMixing):
        loss = functools.partial(transformed_loss, mixing=mixing, scale=config.loss_scale)
        return Method(transformed_value, loss, reads_hidden=True)
    return Method(mixed_value, functools.partial(squared_error, scale=config.loss_scale))


def greedy_actions(
    q: Float[Array, "*rows agents actions"], avail: Bool[Array, "*rows agents actions"]
) -> Int[Array, "*rows agents"]:
    """Each agent's best available action."""
    return jnp.where(avail, q, MASKED).argmax(axis=-1).astype(jnp.int32)


def taken(q: Float[Array, "*rows agents actions"], actions: Int[Array, "*rows agents"]) -> Array:
    """Utilities of given actions."""
    return jnp.take_along_axis(q, actions[..., None], axis=-1)[..., 0]


def choice(
    q: Float[Array, "*rows agents actions"],
    avail: Bool[Array, "*rows agents actions"],
    actions: Int[Array, "*rows agents"],
) -> Choice:
    """A joint action as mixers see it."""
    one_hot = jax.nn.one_hot(actions, q.shape[-1], dtype=q.dtype)
    return Choice(taken(q, actions), taken(q, greedy_actions(q, avail)), one_hot)


def utilities(rows: Rows, outputs: Outputs) -> Float[Array, "*rows agents actions"]:
    """Q_i(tau_i, .), without what else the agents may say."""
    return outputs.agent[..., : rows.avail.shape[-1]]


def columns(values: Float[Array, "rows *columns"]) -> Float[Array, "rows columns"]:
    """A column for values that have none."""
    return values.reshape(values.shape[0], -1)


def mixed_value(mixers: Mixers, rows: Rows, outputs: Outputs, actions: Int[Array, "rows agents"]) -> Array:
    """Q_tot(s, u)."""
    return columns(mixers.main(rows.state, choice(utilities(rows, outputs), rows.avail, actions)))


def central_value(mixers: Mixers, rows: Rows, outputs: Outputs, actions: Int[Array, "rows agents"]) -> Array:
    """Q*(s, u) of weighted QMIX: the unrestricted mixer over utilities of its own agents."""
    assert outputs.central is not None  # Goes with the mixer of this method.
    return columns(mixers.central(rows.state, choice(outputs.central, rows.avail, actions)))


def transformed_value(mixers: Mixers, rows: Rows, outputs: Outputs, actions: Int[Array, "rows agents"]) -> Array:
    """Q_jt(s, u) of QTRAN."""
    n_actions = rows.avail.shape[-1]
    one_hot = jax.nn.one_hot(actions, n_actions, dtype=outputs.agent.dtype)
    return columns(mixers.main.joint(rows.state, outputs.agent[..., n_actions:], one_hot))


def squared_error(
    mixers: Mixers, rows: Rows, outputs: Outputs, goal: Goal, scale: float
) -> tuple[Float[Array, "rows columns"], Float[Array, "rows columns"]]:
    """L = scale (Q_tot(s, u) - y)^2."""
    value = mixed_value(mixers, rows, outputs, rows.actions)
    return scale * (value - goal.y) ** 2, value


def weighted_loss(
    mixers: Mixers, rows: Rows, outputs: Outputs, goal: Goal, mixing: WeightedMixing, scale: float
) -> tuple[Float[Array, "rows columns"], Float[Array, "rows columns"]]:
    """L = scale (Q*(s, u) - y)^2 + w(s, u) (Q_tot(s, u) - y)^2.

        optimistic: w = 1 if Q_tot < y, else alpha;
        central:    w = 1 if u is greedy or y > Q*^-(s, greedy), else alpha.

    Rashid et al. 2020 (weighted QMIX), section 5. The value reported is Q_tot.
    """
    total = mixed_value(mixers, rows, outputs, rows.actions)
    if mixing.weighting == "optimistic":
        full = total < goal.y
    else:
        is_greedy = (rows.actions == greedy_actions(utilities(rows, outputs), rows.avail)).all(axis=-1)
        full = is_greedy[:, None] | (goal.y > goal.best)
    weight = jnp.where(full, 1.0, mixing.alpha).astype(total.dtype)
    central = central_value(mixers, rows, outputs, rows.actions)
    return scale * (central - goal.y) ** 2 + weight * (total - goal.y) ** 2, total


def transformed_loss(
    mixers: Mixers, rows: Rows, outputs: Outputs, goal: Goal, mixing: TransformedMixing, scale: float
) -> tuple[Float[Array, "rows columns"], Float[Array, "rows columns"]]:
    """L = 2 scale [(Q_jt(u) - y)^2 + a (Q'(g) - sg Q_jt(g) + V)^2 + b min(0, Q'(u) - sg Q_jt(u) + V)^2].

    With Q'(u) = sum_i Q_i(u_i), g the agents' greedy actions, a = `optimum_weight`, b = `bound_weight`. Son et al. 2019
    (QTRAN-base): the sum of utilities equals Q_jt where agents are greedy and is at least Q_jt elsewhere. The value
    reported is Q_jt. PyMARL's loss has no factor 1/2, hence 2 scale.
    """
    q = utilities(rows, outputs)
    best = greedy_actions(q, rows.avail)
    joint = transformed_value(mixers, rows, outputs, rows.actions)
    joint_best = transformed_value(mixers, rows, outputs, best)
    offset = columns(mixers.main.value(rows.state))
    at_best = taken(q, best).sum(axis=-1, keepdims=True) - jax.lax.stop_gradient(joint_best) + offset
    at_taken = taken(q, rows.actions).sum(axis=-1, keepdims=True) - jax.lax.stop_gradient(joint) + offset
    total = (joint - goal.y) ** 2 + mixing.optimum_weight * at_best**2
    return 2 * scale * (total + mixing.bound_weight * jnp.minimum(0, at_taken) ** 2), joint


class Unrolled(eqx.Module):
    """A network's pass over whole episodes; rows after the longest one are zeros."""

    hidden: Float[Array, "batch time1 agents hidden"]
    """Recurrent state before each row."""
    outputs: Float[Array, "batch time1 agents outputs"]


def unroll(agent: RecurrentAgent, episodes: Episodes) -> Unrolled:
    """Hidden states and outputs from zeros at t = 0 up to row L of the longest episode."""
    batch, n_rows, n_agents, _ = episodes.obs.shape
    previous = last_actions(episodes.actions, episodes.avail.shape[-1], episodes.obs.dtype)
    hidden = jnp.zeros((batch, n_agents, agent.cell.weight_hh.shape[1]), agent.cell.weight_hh.dtype)
    room = lambda size: jnp.zeros((n_rows, batch, n_agents, size), hidden.dtype)  # noqa: E731

    def step(t: Int[Array, ""], carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        before, states, outputs = carry
        after, output = agent(agent_inputs(episodes.obs[:, t], previous[:, t]), before)
        return after, states.at[t].set(before), outputs.at[t].set(output)

    carry = (hidden, room(hidden.shape[-1]), room(agent.head.bias.shape[0]))
    _, states, outputs = jax.lax.fori_loop(0, episodes.length.max() + 1, step, carry)
    return Unrolled(jnp.moveaxis(states, 0, 1), jnp.moveaxis(outputs, 0, 1))


def with_hidden(agent: RecurrentAgent) -> RecurrentAgent:
    """The agent with its new recurrent state among the outputs: rows of an identity under its head."""
    size = agent.cell.weight_hh.shape[1]
    identity, zeros = jnp.eye(size, dtype=agent.head.weight.dtype), jnp.zeros(size, agent.head.bias.dtype)
    head = Linear(jnp.concatenate([agent.head.weight, identity]), jnp.concatenate([agent.head.bias, zeros]))
    return RecurrentAgent(agent.encoder, agent.cell, head)


class Pass(eqx.Module):
    """All networks' pass over whole episodes."""

    agent: Unrolled
    central: Unrolled | None

    def flat_outputs(self) -> Outputs:
        """Outputs with batch and time merged."""
        return Outputs(flat(self.agent.outputs), None if self.central is None else flat(self.central.outputs))


def pass_over(networks: Networks, episodes: Episodes, method: Method) -> Pass:
    """Unroll what there is to unroll."""
    agent = with_hidden(networks.agent) if method.reads_hidden else networks.agent
    central = None if networks.central is None else unroll(networks.central, episodes)
    return Pass(unroll(agent, episodes), central)


def flat_rows(episodes: Episodes) -> Rows:
    """State, availability and actions with batch and time merged."""
    return Rows(flat(episodes.state), flat(episodes.avail), flat(episodes.actions))


def targets(
    target: Networks,
    online_outputs: Outputs,
    target_outputs: Outputs,
    episodes: Episodes,
    packed: Packed,
    method: Method,
    config: ValueBasedConfig,
) -> Goal:
    """y_t of each step, `[batch, time, columns]`, and the value of the greedy actions at it.

    The online network chooses, the target network values (double Q-learning, van Hasselt et al. 2016). `td_lambda` of
    those values is Peng's Q(lambda); `q_lambda` corrects for the actions taken.

    Args:
        target: target networks.
        online_outputs: of the online networks, batch and time merged.
        target_outputs: of the target networks, likewise.
        episodes: whole episodes.
        packed: their real rows.
        method: how joint actions are valued.
        config: options.
    """
    rows = flat_rows(episodes)
    width = episodes.actions.shape[-1] if _alone(target, rows, target_outputs, method) else 1
    room = room_for(packed, (width,), target_outputs.agent.dtype)

    def evaluate(buffers: tuple[Array, Array], chunk: Chunk) -> tuple[Array, Array]:
        here, chosen_by, valued_by = _at((rows, online_outputs, target_outputs), chunk.index)
        best = greedy_actions(utilities(here, chosen_by if config.double_q else valued_by), here.avail)
        at_best = method.value(target.mixers, here, valued_by, best)
        if config.traces == "peng":
            return write(buffers[0], at_best, chunk), buffers[1]
        at_taken = method.value(target.mixers, here, valued_by, here.actions)
        return write(buffers[0], at_best, chunk), write(buffers[1], at_taken, chunk)

    filled = over_chunks(packed, CHUNK, evaluate, (room, room))
    best, at_taken = (unpack(values, packed) for values in filled)
    ended = episodes.terminated | episodes.truncated if config.time_limit == "terminal" else episodes.terminated
    coefficients = {"gamma": config.gamma, "lam": config.td_lambda}
    if config.traces == "peng":
        one = functools.partial(td_lambda, **coefficients)
        y = _each(one, episodes, ended, best)
    else:
        one = functools.partial(q_lambda, **coefficients)
        y = _each(one, episodes, ended, best, at_taken)
    return Goal(y, best[:, :-1])


def _each(fn: Callable[..., Array], episodes: Episodes, ended: Array, *values: Array) -> Array:
    """A return of one stream for each episode and column."""
    by_column = jax.vmap(fn, in_axes=(None, None, None) + (-1,) * len(values), out_axes=-1)
    return jax.vmap(by_column)(episodes.reward.astype(values[0].dtype), ended, episodes.valid, *values)


def _alone(networks: Networks, rows: Rows, outputs: Outputs, method: Method) -> bool:
    """Whether every agent has a value of its own."""
    row, said = _at((rows, outputs), jnp.zeros(1, jnp.int32))
    return jax.eval_shape(lambda: method.value(networks.mixers, row, said, row.actions)).shape[-1] > 1


def _at(tree: PyTree, index: Int[Array, " rows"]) -> PyTree:
    return jax.tree.map(lambda x: x[index], tree)


class Regressed(eqx.Module):
    """Loss and gradient over a batch, and what explains them."""

    gradient: Networks
    loss: Float[Array, ""]
    goal: Goal
    taken: Float[Array, "batch time columns"]
    """Online value of the taken actions, the one that the agents' choices follow."""


def regress(
    online: Networks, target: Networks, episodes: Episodes, config: ValueBasedConfig, axis: str | None
) -> Regressed:
    """Gradient of sum m l / (columns sum m) with l the method's loss of a row; sums are global over `axis`.

    Args:
        online: networks to differentiate.
        target: their targets.
        episodes: whole episodes, in whatever order.
        config: options.
        axis: mapped axis of devices, or None.
    """
    method, packed = method_of(config), pack(episodes.valid, CHUNK)
    passed = pass_over(online, episodes, method)
    outputs = passed.flat_outputs()
    goal = targets(
        target, outputs, pass_over(target, episodes, method).flat_outputs(), episodes, packed, method, config
    )
    last = ((0, 0), (0, 1), (0, 0))
    flat_goal = jax.tree.map(lambda x: flat(jnp.pad(x, last)), goal)
    valid, rows = flat(jnp.pad(episodes.valid, ((0, 0), (0, 1)))), flat_rows(episodes)
    slope = jax.value_and_grad(functools.partial(_chunk_loss, method.loss), argnums=(0, 1), has_aux=True)

    def accumulate(carry: PyTree, chunk: Chunk) -> PyTree:
        gradient, loss, slopes, values = carry
        here, said, wanted = _at((rows, outputs, flat_goal), chunk.index)
        counts = chunk.real & valid[chunk.index]
        (chunk_loss, value), (of_mixers, of_outputs) = slope(online.mixers, said, here, wanted, counts)
        slopes = jax.tree.map(lambda buffer, x: write(buffer, x, chunk), slopes, of_outputs)
        return jax.tree.map(jnp.add, gradient, of_mixers), loss + chunk_loss, slopes, write(values, value, chunk)

    zero = jnp.zeros((), outputs.agent.dtype)
    room = jax.tree.map(lambda x: room_for(packed, x.shape[1:], x.dtype), (outputs, flat_goal.y))
    init = (jax.tree.map(jnp.zeros_like, online.mixers), zero, *room)
    of_mixers, loss, slopes, values = over_chunks(packed, CHUNK, accumulate, init)
    agent = with_hidden(online.agent) if method.reads_hidden else online.agent
    of_agent = through_time(agent, episodes, passed.agent.hidden, unpack(slopes.agent, packed))
    if method.reads_hidden:
        of_agent = _without_hidden(of_agent, episodes.avail.shape[-1])
    of_central = None
    if online.central is not None and passed.central is not None:
        of_central = through_time(online.central, episodes, passed.central.hidden, unpack(slopes.central, packed))
    gradient = Networks(of_agent, of_mixers, of_central)
    gradient, loss, steps = global_sum((gradient, loss, episodes.valid.sum()), axis)
    samples = jnp.maximum(steps, 1).astype(zero.dtype) * goal.y.shape[-1]
    gradient = jax.tree.map(lambda x: x / samples.astype(x.dtype), gradient)
    return Regressed(gradient, loss / samples, goal, unpack(values, packed)[:, :-1])


def _chunk_loss(
    loss: LossFn, mixers: Mixers, outputs: Outputs, rows: Rows, goal: Goal, counts: Bool[Array, " rows"]
) -> tuple[Array, Array]:
    """Sum (not mean) over a chunk, so that chunks and devices add up."""
    losses, value = loss(mixers, rows, outputs, goal)
    return jnp.where(counts[:, None], losses, 0).sum(), value


def _without_hidden(gradient: RecurrentAgent, n_actions: int) -> RecurrentAgent:
    """The part of `with_hidden`'s gradient that belongs to parameters."""
    head = Linear(gradient.head.weight[:n_actions], gradient.head.bias[:n_actions])
    return RecurrentAgent(gradient.encoder, gradient.cell, head)


def through_time(
    agent: RecurrentAgent,
    episodes: Episodes,
    hidden: Float[Array, "batch time1 agents hidden"],
    slopes: Float[Array, "batch time1 agents outputs"],
) -> RecurrentAgent:
    """Gradient in the agent's parameters of a loss whose slopes in its outputs are known.

    Args:
        agent: the network, as it was when it unrolled.
        episodes: whole episodes.
        hidden: recurrent states before each row.
        slopes: dL/d(outputs); what stands in the padding and in rows L does not count.
    """
    batch, n_rows, n_agents, _ = episodes.obs.shape
    block = min(BLOCK, n_rows)
    group = max(size for size in range(1, min(GROUP, batch) + 1) if batch % size == 0)
    valid = jnp.pad(episodes.valid, ((0, 0), (0, 1)))[..., None, None]
    everything = (
        episodes.obs,
        last_actions(episodes.actions, episodes.avail.shape[-1], episodes.obs.dtype),
        hidden,
        jnp.where(valid, slopes, 0),
    )
    # Episodes of like length together: the work of a group follows its longest episode.
    by_length = jnp.argsort(-episodes.length)

    def sweep_group(number: Int[Array, ""], sweep: Sweep) -> Sweep:
        runners = jax.lax.dynamic_slice_in_dim(by_length, number * group, group)

        def part(start: Int[Array, ""]) -> tuple[Array, ...]:
            times = start + jnp.arange(block)
            return jax.tree.map(lambda array: array[runners[:, None], times], everything)

        def rows_of(start: Int[Array, ""]) -> BlockRows:
            obs, last_action, before, _ = part(start)
            return BlockRows(agent_inputs(obs, last_action), before)

        def output_loss(start: Int[Array, ""], outputs: Array) -> tuple[Array, Array]:
            loss = (outputs * part(start)[3]).sum()
            return loss, loss

        fresh = dataclasses.replace(sweep, from_later=jnp.zeros_like(sweep.from_later))
        return backward(agent, rows_of, output_loss, fresh, episodes.length[runners].max(), block)

    init = empty_sweep(agent, group, n_agents, jnp.zeros((), hidden.dtype))
    return jax.lax.fori_loop(0, batch // group, sweep_group, init).gradient
