"""The run folder: what a run leaves on disk, and the only code that knows the names in it.

config.json         the whole configuration; a run can be repeated from it
environment.json    environment and its version, and one entry per session: versions, devices, commit
metrics.jsonl       one JSON object per line, `kind` train or eval
checkpoints/        latest-*, best-* (by win rate), highest-return-*, and what was kept on the way: snapshot-*
recordings/         battles played to be watched, one .npz each
result.json         trained and untrained policy at the end, side by side
absolute.json       the absolute metric, where it was measured
scenario/           copy of the scenario file, where the run plays one
opponent/           configuration and policy of the run it was trained against, where there is one
lock                held by the process that writes here
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from seca import config as configs
from seca import files
from seca.config import RunConfig
from seca.envs import registry
from seca.errors import UsageError
from seca.types import EnvSpec


@dataclasses.dataclass(frozen=True)
class RunFolder:
    """Paths inside a run folder."""

    path: pathlib.Path

    @property
    def config(self) -> pathlib.Path:
        """`config.json`."""
        return self.path / "config.json"

    @property
    def environment(self) -> pathlib.Path:
        """`environment.json`."""
        return self.path / "environment.json"

    @property
    def metrics(self) -> pathlib.Path:
        """`metrics.jsonl`."""
        return self.path / "metrics.jsonl"

    @property
    def checkpoints(self) -> pathlib.Path:
        """`checkpoints/`."""
        return self.path / "checkpoints"

    @property
    def recordings(self) -> pathlib.Path:
        """`recordings/`."""
        return self.path / "recordings"

    @property
    def result(self) -> pathlib.Path:
        """`result.json`."""
        return self.path / "result.json"

    @property
    def absolute(self) -> pathlib.Path:
        """`absolute.json`."""
        return self.path / "absolute.json"

    @property
    def opponent(self) -> "RunFolder":
        """`opponent/`: a run folder of its own, with what acting takes."""
        return RunFolder(self.path / "opponent")

    def scenario(self, env: str) -> pathlib.Path | None:
        """Where the copy of a scenario file belongs; None for environments that are none."""
        original = registry.scenario_file(env)
        return None if original is None else self.path / "scenario" / original.name

    def found_scenario(self, env: str) -> pathlib.Path | None:
        """The run's copy of its scenario, or, in runs made before there were copies, the file it was made from."""
        copy = self.scenario(env)
        return copy if copy is None or copy.is_file() else registry.scenario_file(env)

    @property
    def lock(self) -> pathlib.Path:
        """`lock`."""
        return self.path / "lock"


def free_path(config: RunConfig, parent: pathlib.Path = pathlib.Path("runs")) -> pathlib.Path:
    """A folder name that says what runs in it and does not exist yet."""
    name = f"{config.preset}-{config.env.split('/')[-1]}-seed{config.seed}"
    candidate, number = parent / name, 0
    while os.path.exists(candidate):
        number += 1
        candidate = parent / f"{name}-{number}"
    return candidate


def check_free(path: pathlib.Path) -> None:
    """Raise UsageError unless a new run can be put at `path`."""
    files.usable("out", path)
    if path.exists() and (not path.is_dir() or any(entry.name != "lock" for entry in path.iterdir())):
        raise UsageError(
            f"`out` is {path}: it exists already; choose another folder, or continue a run with `seca resume {path}`"
        )


@contextmanager
def created(path: pathlib.Path, config: RunConfig) -> Iterator[RunFolder]:
    """A new run folder at `path`, locked while the context lasts. Raises UsageError when there is one already."""
    check_free(path)
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"`out` is {path}: the folder cannot be made ({error.strerror})") from None
    folder = RunFolder(path)
    with locked(folder):
        check_free(path)  # Again: another process may have come first.
        files.write(folder.config, configs.to_json(config))
        yield folder


def existing(path: pathlib.Path, field: str = "run") -> RunFolder:
    """The run folder at `path`, as `field` names it. Raises UsageError when there is none."""
    folder = RunFolder(files.usable(field, path))
    if not path.is_dir():
        raise UsageError(f"`{field}` is {path}: there is no such folder")
    if not os.path.isfile(folder.config):
        raise UsageError(f"`{field}` is {path}: it is not a run folder (no config.json in it)")
    return folder


def read_config(path: pathlib.Path) -> RunConfig:
    """The configuration stored in a file. Raises UsageError when it cannot be read."""
    try:
        text = files.read_text(path)
    except ValueError as error:
        raise UsageError(f"`config` is {path}: it cannot be read ({error})") from None
    return configs.from_json(text, str(path))


