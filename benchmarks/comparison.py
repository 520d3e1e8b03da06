"""Every method of the comparison, trained alike: the data, the figure and the table behind docs/comparison.md.

    seca sweep benchmarks/studies/comparison.toml --out sweeps/comparison      hours; goes on where stopped
    python benchmarks/comparison.py [sweeps/comparison|RUN ...]                adds runs at their budget, draws, prints

Any run folder counts that has a method's setting of the study, or one that is asked about (`SETTINGS`), on a map of it:
its line goes to docs/data/comparison.jsonl.
"""

import argparse
import dataclasses
import json
import pathlib
import textwrap
from collections.abc import Iterable
from typing import Any

import matplotlib
import numpy as np

from seca.algos.seca import SecaConfig
from seca.config import RunConfig
from seca.presets import PRESETS, compared, reference_of
from seca.report import curves
from seca.runs import folder as folders
from seca.sweeps import folder as sweeps

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)

ROOT = pathlib.Path(__file__).parent.parent
DATA = ROOT / "docs" / "data" / "comparison.jsonl"
METHODS = [name for name in PRESETS if compared(name)]
"""All presets but those with the numbers of a release or reference: these are methods in another setting."""
BUDGETS = {"3m": 1_000_000, "2s3z": 2_000_000}
"""Env steps on each map, the same for every method."""
HARDER = {"3s5z": 2_000_000, "1c3s5z": 2_000_000, "MMM2": 2_000_000, "3s_vs_4z": 4_000_000, "5m_vs_6m": 3_000_000}
HARDER |= {"2c_vs_64zg": 2_000_000}
"""Env steps on the maps of `credit_learning.py` and `paper_figures.py`, which show them."""
SETTINGS = {
    "paper": "-",
    "reference": "--",
    "updates-8": ":",
    "runners-8": "-.",
    "terminal": (0, (1, 3)),
    "published advantage": (0, (5, 1)),
}
"""The study's own, the preset with published numbers, and single changes that ask why a method does not learn; by the
line in the figure."""
TUNED = {name for name in METHODS if isinstance(PRESETS[name].config, SecaConfig)}
"""SeCA, what differs from it in one option, and `seca-fork`: step sizes and critic steps of our choice."""
OTHER_CREDIT = ("seca-shapley", "seca-uncorrected", "seca-fork")
ORDERS = [name for name in METHODS if name.startswith("seca-") and name not in OTHER_CREDIT]
COLUMNS = {
    "explicit credit": [n for n in METHODS if PRESETS[n].group == "explicit credit" and n not in ("seca", *ORDERS)],
    "order of SeCA": ORDERS,
    **{
        group: [name for name in METHODS if PRESETS[name].group == group]
        for group in ("implicit credit", "value-based", "no credit")
    },
}
"""Methods of each column of the figure; `seca` is in all of them."""


@dataclasses.dataclass(frozen=True, order=True)
class Cell:
    """One run of the comparison."""

    map_name: str
    method: str
    setting: str
    seed: int


def cell_of(config: RunConfig) -> Cell | None:
    """Where a run belongs, by its configuration; None for one that is not of the study."""
    map_name, preset = config.env.removeprefix("smac/"), PRESETS[config.preset]
    if map_name not in BUDGETS | HARDER or config.env_options or config.loop.minibatches != 1:
        return None
    if not compared(config.preset):
        methods = [name for name in METHODS if reference_of(name) == config.preset]
        unchanged = config.algorithm == preset.config and config.loop.runners == preset.runners
        return Cell(map_name, methods[0], "reference", config.seed) if methods and unchanged else None
    before, now = dataclasses.asdict(preset.config), dataclasses.asdict(config.algorithm)
    changed = {name: value for name, value in now.items() if value != before[name]}
    if config.loop.runners != 32:
        changed["runners"] = config.loop.runners
    named = {
        "paper": {},
        "updates-8": {"updates": 8},
        "runners-8": {"runners": 8},
        "terminal": {"time_limit": "terminal"},
        "published advantage": {"td_correction": 0.0},
    }
    setting = next((name for name, changes in named.items() if changes == changed), None)
    return None if setting is None else Cell(map_name, config.preset, setting, config.seed)


