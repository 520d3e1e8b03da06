"""One run of a sweep, from wherever it is to its end."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import time

import pytest
from refusals import assert_one_line
from run_files import metric_lines
from sweeps import made

from seca.runs import absolute
from seca.sweeps import work
from seca.sweeps.folder import SweepFolder, opened, progress

TEXT = """methods = ["seca"]
envs = ["matrix/focus-fire"]
seeds = 2
[options]
steps = 160
runners = 4
eval-episodes = 8
eval-interval = 100
checkpoint-interval = 1
"""


def sweep(path: pathlib.Path, text: str = TEXT) -> SweepFolder:
    with opened(path, made.plan(text)) as (folder, _, _):
        return folder


@pytest.mark.every
@pytest.mark.slow
def test_wherever_a_run_stands_it_ends_the_same(tmp_path: pathlib.Path, seca) -> None:
    """Whole, and not made again; stopped before its first checkpoint; let go of in the middle by who started it."""
    text = TEXT.replace("steps = 160", "steps = 200").replace("seeds = 2", "seeds = 1")
    name = "focus-fire-seca-s0"
    whole, broken = (sweep(tmp_path / kind, text) for kind in ("whole", "broken"))
    ended = seca("sweep", "run", whole.path, name)
    assert ended.returncode == 0, ended.stderr
    plan = made.plan(text)
    assert progress(whole, plan, plan.cells[0]).state == "done"
    measured = absolute.read(whole.run(name))
    assert measured is not None and len(measured["episode_return"]) == 80
    before = whole.run(name).metrics.stat().st_mtime_ns
    assert seca("sweep", "run", whole.path, name).stdout == ""
    assert whole.run(name).metrics.stat().st_mtime_ns == before
    # Stopped before its first checkpoint.
    shutil.copytree(whole.run(name).path, broken.run(name).path)
    for left in ("checkpoints", "result.json", "absolute.json"):
        path = broken.run(name).path / left
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    broken.run(name).metrics.write_text("".join(whole.run(name).metrics.read_text().splitlines(keepends=True)[:3]))
    environment = os.environ | {work.TETHER: "1"}
    process = subprocess.Popen(
        work.command(broken, name), stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environment
    )
    waited = time.monotonic() + 120
    while not (broken.run(name).metrics.exists() and broken.run(name).metrics.read_text().count("\n") > 5):
        assert process.poll() is None and time.monotonic() < waited
        time.sleep(0.01)
    assert process.stdin is not None
    process.stdin.close()
    begun = time.monotonic()
    assert process.wait(20) == 128 + signal.SIGTERM
    assert process.stdout is not None
    process.stdout.close()
    assert time.monotonic() - begun < 10
    assert not broken.run(name).result.exists()
    cut = len(metric_lines(broken.run(name).path))
    assert seca("sweep", "run", broken.path, name).returncode == 0
    assert 5 < cut < len(metric_lines(whole.run(name).path))
    assert metric_lines(broken.run(name).path) == metric_lines(whole.run(name).path)
    for kind in ("result", "absolute"):
        one, other = (json.loads(getattr(folder.run(name), kind).read_text()) for folder in (whole, broken))
        assert one == other


def test_who_is_not_of_the_sweep_is_refused(tmp_path: pathlib.Path, seca) -> None:
    folder = sweep(tmp_path / "sweep")
    ended = seca("sweep", "run", folder.path, "focus-fire-seca-s7")
    assert ended.returncode == 2
    assert_one_line(ended.stderr, ["`run` is focus-fire-seca-s7", "seca sweep status"])


def test_another_run_in_its_folder_is_refused(tmp_path: pathlib.Path, seca) -> None:
    folder, other = sweep(tmp_path / "sweep"), made.plan(TEXT.replace("runners = 4", "runners = 8"))
    path = made.leave(folder, other.cells[0], made.evaluation(0))
    before = sorted(path.rglob("*"))
    ended = seca("sweep", "run", folder.path, "focus-fire-seca-s0")
    assert ended.returncode == 2
    assert_one_line(ended.stderr, ["a run with other settings is there", "loop.runners 8 -> 4"])
    assert set(before) <= set(path.rglob("*"))
