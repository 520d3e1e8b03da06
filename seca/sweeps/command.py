"""`seca sweep`: from a file or the command line to runs, and how far they are."""

import dataclasses
import json
import pathlib
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from seca.errors import UsageError
from seca.sweeps import folder as sweeps
from seca.sweeps import local, plan, slots, status
from seca.sweeps.folder import Changed, SweepFolder
from seca.sweeps.plan import Plan

HOME = pathlib.Path("sweeps")
"""Where sweeps go that are not told."""
WATCH_SECONDS = 5.0


def planned(
    sweep: pathlib.Path | None,
    out: pathlib.Path | None,
    methods: Sequence[str],
    envs: Sequence[str],
    seeds: Sequence[int],
    options: Mapping[str, Any],
) -> tuple[pathlib.Path, Plan]:
    """Folder and runs: of a file, of a folder to go on with, or as the command line names them.

    Raises UsageError where that is not one of the three.
    """
    told = [
        field
        for field, value in (("methods", methods), ("envs", envs), ("seeds", seeds), ("options", options))
        if value
    ]
    if sweep is None:
        if not methods or not envs:
            missing = "methods" if not methods else "envs"
            raise UsageError(f"`{missing}` is empty: give a file (seca sweep FILE.toml), or --methods and --envs")
        text = plan.written(methods, envs, seeds or range(5), options)
        made = plan.from_text(text, "the command line", "sweep")
        return out or HOME / "-".join(sorted({cell.config.env.split("/")[-1] for cell in made.cells})), made
    if told:
        raise UsageError(f"`{told[0]}` is given beside `sweep` {sweep}: write it there, or leave one of them out")
    if sweep.is_dir():
        if out is not None:
            raise UsageError(f"`out` is {out} but `sweep` {sweep} is a folder already: leave one of them out")
        folder = sweeps.existing(sweep)
        return sweep, sweeps.read_plan(folder)
    return out or HOME / sweep.stem, plan.read(sweep)


def run(path: pathlib.Path, wanted: Plan, jobs: int, on: str, changed: Changed) -> int:
    """Make all runs of a plan in the folder at `path`, where `on` says; returns the exit code."""
    make = _launcher(wanted, jobs, on)
    with sweeps.opened(path, wanted, changed) as (folder, made, news), local.board() as shown:
        for line in [f"sweep {folder.path}: {len(made.cells)} runs", *news]:
            shown.note(line)
        return make(folder, made, shown)


def _launcher(wanted: Plan, jobs: int, on: str) -> Callable[[SweepFolder, Plan, local.Board], int]:
    """What makes the runs. Raises UsageError, before anything is written, for what can be known by then."""
    if on == "local":
        room = slots.slots(jobs, max(cell.config.devices or 1 for cell in wanted.cells))
        return lambda folder, made, shown: local.run(folder, made, room, shown)
    launcher, _, told = on.partition(":")
    if launcher == "ray" and (not told or told.startswith("//")):
        from seca.host import cluster
        from seca.sweeps import on_ray

        address = on if told else None
        cluster.check(address)
        return lambda folder, made, shown: on_ray.run(folder, made, address, jobs, shown)
    if launcher == "slurm":
        from seca.sweeps import on_slurm

        options = on_slurm.parsed(told)
        on_slurm.check(options)
        return lambda folder, made, shown: on_slurm.run(folder, made, options, jobs, shown)
    raise UsageError(f"`on` is '{on}': choose local, ray, ray://HOST:PORT, slurm, or slurm:NAME=VALUE,...")


def show(path: pathlib.Path, watch: bool, as_json: bool) -> int:
    """Print how far a sweep is, again and again if asked for; returns the exit code."""
    folder = sweeps.existing(path)
    made = sweeps.read_plan(folder)
    while True:
        seen = status.overview(folder, made)
        abreast = seen.count("running")
        if as_json:
            runs = {name: dataclasses.asdict(run) for name, run in seen.runs.items()}
            print(
                json.dumps({"title": made.title, "seconds_left": seen.seconds_left(abreast), "runs": runs}), flush=True
            )
        else:
            print(status.text(seen, abreast, shutil.get_terminal_size((120, 40)).columns), flush=True)
        if not watch or not (abreast or sweeps.is_run(folder)):
            return 0
        time.sleep(WATCH_SECONDS)
