"""The export for marl-eval: each of its rules, by number, and what a reader of the file computes from it.

The rules, each from the sources of marl-eval 0.0.4 (it needs numpy below 2, so it is not imported here):
 1. the names of runs are read from the first task and algorithm, and looked for everywhere;
 2. so are the names of steps; every algorithm is on every task; steps and absolute entries hold the same metrics;
 3. the absolute entry is `absolute_metrics`;
 4. names are lowered on load, where two that become one overwrite each other; no commas in names of algorithms;
 5. a run is named `word_int`, and one that is there twice counts as two;
 6. points are drawn at multiples of the mean difference of step counts;
 7. thresholds and the optimality gap are for scores within 0 and 1;
 8. normalisation is by the extremes of a task over all that is in the file;
 9. `elapsed_time` is optional, and missed in the absolute entry where steps have it;
10. a reader changes what it reads; 11. intervals of single tasks are for 10 runs: what both do is not the file's;
12. it must not be needed to write a file.
"""

import ast
import copy
import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from seca.errors import UsageError
from seca.report import marl_eval
from seca.report.marl_eval import EvaluatedRun

ALGORITHMS, TASKS, SEEDS, POINTS, EPISODES = ("seca", "qmix"), ("2s3z", "MMM2"), (0, 1, 2), 12, 4


def _run(**changes: Any) -> EvaluatedRun:
    """A run evaluated at 12 points, of late 10 env steps after the thousand."""
    run = EvaluatedRun(
        environment="smac",
        task="2s3z",
        algorithm="seca",
        seed=0,
        steps=[0, *(1000 * point + 10 for point in range(1, POINTS))],
        metrics={
            "return": [[float(point + episode) for episode in range(EPISODES)] for point in range(POINTS)],
            "win_rate": [[int(episode < point / 3) for episode in range(EPISODES)] for point in range(POINTS)],
        },
        absolute={"return": [11.0, 12.0, 13.0, 14.0] * 10, "win_rate": [1, 1, 1, 0] * 10},
        elapsed=[0.5 * point for point in range(POINTS)],
    )
    return dataclasses.replace(run, **changes)


def _study() -> list[EvaluatedRun]:
    """2 algorithms x 2 tasks x 3 seeds; every run has returns of its own, and seeds of its own algorithm."""
    runs = []
    for offset, algorithm in enumerate(ALGORITHMS):
        for bonus, task in enumerate(TASKS):
            for seed in SEEDS:
                plus = 100 * offset + 10 * bonus + seed
                run = _run(algorithm=algorithm, task=task, seed=seed + 7 * offset)
                assert run.absolute is not None
                returns = [[value + plus for value in values] for values in run.metrics["return"]]
                absolute = {**run.absolute, "return": [value + plus for value in run.absolute["return"]]}
                runs.append(dataclasses.replace(run, metrics={**run.metrics, "return": returns}, absolute=absolute))
    return runs


def _lowered(tree: Any) -> Any:
    return {key.lower(): _lowered(value) for key, value in tree.items()} if isinstance(tree, dict) else tree


def _matrices(
    data: dict[str, Any], environment: str, metric: str, normalised: bool
) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray], int]:
    """What marl-eval makes of a file, in plain words: of each algorithm the absolute scores [runs, tasks] and the
    curves [runs, tasks, points], and the interval of its axis. It asks for names where it asks for them."""
    tasks = _lowered(data)[environment]
    first = next(iter(tasks.values()))
    runs = list(next(iter(first.values())))
    names = list(next(iter(next(iter(first.values())).values())))
    absolute = next(name for name in names if "absolute" in name)
    steps = [name for name in names if name != absolute]
    scores = {name: np.zeros((len(runs), len(tasks))) for name in first}
    curves = {name: np.zeros((len(runs), len(tasks), len(steps))) for name in first}
    differences = []
    for column, algorithms in enumerate(tasks.values()):
        entries = [entry for kept in algorithms.values() for by_step in kept.values() for entry in by_step.values()]
        low = min(min(entry[metric]) for entry in entries) if normalised else 0.0
        high = max(max(entry[metric]) for entry in entries) if normalised else 1.0 - 1e-6
        for algorithm in first:
            for row, run in enumerate(runs):
                kept = algorithms[algorithm][run]
                mean = {name: (np.mean(entry[metric]) - low) / (high - low + 1e-6) for name, entry in kept.items()}
                scores[algorithm][row, column] = mean[absolute]
                curves[algorithm][row, column] = [mean[step] for step in steps]
        for kept in (kept for by_run in algorithms.values() for kept in by_run.values()):
            before = 0
            for entry in kept.values():
                if "step_count" in entry:
                    differences.append(entry["step_count"] - before)
                    before = entry["step_count"]
    return scores, curves, round(float(np.mean(differences)))


