"""All workers of an environment: batches of episodes are dealt out to them, and what fails is started anew."""

import dataclasses
import threading
import time
from collections.abc import Callable, Iterable

import numpy as np
from jaxtyping import Bool, Float32, Int, Int32

from seca.envs.hosted.arrays import SHOWN
from seca.envs.hosted.lanes import Asked, Recipe
from seca.envs.hosted.processes import Lost, Process, Worker
from seca.envs.hosted.single import Broken, Spec
from seca.errors import RunError, UsageError

KEPT = 8
"""Batches whose last time steps are remembered."""
OVER = -1
"""In place of the lane of an episode that is over."""


class HostError(RunError):
    """An environment that cannot be played on: one line that says why."""


@dataclasses.dataclass(frozen=True)
class Hosting:
    """Who plays, and how much patience there is with them."""

    lanes: int = 32
    """Environments side by side: as many as runners."""
    workers: int = 1
    """Processes, each of which plays its share of the environments, one after another."""
    seconds: float = 60.0
    """How long an env step of a worker's environments may take; starting them, and beginning episodes, ten times
    that."""
    restarts: int = 5
    """How many failures in a row of one worker's environments are borne: one more ends the run."""
    launch: Callable[[Recipe], Worker] = Process
    """How a worker is started."""


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
class _Batch:
    """Episodes that were begun together."""

    lane: Int[np.ndarray, " batch"]
    """Where each is played; OVER once it is over."""
    shown: Shown


@dataclasses.dataclass
class _Seat:
    """Where a worker sits: lane k of all is number k // workers of worker k % workers."""

    worker: Worker | None
    lanes: int
    described: bool = False
    ready: bool = False
    failures: int = 0
    """In a row."""


