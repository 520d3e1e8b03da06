"""TensorBoard and Weights & Biases get the lines of `metrics.jsonl`."""

import importlib
import pathlib
import struct
import sys
import time
import types

import numpy as np
import pytest

from seca.config import RunConfig
from seca.errors import UsageError
from seca.host import loggers


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


@pytest.mark.slow
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
