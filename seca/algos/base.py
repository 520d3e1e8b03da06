"""What the training loop asks of an algorithm."""

import dataclasses
from collections.abc import Callable
from typing import Any

import equinox as eqx
from jaxtyping import Array, Int

from seca.types import PyTree


class Acted(eqx.Module):
    """Result of one `act` call over a batch of runners."""

    carry: PyTree
    """Recurrent state for the next step, arrays `[batch, ...]`."""
    actions: Int[Array, "batch agents"]
    record: PyTree = None
    """Arrays `[batch, ...]` that the loop stores in `Episodes.record`, so that `update` need not compute them again."""


@dataclasses.dataclass(frozen=True)
class Algorithm:
    """A record of pure functions, closed over an `EnvSpec` and the algorithm's own config.

    The training loop is one for all: collect whole episodes, then `update`. On-policy algorithms drop the episodes
    afterwards; off-policy ones keep a buffer inside their learner.
    """

    name: str
    init: Callable[[Any], PyTree]
    """`init(key) -> learner`: parameters, optimiser states, counters. Arrays only, so that it can be saved."""
    policy: Callable[[PyTree], PyTree]
    """`policy(learner) -> params`: the part of the learner that acting needs."""
    initial_carry: Callable[[int], PyTree]
    """`initial_carry(batch) -> carry` at t = 0."""
    act: Callable[..., Acted]
    """`act(params, carry, time_step, keys, env_steps, greedy) -> Acted`; one key per runner, `greedy` is static."""
    update: Callable[..., tuple[PyTree, dict[str, Array]]]
    """`update(learner, episodes, key, axis) -> (learner, metrics)`.

    `axis` names the mapped axis over which the batch is split among devices, or is None: losses, entropy means and
    gradient norms are global sums over it, so any number of devices gives the same update.
    """
    memory: Callable[[int], int]
    """`memory(batch) -> bytes`: estimate of what training with `batch` runners needs, asked before compiling."""
    buffer: int = 0
    """Bytes of replay buffer in `memory`: every device holds all of it."""
    room: int | None = None
    """Episodes that the buffer holds, where there is one: those of an iteration must fit in it."""
    drawn: dict[str, int] = dataclasses.field(default_factory=dict)
    """Episodes taken from the buffer at a time, by the option that says so: each is split evenly over the devices."""
