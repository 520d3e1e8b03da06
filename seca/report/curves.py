"""Learning curves of one or many runs: median and quartiles over the runs of each preset."""

import contextlib
import csv
import dataclasses
import io
import itertools
import math
import pathlib
import textwrap
from collections.abc import Callable, Mapping, Sequence

import matplotlib
import numpy as np
from jaxtyping import Float64
from matplotlib.figure import Figure

from seca import files
from seca.config import RunConfig, decisive
from seca.envs import registry
from seca.errors import RunError, UsageError
from seca.learning.options import UNADAPTED
from seca.presets import PRESETS
from seca.runs import folder as folders

FEW_SEEDS = 5
"""Runs per curve below which the caption warns, as usual in SMAC papers."""

METRICS: dict[str, str] = {"win_rate": "test win rate", "return_mean": "test return"}
"""Drawn fields of evaluation lines, and their axis labels. Where nobody can win there is no `win_rate`."""

_BOUNDS = {"env_steps": (0, 2**32), "win_rate": (0, 1), "return_mean": (-1e30, 1e30)}
"""What is read of them, and between what it lies: rewards are 32 bits wide."""


@dataclasses.dataclass(frozen=True)
class Curve:
    """Evaluations of one run, and what must agree before runs may share a curve."""

    run: str
    preset: str
    """Preset, with every option of the algorithm that differs from it."""
    seed: int
    budget: int
    """Env steps the run was asked for."""
    interval: int
    """Env steps between evaluations."""
    episodes: int
    """Greedy episodes per evaluation."""
    env: str
    """Environment with version and options."""
    steps: Float64[np.ndarray, " points"]
    values: dict[str, Float64[np.ndarray, " points"]]
    """By the names of `METRICS`, of those that its evaluations have."""
    gradient_steps: float | None = None
    """Per 1,000 env steps; None where nobody counted them."""
    runners: int = 32
    """Episodes of an iteration."""
    updates: int = 1
    """Updates that share them."""
    setting: str = ""
    """Whose numbers its options are (`fingerprint`); empty where that is not known."""


@dataclasses.dataclass(frozen=True)
class Band:
    """Median and quartiles over the runs of a group, one entry per drawn point."""

    steps: Float64[np.ndarray, " points"]
    low: Float64[np.ndarray, " points"]
    median: Float64[np.ndarray, " points"]
    high: Float64[np.ndarray, " points"]


class NoEvaluationError(UsageError):
    """A run that has not been evaluated yet."""


def read_curves(
    paths: Sequence[pathlib.Path], tell: Callable[[float, int], None] = lambda share, count: None
) -> tuple[list[Curve], list[str]]:
    """The curves of the runs that have been evaluated, and a warning for each that has not.

    `tell(share, runs)` is told how far it is: a long run takes a second, and a study has hundreds.
    Raises UsageError when a run cannot be read, or none has been evaluated.
    """
    curves, refused = [], []
    for index, path in enumerate(paths, start=1):
        try:
            curves.append(read_curve(path))
        except NoEvaluationError as error:
            refused.append(error)
        tell(index / len(paths), index)
    if refused and not curves:
        raise refused[0]
    return curves, [f"left out: {error}" for error in refused]


