"""A run that is killed, or stopped, and resumed ends equal to an unbroken one."""

import json
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import time

import jax
import numpy as np
import pytest
from conftest import Seca
from run_files import metric_lines
from tiers import cases

import seca as package
from seca.train import checkpoint

LINES = 30 + 1 + 4 + 1
"""30 iterations of 4 one-step episodes; evaluations of the untrained policy, at 4 multiples of 28, and at the end."""


@pytest.fixture(scope="module")
def train(small_run: list[str]) -> list[str]:
    """The command whose unbroken run all others must equal; evaluations fall between round numbers."""
    return ["train", *small_run, "--seed", "3", "--steps", "120", "--eval-interval", "28"]


def _start(run: pathlib.Path, *arguments: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "seca", *arguments]
    with (run.parent / f"{run.name}.log").open("a") as log:
        return subprocess.Popen(command, stdout=log, stderr=log, text=True)


def _log(run: pathlib.Path) -> str:
    return (run.parent / f"{run.name}.log").read_text()


def _wait_for_lines(process: subprocess.Popen[str], run: pathlib.Path, lines: int, timeout: float = 200.0) -> None:
    """Return when `metrics.jsonl` has that many lines."""
    deadline = time.monotonic() + timeout
    while time.monotonic() < deadline and process.poll() is None:
        if (run / "metrics.jsonl").exists() and (run / "metrics.jsonl").read_bytes().count(b"\n") >= lines:
            return
        time.sleep(0.002)
    raise AssertionError(f"never came to {lines} lines: {_log(run)}")


def _kill_after(run: pathlib.Path, lines: int, delay: float, *arguments: str) -> None:
    """Start a command and kill it `delay` seconds after line number `lines` appeared."""
    process = _start(run, *arguments)
    _wait_for_lines(process, run, lines)
    time.sleep(delay)
    process.kill()
    assert process.wait() == -signal.SIGKILL, _log(run)


def _assert_same_end(run: pathlib.Path, unbroken: pathlib.Path) -> None:
    """Every metric line and both checkpoints agree, bit for bit."""
    assert metric_lines(run) == metric_lines(unbroken)
    for kind in ("latest", "best"):
        ours, theirs = package.load(run, kind).state, package.load(unbroken, kind).state
        for mine, other in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
            np.testing.assert_array_equal(np.asarray(mine), np.asarray(other))
        assert len(list((run / "checkpoints").glob(f"{kind}-*"))) == 1
    assert not list((run / "checkpoints").glob(".tmp-*"))