def _diagnosed(data: dict[str, Any]) -> bool:
    """What marl-eval's DiagnoseData asks of a file: the same algorithms, counts and metrics everywhere."""
    tasks = [task for environment in _lowered(data).values() for task in environment.values()]
    runs = [by_run for task in tasks for by_run in task.values()]
    steps = [by_step for by_run in runs for by_step in by_run.values()]
    metrics = {frozenset(entry.keys() - {"step_count"}) for by_step in steps for entry in by_step.values()}
    alike = [{frozenset(task) for task in tasks}, {len(by_run) for by_run in runs}, {len(by_step) for by_step in steps}]
    return all(len(kinds) == 1 for kinds in [*alike, metrics])


@pytest.mark.parametrize("untrained", [True, False])
@pytest.mark.parametrize("normalised", [True, False])
def test_a_reader_finds_every_run_task_and_point(untrained: bool, normalised: bool) -> None:
    """Shapes (3, 2) and (3, 2, points), and in them the numbers that were measured."""
    data = json.loads(marl_eval.written(marl_eval.exported(_study(), untrained=untrained)))
    assert _diagnosed(data)
    points = POINTS - (not untrained)
    for metric in ("return", "win_rate"):
        scores, curves, interval = _matrices(data, "smac", metric, normalised)
        assert set(scores) == set(curves) == set(ALGORITHMS)
        assert {matrix.shape for matrix in scores.values()} == {(3, 2)}
        assert {matrix.shape for matrix in curves.values()} == {(3, 2, points)}
        assert interval == marl_eval.intervals(data)["smac"]
    scores, curves, _ = _matrices(data, "smac", "return", normalised=False)
    column = [task.lower() for task in data["smac"]].index("mmm2")
    np.testing.assert_allclose(scores["qmix"][:, column], 12.5 + 110 + np.arange(3))
    np.testing.assert_allclose(curves["qmix"][2, column], 1.5 + 112 + np.arange(POINTS - points, POINTS))
    scaled, _, _ = _matrices(data, "smac", "return", normalised=True)
    between = marl_eval.ranges(data)[("smac", "MMM2", "return")]
    found = (scores["qmix"][:, column] - between.low) / (between.high - between.low)
    np.testing.assert_allclose(scaled["qmix"][:, column], found, atol=1e-6)


def test_rule_1_runs_are_numbered_alike_in_the_order_of_their_seeds() -> None:
    data = marl_eval.exported(_study()[::-1])
    names = {tuple(runs) for task in data["smac"].values() for runs in task.values()}
    assert names == {("seed_0", "seed_1", "seed_2")}
    first = [run["step_0"]["return"][0] for run in data["smac"]["2s3z"]["qmix"].values()]
    assert first == [100, 101, 102]


def test_rule_1_unequal_numbers_of_runs_are_refused() -> None:
    with pytest.raises(
        UsageError, match=r"^`runs`: qmix on smac/MMM2 2, the others 3 runs; all must have equally many$"
    ):
        marl_eval.exported(_study()[:-1])


def test_rule_2_every_algorithm_is_on_every_task() -> None:
    runs = [run for run in _study() if (run.algorithm, run.task) != ("seca", "MMM2")]
    with pytest.raises(
        UsageError, match="`runs` have none of seca on smac/MMM2: every algorithm must be on every task"
    ):
        marl_eval.exported(runs)


def test_rule_2_unequal_numbers_of_evaluations_are_refused() -> None:
    short = _run(seed=2)
    short = dataclasses.replace(
        short, steps=short.steps[:-1], metrics={name: lists[:-1] for name, lists in short.metrics.items()}
    )
    with pytest.raises(UsageError, match="`steps`: seca on smac/2s3z with seed 2 11, the others 12 evaluations"):
        marl_eval.exported([_run(), _run(seed=1), short])


