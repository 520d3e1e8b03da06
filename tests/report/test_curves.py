"""Learning curves: the numbers, the warnings, the files."""

import csv
import dataclasses
import errno
import json
import pathlib
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from seca.config import from_preset, to_json
from seca.errors import UsageError
from seca.report import curves
from seca.report.curves import Curve


def _curve(steps: list[float], wins: list[float], **changes: Any) -> Curve:
    won = np.array(wins, dtype=np.float64)
    curve = Curve(
        run="runs/x",
        preset="seca",
        seed=0,
        budget=100,
        interval=10,
        episodes=32,
        env="smac/2s3z version smac-1",
        steps=np.array(steps, dtype=np.float64),
        values={"win_rate": won, "return_mean": won * 20},
    )
    return dataclasses.replace(curve, **changes)


def test_stepwise_takes_the_latest_evaluation_not_after() -> None:
    at = np.array([0.0, 9.0, 10.0, 11.0, 25.0, 99.0])
    read = curves.stepwise(np.array([0.0, 10.0, 25.0]), np.array([1.0, 2.0, 3.0]), at)
    np.testing.assert_array_equal(read, [1, 1, 2, 2, 3, 3])


def test_band_on_points_that_differ_between_runs() -> None:
    """Worked by hand: of 10, 10.5 and 11 the last is drawn, when all three have been evaluated; likewise 22."""
    runs = [
        _curve([0, 10, 20], [0.0, 0.2, 0.4]),
        _curve([0, 11, 21], [0.0, 0.6, 0.8]),
        _curve([0, 10.5, 22], [0.0, 0.4, 1.0]),
    ]
    drawn = curves.band(runs, "win_rate")
    np.testing.assert_array_equal(drawn.steps, [0, 11, 22])
    np.testing.assert_allclose(drawn.median, [0, 0.4, 0.8])
    np.testing.assert_allclose(drawn.low, [0, 0.3, 0.6])
    np.testing.assert_allclose(drawn.high, [0, 0.5, 0.9])


def test_where_nobody_wins_there_is_one_panel() -> None:
    """Of returns alone; beside runs that can win each has what it has."""
    returns = _curve([0, 10, 20], [0.0, 0.5, 0.25], env="python:mine.make version mine-1")
    del returns.values["win_rate"]
    [panel] = curves.draw([returns]).axes
    assert panel.get_ylabel() == "test return"
    mixed = [returns, _curve([0, 10, 20], [0.0, 0.2, 0.4])]
    assert [len(panel.lines) for panel in curves.draw(mixed).axes] == [1, 2]
    rows = [(row["curve"], row["metric"]) for row in csv.DictReader(curves.table(mixed).splitlines())]
    assert sorted(set(rows)) == [
        ("seca on python:mine.make version mine-1", "return_mean"),
        ("seca on smac/2s3z version smac-1", "return_mean"),
        ("seca on smac/2s3z version smac-1", "win_rate"),
    ]


def test_band_of_one_run_is_the_run() -> None:
    drawn = curves.band([_curve([0, 10, 20], [0.0, 0.5, 0.25])], "return_mean")
    for quartile in (drawn.low, drawn.median, drawn.high):
        np.testing.assert_array_equal(quartile, [0, 10, 5])


def test_band_ends_soon_after_the_shortest_run() -> None:
    long = _curve(list(range(0, 110, 10)), [0.5] * 11)
    short = _curve([0, 10, 20], [0.0, 0.0, 0.0])
    assert curves.band([long, short], "win_rate").steps[-1] == 30


def test_names_with_a_comma_are_kept_apart() -> None:
    assert curves.listed(["seca 2", "qmix 1"]) == "seca 2, qmix 1"
    assert curves.listed(["seca 2", "seca, published advantage 1"]) == "seca 2; seca, published advantage 1"


