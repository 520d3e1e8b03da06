"""The training loop's sinks: metrics lines and checkpoints that know which lines they have seen."""

import contextlib
import dataclasses
import json
import os
import sys
import time
from typing import Any

from seca import files
from seca.config import RunConfig, to_dict
from seca.envs.base import Env
from seca.host.display import Display
from seca.host.loggers import LineLogger
from seca.host.signals import StopRequest
from seca.runs import bands
from seca.runs import folder as folders
from seca.runs.folder import RunFolder
from seca.train import checkpoint
from seca.train.state import TrainState

MOST_SECONDS = 120.0
"""Longest that slow saves may stretch the interval."""
SAVE_SHARE = 0.02
"""Largest share of the time that saving may take."""


@dataclasses.dataclass(frozen=True)
class Position:
    """How far the files of a run had come when a checkpoint was made."""

    metrics_lines: int = 0
    metrics_bytes: int = 0
    seconds: float = 0.0
    """Wall clock spent training, over all sessions."""
    best: tuple[float, float] | None = None
    """Test win rate (0 where nobody can win) and return of the best evaluation so far."""
    highest: float | None = None
    """Highest return of an evaluation so far."""

    @staticmethod
    def from_metadata(metadata: dict[str, Any]) -> "Position":
        """Read back what `Recorder` put into a checkpoint. Raises ValueError when that is not what is there."""
        stored = metadata.get("position")
        if isinstance(stored, dict) and "best" in stored and "highest" not in stored:
            best = stored["best"]  # Before the highest was kept, the best's is what is known of it.
            stored = stored | {"highest": best[1] if isinstance(best, list) and len(best) == 2 else None}
        names = [field.name for field in dataclasses.fields(Position)]
        if not isinstance(stored, dict) or sorted(stored) != sorted(names):
            raise ValueError(f"`position` is {stored!r}: expected an object of {', '.join(names)}")
        for name in ("metrics_lines", "metrics_bytes", "seconds"):
            kinds = (int, float) if name == "seconds" else (int,)
            if type(stored[name]) not in kinds or not 0 <= stored[name] < 2**63:
                raise ValueError(f"`position.{name}` is {stored[name]!r}: expected a number of at least 0")
        best = stored["best"]
        if best is not None and not (isinstance(best, list) and len(best) == 2 and all(map(_is_finite, best))):
            raise ValueError(f"`position.best` is {best!r}: expected two numbers or null")
        if not (stored["highest"] is None or _is_finite(stored["highest"])):
            raise ValueError(f"`position.highest` is {stored['highest']!r}: expected a number or null")
        return Position(**stored | {"best": None if best is None else (best[0], best[1])})


def _is_finite(value: object) -> bool:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max


