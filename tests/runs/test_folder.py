"""The run folder: names, who may write, and what is read back."""

import dataclasses
import os
import pathlib

import pytest

from seca.config import from_preset
from seca.envs.registry import make
from seca.errors import UsageError
from seca.runs import folder
from seca.runs.folder import RunFolder


@pytest.mark.slow
def test_two_processes_cannot_write_one_run(copied_run: pathlib.Path, seca) -> None:
    with folder.locked(folder.RunFolder(copied_run)):
        ended = seca("resume", copied_run)
    assert ended.returncode == 2
    assert ended.stderr == f"seca: `run` is {copied_run}: run folder in use by process {os.getpid()}\n"


CONFIG = dataclasses.replace(from_preset("qmix"), env="matrix/peak", seed=7)


def test_a_free_name_says_what_runs(tmp_path: pathlib.Path) -> None:
    """Preset, the last part of the environment's name, seed; the least number that is free, whatever is in its way."""
    assert folder.free_path(CONFIG) == pathlib.Path("runs/qmix-peak-seed7")
    (tmp_path / "qmix-peak-seed7").mkdir()
    (tmp_path / "qmix-peak-seed7-1").write_text("a file")
    (tmp_path / "qmix-peak-seed7-2").mkdir()
    (tmp_path / "qmix-peak-seed7-4").mkdir()
    assert folder.free_path(CONFIG, tmp_path) == tmp_path / "qmix-peak-seed7-3"
    mine = dataclasses.replace(CONFIG, env="smac:some/where/mine.toml")
    assert folder.free_path(mine, tmp_path) == tmp_path / "qmix-mine.toml-seed7"


def test_a_new_folder_is_held_while_it_is_made(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "deep" / "run"
    with folder.created(path, CONFIG) as made:
        assert made == RunFolder(path) and folder.read_config(made.config) == CONFIG
        assert made.lock.read_text() == str(os.getpid())
        with pytest.raises(UsageError, match=f"run folder in use by process {os.getpid()}"), folder.locked(made):
            pass
    with folder.locked(made):  # Free again.
        pass
    with pytest.raises(UsageError, match="it exists already; .* `seca resume"), folder.created(path, CONFIG):
        pass


def test_where_a_new_run_can_be_put(tmp_path: pathlib.Path) -> None:
    """Nowhere, in an empty folder, or where only a lock was left; never over what is there."""
    for name in ("empty", "locked", "full"):
        (tmp_path / name).mkdir()
    for name in ("locked/lock", "full/notes", "file"):
        (tmp_path / name).write_text("mine")
    for name in ("nothing", "empty", "locked"):
        folder.check_free(tmp_path / name)
    for name in ("full", "file"):
        with pytest.raises(UsageError, match=f"`out` is .*{name}: it exists already"):
            folder.check_free(tmp_path / name)
    with (
        pytest.raises(UsageError, match=r"`out` is .*file/run: .*cannot be"),
        folder.created(tmp_path / "file/run", CONFIG),
    ):
        pass


def test_what_is_no_run(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UsageError, match="`opponent` is .*gone: there is no such folder"):
        folder.existing(tmp_path / "gone", "opponent")
    with pytest.raises(UsageError, match=r"`run` is .*: it is not a run folder \(no config.json in it\)"):
        folder.existing(tmp_path)
    (tmp_path / "config.json").write_text("{}")
    assert folder.existing(tmp_path) == RunFolder(tmp_path)


def test_copies_of_scenario_files(tmp_path: pathlib.Path) -> None:
    """In the run where there is one; else, as in older runs, what it was made from; of named maps there is none."""
    run, original = RunFolder(tmp_path / "run"), tmp_path / "mine.toml"
    env = f"smac:{original}"
    assert run.scenario("smac/3m") is None and run.found_scenario("smac/3m") is None
    assert run.scenario(env) == tmp_path / "run" / "scenario" / "mine.toml"
    assert run.found_scenario(env) == original
    (tmp_path / "run" / "scenario").mkdir(parents=True)
    (tmp_path / "run" / "scenario" / "mine.toml").write_text("")
    assert run.found_scenario(env) == run.scenario(env)
    assert run.opponent == RunFolder(tmp_path / "run" / "opponent")


def test_sessions_are_added(tmp_path: pathlib.Path) -> None:
    """What earlier ones wrote stays; the environment is today's."""
    run, spec = RunFolder(tmp_path), make("matrix/peak").spec
    assert folder.read_environment(run) is None
    folder.add_session(run, dataclasses.replace(spec, version="matrix-0"), {"commit": "a"})
    folder.add_session(run, spec, {"commit": "b"})
    found = folder.read_environment(run)
    assert found is not None and found["sessions"] == [{"commit": "a"}, {"commit": "b"}]
    assert (found["env"]["id"], found["env"]["version"]) == ("matrix/peak", "matrix-1")


def test_lines_of_one_kind_without_one_that_was_cut(tmp_path: pathlib.Path) -> None:
    run = RunFolder(tmp_path)
    with pytest.raises(UsageError, match="it has no metrics.jsonl"):
        folder.read_metrics(run)
    run.metrics.write_text(
        '{"kind": "eval", "n": 1}\n{"kind": "train", "n": 2}\n{"kind": "eval", "n": 3}\n{"kind": "tr'
    )
    assert [line["n"] for line in folder.read_metrics(run)] == [1, 2, 3]
    assert [line["n"] for line in folder.read_metrics(run, "eval")] == [1, 3]
    run.metrics.write_text('{"kind": "eval"}\n{"n": 2}\n{"kind": "train"}\n')
    with pytest.raises(UsageError, match=r"line 2 of metrics.jsonl cannot be read \(no object with a `kind`\)"):
        folder.read_metrics(run, "train")


KNOWN = b'{"kind": "eval"}\n{"kind": "train"}\n'


@pytest.mark.parametrize(
    ("content", "good"),
    [
        (KNOWN, True),
        (KNOWN + b'{"kind": "train"}\n', True),  # Made after the checkpoint.
        (KNOWN[:-1] + b" ", False),
        (KNOWN[:-1], False),
        (KNOWN.replace(b"eval", b"ev\nl"), False),
        (KNOWN.replace(b"eval", b"ev"), False),
        (b"\n" + KNOWN[:-1], False),
        (b"", False),
        (None, False),
    ],
)
def test_metrics_begin_with_what_the_checkpoint_knows(
    content: bytes | None, good: bool, tmp_path: pathlib.Path
) -> None:
    """So many whole lines in so many bytes; what comes after is cut off, and nothing where all is new."""
    run = RunFolder(tmp_path)
    if content is not None:
        run.metrics.write_bytes(content)
    folder.check_metrics(run, 0, 0)
    if good:
        folder.check_metrics(run, 2, len(KNOWN))
        folder.cut_metrics(run, len(KNOWN))
        assert run.metrics.read_bytes() == KNOWN
    else:
        with pytest.raises(UsageError, match=f"does not hold the 2 lines \\({len(KNOWN)} bytes\\)"):
            folder.check_metrics(run, 2, len(KNOWN))


def test_metrics_that_are_not_there_can_be_cut_to_nothing(tmp_path: pathlib.Path) -> None:
    folder.cut_metrics(RunFolder(tmp_path), 0)
    assert (tmp_path / "metrics.jsonl").read_bytes() == b""
