"""Runs as the JSON that marl-eval reads, the tools of Gorsane et al. 2022, "Towards a standardised performance
evaluation protocol for cooperative MARL"; what the file must hold is said by their sources, version 0.0.4.

    {environment: {task: {algorithm: {"seed_0": {
        "step_0": {"step_count": env steps, metric: [one value per episode], ..}, "step_1": .., ..
        "absolute_metrics": {metric: [one value per episode of the absolute evaluation], ..}}}}}}

Its axis: marl-eval does not draw a point at its `step_count` but the k-th point of all runs, counted from 0, at k times
one interval, the mean of all differences of step counts in the environment, the first counted from 0 (`intervals`). Of
evaluations every 1,000 env steps from 0 to n thousand the interval is 1000 n / (n + 1), and all but the first are drawn
up to one evaluation early; without the one at 0 (`untrained=False`) the interval is right, and all are drawn one
evaluation early. Figures of our own use the env steps.

Its scores: metrics that it is told to normalise lie between the extremes of their task over all algorithms, runs,
evaluations and episodes in the file (`ranges`), so one more algorithm changes the scores of all.

Its figures of single tasks have intervals of 1.96 standard deviations over sqrt(10), however many runs there are.
"""

import collections
import dataclasses
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from seca.errors import UsageError

ABSOLUTE = "absolute_metrics"
"""The name of the absolute evaluation beside the steps; marl-eval takes any name with "absolute" in it."""

_STEPS, _SECONDS = "step_count", "elapsed_time"
_EXTRA = "extra"
"""Where marl-eval keeps notes of its own, among environments and among algorithms."""
_DERIVED = ("mean_", "norm_", "mean_norm_")
"""Prefixes of the names under which marl-eval puts what it makes of a metric beside it."""


@dataclasses.dataclass(frozen=True)
class EvaluatedRun:
    """What one training run measured."""

    environment: str
    """Suite of tasks, like `smac`."""
    task: str
    """Like `3s5z`."""
    algorithm: str
    seed: int
    steps: Sequence[int]
    """Env steps trained before each evaluation."""
    metrics: Mapping[str, Sequence[Sequence[float | int]]]
    """By name, like `return` and `win_rate`: of each evaluation one value per episode, or one of all."""
    absolute: Mapping[str, Sequence[float | int]] | None
    """By name: values of the absolute evaluation, of the best policy on ten times as many episodes."""
    elapsed: Sequence[float | int] | None = None
    """Seconds from the start of training to each evaluation."""

    @property
    def name(self) -> str:
        return f"{self.algorithm} on {self.environment}/{self.task} with seed {self.seed}"


@dataclasses.dataclass(frozen=True)
class Range:
    """Extremes of a metric on a task, between which marl-eval normalises it."""

    low: float
    high: float
    taken: float
    """The `high` that marl-eval 0.0.4 finds. It searches no list with a new lowest value for a new highest, so this may
    be less than `high`; normalised scores beyond 1 come of it."""


def exported(runs: Sequence[EvaluatedRun], *, untrained: bool = True, elapsed: bool = False) -> dict[str, Any]:
    """The runs as one tree for marl-eval, written out by `written`.

    Runs of an algorithm on a task become `seed_0`, `seed_1`, .. in the order of their seeds: marl-eval looks for the
    same names everywhere. Names keep their capitals, as marl-eval lowers those of all files alike. `untrained=False`
    leaves out evaluations at env step 0. `elapsed=True` adds `elapsed_time` to each step, and that of the last one to
    the absolute entry, without which marl-eval's `DiagnoseData` finds fault; it then counts as one more metric there.

    Raises UsageError when marl-eval would refuse the file, or read something else than was measured.
    """
    if not runs:
        raise UsageError("`runs` are none: at least one run is needed")
    for run in runs:
        _check(run, elapsed)
    _check_names(runs)
    kept = list(runs) if untrained else [_trained(run) for run in runs]
    groups: dict[tuple[str, str, str], list[EvaluatedRun]] = {}
    for run in sorted(kept, key=lambda run: (run.environment, run.task, run.algorithm, run.seed)):
        groups.setdefault((run.environment, run.task, run.algorithm), []).append(run)
    _check_alike(groups)
    tree: dict[str, Any] = {}
    for (environment, task, algorithm), members in groups.items():
        entries = {f"seed_{index}": _entry(run, elapsed) for index, run in enumerate(members)}
        tree.setdefault(environment, {}).setdefault(task, {})[algorithm] = entries
    return tree


def written(data: Mapping[str, Any]) -> str:
    """The tree as JSON text; steps stay in their order, in which marl-eval draws them."""
    return json.dumps(data, indent=1, allow_nan=False) + "\n"