def read_curve(path: pathlib.Path) -> Curve:
    """The evaluations of a run folder. Raises UsageError when there are none."""
    folder = folders.existing(path)
    config = folders.read_config(folder.config)
    lines = folders.read_metrics(folder, "eval")
    if not lines:
        raise NoEvaluationError(f"`run` is {path}: it has no evaluation yet")
    won = any("win_rate" in line for line in lines)
    bounds = {name: bound for name, bound in _BOUNDS.items() if won or name != "win_rate"}
    for name, (least, most) in bounds.items():
        for line in lines:
            if not _is_number(line.get(name), least, most):
                raise UsageError(
                    f"`run` is {path}: `{name}` of an evaluation line of metrics.jsonl is {line.get(name)!r}; it must "
                    f"be a finite number from {least:,} to {most:,}"
                )
    steps = [line["env_steps"] for line in lines]
    if any(later <= earlier for earlier, later in itertools.pairwise(steps)):
        raise UsageError(f"`run` is {path}: `env_steps` of the evaluation lines of metrics.jsonl do not ascend")
    trained = folders.read_metrics(folder, "train")
    environment = folders.read_environment(folder) or {"env": {"version": "unknown"}}
    options = " ".join(f"{name}={value}" for name, value in sorted(config.env_options.items()))
    return Curve(
        run=str(path),
        preset=label(config),
        seed=config.seed,
        budget=_budget(config, lines, trained),
        interval=config.loop.eval_interval,
        episodes=config.loop.eval_episodes,
        env=f"{_env_name(config)} version {environment['env']['version']}{' ' if options else ''}{options}",
        steps=np.array(steps, dtype=np.float64),
        values={name: np.array([line[name] for line in lines], dtype=np.float64) for name in METRICS if name in bounds},
        gradient_steps=_gradient_steps(trained),
        runners=config.loop.runners,
        updates=config.loop.minibatches,
        setting=setting(config),
    )


def _budget(config: RunConfig, lines: Sequence[Mapping[str, object]], trained: Sequence[Mapping[str, object]]) -> int:
    """Env steps that a run was to have: those that it has, where it has done as many episodes as it should."""
    env_steps = lines[-1]["env_steps"]
    assert isinstance(env_steps, int)
    return env_steps if config.loop.over(env_steps, _episodes(config, lines[-1], trained)) else config.loop.steps


def _episodes(config: RunConfig, line: Mapping[str, object], trained: Sequence[Mapping[str, object]]) -> int:
    """Episodes up to an evaluation: as the last line of training before it counts them, those lost left out."""
    until, iteration, episodes = line.get("iteration"), 0, 0
    if not _is_number(until, 0, 2**32):
        return 0
    for before in trained:
        counted = before.get("iteration"), before.get("episodes")
        if _is_number(counted[0], iteration, until) and _is_number(counted[1], 0, 2**63):  # type: ignore[arg-type]
            iteration, episodes = int(counted[0]), int(counted[1])  # type: ignore[call-overload]
    return episodes + (int(until) - iteration) * config.loop.runners  # type: ignore[call-overload]


def _gradient_steps(lines: Sequence[Mapping[str, object]]) -> float | None:
    """Gradient steps per 1,000 env steps by the last line that counts them."""
    for line in reversed(lines):
        counted, env_steps = line.get("gradient_steps"), line.get("env_steps")
        if _is_number(counted, 0, 2**63) and _is_number(env_steps, 1, 2**32):
            return 1_000 * float(counted) / float(env_steps)  # type: ignore[arg-type]
    return None


def _env_name(config: RunConfig) -> str:
    """The environment's name; of a scenario file without its folder, which may be another for each run."""
    file = registry.scenario_file(config.env)
    return config.env if file is None else registry.of_file(pathlib.Path(file.name))


def _is_number(value: object, least: int | float, most: int | float) -> bool:
    """Whether a value read from JSON is a number within bounds: JSON as Python reads it has NaN and Infinity too."""
    return isinstance(value, int | float) and not isinstance(value, bool) and least <= value <= most


def label(config: RunConfig) -> str:
    """The preset and what was changed of it: runs share a curve only if they learned in the same way."""
    preset = PRESETS[config.preset]
    ours, theirs = (
        decisive(dataclasses.asdict(algorithm) | dataclasses.asdict(adaptation))
        for algorithm, adaptation in (
            (config.algorithm, config.adaptation),
            (preset.config, UNADAPTED),
        )
    )
    ours |= {"runners": config.loop.runners, "minibatches": config.loop.minibatches}
    theirs |= {"runners": preset.runners, "minibatches": 1}
    changed = [f"{name}={ours[name]}" for name in ours if ours[name] != theirs[name]]
    return f"{config.preset} ({', '.join(changed)})" if changed else config.preset


