"""What a sweep leaves on disk, how far its runs are, and a file that changed since it began."""

import fcntl
import json
import pathlib

import pytest
from sweeps import made

from seca.errors import UsageError
from seca.runs import folder as folders
from seca.sweeps import folder as sweeps
from seca.sweeps.folder import SweepFolder, missing, note_failure, opened, progress, read_plan

PLAN = made.plan()


@pytest.fixture
def folder(tmp_path: pathlib.Path) -> SweepFolder:
    with opened(tmp_path / "sweep", PLAN) as (found, _, told):
        assert told == []
    return found


def test_a_plan_is_read_back(folder: SweepFolder) -> None:
    assert read_plan(folder) == PLAN
    assert sweeps.existing(folder.path) == folder
    assert folder.toml.read_text() == made.TEXT


def test_how_far_a_run_is(folder: SweepFolder) -> None:
    first, second, third, fourth = PLAN.cells
    assert progress(folder, PLAN, first).state == "waiting"
    made.leave(folder, first, made.evaluation(0, 0.0), made.evaluation(512))
    stopped = progress(folder, PLAN, first)
    assert (stopped.state, stopped.env_steps, stopped.seconds) == ("stopped", 512, 512 / 50)
    assert stopped.evaluated is not None and stopped.evaluated["win_rate"] == 0.5
    with folders.locked(folder.run(first.name)):
        assert progress(folder, PLAN, first).state == "running"
    made.leave(folder, second, made.evaluation(1000), done=True)
    done = progress(folder, PLAN, second)
    assert (done.state, done.evaluated) == ("done", {"win_rate": 0.75, "return_mean": 2.0})
    folder.run(second.name).absolute.unlink()
    assert progress(folder, PLAN, second).state == "stopped"
    folder.log(third.name).parent.mkdir()
    folder.log(third.name).write_text("seca 0.1\nseca: out of memory\n\n")
    assert sweeps.note_failure(folder, third.name, 1) == "exit code 1: seca: out of memory"
    assert progress(folder, PLAN, third).failure == "exit code 1: seca: out of memory"
    assert progress(folder, PLAN, third).state == "failed"
    assert sweeps.note_failure(folder, fourth.name, -9) == "killed by signal 9: it printed nothing"


