"""Statistics over runs: rliable's numbers, slow twins, known cases, and what a bootstrap interval promises."""

import functools
import json
import math
import pathlib
import statistics as plain
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from seca.report import statistics

GOLDEN = json.loads((pathlib.Path(__file__).parent / "golden_rliable.json").read_text())
"""Inputs, what rliable makes of them, and under `made` by which versions and calls."""

AGGREGATES: dict[str, Callable[..., Any]] = {
    "iqm": statistics.iqm,
    "median": statistics.median,
    "mean": statistics.mean,
    "optimality_gap": statistics.optimality_gap,
}


def _scores(tasks: Sequence[Sequence[float]]) -> list[np.ndarray]:
    return [np.array(task, dtype=np.float64) for task in tasks]


def _ragged(generator: np.random.Generator, counts: Sequence[int]) -> list[np.ndarray]:
    """Win rates of 8 episodes: many ties."""
    return [generator.integers(0, 9, count) / 8 for count in counts]


# Slow twins: plain loops over the definitions of Agarwal et al. 2021, sections 4.2 and 4.3.


def _slow_iqm(tasks: list[list[float]]) -> float:
    pooled = sorted(score for task in tasks for score in task)
    for _ in range(int(0.25 * len(pooled))):
        pooled = pooled[1:-1]
    return math.fsum(pooled) / len(pooled)


def _slow_gap(tasks: list[list[float]], gamma: float = 1.0) -> float:
    pooled = [score for task in tasks for score in task]
    return gamma - math.fsum(score if score < gamma else gamma for score in pooled) / len(pooled)


def _slow_improvement(x: list[list[float]], y: list[list[float]]) -> float:
    chances = []
    for mine, theirs in zip(x, y, strict=True):
        u = 0.0
        for a in mine:
            for b in theirs:
                u += 1.0 if a > b else 0.5 if a == b else 0.0
        chances.append(u / (len(mine) * len(theirs)))
    return math.fsum(chances) / len(chances)


SLOW: dict[str, Callable[[list[list[float]]], float]] = {
    "iqm": _slow_iqm,
    "median": lambda tasks: plain.median(plain.fmean(task) for task in tasks),
    "mean": lambda tasks: plain.fmean(plain.fmean(task) for task in tasks),
    "optimality_gap": _slow_gap,
}


@pytest.mark.parametrize("case", GOLDEN["cases"], ids=lambda case: f"{len(case['scores'][0])}x{len(case['scores'])}")
def test_numbers_are_rliables(case: dict[str, Any]) -> None:
    scores = _scores(case["scores"])
    for name, statistic in AGGREGATES.items():
        assert statistic(scores) == pytest.approx(case[name], abs=1e-12), name
    assert statistics.optimality_gap(scores, gamma=0.5) == pytest.approx(case["optimality_gap_half"], abs=1e-12)
    profile = statistics.performance_profile(scores, np.array(case["thresholds"]))
    np.testing.assert_allclose(profile, case["performance_profile"], rtol=0, atol=1e-12)


@pytest.mark.parametrize("case", GOLDEN["pairs"], ids=lambda case: f"{len(case['x'][0])} and {len(case['y'][0])}")
def test_probability_of_improvement_is_rliables(case: dict[str, Any]) -> None:
    found = statistics.probability_of_improvement(_scores(case["x"]), _scores(case["y"]))
    assert found == pytest.approx(case["probability_of_improvement"], abs=1e-12)


def test_intervals_are_rliables_within_monte_carlo_error() -> None:
    """An end of a 95 % interval of 20,000 resamples is off by about a fiftieth of the standard error, 0.001 here.

    Profiles move in steps of one run over all, so that an end may be one step aside.
    """
    for case in GOLDEN["intervals"]:
        x, y = _scores(case["x"]), _scores(case["y"])
        for name, statistic in AGGREGATES.items():
            found = statistics.bootstrap(statistic, x, seed=3, resamples=20_000)
            np.testing.assert_allclose((found.low, found.high), case[name], rtol=0, atol=5e-3, err_msg=name)
        pair = statistics.bootstrap_pair(statistics.probability_of_improvement, x, y, seed=3, resamples=20_000)
        np.testing.assert_allclose((pair.low, pair.high), case["probability_of_improvement"], rtol=0, atol=2e-2)
        profile = statistics.bootstrap_profile(x, np.array(case["thresholds"]), seed=3, resamples=20_000)
        step = 1 / sum(map(len, x))
        np.testing.assert_allclose((profile.low, profile.high), case["performance_profile"], atol=step + 1e-3)
        curves = [task[:, None] * np.array(case["curve"]["factors"]) for task in x]
        curve = statistics.bootstrap_curve(statistics.iqm, curves, seed=3, resamples=20_000)
        np.testing.assert_allclose((curve.low, curve.high), case["curve"]["iqm"], rtol=0, atol=1e-2)


