"""What the training loop asks of an algorithm."""

import dataclasses
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import equinox as eqx
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from seca.credit.base import Credit, Kind
from seca.learning.acting import told
from seca.learning.buffer import Buffer, Replay
from seca.learning.forks import ForkOptions
from seca.order.base import Order
from seca.types import Acted, Episodes, PyTree, TimeStep


@runtime_checkable
class Act(Protocol):
    """How a batch of teams acts."""

    def __call__(
        self,
        params: PyTree,
        carry: PyTree,
        time_step: TimeStep,
        keys: Key[Array, " batch"],
        env_steps: Array,
        greedy: bool,
    ) -> Acted:
        """Actions of one step; one key per runner, `env_steps` for schedules, `greedy` is static."""
        ...


@runtime_checkable
class Update(Protocol):
    """How a learner learns from whole episodes."""

    def __call__(
        self, learner: PyTree, episodes: Episodes, replay: Replay | None, key: PRNGKeyArray, axis: str | None
    ) -> tuple[PyTree, dict[str, Array]]:
        """The learner after one batch of new episodes, and measures.

        `replay` holds the new episodes already, and older ones; it is None without a buffer. `axis` names the mapped
        axis over which the batch is split among devices, or is None: losses, entropy means and gradient norms are
        global sums over it, so any number of devices gives the same update.
        """
        ...


class Claim(eqx.Module):
    """What a learner says that each agent's action was worth, in every step of whole episodes; 0 on padding."""

    credit: Float[Array, "batch time agents"]
    order: Int[Array, "batch time agents"] | None = None
    """Agent at each position, where the credit depends on who is judged first."""
    signal: Float[Array, "batch time agents"] | None = None
    """What the policy follows, where something is added to the credit that is the same for all agents."""
    team: Float[Array, "batch time"] | None = None
    """The critic's TD error, which is nobody's: a floor to what a credit should be."""
    contribution: Float[Array, "batch time agents"] | None = None
    """Each agent's share of the value earned in the step, where the order follows from it."""
    policy: Float[Array, "batch time agents width"] | None = None
    """The policies that chose, as critics are told them: probabilities, or means and variances (`distributions`)."""
    value: Float[Array, "batch time"] | None = None
    """The discounted return that is expected before anybody's action is known, f(s, pi) or V(s); of value-based methods
    that of the greedy joint action. A mean over agents where each has its own; meaningless on padding."""


@dataclasses.dataclass(frozen=True)
class Claims:
    """What a method says of its agents, to be seen (`seca view`) and held against the truth (`seca audit`)."""

    kind: Kind | None
    """What its credit is an estimate of. None: it judges the team alone, and its credit is what all agents follow."""
    fn: Callable[[PyTree, Episodes, Array, PRNGKeyArray], Claim]
    """`fn(learner, episodes, env_steps, key)`, of episodes that its policy played after so many env steps."""
    under: Callable[[Credit | None, Order | None], "Claims"] | None = None
    """`under(credit, order)`: the same of another credit, another order, or both, where the critic can give it."""
    telescopes: bool = False
    """Whether the value, and after it the credits added in their order, are the values F_0 .. F_n of one critic."""
    says: str = ""
    """Half a sentence on what the credit is, where its kind does not say it all."""


@dataclasses.dataclass(frozen=True)
class Forking:
    """How an algorithm has credits tried out in the environment, by forks of its episodes, before each update."""

    options: ForkOptions
    """How many forks of how many episodes, and how long."""
    gamma: float
    """Discount of rewards, per env step."""
    probs: Callable[[Episodes], Float[Array, "batch time1 agents actions"]]
    """`probs(episodes)`: the policies that played them."""
    order: Callable[[PyTree, Episodes, PRNGKeyArray, str | None], Int[Array, "batch time agents"]]
    """`order(learner, episodes, key, axis)`: agent at each position, first judged first."""
    value: Callable[[PyTree, TimeStep, PyTree], Float[Array, " lanes"]]
    """`value(learner, time_step, record)`: the return expected from there on, given what acting there recorded."""
    update: Callable[[PyTree, Episodes, tuple[Array, Array], PRNGKeyArray, str | None], tuple[PyTree, dict[str, Array]]]
    """`update(learner, episodes, (credit, known), key, axis)`, in place of `Algorithm.update`: with the credits
    `[batch, time, agents]` of the steps `[batch, time]` that have one."""


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """A record of pure functions, closed over an `EnvSpec` and the algorithm's own config.

    The training loop is one for all: collect whole episodes, store them where there is a buffer, then `update`.
    """

    name: str
    init: Callable[[PRNGKeyArray], PyTree]
    """`init(key) -> learner`: parameters, optimiser states, counters. Arrays only, so that it can be saved."""
    policy: Callable[[PyTree], PyTree]
    """`policy(learner) -> params`: the part of the learner that acting needs."""
    initial_carry: Callable[[int], PyTree]
    """`initial_carry(batch) -> carry` at t = 0."""
    act: Act
    update: Update
    memory: Callable[[int], int]
    """`memory(batch) -> bytes`: estimate of what training with `batch` runners needs beside the buffer, asked before
    compiling."""
    buffer: Buffer | None = None
    """The replay buffer that the training state keeps for it, or None."""
    claims: Claims | None = None
    """What it says of its agents, None where it says nothing."""
    forking: Forking | None = None
    """How its credits are tried out, None where it needs no more than the episodes."""
    begin: Callable[[PyTree, Episodes, str | None], PyTree] | None = None
    """`begin(learner, episodes, axis)`: the learner once a batch has been played, before its updates. None where it
    takes no note of whole batches."""
    told: Callable[[PyTree, Array], PyTree] = told
    """`told(carry, actions) -> carry`: the carry after acting, had others than the chosen actions been taken."""

    @property
    def buffer_bytes(self) -> int:
        """Size of the buffer, which every device holds whole."""
        return 0 if self.buffer is None else self.buffer.size