def test_rule_2_step_names_are_the_same_and_step_counts_each_runs_own() -> None:
    later = _run(seed=1, steps=[0, *(1000 * point + 90 for point in range(1, POINTS))])
    runs = marl_eval.exported([_run(), later])["smac"]["2s3z"]["seca"]
    assert list(runs["seed_0"]) == list(runs["seed_1"]) == [*(f"step_{k}" for k in range(POINTS)), "absolute_metrics"]
    assert [run["step_3"]["step_count"] for run in runs.values()] == [3010, 3090]


def test_rule_2_other_metrics_are_refused() -> None:
    run = _run(seed=1, metrics={"return": _run().metrics["return"]})
    with pytest.raises(UsageError, match="`metrics`: win_rate is of only one of seca on .* seed 0 and seca .* seed 1;"):
        marl_eval.exported([_run(), run])


def test_rule_2_an_evaluation_is_missing_in_one_metric() -> None:
    lists = _run().metrics
    with pytest.raises(UsageError, match="have 11 evaluations of win_rate and 12 steps"):
        marl_eval.exported([_run(metrics={**lists, "win_rate": lists["win_rate"][1:]})])


def test_rule_3_the_absolute_entry_holds_the_metrics_of_the_steps() -> None:
    run = _run()
    assert run.absolute is not None
    data = marl_eval.exported([_run(absolute={**run.absolute, "length": [30.0]})])
    steps = data["smac"]["2s3z"]["seca"]["seed_0"]
    assert [name for name in steps if "absolute" in name] == ["absolute_metrics"]
    assert steps["absolute_metrics"] == {"return": run.absolute["return"], "win_rate": run.absolute["win_rate"]}
    assert "step_count" not in steps["absolute_metrics"]


@pytest.mark.parametrize(("absolute", "lacks"), [(None, "return, win_rate"), ({"return": [1.0]}, "win_rate")])
def test_rule_3_a_run_without_absolute_metrics_is_told_what_to_do(absolute: Any, lacks: str) -> None:
    expected = (
        f"`absolute` of seca on smac/2s3z with seed 1 lacks {lacks}: measure it by `seca evaluate RUN --absolute`"
    )
    with pytest.raises(UsageError) as error:
        marl_eval.exported([_run(), _run(seed=1, absolute=absolute)])
    assert str(error.value) == expected


@pytest.mark.parametrize("field", ["environment", "task", "algorithm"])
def test_rule_4_names_that_would_become_one_are_refused(field: str) -> None:
    runs = [_run(**{field: name}) for name in ("SeCA", "seca")]
    with pytest.raises(UsageError, match=f"`{field}` is SeCA and seca: marl-eval reads both in lower case, as one"):
        marl_eval.exported(runs)


def test_rule_4_metrics_that_would_become_one_are_refused() -> None:
    lists, absolute = {"Return": [[1.0]], "return": [[1.0]]}, {"Return": [1.0], "return": [1.0]}
    with pytest.raises(UsageError, match="`metrics` is Return and return"):
        marl_eval.exported([_run(steps=[10], metrics=lists, absolute=absolute)])


def test_rule_4_capitals_are_kept_for_files_of_others_beside() -> None:
    assert list(marl_eval.exported([_run(task="MMM2")])["smac"]) == ["MMM2"]


def test_rule_4_commas_are_refused() -> None:
    with pytest.raises(UsageError, match="`algorithm` is 'seca, tuned': marl-eval splits names at commas"):
        marl_eval.exported([_run(algorithm="seca, tuned")])


@pytest.mark.parametrize(
    ("metrics", "message"),
    [
        (["step_count"], "takes it for steps or seconds"),
        (["Elapsed_Time"], "takes it for steps or seconds"),
        (["return", "mean_return"], "'return' and 'mean_return': marl-eval writes one over the other"),
        (["return", "norm_return"], "'return' and 'norm_return': marl-eval writes one over the other"),
    ],
)
def test_rule_4_names_that_marl_eval_uses_itself_are_refused(metrics: Sequence[str], message: str) -> None:
    run = _run(steps=[10], metrics={name: [[1.0]] for name in metrics}, absolute={name: [1.0] for name in metrics})
    with pytest.raises(UsageError, match=message):
        marl_eval.exported([run])


