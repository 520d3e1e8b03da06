"""What makes a joint value of the agents' utilities: options, networks and loss of each value-based method."""

import abc
import dataclasses
import functools
from typing import ClassVar, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from seca.learning.q_step import (
    Goal,
    Method,
    Mixers,
    Outputs,
    Rows,
    choice,
    columns,
    mixed_value,
    squared_error,
    utilities,
)
from seca.nets.mixers import (
    AttentionMixer,
    DuplexMixer,
    FreeMixer,
    JointValue,
    MonotoneMixer,
    NoMixer,
    SumMixer,
)
from seca.policies import mode, of_taken
from seca.ranges import Count, Fraction, NonNegative
from seca.types import EnvSpec


@dataclasses.dataclass(frozen=True)
class Mixing(abc.ABC):
    """What the learner asks of a mixer's options: networks, and what they are regressed to."""

    has_central: ClassVar[bool] = False
    """Whether agents of its own belong to a second, central value."""
    replaceable: ClassVar[bool] = True
    """Whether a mixer of one's own can stand in place of the main one."""

    @abc.abstractmethod
    def init(self, key: PRNGKeyArray, spec: EnvSpec, hidden: int) -> Mixers:
        """Fresh networks, for agents whose recurrent state has `hidden` numbers."""

    @abc.abstractmethod
    def method(self, scale: float) -> Method:
        """Value and loss of a row; `scale` is the factor of the squared error."""


def regressed(scale: float) -> Method:
    """The method whose loss is the squared error of the joint value."""
    return Method(mixed_value, functools.partial(squared_error, scale=scale))


@dataclasses.dataclass(frozen=True)
class NoMixing(Mixing):
    """IQL: every agent is regressed to the team reward alone."""

    def init(self, key: PRNGKeyArray, spec: EnvSpec, hidden: int) -> Mixers:
        """No networks."""
        del key, spec, hidden
        return Mixers(NoMixer())

    def method(self, scale: float) -> Method:
        """Squared error."""
        return regressed(scale)


@dataclasses.dataclass(frozen=True)
class SumMixing(Mixing):
    """VDN: the joint value is the sum of the utilities."""

    def init(self, key: PRNGKeyArray, spec: EnvSpec, hidden: int) -> Mixers:
        """No networks."""
        del key, spec, hidden
        return Mixers(SumMixer())

    def method(self, scale: float) -> Method:
        """Squared error."""
        return regressed(scale)


@dataclasses.dataclass(frozen=True)
class MonotoneMixing(Mixing):
    """QMIX: a mixing network of non-negative weights."""

    embed: Count = 32
    """Width of the mixing network."""
    width: Count | None = 64
    """Width of its hypernetworks' hidden layer; None makes them linear."""

    def init(self, key: PRNGKeyArray, spec: EnvSpec, hidden: int) -> Mixers:
        """Fresh networks."""
        del hidden
        return Mixers(MonotoneMixer.init(key, spec.n_agents, spec.state_size, self.embed, self.width))

    def method(self, scale: float) -> Method:
        """Squared error."""
        return regressed(scale)


@dataclasses.dataclass(frozen=True)
class WeightedMixing(Mixing):
    """Weighted QMIX: joint actions that look suboptimal count less."""

    weighting: Literal["central", "optimistic"] = "optimistic"
    """Full weight where the target exceeds the value and, for `central`, that of the greedy joint action as well as for
    that action itself (CW-QMIX); `optimistic` compares with Q_tot of the taken action (OW-QMIX)."""
    alpha: Fraction = 0.1
    """Weight of all other joint actions; 1 is QMIX."""
    embed: Count = 32
    """Width of the mixing network."""
    width: Count | None = 64
    """Width of its hypernetworks' hidden layer; None makes them linear."""
    central_width: Count = 256
    """Width of the unrestricted mixer's layers."""
    has_central: ClassVar[bool] = True

    def init(self, key: PRNGKeyArray, spec: EnvSpec, hidden: int) -> Mixers:
        """Fresh networks."""
        del hidden
        n, s = spec.n_agents, spec.state_size
        main_key, central_key = jax.random.split(key)
        central = FreeMixer.init(central_key, n, s, self.central_width)
        return Mixers(MonotoneMixer.init(main_key, n, s, self.embed, self.width), central)

    def method(self, scale: float) -> Method:
        """Targets from the central value, and a weight for each row."""
        return Method(central_value, functools.partial(weighted_loss, mixing=self, scale=scale))


