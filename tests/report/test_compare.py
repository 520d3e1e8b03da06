"""Methods held against each other: numbers, refusals, footnotes, figure and export."""

import json
import pathlib

import numpy as np
import pytest
from commands import printed
from refusals import assert_refused
from report import scored

from seca.errors import UsageError
from seca.report import compare, statistics

FINALS = {
    ("seca", "smac/3m"): [1.0, 0.9, 0.5],
    ("seca", "smac/2s3z"): [0.8, 0.7, 0.9],
    ("qmix", "smac/3m"): [0.2, 0.6, 0.4],
    ("qmix", "smac/2s3z"): [0.75, 0.1, 0.3],
}


def study(path: pathlib.Path, finals=None, **more) -> list[pathlib.Path]:
    return [
        scored.leave(path, scored.config(preset, env, seed), final=final, absolute=None, **more)
        for (preset, env), values in (finals or FINALS).items()
        for seed, final in enumerate(values)
    ]


def test_numbers_are_those_of_the_statistics(tmp_path: pathlib.Path) -> None:
    found = compare.compare(scored.read(*study(tmp_path)), seed=3)
    assert (found.score, found.first) == ("final", "seca") and set(found.metrics.values()) == {"win_rate"}
    seca, qmix = ([np.array(FINALS[name, env]) for env in ("smac/3m", "smac/2s3z")] for name in ("seca", "qmix"))
    assert found.together["seca"]["IQM"] == statistics.bootstrap(statistics.iqm, seca, 3)
    assert found.together["qmix"]["optimality gap"] == statistics.bootstrap(statistics.optimality_gap, qmix, 3)
    assert found.improvement == {
        "qmix": statistics.bootstrap_pair(statistics.probability_of_improvement, seca, qmix, 3)
    }
    [first, second] = found.environments["smac/3m version smac-1"]
    assert (first.method, first.runs, first.scores) == ("seca", 3, [1.0, 0.9, 0.5])
    assert (first.quartiles.low, first.quartiles.median, first.quartiles.high) == (0.7, 0.9, 0.95)
    assert second.iqm == statistics.bootstrap(statistics.iqm, [np.array(FINALS["qmix", "smac/3m"])], 3)


def test_the_same_twice_and_another_with_another_seed(tmp_path: pathlib.Path) -> None:
    runs = scored.read(*study(tmp_path))
    assert compare.compare(runs, seed=1) == compare.compare(runs, seed=1)
    assert compare.compare(runs, seed=1).together != compare.compare(runs, seed=2).together


def test_the_caption_says_how(tmp_path: pathlib.Path) -> None:
    found = compare.compare(scored.read(*study(tmp_path)))
    for words in (
        *("128 episodes", "3 seeds", "2,000 resamples, seed 0", "0 runs on each side", "8 greedy episodes per point"),
        *("every 100,000 of 1,000 env steps", "seca 1,000.0, qmix 1,000.0"),
    ):
        assert words in found.caption
    assert found.notes == ["only 3 of 5 seeds of seca, qmix"]


def test_unlike_runs_are_refused_or_noted(tmp_path: pathlib.Path) -> None:
    base = study(tmp_path)
    other = scored.leave(tmp_path, scored.config("mappo", "smac/3m"), version="smac-2", absolute=None)
    with pytest.raises(UsageError, match="do not compare: smac/3m is several environments.*smac-2"):
        compare.compare(scored.read(*base, other))
    longer = scored.leave(tmp_path, scored.config("mappo", "smac/3m", eval_episodes=16), absolute=None)
    with pytest.raises(UsageError, match="do not compare: evaluation on smac/3m differs: greedy, 8 .*; greedy, 16"):
        compare.compare(scored.read(*base, longer))
    budget = scored.leave(tmp_path, scored.config("mappo", "smac/3m", steps=900, runners=8), absolute=None)
    notes = compare.compare(scored.read(*base, budget)).notes
    assert "smac/3m version smac-1: mixed budgets: 1,000 (seca, qmix); 900 (mappo (runners=8))" in notes
    assert "smac/3m version smac-1: mixed numbers of runners: 32 (seca, qmix); 8 (mappo (runners=8))" in notes
    assert "not over all environments, for want of runs on some: mappo (runners=8)" in notes
    twice = scored.leave(tmp_path, scored.config("seca", "smac/3m", 1), absolute=None)
    assert any("seca has the same seed more than once" in x for x in compare.compare(scored.read(*base, twice)).notes)


