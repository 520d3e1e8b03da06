"""Sweeps as arrays of SLURM, by submitit's executor on this machine: a job that is queued again goes on."""

import importlib.util
import json
import os
import pathlib
import signal
import sys
import time

import pytest
from run_files import metric_lines
from sweeps import made

from seca.errors import RunError, UsageError
from seca.sweeps import on_slurm
from seca.sweeps.folder import opened, progress
from seca.sweeps.local import PlainBoard

needs_submitit = pytest.mark.skipif(
    importlib.util.find_spec("submitit") is None, reason="needs submitit: pip install 'seca[slurm]'"
)

TEXT = """methods = ["seca"]
envs = ["matrix/focus-fire"]
seeds = 1
absolute = false
[options]
steps = 160
runners = 4
eval-episodes = 4
eval-interval = 80
checkpoint-interval = 0
"""
NAME = "focus-fire-seca-s0"


class Notes(PlainBoard):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


def parent(pid: int) -> int:
    """The process that started another."""
    fields = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line.split()[1] for line in fields if line.startswith("PPid:")))


def wait_for(found, seconds: float = 200.0) -> None:
    until = time.monotonic() + seconds
    while not found():
        assert time.monotonic() < until
        time.sleep(0.05)


@needs_submitit
@pytest.mark.slow
@pytest.mark.filterwarnings(
    "ignore:subprocess [0-9]+ is still running:ResourceWarning"
)  # Submitit lets go of its jobs.
@pytest.mark.skipif(sys.platform != "linux", reason="looks up processes in /proc")
def test_a_job_that_is_queued_again_goes_on(tmp_path: pathlib.Path, seca, monkeypatch: pytest.MonkeyPatch) -> None:
    """Told by SLURM's signal before a time limit; it ends as a run that was never broken, bit for bit."""
    monkeypatch.setenv("PYTHONPATH", str(pathlib.Path(__file__).parents[2]))
    shown = Notes()
    with opened(tmp_path / "whole", made.plan(TEXT)) as (whole, plan, _):
        pass
    with opened(tmp_path / "broken", made.plan(TEXT)) as (broken, _, _):
        assert on_slurm.run(broken, plan, {"timeout_min": "60"}, 0, shown, "local") == 0
    assert shown.notes[0].startswith("1 runs handed in as job ") and "seca sweep status" in shown.notes[0]
    home = broken.run(NAME)
    wait_for(lambda: home.metrics.exists() and 8 < home.metrics.read_text().count("\n"))
    run = int(home.lock.read_text())
    os.kill(parent(run), signal.SIGUSR2)
    wait_for(lambda: not pathlib.Path(f"/proc/{run}").exists(), 15)
    cut = len(metric_lines(home.path))
    assert any(home.checkpoints.glob("*")) and not home.result.exists()
    assert seca("sweep", "run", whole.path, NAME).returncode == 0
    wait_for(home.result.exists)
    assert cut < len(metric_lines(whole.run(NAME).path))
    assert len(json.loads(home.environment.read_text())["sessions"]) == 2
    assert metric_lines(home.path) == metric_lines(whole.run(NAME).path)
    wait_for(lambda: progress(broken, plan, plan.cells[0]).state == "done", 20)
    with opened(tmp_path / "broken", plan):
        assert on_slurm.run(broken, plan, {}, 0, shown, "local") == 0
    assert shown.notes[-1].startswith("1 of 1 runs done")


