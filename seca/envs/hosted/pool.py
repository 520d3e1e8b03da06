"""All workers of an environment: episodes are dealt out to them, and what fails is started anew."""

import contextlib
import dataclasses
import threading
import time
from collections.abc import Callable, Iterable, Iterator

import numpy as np
from jaxtyping import Int, Int32

from seca.envs.hosted import frames
from seca.envs.hosted.arrays import SHOWN
from seca.envs.hosted.batches import OVER, Batch, Batches, Shown
from seca.envs.hosted.lanes import Asked, Recipe
from seca.envs.hosted.processes import Lost, Process, Worker
from seca.envs.hosted.single import Broken
from seca.errors import RunError, UsageError, told

LAUNCH_AGAIN = 0.5
"""Seconds until a process that the system refused is asked for again."""


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
    """How long an env step of one environment may take; starting it, and beginning an episode, ten times that."""
    restarts: int = 5
    """How many failures in a row of one worker's environments are borne: one more ends the run."""
    launch: Callable[[Recipe], Worker] = Process
    """How a worker is started."""


@dataclasses.dataclass
class _Seat:
    """Where a worker sits: lane k of all is number k // workers of worker k % workers."""

    worker: Worker | None
    lanes: int
    described: bool = False
    ready: bool = False
    failures: int = 0
    """In a row."""
    taken: threading.Lock = dataclasses.field(default_factory=threading.Lock)
    """Held from a question to its answer, and while a worker is started. Whoever takes several takes them in their
    order, and before the pool's own lock, which nobody holds while waiting for a worker."""