def test_lines_cut_by_a_kill_are_passed_over(folder: SweepFolder) -> None:
    path = made.leave(folder, PLAN.cells[0], made.evaluation(512))
    with (path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "eval", "env_st')
    assert progress(folder, PLAN, PLAN.cells[0]).env_steps == 512


def test_the_end_of_a_long_file_is_enough(folder: SweepFolder) -> None:
    """Longer than what is read of it, so that it begins in the middle of a line."""
    lines = [made.evaluation(step) for step in range(2_000)]
    made.leave(folder, PLAN.cells[0], *lines)
    assert folder.run(PLAN.cells[0].name).metrics.stat().st_size > 2 * sweeps._TAIL
    assert progress(folder, PLAN, PLAN.cells[0]).env_steps == 1_999


def test_to_look_keeps_nobody_out(folder: SweepFolder) -> None:
    """Who looks whether a run is in use holds its lock for a moment; who wants it then gets it all the same."""
    path = made.leave(folder, PLAN.cells[0])
    run = folders.RunFolder(path)
    run.lock.touch()
    with run.lock.open("rb") as looking:
        fcntl.flock(looking, fcntl.LOCK_SH)
        with pytest.raises(UsageError, match="in use"), folders.locked(run):
            pass
    with folders.locked(run):
        pass


def test_one_process_runs_a_sweep(folder: SweepFolder) -> None:
    with opened(folder.path, PLAN), pytest.raises(UsageError, match="another process runs it"):
        with opened(folder.path, PLAN):
            pass


def test_other_folders_are_refused(tmp_path: pathlib.Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text("{}")
    (tmp_path / "file").write_text("x")
    for name in ("run", "file"):
        with pytest.raises(UsageError, match="something else"), opened(tmp_path / name, PLAN):
            pass
        with pytest.raises(UsageError, match="sweep"):
            sweeps.existing(tmp_path / name)
    with pytest.raises(UsageError, match="no such folder"):
        sweeps.existing(tmp_path / "absent")


@pytest.mark.parametrize(
    "damaged",
    ["", "{", "[]", '{"format": 2}', '{"format": 1}', '{"format": 1, "title": "x", "absolute": true, "runs": [1]}'],
)
def test_a_damaged_plan_is_refused_in_one_line(folder: SweepFolder, damaged: str) -> None:
    folder.plan.write_text(damaged)
    with pytest.raises(UsageError, match="sweep.json") as refused:
        read_plan(folder)
    assert "\n" not in str(refused.value)


def test_a_name_that_leads_elsewhere_is_refused(folder: SweepFolder) -> None:
    data = json.loads(folder.plan.read_text())
    data["runs"][0]["name"] = "../elsewhere"
    folder.plan.write_text(json.dumps(data))
    with pytest.raises(UsageError, match="no folder name"):
        read_plan(folder)


LONGER = made.plan(made.TEXT.replace("steps = 1000", "steps = 1500"))
MORE = made.plan(made.TEXT.replace("seeds = 2", "seeds = 3"))
FEWER = made.plan(made.TEXT.replace("seeds = 2", "seeds = [1]"))


def test_runs_can_be_added(folder: SweepFolder) -> None:
    made.leave(folder, PLAN.cells[0], done=True)
    with opened(folder.path, MORE) as (_, plan, told):
        assert plan == MORE and told == ["2 runs more than before"]
    assert read_plan(folder) == MORE


def test_what_has_not_begun_may_change(folder: SweepFolder) -> None:
    with opened(folder.path, LONGER) as (_, plan, told):
        assert (plan, told) == (LONGER, ["4 runs that had not begun have other settings now"])
    with opened(folder.path, made.plan(made.TEXT.replace("seeds = 2", "seeds = [1]"))) as (_, _, told):
        assert told[0] == "2 runs less, which had not begun"


def test_what_a_sweep_lacks_is_told(folder: SweepFolder) -> None:
    """However it is shown: runs that have not begun, those that failed, and methods of which there is none."""
    for cell in PLAN.cells:
        if cell.config.preset == "seca" and cell.config.seed == 0:
            made.leave(folder, cell, made.evaluation(0))
    note_failure(folder, "focus-fire-seca-s1", 3)
    [words] = missing(folder.path)
    assert words == f"3 of 4 runs of {folder.path} are not there, 1 failed; there is none of qmix"
    for cell in PLAN.cells:
        made.leave(folder, cell, made.evaluation(0), done=True)
    assert missing(folder.path) == []


def test_a_change_of_what_was_made_is_told_and_refused(folder: SweepFolder) -> None:
    made.leave(folder, PLAN.cells[0], done=True)
    before = folder.plan.read_text()
    with pytest.raises(
        UsageError, match="focus-fire-seca-s0: loop.steps 1000 -> 1500.*--changed keep.*--changed again"
    ):
        with opened(folder.path, LONGER):
            pass
    with pytest.raises(UsageError, match="focus-fire-seca-s0: no longer asked for"), opened(folder.path, FEWER):
        pass
    assert folder.plan.read_text() == before


def test_keep_goes_on_with_what_there_is(folder: SweepFolder) -> None:
    made.leave(folder, PLAN.cells[0], done=True)
    with opened(folder.path, LONGER, "keep") as (_, plan, told):
        assert told[0] == "3 runs that had not begun have other settings now"
        assert told[1].startswith("kept as they were: focus-fire-seca-s0")
        assert [cell.config.loop.steps for cell in plan.cells] == [1000, 1500, 1500, 1500]
    with opened(folder.path, FEWER, "keep") as (_, plan, _):
        assert [cell.name for cell in plan.cells] == [
            *("focus-fire-seca-s1", "focus-fire-qmix-s1", "focus-fire-seca-s0"),
        ]


def test_again_moves_aside_and_loses_nothing(folder: SweepFolder) -> None:
    cell = PLAN.cells[0]
    for number, changed in enumerate((LONGER, PLAN), start=1):
        made.leave(folder, cell, done=True)
        (folder.run(cell.name).path / "note").write_text(str(number))
        with opened(folder.path, changed, "again") as (_, plan, _):
            assert plan == changed
        assert not folder.run(cell.name).path.exists()
        assert (folder.path / "replaced" / f"{cell.name}-{number}" / "note").read_text() == str(number)


def test_again_leaves_a_run_that_goes_on(folder: SweepFolder) -> None:
    for cell in PLAN.cells[:2]:
        made.leave(folder, cell)
    with folders.locked(folder.run(PLAN.cells[1].name)), pytest.raises(UsageError, match="in use"):
        with opened(folder.path, LONGER, "again"):
            pass
    assert all(folder.run(cell.name).path.exists() for cell in PLAN.cells[:2])
    assert read_plan(folder) == PLAN


def test_a_sweep_killed_at_its_beginning_is_taken_up(tmp_path: pathlib.Path) -> None:
    for name in ("lock", "sweep.toml", ".tmp-12-0.json"):
        (tmp_path / name).write_text("")
    with opened(tmp_path, PLAN) as (folder, plan, told):
        assert (read_plan(folder), told) == (plan, [])


def test_a_run_of_other_settings_is_not_done(folder: SweepFolder) -> None:
    cell = PLAN.cells[0]
    made.leave(folder, LONGER.cells[0], made.evaluation(1500), done=True)
    assert progress(folder, PLAN, cell).state == "stopped"
    assert not sweeps.is_done(folder, PLAN, cell)


def test_the_last_evaluation_is_found_behind_hundreds_of_iterations(folder: SweepFolder) -> None:
    lines = [{"kind": "train", "env_steps": 600 + index, "padding": "x" * 900} for index in range(150)]
    made.leave(folder, PLAN.cells[0], made.evaluation(500, 0.25), *lines)
    seen = progress(folder, PLAN, PLAN.cells[0])
    assert seen.env_steps == 749 and seen.evaluated is not None and seen.evaluated["win_rate"] == 0.25


@pytest.mark.parametrize("damage", [{"time_elapsed": None}, {"time_elapsed": "x"}])
def test_odd_lines_do_not_end_a_look(folder: SweepFolder, damage: dict) -> None:
    made.leave(folder, PLAN.cells[0], made.evaluation(500) | damage, done=True)
    folder.run(PLAN.cells[0].name).result.write_text('{"trained": [1]}')
    seen = progress(folder, PLAN, PLAN.cells[0])
    assert (seen.state, seen.seconds) == ("done", 0.0)
