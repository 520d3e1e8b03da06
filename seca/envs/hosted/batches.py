"""Batches of episodes of an environment, and where each episode is played."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

from seca.envs.hosted.single import Spec

KEPT = 8
"""Batches that are over of which the last time steps are remembered; those that go on all are."""
OVER = -1
"""In place of the lane of an episode that is over."""


@dataclasses.dataclass(frozen=True)
class Shown:
    """What a batch of environments shows."""

    obs: Float32[np.ndarray, "batch agents obs"]
    state: Float32[np.ndarray, "batch state"]
    avail: Bool[np.ndarray, "batch agents actions"]
    reward: Float32[np.ndarray, " batch"]
    terminated: Bool[np.ndarray, " batch"]
    truncated: Bool[np.ndarray, " batch"]
    won: Bool[np.ndarray, " batch"]
    lost: Bool[np.ndarray, " batch"]
    """The environment failed: the episode is cut there, and nothing of it counts."""
    time: Int32[np.ndarray, " batch"]
    """Env steps played."""

    def some(self, places: Int[np.ndarray, " some"]) -> "Shown":
        """Copies of some rows."""
        return Shown(**{field.name: getattr(self, field.name)[places] for field in dataclasses.fields(self)})

    @staticmethod
    def blank(spec: Spec, batch: int) -> "Shown":
        """Before anything is shown: no agent has more than its first action."""
        avail = np.zeros((batch, spec.n_agents, spec.n_actions), bool)
        avail[..., 0] = True
        return Shown(
            obs=np.zeros((batch, spec.n_agents, spec.obs_size), np.float32),
            state=np.zeros((batch, spec.state_size), np.float32),
            avail=avail,
            reward=np.zeros(batch, np.float32),
            terminated=np.zeros(batch, bool),
            truncated=np.zeros(batch, bool),
            won=np.zeros(batch, bool),
            lost=np.zeros(batch, bool),
            time=np.zeros(batch, np.int32),
        )


@dataclasses.dataclass
class Batch:
    """Episodes that are begun together."""

    lane: Int[np.ndarray, " batch"]
    """Where each is played; OVER once it is over."""
    shown: Shown
    todo: set[int]
    """Places of those that are still to be begun."""
    begun: bool = False
    given_up: bool = False
    """Other episodes have taken the place of some of these, which nobody plays any more."""


class Batches:
    """All of them, and the lanes of their episodes: of `lanes` each plays one episode at a time.

    Not thread-safe: whoever uses it has a lock.
    """

    def __init__(self, lanes: int) -> None:
        self._of: dict[int, Batch] = {}
        self._free = list(range(lanes))
        self._last = 0

    def begin(self, shown: Shown) -> tuple[int, Batch]:
        """A batch of as many episodes as `shown` has rows, no more than there are lanes; its number, from 1 on.

        The oldest batches give up their lanes where too few are free: whoever began a new one does not play on with
        them.
        """
        count = len(shown.time)
        while len(self._free) < count:
            oldest = next(batch for _, batch in sorted(self._of.items()) if (batch.lane != OVER).any())
            oldest.given_up = True
            self.let_go(oldest, np.arange(len(oldest.lane)))
        lanes, self._free = self._free[:count], self._free[count:]
        self._last += 1
        self._of[self._last] = begun = Batch(np.array(lanes, int), shown, set(range(count)))
        over = [number for number, one in sorted(self._of.items()) if one.begun and (one.lane == OVER).all()]
        for old in over[:-KEPT]:
            del self._of[old]
        return self._last, begun

    def find(self, number: int) -> Batch | None:
        """The batch of that number, if it is remembered."""
        return self._of.get(number)

    def let_go(self, batch: Batch, places: Int[np.ndarray, " some"]) -> None:
        """These episodes are over: their lanes are free, if they are not yet."""
        for place in places:
            if batch.lane[place] != OVER:
                self._free.append(int(batch.lane[place]))
                batch.lane[place] = OVER
        self._free.sort()

    def lose(self, lanes: Sequence[int]) -> None:
        """What these played is lost; those of a batch that is not begun begin again."""
        for batch in self._of.values():
            gone = np.flatnonzero(np.isin(batch.lane, lanes))
            if batch.begun:
                batch.shown.lost[gone] = batch.shown.truncated[gone] = True
                self.let_go(batch, gone)
            else:
                batch.todo |= set(gone.tolist())
