"""A disk that takes nothing: one line, and what was there stays."""

import errno
import os
import pathlib
import resource
import subprocess
import sys

import jax.numpy as jnp
import numpy as np
import pytest
from run_files import metric_lines

from seca import files
from seca.errors import RunError
from seca.runs import recorder
from seca.train import checkpoint


def test_the_new_content_takes_the_place_of_the_old(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "new" / "file.txt"
    files.write(path, "one")
    files.write(path, "two")
    assert path.read_text() == "two"
    assert [entry.name for entry in path.parent.iterdir()] == ["file.txt"]


def test_two_writers_of_one_file_do_not_meet(tmp_path: pathlib.Path) -> None:
    """And the longest name a file can have is no problem."""
    path = tmp_path / ("x" * 255)
    with files.replacing(path) as ours, files.replacing(path) as theirs:
        assert ours != theirs and ours.parent == theirs.parent == tmp_path
        theirs.write_text("theirs")
        ours.write_text("ours")
    assert path.read_text() == "ours"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_gone(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    with pytest.raises(RunError, match=r"out\.txt cannot be written: .*; how much is free"):
        files.write(pathlib.Path("out.txt"), "text")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS])
def test_what_cannot_be_written_is_told_and_the_old_stays(
    code: int, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "file.txt"
    files.write(path, "old")
    written = pathlib.Path.write_text

    def refuse(where: pathlib.Path, text: str, **options: str) -> int:
        written(where, text[:2], **options)  # A disk takes what it has room for.
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(pathlib.Path, "write_text", refuse)
    with pytest.raises(RunError) as refused:
        files.write(path, "new")
    words = str(refused.value)
    assert words.startswith(f"{path} cannot be written: {os.strerror(code)}; ")
    assert words.endswith(f" MiB are free in {tmp_path}")
    assert path.read_text() == "old"
    assert [entry.name for entry in tmp_path.iterdir()] == ["file.txt"]


def test_other_errors_pass_and_leave_nothing(tmp_path: pathlib.Path) -> None:
    with pytest.raises(ZeroDivisionError), files.replacing(tmp_path / "file.txt") as temporary:
        temporary.write_text("half")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_a_process_about_to_end_takes_away_what_is_unfinished(tmp_path: pathlib.Path) -> None:
    with pytest.raises(RunError), files.replacing(tmp_path / "file.txt") as temporary:
        temporary.write_text("half")
        files.discard_unfinished()
        assert list(tmp_path.iterdir()) == []
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_without_room_leaves_the_one_before(
    tmp_path: pathlib.Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The system's own limit on the size of a file stands for a full disk; nothing but the error is printed."""
    folder = tmp_path / "checkpoints"
    checkpoint.save(folder, "latest", {"a": jnp.arange(4.0)}, {})
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    large = {"a": jnp.asarray(np.random.default_rng(0).normal(size=(300, 300)), jnp.float32)}
    resource.setrlimit(resource.RLIMIT_FSIZE, (64 * 1024, before[1]))
    try:
        with pytest.raises(RunError, match=r"checkpoints cannot be written: File too large; [0-9,.]+ MiB are free"):
            checkpoint.save(folder, "latest", large, {})
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert capfd.readouterr() == ("", "")
    [left] = folder.iterdir()
    assert left.name == "latest-000001"
    checkpoint.read_metadata(left)
    checkpoint.save(folder, "latest", large, {})
    assert [path.name for path in folder.iterdir()] == ["latest-000002"]


def test_a_defect_of_ours_is_not_taken_for_a_full_disk(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*args: object, **options: object) -> None:
        raise ValueError("something else")

    monkeypatch.setattr(checkpoint.ocp.Checkpointer, "save", fail)
    with pytest.raises(ValueError, match="something else"):
        checkpoint.save(tmp_path / "checkpoints", "latest", {"a": jnp.arange(4.0)}, {})
    assert list((tmp_path / "checkpoints").iterdir()) == []


def _limited(size: int, *arguments: object) -> subprocess.CompletedProcess[str]:
    """`seca` in a process whose files may not grow beyond `size` bytes."""
    code = (
        "import resource, sys; limit = int(sys.argv.pop(1)); "
        "resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit)); from seca.__main__ import main; main()"
    )
    command = [sys.executable, "-c", code, str(size), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=200)


@pytest.mark.every
def test_a_run_without_room_goes_on_when_there_is_some(
    seca, small_run: list[str], finished_run: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """Full when the metrics have grown, full still when it is resumed, and then equal to an unbroken run."""
    path = tmp_path / "run"
    largest = max(file.stat().st_size for file in (finished_run / "checkpoints").rglob("*") if file.is_file())
    steps = ["--steps", "160", "--eval-interval", "40", "--checkpoint-interval", "0"]
    ended = _limited(largest // 2, "train", *small_run, *steps, "--out", path)
    assert ended.returncode == 1, ended.stderr
    assert ended.stderr.startswith(f"seca: {path / 'checkpoints'} cannot be written: File too large; ")
    assert len(ended.stderr.splitlines()) == 1
    ended = _limited(largest // 2, "resume", path)
    assert (ended.returncode, len(ended.stderr.splitlines())) == (1, 1), ended.stderr
    ended = seca("resume", path)
    assert ended.returncode == 0, ended.stderr
    assert metric_lines(path) == metric_lines(finished_run)


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_metrics_that_the_disk_does_not_take(tmp_path: pathlib.Path) -> None:
    from seca.config import RunConfig
    from seca.envs import registry
    from seca.host.display import PlainDisplay
    from seca.host.signals import StopRequest
    from seca.runs.folder import RunFolder

    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    env, display = registry.make("matrix/focus-fire"), PlainDisplay(10)
    made = recorder.Recorder(RunFolder(tmp_path), RunConfig(), env, recorder.Position(), display, [], StopRequest())
    with pytest.raises(RunError, match=r"metrics.jsonl cannot be written: No space left on device"), made:
        made.metrics({"kind": "train", "env_steps": 1, "return_mean": 0.0})


@pytest.mark.slow
@pytest.mark.parametrize(("stream", "command", "code"), [(2, "frobnicate", 2), (1, "algos", 0), (1, "--help", 0)])
def test_a_stream_that_is_closed(stream: int, command: str, code: int) -> None:
    shell = f'exec "$0" -m seca {command} {stream}>&-'
    ended = subprocess.run(["sh", "-c", shell, sys.executable], capture_output=True, text=True)
    assert (ended.returncode, ended.stdout, ended.stderr) == (code, "", "")


@pytest.mark.skipif(not pathlib.Path("/dev/full").exists(), reason="the system has no device that is always full")
def test_output_that_goes_nowhere() -> None:
    with open("/dev/full", "w") as full:
        ended = subprocess.run([sys.executable, "-m", "seca", "--help"], stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (1, "seca: the output: No space left on device\n")