@pytest.fixture(scope="module")
def unbroken(train: list[str], seca, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """The run all others must equal."""
    run = tmp_path_factory.mktemp("unbroken") / "run"
    ended = seca(*train, "--out", run)
    assert ended.returncode == 0, ended.stderr
    assert len(metric_lines(run)) == LINES
    return run


@pytest.mark.parametrize(("interval", "kills"), cases([("0", 2), ("0", 3), ("60", 2)], ("0", 2), slow=True))
def test_kill_at_random_points(
    interval: str, kills: int, train: list[str], unbroken: pathlib.Path, seca, tmp_path: pathlib.Path
) -> None:
    """With interval 0 most kills hit a checkpoint being written; with 60 nearly everything is played again."""
    rng = random.Random(f"kill {interval}")
    run = tmp_path / "run"
    command = [*train, "--checkpoint-interval", interval, "--out", str(run)]
    points = sorted(rng.sample(range(2, LINES - 4), kills)) if interval == "0" else [1, rng.randrange(2, LINES - 4)]
    for point in points:
        _kill_after(run, point, rng.uniform(0, 0.15), *command)
        command = ["resume", str(run)]
    ended = seca("resume", run)
    assert ended.returncode == 0, ended.stderr
    assert "trained" in ended.stdout
    _assert_same_end(run, unbroken)
    sessions = json.loads((run / "environment.json").read_text())["sessions"]
    assert len(sessions) == len(points) + 1
    if interval == "0":
        assert sessions[-1]["env_steps"] > 0, "no kill point left a checkpoint to go on from"


@pytest.mark.every
def test_kill_in_battles(seca, tmp_path: pathlib.Path) -> None:
    """The same on smac/3m, killed amid training and again right after it went on, while its metrics are being cut."""
    train = ["train", "seca", "--env", "smac/3m", "--runners", "4", "--eval-episodes", "4", "--devices", "1"]
    train += ["--steps", "1200", "--eval-interval", "400", "--checkpoint-interval", "0"]
    whole, run = tmp_path / "whole", tmp_path / "run"
    ended = seca(*train, "--out", whole)
    assert ended.returncode == 0, ended.stderr
    assert len(metric_lines(whole)) > 10
    _kill_after(run, 6, 0.05, *train, "--out", str(run))
    process = _start(run, "resume", str(run))
    while "resuming" not in _log(run) and process.poll() is None:
        time.sleep(0.002)
    process.kill()
    assert process.wait() == -signal.SIGKILL, _log(run)
    ended = seca("resume", run)
    assert ended.returncode == 0, ended.stderr
    _assert_same_end(run, whole)


@pytest.mark.parametrize(
    ("number", "code"),
    cases([(signal.SIGINT, 130), (signal.SIGTERM, 143)], signal.SIGTERM, slow=True),
    ids=["ctrl-c", "sigterm"],
)
def test_stop_and_resume(
    number: int, code: int, train: list[str], unbroken: pathlib.Path, seca, tmp_path: pathlib.Path
) -> None:
    run = tmp_path / "run"
    process = _start(run, *train, "--out", str(run))
    _wait_for_lines(process, run, 10)
    asked = time.monotonic()
    process.send_signal(number)
    assert process.wait(timeout=10) == code, _log(run)
    assert time.monotonic() - asked < 10
    assert _log(run).splitlines()[-1] == f"stopped; go on with: seca resume {run}"
    saved = package.load(run).state
    assert int(saved.env_steps) == metric_lines(run)[-1]["env_steps"], "the last line is in the checkpoint"
    if number == signal.SIGINT:  # The two differ in nothing that comes after.
        ended = seca("resume", run)
        assert ended.returncode == 0, ended.stderr
        _assert_same_end(run, unbroken)


@pytest.mark.every
def test_another_device_count_resumes_with_a_warning(copied_run: pathlib.Path, seca) -> None:
    config = json.loads((copied_run / "config.json").read_text())
    config["loop"]["steps"] += 8
    config["devices"] = (
        1 if len(json.loads((copied_run / "environment.json").read_text())["sessions"][0]["devices"]) > 1 else 2
    )
    (copied_run / "config.json").write_text(json.dumps(config))
    ended = seca("resume", copied_run)
    assert ended.returncode == 0, ended.stderr
    warnings = [line for line in ended.stdout.splitlines() if line.startswith("warning")]
    assert len(warnings) == 1
    assert "devices" in warnings[0]
    assert metric_lines(copied_run)[-1]["env_steps"] == config["loop"]["steps"]


@pytest.mark.every
def test_resuming_a_finished_run_changes_no_line(copied_run: pathlib.Path, seca) -> None:
    before = (copied_run / "metrics.jsonl").read_bytes()
    ended = seca("resume", copied_run)
    assert ended.returncode == 0, ended.stderr
    assert (copied_run / "metrics.jsonl").read_bytes() == before


@pytest.mark.slow
def test_snapshots_after_the_checkpoint_gone_on_from_are_dropped(copied_run: pathlib.Path, seca: Seca) -> None:
    """A kill between a snapshot and `latest` leaves one that comes again; resuming from `best` drops later ones."""
    folder = copied_run / "checkpoints"
    newest = checkpoint.find(folder, "latest")[0]
    done = checkpoint.read_metadata(newest)["env_steps"]
    for env_steps in (0, done, done + 1, 2_000_000):
        shutil.copytree(newest, folder / f"snapshot-{env_steps:09d}")
    ended = seca("resume", copied_run)
    assert ended.returncode == 0, ended.stderr
    assert list(checkpoint.snapshots(folder)) == [0, done]
