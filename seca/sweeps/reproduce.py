"""`seca reproduce`: the paper's figures, from shipped sweep files in its protocol, or from less of it."""

import dataclasses
import importlib.resources
import pathlib
from typing import Literal

from seca import config as configs
from seca import files
from seca.errors import UsageError
from seca.host import progress
from seca.presets import PRESETS
from seca.report import curves, figures, orders, toys
from seca.runs import folder as folders
from seca.sweeps import command, plan
from seca.sweeps import folder as sweeps
from seca.sweeps.folder import Changed
from seca.sweeps.plan import Cell, Plan

FIGURES = ("fig2", "fig4a", "fig4b", "fig4c", "fig5", "fig6")
Settings = Literal["tuned", "paper"]
MOST_INTERVALS = 20
"""Evaluations that a shortened run has at least, whatever the paper's interval; and policies kept, where any are."""


def planned(figure: str, scale: float, seeds: int | None, settings: Settings) -> Plan:
    """The runs of a figure.

    Args:
        figure: one of `FIGURES`.
        scale: share of the paper's env steps, or training episodes.
        seeds: how many, if not the paper's five (ten of the toys).
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
    changed = [f"{scale:g} of the paper's {'episodes' if figure == 'fig2' else 'env steps'}"] if scale != 1 else []
    changed += [f"{settings} settings"] if figure != "fig2" else []  # Those of the toys are their source's in both.
    title = f"{made.title} ({', '.join(changed)})" if changed else made.title
    asked = f"# seca reproduce {figure} --scale {scale:g}{f' --seeds {seeds}' if seeds else ''} --settings {settings}\n"
    return dataclasses.replace(
        made, title=title, cells=cells, text=f"{asked}# makes these with changes:\n\n{made.text}"
    )


def _check_draws(path: pathlib.Path, figure: str) -> None:
    """Raise UsageError where a sweep holds runs that do not belong into a figure."""
    wanted = {_place(cell) for cell in planned(figure, 1.0, 1, "tuned").cells}
    for cell in sweeps.read_plan(sweeps.existing(path)).cells:
        if _place(cell) not in wanted:
            raise UsageError(
                f"`out` is {path}, a sweep with {cell.method} on {cell.config.env}, which is not in {figure}: "
                "draw it by `seca plot`, or name the folder of another sweep"
            )


def _place(cell: Cell) -> tuple[str, str, str]:
    """Where a run stands in a figure, whichever settings it has."""
    return cell.config.env, cell.config.preset.removesuffix("-paper"), cell.variant


def _adjusted(cell: Cell, scale: float, settings: Settings) -> Cell:
    """A run with fewer env steps, or the published numbers."""
    config, loop = cell.config, cell.config.loop
    published = f"{config.preset}-paper"
    if settings == "paper" and published in PRESETS:
        config = dataclasses.replace(config, preset=published, algorithm=PRESETS[published].config)
    steps = max(round(loop.steps * scale), 1)
    interval = min(loop.eval_interval, max(steps // MOST_INTERVALS, 1))
    snapshots = min(config.snapshot_interval, max(steps // MOST_INTERVALS, 1))
    episodes = max(round(loop.episodes * scale), 1) if loop.episodes else 0
    loop = dataclasses.replace(loop, steps=steps, episodes=episodes, eval_interval=interval)
    return dataclasses.replace(cell, config=dataclasses.replace(config, loop=loop, snapshot_interval=snapshots))


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
    if draw_only:
        for field, value, usual in (("scale", scale, 1), ("seeds", seeds, None), ("settings", settings, "tuned")):
            if value != usual:
                raise UsageError(
                    f"`{field}` is {value} beside `draw`, which draws the runs that there are: leave it out"
                )
        if sweeps.is_sweep(path):
            _check_draws(path, figure)
    code = 0 if draw_only else command.run(path, planned(figure, scale, seeds, settings), jobs, on, changed)
    runs = sweeps.begun(path) if sweeps.is_sweep(path) else []
    if not runs:
        raise UsageError(f"`out` is {path}: no run of it has been evaluated yet")
    if code in (0, 1):  # Not when it was stopped: whoever stopped it waits for the prompt.
        title = sweeps.read_plan(sweeps.existing(path)).title
        {"fig2": _draw_toys, "fig5": _draw_orders}.get(figure, _draw_curves)(path, figure, title, runs)
    return code


def _draw_toys(path: pathlib.Path, figure: str, title: str, runs: list[pathlib.Path]) -> None:
    """Of the runs that are done: others would cut all of their method short."""
    done = [run for run in runs if folders.existing(run).result.is_file()]
    if not done:
        raise UsageError(f"`out` is {path}: no run of it is done yet")
    notes = [f"{len(runs) - len(done)} runs that are not done are left out"] if len(done) < len(runs) else []
    groups = toys.measure([toys.read(run) for run in done])
    files.write(path / f"{figure}.json", toys.as_json(groups, title))
    for written in curves.save(toys.draw(groups, title, notes), path / figure, {}):
        print(written)
    print(toys.table(groups))
    print(toys.caption(groups, title, notes))


def _draw_curves(path: pathlib.Path, figure: str, title: str, runs: list[pathlib.Path]) -> None:
    with progress.shown("reading", "runs") as tell:
        found, left_out = curves.read_curves(runs, tell)
    notes = [*sweeps.missing(path), *left_out]
    for written in curves.save(figures.panels(found, title, notes), path / figure, {}):
        print(written)
    print(figures.caption(found, title, notes))


def _draw_orders(path: pathlib.Path, figure: str, title: str, runs: list[pathlib.Path]) -> None:
    """A figure of its own for each run: an order is one training's. A run that has kept no policy yet is left out."""
    refused = []
    for run in runs:
        try:
            with progress.shown(run.name, "policies") as tell:
                found = orders.measure(run, tell=tell)
        except orders.NothingKeptError as error:
            refused.append(error)
            print(f"left out: {error}")
            continue
        budget = folders.read_config(folders.existing(run).config).loop.steps
        short = found.moments[-1].env_steps < budget
        notes = [f"the run has {found.moments[-1].env_steps:,} of {budget:,} env steps"] if short else []
        out = path / f"{figure}-{run.name}"
        files.write(out.with_name(out.name + ".json"), orders.as_json(found))
        for written in curves.save(orders.draw(found, title, notes), out, {}):
            print(written)
        print(orders.caption(found, title, notes))
    if len(refused) == len(runs):
        raise refused[0]