def test_runs_short_of_their_budget_are_named(tmp_path: pathlib.Path) -> None:
    """One that ended early beside others does not count, and does not decide with which score the others do."""
    paths = study(tmp_path, {("seca", "smac/3m"): [0.5, 0.6]})
    early = scored.leave(tmp_path, scored.config(seed=2, eval_interval=100), rates=(0.0,), final=None, absolute=None)
    found = compare.compare(scored.read(*paths, early))
    assert [row.runs for rows in found.environments.values() for row in rows] == [2]
    assert found.score == "final"
    assert f"{early} ends at 0 of 1,000 env steps and does not count" in found.notes
    alone = scored.leave(tmp_path, scored.config("qmix", seed=2), rates=(0.0, 0.5), final=None, absolute=None)
    found = compare.compare(scored.read(*paths, alone))
    assert found.score == "last"
    assert f"{alone} ends at 500 of 1,000 env steps and counts as it is there" in found.notes
    # Its curve is drawn no further than it goes.
    panel = compare.draw(scored.read(*paths, alone), found).axes[2]
    assert sorted(float(np.asarray(line.get_xdata(), np.float64)[-1]) for line in panel.lines) == [0.5, 1.0]


def test_where_nobody_wins_returns_are_compared(tmp_path: pathlib.Path) -> None:
    found = compare.compare(scored.read(*study(tmp_path, {("seca", "smac/3m"): [0.5, 0.75]}, wins=False)))
    assert set(found.metrics.values()) == {"return_mean"}
    assert [row.scores for rows in found.environments.values() for row in rows] == [[10.0, 15.0]]
    assert not any(found.together.values())
    assert "10.00" in compare.table(found)
    with pytest.raises(UsageError, match="`out`"):
        compare.draw([], found)


def test_each_environment_by_its_own_metric(tmp_path: pathlib.Path) -> None:
    """Where one of them cannot be won: win rates of the other, and nothing over both but who is better."""
    won = study(tmp_path / "a", {(name, "smac/3m"): [0.5, 0.75] for name in ("seca", "qmix")})
    lost = study(tmp_path / "b", {(name, "smac/2s3z"): [0.5, 0.25] for name in ("seca", "qmix")}, wins=False)
    found = compare.compare(scored.read(*won, *lost))
    assert list(found.metrics.values()) == ["win_rate", "return_mean"]
    assert [[row.scores for row in rows] for rows in found.environments.values()] == [[[0.5, 0.75]] * 2, [[10, 5]] * 2]
    assert not any(found.together.values()) and found.improvement["qmix"].value == 0.5
    text = compare.table(found)
    assert "smac/3m version smac-1: test win rate, in %" in text and "smac/2s3z version smac-1: test return\n" in text
    assert found.caption.startswith("Test win rate or test return of the")


def test_a_single_run_has_no_interval(tmp_path: pathlib.Path) -> None:
    text = compare.table(compare.compare(scored.read(*study(tmp_path, {("seca", "smac/3m"): [0.5]}))))
    assert "50.0 [one run]" in text


def test_single_runs_have_none_together_and_against_each_other(tmp_path: pathlib.Path) -> None:
    """Nor in the figure, where one has two runs on an environment its interval is known."""
    ones = {(name, env): [0.5] for name in ("seca", "qmix") for env in ("smac/3m", "smac/2s3z")}
    runs = scored.read(*study(tmp_path / "a", ones | {("mappo", env): [0.25, 0.75] for _, env in ones}))
    found = compare.compare(runs)
    assert found.single == ["seca", "qmix"] and found.alone("qmix") and not found.alone("mappo")
    text = compare.table(found)
    together = text[text.index("all environments (2)") :].splitlines()
    of_seca, of_mappo = (next(line for line in together if line.startswith(f"  {x} ")) for x in ("seca", "mappo"))
    assert of_seca.count("50.0 [one run]") == 4 and "[" in of_mappo and "one run" not in of_mappo
    chances = text[text.index("probability that") :].splitlines()
    assert "50.0 [one run]" in chances[1] and "qmix" in chances[1]
    assert "one run" not in chances[2] and "mappo" in chances[2]
    bars = [line for line in compare.draw(runs, found).axes[0].lines if line.get_linewidth() == 9]
    assert {line.get_solid_capstyle() for line in bars} == {"butt"}, "a bar ends where its interval does"


