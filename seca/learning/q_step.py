"""One gradient of a value-based method: unroll, targets, a loss row by row, and back through time.

Agents and mixers are differentiated apart. Networks unroll once over the drawn episodes, up to the longest of them;
losses are then a matter of single rows (`learning.rows`), which gives the slope of the loss in the agents' outputs; and
that goes back through time with the hidden states already known. Equal to `jax.grad` of the whole (tests/algos), its
work follows the steps really played.
"""

import dataclasses
import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from seca.learning.acting import Unrolled, unroll
from seca.learning.counted import per_step
from seca.learning.devices import global_sum
from seca.learning.measures import count_steps
from seca.learning.rows import Packed, map_rows, pack, sum_value_and_grad, to_rows, unpack
from seca.learning.through_time import through_time
from seca.nets.agents import RecurrentAgent
from seca.nets.linear import Linear
from seca.nets.mixers import Choice
from seca.nets.several import SharedOrOwn, one_by_one
from seca.policies import mode, of_taken
from seca.returns import lambda_returns
from seca.sizes import sizes
from seca.types import Episodes, PyTree, TimeLimit


class Mixers(eqx.Module):
    """What turns utilities into joint values."""

    main: PyTree
    """A mixer of `nets.mixers`."""
    central: PyTree = None
    """The unrestricted mixer of weighted QMIX, or None."""


class Networks(eqx.Module):
    """All that is trained, and copied into the targets."""

    agent: SharedOrOwn
    mixers: Mixers
    central: SharedOrOwn | None = None
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


@dataclasses.dataclass(frozen=True)
class Returns:
    """What targets are made with; the options of the same names say more."""

    gamma: float
    td_lambda: float
    corrected: bool
    """Q*(lambda) instead of Peng's."""
    double_q: bool
    time_limit: TimeLimit


def choice(
    q: Float[Array, "*rows agents actions"],
    avail: Bool[Array, "*rows agents actions"],
    actions: Int[Array, "*rows agents"],
) -> Choice:
    """A joint action as mixers see it."""
    one_hot = jax.nn.one_hot(actions, q.shape[-1], dtype=q.dtype)
    return Choice(of_taken(q, actions), of_taken(q, mode(q, avail)), one_hot)


def utilities(rows: Rows, outputs: Outputs) -> Float[Array, "*rows agents actions"]:
    """Q_i(tau_i, .), without what else the agents may say."""
    return outputs.agent[..., : rows.avail.shape[-1]]


def columns(values: Float[Array, "rows *columns"]) -> Float[Array, "rows columns"]:
    """A column for values that have none."""
    return values.reshape(values.shape[0], -1)


def mixed_value(mixers: Mixers, rows: Rows, outputs: Outputs, actions: Int[Array, "rows agents"]) -> Array:
    """Q_tot(s, u)."""
    return columns(mixers.main(rows.state, choice(utilities(rows, outputs), rows.avail, actions)))


def squared_error(
    mixers: Mixers, rows: Rows, outputs: Outputs, goal: Goal, scale: float
) -> tuple[Float[Array, "rows columns"], Float[Array, "rows columns"]]:
    """L = scale (Q_tot(s, u) - y)^2."""
    value = mixed_value(mixers, rows, outputs, rows.actions)
    return scale * (value - goal.y) ** 2, value


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

    def outputs(self) -> Outputs:
        """What the networks say in all rows."""
        return Outputs(self.agent.outputs, None if self.central is None else self.central.outputs)


def pass_over(networks: Networks, episodes: Episodes, method: Method) -> Pass:
    """Unroll what there is to unroll."""
    agent = one_by_one(with_hidden, networks.agent) if method.reads_hidden else networks.agent
    central = None if networks.central is None else unroll(networks.central, episodes)
    return Pass(unroll(agent, episodes), central)


def rows_of(episodes: Episodes) -> Rows:
    """State, availability and actions of all rows."""
    return Rows(episodes.state, episodes.avail, episodes.actions)


def targets(
    target: Networks,
    online_outputs: Outputs,
    target_outputs: Outputs,
    episodes: Episodes,
    packed: Packed,
    method: Method,
    returns: Returns,
) -> Goal:
    """y_t of each step, `[batch, time, columns]`, and the value of the greedy actions at it.

    The online network chooses, the target network values (double Q-learning, van Hasselt et al. 2016). TD(lambda) of
    those values is Peng's Q(lambda); Q*(lambda) corrects for the actions taken.

    Args:
        target: target networks.
        online_outputs: of the online networks in all rows.
        target_outputs: of the target networks, likewise.
        episodes: whole episodes.
        packed: their real rows.
        method: how joint actions are valued.
        returns: how targets are made of the values.
    """
    value = functools.partial(_target_values, target.mixers, method, returns)
    best, *at_taken = unpack(map_rows(value, packed, rows_of(episodes), online_outputs, target_outputs), packed)
    one = functools.partial(lambda_returns, gamma=returns.gamma, lam=returns.td_lambda)
    values = (best, *at_taken)
    by_column = jax.vmap(one, in_axes=(None, None, None) + (-1,) * len(values), out_axes=-1)
    reward, ended = episodes.reward.astype(best.dtype), episodes.ended(returns.time_limit)
    return Goal(jax.vmap(by_column)(reward, ended, episodes.valid, *values), best[:, :-1])


