"""Training on the particle toys, episode by episode, and how much it varies with the seed: Fig. 2 of Zang et al. 2023.

What the paper draws is training itself: sampled policies, while they learn. Its claim is about speed in Predator-Prey
and about variance in Cooperative Navigation; so the spread over seeds has panels of its own.
"""

import dataclasses
import itertools
import json
import pathlib
import textwrap
from collections.abc import Sequence

import numpy as np
from jaxtyping import Float64
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seca.errors import UsageError
from seca.report import curves, statistics
from seca.report.figures import COLOURS, DASHES
from seca.runs import folder as folders

WINDOW = 100
"""Episodes of the running mean that is drawn."""
POINTS = 100
"""Points of a curve, at most."""
LATE = 500
"""Last episodes, over which the end of a training is measured; fewer where a training has not five times as many."""
_SEED = 0
"""Of the bootstrap."""


@dataclasses.dataclass(frozen=True)
class Training:
    """One run, one number for each of its training episodes."""

    run: str
    method: str
    """Preset, with every option that differs from it."""
    env: str
    """With its version and options."""
    seed: int
    values: Float64[np.ndarray, " episodes"]


@dataclasses.dataclass(frozen=True)
class Measure:
    """What is drawn of a toy."""

    label: str
    lower: bool
    """Whether less is better."""


MEASURES = {
    "mpe/predator-prey": Measure("env steps to the capture", True),
    "mpe/cooperative-navigation": Measure("mean reward of a step", False),
}


@dataclasses.dataclass(frozen=True)
class Group:
    """The trainings of a method on a toy."""

    env: str
    method: str
    seeds: int
    episodes: list[int]
    """After so many, for the lists below."""
    low: list[float]
    median: list[float]
    """Median and quartiles over seeds of the running mean."""
    high: list[float]
    spread: list[float] | None
    """Standard deviation over seeds of the running mean; None of one seed, as its other spreads."""
    overall: statistics.Interval
    """Mean over all episodes and seeds, with its bootstrap interval over seeds."""
    late: statistics.Interval
    """The same of the last episodes."""
    overall_spread: statistics.Interval | None
    """Standard deviation over seeds of the mean over all episodes."""
    late_spread: statistics.Interval | None


def read(path: pathlib.Path) -> Training:
    """Training episodes of a run on a toy with one runner.

    Raises UsageError: of another environment, of several runners, or without an episode.
    """
    folder = folders.existing(path)
    config = folders.read_config(folder.config)
    if config.env not in MEASURES:
        raise UsageError(f"`run` is {path}, on {config.env}: this figure is of {' and '.join(MEASURES)}")
    if config.loop.runners != 1:
        raise UsageError(f"`run` is {path}: it has {config.loop.runners} runners; one alone tells episodes apart")
    lines = folders.read_metrics(folder, "train")
    if not lines:
        raise UsageError(f"`run` is {path}: it has no training episode yet")
    returns, lengths = (np.array([line[name] for line in lines], np.float64) for name in _FIELDS)
    options = " ".join(f"{name}={value}" for name, value in sorted(config.env_options.items()))
    return Training(
        run=str(path),
        method=curves.label(config),
        env=f"{config.env}{' ' if options else ''}{options}",
        seed=config.seed,
        values=lengths if config.env == "mpe/predator-prey" else returns / lengths,
    )


_FIELDS = ("return_mean", "episode_length_mean")


def measure(trainings: Sequence[Training]) -> list[Group]:
    """Each method on each toy, as far as its shortest run. Raises UsageError when a seed is there twice."""
    found: dict[tuple[str, str], list[Training]] = {}
    for training in trainings:
        found.setdefault((training.env, training.method), []).append(training)
    return [_group(env, method, members) for (env, method), members in found.items()]