def test_numbers_are_those_of_the_installed_rliable() -> None:
    """On fresh inputs, where rliable is installed; the golden numbers are compared everywhere."""
    metrics = pytest.importorskip("rliable.metrics", reason="rliable is not installed: make test-outside")
    generator = np.random.Generator(np.random.PCG64(1))
    for runs in range(1, 10):
        x, y = generator.integers(0, 9, (2, runs, 3)) / 8
        for name, statistic in AGGREGATES.items():
            theirs = metrics.__dict__[f"aggregate_{name}"](x)
            assert statistic(list(x.T.copy())) == pytest.approx(theirs, abs=1e-12), (name, runs)
        ours = statistics.probability_of_improvement(list(x.T.copy()), list(y.T.copy()))
        assert ours == pytest.approx(metrics.probability_of_improvement(x, y), abs=1e-12)


_TASKS = st.lists(
    st.lists(st.integers(0, 8).map(lambda wins: wins / 8), min_size=1, max_size=9), min_size=1, max_size=5
)


@settings(deadline=None, max_examples=60, derandomize=True)
@given(x=_TASKS, y=_TASKS)
def test_slow_twins_on_ragged_runs(x: list[list[float]], y: list[list[float]]) -> None:
    for name, statistic in AGGREGATES.items():
        assert statistic(_scores(x)) == pytest.approx(SLOW[name](x), abs=1e-12), name
    assert statistics.optimality_gap(_scores(x), 0.4) == pytest.approx(_slow_gap(x, 0.4), abs=1e-12)
    both = min(len(x), len(y))
    found = statistics.probability_of_improvement(_scores(x[:both]), _scores(y[:both]))
    assert found == pytest.approx(_slow_improvement(x[:both], y[:both]), abs=1e-12)
    pooled = [score for task in x for score in task]
    above = [sum(score > threshold for score in pooled) / len(pooled) for threshold in (0.0, 0.5, 1.0)]
    profile = statistics.performance_profile(_scores(x), np.array([0.0, 0.5, 1.0]))
    np.testing.assert_allclose(profile, above, rtol=0, atol=1e-12)


@pytest.mark.parametrize("count", range(1, 10))
def test_trimming_at_sizes_that_do_not_divide_by_four(count: int) -> None:
    """Scores 0, 1, 4, 9, ..: of 3 none is cut off, of 4 to 7 one at each end, of 8 and 9 two."""
    cut = [0, 0, 0, 1, 1, 1, 1, 2, 2][count - 1]
    assert statistics.trimmed(count) == cut
    squares = np.arange(count, dtype=np.float64) ** 2
    kept = squares[cut : count - cut]
    shuffled = np.random.Generator(np.random.PCG64(count)).permutation(squares)
    assert statistics.iqm([shuffled]) == pytest.approx(sum(kept) / len(kept), abs=1e-12)
    assert statistics.iqm([shuffled[:1], shuffled[1:]] if count > 1 else [shuffled]) == statistics.iqm([shuffled])


def test_scores_of_one_value_and_one_run() -> None:
    for tasks in ([np.full(5, 0.25), np.full(2, 0.25)], [np.array([0.25])]):
        for name, expected in {"iqm": 0.25, "median": 0.25, "mean": 0.25, "optimality_gap": 0.75}.items():
            assert AGGREGATES[name](tasks) == expected
    assert statistics.quartiles(np.array([0.25])) == statistics.Quartiles(0.25, 0.25, 0.25)


def test_median_and_mean_weigh_tasks_alike_and_iqm_weighs_runs() -> None:
    scores = [np.zeros(8), np.array([1.0]), np.array([0.5])]
    assert (statistics.mean(scores), statistics.median(scores)) == (0.5, 0.5)
    assert statistics.iqm(scores) == 0
    assert statistics.optimality_gap(scores) == pytest.approx(0.85)


def test_what_is_above_gamma_makes_up_for_nothing() -> None:
    assert statistics.optimality_gap([np.array([0.5, 1.5])]) == 0.25
    assert statistics.optimality_gap([np.array([0.5, 1.5])], gamma=2.0) == 1


def test_probability_of_improvement_of_known_cases() -> None:
    low, high = [np.array([0.1, 0.2])] * 2, [np.array([0.3, 0.4, 0.5])] * 2
    assert statistics.probability_of_improvement(high, low) == 1
    assert statistics.probability_of_improvement(low, high) == 0
    assert statistics.probability_of_improvement(low, low) == 0.5
    assert statistics.probability_of_improvement([low[0], high[0]], [high[0], low[0]]) == 0.5


