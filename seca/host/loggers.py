"""Optional loggers beside `metrics.jsonl`: TensorBoard and Weights & Biases."""

import importlib
import importlib.util
import pathlib
import threading
from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from seca.config import Logger, RunConfig, to_dict
from seca.errors import UsageError

MODULES: dict[str, str] = {"tensorboard": "tensorboardX", "wandb": "wandb"}
"""Module each logger needs; the extra has the logger's name."""

CLOSE_SECONDS = 30.0
"""How long TensorBoard's writer may take to end; one that has lost its thread never does."""


@runtime_checkable
class LineLogger(Protocol):
    """Takes the same lines as `metrics.jsonl`."""

    def write(self, line: dict[str, Any]) -> None:
        """Log one line."""

    def close(self) -> None:
        """Flush and let go."""


def check_installed(loggers: tuple[Logger, ...]) -> None:
    """Raise UsageError when the extra behind a logger is missing."""
    for name in loggers:
        if importlib.util.find_spec(MODULES[name]) is None:
            raise UsageError(f"`loggers` holds '{name}': not installed; run pip install 'seca[{name}]'")


def open_loggers(
    config: RunConfig, folder: pathlib.Path, env_steps: int, warn: Callable[[str], None]
) -> list[LineLogger]:
    """The loggers a run asks for, going on at `env_steps`; one that cannot be opened is left out with a warning."""
    opened = []
    for name in config.loggers:
        try:
            opened.append(_OPEN[name](config, folder, env_steps))
        except Exception as error:  # Whatever a tracker raises, it must not keep a run from its training.
            warn(f"warning: {name} cannot be opened and gets no lines: {' '.join(str(error).split())[:200]}")
    return opened


def scalars(line: dict[str, Any]) -> dict[str, float]:
    """The single numbers of a line, named `kind/name`; lists per agent get the agent's index."""
    named: dict[str, float] = {}
    for name, value in line.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            named[f"{line['kind']}/{name}"] = float(value)
        elif isinstance(value, list) and not name.startswith("episode_"):
            named |= {f"{line['kind']}/{name}/{index}": float(item) for index, item in enumerate(value)}
    return named


class TensorBoard:
    """Event files in `tensorboard/` of the run folder."""

    def __init__(self, config: RunConfig, folder: pathlib.Path, env_steps: int) -> None:
        del config
        tensorboard = importlib.import_module(MODULES["tensorboard"])
        # Points after `env_steps` come from a process that was killed; they are about to be written again. `purge_step`
        # drops its own step too, whose lines stay; of a run at its beginning nothing stays, not even the step 0.
        first = env_steps + 1 if env_steps else 0
        # A queue without end: where the thread that empties it has died of a full disk, nobody waits for it.
        self._writer = tensorboard.SummaryWriter(str(folder / "tensorboard"), purge_step=first, max_queue=0)

    def write(self, line: dict[str, Any]) -> None:
        """Log one line."""
        for name, value in scalars(line).items():
            self._writer.add_scalar(name, value, line["env_steps"])

    def close(self) -> None:
        """Flush and let go, for as long as that may take."""
        closing = threading.Thread(target=self._writer.close, daemon=True)
        closing.start()
        closing.join(CLOSE_SECONDS)


class WandB:
    """A run of project `seca` on Weights & Biases; a resumed run goes on under the same id."""

    def __init__(self, config: RunConfig, folder: pathlib.Path, env_steps: int) -> None:
        del env_steps
        wandb = importlib.import_module(MODULES["wandb"])
        marker = folder / "wandb_id"
        if not marker.exists():
            marker.write_text(wandb.util.generate_id())
        self._run = wandb.init(
            project="seca",
            name=folder.name,
            id=marker.read_text(),
            resume="allow",
            dir=str(folder),
            config=to_dict(config),
        )

    def write(self, line: dict[str, Any]) -> None:
        """Log one line at its env step. After a kill W&B drops the lines it has already seen: their step is past."""
        self._run.log(scalars(line), step=line["env_steps"])

    def close(self) -> None:
        """Flush and let go."""
        self._run.finish()


_OPEN: dict[str, Callable[[RunConfig, pathlib.Path, int], LineLogger]] = {"tensorboard": TensorBoard, "wandb": WandB}
