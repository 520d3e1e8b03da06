"""Every method's credit held against the truth: the runs and the tables behind docs/credit.md.

    python benchmarks/credit_table.py measure [--methods seca coma ...] [--maps 2s3z] [--seeds 0 1 2]   hours
    python benchmarks/credit_table.py show                                      the table of what is there, a figure

Each cell is an ordinary run, `<out>/<env>-<method>-<env steps>-s<seed>`, trained by `seca train PRESET` with its
defaults, and an ordinary `seca audit` of its latest policy. `measure` leaves out what is in docs/data/credit.jsonl
already, one line a cell, so that the study can be done piece by piece; first seeds of all methods come
first. To measure a cell again, delete its line.
"""

import argparse
import dataclasses
import json
import pathlib
import subprocess
import sys
from collections.abc import Iterable
from typing import Any

from seca.presets import PRESETS, compared

ROOT = pathlib.Path(__file__).parent.parent
DATA = ROOT / "docs" / "data" / "credit.jsonl"
SILENT = ("mappo", "ippo", "ia2c", "vdac", "vmix")
"""They judge the team alone."""
METHODS = [name for name in PRESETS if (compared(name) or name == "seca-paper") and name not in SILENT]
"""Of the published settings only SeCA's own, for its wide critic."""
POLICIES = (100_000, 300_000, 1_000_000)
"""Env steps of training after which a policy is audited."""
AUDIT = {"steps": 64, "forks": 256}
FIGURE = ROOT / "docs" / "figures" / "credit_table.png"
DRAWN = ("2s3z", 300_000)
MARKERS = ("o", "s", "^")
"""Of seeds."""
UNITLESS = ("qmix", "cw-qmix", "ow-qmix", "qatten", "qplex", "qtran")
"""Their utilities are put through a function of any slope: only correlations and signs mean something."""


@dataclasses.dataclass(frozen=True, order=True)
class Cell:
    """One policy."""

    map_name: str
    method: str
    env_steps: int
    seed: int

    @property
    def name(self) -> str:
        """Of its run folder."""
        return f"{self.map_name}-{self.method}-{self.env_steps // 1000}k-s{self.seed}"


def read_data() -> dict[Cell, dict[str, Any]]:
    """What has been measured."""
    lines = DATA.read_text().splitlines() if DATA.exists() else []
    stored = [json.loads(line) for line in lines]
    names = [field.name for field in dataclasses.fields(Cell)]
    return {Cell(*(line[name] for name in names)): line for line in stored}


def call(*arguments: object) -> str:
    """`seca ...`; what it prints. Raises SystemExit with its complaint when it fails."""
    command = [sys.executable, "-m", "seca", *map(str, arguments)]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    if ended.returncode:
        raise SystemExit(f"{' '.join(command[2:])}: {ended.stderr.strip()[-500:]}")
    return ended.stdout


def measure(options: argparse.Namespace) -> None:
    """Train and audit all cells that are not in the data."""
    cells = [
        Cell(map_name, method, env_steps, seed)
        for seed in options.seeds
        for map_name in options.maps
        for env_steps in options.policies
        for method in options.methods
    ]
    for cell in cells:
        if cell in read_data():
            continue
        run = options.out / cell.name
        if not (run / "result.json").exists():
            resumed = (run / "checkpoints").is_dir()
            given = ["--env", f"smac/{cell.map_name}", "--seed", cell.seed, "--steps", cell.env_steps, "--out", run]
            call("resume", run) if resumed else call("train", cell.method, *given)
        numbers = [part for name, value in AUDIT.items() for part in (f"--{name}", value)]
        for left in run.glob("audit.*"):  # Of an audit that was cut short.
            left.unlink()
        found = json.loads(call("audit", run, *numbers, "--json"))
        line = dataclasses.asdict(cell) | {"plan": found["plan"], "scores": found["scores"], "groups": found["groups"]}
        line["session"] = {name: found["about"]["session"][name] for name in ("seca", "commit", "processor")}
        line["kind"] = found["about"]["claims"]["credit"]
        with DATA.open("a") as file:
            file.write(json.dumps(line) + "\n")
        one = found["scores"]["credit"]
        print(f"{cell.name}: explained {one['explained']} ({one['low']} to {one['high']})", flush=True)


