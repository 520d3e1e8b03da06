"""Runs of a sweep side by side on this machine, each in a process of its own."""

import contextlib
import dataclasses
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from typing import IO, Protocol, runtime_checkable

from rich.console import Console, Group
from rich.live import Live
from rich.text import Text

from seca.host.signals import GRACE_SECONDS, StopRequest, stop_on_signals
from seca.sweeps import folder as sweeps
from seca.sweeps import status
from seca.sweeps.folder import SweepFolder
from seca.sweeps.plan import Cell, Plan
from seca.sweeps.slots import Slot
from seca.sweeps.work import TETHER, command

POLL_SECONDS = 0.2
LOOK_SECONDS = 5.0
"""Between two looks at all runs' folders."""


@dataclasses.dataclass
class Worker:
    """A process at a run."""

    cell: Cell
    slot: Slot
    process: "subprocess.Popen[bytes]"


@runtime_checkable
class Board(Protocol):
    """Where a person sees how far a sweep is."""

    def note(self, text: str) -> None:
        """Say something once."""

    def show(self, seen: status.Overview, abreast: int) -> None:
        """Show all runs."""


class PlainBoard:
    """A line every minute, for pipes, files and CI."""

    def __init__(self, every: float = 60.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._every, self._clock, self._shown_at = every, clock, -every

    def note(self, text: str) -> None:
        """Print the text."""
        print(text, flush=True)

    def show(self, seen: status.Overview, abreast: int) -> None:
        """Print the line, when it is time."""
        if self._clock() - self._shown_at >= self._every:
            self._shown_at = self._clock()
            self.note(seen.line(abreast))


class LiveBoard:
    """The whole table, which stays in place."""

    def __init__(self, console: Console, live: Live) -> None:
        self._console, self._live = console, live

    def note(self, text: str) -> None:
        """Print above the table."""
        self._console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, seen: status.Overview, abreast: int) -> None:
        """Draw the table anew."""
        line = Text(f"{seen.plan.title}: {seen.line(abreast)}", style="bold")
        self._live.update(Group(line, status.table(seen, self._console.width), Text(status.LEGEND, style="dim")))


@contextlib.contextmanager
def board() -> Iterator[Board]:
    """The table on a terminal, plain lines elsewhere."""
    console = Console()
    if not console.is_terminal or os.environ.get("CI"):
        yield PlainBoard()
        return
    with Live(console=console, refresh_per_second=2, vertical_overflow="ellipsis") as live:
        yield LiveBoard(console, live)


def run(folder: SweepFolder, plan: Plan, slots: list[Slot], shown: Board) -> int:
    """Make all runs that are not done, some side by side; returns the exit code.

    A run that fails is told and left; the others go on. One that another process is at is waited for, and gone on with
    where that one leaves it. Ctrl-C or SIGTERM stops all, each with a checkpoint.
    """
    # Runs have their own grace to save in: a little longer than that, and still within ten seconds.
    with stop_on_signals(lambda: _how_to_go_on(folder), GRACE_SECONDS + 1.5) as stop:
        failed = _run(folder, plan, slots, shown, stop)
    if stop:
        shown.note(_how_to_go_on(folder))
        return stop.exit_code
    seen = status.overview(folder, plan)
    shown.show(seen, len(slots))
    shown.note(seen.line(1))
    return 1 if failed else 0


def _run(folder: SweepFolder, plan: Plan, slots: list[Slot], shown: Board, stop: StopRequest) -> int:
    """The loop; returns how many runs failed."""
    seen = status.overview(folder, plan)
    queue = [cell for cell in plan.cells if seen.runs[cell.name].state not in ("done", "running")]
    # At the end of another process, say of a sweep that was killed, they may be left for us to go on with.
    elsewhere = [cell for cell in plan.cells if seen.runs[cell.name].state == "running"]
    free, workers, failed, looked_at = list(slots), [], 0, -LOOK_SECONDS
    try:
        while (queue or workers or elsewhere) and not stop:
            while queue and free:
                workers.append(start(folder, queue.pop(0), free.pop(0)))
            for worker in [worker for worker in workers if worker.process.poll() is not None]:
                workers.remove(worker)
                free.append(worker.slot)
                failed += not _ended(folder, worker, shown)
            if time.monotonic() - looked_at >= LOOK_SECONDS:
                seen = status.overview(folder, plan)
                shown.show(seen, len(slots))
                looked_at = time.monotonic()
                left = [cell for cell in elsewhere if seen.runs[cell.name].state != "running"]
                elsewhere = [cell for cell in elsewhere if cell not in left]
                queue += [cell for cell in left if seen.runs[cell.name].state != "done"]
            time.sleep(POLL_SECONDS)
    finally:
        _stop(workers)
    return failed


def start(folder: SweepFolder, cell: Cell, slot: Slot) -> Worker:
    """Start a process at a run. It stops by itself, with a checkpoint, when this process is gone."""
    folder.log(cell.name).parent.mkdir(exist_ok=True)
    folder.failure(cell.name).unlink(missing_ok=True)
    environment = {**os.environ, TETHER: "1", **dict(slot.environment)}
    # A group of its own: Ctrl-C reaches this process alone, which passes it on once.
    with folder.log(cell.name).open("ab") as log, _on(slot):
        process = subprocess.Popen(
            command(folder, cell.name),
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
            start_new_session=True,
        )
    return Worker(cell, slot, process)


@contextlib.contextmanager
def _on(slot: Slot) -> Iterator[None]:
    """Be on a slot's cores for as long as it takes to start a process, which starts with them."""
    if not slot.cores or not hasattr(os, "sched_getaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, slot.cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _ended(folder: SweepFolder, worker: Worker, shown: Board) -> bool:
    """Tell how a run ended; whether it did well."""
    _close(worker.process.stdin)
    name, code = worker.cell.name, worker.process.returncode
    if code:
        shown.note(f"{name} failed, {sweeps.note_failure(folder, name, code)}; see {folder.log(name)}")
        return False
    return True


def _stop(workers: list[Worker]) -> None:
    """Ask all to stop, and wait as long as a run may take for it; what is left then is ended."""
    for worker in workers:
        worker.process.terminate()
    until = time.monotonic() + GRACE_SECONDS + 1.0
    for worker in workers:
        try:
            worker.process.wait(max(0.0, until - time.monotonic()))
        except subprocess.TimeoutExpired:
            worker.process.kill()
            worker.process.wait()
        _close(worker.process.stdin)


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        with contextlib.suppress(OSError):
            pipe.close()


def _how_to_go_on(folder: SweepFolder) -> str:
    return f"stopped; go on with: seca sweep {folder.path}"