def test_caption_says_how_it_was_made() -> None:
    five = [_curve([0, 10], [0, 1], seed=seed) for seed in range(5)]
    text = curves.caption(five)
    assert "Median and quartiles over runs (seca 5), each curve as far as its shortest run" in text
    assert "32 greedy episodes per point" in text
    assert "evaluation not counted" in text
    assert "Warning" not in text


@pytest.mark.parametrize(
    ("changes", "fragment"),
    [
        ({"seed": 3}, "seca has the same seed more than once"),
        ({"budget": 200}, "mixed budgets: 100; 200"),
        ({"episodes": 16}, "mixed evaluation episodes: 16; 32"),
        ({"interval": 20}, "mixed evaluation intervals: 10; 20"),
        ({"env": "smac/2s3z version smac-2"}, "mixed environments: smac/2s3z version smac-1; smac/2s3z version smac-2"),
    ],
    ids=lambda part: str(part)[:30],
)
def test_warnings(changes: dict[str, Any], fragment: str) -> None:
    runs = [_curve([0, 10], [0, 1], seed=seed) for seed in range(5)]
    changed: dict[str, Any] = {"seed": 5} | changes
    mixed = [*runs, dataclasses.replace(runs[0], **changed)]
    assert any(fragment in warning for warning in curves.warnings(mixed))
    assert curves.warnings(runs) == []


def test_few_seeds_are_named_per_preset() -> None:
    runs = [_curve([0, 10], [0, 1], seed=seed) for seed in range(5)]
    other = _curve([0, 10], [0, 1], preset="indadv")
    assert curves.warnings([*runs, other]) == ["only 1 of 5 seeds for indadv"]


def test_runs_of_other_options_have_a_curve_of_their_own() -> None:
    """The label names what differs from the preset, so that two critics never share a band."""
    paper = from_preset("seca-paper")
    published: Any = paper.algorithm
    compact = dataclasses.replace(paper, algorithm=dataclasses.replace(published, critic_width=64))
    assert curves.label(paper) == "seca-paper"
    assert curves.label(compact) == "seca-paper (critic_width=64)"
    stage = dataclasses.replace(published, path=dataclasses.replace(published.path, stage=10))
    assert curves.label(dataclasses.replace(paper, algorithm=stage)) == "seca-paper (path.stage=10)"


