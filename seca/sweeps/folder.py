"""The folder of a sweep, and how far each of its runs is, which the run folders themselves say.

sweep.toml          what was asked for
sweep.json          its runs, one by one: names, and the configurations they are made with
runs/NAME           run folders
logs/NAME.txt       what a run's process printed
failed/NAME.json    how a run failed; gone when it is tried again
replaced/           runs whose settings changed, moved aside (`--changed again`)
lock                held by the process that starts runs
"""

import contextlib
import dataclasses
import fcntl
import json
import os
import pathlib
from collections.abc import Iterator
from typing import Any, Literal

from seca import config as configs
from seca import files
from seca.config import to_dict
from seca.errors import UsageError
from seca.runs import folder as folders
from seca.runs.folder import RunFolder
from seca.sweeps.plan import Cell, Plan, differences

FORMAT = 1
"""Version of the layout of `sweep.json`."""

State = Literal["waiting", "running", "stopped", "failed", "done"]
Changed = Literal["ask", "keep", "again"]


@dataclasses.dataclass(frozen=True)
class SweepFolder:
    """Paths inside the folder of a sweep."""

    path: pathlib.Path

    @property
    def toml(self) -> pathlib.Path:
        """`sweep.toml`."""
        return self.path / "sweep.toml"

    @property
    def plan(self) -> pathlib.Path:
        """`sweep.json`."""
        return self.path / "sweep.json"

    @property
    def lock(self) -> pathlib.Path:
        """`lock`."""
        return self.path / "lock"

    def run(self, name: str) -> RunFolder:
        """Folder of a run."""
        return RunFolder(self.path / "runs" / name)

    def log(self, name: str) -> pathlib.Path:
        """What a run's process printed."""
        return self.path / "logs" / f"{name}.txt"

    def failure(self, name: str) -> pathlib.Path:
        """How a run failed."""
        return self.path / "failed" / f"{name}.json"


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far a run is."""

    state: State
    env_steps: int = 0
    evaluated: dict[str, Any] | None = None
    """Its last evaluation, or the result of a run that is done."""
    seconds: float = 0.0
    """Wall clock that training took so far."""
    failure: str | None = None
    """How it failed, in one line."""


def is_sweep(path: pathlib.Path) -> bool:
    """Whether a folder is that of a sweep."""
    return SweepFolder(path).plan.is_file()


def begun(path: pathlib.Path) -> list[pathlib.Path]:
    """Run folders of a sweep, of runs that have been evaluated. Raises UsageError when its plan cannot be read."""
    folder = existing(path)
    runs = [folder.run(cell.name) for cell in read_plan(folder).cells]
    return [run.path for run in runs if run.config.is_file() and run.metrics.is_file()]


def missing(path: pathlib.Path) -> list[str]:
    """What must be said of a sweep whose runs are shown: how many have not begun, and methods that have none."""
    folder = existing(path)
    cells, there = read_plan(folder).cells, set(begun(path))
    absent = [cell for cell in cells if folder.run(cell.name).path not in there]
    if not absent:
        return []
    failed = sum(folder.failure(cell.name).is_file() for cell in absent)
    shown = {cell.method for cell in cells if cell not in absent}
    none = list(dict.fromkeys(cell.method for cell in absent if cell.method not in shown))
    words = f"{len(absent)} of {len(cells)} runs of {path} are not there" + (f", {failed} failed" if failed else "")
    return [words + (f"; there is none of {', '.join(none)}" if none else "")]


def existing(path: pathlib.Path) -> SweepFolder:
    """The folder of a sweep at `path`. Raises UsageError when there is none."""
    folder = SweepFolder(files.usable("sweep", path))
    if not path.is_dir():
        raise UsageError(f"`sweep` is {path}: there is no such folder")
    if not folder.plan.is_file():
        raise UsageError(f"`sweep` is {path}: it is not the folder of a sweep (no sweep.json in it)")
    return folder


def read_plan(folder: SweepFolder) -> Plan:
    """The runs of a sweep as they are made. Raises UsageError when they cannot be read."""
    source = str(folder.plan)
    try:
        data = files.parse_json(files.read_text(folder.plan))
        text = files.read_text(folder.toml) if folder.toml.exists() else ""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise ValueError(f"this version of seca reads `format` {FORMAT}")
        cells = tuple(
            Cell(str(run["name"]), str(run["variant"]), configs.from_json(json.dumps(run["config"]), source))
            for run in data["runs"]
        )
        for cell in cells:
            if pathlib.PurePath(cell.name).name != cell.name or cell.name in ("", ".", ".."):
                raise ValueError(f"`name` {cell.name!r} is no folder name")
        return Plan(str(data["title"]), cells, bool(data["absolute"]), text)
    except UsageError:
        raise
    except (ValueError, KeyError, TypeError) as error:
        reason = f"no {error}" if isinstance(error, KeyError) else str(error)
        raise UsageError(f"`sweep` is {folder.path}: sweep.json cannot be read ({reason})") from None


def _write_plan(folder: SweepFolder, plan: Plan) -> None:
    runs = [{"name": cell.name, "variant": cell.variant, "config": to_dict(cell.config)} for cell in plan.cells]
    written = {"format": FORMAT, "title": plan.title, "absolute": plan.absolute, "runs": runs}
    files.write(folder.plan, json.dumps(written, indent=1) + "\n")
    files.write(folder.toml, plan.text)


@contextlib.contextmanager
def opened(path: pathlib.Path, plan: Plan, changed: Changed = "ask") -> Iterator[tuple[SweepFolder, Plan, list[str]]]:
    """The folder of a sweep, made or taken up again, locked while the context lasts; its runs; and what to tell of it.

    `changed` says what becomes of runs that have begun and were asked for with other settings, or not at all, by now:
    `keep` goes on with them as they were, `again` moves them aside. Raises UsageError for `ask` where there are any,
    for a folder that holds something else, and where another process runs this sweep.
    """
    files.usable("out", path)
    folder = SweepFolder(path)
    if path.exists() and not is_sweep(path) and (not path.is_dir() or any(map(_is_foreign, path.iterdir()))):
        raise UsageError(f"`out` is {path}: something else than a sweep is there already; choose another folder")
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UsageError(f"`out` is {path}: the folder cannot be made ({error.strerror})") from None
    with locked(folder):
        told: list[str] = []
        if folder.plan.is_file():
            plan, told = _merged(folder, read_plan(folder), plan, changed)
        _write_plan(folder, plan)
        yield folder, plan, told


def _is_foreign(path: pathlib.Path) -> bool:
    """Whether something in a folder is not what a sweep killed at its very beginning leaves there."""
    return path.name not in ("lock", "sweep.toml") and not path.name.startswith(".tmp-")


def _merged(folder: SweepFolder, before: Plan, now: Plan, changed: Changed) -> tuple[Plan, list[str]]:
    """The runs to make, where some may have begun with other settings; and what to tell of that."""
    old, new = ({cell.name: cell for cell in plan.cells} for plan in (before, now))
    begun = [name for name in old if folder.run(name).path.exists()]
    unlike = {name: "no longer asked for" for name in begun if name not in new}
    for name in begun:
        if name in new and (found := differences(old[name].config, new[name].config)):
            unlike[name] = "; ".join(found)
    added = [name for name in new if name not in old]
    told = [f"{len(added)} runs more than before"] if added else []
    waiting = [name for name in old if name not in begun]
    gone = [name for name in waiting if name not in new]
    told += [f"{len(gone)} runs less, which had not begun"] if gone else []
    other = [name for name in waiting if name in new and differences(old[name].config, new[name].config)]
    told += [f"{len(other)} runs that had not begun have other settings now"] if other else []
    if not unlike:
        return now, told
    shown = [f"{name}: {what}" for name, what in list(unlike.items())[:3]]
    words = " | ".join(shown) + (f" | and {len(unlike) - 3} more" if len(unlike) > 3 else "")
    if changed == "ask":
        raise UsageError(
            f"`sweep` changed since {folder.path} began, in runs that were made already ({words}): `--changed keep` "
            "goes on with those as they were, `--changed again` moves them aside and makes them again"
        )
    if changed == "keep":
        kept = [old[name] if name in unlike else cell for name, cell in new.items()]
        dropped = [old[name] for name in unlike if name not in new]
        return dataclasses.replace(now, cells=(*kept, *dropped)), [*told, f"kept as they were: {words}"]
    with contextlib.ExitStack() as held:  # All or none: another process may be at one of them.
        for name in unlike:
            held.enter_context(folders.locked(folder.run(name)))
        for name in unlike:
            set_aside(folder, name)
    return now, [*told, f"moved to {folder.path / 'replaced'}: {words}"]


def set_aside(folder: SweepFolder, name: str) -> pathlib.Path:
    """Move a run to `replaced/`, under the first free number; returns where it is."""
    aside = folder.path / "replaced"
    aside.mkdir(exist_ok=True)
    number = next(n for n in range(1, 10**6) if not (aside / f"{name}-{n}").exists())
    os.rename(folder.run(name).path, aside / f"{name}-{number}")
    folder.failure(name).unlink(missing_ok=True)
    return aside / f"{name}-{number}"


@contextlib.contextmanager
def locked(folder: SweepFolder) -> Iterator[None]:
    """Hold a sweep: who starts its runs is one process. Raises UsageError when another does."""
    try:
        file = folder.lock.open("a+")
    except OSError as error:
        raise UsageError(f"`sweep` is {folder.path}: its lock cannot be written ({error.strerror})") from None
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise UsageError(
                f"`sweep` is {folder.path}: another process runs it; watch it by `seca sweep status {folder.path}`"
            ) from None
        yield


def progress(folder: SweepFolder, plan: Plan, cell: Cell) -> Progress:
    """How far a run is. Reads the ends of its files only, so that hundreds can be looked at every few seconds."""
    run = folder.run(cell.name)
    if not run.config.is_file():
        failure = _failure(folder, cell.name)
        return Progress("failed" if failure else "waiting", failure=failure)
    lines = _last_lines(run.metrics)
    latest = max((line["env_steps"] for line in lines), default=0)
    evaluated = next((line for line in reversed(lines) if line["kind"] == "eval"), None)
    told = [line.get("time_elapsed") for line in lines]
    seconds = max((float(value) for value in told if isinstance(value, int | float)), default=0.0)
    if is_done(folder, plan, cell):
        return Progress("done", latest, _result(run) or evaluated, seconds)
    if _is_held(run.lock):
        return Progress("running", latest, evaluated, seconds)
    failure = _failure(folder, cell.name)
    return Progress("failed" if failure else "stopped", latest, evaluated, seconds, failure)


def is_done(folder: SweepFolder, plan: Plan, cell: Cell) -> bool:
    """Whether nothing is left to do of a run: it was trained and measured."""
    run = folder.run(cell.name)
    if not run.result.is_file() or not (run.absolute.is_file() or not plan.absolute):
        return False
    try:  # A run of other settings may have been put there.
        return not differences(folders.read_config(run.config), cell.config)
    except UsageError:
        return False


def note_failure(folder: SweepFolder, name: str, code: int) -> str:
    """Keep how a run failed, by its exit code and the last line that it printed; returns that in one line."""
    said = [line for line in _tail(folder.log(name)).splitlines() if line.strip()]
    how = f"killed by signal {-code}" if code < 0 else f"exit code {code}"
    words = f"{how}: {said[-1].strip()[:500] if said else 'it printed nothing'}"
    files.write(folder.failure(name), json.dumps({"exit_code": code, "words": words}) + "\n")
    return words


def _failure(folder: SweepFolder, name: str) -> str | None:
    path = folder.failure(name)
    if not path.is_file():
        return None
    try:
        return str(files.parse_json(files.read_text(path))["words"])
    except (ValueError, KeyError, TypeError):
        return f"{path.name} cannot be read"


def _result(run: RunFolder) -> dict[str, Any] | None:
    """What the trained policy did at the end."""
    try:
        found = files.parse_json(files.read_text(run.result))["trained"]
        return found if isinstance(found, dict) else None
    except (ValueError, KeyError, TypeError):
        return None


def is_run(folder: SweepFolder) -> bool:
    """Whether a process makes the runs of a sweep."""
    return _is_held(folder.lock)


def _is_held(lock: pathlib.Path) -> bool:
    """Whether a process holds a folder. (Who wants it meanwhile tries more than once: `folders.locked`.)"""
    try:
        with lock.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        return False
    return False


_TAIL = 2**16
"""Bytes read of the end of a file: lines of several evaluations and many iterations."""


def _tail(path: pathlib.Path, size: int = _TAIL) -> str:
    try:
        with path.open("rb") as file:
            file.seek(max(0, os.fstat(file.fileno()).st_size - size))
            return file.read().decode("utf-8", errors="replace")
    except OSError:
        return ""


def _last_lines(path: pathlib.Path) -> list[dict[str, Any]]:
    """The last lines of metrics that are whole and say what one wants to know."""
    found = _lines(_tail(path))
    if any(line["kind"] == "eval" for line in found) or not found:
        return found
    return _lines(_tail(path, 16 * _TAIL))  # Hundreds of iterations since the last evaluation.


def _lines(text: str) -> list[dict[str, Any]]:
    found = []
    for line in text.split("\n"):
        with contextlib.suppress(ValueError):
            record = json.loads(line)
            if isinstance(record, dict) and type(record.get("env_steps")) is int and "kind" in record:
                found.append(record)
    return found
