"""Statistics over the runs of methods on tasks: point estimates, and stratified bootstrap intervals of them.

Scores of a method are a sequence of tasks, each with one score per run (a win rate, or a return normalised to
[0, 1]); tasks may differ in their numbers of runs. Definitions are those of rliable (Agarwal et al. 2021, "Deep
reinforcement learning at the edge of the statistical precipice"), to whose numbers ours are equal where all tasks have
equally many runs. `iqm`, `optimality_gap` and `performance_profile` are over all scores together, so of tasks with
unequal numbers of runs the one with more counts for more; `median`, `mean` and `probability_of_improvement` weigh tasks
alike.

Leading axes are kept by every statistic: with arrays [*batch runs] a number becomes an array [*batch]. The bootstrap
computes all of its resamples so.
"""

import dataclasses
from collections.abc import Callable, Sequence

import numpy as np
from jaxtyping import Float64, Int64

Scores = Sequence[Float64[np.ndarray, "*batch _"]]
"""Of each task the scores of its runs, along the last axis."""
Runs = Sequence[Float64[np.ndarray, " _"]]
"""The same without leading axes: what was measured."""
Value = float | Float64[np.ndarray, "*batch"]

RESAMPLES = 2_000
"""Of a bootstrap: with fewer the ends of a 95 % interval, cut off by 50 resamples each, would move with the seed."""
LEVEL = 0.95


@dataclasses.dataclass(frozen=True)
class Interval:
    """A statistic of the runs, and the ends of its bootstrap interval."""

    value: float
    low: float
    high: float


@dataclasses.dataclass(frozen=True)
class Intervals:
    """The same at each point of a curve; each interval is of its own point, not of the curve as a whole."""

    value: Float64[np.ndarray, " points"]
    low: Float64[np.ndarray, " points"]
    high: Float64[np.ndarray, " points"]


@dataclasses.dataclass(frozen=True)
class Quartiles:
    """Median and quartiles over the runs of one method on one task."""

    low: float
    median: float
    high: float


def quartiles(values: Float64[np.ndarray, " runs"]) -> Quartiles:
    """25 %, 50 % and 75 % of the runs on one task, interpolated between neighbours; what SMAC papers report.

    At p % of n sorted values is the value at (n - 1) p / 100, counted from 0. Raises ValueError without runs, or when a
    value is not finite.
    """
    _checked([values])
    low, median, high = np.percentile(values, [25, 50, 75])
    return Quartiles(float(low), float(median), float(high))


def trimmed(count: int) -> int:
    """How many of `count` scores the IQM cuts off at each end: floor(count / 4).

    Below four it is none, and the IQM is the mean: for captions of small tables.
    """
    return count // 4


def iqm(scores: Scores) -> Value:
    """Interquartile mean of all runs x tasks together: the mean of the middle half.

    With x the n scores in ascending order and k = floor(n / 4),

        IQM = (x_{k+1} + .. + x_{n-k}) / (n - 2 k).

    The mean trimmed by 25 % (`scipy.stats.trim_mean`); Agarwal et al. 2021, section 4.3. Raises ValueError when a task
    has no run, or a score is not finite.
    """
    pooled = np.sort(np.concatenate(_checked(scores), axis=-1), axis=-1)
    count = pooled.shape[-1]
    return np.mean(pooled[..., trimmed(count) : count - trimmed(count)], axis=-1)


def mean(scores: Scores) -> Value:
    """Mean over tasks of the mean over a task's runs. Raises as `iqm`."""
    return np.mean(_task_means(scores), axis=-1)


def median(scores: Scores) -> Value:
    """Median over tasks of the mean over a task's runs, as in papers on Atari. Raises as `iqm`."""
    return np.median(_task_means(scores), axis=-1)


def _task_means(scores: Scores) -> Float64[np.ndarray, "*batch tasks"]:
    return np.stack([np.mean(task, axis=-1) for task in _checked(scores)], axis=-1)


def optimality_gap(scores: Scores, gamma: float = 1.0) -> Value:
    """How far all runs x tasks together fall short of `gamma`, where what is above it does not make up for it.

        gap = gamma - mean(min(x, gamma))

    Smaller is better. Agarwal et al. 2021, section 4.3. Raises as `iqm`.
    """
    pooled = np.concatenate(_checked(scores), axis=-1)
    return gamma - np.mean(np.minimum(pooled, gamma), axis=-1)


def probability_of_improvement(x: Scores, y: Scores) -> Value:
    """How likely a run of X is to beat a run of Y on a task drawn at random, a tie counting half.

        P(X > Y) = mean over tasks of U / (n_x n_y),     U = sum_ij [x_i > y_j] + [x_i = y_j] / 2

    with U of Mann and Whitney 1947; Agarwal et al. 2021, section 4.3. Raises as `iqm`, and when X and Y are not on
    equally many tasks.
    """
    _paired(x, y)
    chances = [
        np.mean((a[..., :, None] > b[..., None, :]) + 0.5 * (a[..., :, None] == b[..., None, :]), axis=(-2, -1))
        for a, b in zip(_checked(x, "x"), _checked(y, "y"), strict=True)
    ]
    return np.mean(np.stack(chances, axis=-1), axis=-1)


def performance_profile(
    scores: Scores, thresholds: Float64[np.ndarray, " points"]
) -> Float64[np.ndarray, "*batch points"]:
    """Fraction of all runs x tasks together whose score is above each threshold.

        F(tau) = mean([x > tau])

    Strictly above, so F(1) of win rates is 0. Agarwal et al. 2021, section 4.2. Raises as `iqm`.
    """
    pooled = np.concatenate(_checked(scores), axis=-1)
    return np.mean(pooled[..., None] > thresholds, axis=-2)


