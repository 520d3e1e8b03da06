"""What a person sees of a running training: a live line on a terminal, plain lines elsewhere."""

import dataclasses
import os
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol, runtime_checkable

from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn

WIDE = 100
"""Columns of a terminal on which the bar leaves room for everything."""
_COMPILING = "compiling: a minute or two, the first time"


@dataclasses.dataclass(frozen=True)
class Status:
    """The latest known numbers of a run."""

    env_steps: int = 0
    episodes: int = 0
    env_steps_per_s: float | None = None
    """Since this session's first iterations were compiled; None before."""
    train_return: float | None = None
    win_rate: float | None = None
    test_return: float | None = None
    """Shown where nobody can win."""
    credit_share: float | None = None
    """Mean size of the agents' credits over that of what the policy follows, where it follows more than credits."""

    def budget(self, steps: int, episodes: int) -> int:
        """Env steps of the whole run, as far as can be told of one that ends after so many episodes."""
        if not episodes or not self.episodes:
            return steps
        return min(steps, round(self.env_steps * max(episodes / self.episodes, 1)))

    def text(self, steps: int) -> str:
        """One line: env steps, rate, time left, latest training return and test win rate (or test return)."""
        rate = self.env_steps_per_s
        left = _clock_text((steps - self.env_steps) / rate) if rate else "-"
        train_return = "-" if self.train_return is None else f"{self.train_return:.2f}"
        return (
            f"{self.env_steps:,} of {steps:,} env steps | {_count(rate)} steps/s | ETA {left} | "
            f"train return {train_return} | {self._test()}{self._credit()}"
        )

    def _credit(self) -> str:
        return "" if self.credit_share is None else f" | credit {100 * self.credit_share:.0f} % of signal"

    def _test(self) -> str:
        if self.win_rate is not None:
            return f"test win rate {100 * self.win_rate:.1f} %"
        return "test -" if self.test_return is None else f"test return {self.test_return:.2f}"

    def short(self, steps: int, wide: bool = False) -> str:
        """The same beside a bar; the share of the credit where there is room for it."""
        whole = (self if wide else dataclasses.replace(self, credit_share=None)).text(steps).replace(" of signal", "")
        whole = whole.replace(f" of {steps:,} env", "").replace(" steps/s", "/s")
        return whole.replace("train return", "return").replace("test win rate", "win").replace("test return", "test")


class Meter:
    """Follows metric lines and keeps the `Status`; the rate leaves out the first iteration, which compiles."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.status = Status()
        self._clock = clock
        self._start: tuple[float, int] | None = None

    def update(self, line: dict[str, Any]) -> Status:
        """Take in one line of metrics."""
        changes: dict[str, Any] = {"env_steps": line["env_steps"]}
        if line["kind"] == "eval":
            changes |= {"win_rate": line["win_rate"]} if "win_rate" in line else {"test_return": line["return_mean"]}
        else:
            now = self._clock()
            if "return_mean" in line:  # Else all episodes were lost: what there was stays.
                changes |= {"train_return": line["return_mean"], "credit_share": line.get("credit_share")}
            changes["episodes"] = line.get("episodes", 0)
            if self._start is None:
                self._start = (now, line["env_steps"])
            elif now > self._start[0]:
                changes["env_steps_per_s"] = (line["env_steps"] - self._start[1]) / (now - self._start[0])
        self.status = dataclasses.replace(self.status, **changes)
        return self.status


@runtime_checkable
class Display(Protocol):
    """Where progress is shown."""

    def note(self, text: str) -> None:
        """Say something once."""

    def show(self, line: dict[str, Any]) -> None:
        """Take in one line of metrics."""

    def running(self) -> AbstractContextManager[object]:
        """The time during which lines come."""


class PlainDisplay:
    """Plain lines: one per evaluation, and one every `every` seconds."""

    def __init__(
        self, steps: int, every: float = 10.0, clock: Callable[[], float] = time.monotonic, episodes: int = 0
    ) -> None:
        self._steps, self._episodes, self._every, self._clock = steps, episodes, every, clock
        self._meter, self._shown_at = Meter(clock), clock()

    def note(self, text: str) -> None:
        """Print the text."""
        print(text, flush=True)

    def show(self, line: dict[str, Any]) -> None:
        """Print the status when there is a new evaluation or when it is time."""
        status = self._meter.update(line)
        if line["kind"] == "eval" or self._clock() - self._shown_at >= self._every:
            self._shown_at = self._clock()
            self.note(status.text(status.budget(self._steps, self._episodes)))

    def running(self) -> AbstractContextManager[object]:
        """Nothing to open or close."""
        return nullcontext()


class LiveDisplay:
    """A progress bar that stays in place; evaluations scroll by above it."""

    def __init__(self, console: Console, steps: int, episodes: int = 0) -> None:
        self._steps, self._episodes, self._meter = steps, episodes, Meter()
        self._wide = console.width >= WIDE
        bar = BarColumn(bar_width=max(4, min(30, console.width - 76)))  # The numbers come first on a narrow terminal.
        self._progress = Progress(TextColumn("{task.description}"), bar, TaskProgressColumn(), console=console)
        self._task = self._progress.add_task(_COMPILING, total=steps)

    def note(self, text: str) -> None:
        """Print above the bar."""
        self._progress.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def show(self, line: dict[str, Any]) -> None:
        """Move the bar."""
        status = self._meter.update(line)
        steps = status.budget(self._steps, self._episodes)
        if line["kind"] == "eval":
            self.note(status.text(steps))
        short = _COMPILING if status.train_return is None else status.short(steps, self._wide)
        self._progress.update(self._task, completed=min(status.env_steps, steps), total=steps, description=short)

    def running(self) -> AbstractContextManager[object]:
        """The live region."""
        return self._progress


def make_display(steps: int, episodes: int = 0) -> Display:
    """A live display on a terminal, plain lines in pipes, files and CI, of a run that ends after one or the other."""
    console = Console()
    if console.is_terminal and not os.environ.get("CI"):
        return LiveDisplay(console, steps, episodes)
    return PlainDisplay(steps, episodes=episodes)


def _count(rate: float | None) -> str:
    return f"{rate:,.0f}" if rate else "-"


def _clock_text(seconds: float) -> str:
    minutes, rest = divmod(max(round(seconds), 0), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"
