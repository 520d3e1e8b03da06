"""Any command stops at any moment, with a line and the exit code of an interrupted run."""

import contextlib
import os
import pathlib
import signal
import subprocess
import sys
import time

import pytest
from run_files import metric_lines
from tiers import cases

from seca.host.signals import stop_on_signals

HARNESS = "import sys, os, time, pathlib, hashlib\nfrom seca.host import signals\nsignals.stop_at_once()\n"
READY = "print('ready', flush=True)\n"


def _stopped(code: str, number: int, *arguments: object) -> tuple[int, str, float]:
    """Exit code, stderr, and how long it took, of a program that is sent a signal when it says `ready`."""
    command = [sys.executable, "-c", HARNESS + code, *map(str, arguments)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    asked = time.monotonic()
    process.send_signal(number)
    _, errors = process.communicate(timeout=30)
    return process.returncode, errors, time.monotonic() - asked


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize(
    "code",
    [
        # As in a compilation, the main thread comes to no bytecode.
        READY + "hashlib.pbkdf2_hmac('sha256', b'x', b'y', 10**9)",
        # As in callbacks of JAX, whatever is raised is swallowed.
        READY + "while True:\n try: time.sleep(0.01)\n except BaseException: pass",
        # As while options are read, stderr is somewhere else.
        "sys.stderr = open(os.devnull, 'w')\n" + READY + "time.sleep(60)",
    ],
    ids=["no bytecode", "swallowed", "redirected"],
)
def test_stop_at_once(number: signal.Signals, code: str) -> None:
    ended, errors, seconds = _stopped(code, number)
    assert (ended, errors) == (128 + number, f"seca: stopped by {number.name}\n")
    assert seconds < 10


@pytest.mark.parametrize("state", ["no reader", "full", "closed"])
def test_a_line_that_nobody_takes_keeps_nobody(state: str) -> None:
    """As in `seca ... 2>&1 | head`: the process ends all the same, also at the first signal."""
    reader, writer = os.pipe()
    if state == "full":
        os.set_blocking(writer, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                os.write(writer, bytes(4096))
        os.set_blocking(writer, True)
    code = ("os.close(2)\n" if state == "closed" else "") + READY + "time.sleep(60)"
    with subprocess.Popen([sys.executable, "-c", HARNESS + code], stdout=subprocess.PIPE, stderr=writer) as process:
        os.close(writer)
        if state != "full":
            os.close(reader)
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=10) == 143
    if state == "full":
        os.close(reader)


def test_nothing_half_written_stays(tmp_path: pathlib.Path) -> None:
    code = (
        "from seca import files\n"
        "with files.replacing(pathlib.Path(sys.argv[1])) as temporary:\n"
        " temporary.write_text('half')\n"
        " assert temporary.exists()\n"
        f" {READY} time.sleep(60)"
    )
    (tmp_path / "picture.gif").write_text("old")
    ended, _, _ = _stopped(code, signal.SIGINT, tmp_path / "picture.gif")
    assert ended == 130
    assert [path.name for path in tmp_path.iterdir()] == ["picture.gif"]
    assert (tmp_path / "picture.gif").read_text() == "old"


def test_a_child_does_not_outlive_us(tmp_path: pathlib.Path) -> None:
    """`seca bench` measures in processes of their own."""
    child = "import os, sys, time; open(sys.argv[1], 'w').write(str(os.getpid())); time.sleep(60)"
    code = (
        "import threading\n"
        "def tell():\n"
        " while not os.path.exists(sys.argv[1]) or not open(sys.argv[1]).read(): time.sleep(0.01)\n"
        f" {READY}"
        "threading.Thread(target=tell, daemon=True).start()\n"
        # As on a busy machine, the watching thread is slow: who waits for the child meets its end first.
        "discard = signals.files.discard_unfinished\n"
        "signals.files.discard_unfinished = lambda: (time.sleep(0.5), discard())\n"
        f"signals.run_child([sys.executable, '-c', {child!r}, sys.argv[1]])"
    )
    ended, errors, _ = _stopped(code, signal.SIGTERM, tmp_path / "pid")
    assert (ended, errors) == (143, "seca: stopped by SIGTERM\n")
    number, deadline = int((tmp_path / "pid").read_text()), time.monotonic() + 10
    while time.monotonic() < deadline and _lives(number):
        time.sleep(0.01)
    assert not _lives(number)


def _lives(number: int) -> bool:
    """Whether a process runs; what nobody has waited for yet does not."""
    try:
        state = pathlib.Path(f"/proc/{number}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        if not pathlib.Path("/proc").exists():
            try:
                os.kill(number, 0)
            except ProcessLookupError:
                return False
            return True
        return False
    return state != "Z"


def test_output_of_a_child() -> None:
    from seca.host import signals

    code = "import sys; print('out'); print('err', file=sys.stderr); sys.exit(3)"
    done = signals.run_child([sys.executable, "-c", code])
    assert (done.returncode, done.stdout, done.stderr) == (3, "out\n", "err\n")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "module"),
    cases(
        [
            ("train", "tyro"),
            ("train", "jax._src.core"),
            ("train", "seca.presets"),
            ("train", "seca.runs.run"),
            ("evaluate", "numpy"),
            ("plot", "matplotlib"),
            ("watch", "seca.battles.render"),
            ("envs", "jax"),
            ("bench", "seca.runs.bench"),
            ("doctor", "seca.host.doctor"),
        ],
        ("train", "jax._src.core"),
        ("train", "seca.runs.run"),
        ("evaluate", "numpy"),
        ("watch", "seca.battles.render"),
    ),
)
def test_commands_while_they_are_imported(
    command: str, module: str, finished_run: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """The signal comes when the import of `module` has just ended."""
    rest = {
        "train": ["seca", "--env", "matrix/focus-fire", "--out", tmp_path / "run"],
        "evaluate": [finished_run],
        "plot": [finished_run, "--out", tmp_path / "curves"],
        "watch": ["--policy", "random", "--env", "smac/3m", "--out", tmp_path / "battle.gif"],
    }
    line = [sys.executable, "-X", "importtime", "-m", "seca", command, *map(str, rest.get(command, []))]
    words, came = [], False
    with subprocess.Popen(line, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        for row in process.stderr:
            if not row.startswith("import time:"):
                words.append(row)
            elif row.rpartition("|")[2].strip() == module and not came:
                process.send_signal(signal.SIGINT)
                came = True
    assert came, "the moment never came"
    assert (process.returncode, words) == (130, ["seca: stopped by SIGINT\n"])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.every
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_run_stopped_before_its_first_step(
    number: signal.Signals, seca, small_run: list[str], finished_run: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    """While its untrained state is compiled: what there is can be resumed, to the end of an unbroken run."""
    path = tmp_path / "run"
    steps = ["--steps", "160", "--eval-interval", "40"]
    line = [sys.executable, "-m", "seca", "train", *small_run, *steps, "--out", str(path)]
    process = subprocess.Popen(line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    while not process.stdout.readline().startswith("memory:"):
        assert process.poll() is None
    asked = time.monotonic()
    process.send_signal(number)
    output, errors = process.communicate(timeout=30)
    assert process.returncode == 128 + number
    assert time.monotonic() - asked < 10
    assert len([*output.splitlines(), *errors.splitlines()]) <= 2, "a line of the untrained policy, and how to go on"
    ended = seca("resume", path)
    assert ended.returncode == 0, ended.stderr
    assert metric_lines(path) == metric_lines(finished_run)


def test_signals_become_a_request_and_go_back() -> None:
    before = signal.getsignal(signal.SIGTERM)
    with stop_on_signals(lambda: "unused") as stop:
        assert not stop
        assert stop.exit_code == 0
        os.kill(os.getpid(), signal.SIGTERM)
        assert stop
        assert stop.exit_code == 143
    assert signal.getsignal(signal.SIGTERM) is before


@pytest.mark.parametrize("signals", [1, 2], ids=["grace runs out", "second signal"])
def test_a_process_that_does_not_stop_is_ended(signals: int) -> None:
    """As in a long compilation, the main thread never looks at the request: the watching thread ends the process."""
    code = (
        "import sys, time; from seca.host.signals import stop_on_signals\n"
        "with stop_on_signals(lambda: 'gave up', grace=float(sys.argv[1])):\n"
        "    print('ready', flush=True)\n"
        "    while True: time.sleep(1)\n"
    )
    grace = "0.2" if signals == 1 else "60"
    process = subprocess.Popen([sys.executable, "-c", code, grace], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    assert process.stdout.readline() == b"ready\n"
    for _ in range(signals):
        process.send_signal(signal.SIGINT)
        time.sleep(0.2)  # Two signals at once count as one.
    _, complaint = process.communicate(timeout=20)
    assert process.returncode == 130
    assert complaint == b"gave up\n"