def bootstrap(
    statistic: Callable[[Scores], Value], scores: Runs, seed: int, resamples: int = RESAMPLES, level: float = LEVEL
) -> Interval:
    """Percentile interval of a statistic by the stratified bootstrap.

    Of each task as many runs as it has are drawn with replacement, for each task on their own, and the interval goes
    from the (1 - level) / 2 to the (1 + level) / 2 quantile of the statistic over the resamples (Efron 1979; Agarwal
    et al. 2021, section 4.1). It never leaves the range that the statistic has: of scores in [0, 1] it is in [0, 1].

    It tells how the statistic varies with the seeds of training, the tasks being what they are. A task with one run is
    drawn the same each time: where all have one, the interval has no width, which says that nothing is known about the
    variation, not that there is none. With few runs it is too narrow.

    The same seed gives the same numbers, with the same NumPy. Raises as `iqm`, and ValueError when `resamples` or
    `level` make no interval.
    """
    drawn = _resampled(_checked(scores), _generator(seed, resamples, level), resamples)
    low, high = _ends(statistic(drawn), level)
    return Interval(float(statistic(scores)), float(low), float(high))


def bootstrap_pair(
    statistic: Callable[[Scores, Scores], Value],
    x: Runs,
    y: Runs,
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Interval:
    """As `bootstrap`, of a statistic of two methods whose runs are drawn independently: `probability_of_improvement`.

    Raises as `bootstrap`, and when X and Y are not on equally many tasks.
    """
    _paired(x, y)
    generator = _generator(seed, resamples, level)
    drawn_x = _resampled(_checked(x, "x"), generator, resamples)
    drawn_y = _resampled(_checked(y, "y"), generator, resamples)
    low, high = _ends(statistic(drawn_x, drawn_y), level)
    return Interval(float(statistic(x, y)), float(low), float(high))


def bootstrap_curve(
    statistic: Callable[[Scores], Value],
    curves: Sequence[Float64[np.ndarray, "_ points"]],
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Intervals:
    """As `bootstrap`, at each evaluation point of curves [runs, points], as many points on every task.

    Runs are drawn whole: all points of a resample are of the same runs. Raises as `bootstrap`, and ValueError when
    tasks differ in their numbers of points.
    """
    _checked(curves)
    points = [task.shape[-1] for task in curves]
    if len(set(points)) > 1:
        raise ValueError(f"`curves` have {points} points on their tasks: they must have equally many")
    picks = _picks([len(task) for task in curves], _generator(seed, resamples, level), resamples)
    values, lows, highs = [], [], []
    # Point by point: all resamples of all points at once would be gigabytes.
    for point in range(points[0]):
        here = [np.ascontiguousarray(task[:, point]) for task in curves]
        low, high = _ends(statistic([task[pick] for task, pick in zip(here, picks, strict=True)]), level)
        values.append(statistic(here))
        lows.append(low)
        highs.append(high)
    return Intervals(*(np.array(found, dtype=np.float64) for found in (values, lows, highs)))


def bootstrap_profile(
    scores: Runs,
    thresholds: Float64[np.ndarray, " points"],
    seed: int,
    resamples: int = RESAMPLES,
    level: float = LEVEL,
) -> Intervals:
    """As `bootstrap`, of the `performance_profile` at each threshold. Raises as `bootstrap`."""
    drawn = _resampled(_checked(scores), _generator(seed, resamples, level), resamples)
    low, high = _ends(performance_profile(drawn, thresholds), level)
    return Intervals(performance_profile(scores, thresholds), low, high)


def _checked(scores: Sequence[np.ndarray], name: str = "scores") -> Sequence[np.ndarray]:
    """The scores, if they are some: ValueError names the first task that has none, or one that is not finite."""
    if not len(scores):
        raise ValueError(f"`{name}` have no task")
    for index, task in enumerate(scores):
        if task.size == 0:
            raise ValueError(f"`{name}` of task {index} are {task.tolist()}: a task needs at least one run")
        wrong = task[~np.isfinite(task)]
        if wrong.size:
            raise ValueError(f"`{name}` of task {index} contain {wrong[0]}: every score must be finite")
    return scores


def _paired(x: Sequence[np.ndarray], y: Sequence[np.ndarray]) -> None:
    if len(x) != len(y):
        raise ValueError(f"`x` has {len(x)} tasks and `y` {len(y)}: they must be the same tasks")


def _generator(seed: int, resamples: int, level: float) -> np.random.Generator:
    if resamples < 1:
        raise ValueError(f"`resamples` is {resamples}: at least 1 is needed")
    if not 0 < level < 1:
        raise ValueError(f"`level` is {level}: it must lie between 0 and 1")
    return np.random.Generator(np.random.PCG64(seed))


def _picks(counts: Sequence[int], generator: np.random.Generator, resamples: int) -> list[Int64[np.ndarray, "..."]]:
    """Of each task which runs are in each resample, [resamples, runs]."""
    return [generator.integers(0, count, size=(resamples, count)) for count in counts]


def _resampled(
    scores: Sequence[np.ndarray], generator: np.random.Generator, resamples: int
) -> list[Float64[np.ndarray, "..."]]:
    """Of each task the scores of each resample, [resamples, runs]."""
    picks = _picks([len(task) for task in scores], generator, resamples)
    return [task[pick] for task, pick in zip(scores, picks, strict=True)]


def _ends(values: Value, level: float) -> np.ndarray:
    """Quantiles over the resamples, the first axis, that leave out (1 - level) / 2 at either end."""
    return np.quantile(values, [(1 - level) / 2, (1 + level) / 2], axis=0)
