"""Statistics, signals, display, loggers, machine: the small parts of a run."""

import importlib
import os
import pathlib
import signal
import struct
import subprocess
import sys
import time
import types

import jax
import numpy as np
import pytest
from rich.console import Console

from seca.config import RunConfig
from seca.errors import UsageError
from seca.runs import doctor, loggers, machine, stats
from seca.runs.display import LiveDisplay, Meter, PlainDisplay, Status, make_display
from seca.runs.signals import stop_on_signals


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998 (Statistics in Medicine 17), Table I, method 3: Wilson without continuity correction.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_against_newcombe(successes: int, trials: int, low: float, high: float) -> None:
    np.testing.assert_allclose(stats.wilson(successes, trials), (low, high), atol=6e-5)


def test_wilson_solves_its_equation_and_stays_inside() -> None:
    """The bounds are the p with |p - successes / n| = z sqrt(p (1 - p) / n)."""
    for trials in (1, 7, 128):
        for successes in range(trials + 1):
            low, high = stats.wilson(successes, trials)
            assert 0 <= low <= successes / trials <= high <= 1
            for bound in (low, high):
                distance = abs(bound - successes / trials)
                assert distance == pytest.approx(1.959964 * np.sqrt(bound * (1 - bound) / trials), abs=1e-9)
            mirrored = stats.wilson(trials - successes, trials)
            np.testing.assert_allclose((low, high), (1 - mirrored[1], 1 - mirrored[0]), atol=1e-12)
    with pytest.raises(ValueError, match="`trials` 0"):
        stats.wilson(0, 0)


def test_summary_counts_episodes() -> None:
    results = {"won": np.array([True, False, True, True]), "return": np.array([1.0, 2, 3, 4]), "length": np.arange(4)}
    summary = stats.summary(results)
    assert (summary["episodes"], summary["win_rate"], summary["return_mean"]) == (4, 0.75, 2.5)
    assert summary["episode_won"] == [1, 0, 1, 1]
    assert "75.0 %" in stats.sentence(summary)


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
        "import sys, time; from seca.runs.signals import stop_on_signals\n"
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


def _lines() -> list[dict[str, object]]:
    return [
        {"kind": "eval", "env_steps": 0, "win_rate": 0.0, "return_mean": 0.0},
        {"kind": "train", "env_steps": 100, "return_mean": 3.0},
        {"kind": "train", "env_steps": 300, "return_mean": 4.0},
        {"kind": "eval", "env_steps": 300, "win_rate": 0.25, "return_mean": 1.0},
    ]


def test_meter_leaves_out_the_iteration_that_compiles() -> None:
    times = iter([50.0, 52.0])
    meter = Meter(lambda: next(times))
    statuses = [meter.update(line) for line in _lines()]
    status = statuses[-1]
    assert status == Status(env_steps=300, env_steps_per_s=100.0, train_return=4.0, win_rate=0.25)
    assert status.text(7_500) == (
        "300 of 7,500 env steps | 100 steps/s | ETA 0:01:12 | train return 4.00 | test win rate 25.0 %"
    )


def test_plain_lines_at_evaluations_and_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    display = PlainDisplay(7_500, every=10.0, clock=lambda: now[0])
    with display.running():
        for line, at in zip(_lines(), (1.0, 2.0, 12.0, 13.0), strict=True):
            now[0] = at
            display.show(line)
    printed = capsys.readouterr().out.splitlines()
    assert [text.split(" ")[0] for text in printed] == ["0", "300", "300"]
    assert all("\x1b" not in text for text in printed)


def test_live_display_shows_everything() -> None:
    console = Console(force_terminal=True, width=150, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    display = LiveDisplay(console, 7_500)
    with display.running():
        for line in _lines():
            display.show(line)
            display._progress.refresh()
        display.note("a [note]")
    text = console.export_text()
    console.file.close()
    for fragment in ("300 steps |", "/s | ETA", "| return 4.00 | win 25.0 %", "a [note]", "300 of 7,500", "compiling"):
        assert fragment in text


def test_no_terminal_gives_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_display(10), PlainDisplay)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("CI", "true")
    assert isinstance(make_display(10), PlainDisplay)