def _group(env: str, method: str, members: Sequence[Training]) -> Group:
    seeds = [training.seed for training in members]
    if len(set(seeds)) < len(seeds):
        raise UsageError(f"`runs` hold {method} on {env} twice with one seed: leave one of the two out")
    length = min(len(training.values) for training in members)
    rows = np.stack([training.values[:length] for training in members])
    smooth = running_mean(rows)
    at = np.unique(np.linspace(min(WINDOW, length), length, min(POINTS, length)).round().astype(int))
    drawn = smooth[:, at - 1]
    low, median, high = np.percentile(drawn, [25, 50, 75], axis=0)
    late = rows[:, -min(LATE, max(length // 5, 1)) :].mean(axis=1)
    overall = rows.mean(axis=1)
    return Group(
        env=env,
        method=method,
        seeds=len(seeds),
        episodes=at.tolist(),
        low=_short(low),
        median=_short(median),
        high=_short(high),
        spread=_short(np.std(drawn, axis=0, ddof=1)) if len(seeds) > 1 else None,
        overall=statistics.bootstrap(_mean_of_one, [overall], _SEED),
        late=statistics.bootstrap(_mean_of_one, [late], _SEED),
        overall_spread=statistics.bootstrap(_spread_of_one, [overall], _SEED) if len(seeds) > 1 else None,
        late_spread=statistics.bootstrap(_spread_of_one, [late], _SEED) if len(seeds) > 1 else None,
    )


def running_mean(rows: Float64[np.ndarray, "runs episodes"]) -> Float64[np.ndarray, "runs episodes"]:
    """Mean of the last `WINDOW` episodes, of fewer at the beginning."""
    sums = np.cumsum(np.pad(rows, ((0, 0), (1, 0))), axis=1)
    last = np.arange(1, rows.shape[1] + 1)
    first = np.maximum(last - WINDOW, 0)
    return (sums[:, last] - sums[:, first]) / (last - first)


def _mean_of_one(scores: statistics.Scores) -> statistics.Value:
    return np.mean(scores[0], axis=-1)


def _spread_of_one(scores: statistics.Scores) -> statistics.Value:
    return np.std(scores[0], axis=-1, ddof=1)


def _short(values: Float64[np.ndarray, " points"]) -> list[float]:
    return [float(f"{value:.6g}") for value in values]


def draw(groups: Sequence[Group], title: str, notes: Sequence[str] = ()) -> Figure:
    """A column for each toy: training above, its spread over seeds below, the caption at the foot."""
    envs = list(dict.fromkeys(group.env for group in groups))
    figure = Figure(figsize=(max(4.6 * len(envs), 6.5), 6.4), layout="constrained")
    axes = figure.subplots(2, len(envs), squeeze=False, sharex="col")
    for column, env in enumerate(envs):
        label = MEASURES[env.partition(" ")[0]].label
        styles = zip(itertools.cycle(COLOURS), itertools.cycle(DASHES), strict=False)
        for group, (colour, dash) in zip((g for g in groups if g.env == env), styles, strict=False):
            look = {"color": colour, "linestyle": dash, "linewidth": 1.6, "label": group.method}
            axes[0, column].plot(group.episodes, group.median, **look)
            axes[0, column].fill_between(group.episodes, group.low, group.high, color=colour, alpha=0.15, linewidth=0)
            if group.spread is not None:
                axes[1, column].plot(group.episodes, group.spread, **look)
        _dress(axes[0, column], axes[1, column], env, label)
    lines = textwrap.wrap(caption(groups, title, notes), round(17 * figure.get_figwidth()))
    figure.text(0.01, 0.01, "\n".join(lines), fontsize=7.5, va="bottom")
    figure.set_figheight(6.4 + 0.13 * len(lines))
    below = (0.15 + 0.13 * len(lines)) / figure.get_figheight()
    figure.set_layout_engine("constrained", rect=(0, below, 1, 1 - below))
    return figure


def _dress(above: Axes, below: Axes, env: str, label: str) -> None:
    above.set_title(env, fontsize=10)
    above.set_ylabel(label)
    below.set_ylabel("standard deviation\nover seeds")
    below.set_xlabel("training episodes")
    below.set_ylim(bottom=0)
    above.legend(fontsize=8, frameon=False)
    for panel in (above, below):
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)


def caption(groups: Sequence[Group], title: str, notes: Sequence[str] = ()) -> str:
    """What a reader must know: what it is of, how it was made, seeds."""
    told = ", ".join(f"{group.method} {group.seeds}" for group in groups)
    lengths = {group.episodes[-1] for group in groups}
    episodes = f"{min(lengths):,}" if len(lengths) == 1 else f"{min(lengths):,} to {max(lengths):,}"
    few = [f"fewer than {curves.FEW_SEEDS} seeds"] if min(g.seeds for g in groups) < curves.FEW_SEEDS else []
    return " ".join(
        [
            f"{title}.",
            f"Training episodes ({episodes}, one runner, sampled policies), running mean over {WINDOW} of them; median "
            f"and quartiles over seeds ({told}), and their standard deviation.",
            *(f"Warning: {warning}." for warning in (*notes, *few)),
        ]
    )


def table(groups: Sequence[Group]) -> str:
    """Means and spreads with 95 % bootstrap intervals over seeds, as Markdown."""
    head = "| toy | method | seeds | mean of all episodes | of the last | its deviation over seeds, all | last |"
    rows = [head, "|---|---|---|---|---|---|---|"]
    for group in groups:
        numbers = (group.overall, group.late, group.overall_spread, group.late_spread)
        cells = ("-" if x is None else f"{x.value:.3g} ({x.low:.3g} to {x.high:.3g})" for x in numbers)
        rows.append(f"| {group.env} | {group.method} | {group.seeds} | {' | '.join(cells)} |")
    return "\n".join(rows)


def as_json(groups: Sequence[Group], title: str) -> str:
    """All that is drawn and told."""
    return json.dumps({"title": title, "groups": [dataclasses.asdict(group) for group in groups]}, indent=1) + "\n"
