"""`seca reproduce`: the paper's figures, from shipped sweep files in its protocol, or from less of it."""

import dataclasses
import importlib.resources
import pathlib
from typing import Literal

from seca import config as configs
from seca import files
from seca.errors import UsageError
from seca.presets import PRESETS
from seca.report import curves, figures
from seca.sweeps import command, plan
from seca.sweeps import folder as sweeps
from seca.sweeps.folder import Changed
from seca.sweeps.plan import Cell, Plan

FIGURES = ("fig4a", "fig4b", "fig4c", "fig6")
Settings = Literal["tuned", "paper"]
MOST_INTERVALS = 20
"""Evaluations that a shortened run has at least, whatever the paper's interval."""


def planned(figure: str, scale: float, seeds: int | None, settings: Settings) -> Plan:
    """The runs of a figure.

    Args:
        figure: one of `FIGURES`.
        scale: share of the paper's env steps.
        seeds: how many, if not the paper's five.
        settings: `tuned` for the numbers of this project's comparison, `paper` for the published ones of SeCA and its
            ablations. Baselines have their authors' in both.

    Raises:
        UsageError: there is no such figure.
    """
    configs.one_of("figure", figure, FIGURES)
    text = importlib.resources.files("seca").joinpath("experiments", f"{figure}.toml").read_text(encoding="utf-8")
    made = plan.from_text(text, f"{figure}.toml", figure)
    if seeds is not None:
        made = plan.with_seeds(made, range(seeds))
    cells = tuple(_adjusted(cell, scale, settings) for cell in made.cells)
    changed = [f"{scale:g} of the paper's env steps"] if scale != 1 else []
    changed += [f"{settings} settings"]
    return dataclasses.replace(made, title=f"{made.title} ({', '.join(changed)})", cells=cells)


def _adjusted(cell: Cell, scale: float, settings: Settings) -> Cell:
    """A run with fewer env steps, or the published numbers."""
    config, loop = cell.config, cell.config.loop
    published = f"{config.preset}-paper"
    if settings == "paper" and published in PRESETS:
        config = dataclasses.replace(config, preset=published, algorithm=PRESETS[published].config)
    steps = max(round(loop.steps * scale), 1)
    interval = min(loop.eval_interval, max(steps // MOST_INTERVALS, 1))
    return dataclasses.replace(
        cell, config=dataclasses.replace(config, loop=dataclasses.replace(loop, steps=steps, eval_interval=interval))
    )


def reproduce(
    figure: str,
    scale: float,
    seeds: int | None,
    settings: Settings,
    out: pathlib.Path | None,
    jobs: int,
    on: str,
    changed: Changed,
    draw_only: bool,
) -> int:
    """Make the runs of a figure, and draw it from those that there are; returns the exit code."""
    path = files.usable("out", out or command.HOME / figure)
    code = 0 if draw_only else command.run(path, planned(figure, scale, seeds, settings), jobs, on, changed)
    runs = sweeps.begun(path) if sweeps.is_sweep(path) else []
    if not runs:
        raise UsageError(f"`out` is {path}: no run of it has been evaluated yet")
    if code in (0, 1):  # Not when it was stopped: whoever stopped it waits for the prompt.
        found, notes = curves.read_curves(runs)
        title = sweeps.read_plan(sweeps.existing(path)).title
        for written in curves.save(figures.panels(found, title, notes), path / figure, {}):
            print(written)
        print(figures.caption(found, title, notes))
    return code