def test_a_profile_is_strictly_above_and_never_rises() -> None:
    scores = [np.array([0.0, 0.5]), np.array([0.5, 1.0])]
    profile = statistics.performance_profile(scores, np.array([-0.1, 0.0, 0.25, 0.5, 0.75, 1.0]))
    np.testing.assert_array_equal(profile, [1, 0.75, 0.75, 0.25, 0.25, 0])


def test_quartiles_of_five_runs() -> None:
    """The second, third and fourth of five; between neighbours where n - 1 does not divide by four."""
    assert statistics.quartiles(np.array([0.9, 0.1, 0.5, 0.3, 0.7])) == statistics.Quartiles(0.3, 0.5, 0.7)
    even = statistics.quartiles(np.array([0.0, 1.0]))
    assert (even.low, even.median, even.high) == (0.25, 0.5, 0.75)


def test_leading_axes_are_kept() -> None:
    """A statistic of resamples is what it is of each of them."""
    generator = np.random.Generator(np.random.PCG64(4))
    x, y = ([generator.random((7, count)) for count in counts] for counts in ((3, 5), (4, 2)))
    for statistic in AGGREGATES.values():
        each = [float(statistic([task[row] for task in x])) for row in range(7)]
        np.testing.assert_allclose(statistic(x), each, rtol=0, atol=1e-12)
    rows = [([a[row] for a in x], [b[row] for b in y]) for row in range(7)]
    each = [float(statistics.probability_of_improvement(*row)) for row in rows]
    np.testing.assert_allclose(statistics.probability_of_improvement(x, y), each, rtol=0, atol=1e-12)


def test_the_bootstrap_draws_runs_within_their_task() -> None:
    """A slow twin: each resample has of each task as many of its own runs; the ends are quantiles of the statistic."""
    scores = [np.array([0.0, 1.0, 2.0]), np.array([10.0, 11.0]), np.array([20.0])]
    seen: list[list[np.ndarray]] = []

    def spied(tasks: Sequence[np.ndarray]) -> Any:
        seen.append(list(tasks))
        return statistics.mean(tasks)

    found = statistics.bootstrap(spied, scores, seed=0, resamples=500, level=0.8)
    drawn = next(tasks for tasks in seen if tasks[0].ndim == 2)
    assert [task.shape for task in drawn] == [(500, 3), (500, 2), (500, 1)]
    assert [set(task.ravel()) for task in drawn] == [{0.0, 1.0, 2.0}, {10.0, 11.0}, {20.0}]
    means = sorted(plain.fmean(plain.fmean(task[row]) for task in drawn) for row in range(500))
    # At 10 % of 500 sorted values is number 49.9, counted from 0.
    assert found.low == pytest.approx(means[49] + 0.9 * (means[50] - means[49]), abs=1e-9)
    assert found.high == pytest.approx(means[449] + 0.1 * (means[450] - means[449]), abs=1e-9)
    assert found.value == pytest.approx(31.5 / 3)
    # Tasks are drawn on their own: the first two do not move together.
    assert abs(np.corrcoef(drawn[0].mean(axis=1), drawn[1].mean(axis=1))[0, 1]) < 0.2


def test_same_seed_same_interval() -> None:
    scores = _ragged(np.random.Generator(np.random.PCG64(5)), [5, 6, 7])
    before = np.random.get_state()[1].copy()  # type: ignore[union-attr]
    calls: list[Callable[[int], Any]] = [
        lambda seed: statistics.bootstrap(statistics.mean, scores, seed),
        lambda seed: statistics.bootstrap_pair(statistics.probability_of_improvement, scores, scores[::-1], seed),
    ]
    for call in calls:
        assert call(1) == call(1)
        assert len({(found.low, found.high) for found in map(call, range(6))}) > 1
    np.testing.assert_array_equal(np.random.get_state()[1], before)  # type: ignore[arg-type]


@settings(deadline=None, max_examples=30, derandomize=True)
@given(x=_TASKS, y=_TASKS, seed=st.integers(0, 2**32))
def test_intervals_of_scores_within_0_and_1_stay_there(x: list[list[float]], y: list[list[float]], seed: int) -> None:
    both = min(len(x), len(y))
    found = [statistics.bootstrap(statistic, _scores(x), seed, resamples=60) for statistic in AGGREGATES.values()]
    pair = (_scores(x[:both]), _scores(y[:both]))
    found.append(statistics.bootstrap_pair(statistics.probability_of_improvement, *pair, seed, resamples=60))
    for interval in found:
        assert 0 <= interval.low <= interval.high <= 1
        assert 0 <= interval.value <= 1


