"""How a run ends when its numbers break, when it cannot start, and what is looked at before it does."""

import dataclasses
import json
import pathlib
from typing import Any

import jax
import numpy as np
import pytest

import seca as package
from seca import cli
from seca.config import RunConfig, from_preset
from seca.errors import UsageError
from seca.host import machine
from seca.host.display import PlainDisplay
from seca.learning.options import Adaptation
from seca.runs import folder as folders
from seca.runs import run as runs
from seca.train import checkpoint, loop
from seca.train.state import TrainState


def _breaking_at(iteration: int) -> Any:
    """Stands for `compile_iterate`: counts on without learning, and loses a number at one iteration."""

    def iterate(state: TrainState) -> tuple[TrainState, dict[str, float]]:
        following = dataclasses.replace(state, iteration=state.iteration + 1, env_steps=state.env_steps + 4)
        broken = int(following.iteration) == iteration
        return following, {"return_mean": 0.5, "critic_loss": float("nan") if broken else 1.0}

    return lambda *arguments: iterate


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


def config(preset: str, runners: int, devices: int = 1, **options: Any) -> RunConfig:
    """A preset on a matrix game."""
    made = from_preset(preset)
    algorithm = dataclasses.replace(made.algorithm, **options)
    loop = dataclasses.replace(made.loop, runners=runners)
    return dataclasses.replace(made, env="matrix/peak", algorithm=algorithm, loop=loop, devices=devices)


@pytest.mark.parametrize(("env", "share", "told"), [("3m", "type", 1), ("2s3z", "type", 0), ("3m", "none", 0)])
def test_types_of_which_there_is_one_are_told(
    tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str], env: str, share: Any, told: int
) -> None:
    """A map of marines only is a good one, but who asked for a network of each type may have hoped for more."""
    asked = dataclasses.replace(config("ippo", 2), env=f"smac/{env}", adaptation=Adaptation(share=share))
    runs._introduce(runs.prepare(asked), folders.RunFolder(tmp_path), PlainDisplay(8))
    assert [line for line in capsys.readouterr().out.splitlines() if "`share`" in line] == told * [
        f"`share` is type, but smac/{env} tells of one type only: one network acts, as with all"
    ]


@pytest.mark.parametrize(
    ("runners", "devices", "options", "words"),
    [
        (
            8,
            1,
            {"buffer_episodes": 7, "batch_episodes": 4},
            "`runners` is 8: .* replay buffer, which holds 7 on matrix/peak",
        ),
        (8, 2, {"batch_episodes": 5}, "`batch_episodes` is 5 and `devices` is 2: .* must divide 5"),
        (8, 2, {"batch_episodes": 6, "buffer_episodes": 8}, None),
    ],
)
def test_what_is_replayed_fits(runners: int, devices: int, options: dict[str, int], words: str | None) -> None:
    """The episodes of an iteration into the buffer, those drawn from it onto the devices."""
    if words is None:
        assert len(runs.prepare(config("qmix", runners, devices, **options)).devices) == devices
        return
    with pytest.raises(UsageError, match=words):
        runs.prepare(config("qmix", runners, devices, **options))


def test_minibatches_are_of_new_episodes() -> None:
    """And not of the latest, of which every update would have the same. Devices divide what an update has."""
    asked = config("riit-reference", 8, 1)
    shared = dataclasses.replace(asked, loop=dataclasses.replace(asked.loop, minibatches=2))
    with pytest.raises(UsageError, match="`minibatches` is 2 but updates of riit-reference are on .*latest_episodes"):
        runs.prepare(shared)
    asked = config("seca", 8, 0)
    for minibatches, devices in ((1, 2), (4, 2), (8, 1)):
        loop = dataclasses.replace(asked.loop, minibatches=minibatches)
        assert len(runs.prepare(dataclasses.replace(asked, loop=loop)).devices) == devices


@pytest.mark.parametrize(("preset", "devices"), [("seca", 1), ("qmix", 1), ("qmix", 2)])
def test_memory_is_looked_at_before_anything_is_made(
    preset: str, devices: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Host devices share it, and each holds the whole buffer: with one byte too few a run is refused, and says why."""
    asked = config(preset, 8, devices)
    prepared = runs.prepare(asked)
    algorithm = prepared.built.algorithm
    assert prepared.needed == algorithm.memory(8) + devices * algorithm.buffer_bytes
    monkeypatch.setattr(machine, "free_memory", lambda device: prepared.needed)
    assert runs.prepare(asked).free == prepared.needed
    monkeypatch.setattr(machine, "free_memory", lambda device: prepared.needed - 1)
    with pytest.raises(UsageError, match="`runners` is 8: training .* choose fewer runners") as refused:
        runs.prepare(asked)
    assert ("`buffer_gib` below" in str(refused.value)) == (preset == "qmix")
    assert ("fewer `devices` than 2" in str(refused.value)) == (devices == 2)
    least = algorithm.memory(devices) + devices * algorithm.buffer_bytes
    monkeypatch.setattr(machine, "free_memory", lambda device: least - 1)
    with pytest.raises(UsageError, match="`algorithm` is too large: .* would stay with a single runner"):
        runs.prepare(asked)


def test_what_may_change_a_number_is_told(tmp_path: pathlib.Path) -> None:
    """By name, before and after, in one line; what the last session wrote counts."""
    folder, prepared = folders.RunFolder(tmp_path), runs.prepare(config("seca", 4))
    assert runs.session_changes(folder, prepared) == []
    spec, now = prepared.built.env.spec, machine.session(jax.devices()[:1])
    folders.add_session(folder, spec, now | {"seca": "0"})
    folders.add_session(folder, spec, now)
    assert runs.session_changes(folder, prepared) == []
    folders.add_session(folder, spec, now | {"cores": 99, "seca": "0", "started": "earlier"})
    [line] = runs.session_changes(folder, prepared)
    assert line == (
        "warning: not bit for bit the same as without the break: "
        f'seca "0" -> "{package.__version__}"; cores 99 -> {now["cores"]}'
    )


def test_the_end_says_how_many_episodes_were_played(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the trained policy's three were lost."""
    returns = iter([125, 128])

    def evaluate(state: TrainState, key: Any) -> dict[str, np.ndarray]:
        played = next(returns)
        return {"return": np.ones(played), "length": np.ones(played, np.int32), "lost": np.array(128 - played)}

    monkeypatch.setattr(runs, "make_evaluate", lambda *arguments: evaluate)
    prepared = runs.prepare(config("iql", 8, batch_episodes=8, buffer_episodes=8))
    folder = folders.RunFolder(tmp_path)
    runs.report_result(prepared, folder, runs.untrained(prepared), PlainDisplay(1))
    assert capsys.readouterr().out.splitlines() == [
        "greedy return over 125 and 128 episodes:",
        "  trained    return 1.00, length 1.0, 3 more episodes lost",
        "  untrained  return 1.00, length 1.0",
    ]
    result = json.loads(folder.result.read_text())
    told = [(result[who]["episodes"], result[who]["episodes_lost"]) for who in ("trained", "untrained")]
    assert told == [(125, 3), (128, 0)]
