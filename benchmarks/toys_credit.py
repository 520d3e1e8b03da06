"""The toys' credit along training: audits of policies kept on the way; Eq. 3, 4 and 5 from the same forks.

    python benchmarks/toys_credit.py measure [--seeds 0 1] [--out runs/toys]    trains what is missing, audits
    python benchmarks/toys_credit.py show                                       the table of what is there

Trainings are those of Fig. 2 (5,000 episodes) with a snapshot in every fifth of their env steps; each audit is `seca
audit RUN --checkpoint ENV_STEPS --steps 100 --truth sequential counterfactual independent`.
"""

import argparse
import json
import pathlib
from typing import Any

from credit_table import call

ROOT = pathlib.Path(__file__).parent.parent
DATA = ROOT / "docs" / "data" / "toys_credit.jsonl"
EPISODES = 5_000
PARTS = 5
TOYS = {"mpe/predator-prey": ("", 400_000), "mpe/cooperative-navigation": ("-navigation", 1_000_000)}
"""What the methods' names end with, and env steps that 5,000 episodes need at most, roughly."""
METHODS = ("coma-mpe", "seca-mpe")
KINDS = ("sequential", "counterfactual", "independent")


def lines() -> list[dict[str, Any]]:
    """What has been measured."""
    return [json.loads(line) for line in DATA.read_text().splitlines()] if DATA.exists() else []


def kept(run: pathlib.Path) -> list[int]:
    """Env steps of the policies that a run kept."""
    return sorted(int(path.name.split("-")[1]) for path in (run / "checkpoints").glob("snapshot-*") if path.is_dir())


def measure(options: argparse.Namespace) -> None:
    """Train and audit."""
    for seed in options.seeds:
        for env, (ending, env_steps) in TOYS.items():
            for method in METHODS:
                run = options.out / f"{env.rpartition('/')[2]}-{method}-s{seed}"
                if not (run / "result.json").exists():
                    numbers = ["--steps", env_steps, "--episodes", EPISODES, "--seed", seed, "--out", run]
                    numbers += ["--snapshot-interval", env_steps // PARTS]
                    call("train", method + ending, "--env", env, *numbers)
                for at in kept(run):
                    cell = {"env": env, "method": method, "seed": seed, "env_steps": at}
                    if any(cell.items() <= line.items() for line in lines()):
                        continue
                    out = run / f"audit-{at}"
                    for left in run.glob(f"{out.name}.*"):
                        left.unlink()
                    given = ["--checkpoint", at, "--steps", 100, "--truth", *KINDS, "--out", out, "--json"]
                    found = json.loads(call("audit", run, *given))
                    own = found["scores"]["credit"]
                    rms = {kind: found["against"][kind]["credit"]["rms_truth"] for kind in KINDS}
                    line = cell | {"credit": own, "rms_truth": rms}
                    line["session"] = {name: found["about"]["session"][name] for name in ("seca", "commit")}
                    with DATA.open("a") as file:
                        file.write(json.dumps(line) + "\n")
                    print(f"{run.name} at {at}: explained {own['explained']}, truths {rms}", flush=True)


def show(options: argparse.Namespace) -> None:
    """Print a Markdown table."""
    del options
    print("| toy | method | env steps | seed | explained (95 %) | rms: credit | truth, Eq. 4 | Eq. 5 | Eq. 3 |")
    print("|---|---|---|---|---|---|---|---|---|")
    for line in sorted(lines(), key=lambda line: (line["env"], line["method"], line["seed"], line["env_steps"])):
        one, rms = line["credit"], line["rms_truth"]
        span = "-" if one["low"] is None else f"{one['explained']:.2f} ({one['low']:.2f} to {one['high']:.2f})"
        numbers = (one["rms_credit"], rms["independent"], rms["sequential"], rms["counterfactual"])
        told = " | ".join(f"{number:.3f}" for number in numbers)
        print(f"| {line['env'][4:]} | `{line['method']}` | {line['env_steps']:,} | {line['seed']} | {span} | {told} |")


def main() -> None:
    """Measure, or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "show"))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "runs" / "toys")
    options = parser.parse_args()
    {"measure": measure, "show": show}[options.what](options)


if __name__ == "__main__":
    main()
