"""What the training loop asks of an algorithm."""

import dataclasses
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from jaxtyping import Array, Key, PRNGKeyArray

from seca.learning.buffer import Buffer, Replay
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

    @property
    def buffer_bytes(self) -> int:
        """Size of the buffer, which every device holds whole."""
        return 0 if self.buffer is None else self.buffer.size
