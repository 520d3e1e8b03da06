"""How far long work is, on standard error: a bar on a terminal, a line every ten seconds elsewhere."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

Tell = Callable[[float, int], None]
"""`tell(share, count)`: how much of the work is done, and how many of its units that took so far."""


@contextmanager
def shown(what: str, unit: str) -> Iterator[Tell]:
    """Progress of some work, named in a word, whose rate is told in some unit."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield Lines(what, unit)
        return
    bar = TextColumn("{task.description}", markup=False), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    columns = *bar, TextColumn("{task.fields[rate]}")
    with Progress(*columns, console=console, transient=True) as progress:
        task, begun = progress.add_task(what, total=1.0, rate="starting"), time.monotonic()
        yield lambda share, count: progress.update(
            task, completed=share, rate=f"{_rate(count, time.monotonic() - begun)} {unit}/s"
        )


def _rate(count: int, seconds: float) -> str:
    rate = count / max(seconds, 1e-9)
    return f"{rate:,.0f}" if rate >= 10 else f"{rate:.2f}"


class Lines:
    """Plain lines of progress."""

    def __init__(self, what: str, unit: str, every: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._what, self._unit, self._every, self._clock = what, unit, every, clock
        self._begun = self._told = clock()
        self._had: float | None = None

    def __call__(self, share: float, count: int) -> None:
        now = self._clock()
        self._had = share if self._had is None else self._had  # An audit that is added to does not begin at 0.
        if now - self._told < self._every:
            return
        self._told, spent = now, now - self._begun
        gained, rate = share - self._had, f"{_rate(count, spent)} {self._unit}/s"
        left = f"about {spent * (1 - share) / gained:.0f} s left" if gained > 0 else "time left not known yet"
        print(f"{self._what}: {100 * share:.0f} % | {rate} | {left}", file=sys.stderr, flush=True)
