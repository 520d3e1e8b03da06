"""Metrics, checkpoints and the best policy, with a loop of our own instead of a training."""

import dataclasses
import json
import pathlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import jax.numpy as jnp
import pytest

from seca.config import RunConfig
from seca.envs import registry
from seca.host.display import PlainDisplay
from seca.host.signals import StopRequest
from seca.runs import bands
from seca.runs import recorder as recorders
from seca.runs.folder import RunFolder, cut_metrics, read_metrics
from seca.runs.recorder import Position, Recorder
from seca.train import checkpoint
from seca.train.state import TrainState


def _state(iteration: int) -> TrainState:
    return TrainState(
        learner={"weight": jnp.full((2,), float(iteration))},
        replay=None,
        seed_key=jnp.zeros(2, jnp.uint32),
        iteration=jnp.int32(iteration),
        episodes=jnp.int32(iteration),
        env_steps=jnp.uint32(iteration * 10),
    )


@contextmanager
def _recording(
    path: pathlib.Path,
    interval: float,
    position: Position | None = None,
    stop: StopRequest | None = None,
    snapshots: int = 0,
) -> Iterator[Recorder]:
    config = RunConfig(env="matrix/focus-fire", checkpoint_interval=interval, snapshot_interval=snapshots)
    env = registry.make("matrix/focus-fire", {})
    arguments = (PlainDisplay(100), [], StopRequest() if stop is None else stop)
    with Recorder(RunFolder(path), config, env, position or Position(), *arguments) as recorder:
        yield recorder


def _train_line(iteration: int) -> dict[str, Any]:
    return {"kind": "train", "env_steps": iteration * 10, "return_mean": 0.5}


def _evaluation(iteration: int, win_rate: float, mean: float) -> dict[str, Any]:
    return {"kind": "eval", "env_steps": iteration * 10, "win_rate": win_rate, "return_mean": mean}


def _iterate(recorder: Recorder, iteration: int, score: tuple[float, float] | None = None) -> bool:
    evaluated = None if score is None else _evaluation(iteration, *score)
    recorder.metrics(_train_line(iteration) if evaluated is None else evaluated)
    return recorder.after_iteration(_state(iteration), evaluated)


def _stored(path: pathlib.Path, kind: str) -> dict[str, Any]:
    return checkpoint.read_metadata(checkpoint.find(path / "checkpoints", kind)[0])


def test_best_is_win_rate_then_return_then_later(tmp_path: pathlib.Path) -> None:
    scores = [(0.0, 1.0), (0.5, 0.0), (0.4, 9.0), (0.5, 2.0), (0.5, 1.0), (0.5, 2.0), (0.5, 1.9)]
    expected = [0, 1, 1, 3, 3, 5, 5]
    with _recording(tmp_path, interval=0.0) as recorder:
        for iteration, (score, best) in enumerate(zip(scores, expected, strict=True)):
            _iterate(recorder, iteration, score)
            assert _stored(tmp_path, "best")["iteration"] == best
            assert _stored(tmp_path, "latest")["iteration"] == iteration


def test_best_is_return_then_later_where_nobody_wins(tmp_path: pathlib.Path) -> None:
    with _recording(tmp_path, interval=0.0) as recorder:
        for iteration, (mean, best) in enumerate([(-3.0, 0), (-5.0, 0), (-1.0, 2), (-2.0, 2), (-1.0, 4)]):
            line = {"kind": "eval", "env_steps": iteration * 10, "return_mean": mean}
            recorder.metrics(line)
            recorder.after_iteration(_state(iteration), line)
            assert _stored(tmp_path, "best")["iteration"] == best