def test_missing_logger_names_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loggers.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"`loggers` holds 'wandb'.*pip install 'seca\[wandb\]'"):
        loggers.check_installed(("wandb",))
    loggers.check_installed(())


def test_scalars_name_agents_and_leave_out_episodes() -> None:
    line = {"kind": "train", "env_steps": 3, "rank_mean": [0.5, 1.5], "episode_won": [1, 0], "greedy": True}
    assert loggers.scalars(line) == {"train/env_steps": 3.0, "train/rank_mean/0": 0.5, "train/rank_mean/1": 1.5}


class _Written:
    """Stands for a TensorBoard writer or a W&B run."""

    def __init__(self, *arguments: object, **named: object) -> None:
        self.arguments, self.named, self.calls = arguments, named, []

    def add_scalar(self, *arguments: object) -> None:
        self.calls.append(arguments)

    def log(self, values: dict[str, float], step: int) -> None:
        self.calls.append((step, values))

    def close(self) -> None:
        self.calls.append("close")

    def finish(self) -> None:
        self.calls.append("finish")


def test_tensorboard_gets_every_number_at_its_env_step(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[_Written] = []

    def make(*arguments: object, **named: object) -> _Written:
        made.append(_Written(*arguments, **named))
        return made[-1]

    monkeypatch.setitem(sys.modules, "tensorboardX", types.SimpleNamespace(SummaryWriter=make))
    logger = loggers.open_loggers(RunConfig(loggers=("tensorboard",)), tmp_path, 40, print)[0]
    logger.write({"kind": "train", "env_steps": 50, "loss": 2})
    logger.close()
    assert made[0].named == {"purge_step": 41, "max_queue": 0}
    assert made[0].calls == [("train/env_steps", 50.0, 50), ("train/loss", 2.0, 50), "close"]


def _events(folder: pathlib.Path) -> list:
    """Events of all files of a folder, in the order in which they were written."""
    event = importlib.import_module("tensorboardX.proto.event_pb2").Event
    found = []
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:  # Length, its checksum, the event, its checksum.
            (length,) = struct.unpack("<Q", content[:8])
            found.append(event.FromString(content[12 : 12 + length]))
            content = content[16 + length :]
    return found


def test_a_tensorboard_that_never_ends_holds_nobody_up(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its thread is gone, as on a full disk: lines are taken still, and closing comes to an end."""
    monkeypatch.setattr(loggers, "CLOSE_SECONDS", 0.1)
    logger = loggers.open_loggers(RunConfig(loggers=("tensorboard",)), tmp_path, 0, print)[0]
    assert isinstance(logger, loggers.TensorBoard)
    worker = logger._writer.file_writer.event_writer._worker
    worker.stop()
    worker.join()
    for step in range(40):
        logger.write({"kind": "train", "env_steps": step, "loss": 1.0})
    logger.close()


def test_a_logger_that_cannot_be_opened_is_left_out(tmp_path: pathlib.Path) -> None:
    (tmp_path / "tensorboard").write_text("a file where a folder belongs")
    said: list[str] = []
    assert loggers.open_loggers(RunConfig(loggers=("tensorboard",)), tmp_path, 0, said.append) == []
    [warning] = said
    assert warning.startswith("warning: tensorboard cannot be opened")


def test_tensorboard_shows_each_line_once_after_a_kill(tmp_path: pathlib.Path) -> None:
    """Real event files of a run killed at step 30 that goes on from its checkpoint at 20, as TensorBoard reads them."""
    for at, steps in ((0, (0, 10, 20, 30)), (20, (30, 40))):
        logger = loggers.open_loggers(RunConfig(loggers=("tensorboard",)), tmp_path, at, print)[0]
        for step in steps:
            logger.write({"kind": "eval", "env_steps": step, "win_rate": step / 100})
        logger.close()
        time.sleep(1.1)  # Files are named by the second.
    shown: list[tuple[int, float]] = []
    for event in _events(tmp_path / "tensorboard"):
        if event.HasField("session_log"):
            shown = [point for point in shown if point[0] < event.step]
        shown += [(event.step, value.simple_value) for value in event.summary.value if value.tag == "eval/win_rate"]
    assert [step for step, _ in shown] == [0, 10, 20, 30, 40]
    np.testing.assert_allclose([value for _, value in shown], [0, 0.1, 0.2, 0.3, 0.4], rtol=1e-6)


def test_wandb_goes_on_under_the_same_id(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[_Written] = []

    def init(**named: object) -> _Written:
        made.append(_Written(**named))
        return made[-1]

    ids = iter(["first", "second"])
    fake = types.SimpleNamespace(init=init, util=types.SimpleNamespace(generate_id=lambda: next(ids)))
    monkeypatch.setitem(sys.modules, "wandb", fake)
    for _ in range(2):
        logger = loggers.open_loggers(RunConfig(loggers=("wandb",)), tmp_path, 0, print)[0]
        logger.write({"kind": "eval", "env_steps": 50, "win_rate": 0.5})
        logger.close()
    assert [run.named["id"] for run in made] == ["first", "first"]
    assert made[0].calls[0] == (50, {"eval/env_steps": 50.0, "eval/win_rate": 0.5})


def test_devices_are_chosen_to_divide_the_runners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpu_cores", lambda: 3)
    assert len(machine.choose_devices(0, 32)) == 2
    assert len(machine.choose_devices(0, 33)) == 3
    assert len(machine.choose_devices(4, 32)) == 4
    with pytest.raises(UsageError, match="`devices` is 5: JAX offers 4"):
        machine.choose_devices(5, 35)


def test_session_says_what_may_change_a_number() -> None:
    session = machine.session(jax.devices())
    assert set(session["packages"]) == set(machine.VERSIONED)
    assert session["cores"] >= 1
    assert len(session["devices"]) == 4


def test_cache_can_be_moved_and_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECA_CACHE_DIR", "elsewhere")
    assert machine.cache_dir() == pathlib.Path("elsewhere")
    monkeypatch.setenv("SECA_CACHE_DIR", "")
    assert machine.cache_dir() is None
    monkeypatch.delenv("SECA_CACHE_DIR")
    assert machine.cache_dir() == pathlib.Path.home() / ".cache" / "seca"


def test_who_has_no_home_has_no_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and everything works; nothing is said where no cache is wanted."""

    def homeless() -> pathlib.Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pathlib.Path, "home", homeless)
    monkeypatch.delenv("SECA_CACHE_DIR", raising=False)
    assert machine.cache_dir() is None
    assert machine.cache_problem() == "there is no home folder"
    with monkeypatch.context() as patch:
        set_to: dict[str, object] = {}
        patch.setattr(jax.config, "update", set_to.__setitem__)
        machine.enable_cache()
    assert set_to == {"jax_enable_compilation_cache": False}
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("seca: warning: no compilation cache: there is no home folder")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SECA_CACHE_DIR", str(tmp_path / "file"))
    assert machine.cache_problem() == f"{tmp_path / 'file'} takes no files (File exists)"
    monkeypatch.setenv("SECA_CACHE_DIR", "")
    assert machine.cache_problem() is None
    monkeypatch.setenv("SECA_CACHE_DIR", str(tmp_path / "new" / "cache"))
    assert machine.cache_problem() is None
    assert (tmp_path / "new" / "cache").is_dir()


def test_a_platform_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[jax.Device]:
        raise RuntimeError("Unable to initialize backend 'cuda': no device\nmore")

    monkeypatch.setattr(jax, "devices", fail)
    with pytest.raises(UsageError, match="`JAX_PLATFORMS` is 'cpu': .*backend 'cuda': no device.; `unset JAX_PLAT"):
        machine.configure(1, 1)


def test_doctor_sees_an_idle_gpu() -> None:
    assert "GPU seen but CPU jaxlib" in doctor.gpu_problems(seen=True, platform_in_use="cpu")[0]
    assert doctor.gpu_problems(seen=True, platform_in_use="gpu") == []
    assert doctor.gpu_problems(seen=False, platform_in_use="cpu") == []
