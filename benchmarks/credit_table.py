"""Every method's credit held against the truth: the runs and the tables behind docs/credit.md.

    python benchmarks/credit_table.py measure [--methods seca coma ...] [--maps 2s3z] [--seeds 0 1 2]   hours
    python benchmarks/credit_table.py show                                                  the table of what is there

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
from typing import Any

from seca.presets import PRESETS, compared

ROOT = pathlib.Path(__file__).parent.parent
DATA = ROOT / "docs" / "data" / "credit.jsonl"
SILENT = ("mappo", "ippo", "ia2c", "vdac", "vmix")
"""They judge the team alone."""
METHODS = [name for name in PRESETS if compared(name) and name not in SILENT]
POLICIES = (100_000, 300_000, 1_000_000)
"""Env steps of training after which a policy is audited."""
AUDIT = {"steps": 64, "forks": 256}


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
    """Print a Markdown table, methods by maps and policies."""
    del options
    print("| map | method | env steps | seed | truth | steps | explained (95 %) | corr | signs | rms: credit, truth |")
    print("|---|---|---|---|---|---|---|---|---|---|")
    for cell, line in sorted(read_data().items()):
        one = line["scores"]["credit"]
        told = {name: "-" if value is None else f"{value:.2f}" for name, value in one.items()}
        print(
            f"| {cell.map_name} | `{cell.method}` | {cell.env_steps / 1e6:g}M | {cell.seed} | {line['kind']} | "
            f"{one['agent_steps']} | {told['explained']} ({told['low']} to {told['high']}) | {told['correlation']} | "
            f"{told['signs']} | {one['rms_credit']:.3f}, {one['rms_truth']:.3f} |"
        )


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
