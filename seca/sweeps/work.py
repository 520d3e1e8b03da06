"""One run of a sweep from wherever it is to its end: what every worker does, on this machine or another."""

import os
import shutil
import signal
import sys
import threading

from seca import files
from seca.errors import UsageError
from seca.host import machine
from seca.host.display import PlainDisplay
from seca.runs import folder as folders
from seca.runs import run
from seca.runs.absolute import measure_if_kept
from seca.sweeps import folder as sweeps
from seca.sweeps.folder import SweepFolder
from seca.sweeps.plan import Cell, differences
from seca.train import checkpoint

TETHER = "SECA_TETHER"
"""In the environment of a worker: its standard input is held open by who started it, and ends when that one does."""


def work(folder: SweepFolder, name: str) -> int:
    """Begin a run or go on with it, and measure it; returns the exit code. Where nothing is left to do, that is 0."""
    plan = sweeps.read_plan(folder)
    cell = next((cell for cell in plan.cells if cell.name == name), None)
    if cell is None:
        raise UsageError(
            f"`run` is {name}: {folder.path} has no run of that name; see `seca sweep status {folder.path}`"
        )
    _hold_on()
    home = folder.run(name)
    if home.config.is_file() and (changed := differences(folders.read_config(home.config), cell.config)):
        raise UsageError(f"`run` is {home.path}: a run with other settings is there ({'; '.join(changed)})")
    if sweeps.is_done(folder, plan, cell):
        return 0
    machine.configure(cell.config.devices, cell.config.loop.update_episodes)
    if not home.result.is_file():
        code = _train(folder, cell)
        if code:
            return code
    if plan.absolute:
        measure_if_kept(home.path)
    return 0


def _train(folder: SweepFolder, cell: Cell) -> int:
    """Train to the end: from the latest checkpoint where there is one."""
    home, display = folder.run(cell.name), PlainDisplay(cell.config.loop.steps, episodes=cell.config.loop.episodes)
    if not home.config.is_file():
        return run.start(cell.config, home.path, display)
    if checkpoint.find(home.checkpoints, "latest"):
        return run.resume(home.path, "latest", display)
    # Nothing to go on from: it was stopped before its first checkpoint, or somebody took them away.
    with folders.locked(home), files.writing(home.path):
        if home.metrics.is_file() and len(folders.read_metrics(home)) > 1:
            print(
                f"{cell.name} has metrics and no checkpoint: moved to {sweeps.set_aside(folder, cell.name)}", flush=True
            )
        else:
            shutil.rmtree(home.path)
    return run.start(cell.config, home.path, display)


def _hold_on() -> None:
    """Stop as by SIGTERM when the process that started this one is gone, whatever ended it."""
    if TETHER not in os.environ:
        return

    def watch() -> None:
        while os.read(0, 1):
            pass
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()


def command(folder: SweepFolder, name: str) -> list[str]:
    """How a process is told to do it."""
    return [sys.executable, "-m", "seca", "sweep", "run", str(folder.path), name]
