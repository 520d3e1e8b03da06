"""The credit along one training: audits of the policies that a run kept (docs/credit.md).

    python benchmarks/credit_along.py measure [--methods seca seca-fork] [--seeds 0]      trains what is missing, audits
    python benchmarks/credit_along.py show                               the table of what is there, and its figure

Trainings are `seca train METHOD --env smac/2s3z --steps 1e6 --snapshot-interval 100000`; each audit is `seca audit RUN
--checkpoint ENV_STEPS` with 64 steps and 256 forks. Goes on where it stopped.
"""

import argparse
import json
import pathlib
from typing import Any

import numpy as np
from credit_table import AUDIT, call
from toys_credit import kept

ROOT = pathlib.Path(__file__).parent.parent
DATA = ROOT / "docs" / "data" / "credit_along.jsonl"
FIGURE = ROOT / "docs" / "figures" / "credit_along.png"
STEPS, EVERY = 1_000_000, 100_000


def lines() -> list[dict[str, Any]]:
    """What has been measured, by method, seed and env steps."""
    found = [json.loads(line) for line in DATA.read_text().splitlines()] if DATA.exists() else []
    return sorted(found, key=lambda line: (line["method"], line["seed"], line["env_steps"]))


def measure(options: argparse.Namespace) -> None:
    """Train and audit."""
    for seed in options.seeds:
        for method in options.methods:
            run = options.out / f"2s3z-{method}-s{seed}"
            if not (run / "result.json").exists():
                resumed = (run / "checkpoints").is_dir()
                given = ["--env", "smac/2s3z", "--seed", seed, "--steps", STEPS, "--snapshot-interval", EVERY]
                call("resume", run) if resumed else call("train", method, *given, "--out", run)
            for at in kept(run):
                cell = {"method": method, "seed": seed, "env_steps": at}
                if any(cell.items() <= line.items() for line in lines()):
                    continue
                out = run / f"audit-{at}"
                for left in run.glob(f"{out.name}.*"):  # Of an audit that was cut short.
                    left.unlink()
                numbers = [part for name, value in AUDIT.items() for part in (f"--{name}", value)]
                found = json.loads(call("audit", run, "--checkpoint", at, *numbers, "--out", out, "--json"))
                line: dict[str, Any] = cell | {"scores": found["scores"], "kind": found["about"]["claims"]["credit"]}
                line["session"] = {name: found["about"]["session"][name] for name in ("seca", "commit")}
                with DATA.open("a") as file:
                    file.write(json.dumps(line) + "\n")
                print(f"{run.name} at {at}: explained {line['scores']['credit']['explained']}", flush=True)


def show(options: argparse.Namespace) -> None:
    """Print a Markdown table and draw the figure."""
    del options
    from matplotlib.figure import Figure

    figure = Figure(figsize=(8.5, 3.4), layout="constrained")
    shares, sizes = figure.subplots(1, 2)
    print("| method | seed | env steps | steps | explained (95 %) | corr | signs | rms: credit, truth |")
    print("|---|---|---|---|---|---|---|---|")
    found = lines()
    for mark, (method, seed) in zip("osD^vPX", dict.fromkeys((x["method"], x["seed"]) for x in found), strict=False):
        of = [line for line in found if (line["method"], line["seed"]) == (method, seed)]
        for line in of:
            one = line["scores"]["credit"]
            told = {name: "-" if value is None else f"{value:.2f}" for name, value in one.items()}
            print(
                f"| `{method}` | {seed} | {line['env_steps'] / 1e6:.2f}M | {one['agent_steps']} | {told['explained']} "
                f"({told['low']} to {told['high']}) | {told['correlation']} | {told['signs']} | "
                f"{one['rms_credit']:.3f}, {one['rms_truth']:.3f} |"
            )
        at = np.array([line["env_steps"] for line in of]) / 1e6
        mean, low, high = (
            np.array([line["scores"]["credit"][name] for line in of], float) for name in ("explained", "low", "high")
        )
        label = f"{method}, seed {seed}"
        shares.errorbar(at, mean, (mean - low, high - mean), marker=mark, ms=4, lw=1, capsize=2, label=label)
        sizes.plot(at, [line["scores"]["credit"]["rms_truth"] for line in of], marker=mark, ms=4, lw=1, label=label)
    shares.set(ylim=(-1.05, 1.05), ylabel="share of the true variance explained", xlabel="million env steps")
    shares.axhline(0, color="0.6", lw=0.8)
    sizes.set(ylim=(0, None), ylabel="rms of the true credit", xlabel="million env steps")
    shares.legend(fontsize=7)
    figure.savefig(FIGURE, dpi=150)


def main() -> None:
    """Measure, or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "show"))
    parser.add_argument("--methods", nargs="+", default=["seca", "seca-fork", "coma-newarchi"])
    parser.add_argument("--seeds", nargs="+", type=int, default=[0])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "runs" / "credit-along")
    options = parser.parse_args()
    {"measure": measure, "show": show}[options.what](options)


if __name__ == "__main__":
    main()