def steps_done(path: pathlib.Path) -> int:
    """Env steps of the last evaluation of a run, -1 when there is none."""
    return max((line["env_steps"] for line in folders.read_metrics(folders.existing(path), "eval")), default=-1)


def read_data() -> dict[Cell, dict[str, Any]]:
    """The runs that have ended, as lines of the data."""
    lines = [json.loads(line) for line in DATA.read_text().splitlines()] if DATA.exists() else []
    return {Cell(line["map"], line["method"], line["setting"], line["seed"]): line for line in lines}


def ended(cell: Cell, path: pathlib.Path) -> dict[str, Any]:
    """The line of a run: its evaluations, and what it was made with."""
    curve = curves.read_curve(path)
    environment = json.loads((path / "environment.json").read_text())
    lines = folders.read_metrics(folders.existing(path), "eval")
    trained = json.loads((path / "result.json").read_text())["trained"]
    return {
        "map": cell.map_name,
        "method": cell.method,
        "setting": cell.setting,
        "seed": cell.seed,
        "env": environment["env"]["version"],
        "commit": ", ".join(dict.fromkeys(str(session["commit"]) for session in environment["sessions"])),
        "jax": environment["sessions"][0]["packages"]["jax"],
        "processor": environment["sessions"][0]["processor"],
        "episodes": curve.episodes,
        "interval": curve.interval,
        "seconds": lines[-1]["time_elapsed"],
        "gradient_steps": folders.read_metrics(folders.existing(path), "train")[-1]["gradient_steps"],
        "env_steps": [int(x) for x in curve.steps],
        "win_rate": [round(float(x), 5) for x in curve.values["win_rate"]],
        "return_mean": [round(float(x), 4) for x in curve.values["return_mean"]],
        "episode_length": [round(float(np.mean(line["episode_length"])), 2) for line in lines],
        "final": {name: round(trained[name], 4) for name in ("episodes", "win_rate", "win_rate_low", "win_rate_high")},
    }


def gather(paths: Iterable[pathlib.Path]) -> dict[Cell, dict[str, Any]]:
    """The data with the runs, or those of sweeps, that have reached their budget, written back."""
    found = read_data()
    for path in (run for given in paths for run in (sweeps.begun(given) if sweeps.is_sweep(given) else [given])):
        cell = cell_of(folders.read_config(folders.existing(path).config))
        if cell is not None and steps_done(path) >= (BUDGETS | HARDER)[cell.map_name]:
            found[cell] = ended(cell, path)
    DATA.write_text("".join(json.dumps(found[cell]) + "\n" for cell in sorted(found)))
    return found


def as_curve(line: dict[str, Any]) -> curves.Curve:
    """A line of the data in the form that is drawn."""
    return curves.Curve(
        run="",
        preset=line["method"],
        seed=line["seed"],
        budget=(BUDGETS | HARDER)[line["map"]],
        interval=line["interval"],
        episodes=line["episodes"],
        env=line["env"],
        steps=np.array(line["env_steps"], dtype=np.float64),
        values={name: np.array(line[name], dtype=np.float64) for name in ("win_rate", "return_mean")},
        gradient_steps=1_000 * line["gradient_steps"] / line["env_steps"][-1],
    )


def members(found: dict[Cell, dict[str, Any]], map_name: str, method: str, setting: str) -> list[curves.Curve]:
    """The runs of one curve, by seed."""
    return [
        as_curve(found[c]) for c in sorted(found) if (c.map_name, c.method, c.setting) == (map_name, method, setting)
    ]


def marked(method: str) -> str:
    """The name, with a star where the numbers are tuned here."""
    return f"{method}*" if method in TUNED else method


CAPTION = (
    "Greedy win rate over 32 episodes every 100,000 env steps. Line: median over the runs, band: their quartiles; the "
    "legend has the number of runs on 3m + on 2s3z. Solid: 32 runners and 32 episodes per update; broken: the setting "
    "of the method's own reference, or one option changed, as named. Methods make unequal numbers of gradient steps "
    "per update, which the table has. A star: step sizes and steps per update tuned here; the others have their "
    "authors' numbers. Few seeds: read for whether a method learns, not for which is best. "
    "Data: docs/data/comparison.jsonl."
)


