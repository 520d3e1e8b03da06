"""A run against other opponents than its own, by name or from a run folder."""

import json
import pathlib

import pytest
from tiers import cases

from seca.battles import recording


@pytest.fixture(scope="module")
def battle_run(seca, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A run on smac/3m of one iteration, trained in a process of its own."""
    path = tmp_path_factory.mktemp("runs") / "battle"
    options = ["--env", "smac/3m", "--runners", 2, "--eval-episodes", 2, "--steps", 1, "--devices", 1]
    ended = seca("train", "coma-newarchi", *options, "--out", path)
    assert ended.returncode == 0, ended.stderr
    return path


@pytest.mark.slow
@pytest.mark.parametrize("by_folder", cases([False, True]))
def test_evaluate_against_another(battle_run: pathlib.Path, seca, by_folder: bool) -> None:
    enemy = str(battle_run) if by_folder else "nearest"
    command = ("evaluate", battle_run, "--episodes", 8, "--json")
    own, other = (seca(*command, *extra) for extra in ((), ("--opponent", enemy)))
    assert own.returncode == other.returncode == 0, other.stderr
    own, other = json.loads(own.stdout), json.loads(other.stdout)
    assert other["opponent"] == enemy and "opponent" not in own
    assert other["episode_return"] != own["episode_return"]


@pytest.mark.slow
@pytest.mark.every
def test_watch_against_a_run(battle_run: pathlib.Path, seca, tmp_path: pathlib.Path) -> None:
    """A script against a run, and a run against a script: the recording says who commanded the enemy."""
    play = ("watch", "--policy", "heuristic", "--env", "smac/3m", "--env-options", f"opponent={battle_run}")
    ended = seca(*play, "--out", tmp_path / "a.png")
    assert ended.returncode == 0, ended.stderr
    assert recording.load(tmp_path / "a.npz").about.env_options["opponent"] == str(battle_run)
    ended = seca("watch", "--policy", battle_run, "--env-options", "opponent=kite", "--out", tmp_path / "b.png")
    assert ended.returncode == 0, ended.stderr
    [path] = (battle_run / "recordings").glob("*-against-kite-*.npz")
    assert recording.load(path).about.env_options["opponent"] == "kite"


@pytest.mark.slow
def test_unknown_opponents(battle_run: pathlib.Path, seca) -> None:
    ended = seca("evaluate", battle_run, "--opponent", "nobody")
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert "`opponent` must be one of" in line and "'nobody'" in line


@pytest.mark.slow
def test_games_have_no_opponent(finished_run: pathlib.Path, seca) -> None:
    ended = seca("evaluate", finished_run, "--opponent", "kite")
    assert ended.returncode == 2 and "matrix/focus-fire has no enemy" in ended.stderr