def test_with_one_run_per_task_an_interval_has_no_width() -> None:
    scores = [np.array([score]) for score in (0.1, 0.7, 0.3, 0.9, 0.2)]
    for statistic in AGGREGATES.values():
        found = statistics.bootstrap(statistic, scores, seed=0)
        assert found.low == found.value == found.high
    wider = statistics.bootstrap(statistics.mean, [*scores, np.array([0.0, 1.0])], seed=0)
    assert wider.low < wider.value < wider.high


def test_the_interval_covers_the_truth_about_as_often_as_it_says() -> None:
    """Of 200 studies of 3 tasks and 10 runs: at 95 % a percentile interval covers about 92 %, at 50 % about half."""
    generator = np.random.Generator(np.random.PCG64(6))
    truth = plain.fmean([1 / 2, 2 / 3, 1 / 3])
    covered = {0.95: 0, 0.5: 0}
    for study in range(200):
        scores = [generator.beta(a, b, 10) for a, b in ((1, 1), (2, 1), (1, 2))]
        for level in covered:
            found = statistics.bootstrap(statistics.mean, scores, study, resamples=300, level=level)
            covered[level] += found.low <= truth <= found.high
    assert 0.88 < covered[0.95] / 200 < 0.98
    assert 0.40 < covered[0.5] / 200 < 0.60


def test_a_curve_is_a_bootstrap_at_each_point_with_runs_drawn_whole() -> None:
    generator = np.random.Generator(np.random.PCG64(7))
    curves = [generator.random((count, 4)) for count in (5, 3)]
    found = statistics.bootstrap_curve(statistics.iqm, curves, seed=9, resamples=300)
    for point in range(4):
        alone = statistics.bootstrap(statistics.iqm, [task[:, point] for task in curves], seed=9, resamples=300)
        assert (found.value[point], found.low[point], found.high[point]) == (alone.value, alone.low, alone.high)


def test_a_profile_is_a_bootstrap_at_each_threshold() -> None:
    scores, thresholds = _ragged(np.random.Generator(np.random.PCG64(8)), [5, 3]), np.array([0.2, 0.6])
    found = statistics.bootstrap_profile(scores, thresholds, seed=9, resamples=300)
    for index, threshold in enumerate(thresholds):
        above = functools.partial(statistics.performance_profile, thresholds=np.array([threshold]))
        alone = statistics.bootstrap(lambda tasks, above=above: above(tasks)[..., 0], scores, seed=9, resamples=300)
        assert (found.value[index], found.low[index], found.high[index]) == (alone.value, alone.low, alone.high)


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_scores_that_are_none_are_named(bad: float) -> None:
    scores = [np.array([0.5]), np.array([0.1, bad])]
    for statistic in AGGREGATES.values():
        with pytest.raises(ValueError, match=rf"^`scores` of task 1 contain {bad}: every score must be finite$"):
            statistic(scores)
    with pytest.raises(ValueError, match="^`y` of task 1 contain"):
        statistics.probability_of_improvement([np.array([0.5])] * 2, scores)
    with pytest.raises(ValueError, match="^`x` of task 1 contain"):
        statistics.bootstrap_pair(statistics.probability_of_improvement, scores, scores, 0)
    with pytest.raises(ValueError, match="task 0 contain"):
        statistics.quartiles(np.array([bad]))


def test_bad_input_is_refused_in_one_line() -> None:
    one = [np.array([0.5])]
    with pytest.raises(ValueError, match=r"^`scores` of task 1 are \[\]: a task needs at least one run$"):
        statistics.iqm([*one, np.zeros(0)])
    with pytest.raises(ValueError, match="^`scores` have no task$"):
        statistics.mean([])
    with pytest.raises(ValueError, match="^`x` has 1 tasks and `y` 2: they must be the same tasks$"):
        statistics.probability_of_improvement(one, one * 2)
    with pytest.raises(ValueError, match="^`x` has 1 tasks and `y` 2"):
        statistics.bootstrap_pair(statistics.probability_of_improvement, one, one * 2, 0)
    with pytest.raises(ValueError, match="^`resamples` is 0"):
        statistics.bootstrap(statistics.iqm, one, 0, resamples=0)
    for level in (0.0, 1.0, 95.0):
        with pytest.raises(ValueError, match=f"^`level` is {level}"):
            statistics.bootstrap(statistics.iqm, one, 0, level=level)
    with pytest.raises(ValueError, match=r"^`curves` have \[2, 3\] points"):
        statistics.bootstrap_curve(statistics.iqm, [np.zeros((1, 2)), np.zeros((1, 3))], 0)