def _target_values(
    mixers: Mixers, method: Method, returns: Returns, rows: Rows, chosen_by: Outputs, valued_by: Outputs
) -> tuple[Array, ...]:
    """Target networks' values of the greedy actions and, where traces are corrected, of those taken."""
    best = mode(utilities(rows, chosen_by if returns.double_q else valued_by), rows.avail)
    at_best = method.value(mixers, rows, valued_by, best)
    return (at_best, method.value(mixers, rows, valued_by, rows.actions)) if returns.corrected else (at_best,)


class Regressed(eqx.Module):
    """Loss and gradient over a batch, and what explains them."""

    gradient: Networks
    loss: Float[Array, ""]
    goal: Goal
    taken: Float[Array, "batch time columns"]
    """Online value of the taken actions, the one that the agents' choices follow."""


def regress(
    online: Networks, target: Networks, episodes: Episodes, method: Method, returns: Returns, axis: str | None
) -> Regressed:
    """Gradient of sum m l / (columns sum m) with l the method's loss of a row; sums are global over `axis`.

    Where agents learn alone, a column each, m may be 0 of some agents' steps (`Episodes.counted`).

    Args:
        online: networks to differentiate.
        target: their targets.
        episodes: whole episodes, in whatever order.
        method: what is valued and lost.
        returns: how targets are made.
        axis: mapped axis of devices, or None.
    """
    packed, passed, goal = _passed(online, target, episodes, method, returns)

    def loss(mixers: Mixers, outputs: Outputs, rows: Rows, wanted: Goal, counted: Array | None) -> tuple[Array, Array]:
        losses, taken = method.loss(mixers, rows, outputs, wanted)
        return losses if counted is None else jnp.where(counted, losses, 0), taken

    rows = rows_of(episodes), to_rows(goal), to_rows(episodes.counted)
    found = sum_value_and_grad(loss, packed, online.mixers, passed.outputs(), *rows, axis=axis)
    slopes = unpack(found.slopes, packed)
    agent = one_by_one(with_hidden, online.agent) if method.reads_hidden else online.agent
    of_agent = through_time(agent, episodes, passed.agent.hidden, slopes.agent, _linear).gradient
    if method.reads_hidden:
        of_agent = one_by_one(functools.partial(_without_hidden, n_actions=episodes.avail.shape[-1]), of_agent)
    of_central = None
    if online.central is not None and passed.central is not None:
        of_central = through_time(online.central, episodes, passed.central.hidden, slopes.central, _linear).gradient
    gradient = Networks(global_sum(of_agent, axis), found.gradient, global_sum(of_central, axis))
    columns = goal.y.shape[-1] if episodes.counted is None else per_step(episodes, axis)
    samples = jnp.maximum(count_steps(episodes, axis), 1).astype(found.value.dtype) * columns
    gradient = jax.tree.map(lambda x: x / samples.astype(x.dtype), gradient)
    return Regressed(gradient, found.value / samples, goal, unpack(found.kept, packed)[:, :-1])


class Valued(eqx.Module):
    """What networks say of whole episodes, as they are."""

    utilities: Float[Array, "batch time agents actions"]
    """Q_i(tau_i, .)."""
    greedy: Float[Array, "batch time"]
    """Online value of the greedy joint action, the mean over columns; meaningless on padding."""
    error: Float[Array, "batch time"]
    """y - Q(s, u), likewise; 0 on padding."""


def valued(online: Networks, target: Networks, episodes: Episodes, method: Method, returns: Returns) -> Valued:
    """Values and TD errors by the value that the agents' choices follow; arguments as those of `regress`."""
    packed, passed, goal = _passed(online, target, episodes, method, returns)

    def both(rows: Rows, outputs: Outputs, wanted: Goal) -> tuple[Array, Array]:
        greedy = dataclasses.replace(rows, actions=mode(utilities(rows, outputs), rows.avail))
        best, taken = (method.loss(online.mixers, some, outputs, wanted)[1] for some in (greedy, rows))
        return best.mean(axis=-1), (wanted.y - taken).mean(axis=-1)

    rows, outputs = rows_of(episodes), passed.outputs()
    greedy, error = unpack(map_rows(both, packed, rows, outputs, to_rows(goal)), packed)
    q = utilities(rows, outputs)[:, :-1]
    return Valued(q, greedy[:, :-1], jnp.where(episodes.valid, error[:, :-1], 0))


def _passed(
    online: Networks, target: Networks, episodes: Episodes, method: Method, returns: Returns
) -> tuple[Packed, Pass, Goal]:
    """The real rows, the online networks' pass over them, and what they are regressed to."""
    packed, passed = pack(episodes.valid, sizes().q_rows), pass_over(online, episodes, method)
    theirs = pass_over(target, episodes, method).outputs()
    return packed, passed, targets(target, passed.outputs(), theirs, episodes, packed, method, returns)


def _linear(outputs: Float[Array, "*rows outputs"], slopes: Float[Array, "*rows outputs"]) -> tuple[Array, Array]:
    """A loss whose slopes in the outputs are these."""
    loss = (outputs * slopes).sum(axis=-1)
    return loss, loss


def _without_hidden(gradient: RecurrentAgent, n_actions: int) -> RecurrentAgent:
    """The part of `with_hidden`'s gradient that belongs to parameters."""
    head = Linear(gradient.head.weight[:n_actions], gradient.head.bias[:n_actions])
    return RecurrentAgent(gradient.encoder, gradient.cell, head)