def draw(found: dict[Cell, dict[str, Any]], to: pathlib.Path) -> None:
    """One row per map, one column per family that has runs; `seca` in every panel, in black; legends below."""
    columns = {title: methods for title, methods in COLUMNS.items() if any(cell.method in methods for cell in found)}
    columns = columns or COLUMNS  # Of `seca` alone there is a panel in each.
    figure, panels = plt.subplots(
        len(BUDGETS), len(columns), figsize=(4.4 * len(columns), 9.4), sharey=True, sharex="row", squeeze=False
    )
    for row, map_name in zip(panels, BUDGETS, strict=True):
        for panel, (title, methods) in zip(row, columns.items(), strict=True):
            for index, method in enumerate(["seca", *methods]):
                colour = "black" if method == "seca" else f"C{index - 1}"
                for setting, style in SETTINGS.items():
                    counts = [len(members(found, name, method, setting)) for name in BUDGETS]
                    if not any(counts):
                        continue
                    label = f"{marked(method)} ({' + '.join(map(str, counts))})"
                    label += "" if setting == "paper" else f", {setting}"
                    runs = members(found, map_name, method, setting)
                    if not runs:  # For the legend below, which is of both maps.
                        panel.plot([], [], linestyle=style, color=colour, label=label)
                        continue
                    drawn = curves.band(runs, "win_rate")
                    look = {"linestyle": style, "color": colour, "linewidth": 1.3}
                    panel.plot(drawn.steps, drawn.median, label=label, **look)
                    panel.fill_between(drawn.steps, drawn.low, drawn.high, color=colour, alpha=0.12, linewidth=0)
            panel.set_title(f"{map_name}: {title}", fontsize=10)
            panel.grid(alpha=0.3)
            panel.spines[["top", "right"]].set_visible(False)
            panel.set_xlabel("env steps")
        row[0].set_ylabel("test win rate")
        row[0].set_ylim(-0.02, 1.02)
    for panel in panels[-1]:
        panel.legend(fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.18), ncols=2, frameon=False)
    figure.text(0.01, 0.005, "\n".join(textwrap.wrap(CAPTION, 64 * len(columns))), fontsize=8)
    figure.tight_layout(rect=(0, 0.055, 1, 1))
    to.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(to.with_suffix(".png"), dpi=110)
    plt.close(figure)


def table(found: dict[Cell, dict[str, Any]]) -> str:
    """Markdown: win rate of each seed, mean of the last three evaluations and best, and the return at the end."""
    head = " | ".join(f"{m}: end | best | return | gradient steps" for m in BUDGETS)
    lines = [f"| method | setting | {head} |", "|---|---|" + "---|---|---|---:|" * len(BUDGETS)]
    for method in METHODS:
        for setting in SETTINGS:
            entries: list[str] = []
            for map_name in BUDGETS:
                runs = members(found, map_name, method, setting)
                rates, returns = ([run.values[name] for run in runs] for name in ("win_rate", "return_mean"))
                entries.append(" / ".join(f"{100 * x[-3:].mean():.0f}" for x in rates) or "-")
                entries.append(" / ".join(f"{100 * x.max():.0f}" for x in rates) or "-")
                entries.append(" / ".join(f"{x[-3:].mean():.1f}" for x in returns) or "-")
                steps = [
                    found[c]["gradient_steps"]
                    for c in found
                    if (c.map_name, c.method, c.setting) == (map_name, method, setting)
                ]
                entries.append(f"{np.mean(steps):,.0f}" if steps else "-")
            if any(entry != "-" for entry in entries):
                star = "*" if method in TUNED else ""
                lines.append(f"| `{method}`{star} | {setting} | " + " | ".join(entries) + " |")
    return "\n".join(lines)


def main() -> None:
    """Data, figure and table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=pathlib.Path)
    found = gather(parser.parse_args().runs)
    draw(found, ROOT / "docs" / "figures" / "comparison")
    print(table(found))
    shown = [line for cell, line in found.items() if cell.map_name in BUDGETS]
    print(f"\n{len(shown)} runs; commits: {', '.join(sorted({str(line['commit']) for line in shown}))}")


if __name__ == "__main__":
    main()