class Recorder:
    """Writes metrics at once and checkpoints when due; a checkpoint and the lines before it always agree.

    The best state is kept in memory until the next checkpoint is due: a killed run goes on from `latest`, plays the
    evaluation that was best again, and finds it best again. So frequent improvements cost no time.
    """

    def __init__(
        self,
        folder: RunFolder,
        config: RunConfig,
        env: Env,
        position: Position,
        display: Display,
        loggers: list[LineLogger],
        stop: StopRequest,
    ) -> None:
        self._folder, self._config, self._spec = folder, config, env.spec
        self._display, self._loggers, self._stop = display, loggers, stop
        self._position = position
        with files.writing(folder.metrics):
            self._file = folder.metrics.open("ab")
        self._started = time.monotonic() - position.seconds
        self._saved_at, self._save_seconds = time.monotonic(), 0.0
        self._saved_iteration: int | None = None
        evaluated = folders.read_metrics(folder, "eval") if position.metrics_lines else []
        self._evaluated_at = max((line["env_steps"] for line in evaluated), default=0)
        self._kept_at = max(checkpoint.snapshots(folder.checkpoints), default=None)
        self._new_best: dict[str, tuple[TrainState, dict[str, Any]]] = {}
        self._last: tuple[TrainState, dict[str, Any]] | None = None

    def __enter__(self) -> "Recorder":
        return self

    def __exit__(self, *error: object) -> None:
        with contextlib.suppress(OSError):  # Lines are flushed one by one: what is left is one that failed already.
            self._file.close()
        for logger in self._loggers:
            with contextlib.suppress(Exception):  # A tracker that fails at the end must not hide how the run ended.
                logger.close()

    def metrics(self, line: dict[str, Any]) -> None:
        """Append one line, with the wall clock spent so far, and pass it on."""
        line = line | {"time_elapsed": round(time.monotonic() - self._started, 3)}
        written = (json.dumps(line, allow_nan=False) + "\n").encode()
        with files.writing(self._folder.metrics):
            self._file.write(written)
            self._file.flush()
        self._position = dataclasses.replace(
            self._position,
            metrics_lines=self._position.metrics_lines + 1,
            metrics_bytes=self._position.metrics_bytes + len(written),
        )
        self._display.show(line)
        for logger in tuple(self._loggers):
            try:
                logger.write(line)
            except Exception as error:  # Whatever a tracker raises, it must not end hours of training.
                self._loggers.remove(logger)
                reason = " ".join(str(error).split())[:200]
                self._display.note(f"warning: {type(logger).__name__} failed and gets no more lines: {reason}")

    def after_iteration(self, state: TrainState, evaluated: dict[str, Any] | None) -> bool:
        """Note the best policy, save when due, and say whether a signal asks to stop."""
        if evaluated is not None:
            self._say_standing(evaluated)
            score = (evaluated.get("win_rate", 0.0), evaluated["return_mean"])
            best = self._position.best is None or score >= self._position.best
            # Of its own where there are wins: elsewhere the best is the one with the highest return.
            highest = self._position.highest is None or score[1] >= self._position.highest
            if best:
                self._position = dataclasses.replace(self._position, best=score)
            if highest:
                self._position = dataclasses.replace(self._position, highest=score[1])
            for kind, new in (("best", best), ("highest-return", highest and "win_rate" in evaluated)):
                if new:
                    # Without a replay buffer, which the next iteration overwrites and only `latest` goes on from.
                    self._new_best[kind] = (state.without_replay(), self._metadata(state))
        self._last = (state, self._metadata(state)) if state.replay is None else None
        self._keep_snapshot(state)
        if self._due() or self._stop or int(state.iteration) == 0:
            self.save(state)
        return bool(self._stop)

    def _keep_snapshot(self, state: TrainState) -> None:
        """Keep the policy for good: the untrained one, and whenever a multiple of the interval has been passed."""
        interval, now = self._config.snapshot_interval, int(state.env_steps)
        due = now == 0 or (self._kept_at is not None and now // max(interval, 1) > self._kept_at // max(interval, 1))
        if interval and due:
            checkpoint.keep(self._folder.checkpoints, now, state.without_replay(), self._metadata(state))
        if due or self._kept_at is None:
            self._kept_at = now

    def _say_standing(self, evaluated: dict[str, Any]) -> None:
        """Say once, early, where the run stands beside finished ones of its method, where there are any."""
        before, now = self._evaluated_at, evaluated["env_steps"]
        self._evaluated_at = now
        if bands.due(self._config, before, now):
            standing = bands.standing(self._config, self._spec.version, now, evaluated["return_mean"])
            if standing is not None:
                self._display.note(f"{'warning: ' if standing.where == 'below' else ''}{standing.words}")

    def _due(self) -> bool:
        """Whether it is time for a checkpoint."""
        interval = self._config.checkpoint_interval
        if interval == 0:
            return True
        # Not over the share of time, but at least every two minutes unless a longer interval is asked for.
        stretched = min(self._save_seconds / SAVE_SHARE, MOST_SECONDS)
        return time.monotonic() - self._saved_at >= max(interval, stretched)

    def save(self, state: TrainState, metadata: dict[str, Any] | None = None) -> None:
        """Write the best policy so far, if it is new, and then `latest`, unless this very state is saved already.

        `metadata` is what was known when the state was new, if more has been written since.
        """
        if self._saved_iteration == int(state.iteration):
            return
        started = time.monotonic()
        with files.writing(self._folder.metrics):
            os.fsync(self._file.fileno())
        self.save_best()
        checkpoint.save(self._folder.checkpoints, "latest", state, metadata or self._metadata(state))
        self._saved_at, self._saved_iteration = time.monotonic(), int(state.iteration)
        self._save_seconds = self._saved_at - started

    def save_last(self) -> None:
        """Write what there is when an iteration fails, or its evaluation: the state before it, unless its replay
        buffer went with it. Lines written since belong to what failed."""
        if self._last is not None:
            self.save(*self._last)
        else:
            self.save_best()

    def save_best(self) -> None:
        """Write the best policies so far, by win rate and by return, if they are not on disk yet."""
        for kind, best in self._new_best.items():
            checkpoint.save(self._folder.checkpoints, kind, *best)
        self._new_best = {}

    def _metadata(self, state: TrainState) -> dict[str, Any]:
        position = dataclasses.replace(self._position, seconds=round(time.monotonic() - self._started, 3))
        if int(state.iteration) == 0:
            # The loop evaluates the untrained policy again when it starts from there, so that line is still to come.
            position = dataclasses.replace(position, metrics_lines=0, metrics_bytes=0)
        return {
            "env": self._spec.id,
            "env_version": self._spec.version,
            "config": to_dict(self._config),
            "env_steps": int(state.env_steps),
            "iteration": int(state.iteration),
            "position": dataclasses.asdict(position),
        }