def test_runs_that_learned_in_another_way_are_another_method(tmp_path: pathlib.Path) -> None:
    """Of 8 runners, or in several updates of a batch: not one line, and not one score."""
    other = [
        scored.leave(tmp_path, scored.config("seca", "smac/3m", seed, **changed), (0.0, 0.0, 0.125), absolute=0.125)
        for changed in ({"runners": 8}, {"minibatches": 4})
        for seed in (0, 1)
    ]
    found = compare.compare(scored.read(*study(tmp_path, {("seca", "smac/3m"): [0.75, 1.0]}), *other))
    [rows] = found.environments.values()
    assert [(row.method, row.runs) for row in rows] == [
        ("seca", 2),
        ("seca (runners=8)", 2),
        ("seca (minibatches=4)", 2),
    ]


def test_the_command(tmp_path: pathlib.Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = study(tmp_path / "runs")
    text = printed(capsys, "compare", *paths, "--out", "held")
    assert text.splitlines()[-2:] == ["held.png", "held.svg"]
    assert "probability that a run of seca is better" in text and "- only 3 of 5 seeds" in text
    assert max(map(len, text.splitlines())) <= 120
    assert (tmp_path / "held.png").read_bytes().startswith(b"\x89PNG")
    found = json.loads(printed(capsys, "compare", *paths, "--json", "--score", "last"))
    assert found["score"] == "last" and found["together"]["seca"]["IQM"]["value"] == 1.0


def test_marl_evals_file(tmp_path: pathlib.Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    paths = [
        scored.leave(tmp_path / "runs", scored.config(preset, env, seed))
        for preset in ("seca", "qmix")
        for env in ("smac/3m", "smac/2s3z")
        for seed in (0, 5, 9)
    ]
    assert printed(capsys, "compare", *paths, "--marl-eval", "x.json").splitlines()[-6:] == [
        "x.json",
        "marl-eval draws points of smac 333 env steps apart",
        *(
            f"marl-eval normalises {metric} of smac/{task} between 0 and {most}"
            for task in ("2s3z", "3m")
            for metric, most in (("return", 20), ("win_rate", 1))
        ),
    ]
    data = json.loads((tmp_path / "x.json").read_text())
    assert list(data) == ["smac"] and sorted(data["smac"]) == ["2s3z", "3m"]
    run = data["smac"]["3m"]["qmix"]["seed_2"]
    assert len(run["absolute_metrics"]["win_rate"]) == 80 and run["step_1"]["step_count"] == 500
    assert "elapsed_time" not in run["step_1"]
    printed(capsys, "compare", *paths, "--marl-eval", "t.json", "--elapsed-time", "--json")
    timed = json.loads((tmp_path / "t.json").read_text())["smac"]["3m"]["qmix"]["seed_2"]
    assert timed["step_1"]["elapsed_time"] >= 0 and "elapsed_time" in timed["absolute_metrics"]
    assert_refused(["compare", *map(str, paths), "--elapsed-time"], ["`elapsed-time`", "`marl-eval`"], tmp_path, capsys)
    without = study(tmp_path / "other")
    assert_refused(["compare", *map(str, without), "--marl-eval", "y.json"], ["--absolute"], tmp_path, capsys)
    assert_refused(["compare", *map(str, paths), "--marl-eval", "y.txt"], ["`marl-eval`", ".json"], tmp_path, capsys)


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        ("compare", ["runs"]),
        ("compare absent", ["`run` is absent"]),
        ("compare occupied", ["`run` is occupied", "not a run folder"]),
        ("compare occupied --out occupied", ["`out` is occupied"]),
        ("compare x --score best", ["score", "best"]),
        ("report absent", ["`run` is absent"]),
        ("report occupied --out x.html", ["`run` is occupied"]),
        ("report", ["runs"]),
    ],
)
def test_bad_input(desk: pathlib.Path, words: str, fragments: list[str], capsys) -> None:
    assert_refused(words.split(), fragments, desk, capsys)


def test_a_run_twice_is_refused(tmp_path: pathlib.Path, capsys) -> None:
    path = scored.leave(tmp_path, scored.config())
    twice = f"{path.parent}/./{path.name}"
    assert_refused(["compare", str(path), twice], ["`runs` holds", "twice"], tmp_path, capsys)
    for option in ("--episodes=3", "--checkpoint=best", "--seed=9", "--opponent=kite"):
        words = ["evaluate", str(path), "--absolute", option]
        assert_refused(words, ["is given beside `absolute`"], tmp_path, capsys)


def test_unlike_runs_make_no_report(tmp_path: pathlib.Path, capsys) -> None:
    one = scored.leave(tmp_path, scored.config())
    other = scored.leave(tmp_path, scored.config(seed=1, eval_episodes=16))
    words = ["report", str(one), str(other), "--out", str(tmp_path / "x.html")]
    assert_refused(words, ["do not compare", "evaluation on smac/3m differs"], tmp_path, capsys)