def setting(config: RunConfig) -> str:
    """Whose numbers the options of a run are: the preset's, published, or changed."""
    preset = PRESETS[config.preset]
    if config.algorithm != preset.config or config.adaptation != UNADAPTED:
        return "changed options"
    return "published numbers" if preset.published else "numbers of this comparison"


def stepwise(
    steps: Float64[np.ndarray, " points"], values: Float64[np.ndarray, " points"], at: Float64[np.ndarray, " x"]
) -> Float64[np.ndarray, " x"]:
    """Value of the latest evaluation not after each of `at`; every run is evaluated at 0, so there always is one."""
    return values[np.maximum(np.searchsorted(steps, at, side="right") - 1, 0)]


def band(curves: Sequence[Curve], metric: str) -> Band:
    """Quartiles over runs at the env steps where they were evaluated.

    Runs are evaluated at slightly different steps, so each counts with its latest evaluation, and of points close
    together the last is drawn, when all runs have been evaluated anew. The band ends one evaluation interval after the
    run that ends first: beyond it runs would be missing.
    """
    end = min(curve.steps[-1] + curve.interval for curve in curves)
    points = np.unique(np.concatenate([curve.steps for curve in curves]))
    points = points[points <= end]
    near = min(curve.interval for curve in curves) / 4
    points = points[np.append(np.diff(points) > near, True)]
    rows = np.stack([stepwise(curve.steps, curve.values[metric], points) for curve in curves])
    low, median, high = np.percentile(rows, [25, 50, 75], axis=0)
    return Band(points, low, median, high)


def ended_early(members: Sequence[Curve]) -> list[Curve]:
    """Runs of a group that crashed, were stopped or still go on: short of their own budget, and over one evaluation
    interval behind the longest.

    One that was asked for less and has done it is whole: its curve ends there, and there is a warning of its own.
    """
    longest = max(curve.steps[-1] for curve in members)
    unfinished = (curve for curve in members if curve.steps[-1] < curve.budget)
    return [curve for curve in unfinished if curve.steps[-1] + curve.interval < longest]


def whole(members: Sequence[Curve]) -> list[Curve]:
    """Runs of a group that count in its median and quartiles: all that did not end early."""
    early = ended_early(members)
    return [curve for curve in members if not any(curve is other for other in early)]


def early_or_short(curves: Sequence[Curve]) -> list[str]:
    """What must be said of runs that ended early, and do not count, and of others short of their budget, which do."""
    told = []
    for members in group(curves).values():
        early = ended_early(members)
        for curve in members:
            if curve.steps[-1] < curve.budget:
                counts = "does not count" if any(curve is other for other in early) else "counts as it is there"
                told.append(f"{curve.run} ends at {curve.steps[-1]:,.0f} of {curve.budget:,} env steps and {counts}")
    return told


def metrics(curves: Sequence[Curve]) -> list[str]:
    """The names of `METRICS` that all of these curves have."""
    return [name for name in METRICS if all(name in curve.values for curve in curves)]


def group(curves: Sequence[Curve]) -> dict[str, list[Curve]]:
    """Curves by preset, and by environment too where that differs."""
    several = len({curve.env for curve in curves}) > 1
    grouped: dict[str, list[Curve]] = {}
    for curve in curves:
        grouped.setdefault(f"{curve.preset} on {curve.env}" if several else curve.preset, []).append(curve)
    return grouped


def caption(curves: Sequence[Curve], notes: Sequence[str] = ()) -> str:
    """What a reader must know to read the figure, and warnings where runs should not be compared.

    `notes` are warnings that the curves themselves do not give.
    """
    grouped = group(curves)
    counts = listed([f"{label} {len(whole(members))}" for label, members in grouped.items()])
    parts = [
        f"Median and quartiles over runs ({counts}), each curve as far as its shortest run.",
        f"{made_how(curves)}; x: training env steps, one per step of each unfinished battle, evaluation not counted.",
        gradient_steps(curves),
    ]
    parts = [part for part in parts if part]
    return " ".join(parts + [f"Warning: {warning}." for warning in (*notes, *warnings(curves))])


