"""Methods held against each other over runs: tables, intervals, and a figure that says what it shows.

Two ways of the field: median and quartiles over seeds, as SMAC papers have it, and the statistics of Agarwal et al.
2021 with stratified bootstrap intervals (`statistics`).
"""

import dataclasses
import functools
import pathlib
import textwrap
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seca.errors import UsageError
from seca.report import curves, figures, fingerprint, marl_eval, scores, statistics
from seca.report.scores import SCORES, Score, Scored
from seca.report.statistics import Interval
from seca.runs import absolute
from seca.runs import folder as folders
from seca.runs.folder import RunFolder

ONE_RUN = "[one run]"
"""In the place of an interval."""
TASKS = "all environments"
"""Name of what is over all of them."""
STATISTICS: dict[str, Callable[..., Any]] = {
    "IQM": statistics.iqm,
    "median": statistics.median,
    "mean": statistics.mean,
    "optimality gap": statistics.optimality_gap,
}


@dataclasses.dataclass(frozen=True)
class Row:
    """One method on one environment."""

    method: str
    runs: int
    quartiles: statistics.Quartiles
    iqm: Interval
    scores: list[float]
    """Of each run, by seed."""


@dataclasses.dataclass(frozen=True)
class Comparison:
    """What was found, and how."""

    metrics: dict[str, str]
    """By environment: `win_rate`, or `return_mean` where nobody can win."""
    score: Score
    seed: int
    """Of the bootstrap."""
    environments: dict[str, list[Row]]
    together: dict[str, dict[str, Interval]]
    """By method, then by the names of `STATISTICS`: over all environments, of methods that have runs on all."""
    improvement: dict[str, Interval]
    """Probability that a run of the first method is better than one of another, by that one's name."""
    first: str
    single: list[str]
    """Methods of which there is one run on each environment: nothing is known of other seeds, and no interval told."""
    notes: list[str]
    """What must be said of it."""
    caption: str

    def alone(self, other: str) -> bool:
        """Whether the first method and another have one run each on all environments."""
        return {self.first, other} <= set(self.single)


def compare(runs: Sequence[Scored], score: Score | None = None, seed: int = 0, notes: Sequence[str] = ()) -> Comparison:
    """Hold methods against each other: those of the first run against all others.

    Raises UsageError for runs that do not compare: unlike evaluations, one environment in several versions or with
    several options, and a `score` that some runs do not have.
    """
    refuse_unlike(runs)
    told = [*notes, *curves.early_or_short([run.curve for run in runs])]
    runs = counted_runs(runs)
    kind = scores.common(runs, score)
    environments = by_environment(runs)
    metrics = {env: _metric(groups) for env, groups in environments.items()}
    counted = {
        env: {method: scores.of_method(members, kind, metrics[env]) for method, members in groups.items()}
        for env, groups in environments.items()
    }
    rows = {env: [_row(method, values, seed) for method, values in groups.items()] for env, groups in counted.items()}
    methods = list(dict.fromkeys(method for groups in environments.values() for method in groups))
    everywhere = [method for method in methods if all(method in groups for groups in environments.values())]
    tasks = {method: [groups[method] for groups in counted.values()] for method in everywhere}
    # A return is no share of what could be had: no gap to 1, and environments are not of one size.
    joint = set(metrics.values()) == {"win_rate"}
    together = {
        method: {
            name: statistics.bootstrap(statistic, tasks[method], seed)
            for name, statistic in STATISTICS.items()
            if joint
        }
        for method in everywhere
    }
    first, *others = everywhere or methods
    improvement = {
        other: statistics.bootstrap_pair(statistics.probability_of_improvement, tasks[first], tasks[other], seed)
        for other in others
        if other in tasks and first in tasks
    }
    told += _notes(environments, [method for method in methods if method not in everywhere])
    caption = _caption(environments, metrics, kind, seed)
    single = [
        method
        for method in methods
        if all(row.runs == 1 for found in rows.values() for row in found if row.method == method)
    ]
    return Comparison(metrics, kind, seed, rows, together, improvement, first, single, told, caption)