def ranges(data: Mapping[str, Any]) -> dict[tuple[str, str, str], Range]:
    """Of each environment, task and metric the extremes that normalised scores depend on: tell them beside scores."""
    found: dict[tuple[str, str, str], Range] = {}
    for environment, tasks in data.items():
        for task, algorithms in tasks.items():
            entries = (entry for runs in algorithms.values() for steps in runs.values() for entry in steps.values())
            for entry in entries:
                for metric in entry.keys() - {_STEPS, _SECONDS}:
                    key = (environment, task, metric)
                    found[key] = _widened(found.get(key), float(min(entry[metric])), float(max(entry[metric])))
    return dict(sorted(found.items()))


def told(data: Mapping[str, Any]) -> list[str]:
    """What one must know of such a file: how far apart marl-eval draws its points, and between what it normalises."""
    lines = [f"marl-eval draws points of {env} {steps:,} env steps apart" for env, steps in intervals(data).items()]
    return lines + [
        f"marl-eval normalises {metric} of {env}/{task} between {found.low:g} and {found.taken:g}"
        + (f" (the highest is {found.high:g})" if found.taken != found.high else "")
        for (env, task, metric), found in ranges(data).items()
    ]


def _widened(known: Range | None, low: float, high: float) -> Range:
    if known is None:
        return Range(low, high, high)
    taken = known.taken if low < known.low else max(known.taken, high)
    return Range(min(known.low, low), max(known.high, high), taken)


def intervals(data: Mapping[str, Any]) -> dict[str, int]:
    """Of each environment the env steps between two points, as marl-eval draws them."""
    found = {}
    for environment, tasks in data.items():
        runs = [steps for algorithms in tasks.values() for entries in algorithms.values() for steps in entries.values()]
        differences = []
        for steps in runs:
            counts = [0, *(entry[_STEPS] for name, entry in steps.items() if name != ABSOLUTE)]
            differences += [later - earlier for earlier, later in itertools.pairwise(counts)]
        found[environment] = round(sum(differences) / len(differences))
    return found


def _entry(run: EvaluatedRun, elapsed: bool) -> dict[str, Any]:
    """Steps and the absolute entry of one run."""
    seconds = [float(value) for value in run.elapsed or ()]
    entry: dict[str, Any] = {}
    for index, count in enumerate(run.steps):
        time = {_SECONDS: seconds[index]} if elapsed else {}
        values = {name: _floats(lists[index]) for name, lists in run.metrics.items()}
        entry[f"step_{index}"] = {_STEPS: int(count), **time, **values}
    # By the names of the steps: an absolute evaluation that measured more would be another metric to marl-eval.
    absolute = {name: _floats((run.absolute or {})[name]) for name in run.metrics}
    entry[ABSOLUTE] = {**({_SECONDS: seconds[-1]} if elapsed else {}), **absolute}
    return entry


def _floats(values: Sequence[float | int]) -> list[float]:
    return [float(value) for value in values]


def _trained(run: EvaluatedRun) -> EvaluatedRun:
    """The run without its evaluations at env step 0."""
    kept = [index for index, count in enumerate(run.steps) if count > 0]
    if not kept:
        raise UsageError(f"`untrained` is False: {run.name} has no evaluation after env step 0")
    return dataclasses.replace(
        run,
        steps=[run.steps[index] for index in kept],
        metrics={name: [lists[index] for index in kept] for name, lists in run.metrics.items()},
        elapsed=None if run.elapsed is None else [run.elapsed[index] for index in kept],
    )


def _check(run: EvaluatedRun, elapsed: bool) -> None:
    """What must hold of a run alone."""
    if not run.steps or not run.metrics:
        missing = "metrics" if run.steps else "steps"
        raise UsageError(f"`{missing}` of {run.name} are none: it must have been evaluated")
    for earlier, later in itertools.pairwise([-1, *run.steps]):
        if later <= earlier:
            raise UsageError(
                f"`steps` of {run.name} have {later} after {max(earlier, 0)}: they must ascend from 0 or more"
            )
    for metric, lists in run.metrics.items():
        if len(lists) != len(run.steps):
            raise UsageError(
                f"`metrics` of {run.name} have {len(lists)} evaluations of {metric} and {len(run.steps)} steps: there "
                "must be one at each"
            )
        for count, values in zip(run.steps, lists, strict=True):
            _check_values(values, metric, f"at env step {count} of {run.name}")
    missing = sorted(run.metrics) if run.absolute is None else sorted(run.metrics.keys() - run.absolute.keys())
    if missing:
        raise UsageError(
            f"`absolute` of {run.name} lacks {', '.join(missing)}: measure it by `seca evaluate RUN --absolute`"
        )
    for metric, values in (run.absolute or {}).items():
        _check_values(values, metric, f"of the absolute evaluation of {run.name}")
    if elapsed and (run.elapsed is None or len(run.elapsed) != len(run.steps)):
        there = "no" if run.elapsed is None else len(run.elapsed)
        raise UsageError(f"`elapsed` of {run.name} has {there} seconds for {len(run.steps)} steps: leave elapsed out")
    for seconds in (run.elapsed or ()) if elapsed else ():
        if not math.isfinite(seconds) or seconds < 0:
            raise UsageError(f"`elapsed` of {run.name} has {seconds}: seconds must be finite, 0 or more")


