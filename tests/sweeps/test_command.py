"""`seca sweep` from its words to its folder, and every way in which it can be misused."""

import json
import pathlib

import pytest
from commands import printed
from refusals import assert_refused
from sweeps import made

from seca.sweeps import command, local
from seca.sweeps.folder import SweepFolder, opened, read_plan


@pytest.fixture
def file(desk: pathlib.Path) -> pathlib.Path:
    (desk / "small.toml").write_text(made.TEXT)
    return desk / "small.toml"


@pytest.fixture
def nothing_runs(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Nothing is trained; how many runs there would have been."""
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")  # Known without asking JAX in a process of its own.
    asked: list[int] = []
    monkeypatch.setattr(local, "run", lambda folder, plan, slots, shown: asked.append(len(plan.cells)) or 0)
    return asked


def test_a_file_its_folder_and_the_command_line(file: pathlib.Path, nothing_runs, capsys) -> None:
    out = printed(capsys, "sweep", "small.toml", "--jobs", 1)
    assert out == "sweep sweeps/small: 4 runs\n"
    assert (file.parent / "sweeps" / "small" / "sweep.toml").read_text() == made.TEXT
    printed(capsys, "sweep", "sweeps/small", "--jobs", 1)
    words = "sweep --methods seca qmix --envs matrix/peak --seeds 3 4 5 --options steps=2e3 eval-interval=500 --out x"
    printed(capsys, *words.split(), "--jobs", 1)
    assert nothing_runs == [4, 4, 6]
    assert [cell.name for cell in read_plan(SweepFolder(pathlib.Path("x"))).cells][:2] == [
        "peak-seca-s3",
        "peak-qmix-s3",
    ]
    # What the command line asked for can be asked for again.
    printed(capsys, "sweep", "x/sweep.toml", "--out", "y", "--jobs", 1)
    assert read_plan(SweepFolder(pathlib.Path("y"))).cells == read_plan(SweepFolder(pathlib.Path("x"))).cells


def test_status(tmp_path: pathlib.Path, capsys) -> None:
    with opened(tmp_path / "sweep", made.plan()) as (folder, plan, _):
        made.leave(folder, plan.cells[0], made.evaluation(1000), done=True)
    assert "1 of 4 runs done (3 waiting)" in printed(capsys, "sweep", "status", tmp_path / "sweep")
    found = json.loads(printed(capsys, "sweep", "status", tmp_path / "sweep", "--json"))
    assert found["runs"]["focus-fire-seca-s0"]["state"] == "done"
    assert len(found["runs"]) == 4 and found["title"] == "small"


def test_watching_ends_when_nothing_runs(tmp_path: pathlib.Path, capsys, monkeypatch: pytest.MonkeyPatch) -> None:
    with opened(tmp_path / "sweep", made.plan()) as (folder, plan, _):
        run = folder.run(plan.cells[0].name)
        made.leave(folder, plan.cells[0], made.evaluation(500))
    from seca.runs import folder as folders

    held = folders.locked(run)
    held.__enter__()
    monkeypatch.setattr(command.time, "sleep", lambda seconds: held.__exit__(None, None, None))
    assert printed(capsys, "sweep", "status", tmp_path / "sweep", "--watch").count("runs done") == 2


BAD = {
    "sweep": ["`methods` is empty", "seca sweep FILE.toml"],
    "sweep --methods seca": ["`envs` is empty"],
    "sweep --methods sec --envs matrix/peak": ["`methods` is 'sec'", "seca-fork"],
    "sweep --methods seca --envs matrix/peak --seeds 1 1": ["`seeds` holds 1 twice"],
    "sweep --methods seca --envs matrix/peak --seeds -1": ["seeds"],
    "sweep --methods seca --envs matrix/peak --options stepz=3": ["stepz"],
    "sweep absent.toml": ["absent.toml", "No such file"],
    "sweep pipe": ["not a regular file"],
    "sweep loop": ["loop", "symbolic links"],
    "sweep occupied": ["not the folder of a sweep"],
    "sweep small.toml --out occupied": ["`out` is occupied", "something else"],
    "sweep small.toml --out small.toml": ["`out` is small.toml", "something else"],
    "sweep small.toml --methods qmix": ["`methods` is given beside `sweep` small.toml"],
    "sweep small.toml --seeds 7": ["`seeds` is given beside `sweep` small.toml"],
    "sweep small.toml --jobs 99999": ["`jobs` is 99999"],
    "sweep small.toml --on cloud": ["`on` is 'cloud'", "local", "ray", "slurm"],
    "sweep small.toml --on local:x": ["`on` is 'local:x'"],
    "sweep small.toml --on slurm:partition": ["`on` is 'slurm:partition'", "NAME=VALUE"],
    "sweep small.toml --on slurm:nodes=3": ["SLURM's 'nodes'", "partition"],
    "sweep small.toml --on raylet": ["`on` is 'raylet'"],
    "sweep small.toml --changed maybe": ["changed", "keep"],
    "sweep status absent": ["`sweep` is absent", "no such folder"],
    "sweep status occupied": ["not the folder of a sweep"],
    "sweep status": ["sweep"],
    "sweep run occupied x": ["not the folder of a sweep"],
}


@pytest.mark.parametrize("words", BAD)
def test_bad_input(file: pathlib.Path, words: str, nothing_runs, capsys) -> None:
    assert_refused(words.split(), BAD[words], file.parent, capsys)
    assert nothing_runs == []


def test_too_many_jobs_leave_no_folder(file: pathlib.Path, nothing_runs, capsys) -> None:
    assert_refused(
        ["sweep", "small.toml", "--jobs", "5000"], ["`jobs` is 5000", "there is room for"], file.parent, capsys
    )