@contextmanager
def locked(folder: RunFolder) -> Iterator[None]:
    """Hold the run folder for writing; the operating system lets go of it however the process ends.

    Raises UsageError when another process holds it, or it cannot be written.
    """
    try:
        opened = folder.lock.open("a+")
    except OSError as error:
        raise UsageError(
            f"`run` is {folder.path}: its file {folder.lock.name} cannot be written ({error.strerror})"
        ) from None
    with opened as file:
        if not _taken(file):
            file.seek(0)
            holder = file.read().strip() or "unknown"
            raise UsageError(f"`run` is {folder.path}: run folder in use by process {holder}") from None
        with contextlib.suppress(OSError):  # Only says who holds it: a full disk must not keep a run from going on.
            os.truncate(file.fileno(), 0)
            os.write(file.fileno(), str(os.getpid()).encode())
        yield


def _taken(file: IO[str]) -> bool:
    """Lock a file, if nobody holds it for longer than who only looks whether somebody does."""
    for _ in range(5):
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except OSError:
            time.sleep(0.05)
    return False


def add_session(folder: RunFolder, spec: EnvSpec, session: dict[str, Any]) -> None:
    """Add what this process runs on to `environment.json`; what earlier sessions wrote stays."""
    # The environment is that of the checkpoint gone on from, or, where there is none yet, today's.
    earlier = (read_environment(folder) or {"sessions": []})["sessions"]
    written = {"env": dataclasses.asdict(spec), "sessions": [*earlier, session]}
    files.write(folder.environment, json.dumps(written, indent=2) + "\n")


def read_environment(folder: RunFolder) -> dict[str, Any] | None:
    """Content of `environment.json`, or None where a run was killed before it was written."""
    if not folder.environment.exists():
        return None
    try:
        content = files.parse_json(files.read_text(folder.environment))
    except ValueError as error:
        raise UsageError(f"`run` is {folder.path}: environment.json cannot be read ({error})") from None
    if not isinstance(content, dict) or not isinstance(content.get("sessions"), list):
        raise UsageError(f"`run` is {folder.path}: environment.json holds no list of `sessions`")
    if not all(isinstance(session, dict) for session in content["sessions"]):
        raise UsageError(f"`run` is {folder.path}: environment.json holds `sessions` that are not objects")
    if not isinstance(content.get("env"), dict) or not isinstance(content["env"].get("version"), str):
        raise UsageError(f"`run` is {folder.path}: environment.json holds no `version` of the `env`")
    return content


def read_metrics(folder: RunFolder, kind: str | None = None) -> list[dict[str, Any]]:
    """Lines of `metrics.jsonl`, all or of one kind. A last line cut by a kill is left out."""
    if not folder.metrics.exists():
        raise UsageError(f"`run` is {folder.path}: it has no metrics.jsonl")
    try:
        lines = files.read_text(folder.metrics).split("\n")[:-1]
    except ValueError as error:
        raise UsageError(f"`run` is {folder.path}: metrics.jsonl cannot be read ({error})") from None
    records = []
    for number, line in enumerate(lines, start=1):
        try:
            record = files.parse_json(line)
            if not isinstance(record, dict) or not isinstance(record.get("kind"), str):
                raise ValueError("no object with a `kind`")
        except ValueError as error:
            reason = f"line {number} of metrics.jsonl cannot be read ({error})"
            raise UsageError(f"`run` is {folder.path}: {reason}") from None
        if kind in (None, record["kind"]):
            records.append(record)
    return records


def check_metrics(folder: RunFolder, lines: int, size: int) -> None:
    """Raise UsageError unless `metrics.jsonl` begins with `lines` lines of `size` bytes: those the checkpoint knows."""
    try:
        known = files.read_bytes(folder.metrics, size) if folder.metrics.exists() else b""
    except ValueError as error:
        raise UsageError(f"`run` is {folder.path}: metrics.jsonl cannot be read ({error})") from None
    if len(known) < size or known.count(b"\n") != lines or (known and not known.endswith(b"\n")):
        raise UsageError(
            f"`run` is {folder.path}: metrics.jsonl does not hold the {lines} lines ({size} bytes) that the checkpoint "
            "knows; it was changed"
        )


def cut_metrics(folder: RunFolder, size: int) -> None:
    """Keep the first `size` bytes of `metrics.jsonl`, which `check_metrics` found good."""
    with files.writing(folder.metrics):
        folder.metrics.touch()
        os.truncate(folder.metrics, size)
