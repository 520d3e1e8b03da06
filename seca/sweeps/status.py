"""How far a sweep is, for people: a table of all runs, and when it will be done."""

import dataclasses
import statistics
from collections.abc import Mapping

from rich.console import Console
from rich.table import Table
from rich.text import Text

from seca.sweeps import folder as sweeps
from seca.sweeps.folder import Progress, SweepFolder
from seca.sweeps.plan import Cell, Plan


@dataclasses.dataclass(frozen=True)
class Overview:
    """All runs of a sweep at one moment."""

    plan: Plan
    runs: Mapping[str, Progress]
    """By name."""

    def count(self, state: str) -> int:
        """Runs in a state."""
        return sum(run.state == state for run in self.runs.values())

    def seconds_left(self, abreast: int) -> float | None:
        """Seconds until all runs are done with so many side by side; None before there is a rate.

        Each run at the rate of those of its method and environment, else at the median of all that have one.
        """
        rates: dict[tuple[str, str], list[float]] = {}
        for cell in self.plan.cells:
            run = self.runs[cell.name]
            if run.seconds > 0 and run.env_steps > 0:
                rates.setdefault((cell.method, cell.config.env), []).append(run.env_steps / run.seconds)
        if not rates:
            return None
        usual = statistics.median(rate for group in rates.values() for rate in group)
        left = [
            max(self._steps_of(cell) - self.runs[cell.name].env_steps, 0)
            / statistics.median(rates.get((cell.method, cell.config.env), [usual]))
            for cell in self.plan.cells
            if self.runs[cell.name].state not in ("done", "failed")
        ]
        # No run can be shared out: the longest bounds it, too.
        return max(sum(left) / max(abreast, 1), max(left, default=0.0))

    def _steps_of(self, cell: Cell) -> int:
        """Env steps that a run will have had, as far as is known: it may end after so many episodes."""
        run, loop = self.runs[cell.name], cell.config.loop
        return run.env_steps if loop.episodes and run.state == "done" else loop.steps

    def line(self, abreast: int) -> str:
        """The sweep in one line."""
        left = self.seconds_left(abreast)
        kinds = [(state, self.count(state)) for state in ("running", "waiting", "stopped", "failed")]
        counts = ", ".join(f"{count} {state}" for state, count in kinds if count)
        steps = sum(min(self.runs[c.name].env_steps, c.config.loop.steps) for c in self.plan.cells)
        total = sum(map(self._steps_of, self.plan.cells))
        eta = "" if left is None or not left else f" | ETA {clock(left)}"
        return (
            f"{self.count('done')} of {len(self.plan.cells)} runs done{f' ({counts})' if counts else ''} | "
            f"{amount(steps)} of {amount(total)} env steps{eta}"
        )


def overview(folder: SweepFolder, plan: Plan) -> Overview:
    """How far all runs are, from their folders."""
    return Overview(plan, {cell.name: sweeps.progress(folder, plan, cell) for cell in plan.cells})


def amount(env_steps: int) -> str:
    """Env steps, in millions where they are many."""
    return f"{env_steps / 1e6:,.2f}M" if env_steps >= 100_000 else f"{env_steps:,}"


def clock(seconds: int | float) -> str:
    """Hours and minutes, of long times days too."""
    minutes = round(seconds / 60)
    days, hours = divmod(minutes // 60, 24)
    return f"{f'{days} d ' if days else ''}{hours}:{minutes % 60:02d} h"


_MARKS = {"waiting": "", "running": "> ", "stopped": "|| ", "failed": "failed ", "done": ""}


def cell_text(run: Progress) -> str:
    """One run in a few characters: how far, and its last evaluation."""
    if run.state == "waiting":
        return "."
    tested = ""
    if run.evaluated is not None:
        rate = run.evaluated.get("win_rate")
        tested = f"{100 * rate:.0f} %" if rate is not None else f"{run.evaluated.get('return_mean', 0.0):.1f}"
    if run.state == "done":
        return tested
    return f"{_MARKS[run.state]}{amount(run.env_steps)} {tested}".strip()


def table(seen: Overview, width: int) -> Table:
    """One row per method and environment, one column per seed."""
    seeds = sorted({cell.config.seed for cell in seen.plan.cells})
    rows: dict[tuple[str, str], dict[int, str]] = {}
    for cell in seen.plan.cells:
        rows.setdefault((cell.config.env, cell.method), {})[cell.config.seed] = cell_text(seen.runs[cell.name])
    # As many seeds as there is room for; the rest is counted in the line above.
    names = max(len(env) + len(method) for env, method in rows) + 6
    shown = seeds[: max(1, (width - names) // 15)]
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for title in ("environment", "method", *(f"seed {seed}" for seed in shown)):
        drawn.add_column(title, no_wrap=True)
    for (env, method), found in rows.items():
        drawn.add_row(*map(Text, (env, method, *(found.get(seed, "") for seed in shown))))
    return drawn


LEGEND = "end: win rate (or return) of the finished run; > running, || stopped, failed, . waiting"


def text(seen: Overview, abreast: int, width: int = 120) -> str:
    """The whole of it as plain text: line, table, and what failed."""
    console = Console(width=width, force_terminal=False, color_system=None)
    with console.capture() as captured:
        console.print(table(seen, width))
    drawn = "\n".join(line.rstrip() for line in captured.get().rstrip().splitlines())
    failed = [f"{cell.name}: {seen.runs[cell.name].failure}" for cell in failures(seen)]
    return "\n".join([f"{seen.plan.title}: {seen.line(abreast)}", drawn, LEGEND, *failed])


def failures(seen: Overview) -> list[Cell]:
    """Runs that failed."""
    return [cell for cell in seen.plan.cells if seen.runs[cell.name].state == "failed"]
