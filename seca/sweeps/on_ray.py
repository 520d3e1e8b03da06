"""Runs of a sweep on a Ray cluster, whose nodes all see the sweep's folder.

Each run is one Ray task, which starts `seca sweep run` on its node and holds its standard input: when the node, Ray's
own processes on it or this process are gone, the run stops with a checkpoint, and where a node was lost another takes
it up from there. Nothing but paths, names and words travels through Ray.
"""

import contextlib
import os
import pathlib
import platform
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

from seca.errors import RunError, UsageError
from seca.host.cluster import alone, connected, first_line, found
from seca.host.signals import GRACE_SECONDS, stop_on_signals
from seca.sweeps import folder as sweeps
from seca.sweeps import local, status
from seca.sweeps.folder import SweepFolder
from seca.sweeps.plan import Cell, Plan
from seca.sweeps.slots import Slot
from seca.sweeps.work import TETHER

HELD_SECONDS = 100.0
"""How long a run that was lost may still be held: file servers keep a dead machine's locks for 90 s (NFS 4)."""
LOSSES = 20
"""How often a run is taken up again that was lost. More would be the run's own doing: it takes all memory, say."""
POLL_SECONDS = 0.2

Remote = Callable[..., Any]


def run(folder: SweepFolder, plan: Plan, address: str | None, jobs: int, shown: local.Board) -> int:
    """Make all runs that are not done, at most `jobs` side by side (0: as many as fit); returns the exit code.

    Runs that fail, and Ctrl-C, are as on one machine (`local.run`). `address` is `ray://HOST:PORT`, or None for the
    cluster this machine is in, and where it is in none for one of this machine alone. Raises UsageError when that is
    not there, and when a node does not see the folder; RunError when the cluster is gone on the way.
    """
    where = found(address)
    with stop_on_signals(lambda: how_to_go_on(folder), GRACE_SECONDS + 1.5) as stop, alone(), connected(where) as ray:
        failed = _run(ray, folder, plan, jobs, shown, lambda: bool(stop))
        if stop:
            shown.note(how_to_go_on(folder))
            return stop.exit_code
        seen = status.overview(folder, plan)
        shown.show(seen, 1)
        elsewhere = seen.count("running")
        shown.note(seen.line(1) + (f"; {elsewhere} go on in other processes" if elsewhere else ""))
        return 1 if failed else 0


def how_to_go_on(folder: SweepFolder) -> str:
    """What is said of a sweep that was stopped."""
    return f"stopped; go on with: seca sweep {folder.path} --on ray"


def needs(devices: int, there: Mapping[str, float], platforms: str) -> dict[str, int]:
    """What a run asks of its node: GPUs only where the cluster has some, else cores.

    A task that asks for what no node has waits for ever, and without a word.

    Args:
        devices: of the run; 0 is 1.
        there: all resources of the cluster, by Ray's names.
        platforms: JAX_PLATFORMS.
    """
    if there.get("GPU", 0) >= 1 and platforms != "cpu":
        return {"num_cpus": 1, "num_gpus": devices or 1}
    return {"num_cpus": devices or 1, "num_gpus": 0}


def _run(ray: Any, folder: SweepFolder, plan: Plan, jobs: int, shown: local.Board, stopped: Callable[[], bool]) -> int:
    """The loop; returns how many runs failed."""
    seen = status.overview(folder, plan)
    left = [cell for cell in plan.cells if seen.runs[cell.name].state != "done"]
    # Who goes on elsewhere comes last: it may be just stopping, after a sweep that was killed, and is waited for.
    queue = sorted(left, key=lambda cell: seen.runs[cell.name].state == "running")
    tasks: dict[Any, Cell] = {}
    failed, looked_at, most = 0, -local.LOOK_SECONDS, jobs or len(queue)
    there = ray.cluster_resources()
    shown.note(_described(ray.nodes(), there))
    if lacking := _lacking(ray.nodes(), [_needs(cell, there) for cell in queue]):
        shown.note(lacking)
    task = ray.remote(make)
    path, environment = str(folder.path.absolute()), handed_on(os.environ)
    try:
        while (queue or tasks) and not stopped():
            while queue and len(tasks) < most:
                cell = queue.pop(0)
                asked = task.options(**_needs(cell, there), max_retries=LOSSES, scheduling_strategy="SPREAD")
                tasks[asked.remote(path, cell.name, environment)] = cell
            for ended in ray.wait(list(tasks), num_returns=1, timeout=POLL_SECONDS)[0]:
                failed += not _ended(ray, folder, tasks.pop(ended), ended, shown)
            if time.monotonic() - looked_at >= local.LOOK_SECONDS:
                seen = status.overview(folder, plan)
                shown.show(seen, max(1, seen.count("running")))
                looked_at = time.monotonic()
        _cancel(ray, folder, plan, tasks)
    except (ConnectionError, ray.exceptions.RaySystemError) as error:
        raise RunError(
            f"the Ray cluster is gone ({first_line(error)}): its runs stop with a checkpoint; {how_to_go_on(folder)}"
        ) from None
    except UsageError:
        _cancel(ray, folder, plan, tasks)
        raise
    return failed


def _needs(cell: Cell, there: Mapping[str, float]) -> dict[str, int]:
    return needs(cell.config.devices, there, os.environ.get("JAX_PLATFORMS", ""))