@pytest.mark.parametrize("told", ["", "x"])
def test_without_slurm_that_is_told(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, told: str) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if told else found("json"))
    with opened(tmp_path / "sweep", made.plan(TEXT)) as (folder, plan, _):
        expected = r"pip install 'seca\[slurm\]'" if told else "no SLURM on this machine"
        with pytest.raises(UsageError, match=expected) as refused:
            on_slurm.run(folder, plan, {}, 0, Notes())
        assert "\n" not in str(refused.value)
        assert not (folder.path / "slurm").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("partition=gpu,timeout_min=600", {"slurm_partition": "gpu", "timeout_min": 600}),
        ("gpus_per_node=0,mem_gb=8", {"gpus_per_node": 0, "mem_gb": 8}),
        ("setup=module load cuda,gres=gpu:1", {"slurm_setup": ["module load cuda"], "slurm_gres": "gpu:1"}),
    ],
)
def test_parameters(text: str, expected: dict[str, object]) -> None:
    assert on_slurm.parameters(on_slurm.parsed(text)) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("partition", "NAME=VALUE is needed in place of 'partition'"),
        ("partition=", "NAME=VALUE is needed"),
        ("=gpu", "NAME=VALUE is needed"),
        ("partition=gpu,", "NAME=VALUE is needed in place of ''"),
        ("qos=a,qos=b", "qos is given twice"),
        ("queue=gpu", "'queue': choose among partition, account"),
        ("timeout_min=soon", "timeout_min as 'soon': a whole number from 1"),
        ("timeout_min=0", "timeout_min as '0': a whole number from 1"),
        ("mem_gb=-1", "mem_gb as '-1'"),
        ("mem_gb=99999999", "mem_gb as '99999999'"),
        ("gpus_per_node=1.5", "gpus_per_node as '1.5': a whole number from 0"),
    ],
)
def test_what_is_no_parameter_is_refused(text: str, words: str) -> None:
    with pytest.raises(UsageError) as refused:
        on_slurm.parameters(on_slurm.parsed(text))
    assert words in str(refused.value) and "\n" not in str(refused.value)


def program(path: pathlib.Path, text: str) -> None:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)


@pytest.fixture
def cluster(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """Programs by the names of SLURM's: what is handed in is kept, and stays queued."""
    found = tmp_path / "programs"
    found.mkdir()
    program(found / "sbatch", f'cat "$1" >> {tmp_path}/handed-in.txt; echo Submitted batch job 77')
    program(found / "srun", "exit 1")
    program(found / "squeue", "echo 77_0; echo 77_1")
    monkeypatch.setenv("PATH", f"{found}:{os.environ['PATH']}")
    return found


@needs_submitit
def test_what_is_handed_in(tmp_path: pathlib.Path, cluster: pathlib.Path) -> None:
    """One array of what is left, and what is queued is not handed in again."""
    shown, plan = Notes(), made.plan()
    with opened(tmp_path / "sweep", plan) as (folder, _, _):
        made.leave(folder, plan.cells[0], made.evaluation(1000), done=True)
        assert on_slurm.run(folder, plan, {"partition": "long", "mem_gb": "4"}, 2, shown) == 0
        asked = (tmp_path / "handed-in.txt").read_text()
        for line in ("--array=0-2%2", "--partition=long", "--mem=4GB", "--time=240", "--cpus-per-task=1", "--requeue"):
            assert f"#SBATCH {line}\n" in asked
        assert "gpu" not in asked
        assert shown.notes[-1].startswith("3 runs handed in as job 77,") and shown.notes[-1].endswith("scancel 77")
        assert on_slurm.run(folder, plan, {}, 0, shown) == 0
        assert shown.notes[-2] == "2 runs are queued already"
        assert "1 runs handed in as job 77," in shown.notes[-1]


@needs_submitit
def test_what_slurm_refuses_is_told(tmp_path: pathlib.Path, cluster: pathlib.Path) -> None:
    program(cluster / "sbatch", "echo 'sbatch: error: invalid partition specified: nowhere' >&2; exit 1")
    with opened(tmp_path / "sweep", made.plan()) as (folder, plan, _):
        with pytest.raises(UsageError, match="^`on` is 'slurm': sbatch: error: invalid partition") as refused:
            on_slurm.run(folder, plan, {"partition": "nowhere"}, 0, Notes())
    assert "\n" not in str(refused.value)


def test_the_folder_is_where_jobs_look(tmp_path: pathlib.Path) -> None:
    """A job on a node that does not see it says so; nothing is made there."""
    before = signal.getsignal(signal.SIGTERM)
    try:
        with pytest.raises(RunError, match="does not see that folder"):
            on_slurm.Errand(str(tmp_path / "elsewhere"), NAME)()
    finally:
        signal.signal(signal.SIGTERM, before)
    assert not (tmp_path / "elsewhere").exists()
