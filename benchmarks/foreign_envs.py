"""Environments of others: one of each kind, three methods, two seeds (docs/environments.md).

    python benchmarks/foreign_envs.py measure [--envs ...] [--methods seca mappo qmix] [--seeds 0 1]      trains
    python benchmarks/foreign_envs.py show                               the table of what is there, and its figure

Each is `seca train METHOD --env ENV --env-options ... --steps N --eval-interval N/10 --seed S`, with the defaults of
the preset. The packages have to be installed, see docs/environments.md. Goes on where it stopped: what is in
docs/data/foreign_envs.jsonl is left alone.
"""

import argparse
import dataclasses
import json
import pathlib
from typing import Any

import numpy as np
from credit_table import call

ROOT = pathlib.Path(__file__).parent.parent
DATA = ROOT / "docs" / "data" / "foreign_envs.jsonl"
FIGURE = ROOT / "docs" / "figures" / "foreign_envs.png"
POINTS = 10
"""Evaluations of a training, besides that of the untrained policy."""
METHODS = ("seca", "mappo", "qmix")
NORMALISED, TERMINAL = ("--normalise", "reward"), ("--time-limit", "terminal")


@dataclasses.dataclass(frozen=True)
class Case:
    """An environment, and how long it is trained on."""

    env: str
    env_steps: int
    options: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    """Options of `seca train`."""
    methods: tuple[str, ...] = ()
    """All where empty."""

    @property
    def name(self) -> str:
        """In the table, and of folders."""
        return " ".join([self.env, *self.changed])


CASES = (
    Case("pettingzoo:mpe2.simple_spread_v3.parallel_env", 200_000),
    Case("jaxmarl:MPE_simple_spread_v3", 200_000),
    *(
        Case("jaxmarl:MPE_simple_spread_v3", 200_000, changed=changed, methods=("qmix",))
        for changed in (NORMALISED, TERMINAL, (*TERMINAL, *NORMALISED))
    ),
    Case("jaxmarl:HeuristicEnemySMAX", 300_000, ("scenario=2s3z",)),
    *(
        Case("jaxmarl:HeuristicEnemySMAX", 300_000, ("scenario=2s3z",), ("--normalise", *names), ("seca",))
        for names in (("reward",), ("state",), ("state", "reward"))
    ),
    Case("jumanji:LevelBasedForaging-v0", 300_000),
    Case("jumanji:LevelBasedForaging-v0", 300_000, changed=("--normalise", "state", "reward"), methods=("seca",)),
    Case("gymnasium:lbforaging:Foraging-8x8-2p-3f-v3", 200_000),
    Case(
        "gymnasium:lbforaging:Foraging-8x8-2p-3f-v3",
        200_000,
        changed=("--normalise", "state", "reward"),
        methods=("seca",),
    ),
    Case("gymnasium:smaclite:smaclite/2s3z-v0", 100_000, ("limit=120", "use_cpp_rvo2=true")),
    Case("pymarl:seca.smac.views.pymarl.SmacMultiAgentEnv", 200_000, ("map_name=3m",)),
    Case("smac/3m", 200_000),
)
"""The last two are one and the same simulator, by PyMARL's interface in worker processes and in the loop."""


def lines() -> list[dict[str, Any]]:
    """What has been trained."""
    return [json.loads(line) for line in DATA.read_text().splitlines()] if DATA.exists() else []


