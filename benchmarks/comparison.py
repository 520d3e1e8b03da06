"""Every method of the comparison, trained alike: the runs, the figure and the table behind docs/comparison.md.

    python benchmarks/comparison.py train [--jobs 2] [--methods seca qmix ...]    hours; goes on where stopped
    python benchmarks/comparison.py show                                         figure, table and data of what is there

Each run is an ordinary run folder, `<out>/<env>-<method>-s<seed>`, made by `seca train METHOD` with the defaults of its
preset, one device, one core.
"""

import argparse
import concurrent.futures
import csv
import dataclasses
import json
import os
import pathlib
import queue
import shutil
import subprocess
import sys

import matplotlib
import numpy as np

from seca.algos.actor_critic import actor_critic
from seca.presets import PRESETS
from seca.report import curves

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)

ROOT = pathlib.Path(__file__).parent.parent
ABLATIONS = ("seca-paper", "seca-fixed", "seca-random", "seca-prob", "seca-entropy", "seca-ig-1", "seca-ig-10")
METHODS = [name for name in PRESETS if name not in (*ABLATIONS, "seca-ig-20")]
BUDGETS = {"3m": 1_000_000, "2s3z": 2_000_000}
"""Env steps on each map, the same for every method."""
TUNED = {name for name in METHODS if PRESETS[name].make is actor_critic}
"""SeCA and what differs from it in one option: step sizes and critic steps of our choice, not the published ones."""
KINDS = ("explicit credit", "implicit credit", "value-based", "no credit")


@dataclasses.dataclass(frozen=True)
class Cell:
    """One run of the comparison."""

    map_name: str
    method: str
    seed: int

    def path(self, out: pathlib.Path) -> pathlib.Path:
        """Its run folder."""
        return out / f"{self.map_name}-{self.method}-s{self.seed}"


def steps_done(path: pathlib.Path) -> int:
    """Env steps of the last evaluation of a run, -1 when there is none."""
    metrics = path / "metrics.jsonl"
    if not metrics.exists():
        return -1
    lines = [json.loads(line) for line in metrics.read_text().splitlines() if line.endswith("}")]
    return max((line["env_steps"] for line in lines if line.get("kind") == "eval"), default=-1)


def run(cell: Cell, out: pathlib.Path, cores: "queue.Queue[int]") -> None:
    """Train a cell to its budget, from its latest checkpoint if it has one, on one core."""
    path, budget = cell.path(out), BUDGETS[cell.map_name]
    if steps_done(path) >= budget:
        return
    if (path / "checkpoints").is_dir() and any((path / "checkpoints").iterdir()):
        command = ["resume", str(path)]
    else:
        shutil.rmtree(path, ignore_errors=True)  # Stopped before its first checkpoint: nothing to go on from.
        command = ["train", cell.method, "--env", f"smac/{cell.map_name}", "--seed", str(cell.seed)]
        command += ["--steps", str(budget), "--devices", "1", "--out", str(path)]
    core = cores.get()
    try:
        # The child starts with this thread's cores, and XLA makes as many threads as it may use.
        os.sched_setaffinity(0, {core})
        ended = subprocess.run([sys.executable, "-m", "seca", *command], cwd=ROOT, capture_output=True, text=True)
    finally:
        cores.put(core)
    last = (ended.stdout.strip().splitlines() or [""])[-1] if ended.returncode == 0 else ended.stderr.strip()[-300:]
    print(f"{path.name}: exit {ended.returncode} at {steps_done(path):,}. {last}", flush=True)


def train(options: argparse.Namespace) -> None:
    """All cells; the cheap map and the first seed first, so that a method that fails is seen early."""
    cells = [
        Cell(map_name, method, seed)
        for map_name in options.maps
        for seed in options.seeds
        for method in options.methods
    ]
    cores: queue.Queue[int] = queue.Queue()
    for core in sorted(os.sched_getaffinity(0))[: options.jobs]:
        cores.put(core)
    with concurrent.futures.ThreadPoolExecutor(cores.qsize()) as pool:
        for done in [pool.submit(run, cell, options.out, cores) for cell in cells]:
            done.result()


def finished(out: pathlib.Path) -> dict[Cell, curves.Curve]:
    """Curves of the cells that reached their budget."""
    cells = [Cell(m, method, seed) for m in BUDGETS for method in METHODS for seed in range(10)]
    return {
        cell: curves.read_curve(cell.path(out))
        for cell in cells
        if steps_done(cell.path(out)) >= BUDGETS[cell.map_name]
    }


