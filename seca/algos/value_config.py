"""Options of the value-based methods: one learner, and what makes a joint value of the agents' utilities."""

import dataclasses
from typing import Annotated, Literal

from seca.ranges import Count, Fraction, NonNegative, Positive, Range


@dataclasses.dataclass(frozen=True)
class NoMixing:
    """IQL: every agent is regressed to the team reward alone."""


@dataclasses.dataclass(frozen=True)
class SumMixing:
    """VDN: the joint value is the sum of the utilities."""


@dataclasses.dataclass(frozen=True)
class MonotoneMixing:
    """QMIX: a mixing network of non-negative weights."""

    embed: Count = 32
    """Width of the mixing network."""
    width: Count | None = 64
    """Width of its hypernetworks' hidden layer; None makes them linear."""


@dataclasses.dataclass(frozen=True)
class WeightedMixing:
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


@dataclasses.dataclass(frozen=True)
class DuplexMixing:
    """QPLEX: transformed utilities plus weighted advantages."""

    width: Count = 64
    """Width of the hypernetworks' hidden layers."""
    kernels: Count = 4
    """Number of nets whose products make up each weight lambda."""
    depth: Count = 2
    """Layers of the nets of lambda."""


@dataclasses.dataclass(frozen=True)
class AttentionMixing:
    """Qatten: attention of the state to each agent's part of it."""

    heads: Count = 4
    """Attention heads."""
    key_size: Count = 32
    """Length of queries and keys."""
    width: Count = 64
    """Width of the hidden layers that make queries and the heads' weights."""
    constant_width: Count = 32
    """Width of the hidden layer of c(s)."""


@dataclasses.dataclass(frozen=True)
class TransformedMixing:
    """QTRAN-base: a free joint value, and utilities held to it where it matters."""

    embed: Count = 64
    """Width of the nets of Q_jt and V."""
    optimum_weight: NonNegative = 1.0
    """Weight of the loss that ties the greedy joint action to Q_jt."""
    bound_weight: NonNegative = 0.1
    """Weight of the loss that keeps all others from falling below it."""


Mixing = NoMixing | SumMixing | MonotoneMixing | WeightedMixing | DuplexMixing | AttentionMixing | TransformedMixing


@dataclasses.dataclass(frozen=True)
class ValueBasedConfig:
    """Options of the value-based methods; the mixer's own are under `mixing`."""

    mixing: Mixing = MonotoneMixing()
    """How utilities become a joint value."""
    optimiser: Literal["adam", "rmsprop"] = "adam"
    """RMSprop has decay 0.99 and eps 1e-5 outside the root, as in PyMARL."""
    lr: Positive = 1e-3
    """Step size of all networks."""
    gamma: Fraction = 0.99
    """Discount per env step."""
    td_lambda: Fraction = 0.6
    """Lambda of the targets; 0 is one-step Q-learning."""
    traces: Literal["peng", "corrected"] = "peng"
    """`peng`: TD(lambda) on the values of greedy actions, biased when actions explore; `corrected`: Q*(lambda)."""
    double_q: bool = True
    """Greedy actions in the targets are those of the online network, or else of the target network."""
    loss_scale: Positive = 0.5
    """Factor of the squared TD error."""
    clip_norm: Positive = 10.0
    """Global gradient norm above which the gradient is scaled down."""
    target_interval: Count = 200
    """Least number of episodes between two copies of the networks into their targets."""
    batch_episodes: Count = 32
    """Episodes drawn from the buffer for each gradient step."""
    updates: Annotated[int, Range(1, 10_000)] = 1
    """Gradient steps per iteration, each on newly drawn episodes. One, as in PyMARL, is few where 32 runners play:
    about 1,300 in 2M env steps of 2s3z."""
    buffer_episodes: Count = 5000
    """Episodes the buffer holds."""
    buffer_gib: Positive = 2.0
    """Memory the buffer may take on each device; on large maps it holds fewer episodes for that."""
    epsilon_start: Fraction = 1.0
    """Share of random actions at the beginning."""
    epsilon_finish: Fraction = 0.05
    """Share of random actions after `epsilon_steps`; linear in between, 0 in tests."""
    epsilon_steps: Count = 100_000
    """Env steps over which epsilon falls."""
    agent_hidden: Count = 64
    """Width of the agent's layers and of its recurrent state."""
    time_limit: Literal["bootstrap", "terminal"] = "bootstrap"
    """Whether an episode cut by the time limit bootstraps from its last state or counts as ended."""