class Pool:
    """Workers, started when they are needed, and the episodes they play.

    Thread-safe: the shares of a batch on several devices come in threads of their own.

    Raises:
        ValueError: the environment cannot be made, or its process fails, in one line.
        Broken: what it shows at once does not fit what it says of itself.
    """

    def __init__(self, recipe: Recipe, hosting: Hosting) -> None:
        self.recipe, self.hosting, self.lanes = recipe, hosting, hosting.lanes
        self.failed: RunError | UsageError | None = None
        """Why it cannot go on, once it cannot: a contract broken, which is bad input, or failures."""
        self.said = ""
        """What the last one that failed said."""
        self.restarts = 0
        """How often a worker, or one of its environments, was started anew."""
        self._lock = threading.RLock()
        self._batches: dict[int, _Batch] = {}
        self._number = 0
        workers = min(hosting.workers, hosting.lanes)
        self._seats = [_Seat(None, len(range(i, hosting.lanes, workers))) for i in range(workers)]
        self._free = list(range(hosting.lanes))
        first = hosting.launch(recipe)
        try:
            self.spec, self.wins = first.describe(10 * hosting.seconds)
        except Lost as error:
            first.close()
            raise ValueError(f"`env` {self._name} cannot be started: {error}") from None
        except BaseException:
            first.close()
            raise
        self._seats[0].worker, self._seats[0].described = first, True

    @property
    def _name(self) -> str:
        return f"{self.recipe.kind}:{self.recipe.name}"

    def reset(self, seeds: Int32[np.ndarray, " batch"]) -> tuple[Int32[np.ndarray, " batch"], Shown]:
        """Begin episodes with these seeds; returns the number of the batch, once for each, and what they show.

        Once it has failed (`check`) all are lost at once. Raises ValueError where they are more than there are
        environments.
        """
        with self._lock:
            try:
                return self._begun(seeds)
            except (HostError, UsageError):
                shown = Shown.blank(self.spec, len(seeds))
                shown.lost[:] = shown.truncated[:] = True
                return np.zeros(len(seeds), np.int32), shown

    def _begun(self, seeds: Int32[np.ndarray, " batch"]) -> tuple[Int32[np.ndarray, " batch"], Shown]:
        self.check()
        self._start(range(len(self._seats)))
        batch = _Batch(self._lanes_for(len(seeds)), Shown.blank(self.spec, len(seeds)))
        self._number += 1
        self._batches[self._number] = batch
        for number in sorted(self._batches)[:-KEPT]:
            self._let_go(self._batches.pop(number))
        todo = np.arange(len(seeds))
        while todo.size:
            for place in todo:
                arrays, lane = self._at(batch.lane[place])
                arrays["seeds"][lane] = seeds[place]
            todo = np.array(sorted(self._ask("reset", batch, todo)), int)
        return np.full(len(seeds), self._number, np.int32), batch.shown.some(np.arange(len(seeds)))

    def step(
        self,
        number: Int32[np.ndarray, " batch"],
        place: Int32[np.ndarray, " batch"],
        played: Int32[np.ndarray, " batch"],
        actions: np.ndarray,
    ) -> Shown:
        """One env step of some episodes of one batch, of which so many were played; those that are over stay.

        Once it has failed all are lost. Raises ValueError where theirs is not the latest state: these environments
        cannot go back.
        """
        with self._lock:
            batch = self._batches.get(int(number[0]))
            if self.failed is not None or batch is None and number[0] == 0:
                shown = Shown.blank(self.spec, len(place))
                shown.lost[:] = shown.truncated[:] = True
                return dataclasses.replace(shown, time=played + 1)
            if batch is None or (number != number[0]).any():
                raise ValueError(f"`env` {self._name}: these episodes were let go of, other ones have begun since")
            if (batch.shown.time[place] != played).any():
                raise ValueError(f"`env` {self._name} was stepped twice from one state, but it cannot go back")
            shown = batch.shown
            shown.reward[place] = 0.0
            live = np.flatnonzero(batch.lane[place] != OVER)
            for row in live:
                arrays, lane = self._at(batch.lane[place[row]])
                arrays["actions"][lane] = actions[row]
            try:
                lost = list(self._ask("step", batch, place[live]))
            except (HostError, UsageError):
                lost = np.arange(len(batch.lane))
            shown.time[place[live]] += 1
            shown.lost[lost] = shown.truncated[lost] = True
            shown.truncated[place] |= ~shown.terminated[place] & (shown.time[place] >= self.spec.episode_limit)
            self._note_ends(batch, place[live])
            return shown.some(place)

    def close(self) -> None:
        """End all workers."""
        with self._lock:
            self.failed = self.failed or HostError(f"`env` {self._name} was closed")
            for seat in self._seats:
                worker, seat.worker, seat.ready = seat.worker, None, False
                if worker is not None:
                    worker.close()

    def check(self) -> None:
        """See `seca.envs.base.Host`."""
        if self.failed is not None:
            raise self.failed

    def _fail(self, words: str, kind: type[HostError] | type[UsageError] = HostError) -> HostError | UsageError:
        self.failed = kind(f"`env` {self._name} {words}")
        return self.failed

    def _seat_of(self, lane: int | np.integer) -> int:
        return int(lane) % len(self._seats)

    def _at(self, lane: int | np.integer) -> tuple[dict[str, np.ndarray], int]:
        """The arrays that hold a lane, and its row there."""
        worker = self._seats[self._seat_of(lane)].worker
        assert worker is not None
        return worker.arrays, int(lane) // len(self._seats)

    def _lanes_for(self, count: int) -> Int[np.ndarray, " batch"]:
        """Free lanes. The oldest batches give theirs up: whoever began a new one does not play on with them."""
        if count > self.hosting.lanes:
            raise ValueError(f"{count} episodes at once, but `env` {self._name} has {self.hosting.lanes} environments")
        while len(self._free) < count:
            self._let_go(next(batch for _, batch in sorted(self._batches.items()) if (batch.lane != OVER).any()))
        found, self._free = self._free[:count], self._free[count:]
        return np.array(found, int)

    def _let_go(self, batch: _Batch, places: Int[np.ndarray, " some"] | None = None) -> None:
        for place in np.arange(len(batch.lane)) if places is None else places:
            if batch.lane[place] != OVER:
                self._free.append(int(batch.lane[place]))
                batch.lane[place] = OVER
        self._free.sort()

    def _note_ends(self, batch: _Batch, places: Int[np.ndarray, " some"]) -> None:
        """Let go of those that are over; one that ended well ends its worker's row of failures."""
        shown = batch.shown
        over = places[(shown.terminated | shown.truncated)[places]]
        for place in over[~shown.lost[over]]:
            self._seats[self._seat_of(batch.lane[place])].failures = 0
        self._let_go(batch, over)

    def _start(self, seats: Iterable[int]) -> None:
        """Start those that are not there, side by side, and make room in them. Raises HostError."""
        while missing := [number for number in seats if not self._seats[number].ready]:
            for number in missing:
                if self._seats[number].worker is None:
                    self._seats[number].worker = self.hosting.launch(self.recipe)
                    self._seats[number].described = False
            for number in missing:
                seat = self._seats[number]
                assert seat.worker is not None
                try:
                    if not seat.described:
                        seat.worker.describe(10 * self.hosting.seconds)
                    seat.worker.make_room(self.spec, seat.lanes, self.hosting.seconds)
                    seat.ready = True
                except ValueError as error:
                    raise self._fail(f"could be made once, and no more: {error}") from None
                except Broken as error:
                    raise self._fail(f"does not keep its contract: {error}", UsageError) from None
                except Lost as error:
                    self._fell(number, str(error))

    def _fell(self, number: int, words: str) -> None:
        """A worker is gone: forget it. Raises HostError when it was once too often."""
        seat = self._seats[number]
        worker, seat.worker, seat.ready = seat.worker, None, False
        if worker is not None:
            worker.close()
        self._count(number, words)

    def _count(self, number: int, words: str) -> None:
        """One failure more. Raises HostError when it is one too many."""
        seat = self._seats[number]
        seat.failures += 1
        self.restarts, self.said = self.restarts + 1, words
        if seat.failures > self.hosting.restarts:
            raise self._fail(f"failed {seat.failures} times in a row, the last time: {words}")

    def _ask(self, asked: Asked, batch: _Batch, places: Int[np.ndarray, " some"]) -> set[int]:
        """Have these episodes played; returns those that were lost. What the others show is put into the batch.

        Raises HostError.
        """
        of_seat: dict[int, list[int]] = {}
        for place in places.tolist():
            of_seat.setdefault(self._seat_of(batch.lane[place]), []).append(place)
        for number, mine in of_seat.items():
            worker = self._seats[number].worker
            assert worker is not None
            worker.ask(asked, [int(batch.lane[place]) // len(self._seats) for place in mine])
        until = time.monotonic() + self.hosting.seconds * (10 if asked == "reset" else 1)
        lost: set[int] = set()
        for number, mine in of_seat.items():
            lost |= self._answered(number, batch, mine, until)
        self._start(range(len(self._seats)))
        return lost

    def _answered(self, number: int, batch: _Batch, mine: list[int], until: float) -> set[int]:
        """What came of what one worker was asked."""
        worker = self._seats[number].worker
        assert worker is not None
        try:
            reply = worker.answer(until)
        except Lost as error:
            self._lose_others(number, batch)
            self._fell(number, str(error))
            return set(mine)
        if reply.broken:
            raise self._fail(f"does not keep its contract: {reply.broken}", UsageError)
        lost = set()
        for place in mine:
            lane = int(batch.lane[place]) // len(self._seats)
            if lane in reply.lost:
                self._count(number, reply.lost[lane])
                lost.add(place)
            else:
                for name in SHOWN:
                    getattr(batch.shown, name)[place] = worker.arrays[name][lane]
        return lost

    def _lose_others(self, number: int, batch: _Batch) -> None:
        """Episodes of other batches that the worker played are lost with it, those of other devices, say."""
        for other in self._batches.values():
            if other is not batch:
                gone = np.flatnonzero((other.lane != OVER) & (other.lane % len(self._seats) == number))
                other.shown.lost[gone] = other.shown.truncated[gone] = True
                self._let_go(other, gone)