def marked(method: str) -> str:
    """The name, with a star where the numbers are tuned here."""
    return f"{method}*" if method in TUNED else method


def draw(found: dict[Cell, curves.Curve], to: pathlib.Path) -> None:
    """One row per map, one column per kind of method; `seca` in every panel, in black."""
    figure, panels = plt.subplots(len(BUDGETS), len(KINDS), figsize=(15, 7.2), sharey=True, sharex="row")
    for row, map_name in zip(panels, BUDGETS, strict=True):
        for panel, kind in zip(row, KINDS, strict=True):
            members = ["seca"] + [name for name in METHODS if PRESETS[name].kind == kind and name != "seca"]
            for index, method in enumerate(members):
                group = [curve for cell, curve in found.items() if (cell.map_name, cell.method) == (map_name, method)]
                if not group:
                    continue
                drawn, colour = curves.band(group, "win_rate"), "black" if method == "seca" else f"C{index - 1}"
                panel.plot(
                    drawn.steps, drawn.median, color=colour, label=f"{marked(method)} ({len(group)})", linewidth=1.3
                )
                panel.fill_between(drawn.steps, drawn.low, drawn.high, color=colour, alpha=0.15, linewidth=0)
            panel.set_title(f"{map_name}: {kind}", fontsize=10)
            panel.grid(alpha=0.3)
            panel.spines[["top", "right"]].set_visible(False)
            panel.legend(fontsize=7.5, loc="upper left", framealpha=0.7)
            panel.set_xlabel("env steps")
        row[0].set_ylabel("test win rate")
        row[0].set_ylim(-0.02, 1.02)
    text = (
        "Greedy win rate over 32 episodes every 100,000 env steps; line and band: median and quartiles over the runs "
        "counted in the legend. 32 runners, 32 episodes per update. A star: step sizes and critic steps tuned here; "
        "the others have their authors' numbers. Few seeds: read for whether a method learns, not for which is best."
    )
    figure.text(0.01, 0.005, text, fontsize=8)
    figure.tight_layout(rect=(0, 0.025, 1, 1))
    to.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(to.with_suffix(".png"), dpi=120)
    plt.close(figure)


def table(found: dict[Cell, curves.Curve]) -> str:
    """Markdown: per method the greedy win rate of each seed at the end, its best, and env steps per second."""
    lines = ["| method | kind | " + " | ".join(f"{m} last | {m} best" for m in BUDGETS) + " |"]
    lines.append("|---|---|" + "---|---|" * len(BUDGETS))
    for method in METHODS:
        entries = []
        for map_name in BUDGETS:
            group = [curve for cell, curve in found.items() if (cell.map_name, cell.method) == (map_name, method)]
            rates = [curve.values["win_rate"] for curve in group]
            entries += [
                " / ".join(f"{x[-1]:.0%}" for x in rates) or "-",
                " / ".join(f"{x.max():.0%}" for x in rates) or "-",
            ]
        lines.append(f"| `{method}`{'*' * (method in TUNED)} | {PRESETS[method].kind} | " + " | ".join(entries) + " |")
    return "\n".join(lines)


def show(options: argparse.Namespace) -> None:
    """Figure, table and the evaluations as data."""
    found = finished(options.out)
    draw(found, ROOT / "docs" / "figures" / "comparison")
    path = ROOT / "docs" / "data" / "comparison.csv"
    with path.open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["map", "method", "seed", "env_steps", "win_rate", "return"])
        for cell, curve in found.items():
            for index, steps in enumerate(curve.steps):
                values = (curve.values["win_rate"][index], curve.values["return_mean"][index])
                writer.writerow([cell.map_name, cell.method, cell.seed, int(steps), *(f"{x:.6g}" for x in values)])
    print(table(found))
    counts = np.unique([len([c for c in found if c.method == m]) for m in METHODS])
    print(f"\n{len(found)} runs; runs per method: {', '.join(map(str, counts))}")


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["train", "show"])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "runs" / "comparison")
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time, a core each")
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=METHODS)
    parser.add_argument("--maps", nargs="+", choices=list(BUDGETS), default=list(BUDGETS))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    options = parser.parse_args()
    (train if options.what == "train" else show)(options)


if __name__ == "__main__":
    main()