def test_best_waits_for_the_next_checkpoint(tmp_path: pathlib.Path) -> None:
    with _recording(tmp_path, interval=3600.0) as recorder:
        _iterate(recorder, 0, (0.0, 0.0))
        _iterate(recorder, 1, (0.7, 0.0))
        _iterate(recorder, 2, (0.6, 0.0))
        assert _stored(tmp_path, "best")["iteration"] == 0
        recorder.save(_state(2))
        assert _stored(tmp_path, "best")["iteration"] == 1
        assert _stored(tmp_path, "best")["position"]["metrics_lines"] == 2
        assert _stored(tmp_path, "latest")["position"]["best"] == [0.7, 0.0]


def test_saving_takes_a_small_share_of_the_time(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a save of 0.1 s, the interval of 1 s becomes 5 s."""
    now = [0.0]
    monkeypatch.setattr(recorders.time, "monotonic", lambda: now[0])
    saved: list[float] = []

    def slow_save(*arguments: object) -> None:
        now[0] += 0.1
        saved.append(now[0])

    monkeypatch.setattr(checkpoint, "save", slow_save)
    with _recording(tmp_path, interval=1.0) as recorder:
        for iteration in range(200):
            now[0] += 0.1
            _iterate(recorder, iteration)
    assert 0.1 * len(saved) <= recorders.SAVE_SHARE * now[0] + 0.2
    assert len(saved) >= 4


def test_a_signal_saves_and_stops(tmp_path: pathlib.Path) -> None:
    stop = StopRequest()
    with _recording(tmp_path, interval=3600.0, stop=stop) as recorder:
        assert not _iterate(recorder, 0, (0.0, 0.0))
        assert not _iterate(recorder, 1)
        assert _stored(tmp_path, "latest")["iteration"] == 0
        stop.signal = 15
        assert _iterate(recorder, 2)
    assert _stored(tmp_path, "latest")["iteration"] == 2
    assert stop.exit_code == 143


def test_metrics_are_cut_to_what_the_checkpoint_knows(tmp_path: pathlib.Path) -> None:
    folder = RunFolder(tmp_path)
    with _recording(tmp_path, interval=3600.0) as recorder:
        _iterate(recorder, 0, (0.0, 0.0))
        _iterate(recorder, 1)
        recorder.save(_state(1))
        _iterate(recorder, 2)
    position = Position.from_metadata(_stored(tmp_path, "latest"))
    assert (position.metrics_lines, position.best) == (2, (0.0, 0.0))
    with folder.metrics.open("a") as file:
        file.write('{"kind": "tra')  # Cut by a kill.
    assert len(read_metrics(folder)) == 3
    cut_metrics(folder, position.metrics_bytes)
    with _recording(tmp_path, 3600.0, position) as recorder:
        _iterate(recorder, 2)
    lines = [json.loads(line) for line in folder.metrics.read_text().splitlines()]
    assert [line["env_steps"] for line in lines] == [0, 10, 20]
    assert lines[-1]["time_elapsed"] >= lines[1]["time_elapsed"]


def test_what_fails_after_its_line_is_done_again(tmp_path: pathlib.Path) -> None:
    """An evaluation, say: the checkpoint is of the iteration before, and so are its lines and its best."""
    with _recording(tmp_path, interval=1000.0) as recorder:
        _iterate(recorder, 0, (0.0, 1.0))
        _iterate(recorder, 1)
        recorder.metrics(_train_line(2))
        recorder.save_last()
    stored = _stored(tmp_path, "latest")
    assert stored["iteration"] == 1 and stored["position"]["metrics_lines"] == 2
    position = Position.from_metadata(stored)
    cut_metrics(RunFolder(tmp_path), position.metrics_bytes)
    assert [line["env_steps"] for line in read_metrics(RunFolder(tmp_path), "train")] == [10]


def test_the_untrained_policy_is_evaluated_again_after_a_kill(tmp_path: pathlib.Path) -> None:
    """The loop evaluates at iteration 0 whenever it starts there: that line must not be kept twice."""
    with _recording(tmp_path, interval=3600.0) as recorder:
        _iterate(recorder, 0, (0.0, 0.0))
    assert Position.from_metadata(_stored(tmp_path, "latest")).metrics_lines == 0


def test_position_survives_the_file() -> None:
    position = Position(3, 400, 1.5, (0.5, 2.0))
    stored = json.loads(json.dumps({"position": dataclasses.asdict(position)}))
    assert Position.from_metadata(stored) == position


def test_metrics_refuse_what_is_not_json(tmp_path: pathlib.Path) -> None:
    with _recording(tmp_path, interval=0.0) as recorder, pytest.raises(ValueError, match="not JSON compliant"):
        recorder.metrics({"kind": "train", "env_steps": 1, "return_mean": float("nan")})
    assert read_metrics(RunFolder(tmp_path)) == []


def test_a_run_is_told_once_where_it_stands(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    """At the first evaluation after a tenth of its budget, and not again when it goes on."""
    asked: list[tuple[int, float]] = []

    def standing(config: RunConfig, version: str, env_steps: int, mean: float) -> bands.Standing:
        asked.append((env_steps, mean))
        return bands.Standing("below", "it is below")

    monkeypatch.setattr(bands, "standing", standing)
    tenth = RunConfig().loop.steps // 10
    with _recording(tmp_path, interval=1e9) as recorder:
        for iteration, mean in ((0, 1.0), (tenth // 10 - 1, 2.0), (tenth // 10, 3.0), (tenth // 10 + 5, 4.0)):
            _iterate(recorder, iteration, (0.0, mean))
    assert asked == [(tenth, 3.0)]
    assert capsys.readouterr().out.count("warning: it is below\n") == 1
    with _recording(tmp_path, 1e9, Position(metrics_lines=4)) as recorder:
        _iterate(recorder, tenth // 10 + 9, (0.0, 5.0))
    assert len(asked) == 1


def test_the_policy_with_the_highest_return_is_kept_beside_the_best(tmp_path: pathlib.Path) -> None:
    scores = [(0.0, 1.0), (0.5, 0.0), (0.4, 9.0), (0.6, 2.0), (0.6, 9.0), (0.1, 8.0)]
    best, highest = [0, 1, 1, 3, 4, 4], [0, 0, 2, 2, 4, 4]
    with _recording(tmp_path, interval=0.0) as recorder:
        for iteration, score in enumerate(scores):
            _iterate(recorder, iteration, score)
            assert _stored(tmp_path, "best")["iteration"] == best[iteration]
            assert _stored(tmp_path, "highest-return")["iteration"] == highest[iteration]


def test_a_position_from_before_the_highest_return_was_kept() -> None:
    stored = {"metrics_lines": 1, "metrics_bytes": 2, "seconds": 3.0, "best": [0.5, 7.0]}
    assert Position.from_metadata({"position": stored}).highest == 7.0
    assert Position.from_metadata({"position": stored | {"best": None}}).highest is None
    with pytest.raises(ValueError, match="`position.highest` is 'x'"):
        Position.from_metadata({"position": stored | {"highest": "x"}})


def test_snapshots_are_kept_at_multiples_of_their_interval(tmp_path: pathlib.Path) -> None:
    """The untrained policy, and the first at or after each multiple; a recorder that goes on knows what there is."""
    with _recording(tmp_path, interval=1e9, snapshots=25) as recorder:
        for iteration in range(5):
            _iterate(recorder, iteration)
    assert list(checkpoint.snapshots(tmp_path / "checkpoints")) == [0, 30]
    with _recording(tmp_path, interval=1e9, snapshots=25) as recorder:
        for iteration in range(4, 9):
            _iterate(recorder, iteration)
    found = checkpoint.snapshots(tmp_path / "checkpoints")
    assert list(found) == [0, 30, 50, 80]
    assert [checkpoint.read_metadata(path)["iteration"] for path in found.values()] == [0, 3, 5, 8]


def test_no_snapshots_unless_asked_for(tmp_path: pathlib.Path) -> None:
    with _recording(tmp_path, interval=0.0) as recorder:
        _iterate(recorder, 0)
    assert checkpoint.snapshots(tmp_path / "checkpoints") == {}