@pytest.mark.parametrize("field", ["environment", "algorithm"])
def test_rule_4_extra_is_no_name(field: str) -> None:
    with pytest.raises(UsageError, match=f"`{field}` is 'Extra'"):
        marl_eval.exported([_run(**{field: "Extra"})])


def test_rule_5_a_run_is_named_by_one_word_and_a_number() -> None:
    data = marl_eval.exported([_run(seed=seed) for seed in range(20, 32)])
    for name in data["smac"]["2s3z"]["seca"]:
        word, number = name.split("_")
        assert word == "seed" and str(int(number)) == number


def test_rule_5_a_seed_that_is_there_twice_is_refused() -> None:
    with pytest.raises(UsageError, match="`runs` have seca on smac/2s3z with seed 0 twice"):
        marl_eval.exported([_run(), _run(seed=1), _run()])


def test_rule_6_the_axis_with_and_without_the_untrained_policy() -> None:
    """0, 1000, 2000 are drawn at 0, 667, 1334; without the first, 1000 and 2000 at 0 and 1000."""
    lists = {"return": [[0.0], [1.0], [2.0]]}
    run = _run(steps=[0, 1000, 2000], metrics=lists, absolute={"return": [2.0]}, elapsed=[0.0, 1.0, 2.0])
    assert marl_eval.intervals(marl_eval.exported([run])) == {"smac": 667}
    data = marl_eval.exported([run], untrained=False, elapsed=True)
    assert marl_eval.intervals(data) == {"smac": 1000}
    steps = data["smac"]["2s3z"]["seca"]["seed_0"]
    assert list(steps) == ["step_0", "step_1", "absolute_metrics"]
    assert steps["step_0"] == {"step_count": 1000, "elapsed_time": 1.0, "return": [1.0]}
    only = _run(steps=[0], metrics={"return": [[0.0]]}, absolute={"return": [2.0]})
    with pytest.raises(UsageError, match="`untrained` is False: seca .* has no evaluation after env step 0"):
        marl_eval.exported([only], untrained=False)


def test_rule_6_steps_are_in_their_order_not_in_that_of_their_names() -> None:
    """`step_10` comes after `step_9`, in the text too."""
    steps = json.loads(marl_eval.written(marl_eval.exported([_run()])))["smac"]["2s3z"]["seca"]["seed_0"]
    assert list(steps)[9:12] == ["step_9", "step_10", "step_11"]


@pytest.mark.parametrize(("steps", "message"), [([0, 20, 10], "10 after 20"), ([5, 5, 6], "5 after 5")])
def test_rule_6_steps_that_do_not_ascend_are_refused(steps: list[int], message: str) -> None:
    lists = {"return": [[0.0], [1.0], [2.0]]}
    with pytest.raises(UsageError, match=message):
        marl_eval.exported([_run(steps=steps, metrics=lists, absolute={"return": [2.0]})])


@pytest.mark.parametrize("value", [87.5, -0.1])
def test_rule_7_win_rates_in_percent_are_refused(value: float) -> None:
    lists = {"win_rate": [[0.5], [value]]}
    with pytest.raises(UsageError, match=f"`win_rate` at env step 20 of seca .* is {value}: a win rate must be from 0"):
        marl_eval.exported([_run(steps=[10, 20], metrics=lists, absolute={"win_rate": [0.5]})])
    with pytest.raises(UsageError, match="`win_rate` of the absolute evaluation of seca"):
        marl_eval.exported([_run(absolute={"return": [1.0], "win_rate": [value]})])


@pytest.mark.parametrize("values", [[], [float("nan")], [float("inf")]])
def test_rule_7_what_is_no_number_is_refused(values: list[float]) -> None:
    with pytest.raises(UsageError, match="`return` at env step 10 of seca .* (has no value|must be finite)"):
        marl_eval.exported([_run(steps=[10], metrics={"return": [values]}, absolute={"return": [1.0]})])