def listed(parts: Sequence[str]) -> str:
    """Parts of a caption in a row, kept apart also where names have a comma, as those of variants."""
    return ("; " if any(", " in part for part in parts) else ", ").join(parts)


def made_how(curves: Sequence[Curve]) -> str:
    """Episodes, intervals and budgets of the evaluations, in words."""
    episodes, intervals, budgets = (
        " or ".join(f"{value:,}" for value in sorted({getattr(curve, field) for curve in curves}))
        for field in ("episodes", "interval", "budget")
    )
    return f"{episodes} greedy episodes per point, every {intervals} of {budgets} env steps"


def gradient_steps(curves: Sequence[Curve]) -> str:
    """Gradient steps of each method, in a sentence; nothing where nobody counted them."""
    counted: dict[str, list[float]] = {}
    for curve in curves:
        if curve.gradient_steps is not None:
            counted.setdefault(curve.preset, []).append(curve.gradient_steps)
    told = [
        f"{label} {min(found):,.1f}" + (f" to {max(found):,.1f}" if max(found) - min(found) >= 0.05 else "")
        for label, found in counted.items()
    ]
    return f"Gradient steps per 1,000 env steps: {listed(told)}." if told else ""


def warnings(curves: Sequence[Curve]) -> list[str]:
    """Reasons to be careful with a comparison of these runs."""
    found = [
        f"{curve.run} ends at {curve.steps[-1]:,.0f} of {curve.budget:,} env steps; drawn dashed as far as it goes, "
        f"not in the median and quartiles of {label}"
        for label, members in group(curves).items()
        for curve in ended_early(members)
    ]
    found += [
        f"only {len(whole(members))} of {FEW_SEEDS} seeds for {label}"
        for label, members in group(curves).items()
        if len(whole(members)) < FEW_SEEDS
    ]
    for label, members in group(curves).items():
        seeds = [curve.seed for curve in members]
        if len(set(seeds)) < len(seeds):
            found.append(f"{label} has the same seed more than once")
    compared = {
        "environments": {curve.env for curve in curves},
        "budgets": {f"{curve.budget:,}" for curve in curves},
        "evaluation episodes": {str(curve.episodes) for curve in curves},
        "evaluation intervals": {f"{curve.interval:,}" for curve in curves},
        "numbers of runners": {f"{curve.runners:,}" for curve in curves},
        "updates of a batch": {f"{curve.updates:,}" for curve in curves},
        "settings": {curve.setting for curve in curves if curve.setting},
    }
    return found + [f"mixed {name}: {'; '.join(sorted(kinds))}" for name, kinds in compared.items() if len(kinds) > 1]


def plot(paths: Sequence[pathlib.Path], out: pathlib.Path, notes: Sequence[str] = ()) -> list[pathlib.Path]:
    """Draw the runs into `out`.png and .svg, with the drawn numbers in .csv; returns the files written.

    Files of these names are replaced. Raises UsageError when a run cannot be read or a file cannot be written; nothing
    is written then, and what was there is kept.
    """
    files.usable("out", out)
    curves, left_out = read_curves(paths)
    check_out(out)
    return save(draw(curves, [*notes, *left_out]), out, {"csv": table(curves).encode()})


def check_out(out: pathlib.Path) -> None:
    """Raise UsageError for a folder in the place of a file name."""
    if out.name in ("", "..") or out.is_dir():
        raise UsageError(f"`out` is {out}: it must be a file name without suffix, like {out / 'curves'}")


def save(figure: Figure, out: pathlib.Path, beside: Mapping[str, bytes]) -> list[pathlib.Path]:
    """Write a figure to `out`.png and .svg, and what belongs beside it by its suffix; returns the files written."""
    png, svg = io.BytesIO(), io.BytesIO()
    figure.savefig(png, format="png", dpi=150)
    with matplotlib.rc_context({"svg.hashsalt": "seca"}):
        figure.savefig(svg, format="svg", metadata={"Date": None})
    made = {"png": png.getvalue(), "svg": svg.getvalue(), **beside}
    # Appended, not replaced: a name like `lr-0.5` has no suffix to lose.
    contents = {out.with_name(f"{out.name}.{suffix}"): content for suffix, content in made.items()}
    _write(contents, out)
    return list(contents)