def _metric(groups: Mapping[str, Sequence[Scored]]) -> str:
    """What runs of an environment are held against each other by."""
    won = all("win_rate" in run.curve.values for runs in groups.values() for run in runs)
    return "win_rate" if won else "return_mean"


def counted_runs(runs: Sequence[Scored]) -> list[Scored]:
    """Those that did not end early."""
    groups = curves.group([run.curve for run in runs])
    early = {curve.run for members in groups.values() for curve in curves.ended_early(members)}
    return [run for run in runs if run.curve.run not in early]


def by_environment(runs: Sequence[Scored]) -> dict[str, dict[str, list[Scored]]]:
    """Runs by environment, then by method, in the order given."""
    grouped: dict[str, dict[str, list[Scored]]] = {}
    for run in runs:
        grouped.setdefault(run.curve.env, {}).setdefault(run.curve.preset, []).append(run)
    return grouped


def refuse_unlike(runs: Sequence[Scored]) -> None:
    """Raise UsageError where runs must not stand in one table."""
    if not runs:
        raise UsageError("`runs` is empty: give at least one run folder")
    by_name: dict[str, list[Scored]] = {}
    for run in runs:
        by_name.setdefault(run.config.env, []).append(run)
    for env, members in by_name.items():
        versions = {run.curve.env: run.name for run in members}
        if len(versions) > 1:
            told = "; ".join(f"{version} ({name})" for version, name in versions.items())
            raise UsageError(f"`runs` do not compare: {env} is several environments among them: {told}")
        prints = [(run.name, run.fingerprint) for run in members]
        for field, values in fingerprint.unlike(prints, fingerprint.REFUSED).items():
            told = "; ".join(f"{value} ({fingerprint.some(names)})" for value, names in values.items())
            raise UsageError(f"`runs` do not compare: {field} on {env} differs: {told}")


def _row(method: str, values: Float64[np.ndarray, " runs"], seed: int) -> Row:
    interval = statistics.bootstrap(statistics.iqm, [values], seed)
    return Row(method, len(values), statistics.quartiles(values), interval, [float(value) for value in values])


def _notes(environments: Mapping[str, Mapping[str, Sequence[Scored]]], missing: Sequence[str]) -> list[str]:
    """What must be said, each once with the environments that it is of."""
    said: dict[str, list[str]] = {}
    for env, groups in environments.items():
        prints = [(method, run.fingerprint) for method, members in groups.items() for run in members]
        for note in fingerprint.notes(prints):
            said.setdefault(note, []).append(env)
        few: dict[int, list[str]] = {}
        for method, members in groups.items():
            seeds = [run.config.seed for run in members]
            if len(set(seeds)) < len(seeds):
                said.setdefault(f"{method} has the same seed more than once", []).append(env)
            if len(members) < curves.FEW_SEEDS:
                few.setdefault(len(members), []).append(method)
        for count, methods in few.items():
            note = f"only {count} of {curves.FEW_SEEDS} seeds of {', '.join(methods)}"
            said.setdefault(note, []).append(env)
    told = [
        note if len(envs) == len(environments) else f"{fingerprint.some(envs)}: {note}" for note, envs in said.items()
    ]
    if missing:
        told.append(f"not over all environments, for want of runs on some: {', '.join(missing)}")
    return told


def _caption(
    environments: Mapping[str, Mapping[str, Sequence[Scored]]], metrics: Mapping[str, str], kind: Score, seed: int
) -> str:
    runs = [run for groups in environments.values() for members in groups.values() for run in members]
    episodes = sorted({int(run.scores[kind]["episodes"]) for run in runs})
    counts = sorted({len(members) for groups in environments.values() for members in groups.values()})
    trims = sorted({statistics.trimmed(count) for count in counts})
    return " ".join(
        [
            f"{_named(metrics.values()).capitalize()} of the {SCORES[kind]}, "
            f"{' or '.join(map(str, episodes))} episodes.",
            f"{' or '.join(map(str, counts))} {'seed' if counts == [1] else 'seeds'}; intervals: 95 %, by "
            "the percentile bootstrap over runs, "
            f"stratified by environment ({statistics.RESAMPLES:,} resamples, seed {seed}).",
            f"IQM: mean without the lowest and highest quarter, which on one environment are "
            f"{' or '.join(map(str, trims))} runs on each side; over several all their runs are taken together.",
            f"{curves.made_how([run.curve for run in runs])}.",
            curves.gradient_steps([run.curve for run in runs]),
        ]
    ).strip()


