"""What docs/results.md says of its runs: the data kept of them, and the tables.

    python benchmarks/results.py keep runs/seca-2s3z-s0 ...       plays 320 greedy episodes; writes docs/data/NAME
    python benchmarks/results.py table seca-2s3z-s0 ...           markdown, from docs/data alone

Of a run are kept: its configuration and environment, every evaluation, means of the training lines over 20 updates, and
the outcome of 320 greedy episodes with `latest`. `seca plot docs/data/NAME ...` draws what is kept as it draws runs.
"""

import argparse
import json
import pathlib
import shutil

from seca.host import machine
from seca.runs import stats
from seca.runs.evaluation import evaluate_run

DATA = pathlib.Path(__file__).parent.parent / "docs" / "data"
WINDOW = 20
"""Updates per mean."""
KEPT = (
    "return_mean",
    "win_rate",
    "episode_length_mean",
    "entropy",
    "advantage_abs",
    "correction_abs",
    "critic_mean",
    "critic_explained",
    "time_env_steps_per_s",
)
EPISODES = 320


def thinned(lines: list[dict]) -> list[dict]:
    """Evaluations as they are; of each `WINDOW` training lines the mean."""
    kept, window = [], []
    for line in lines:
        if line["kind"] == "eval":
            kept.append(line)
            continue
        window.append(line)
        if len(window) == WINDOW:
            means = {name: sum(x[name] for x in window) / WINDOW for name in KEPT if name in line}
            last = {name: line[name] for name in ("kind", "env_steps", "iteration", "gradient_steps", "time_elapsed")}
            kept.append(last | {"mean_of": WINDOW} | {name: float(f"{value:.5g}") for name, value in means.items()})
            window = []
    return kept


def keep(runs: list[pathlib.Path]) -> None:
    """Copy what is kept of runs."""
    machine.configure(0, EPISODES)
    for run in runs:
        to = DATA / run.name
        to.mkdir(parents=True, exist_ok=True)
        for name in ("config.json", "environment.json", "result.json"):
            if (run / name).exists():
                shutil.copy(run / name, to / name)
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        (to / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in thinned(lines)))
        result = evaluate_run(run, EPISODES, "latest", 0, None)
        short = {name: value for name, value in result.items() if not name.startswith("episode_")}
        (to / "evaluation.json").write_text(json.dumps(short, indent=1) + "\n")
        print(f"{run.name}: {stats.sentence(result)}", flush=True)


def row(name: str) -> str:
    """One run as a line of the table."""
    folder = DATA / name
    lines = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    evaluations = [line for line in lines if line["kind"] == "eval"]
    means = [line for line in lines if line["kind"] == "train"]
    first = next((f"{e['env_steps'] / 1e6:.2f}M" for e in evaluations if e["win_rate"] >= 0.95), "never")
    evaluated = json.loads((folder / "evaluation.json").read_text())
    greedy = stats.sentence(evaluated).split(", return")[0].removeprefix("win rate").strip()
    last = means[-1]
    sessions = json.loads((folder / "environment.json").read_text())["sessions"]
    cells = [
        name,
        f"{evaluations[-1]['env_steps'] / 1e6:.2f}M",
        greedy,
        first,
        f"{100 * max(x['win_rate'] for x in means):.0f} %",
        f"{100 * last['win_rate']:.0f} %",
        f"{last['entropy']:.2f}",
        f"{last['advantage_abs']:.4f}",
        f"{last['critic_mean']:.1f}",
        f"{evaluations[-1]['time_elapsed']:.0f} s",
        ", ".join(dict.fromkeys(f"`{session['commit'][:7]}`" for session in sessions)),
    ]
    return "| " + " | ".join(cells) + " |"


HEAD = (
    "run",
    "env steps",
    f"greedy win rate of `latest`, {EPISODES} episodes",
    "first evaluation with 95 %",
    f"sampled win rate, best mean of {WINDOW} updates",
    "the same at the end",
    "entropy",
    "mean size of advantages",
    "mean critic value",
    "wall clock",
    "commit",
)


def main() -> None:
    """Parse and go."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["keep", "table"])
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    options = parser.parse_args()
    if options.what == "keep":
        keep(options.runs)
        return
    print("| " + " | ".join(HEAD) + " |\n|" + "---|" * len(HEAD))
    for run in options.runs:
        print(row(run.name))


if __name__ == "__main__":
    main()