def _write(contents: Mapping[pathlib.Path, bytes], out: pathlib.Path) -> None:
    """Write all files, first under other names, then each is put into its place."""
    for path in contents:
        if path.is_dir():
            raise UsageError(f"`out` is {out}: {path} is a folder; choose another name")
    try:
        with contextlib.ExitStack() as stack:
            for path, content in contents.items():
                stack.enter_context(files.replacing(path)).write_bytes(content)
    except RunError as error:
        raise UsageError(f"`out` is {out}: {error}") from None


LEGEND_WIDTH = 130
"""Characters that fit beside each other in the figure."""


def draw(curves: Sequence[Curve], notes: Sequence[str] = ()) -> Figure:
    """The figure: win rate, where there is one, and return side by side, caption below.

    It is a figure of its own, which needs no display: whatever somebody else draws by pyplot stays as it is.
    """
    figure = Figure(figsize=(10, 4.4), layout="constrained")
    grouped = group(curves)
    drawn_at_all = [name for name in METRICS if any(name in metrics(members) for members in grouped.values())]
    panels = dict(zip(drawn_at_all, figure.subplots(1, len(drawn_at_all), squeeze=False)[0], strict=True))
    colours = itertools.cycle(f"C{index}" for index in range(10))
    for (label, members), colour in zip(grouped.items(), colours, strict=False):
        for metric in metrics(members):
            panel, drawn = panels[metric], band(whole(members), metric)
            for curve in ended_early(members):
                panel.step(curve.steps, curve.values[metric], where="post", color=colour, linestyle="--", linewidth=0.8)
            panel.plot(drawn.steps, drawn.median, color=colour, label=label, drawstyle="steps-post")
            panel.fill_between(drawn.steps, drawn.low, drawn.high, step="post", color=colour, alpha=0.2, linewidth=0)
    for metric, panel in panels.items():
        panel.set_xlabel("env steps")
        panel.set_ylabel(METRICS[metric])
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    if "win_rate" in panels:
        panels["win_rate"].set_ylim(-0.02, 1.02)
    handles, labels = panels["return_mean"].get_legend_handles_labels()
    columns = max(1, min(4, LEGEND_WIDTH // (max(map(len, labels)) + 6)))
    rows = math.ceil(len(labels) / columns)
    environments = sorted({curve.env for curve in curves})
    title = environments[0] if len(environments) == 1 else "several environments"
    figure.legend(
        handles, labels, title=title, title_fontsize=12, loc="outside upper center", ncols=columns, frameon=False
    )
    lines = textwrap.wrap(caption(curves, notes), width=150)
    figure.text(0.02, 0.02, "\n".join(lines), fontsize=7.5, va="bottom")
    figure.set_figheight(4.4 + 0.22 * (rows - 1) + 0.13 * (len(lines) - 2))
    below = (0.2 + 0.13 * len(lines)) / figure.get_figheight()
    figure.set_layout_engine("constrained", rect=(0, below, 1, 1 - below))
    return figure


def table(curves: Sequence[Curve]) -> str:
    """The numbers that are drawn as CSV, one row per curve, metric and point."""
    text = io.StringIO(newline="")
    writer = csv.writer(text)
    writer.writerow(["curve", "runs", "metric", "env_steps", "q25", "median", "q75"])
    for label, members in group(curves).items():
        for metric in metrics(members):
            counted = whole(members)
            drawn = band(counted, metric)
            for row in zip(drawn.steps, drawn.low, drawn.median, drawn.high, strict=True):
                writer.writerow([label, len(counted), metric, int(row[0]), *(f"{x:.6g}" for x in row[1:])])
    return text.getvalue()