@dataclasses.dataclass(frozen=True)
class DuplexMixing(Mixing):
    """QPLEX: transformed utilities plus weighted advantages."""

    width: Count = 64
    """Width of the hypernetworks' hidden layers."""
    kernels: Count = 4
    """Number of nets whose products make up each weight lambda."""
    depth: Count = 2
    """Layers of the nets of lambda."""

    def init(self, key: PRNGKeyArray, spec: EnvSpec, hidden: int) -> Mixers:
        """Fresh networks."""
        del hidden
        n, a, s = spec.n_agents, spec.n_actions, spec.state_size
        return Mixers(DuplexMixer.init(key, n, a, s, self.width, self.kernels, self.depth))

    def method(self, scale: float) -> Method:
        """Squared error."""
        return regressed(scale)


@dataclasses.dataclass(frozen=True)
class AttentionMixing(Mixing):
    """Qatten: attention of the state to each agent's part of it."""

    heads: Count = 4
    """Attention heads."""
    key_size: Count = 32
    """Length of queries and keys."""
    width: Count = 64
    """Width of the hidden layers that make queries and the heads' weights."""
    constant_width: Count = 32
    """Width of the hidden layer of c(s)."""

    def init(self, key: PRNGKeyArray, spec: EnvSpec, hidden: int) -> Mixers:
        """Fresh networks. Raises ValueError where the state does not begin with the agents' features."""
        del hidden
        if spec.ally_features == 0:
            raise ValueError(
                f"`env` is {spec.id}: Qatten reads each agent's features from the head of the state, in SMAC's order, "
                "and this state has none; choose a smac/ environment, without `obs_instead_of_state`, or another method"
            )
        sizes = self.heads, self.key_size, self.width, self.constant_width
        return Mixers(AttentionMixer.init(key, spec.state_size, spec.ally_features, *sizes))

    def method(self, scale: float) -> Method:
        """Squared error."""
        return regressed(scale)


@dataclasses.dataclass(frozen=True)
class TransformedMixing(Mixing):
    """QTRAN-base: a free joint value, and utilities held to it where it matters."""

    embed: Count = 64
    """Width of the nets of Q_jt and V."""
    optimum_weight: NonNegative = 1.0
    """Weight of the loss that ties the greedy joint action to Q_jt."""
    bound_weight: NonNegative = 0.1
    """Weight of the loss that keeps all others from falling below it."""
    replaceable: ClassVar[bool] = False

    def init(self, key: PRNGKeyArray, spec: EnvSpec, hidden: int) -> Mixers:
        """Fresh networks."""
        return Mixers(JointValue.init(key, spec.n_actions, spec.state_size, hidden, self.embed))

    def method(self, scale: float) -> Method:
        """Targets from Q_jt, of which the recurrent states are inputs."""
        loss = functools.partial(transformed_loss, mixing=self, scale=scale)
        return Method(transformed_value, loss, reads_hidden=True)


NamedMixing = (
    NoMixing | SumMixing | MonotoneMixing | WeightedMixing | DuplexMixing | AttentionMixing | TransformedMixing
)
"""The mixers that the command line and run folders know. Another is a class above and an entry here."""


def central_value(mixers: Mixers, rows: Rows, outputs: Outputs, actions: Int[Array, "rows agents"]) -> Array:
    """Q*(s, u) of weighted QMIX: the unrestricted mixer over utilities of its own agents."""
    assert outputs.central is not None  # Goes with the mixer of this method.
    return columns(mixers.central(rows.state, choice(outputs.central, rows.avail, actions)))


def transformed_value(mixers: Mixers, rows: Rows, outputs: Outputs, actions: Int[Array, "rows agents"]) -> Array:
    """Q_jt(s, u) of QTRAN."""
    n_actions = rows.avail.shape[-1]
    one_hot = jax.nn.one_hot(actions, n_actions, dtype=outputs.agent.dtype)
    return columns(mixers.main.joint(rows.state, outputs.agent[..., n_actions:], one_hot))


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
        is_greedy = (rows.actions == mode(utilities(rows, outputs), rows.avail)).all(axis=-1)
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
    best = mode(q, rows.avail)
    joint = transformed_value(mixers, rows, outputs, rows.actions)
    joint_best = transformed_value(mixers, rows, outputs, best)
    offset = columns(mixers.main.value(rows.state))
    at_best = of_taken(q, best).sum(axis=-1, keepdims=True) - jax.lax.stop_gradient(joint_best) + offset
    at_taken = of_taken(q, rows.actions).sum(axis=-1, keepdims=True) - jax.lax.stop_gradient(joint) + offset
    total = (joint - goal.y) ** 2 + mixing.optimum_weight * at_best**2
    return 2 * scale * (total + mixing.bound_weight * jnp.minimum(0, at_taken) ** 2), joint
