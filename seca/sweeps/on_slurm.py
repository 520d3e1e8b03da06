"""Runs of a sweep as a SLURM array, by submitit: handed in, and on their own from then on.

A job is one run. At its time limit, when it is preempted and when its node is lost SLURM queues it again, and it takes
its run up from the checkpoint. What submitit keeps is in `slurm/` of the sweep's folder.
"""

import contextlib
import importlib.util
import json
import pathlib
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from typing import Any

from seca import files
from seca.errors import RunError, UsageError
from seca.host.signals import StopRequest
from seca.sweeps import local, status
from seca.sweeps.folder import SweepFolder
from seca.sweeps.on_ray import POLL_SECONDS, begin, end, outcome
from seca.sweeps.plan import Cell, Plan

PARAMETERS: Mapping[str, type] = {
    "partition": str,
    "account": str,
    "qos": str,
    "constraint": str,
    "nodelist": str,
    "exclude": str,
    "gres": str,
    "timeout_min": int,
    "mem_gb": int,
    "cpus_per_task": int,
    "gpus_per_node": int,
    "setup": str,
}
"""What can be said after `slurm:`, by submitit's names; `setup` is a shell command before each run."""

TIMEOUT_MIN = 240
"""Minutes of a job that are asked for where nothing is said. A run that takes longer is queued again."""
REQUEUES = 1_000
"""How often a job may reach its time limit."""
ASK_SECONDS = 30.0
"""How long SLURM may take to say what is queued."""


def parsed(text: str) -> dict[str, str]:
    """`partition=gpu,timeout_min=600`, as a mapping. Raises UsageError for anything else."""
    options: dict[str, str] = {}
    for word in text.split(",") if text else []:
        name, equals, value = word.partition("=")
        if not equals or not name or not value:
            raise UsageError(f"`on` is 'slurm:{text}': NAME=VALUE is needed in place of '{word}'")
        if name in options:
            raise UsageError(f"`on` is 'slurm:{text}': {name} is given twice")
        options[name] = value
    return options


def parameters(options: Mapping[str, str]) -> dict[str, Any]:
    """The parameters of SLURM, as submitit takes them. Raises UsageError for one that is not known, or no number."""
    found: dict[str, Any] = {}
    for name, value in options.items():
        if name not in PARAMETERS:
            raise UsageError(f"`on` gives SLURM's '{name}': choose among {', '.join(PARAMETERS)}")
        if PARAMETERS[name] is int:
            least = 0 if name == "gpus_per_node" else 1
            if not value.isdecimal() or len(value) > 7 or int(value) < least:
                raise UsageError(f"`on` gives SLURM's {name} as '{value}': a whole number from {least} is needed there")
        common = PARAMETERS[name] is int
        found[name if common else f"slurm_{name}"] = int(value) if common else [value] if name == "setup" else value
    return found


def check(options: Mapping[str, str], executor: str | None = None) -> dict[str, Any]:
    """The parameters of SLURM. Raises UsageError for one that is not known, without submitit, and without SLURM."""
    wanted = parameters(options)
    if importlib.util.find_spec("submitit") is None:
        raise UsageError("`on` is 'slurm': that needs submitit; install it by: pip install 'seca[slurm]'")
    if executor is None and (shutil.which("sbatch") is None or shutil.which("srun") is None):
        raise UsageError("`on` is 'slurm': there is no SLURM on this machine (`sbatch` is not found)")
    return wanted


