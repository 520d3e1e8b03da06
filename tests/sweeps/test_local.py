"""Runs side by side: all are made, one that fails leaves the others, and nothing outlives who started it."""

import os
import pathlib
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable

import pytest
from sweeps import made
from tiers import cases

from seca.runs import folder as folders
from seca.sweeps import local, status
from seca.sweeps.folder import SweepFolder, opened, progress
from seca.sweeps.local import PlainBoard
from seca.sweeps.slots import Slot

PLAN = made.plan()
FIRST, SECOND, THIRD, FOURTH = (cell.name for cell in PLAN.cells)


class Notes(PlainBoard):
    def __init__(self) -> None:
        super().__init__()
        self.notes: list[str] = []

    def note(self, text: str) -> None:
        self.notes.append(text)


@pytest.fixture
def workers(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., pathlib.Path]:
    """Put a worker in the place of `seca sweep run` that behaves as told."""

    def behave(**behaviour: str) -> pathlib.Path:
        (tmp_path / "worker.py").write_text(made.WORKER)
        told = tmp_path / "behaviour.txt"
        told.write_text(" ".join(f"{name.replace('_', '-')}={what}" for name, what in behaviour.items()))
        command = [sys.executable, str(tmp_path / "worker.py")]
        monkeypatch.setattr(local, "command", lambda folder, name: [*command, str(folder.path), name, str(told)])
        return told

    return behave


def started(folder: SweepFolder) -> list[list[str]]:
    return [line.split() for line in (folder.path / "started.txt").read_text().splitlines()]


def run(path: pathlib.Path, slots: int = 2) -> tuple[int, SweepFolder, list[str]]:
    shown = Notes()
    with opened(path, PLAN) as (folder, plan, _):
        return local.run(folder, plan, [Slot() for _ in range(slots)], shown), folder, shown.notes


@pytest.mark.parametrize("slots", [1, 2, 3, 4, 9])
def test_all_are_made_once_whatever_the_room(tmp_path: pathlib.Path, workers, slots: int) -> None:
    workers()
    code, folder, notes = run(tmp_path / "sweep", slots)
    assert code == 0 and notes[-1].startswith("4 of 4 runs done")
    assert sorted(line[0] for line in started(folder)) == sorted(cell.name for cell in PLAN.cells)
    assert run(tmp_path / "sweep", slots)[0] == 0
    assert len(started(folder)) == 4  # Nothing was left to do.


def test_a_run_that_fails_is_told_and_tried_again(tmp_path: pathlib.Path, workers) -> None:
    workers(focus_fire_qmix_s0="fail")
    code, folder, notes = run(tmp_path / "sweep", 1)
    assert code == 1
    assert any(note.startswith("focus-fire-qmix-s0 failed, exit code 1: it went wrong; see") for note in notes)
    assert [progress(folder, PLAN, cell).state for cell in PLAN.cells] == ["done", "failed", "done", "done"]
    workers()
    assert run(tmp_path / "sweep", 1)[0] == 0
    assert [line[0] for line in started(folder)][4:] == [SECOND]
    assert not folder.failure(SECOND).exists()


def test_what_another_process_is_at_is_waited_for(tmp_path: pathlib.Path, workers, monkeypatch) -> None:
    """As runs of a sweep that was killed are, while they save: where it lets go of them, they are gone on with."""
    workers()
    monkeypatch.setattr(local, "LOOK_SECONDS", 0.1)
    with opened(tmp_path / "sweep", PLAN) as (folder, _, _):
        made.leave(folder, PLAN.cells[2])
    held = folders.locked(folder.run(THIRD))
    held.__enter__()
    threading.Timer(1.0, lambda: held.__exit__(None, None, None)).start()
    code, _, notes = run(tmp_path / "sweep")
    assert code == 0 and notes[-1].startswith("4 of 4 runs done")
    assert [line[0] for line in started(folder)][-1] == THIRD