class Pool:
    """Workers, started when they are needed, and the episodes they play.

    Thread-safe: the shares of a batch on several devices come in threads of their own, and are played side by side
    as far as they are with different workers. An exception must not leave `reset` or `step` then, but for misuse: it
    would end one device's program, and the others would wait for it.

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
        self._batches = Batches(hosting.lanes)
        workers = min(hosting.workers, hosting.lanes)
        self._seats = [_Seat(None, len(range(i, hosting.lanes, workers))) for i in range(workers)]
        try:
            first = hosting.launch(recipe)
        except (Lost, OSError) as error:
            raise ValueError(f"`env` {self._name} cannot be started: {told(error)}") from None
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
        if len(seeds) > self.hosting.lanes:
            raise ValueError(
                f"{len(seeds)} episodes at once, but `env` {self._name} has {self.hosting.lanes} environments"
            )
        try:
            self.check()
            return self._begun(seeds)
        except Exception as error:
            self._give_up(error)
            shown = Shown.blank(self.spec, len(seeds))
            shown.lost[:] = shown.truncated[:] = True
            return np.zeros(len(seeds), np.int32), shown

    def _begun(self, seeds: Int32[np.ndarray, " batch"]) -> tuple[Int32[np.ndarray, " batch"], Shown]:
        with self._lock:
            number, batch = self._batches.begin(Shown.blank(self.spec, len(seeds)))
        while not batch.begun:
            with self._lock:
                places, batch.todo = np.array(sorted(batch.todo), int), set()
            lost = self._ask("reset", batch, places, seeds[places])
            if batch.given_up:
                raise HostError(f"`env` {self._name} was asked for more episodes at once than it has environments")
            with self._lock:
                batch.todo |= lost  # Beside those that others' failures have added.
                batch.begun = not batch.todo
        with self._lock:
            return np.full(len(seeds), number, np.int32), batch.shown.some(np.arange(len(seeds)))

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
            batch = self._batches.find(int(number[0]))
            if self.failed is not None or batch is None and number[0] == 0:
                shown = Shown.blank(self.spec, len(place))
                shown.lost[:] = shown.truncated[:] = True
                return dataclasses.replace(shown, time=played + 1)
            if batch is None or batch.given_up or (number != number[0]).any():
                raise ValueError(f"`env` {self._name}: these episodes were let go of, other ones have begun since")
            if (batch.shown.time[place] != played).any():
                raise ValueError(f"`env` {self._name} was stepped twice from one state, but it cannot go back")
            shown = batch.shown
            shown.reward[place] = 0.0
            live = np.flatnonzero(batch.lane[place] != OVER)
        try:
            lost = list(self._ask("step", batch, place[live], actions[live]))
        except Exception as error:
            self._give_up(error)
            lost = list(range(len(batch.lane)))
        with self._lock:
            shown.time[place[live]] += 1
            shown.lost[lost] = shown.truncated[lost] = True
            shown.truncated[place] |= ~shown.terminated[place] & (shown.time[place] >= self.spec.episode_limit)
            self._note_ends(batch, place[live])
            return shown.some(place)

    def close(self) -> None:
        """End all workers, also those that somebody waits for."""
        with self._lock:
            self.failed = self.failed or HostError(f"`env` {self._name} was closed")
            workers = [seat.worker for seat in self._seats if seat.worker is not None]
            for seat in self._seats:
                seat.worker, seat.ready = None, False
        for worker in workers:
            worker.dismiss()
        for worker in workers:
            worker.close()

    def check(self) -> None:
        """See `seca.envs.base.Host`."""
        if self.failed is not None:
            raise self.failed

    def _fail(self, words: str, kind: type[HostError] | type[UsageError] = HostError) -> RunError | UsageError:
        """It cannot go on; the first reason stands."""
        with self._lock:
            self.failed = self.failed or kind(f"`env` {self._name} {words}")
            return self.failed

    def _give_up(self, error: Exception) -> None:
        """After what is no failure of an environment either, a fault of ours, say."""
        if error is not self.failed:
            self._fail(f"cannot be played: {told(error)}")

    def _seat_of(self, lane: int | np.integer) -> int:
        return int(lane) % len(self._seats)

    def _at(self, lane: int | np.integer) -> tuple[dict[str, np.ndarray], int]:
        """The arrays that hold a lane, and its row there."""
        worker = self._seats[self._seat_of(lane)].worker
        assert worker is not None
        return worker.arrays, int(lane) // len(self._seats)

    def _note_ends(self, batch: Batch, places: Int[np.ndarray, " some"]) -> None:
        """Let go of those that are over; one that ended well ends its worker's row of failures."""
        shown = batch.shown
        over = places[(shown.terminated | shown.truncated)[places]]
        for place in over[~shown.lost[over]]:
            self._seats[self._seat_of(batch.lane[place])].failures = 0
        self._batches.let_go(batch, over)

    @contextlib.contextmanager
    def _held(self, seats: Iterable[int]) -> Iterator[list[int]]:
        """Have these seats for oneself."""
        with contextlib.ExitStack() as stack:
            for number in (numbers := sorted(set(seats))):
                stack.enter_context(self._seats[number].taken)
            yield numbers

    def _start(self, seats: list[int]) -> None:
        """Start those that are not there, side by side, and make room in them. Raises HostError, UsageError."""
        while missing := [number for number in seats if not self._seats[number].ready]:
            self.check()
            for number in missing:
                if self._seats[number].worker is None:
                    self._launch(number)
            for number in missing:
                seat = self._seats[number]
                worker = seat.worker
                if worker is None:  # It could not even be launched, or all were closed meanwhile.
                    continue
                try:
                    if not seat.described:
                        worker.describe(10 * self.hosting.seconds)
                    worker.make_room(self.spec, seat.lanes, self.hosting.seconds)
                    seat.ready = True
                except ValueError as error:
                    raise self._fail(f"could be made once, and no more: {error}") from None
                except Broken as error:
                    raise self._fail(frames.breach(str(error)), UsageError) from None
                except Lost as error:
                    self._fell(number, str(error))

    def _launch(self, number: int) -> None:
        """A worker for that seat, or one failure more."""
        seat = self._seats[number]
        try:
            worker = self.hosting.launch(self.recipe)
        except (Lost, OSError) as error:
            self._count(number, f"it cannot be started: {told(error)}")
            time.sleep(LAUNCH_AGAIN)
            return
        with self._lock:
            closed = self.failed is not None
            if not closed:
                seat.worker, seat.described = worker, False
        if closed:
            worker.close()

    def _fell(self, number: int, words: str) -> None:
        """A worker is gone, and all that it played. Raises HostError when it was once too often."""
        seat = self._seats[number]
        with self._lock:
            worker, seat.worker, seat.ready = seat.worker, None, False
            self._batches.lose(range(number, self.lanes, len(self._seats)))
        if worker is not None:
            worker.close()
        self._count(number, words)

    def _count(self, number: int, words: str, environments: int = 1) -> None:
        """One failure more, of so many environments. Raises HostError when it is one too many."""
        with self._lock:
            seat = self._seats[number]
            seat.failures += 1
            self.restarts, self.said = self.restarts + environments, words
            if seat.failures > self.hosting.restarts:
                raise self._fail(f"failed {seat.failures} times in a row, the last time: {words}")

    def _ask(self, asked: Asked, batch: Batch, places: Int[np.ndarray, " some"], given: np.ndarray) -> set[int]:
        """Have these episodes played, with these seeds or actions; returns those that were lost.

        What the others show is put into the batch. Raises HostError, UsageError.
        """
        with self._lock:
            seats = {self._seat_of(lane) for lane in batch.lane[places] if lane != OVER}
        with self._held(seats) as numbers:
            self._start(numbers)
            of_seat: dict[int, list[int]] = {}
            with self._lock:
                # Meanwhile others may have lost the worker that had them.
                lost = {place for place in places.tolist() if batch.lane[place] == OVER}
                for place, value in zip(places.tolist(), given, strict=True):
                    if place not in lost:
                        arrays, lane = self._at(batch.lane[place])
                        arrays["seeds" if asked == "reset" else "actions"][lane] = value
                        of_seat.setdefault(self._seat_of(batch.lane[place]), []).append(place)
            workers = {number: self._seats[number].worker for number in of_seat}
            for number, mine in of_seat.items():
                if (worker := workers[number]) is not None:
                    worker.ask(asked, [int(batch.lane[place]) // len(self._seats) for place in mine])
            for number, mine in of_seat.items():
                lost |= self._answered(number, workers[number], asked, batch, mine)
        return lost

    def _answered(self, number: int, worker: Worker | None, asked: Asked, batch: Batch, mine: list[int]) -> set[int]:
        """What came of what one worker was asked."""
        if worker is None:
            self.check()  # All were closed.
            return set(mine)
        lanes = {place: int(batch.lane[place]) // len(self._seats) for place in mine}
        try:
            reply = worker.answer(self.hosting.seconds * (10 if asked == "reset" else 1))
        except Lost as error:
            self._fell(number, str(error))
            return set(mine)
        if reply.broken:
            raise self._fail(frames.breach(reply.broken), UsageError)
        if reply.lost:
            self._count(number, list(reply.lost.values())[-1], len(reply.lost))
        lost = {place for place in mine if lanes[place] in reply.lost}
        for place in mine:
            if place not in lost:
                for name in SHOWN:
                    getattr(batch.shown, name)[place] = worker.arrays[name][lanes[place]]
        return lost