def test_rule_8_ranges_are_of_all_that_is_in_the_file() -> None:
    """One more algorithm moves them; the absolute evaluation counts."""
    alone = marl_eval.exported([run for run in _study() if run.algorithm == "seca"])
    both = marl_eval.exported(_study())
    assert marl_eval.ranges(alone)[("smac", "2s3z", "return")] == marl_eval.Range(0.0, 16.0, 16.0)
    assert marl_eval.ranges(both)[("smac", "2s3z", "return")] == marl_eval.Range(0.0, 116.0, 116.0)
    assert marl_eval.ranges(both)[("smac", "2s3z", "win_rate")] == marl_eval.Range(0.0, 1.0, 1.0)
    assert len(marl_eval.ranges(both)) == 4
    run = _run(steps=[10], metrics={"return": [[1.0]]}, absolute={"return": [5.0]}, elapsed=[9.0])
    assert marl_eval.ranges(marl_eval.exported([run], elapsed=True)) == {
        ("smac", "2s3z", "return"): marl_eval.Range(1.0, 5.0, 5.0)
    }


def test_rule_8_the_highest_that_marl_eval_takes_may_be_too_low() -> None:
    """The list with the new lowest value has the highest one too; the next list higher than what is known mends it."""
    run = _run(steps=[10, 20], metrics={"return": [[2.0, 3.0], [1.0, 9.0]]}, absolute={"return": [5.0]})
    key = ("smac", "2s3z", "return")
    assert marl_eval.ranges(marl_eval.exported([run]))[key] == marl_eval.Range(1.0, 9.0, 5.0)


def test_rule_9_seconds_are_left_out_or_in_every_entry() -> None:
    assert "elapsed_time" not in marl_eval.written(marl_eval.exported([_run()]))
    data = marl_eval.exported([_run()], elapsed=True)
    steps = data["smac"]["2s3z"]["seca"]["seed_0"]
    assert [entry["elapsed_time"] for entry in steps.values()] == [*(0.5 * k for k in range(POINTS)), 5.5]
    assert _diagnosed(data)
    marl_eval.exported([_run(elapsed=None)])


@pytest.mark.parametrize(
    ("elapsed", "message"),
    [(None, "has no seconds for 12 steps"), ([1.0], "has 1 seconds"), ([-1.0] * POINTS, "has -1.0: seconds must be")],
)
def test_rule_9_seconds_that_are_none_are_refused(elapsed: Any, message: str) -> None:
    with pytest.raises(UsageError, match=f"`elapsed` of seca on smac/2s3z with seed 0 {message}"):
        marl_eval.exported([_run(elapsed=elapsed)], elapsed=True)


def test_rule_12_marl_eval_is_not_imported() -> None:
    tree = ast.parse(pathlib.Path(marl_eval.__file__).read_text())
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    names = {name.name for node in ast.walk(tree) if isinstance(node, ast.Import) for name in node.names}
    assert not {name for name in modules | names if name and name.split(".")[0] in ("marl_eval", "rliable", "neptune")}


def test_a_checker_that_reads_the_file_can_fail() -> None:
    data = marl_eval.exported(_study())
    for spoil in (
        lambda tree: tree["smac"]["2s3z"]["seca"].pop("seed_1"),
        lambda tree: tree["smac"]["MMM2"]["qmix"]["seed_2"].pop("step_3"),
        lambda tree: tree["smac"]["MMM2"]["qmix"]["seed_2"]["absolute_metrics"].pop("return"),
    ):
        spoilt = copy.deepcopy(data)
        spoil(spoilt)
        assert not _diagnosed(spoilt)


def test_what_is_written_is_read_again_and_the_same_each_time() -> None:
    data = marl_eval.exported(_study())
    text = marl_eval.written(data)
    assert json.loads(text) == data
    assert marl_eval.written(marl_eval.exported(_study()[::-1])) == text


def test_runs_that_measured_nothing_are_refused() -> None:
    with pytest.raises(UsageError, match="^`runs` are none: at least one run is needed$"):
        marl_eval.exported([])
    with pytest.raises(UsageError, match="^`steps` of seca .* are none"):
        marl_eval.exported([_run(steps=[])])
    with pytest.raises(UsageError, match="^`metrics` of seca .* are none"):
        marl_eval.exported([_run(metrics={})])
    with pytest.raises(UsageError, match="^`task` is empty: it needs a name$"):
        marl_eval.exported([_run(task="")])