def _check_values(values: Sequence[float | int], metric: str, where: str) -> None:
    """Of one evaluation: some, finite, and of a win rate no percentages."""
    if not values:
        raise UsageError(f"`{metric}` {where} has no value: one per episode is needed")
    least, most = (0, 1) if "win_rate" in metric.lower() else (-math.inf, math.inf)
    for value in values:
        if not math.isfinite(value):
            raise UsageError(f"`{metric}` {where} is {value}: it must be finite")
        if not least <= value <= most:
            raise UsageError(f"`{metric}` {where} is {value}: a win rate must be from 0 to 1, not in percent")


def _check_names(runs: Sequence[EvaluatedRun]) -> None:
    """That names stay what they are, and apart from each other, as marl-eval reads them."""
    fields: dict[str, Callable[[EvaluatedRun], Sequence[str]]] = {
        "environment": lambda run: [run.environment],
        "task": lambda run: [run.task],
        "algorithm": lambda run: [run.algorithm],
        "metrics": lambda run: list(run.metrics),
    }
    for field, names in fields.items():
        found = sorted({name for run in runs for name in names(run)})
        by_lower = collections.defaultdict(list)
        for name in found:
            if not name:
                raise UsageError(f"`{field}` is empty: it needs a name")
            by_lower[name.lower()].append(name)
        for same in by_lower.values():
            if len(same) > 1:
                raise UsageError(
                    f"`{field}` is {' and '.join(same)}: marl-eval reads both in lower case, as one; rename"
                )
    for run in runs:
        if "," in run.algorithm:
            raise UsageError(f"`algorithm` is {run.algorithm!r}: marl-eval splits names at commas; rename it")
        for field, name in (("environment", run.environment), ("algorithm", run.algorithm)):
            if name.lower() == _EXTRA:
                raise UsageError(f"`{field}` is {name!r}: marl-eval keeps its own notes under this name; rename it")
        lower = {metric.lower() for metric in run.metrics}
        for metric in run.metrics:
            if _STEPS in metric.lower() or metric.lower() == _SECONDS:
                raise UsageError(f"`metrics` has {metric!r}: marl-eval takes it for steps or seconds; rename it")
            taken = [prefix + metric for prefix in _DERIVED if prefix + metric.lower() in lower]
            if taken:
                raise UsageError(f"`metrics` has {metric!r} and {taken[0]!r}: marl-eval writes one over the other")


def _check_alike(groups: Mapping[tuple[str, str, str], Sequence[EvaluatedRun]]) -> None:
    """What must be the same of all: algorithms of a task, numbers of runs, numbers of evaluations, metrics."""
    for members in groups.values():
        for earlier, later in itertools.pairwise(members):
            if earlier.seed == later.seed:
                raise UsageError(f"`runs` have {later.name} twice: the same run would count as two")
    algorithms = {algorithm for _, _, algorithm in groups}
    for environment, task in sorted({key[:2] for key in groups}):
        missing = sorted(algorithms - {key[2] for key in groups if key[:2] == (environment, task)})
        if missing:
            raise UsageError(
                f"`runs` have none of {', '.join(missing)} on {environment}/{task}: every algorithm must be on every "
                "task; leave one or the other out"
            )
    counts = {f"{key[2]} on {key[0]}/{key[1]}": len(members) for key, members in groups.items()}
    _same("runs", "runs", counts)
    runs = [run for members in groups.values() for run in members]
    _same("steps", "evaluations", {run.name: len(run.steps) for run in runs})
    first = runs[0]
    for run in runs:
        differ = sorted(run.metrics.keys() ^ first.metrics.keys())
        if differ:
            raise UsageError(
                f"`metrics`: {', '.join(differ)} is of only one of {first.name} and {run.name}; all must have the "
                "same; leave out what not all have"
            )


def _same(field: str, what: str, counts: Mapping[str, int]) -> None:
    """Refuse unequal counts, naming who has another than most."""
    if len(set(counts.values())) > 1:
        usual = collections.Counter(counts.values()).most_common(1)[0][0]
        others = ", ".join(f"{name} {count}" for name, count in counts.items() if count != usual)
        raise UsageError(f"`{field}`: {others}, the others {usual} {what}; all must have equally many")
