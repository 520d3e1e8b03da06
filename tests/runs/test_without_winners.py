"""An environment that knows no winners is trained, evaluated, resumed and drawn by its returns."""

import csv
import json
import pathlib
import shutil

import pytest
from run_files import metric_lines

PLAIN = """
import dataclasses
from seca.envs import matrix
def make():
    game = matrix.make("focus-fire")
    def without(shown):
        return shown[0], dataclasses.replace(shown[1], info={})
    return dataclasses.replace(
        game,
        reset=lambda keys: without(game.reset(keys)),
        step=lambda state, actions: without(game.step(state, actions)),
    )
"""
"""The game of `finished_run`, told without its winners: all else must be the same."""


@pytest.fixture(scope="module")
def plain_run(seca, small_run: list[str], tmp_path_factory: pytest.TempPathFactory) -> tuple[pathlib.Path, str]:
    """A finished run of it, in the folder where its module is, and what was printed."""
    path = tmp_path_factory.mktemp("plain") / "run"
    (path.parent / "plain_game.py").write_text(PLAIN)
    options = [*small_run, "--steps", 160, "--eval-interval", 40, "--out", path, "--env", "python:plain_game.make"]
    ended = seca("train", *options, cwd=path.parent)
    assert ended.returncode == 0, ended.stderr
    return path, ended.stdout


def _of_wins(name: str) -> bool:
    return "win" in name or "won" in name


@pytest.mark.slow
def test_all_but_the_winners_is_the_same(finished_run: pathlib.Path, plain_run: tuple[pathlib.Path, str]) -> None:
    run, printed = plain_run
    with_winners = metric_lines(finished_run)
    assert any(_of_wins(name) for line in with_winners for name in line)
    assert metric_lines(run) == [{k: v for k, v in line.items() if not _of_wins(k)} for line in with_winners]
    assert not any(_of_wins(name) for name in json.loads((run / "result.json").read_text())["trained"])
    assert "| test return " in printed and "greedy return over" in printed and "win rate" not in printed


@pytest.mark.every
@pytest.mark.slow
def test_it_is_evaluated_and_plotted(plain_run: tuple[pathlib.Path, str], seca) -> None:
    run, _ = plain_run
    ended = seca("evaluate", run, "--episodes", 8, "--checkpoint", "best", cwd=run.parent)
    assert ended.returncode == 0, ended.stderr
    assert "8 greedy episodes, seed 0: return " in ended.stdout and "win" not in ended.stdout
    ended = seca("plot", run, "--out", run.parent / "curves", cwd=run.parent)
    assert ended.returncode == 0, ended.stderr
    with (run.parent / "curves.csv").open() as file:
        assert {row["metric"] for row in csv.DictReader(file)} == {"return_mean"}


@pytest.mark.every
def test_it_goes_on_from_best(plain_run: tuple[pathlib.Path, str], seca, tmp_path: pathlib.Path) -> None:
    run, _ = plain_run
    copy = pathlib.Path(shutil.copytree(run, tmp_path / "copy"))
    ended = seca("resume", copy, "--checkpoint", "best", cwd=run.parent)
    assert ended.returncode == 0, ended.stderr
    assert metric_lines(copy) == metric_lines(run)