@pytest.mark.skipif(sys.platform != "linux", reason="no affinity of processes to cores elsewhere")
def test_a_process_has_the_cores_of_its_slot(tmp_path: pathlib.Path, workers) -> None:
    workers()
    core = max(os.sched_getaffinity(0))
    with opened(tmp_path / "sweep", PLAN) as (folder, plan, _):
        local.run(folder, plan, [Slot((core,))], Notes())
    assert {line[1] for line in started(folder)} == {f"[{core}]"}
    assert len(os.sched_getaffinity(0)) > 1 or os.cpu_count() == 1


SCRIPT = textwrap.dedent(
    """
    import pathlib, sys
    from seca.host import signals
    from seca.sweeps import local
    from seca.sweeps.folder import opened
    from seca.sweeps.slots import Slot
    sys.path.insert(0, sys.argv[4])
    from sweeps import made
    signals.stop_at_once()
    worker, told = sys.argv[2:4]
    local.command = lambda folder, name: [sys.executable, worker, str(folder.path), name, told]
    with opened(pathlib.Path(sys.argv[1]), made.plan()) as (folder, plan, _):
        code = local.run(folder, plan, [Slot(), Slot()], local.PlainBoard())
    sys.exit(code)
    """
)


@pytest.mark.parametrize(
    ("number", "expected"),
    cases(
        [(signal.SIGTERM, 143), (signal.SIGINT, 130), (signal.SIGKILL, -9)], signal.SIGINT, signal.SIGKILL, slow=True
    ),
)
def test_nothing_outlives_it(tmp_path: pathlib.Path, workers, number: signal.Signals, expected: int) -> None:
    """Whatever ends a sweep, its runs are asked to stop."""
    told = workers(focus_fire_seca_s0="hang", focus_fire_qmix_s0="hang")
    tests = pathlib.Path(__file__).parents[1]
    command = [sys.executable, "-c", SCRIPT, tmp_path / "sweep", tmp_path / "worker.py", told, tests]
    environment = os.environ | {"PYTHONPATH": str(tests.parent)}
    process = subprocess.Popen([str(x) for x in command], stdout=subprocess.PIPE, text=True, env=environment)
    folder = SweepFolder(tmp_path / "sweep")
    waited = time.monotonic() + 60
    while not ((folder.path / "started.txt").exists() and len(started(folder)) == 2):
        assert process.poll() is None and time.monotonic() < waited
        time.sleep(0.05)
    process.send_signal(number)
    begun = time.monotonic()
    printed, _ = process.communicate(timeout=60)
    assert time.monotonic() - begun < 10
    assert process.returncode == expected
    if number != signal.SIGKILL:
        assert printed.splitlines()[-1] == f"stopped; go on with: seca sweep {folder.path}"
    pids = [int(line[-1]) for line in started(folder)]
    until = time.monotonic() + 10
    while any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids) and time.monotonic() < until:
        time.sleep(0.05)
    assert not [pid for pid in pids if pathlib.Path(f"/proc/{pid}").exists()]
    assert len(started(folder)) == 2  # None was begun after it.


def test_a_board_of_plain_lines_speaks_once_a_minute(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path
) -> None:
    now = iter([0.0, 0.0, 59.0, 61.0, 61.0])
    shown = PlainBoard(60.0, lambda: next(now))
    with opened(tmp_path, PLAN) as (folder, plan, _):
        for _ in range(3):
            shown.show(status.overview(folder, plan), 1)
    assert capsys.readouterr().out.count("0 of 4 runs done") == 2


def test_a_board_on_a_terminal_draws_the_table(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, capsys) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.delenv("CI", raising=False)
    with opened(tmp_path, PLAN) as (folder, plan, _), local.board() as shown:
        shown.show(status.overview(folder, plan), 2)
    printed = capsys.readouterr().out
    assert "small: 0 of 4 runs done (4 waiting)" in printed and "matrix/focus-fire" in printed