def _described(nodes: list[dict[str, Any]], there: Mapping[str, float]) -> str:
    alive = sum(node["Alive"] for node in nodes)
    gpus = f", {there['GPU']:.0f} GPUs" if there.get("GPU") else ""
    return f"Ray cluster: {alive} {'node' if alive == 1 else 'nodes'}, {there.get('CPU', 0):.0f} CPUs{gpus}"


def _lacking(nodes: list[dict[str, Any]], asked: list[dict[str, int]]) -> str:
    """What no node has, in words; empty where each run fits on some."""
    kinds = (("CPU", "num_cpus"), ("GPU", "num_gpus"))
    for need in asked:
        fits = [
            node
            for node in nodes
            if node["Alive"] and all(node["Resources"].get(kind, 0) >= need[name] for kind, name in kinds)
        ]
        if not fits:
            wanted = " and ".join(f"{need[name]:.0f} {kind}" for kind, name in kinds if need[name])
            return f"no node of the cluster has the {wanted} that a run asks for: it waits until one joins"
    return ""


def _ended(ray: Any, folder: SweepFolder, cell: Cell, task: Any, shown: local.Board) -> bool:
    """Tell how a run ended; whether it did well. Raises UsageError where its node cannot make any."""
    try:
        outcome, words = ray.get(task)
    except ray.exceptions.RayTaskError as error:  # Of our function, on the node: no such package there, say.
        outcome, words = "failed", f"on its node: {str(error).strip().splitlines()[-1][:300]}"
    except (ray.exceptions.RuntimeEnvSetupError, ray.exceptions.TaskUnschedulableError) as error:
        outcome, words = "failed", first_line(error)
    except (ray.exceptions.WorkerCrashedError, ray.exceptions.NodeDiedError, ray.exceptions.OutOfMemoryError) as error:
        outcome, words = "failed", f"lost {LOSSES + 1} times: {first_line(error)}"
    if outcome == "unseen":
        raise UsageError(words)
    if words:
        shown.note(f"{cell.name} {words}" if outcome == "busy" else f"{cell.name} failed, {words}")
    return outcome != "failed"


def _cancel(ray: Any, folder: SweepFolder, plan: Plan, tasks: Mapping[Any, Cell]) -> None:
    """Ask all to stop, and wait as long as a run may take for it; what is left then is let go of.

    That runs have stopped is seen at their folders: Ray says so of all its tasks seconds later, or not at all.
    """
    for task in tasks:
        ray.cancel(task)
    until = time.monotonic() + GRACE_SECONDS
    while time.monotonic() < until:
        if all(sweeps.progress(folder, plan, cell).state != "running" for cell in tasks.values()):
            return
        time.sleep(POLL_SECONDS)


def handed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """What decides how a run computes, of the environment that a sweep is started in: its nodes have another."""
    mine = ("SECA_", "JAX_", "XLA_")
    return {name: value for name, value in environment.items() if name.startswith(mine) and name != TETHER}


def make(path: str, name: str, environment: Mapping[str, str]) -> tuple[str, str]:
    """One run of the sweep at `path`, on the node that this is called on.

    Returns `done`, `failed`, `busy` (another process is at it) or `unseen` (the folder is not here), and words. Ends
    the run with a checkpoint when it is interrupted.
    """
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN and threading.current_thread() is threading.main_thread():
        # By SIGINT's handler Ray interrupts; a node that a script started in its background ignores that signal.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    begun = begin(pathlib.Path(path), name, environment)
    if not isinstance(begun, local.Worker):
        return begun
    try:
        while begun.process.poll() is None:  # In small steps: Ray interrupts between them.
            time.sleep(POLL_SECONDS)
    finally:
        end(begun)
    return outcome(SweepFolder(pathlib.Path(path)), name, begun.process.returncode)


def begin(path: pathlib.Path, name: str, environment: Mapping[str, str]) -> local.Worker | tuple[str, str]:
    """Start the process of a run, once whoever was lost with it has let go of it; or say why not, as `make` does."""
    folder = SweepFolder(path)
    if not folder.plan.is_file():
        return "unseen", (
            f"`sweep` is {path}: {platform.node()} does not see that folder; it must be on a file system of all nodes"
        )
    plan = sweeps.read_plan(folder)
    cell = next(cell for cell in plan.cells if cell.name == name)
    until = time.monotonic() + HELD_SECONDS
    while sweeps.progress(folder, plan, cell).state == "running":
        if time.monotonic() > until:
            return "busy", "is left to another process, which is at it"
        time.sleep(POLL_SECONDS)
    return local.start(folder, cell, Slot(environment=tuple(environment.items())))


def end(worker: local.Worker) -> None:
    """Let go of a run's process: one that goes on is asked to stop, and ended where it does not in time."""
    process = worker.process
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(GRACE_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    if process.stdin is not None:
        with contextlib.suppress(OSError):
            process.stdin.close()


def outcome(folder: SweepFolder, name: str, code: int) -> tuple[str, str]:
    """How a run ended, by its exit code, as `make` says it."""
    if code == 0:
        return "done", ""
    return "failed", f"{sweeps.note_failure(folder, name, code)}; see {folder.log(name)}"