def measure(options: argparse.Namespace) -> None:
    """Train what is missing, first seeds first."""
    for seed in options.seeds:
        for case in CASES:
            for method in options.methods:
                cell = {"env": case.name, "method": method, "seed": seed, "env_steps": case.env_steps}
                if case.env not in options.envs or method not in (case.methods or METHODS):
                    continue
                if any(cell.items() <= line.items() for line in lines()):
                    continue
                name = case.name.replace(" --", "-").replace(" ", "-").replace(":", "-").replace("/", "-")
                run = options.out / f"{name}-{method}-s{seed}"
                given = ["--env", case.env, "--seed", seed, "--steps", case.env_steps, "--out", run]
                given += ["--eval-interval", case.env_steps // POINTS]
                given += ["--env-options", *case.options] if case.options else []
                given += case.changed
                if not (run / "result.json").exists():
                    resumed = (run / "checkpoints").is_dir()
                    call("resume", run) if resumed else call("train", method, *given)
                written = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
                curve = [
                    {key: line[key] for key in ("env_steps", "return_mean", "win_rate") if key in line}
                    for line in written
                    if line["kind"] == "eval"
                ]
                rates = [line["time_env_steps_per_s"] for line in written if line["kind"] == "train"]
                found = cell | {"options": case.options, "curve": curve, "env_steps_per_s": float(np.median(rates))}
                session = json.loads((run / "environment.json").read_text())["sessions"][-1]
                found["session"] = {key: session[key] for key in ("seca", "commit", "processor")}
                with DATA.open("a") as file:
                    file.write(json.dumps(found) + "\n")
                print(f"{run.name}: {curve[0]['return_mean']:.2f} -> {curve[-1]['return_mean']:.2f}", flush=True)


def show(options: argparse.Namespace) -> None:
    """Print a Markdown table, and draw the figure."""
    del options
    from matplotlib.figure import Figure

    found = lines()
    envs = list(dict.fromkeys(case.env for case in CASES if any(line["env"] == case.name for line in found)))
    print("| environment | method | env steps | greedy return, untrained | at the end, by seed | won |")
    print("|---|---|---|---|---|---|")
    figure = Figure(figsize=(9, 2.9 * -(-len(envs) // 3)), layout="constrained")
    axes = figure.subplots(-(-len(envs) // 3), 3, squeeze=False).ravel()
    for unused in axes[len(envs) :]:
        unused.set_visible(False)
    for axis, env in zip(axes, envs, strict=False):
        variants = [(case, method) for case in CASES if case.env == env for method in case.methods or METHODS]
        for number, (case, method) in enumerate(variants):
            mine = [line for line in found if (line["env"], line["method"]) == (case.name, method)]
            if not mine:
                continue
            curves = [line["curve"] for line in sorted(mine, key=lambda line: line["seed"])]
            ends = ", ".join(f"{curve[-1]['return_mean']:.2f}" for curve in curves)
            first = np.mean([curve[0]["return_mean"] for curve in curves])
            won = ", ".join(f"{curve[-1]['win_rate']:.0%}" for curve in curves if "win_rate" in curve[-1]) or "-"
            named = " ".join([f"`{method}`", *([f"`{' '.join(case.changed)}`"] if case.changed else [])])
            print(f"| `{env}` | {named} | {mine[0]['env_steps'] / 1e6:g}M | {first:.2f} | {ends} | {won} |")
            for again, curve in enumerate(curves):
                steps = [point["env_steps"] / 1e3 for point in curve]
                label = None if again else named.replace("`", "").replace("--", "")
                style = ("-", "--", ":", "-.")[number % 4]
                axis.plot(steps, [point["return_mean"] for point in curve], style, color=f"C{number}", label=label)
        axis.set_title(env.removeprefix("gymnasium:").replace("seca.smac.views.pymarl.", ""), fontsize=7)
        axis.set_xlabel("thousand env steps")
        axis.set_ylabel("greedy return")
        axis.legend(fontsize=5, ncols=2, frameon=False, loc="upper center", bbox_to_anchor=(0.5, -0.22))
    figure.savefig(FIGURE, dpi=150)


def main() -> None:
    """Measure, or show."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("measure", "show"))
    parser.add_argument("--envs", nargs="+", default=sorted({case.env for case in CASES}))
    parser.add_argument("--methods", nargs="+", default=list(METHODS), choices=METHODS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1])
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "runs" / "foreign")
    options = parser.parse_args()
    {"measure": measure, "show": show}[options.what](options)


if __name__ == "__main__":
    main()