def run(
    folder: SweepFolder,
    plan: Plan,
    options: Mapping[str, str],
    jobs: int,
    shown: local.Board,
    executor: str | None = None,
) -> int:
    """Hand in all runs that are not done, running or queued, as one array, and return the exit code at once.

    Args:
        folder: on a file system that all nodes see.
        plan: its runs.
        options: parameters of SLURM, of PARAMETERS.
        jobs: how many may run side by side; 0 leaves that to SLURM.
        shown: told what was handed in, and how to watch and stop it.
        executor: of submitit: `local` makes the runs on this machine, at once; None is SLURM.

    Raises UsageError where there is no SLURM or no submitit, and for what SLURM refuses.
    """
    wanted = check(options, executor)
    seen = status.overview(folder, plan)
    queued = _queued(folder) if executor is None else {}
    left = [cell for cell in plan.cells if seen.runs[cell.name].state not in ("done", "running")]
    cells = [cell for cell in left if cell.name not in queued]
    if len(cells) < len(left):
        shown.note(f"{len(left) - len(cells)} runs are queued already")
    if not cells:
        shown.note(seen.line(1))
        return 0
    handed_in = _submit(folder, cells, wanted, jobs or len(cells), executor or "slurm")
    first = next(iter(handed_in.values())).split("_")[0]
    files.write(_record(folder), json.dumps({**queued, **handed_in}, indent=1) + "\n")
    shown.note(
        f"{len(cells)} runs handed in as job {first}, which goes on by itself; watch: seca sweep status "
        f"{folder.path}" + (f"; stop: scancel {first}" if executor is None else "")
    )
    return 0


def _submit(
    folder: SweepFolder, cells: list[Cell], wanted: Mapping[str, Any], abreast: int, executor: str
) -> dict[str, str]:
    """Job ids by the names of runs."""
    import submitit

    path = folder.path.absolute()
    home = submitit.AutoExecutor(path / "slurm", cluster=executor, slurm_max_num_timeout=REQUEUES)
    usual: dict[str, Any] = {
        "name": "seca",
        "nodes": 1,
        "tasks_per_node": 1,
        "timeout_min": TIMEOUT_MIN,
        "cpus_per_task": max(cell.config.devices or 1 for cell in cells),
        "slurm_array_parallelism": abreast,
        "slurm_additional_parameters": {"requeue": True},
    }
    home.update_parameters(**usual | dict(wanted))
    try:
        submitted = home.submit_array([Errand(str(path), cell.name) for cell in cells])
    except submitit.core.utils.FailedJobError as error:
        said = [line.strip() for line in str(error).splitlines() if line.strip()]
        words = next((line for line in said if line.startswith("sbatch:")), said[-1] if said else "no word")
        raise UsageError(f"`on` is 'slurm': {words[:300]}") from None
    return {cell.name: job.job_id for cell, job in zip(cells, submitted, strict=True)}


def _record(folder: SweepFolder) -> pathlib.Path:
    return folder.path / "slurm" / "jobs.json"


def _queued(folder: SweepFolder) -> dict[str, str]:
    """Jobs that were handed in before and that SLURM still knows, by the names of their runs."""
    try:
        before = files.parse_json(files.read_text(_record(folder)))
        asked = ["squeue", "--me", "--array", "--noheader", "--format=%i"]
        # One run alone is no array: its id is that of the job.
        ended = subprocess.run(asked, capture_output=True, text=True, timeout=ASK_SECONDS, check=True)
        known = set(ended.stdout.split())
        return {str(name): str(job) for name, job in dict(before).items() if job in known}
    except (OSError, ValueError, TypeError, subprocess.SubprocessError):
        return {}  # Handed in twice, a run is still made once: its folder is locked.


class Errand:
    """What a job does: one run of the sweep at `path`, from wherever it is to its end."""

    def __init__(self, path: str, name: str) -> None:
        self.path, self.name = path, name
        self._worker: local.Worker | None = None

    def __call__(self) -> None:
        """Make the run. Raises RunError with how it failed, and when it is stopped."""
        stop = StopRequest()
        signal.signal(signal.SIGTERM, stop.remember)  # `scancel`, half a minute before the end.
        begun = begin(pathlib.Path(self.path), self.name, {})
        if not isinstance(begun, local.Worker):
            raise RunError(begun[1])
        self._worker = begun
        try:
            while begun.process.poll() is None and not stop:
                time.sleep(POLL_SECONDS)
        finally:
            end(begun)
        if stop:
            raise RunError("stopped")
        ended, words = outcome(SweepFolder(pathlib.Path(self.path)), self.name, begun.process.returncode)
        if ended == "failed":
            raise RunError(words)

    def checkpoint(self) -> Any:
        """Stop the run with a checkpoint, and say what is to be queued again: submitit asks, before a job's end."""
        import submitit

        if self._worker is not None:
            with contextlib.suppress(OSError):
                end(self._worker)
        return submitit.helpers.DelayedSubmission(Errand(self.path, self.name))