def _named(metrics: Iterable[str]) -> str:
    """Test win rate, test return, or both."""
    return " or ".join(curves.METRICS[name] for name in sorted(set(metrics), reverse=True))


def table(found: Comparison) -> str:
    """All of it as text."""

    def interval(found: Interval, percent: bool) -> str:
        return f"{_shown(found.value, percent)} [{_shown(found.low, percent)}, {_shown(found.high, percent)}]"

    lines = []
    heads = ("method", "runs", "median (quartiles)", "IQM [95 % interval]", "runs by seed")
    for env, rows in found.environments.items():
        cells, metric = [], found.metrics[env]
        percent = metric == "win_rate"
        shown = functools.partial(_shown, percent=percent)
        for row in rows:
            q = row.quartiles
            median = f"{shown(q.median)} ({shown(q.low)} to {shown(q.high)})" if row.runs > 1 else shown(q.median)
            each = " ".join(shown(value) for value in row.scores)
            iqm = interval(row.iqm, percent) if row.runs > 1 else f"{shown(row.iqm.value)} {ONE_RUN}"
            cells.append((row.method, str(row.runs), median, iqm, each))
        label = f"{env}: {curves.METRICS[metric]}{', in %' if percent else ''}"
        lines += ["", label, *_columns([heads, *cells])]
    if any(found.together.values()) and len(found.environments) > 1:
        cells = [
            (
                method,
                *(
                    f"{_shown(x.value, True)} {ONE_RUN}" if method in found.single else interval(x, True)
                    for x in row.values()
                ),
            )
            for method, row in found.together.items()
        ]
        lines += [
            "",
            f"{TASKS} ({len(found.environments)}): test win rate, in %",
            *_columns([("method", *STATISTICS), *cells]),
        ]
    if found.improvement:
        chances = [
            (other, f"{100 * x.value:.1f} {ONE_RUN}" if found.alone(other) else interval(x, True))
            for other, x in found.improvement.items()
        ]
        lines += ["", f"probability that a run of {found.first} is better than one of, in %", *_columns(chances)]
    notes = [line for note in found.notes for line in textwrap.wrap(f"- {note}", 110, subsequent_indent="  ")]
    return "\n".join([*lines[1:], "", *textwrap.wrap(found.caption, 110), *notes])


