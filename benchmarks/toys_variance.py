"""Deviation of the toys' advantages along training, by method: mean over agents, median over seeds.

seca reproduce fig2                                    makes the runs
python benchmarks/toys_variance.py sweeps/fig2         prints a row for each method on each toy
"""

import argparse
import pathlib

import numpy as np

from seca.runs import folder as folders

PARTS = 5
"""Of each training."""


def parts_of(run: pathlib.Path) -> list[float]:
    """Mean deviation over agents and iterations, in each part of a training; before the first update there is none."""
    lines = folders.read_metrics(folders.existing(run), "train")
    values = [np.mean(line["advantage_agent_std"]) for line in lines if line["gradient_steps"]]
    return [float(part.mean()) for part in np.array_split(values, PARTS)]


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sweep", type=pathlib.Path)
    found: dict[str, list[list[float]]] = {}
    for run in sorted((parser.parse_args().sweep / "runs").iterdir()):
        found.setdefault(run.name.rpartition("-s")[0], []).append(parts_of(run))
    for name, rows in found.items():
        median = "  ".join(f"{value:.3f}" for value in np.median(rows, axis=0))
        print(f"{name:<50} {len(rows):>2} seeds  {median}")


if __name__ == "__main__":
    main()
