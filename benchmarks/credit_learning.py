"""Does a better credit learn faster? Curves on harder maps: a figure and a table.

    seca sweep benchmarks/studies/harder.toml --out sweeps/harder      hours; goes on where stopped
    python benchmarks/credit_learning.py [sweeps/harder|RUN ...]       figure and table of the runs at their budget

Data go to docs/data/comparison.jsonl, a line for each run, as those of the comparison do.
"""

import argparse
import pathlib
import textwrap

import comparison
import matplotlib
import numpy as np
from matplotlib.figure import Figure

from seca.report import curves

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)

METHODS = ["seca-fork", "seca", "mappo", "seca-uncorrected", "coma-newarchi", "indadv"]
CAPTION = (
    "Greedy win rate over 32 episodes every 100,000 env steps; 32 runners, one device. Line: median over the seeds, "
    "band: their quartiles; the legend has the number of runs on each map shown. `seca-fork` simulates further env "
    "steps, which the axis does not count. Data: docs/data/comparison.jsonl."
)


def runs_of(found: dict, map_name: str, method: str) -> list[curves.Curve]:
    """The runs of one curve in the paper's setting, by seed."""
    return comparison.members(found, map_name, method, "paper")


def draw(found: dict, maps: list[str], to: pathlib.Path) -> None:
    """A panel for each map that has runs."""
    figure, panels = plt.subplots(1, len(maps), figsize=(max(6.4, 4.6 * len(maps)), 4.4), sharey=True, squeeze=False)
    for panel, map_name in zip(panels[0], maps, strict=True):
        for index, method in enumerate(METHODS):
            runs = runs_of(found, map_name, method)
            if not runs:
                continue
            drawn = curves.band(runs, "win_rate")
            panel.plot(drawn.steps, drawn.median, color=f"C{index}", label=f"{method} ({len(runs)})", linewidth=1.4)
            panel.fill_between(drawn.steps, drawn.low, drawn.high, color=f"C{index}", alpha=0.12, linewidth=0)
        panel.set_title(map_name, fontsize=10)
        panel.legend(fontsize=8, frameon=False, loc="upper left")
    finish(figure, CAPTION, to)


def finish(figure: Figure, caption: str, to: pathlib.Path) -> None:
    """What all panels of win rates over env steps have, a caption, and the file."""
    for panel in figure.axes:
        panel.set_xlabel("env steps")
        panel.set_ylim(-0.02, 1.02)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("test win rate")
    figure.text(0.01, 0.01, "\n".join(textwrap.wrap(caption, 56 * max(2, len(figure.axes)))), fontsize=7)
    figure.tight_layout(rect=(0, 0.14, 1, 1))
    figure.savefig(to, dpi=110)
    plt.close(figure)


def table(found: dict, maps: list[str]) -> str:
    """Markdown: the trained policy over 128 greedy episodes, the best evaluation, and when wins first were half."""
    lines = ["| map | method | seed | greedy win rate at the end (95 %) | best evaluation | half won first at |"]
    lines.append("|---|---|---:|---|---:|---:|")
    for cell in sorted(cell for cell in found if cell.map_name in maps and cell.setting == "paper"):
        rates, final = np.asarray(found[cell]["win_rate"]), found[cell]["final"]
        half = np.flatnonzero(rates >= 0.5)
        first = f"{found[cell]['env_steps'][half[0]] / 1e6:.1f}M" if len(half) else "never"
        low, high = 100 * final["win_rate_low"], 100 * final["win_rate_high"]
        lines.append(
            f"| {cell.map_name} | `{cell.method}` | {cell.seed} | {100 * final['win_rate']:.0f} % ({low:.0f} to "
            f"{high:.0f}) | {100 * rates.max():.0f} % | {first} |"
        )
    return "\n".join(lines)


def main() -> None:
    """Data, figure and table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=pathlib.Path)
    found = comparison.gather(parser.parse_args().runs)
    maps = [name for name in comparison.HARDER if any(cell.map_name == name for cell in found)]
    if not maps:
        raise SystemExit(f"no run on {', '.join(comparison.HARDER)} is at its budget yet")
    draw(found, maps, comparison.ROOT / "docs" / "figures" / "credit_learning.png")
    print(table(found, maps))


if __name__ == "__main__":
    main()