def _columns(rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines whose columns stand below each other."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  " + "   ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    ]


def _shown(value: float, percent: bool) -> str:
    return f"{100 * value:.1f}" if percent else f"{value:.2f}"


def as_json(found: Comparison) -> dict[str, Any]:
    """All of it, JSON-ready."""
    return dataclasses.asdict(found)


def exported(runs: Sequence[Scored], elapsed: bool = False) -> dict[str, Any]:
    """marl-eval's JSON of these runs. Raises UsageError where they break its rules, and without absolute metrics."""
    return marl_eval.exported([_evaluated(run) for run in counted_runs(runs)], elapsed=elapsed)


def _evaluated(run: Scored) -> marl_eval.EvaluatedRun:
    folder = RunFolder(pathlib.Path(run.curve.run))
    lines = folders.read_metrics(folder, "eval")
    best = absolute.read(folder)
    suite, _, task = run.config.env.rpartition("/")
    fields = {"return": "episode_return", "win_rate": "episode_won"}
    there = {name: field for name, field in fields.items() if all(field in line for line in lines)}
    return marl_eval.EvaluatedRun(
        environment=suite or run.config.env.partition(":")[0],
        task=task,
        algorithm=run.curve.preset.replace(",", ";"),
        seed=run.config.seed,
        steps=[line["env_steps"] for line in lines],
        metrics={name: [line[field] for line in lines] for name, field in there.items()},
        absolute=None if best is None else {name: best[field] for name, field in there.items() if field in best},
        elapsed=[line["time_elapsed"] for line in lines] if all("time_elapsed" in line for line in lines) else None,
    )


ENDS: dict[str, Any] = {"solid_capstyle": "butt"}
"""Of bars: they end where their interval does."""
PANELS = (
    "Left: IQM over all environments. Middle: share of all runs with more than a win rate. Right: IQM of the "
    "evaluations in training, at equal shares of each budget, as far as the shortest run. Bands: 95 % intervals of "
    "each point."
)


def draw(runs: Sequence[Scored], found: Comparison) -> Figure:
    """Three panels over all environments: IQM with intervals, performance profiles, IQM over training.

    Without win rates, or with methods on some environments only, there is nothing to draw over all: UsageError.
    """
    if not any(found.together.values()):
        raise UsageError("`out`: no method has win rates on all environments, so there is no figure over all of them")
    environments = by_environment(counted_runs(runs))
    methods = list(found.together)
    figure = Figure(figsize=(13, 4.6), layout="constrained")
    left, middle, right = figure.subplots(1, 3)
    for index, method in enumerate(reversed(methods)):
        interval, colour = found.together[method]["IQM"], _colour(methods, method)
        left.plot([interval.low, interval.high], [index, index], color=colour, linewidth=9, alpha=0.35, **ENDS)
        left.plot(interval.value, index, "o", color=colour, markeredgecolor="black")
    left.set_xlim(-0.03, 1.03)
    left.set_ylim(-0.6, len(methods) - 0.4)
    left.set_yticks(range(len(methods)), list(reversed(methods)))
    left.set_xlabel("IQM and 95 % interval")
    thresholds = np.linspace(0.0, 1.0, 101)
    for method in methods:
        tasks = [np.array(next(r.scores for r in rows if r.method == method)) for rows in found.environments.values()]
        profile = statistics.bootstrap_profile(tasks, thresholds, found.seed)
        style = {"color": _colour(methods, method), "linestyle": _dash(methods, method)}
        middle.plot(thresholds, profile.value, label=method, drawstyle="steps-post", **style)
        middle.fill_between(
            thresholds, profile.low, profile.high, step="post", alpha=0.12, color=style["color"], linewidth=0
        )
        members = [groups[method] for groups in environments.values()]
        _draw_curve(right, members, found, style)
    middle.set_xlabel("win rate")
    middle.set_ylabel("share of runs above it")
    right.set_xlabel("env steps, as a share of the budget")
    right.set_ylabel("IQM of the test win rate")
    for panel in (left, middle, right):
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    handles, labels = middle.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 6), frameon=False)
    lines = textwrap.wrap(" ".join([found.caption, PANELS, *(f"Note: {note}." for note in found.notes)]), 190)
    figure.text(0.01, 0.01, "\n".join(lines), fontsize=7.5, va="bottom")
    figure.set_figheight(4.6 + 0.13 * len(lines))
    below = (0.15 + 0.13 * len(lines)) / figure.get_figheight()
    figure.set_layout_engine("constrained", rect=(0, below, 1, 1 - below))
    return figure


def _draw_curve(panel: Axes, members: Sequence[Sequence[Scored]], found: Comparison, style: dict[str, Any]) -> None:
    """IQM over environments at equal shares of each one's budget."""
    end = min(run.curve.steps[-1] / run.curve.budget for runs in members for run in runs)
    shares = np.linspace(0.0, min(float(end), 1.0), 101)
    tasks = [
        np.stack(
            [curves.stepwise(run.curve.steps, run.curve.values["win_rate"], shares * run.curve.budget) for run in runs]
        )
        for runs in members
    ]
    drawn = statistics.bootstrap_curve(statistics.iqm, tasks, found.seed)
    panel.plot(shares, drawn.value, drawstyle="steps-post", **style)
    panel.fill_between(shares, drawn.low, drawn.high, step="post", alpha=0.12, color=style["color"], linewidth=0)


def _colour(methods: Sequence[str], method: str) -> str:
    return figures.COLOURS[methods.index(method) % len(figures.COLOURS)]


def _dash(methods: Sequence[str], method: str) -> Any:
    return figures.DASHES[methods.index(method) % len(figures.DASHES)]
