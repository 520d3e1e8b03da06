"""What an env step teaches with many runners: figure and table of docs/accelerator.md.

    seca train METHOD --env smac/2s3z --seed 0 --steps 2e6 --runners 256 --minibatches 8 --devices 1 --out RUN
    python benchmarks/many_runners.py [RUN ...]      adds the runs to docs/data/many_runners.jsonl, draws, prints

With 32 runners: seeds 0 and 1 of docs/data/comparison.jsonl. A run is kept once its last evaluation is at its budget.
"""

import argparse
import json
import pathlib
from typing import Any

import matplotlib
import numpy as np
from credit_learning import finish

import seca
from seca.runs import folder as folders

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)

DOCS = pathlib.Path(__file__).resolve().parent.parent / "docs"
DATA, COMPARED = DOCS / "data" / "many_runners.jsonl", DOCS / "data" / "comparison.jsonl"
GOOD = 0.95
CAPTION = (
    "Greedy win rate on smac/2s3z over 32 episodes about every 100,000 env steps, one line for each run. `k` updates "
    "share the episodes of all runners: with 256 and 8 each update has 32 episodes, as with 32 runners and one. Data: "
    "docs/data/many_runners.jsonl, docs/data/comparison.jsonl (32 runners)."
)
Row = dict[str, Any]


def kept(path: pathlib.Path) -> Row | None:
    """What is kept of a run, or None of one that is not at its budget."""
    run = folders.existing(path)
    config, lines = folders.read_config(run.config), folders.read_metrics(run)
    evaluations = [line for line in lines if line["kind"] == "eval"]
    if not evaluations or evaluations[-1]["env_steps"] < config.loop.steps:
        return None
    environment = folders.read_environment(run)
    assert environment, f"{path} has no environment.json"
    session = environment["sessions"][-1]
    sizes = {"runners": config.loop.runners, "minibatches": config.loop.minibatches}
    row = {"env": config.env, "method": config.preset, **sizes, "seed": config.seed, "commit": session["commit"]}
    row |= {"seca": seca.__version__, "processor": session["processor"]}
    return row | {name: [line[name] for line in evaluations] for name in ("env_steps", "win_rate", "return_mean")}


def identity(row: Row) -> tuple[str, int, int, int]:
    """Which run it is."""
    return row["method"], row["runners"], row["minibatches"], row["seed"]


def read(path: pathlib.Path) -> list[Row]:
    """Rows of a file of them, none where there is none."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def with_few(methods: set[str]) -> list[Row]:
    """The same methods with 32 runners."""
    rows = [row for row in read(COMPARED) if row["map"] == "2s3z" and row["setting"] == "paper" and row["seed"] < 2]
    return [row | {"runners": 32, "minibatches": 1} for row in rows if row["method"] in methods]


def draw(rows: list[Row], to: pathlib.Path) -> None:
    """A panel for each method."""
    methods = sorted({row["method"] for row in rows}, key=["seca", "mappo", "qmix"].index)
    figure, panels = plt.subplots(
        1, len(methods), figsize=(max(6.4, 4.6 * len(methods)), 4.4), sharey=True, squeeze=False
    )
    sizes = sorted({(row["runners"], row["minibatches"]) for row in rows}, key=lambda size: (size[0], -size[1]))
    for panel, method in zip(panels[0], methods, strict=True):
        for row in rows:
            if row["method"] == method:
                size = row["runners"], row["minibatches"]
                label = f"{size[0]} runners, k = {size[1]}" + (f", seed {row['seed']}" if row["seed"] else "")
                style = {"color": f"C{sizes.index(size)}", "linestyle": ("-", "--", ":")[row["seed"]]}
                panel.plot(row["env_steps"], row["win_rate"], label=label, linewidth=1.3, **style)
        panel.set_title(method, fontsize=10)
        panel.legend(fontsize=7, frameon=False, loc="upper left" if method == "qmix" else "lower right")
    finish(figure, CAPTION, to)


def table(rows: list[Row]) -> str:
    """Markdown: when 95 % were won first, and from when on at every evaluation."""
    lines = [
        "| method | runners | updates of a batch | seed | 95 % won first at | at every evaluation from | at the end |"
    ]
    lines.append("|---|---:|---:|---:|---:|---:|---:|")
    for row in sorted(rows, key=identity):
        good, steps = np.asarray(row["win_rate"]) >= GOOD, row["env_steps"]
        first = f"{steps[int(np.argmax(good))] / 1e6:.2f}M" if good.any() else "never"
        lasting = len(good) - int(np.argmin(good[::-1])) if not good.all() else 0
        since = f"{steps[lasting] / 1e6:.2f}M" if lasting < len(good) else "never"
        end = f"{100 * row['win_rate'][-1]:.0f} % ({steps[-1] / 1e6:.1f}M)"
        cells = (
            f"`{row['method']}` | {row['runners']:,} | {row['minibatches']} | {row['seed']} | {first} | {since} | {end}"
        )
        lines.append(f"| {cells} |")
    return "\n".join(lines)


def main() -> None:
    """Data, figure and table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=pathlib.Path)
    found = {identity(row): row for row in read(DATA)}
    for path in parser.parse_args().runs:
        row = kept(path)
        if row is None:
            print(f"{path} is not at its budget yet")
        else:
            found[identity(row)] = row
    DATA.write_text("".join(json.dumps(found[key]) + "\n" for key in sorted(found)))
    rows = [*with_few({row["method"] for row in found.values()}), *found.values()]
    draw(rows, DOCS / "figures" / "many_runners.png")
    print(table(rows))


if __name__ == "__main__":
    main()