def show(options: argparse.Namespace) -> None:
    """Print a Markdown table, a row for each method, map and length of training, and draw the figure."""
    del options
    found = read_data()
    print("| map | method | env steps | truth | steps | explained (95 %) | corr | signs | rms: credit | truth |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for map_name, method, env_steps in dict.fromkeys((c.map_name, c.method, c.env_steps) for c in sorted(found)):
        lines = [line for cell, line in sorted(found.items()) if cell in seeds_of(map_name, method, env_steps, found)]
        scores = [line["scores"]["credit"] for line in lines]
        explained = [f"{number(one, 'explained')} ({number(one, 'low')} to {number(one, 'high')})" for one in scores]
        row = [map_name, f"`{method}`", f"{env_steps / 1e6:g}M", lines[0]["kind"]]
        row += [", ".join(str(one["agent_steps"]) for one in scores), "; ".join(explained)]
        row += [", ".join(number(one, name) for one in scores) for name in ("correlation", "signs")]
        row += [", ".join(f"{one[name]:.3f}" for one in scores) for name in ("rms_credit", "rms_truth")]
        print(f"| {' | '.join(row)} |")
    draw(found)


def number(scores: dict[str, Any], name: str) -> str:
    """Or a dash where it is not known."""
    return "-" if scores[name] is None else f"{scores[name]:.2f}"


def seeds_of(map_name: str, method: str, env_steps: int, found: Iterable[Cell]) -> list[Cell]:
    """All of one row, in the order of their seeds."""
    return sorted(
        cell for cell in found if (cell.map_name, cell.method, cell.env_steps) == (map_name, method, env_steps)
    )


def draw(found: dict[Cell, dict[str, Any]]) -> None:
    """Shares explained with their intervals, and correlations, of every seed of every method on one map."""
    from matplotlib.figure import Figure

    map_name, env_steps = DRAWN
    cells_of = {name: seeds_of(map_name, name, env_steps, found) for name in reversed(METHODS)}
    methods = [name for name, cells in cells_of.items() if cells]
    figure = Figure(figsize=(9, 0.27 * len(methods) + 1.2), layout="constrained")
    explained, correlation = figure.subplots(1, 2, sharey=True)
    for row, method in enumerate(methods):
        for cell in cells_of[method]:
            one = found[cell]["scores"]["credit"]
            at, colour = row + 0.22 * (1 - cell.seed), f"C{cell.seed}"
            if method not in UNITLESS:
                explained.plot([one["low"], one["high"]], [at, at], color=colour, linewidth=1)
                explained.plot(one["explained"], at, MARKERS[cell.seed], color=colour, markersize=4)
            if one["correlation"] is not None:
                correlation.plot(one["correlation"], at, MARKERS[cell.seed], color=colour, markersize=4)
    explained.set_xlim(-1.0, 1.0)
    explained.set_xlabel("share of the truth explained, 95 % interval (cut at -1)")
    correlation.set_xlim(-1.0, 1.0)
    correlation.set_xlabel("correlation with the truth")
    for axis in (explained, correlation):
        axis.axvline(0.0, color="0.6", linewidth=0.8)
        axis.set_yticks(range(len(methods)), methods, fontsize=7)
        axis.set_ylim(-0.7, len(methods) - 0.3)
        axis.grid(axis="x", color="0.9")
        axis.set_axisbelow(True)
    for seed, marker in enumerate(MARKERS):
        correlation.plot([], [], marker, color=f"C{seed}", markersize=4, label=f"seed {seed}")
    correlation.legend(fontsize=7, loc="lower right")
    figure.suptitle(
        f"{map_name}, policies of {env_steps / 1e6:g}M env steps, audits of {AUDIT['steps']} steps", fontsize=9
    )
    figure.savefig(FIGURE, dpi=150)


def main() -> None:
    """Measure, or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "show"))
    parser.add_argument("--methods", nargs="+", default=METHODS, choices=METHODS)
    parser.add_argument("--maps", nargs="+", default=["2s3z"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--policies", nargs="+", type=int, default=list(POLICIES))
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "runs" / "credit")
    options = parser.parse_args()
    {"measure": measure, "show": show}[options.what](options)


if __name__ == "__main__":
    main()
