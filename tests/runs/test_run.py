"""How a run ends when its numbers break, or when it cannot start."""

import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
import pytest

import seca as package
from seca import cli
from seca.runs import folder as folders
from seca.train import checkpoint, loop
from seca.train.state import TrainState


def _breaking_at(iteration: int) -> Any:
    """Stands for `compile_iterate`: counts on without learning, and loses a number at one iteration."""

    def iterate(state: TrainState) -> tuple[TrainState, dict[str, float]]:
        following = dataclasses.replace(state, iteration=state.iteration + 1, env_steps=state.env_steps + 4)
        broken = int(following.iteration) == iteration
        return following, {"return_mean": 0.5, "critic_loss": float("nan") if broken else 1.0}

    return lambda *arguments: iterate


@pytest.mark.parametrize("interval", ["0", "60"])
def test_a_broken_number_ends_the_run_and_nothing_else(
    interval: str,
    small_run: list[str],
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(loop, "compile_iterate", _breaking_at(4))
    run = tmp_path / "run"
    command = ["train", *small_run, "--steps", "400", "--eval-interval", "8", "--checkpoint-interval", interval]
    with pytest.raises(SystemExit) as stopped:
        cli.main([*command, "--out", str(run)])
    complaint = capsys.readouterr().err.splitlines()
    assert stopped.value.code == 1
    assert len(complaint) == 1
    assert "`critic_loss` is not finite at env step 16 (iteration 4)" in complaint[0]
    lines = folders.read_metrics(folders.RunFolder(run))
    assert [line["iteration"] for line in lines if line["kind"] == "train"] == [1, 2, 3]
    assert int(package.load(run).state.iteration) == (3 if interval == "0" else 0)
    # The best policy was still in memory: it is not lost.
    assert int(package.load(run, "best").state.iteration) == 2


def test_a_run_killed_before_its_first_checkpoint_starts_again(
    small_run: list[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(loop, "compile_iterate", _breaking_at(1000))
    run = tmp_path / "run"
    with pytest.raises(SystemExit):
        cli.main(["train", *small_run, "--steps", "16", "--eval-interval", "8", "--out", str(run)])
    unbroken = folders.read_metrics(folders.RunFolder(run))
    for path in (run / "checkpoints").iterdir():
        path.rename(run / "checkpoints" / f".tmp-{path.name}")
    (run / "metrics.jsonl").write_text(json.dumps(unbroken[0]) + "\n")
    with pytest.raises(SystemExit) as stopped:
        cli.main(["resume", str(run)])
    assert stopped.value.code == 0
    assert "resuming" in capsys.readouterr().out
    again = folders.read_metrics(folders.RunFolder(run))
    assert [line["env_steps"] for line in again] == [line["env_steps"] for line in unbroken]
    assert len(checkpoint.find(run / "checkpoints", "latest")) == 1


def test_resuming_from_best_goes_on_from_there(
    small_run: list[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The way out when `latest` is damaged: the lines after the best checkpoint are dropped and made again."""

    def evaluate(state: TrainState) -> dict[str, np.ndarray]:
        won = np.full(8, int(state.iteration) == 4)
        return {"won": won, "return": won * 1.0, "length": np.ones(8, np.int32)}

    monkeypatch.setattr(loop, "compile_iterate", _breaking_at(1000))
    monkeypatch.setattr(loop, "make_evaluate", lambda *arguments: evaluate)
    run = tmp_path / "run"
    with pytest.raises(SystemExit):
        cli.main(["train", *small_run, "--steps", "40", "--eval-interval", "8", "--out", str(run)])
    before = folders.read_metrics(folders.RunFolder(run), "train")
    latest = checkpoint.find(run / "checkpoints", "latest")[0]
    (latest / "metadata.json").write_text("{}")
    capsys.readouterr()
    with pytest.raises(SystemExit) as stopped:
        cli.main(["resume", str(run), "--checkpoint", "best"])
    assert stopped.value.code == 0
    assert f"resuming {run} at env step 16" in capsys.readouterr().out
    again = folders.read_metrics(folders.RunFolder(run), "train")
    kept = [line["iteration"] <= 4 for line in before]
    assert [line["time_iteration"] == old["time_iteration"] for line, old in zip(again, before, strict=True)] == kept
    assert int(package.load(run).state.iteration) == 10
    assert int(package.load(run, "best").state.iteration) == 4