@pytest.mark.slow
def test_files_of_a_real_run(finished_run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    written = curves.plot([finished_run], tmp_path / "new" / "lr-0.5")
    assert [path.name for path in written] == ["lr-0.5.png", "lr-0.5.svg", "lr-0.5.csv"]
    assert written[0].read_bytes().startswith(b"\x89PNG")
    assert b"<svg" in written[1].read_bytes()
    with written[2].open() as file:
        rows = list(csv.DictReader(file))
    assert [int(row["env_steps"]) for row in rows if row["metric"] == "win_rate"] == [0, 40, 80, 120, 160]
    assert {row["curve"] for row in rows} == {"seca (runners=4)"}
    again = curves.plot([finished_run], tmp_path / "again")
    assert again[1].read_bytes() == written[1].read_bytes()
    assert again[2].read_bytes() == written[2].read_bytes()


@pytest.mark.parametrize(
    ("name", "damage", "message"),
    [
        ("metrics.jsonl", b'{"kind": "eval", "env_steps": 0}\n', "`return_mean` of an evaluation line"),
        (
            "metrics.jsonl",
            b'{"kind": "eval", "env_steps": 0, "return_mean": 1, "win_rate": 0}\n'
            b'{"kind": "eval", "env_steps": 4, "return_mean": 1}\n',
            "`win_rate` of an evaluation line of metrics.jsonl is None",
        ),
        ("metrics.jsonl", b'{"kind": "eval", "env_steps": NaN}\n', "a finite number"),
        ("metrics.jsonl", b'{"kind": "eval", "env_steps": Infinity}\n', "a finite number"),
        ("metrics.jsonl", b'{"kind": "eval", "env_steps": 1e999}\n', "a finite number"),
        ("metrics.jsonl", b'{"kind": "eval", "env_steps": true}\n', "a finite number"),
        ("metrics.jsonl", b'{"kind": "eval", "env_steps": ' + b"9" * 400 + b"}\n", "a finite number"),
        ("metrics.jsonl", b"\xff\xfe\n", "not a text file"),
        ("metrics.jsonl", b"[1]\n", "line 1 of metrics.jsonl cannot be read"),
        ("environment.json", b'{"sessions": []}', "no `version` of the `env`"),
        ("environment.json", b'{"sessions": ["x"], "env": {"version": "1"}}', "`sessions` that are not objects"),
        ("environment.json", b"{", "environment.json cannot be read"),
    ],
)
def test_damaged_run_folders_are_named(
    finished_run: pathlib.Path, tmp_path: pathlib.Path, name: str, damage: bytes, message: str
) -> None:
    """One line, and nothing is written."""
    run = tmp_path / "run"
    shutil.copytree(finished_run, run)
    (run / name).write_bytes(damage)
    with pytest.raises(UsageError) as error:
        curves.plot([run], tmp_path / "new" / "figure")
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("out", [".", "..", "folder"])
def test_a_figure_needs_a_name(
    finished_run: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, out: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "folder").mkdir()
    with pytest.raises(UsageError, match="`out` is"):
        curves.plot([finished_run], pathlib.Path(out))


@pytest.mark.parametrize("suffix", ["png", "svg", "csv"])
def test_a_folder_in_a_files_place(finished_run: pathlib.Path, tmp_path: pathlib.Path, suffix: str) -> None:
    """It is named, and no other file is written."""
    (tmp_path / f"curves.{suffix}").mkdir()
    with pytest.raises(UsageError, match=rf"`out` is .*curves: .*curves\.{suffix} is a folder"):
        curves.plot([finished_run], tmp_path / "curves")
    assert [path.name for path in tmp_path.iterdir()] == [f"curves.{suffix}"]


def test_a_folder_that_takes_nothing(
    finished_run: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whichever file fails, earlier ones stay as they were and nothing is left beside them."""
    (tmp_path / "curves.png").write_text("kept")
    written = pathlib.Path.write_bytes

    def refuse(path: pathlib.Path, data: bytes) -> int:
        if path.suffix == ".svg":
            raise OSError(errno.EROFS, "Read-only file system")
        return written(path, data)

    monkeypatch.setattr(pathlib.Path, "write_bytes", refuse)
    with pytest.raises(UsageError, match=r"`out` is .*curves: .*svg cannot be written: Read-only file system"):
        curves.plot([finished_run], tmp_path / "curves")
    assert [path.name for path in tmp_path.iterdir()] == ["curves.png"]
    assert (tmp_path / "curves.png").read_text() == "kept"


def test_a_run_that_ended_early_does_not_cut_the_others() -> None:
    """It is named, drawn dashed as far as it goes, and in no median."""
    full = [_curve(list(range(0, 110, 10)), [0.1 * seed] * 11, seed=seed) for seed in range(4)]
    crashed = _curve([0, 10], [0.0, 0.0], seed=4, run="runs/crashed")
    runs = [*full, crashed]
    assert curves.ended_early(runs) == [crashed]
    text = curves.caption(runs)
    assert "(seca 4)" in text
    assert "Warning: runs/crashed ends at 10 of 100 env steps" in text
    assert "only 4 of 5 seeds" in text
    rows = [row for row in csv.DictReader(curves.table(runs).splitlines()) if row["metric"] == "win_rate"]
    assert [int(row["env_steps"]) for row in rows] == list(range(0, 110, 10))
    assert {row["runs"] for row in rows} == {"4"}
    assert {float(row["median"]) for row in rows} == {0.15}
    dashed = [line for line in curves.draw(runs).axes[0].lines if line.get_linestyle() == "--"]
    assert [np.asarray(line.get_xdata()).tolist() for line in dashed] == [[0, 10]]


@pytest.mark.parametrize(("last", "early"), [(80, True), (89, True), (90, False), (100, False)])
def test_one_interval_is_not_early(last: float, early: bool) -> None:
    long = _curve([0, 100], [0.0, 1.0])
    assert bool(curves.ended_early([long, _curve([0, last], [0.0, 1.0])])) is early


def test_a_run_that_did_what_it_was_asked_for_counts() -> None:
    """Left out, a short run that failed would make the median look better."""
    runs = [_curve([0, 50, 100], [0.0, 0.5, 1.0]), _curve([0, 50], [0.0, 0.0], budget=50)]
    assert curves.ended_early(runs) == []
    assert curves.band(curves.whole(runs), "win_rate").steps[-1] == 50
    assert any("mixed budgets" in warning for warning in curves.warnings(runs))


def test_a_run_without_an_evaluation_is_named_and_left_out(finished_run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    empty = pathlib.Path(shutil.copytree(finished_run, tmp_path / "empty"))
    (empty / "metrics.jsonl").write_text("")
    found, notes = curves.read_curves([empty, finished_run])
    assert [curve.run for curve in found] == [str(finished_run)]
    assert "empty: it has no evaluation yet" in curves.caption(found, notes)
    with pytest.raises(UsageError, match="no evaluation yet"):
        curves.read_curves([empty])


@pytest.mark.slow
def test_drawing_leaves_matplotlib_as_it_was(finished_run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Neither backend nor open figures nor settings of a program that draws beside us change."""
    code = (
        "import sys, pathlib, matplotlib; matplotlib.use('svg'); before = dict(matplotlib.rcParams)\n"
        "import seca.report.curves as curves; curves.plot([pathlib.Path(sys.argv[1])], pathlib.Path(sys.argv[2]))\n"
        "assert matplotlib.get_backend() == 'svg' and dict(matplotlib.rcParams) == before\n"
        "assert 'matplotlib.pyplot' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code, finished_run, tmp_path / "x"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "x.png").stat().st_size > 0


def test_a_run_that_did_its_episodes_is_whole(tmp_path: pathlib.Path) -> None:
    """Two iterations of one runner: two episodes asked for are all, of three it is short."""
    lines = [{"kind": "eval", "env_steps": n, "iteration": n // 9, "return_mean": 0.0} for n in (0, 9, 18)]
    for episodes, budget in ((2, 18), (3, 1_000), (0, 1_000)):
        base = from_preset("coma-mpe")
        config = dataclasses.replace(
            base, env="mpe/predator-prey", loop=dataclasses.replace(base.loop, steps=1_000, episodes=episodes)
        )
        path = tmp_path / str(episodes)
        path.mkdir()
        (path / "config.json").write_text(to_json(config))
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        assert curves.read_curve(path).budget == budget


@pytest.mark.parametrize(("lost", "budget"), [(0, 27), (1, 1_000)])
def test_episodes_that_were_lost_are_not_done(lost: int, budget: int, tmp_path: pathlib.Path) -> None:
    """Three iterations of one runner are three episodes, but for one that was lost; the last has no line."""
    base = from_preset("coma-mpe")
    loop = dataclasses.replace(base.loop, steps=1_000, episodes=3)
    (tmp_path / "config.json").write_text(to_json(dataclasses.replace(base, env="mpe/predator-prey", loop=loop)))
    lines: list[dict[str, object]] = [
        {"kind": "train", "env_steps": 9 * n, "iteration": n, "episodes": n - lost} for n in (1, 2)
    ]
    lines.append({"kind": "eval", "env_steps": 27, "iteration": 3, "return_mean": 0.0})
    (tmp_path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert curves.read_curve(tmp_path).budget == budget
