"""Figures 4 and 6 of the paper from the runs that there are: docs/figures, and the tables of docs/results.md.

seca sweep benchmarks/studies/fig6-2M.toml                       hours; goes on where stopped; so fig4-2M
python benchmarks/paper_figures.py [sweeps/fig6-2M|RUN ...]      adds runs at their budget to the data, draws, prints
"""

import argparse
import dataclasses
import pathlib

import comparison
import numpy as np

from seca.report import curves, figures

FIGURES = {
    "fig6": (
        ["seca", "coma", "scc", "lica", "riit", "qmix", "mappo"],
        ["2s3z", "1c3s5z", "3s5z", "3s_vs_4z", "2c_vs_64zg", "MMM2"],
    ),
    "fig4a": (["seca", "coma-newarchi", "coma"], ["MMM2"]),
    "fig4b": (["seca", "seca-fixed", "seca-random", "seca-prob", "seca-entropy", "seca-ig-1"], ["MMM2"]),
    "fig4c": (["seca", "seca-ig-1", "seca-ig-10", "seca-ig-20"], ["MMM2"]),
}
SETTINGS = ("paper", "published advantage")
PUBLISHED = {("seca", "published advantage"): ("seca-uncorrected", "paper")}
"""Presets of their own whose runs are those of another with an option changed."""
FEWEST = 3
"""Curves with which a figure is worth drawing."""


def runs_of(found: dict, figure: str) -> list[curves.Curve]:
    """Curves of a figure, those with the published advantage alone under a name of their own, in Fig. 4 only."""
    methods, maps = FIGURES[figure]
    return [
        dataclasses.replace(
            run,
            preset=method if setting == "paper" else f"{method}, {setting}",
            env=f"smac/{map_name} version {run.env}",
        )
        for map_name in maps
        for method in methods
        for setting in (SETTINGS if figure.startswith("fig4") else SETTINGS[:1])
        for run in comparison.members(found, map_name, *PUBLISHED.get((method, setting), (method, setting)))
    ]


def table(drawn: list[curves.Curve]) -> str:
    """Markdown: of each method and map the win rates of its seeds at the end, at best, and when half was won first."""
    lines = ["| map | method | end | best | half won first at |", "|---|---|---:|---:|---:|"]
    for env in dict.fromkeys(run.env for run in drawn):
        for method, members in curves.group([run for run in drawn if run.env == env]).items():
            rates = [run.values["win_rate"] for run in members]
            half = [
                run.steps[np.argmax(rate >= 0.5)] if (rate >= 0.5).any() else np.nan
                for run, rate in zip(members, rates, strict=True)
            ]
            cells = [
                " / ".join(f"{100 * rate[-3:].mean():.0f}" for rate in rates),
                " / ".join(f"{100 * rate.max():.0f}" for rate in rates),
                " / ".join("never" if np.isnan(x) else f"{x / 1e6:.1f}M" for x in half),
            ]
            name = env.partition(" version ")[0].removeprefix("smac/")
            lines.append(f"| {name} | `{method}` | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Data, figures and tables of what there is."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="*", type=pathlib.Path)
    found = comparison.gather(parser.parse_args().runs)
    for figure in FIGURES:
        drawn = runs_of(found, figure)
        if len({(run.env, run.preset) for run in drawn}) < FEWEST:
            print(f"{figure}: too few runs at their budget")
            continue
        longer = " (3s_vs_4z: 4M)" if any("3s_vs_4z" in run.env for run in drawn) else ""
        title = f"{figure.replace('fig', 'Fig. ')} of the paper, at 2M env steps{longer} instead of 65.6M"
        made = figures.panels(drawn, title)
        curves.save(made, comparison.ROOT / "docs" / "figures" / figure, {})
        (comparison.ROOT / "docs" / "figures" / f"{figure}.svg").unlink()
        print(f"{figures.caption(drawn, title)}\n\n{table(drawn)}\n")


if __name__ == "__main__":
    main()
