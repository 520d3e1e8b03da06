"""Who plays a run's environment follows from its configuration, and none of its numbers do."""

import dataclasses
import pathlib

import pytest

from seca.config import MOST_WORKERS, from_preset
from seca.envs.hosted.processes import Process
from seca.errors import UsageError
from seca.host import machine
from seca.runs import workers


def test_hosting() -> None:
    config = dataclasses.replace(from_preset("seca"), env="pettingzoo:a.b", patience=3.0)
    found = workers.hosting(config)
    assert (found.lanes, found.workers, found.seconds) == (32, min(32, machine.cpu_cores()), 3.0)
    assert found.launch is Process
    assert workers.hosting(dataclasses.replace(config, workers="7")).workers == 7
    assert workers.hosting(dataclasses.replace(config, workers="99")).workers == 32  # One has an environment at least.
    assert workers.hosting(dataclasses.replace(config, env="starcraft:2s3z")).workers == 32  # Each is a game.


@pytest.mark.parametrize("value", ["0", "-1", "many", "1.5", str(MOST_WORKERS + 1), "9" * 400, "Ray", ""])
def test_what_is_no_number_of_workers(value: str) -> None:
    with pytest.raises(UsageError, match=rf"^`workers` is '{value}': choose a number from 1 to {MOST_WORKERS}, auto, "):
        dataclasses.replace(from_preset("seca"), workers=value)


@pytest.mark.every
@pytest.mark.slow
def test_a_worker_that_fails_leaves_a_run_to_go_on_with(tmp_path: pathlib.Path, seca) -> None:
    """It goes on once the environment is mended, and has lost an iteration at most."""
    once = tmp_path / "broken"
    options = ["length=2", "at=2", "then=break", f"once={once}"]
    once.touch()
    begun = seca(
        *("train", "ia2c", "--env", "python:hosted_games.count", "--env-options", *options, "--out", tmp_path / "run"),
        *("--runners", "2", "--eval-episodes", "2", "--steps", "40", "--workers", "1", "--devices", "1"),
        cwd=pathlib.Path(__file__).parents[1],
    )
    assert begun.returncode == 0, begun.stderr
    once.unlink()
    ended = seca("evaluate", tmp_path / "run", "--episodes", "3", cwd=pathlib.Path(__file__).parents[1])
    assert ended.returncode == 2 and ended.stderr.count("\n") == 1, ended.stderr
    assert "does not keep its contract: agent_0 shows NaN" in ended.stderr
    again = seca("evaluate", tmp_path / "run", "--episodes", "3", cwd=pathlib.Path(__file__).parents[1])
    assert again.returncode == 0 and "return" in again.stdout, again.stderr
