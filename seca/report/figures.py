"""Figures of a paper from many runs: a panel for each environment, a line and a band for each method."""

import itertools
import math
import textwrap
from collections.abc import Sequence

from matplotlib.figure import Figure

from seca.report import curves
from seca.report.curves import METRICS, Curve

COLOURS = ("#000000", "#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
"""Okabe and Ito's, apart for the colour-blind."""
DASHES = ("-", "--", "-.", ":", (0, (6, 1, 1, 1, 1, 1)))
"""5 and 7 have no common divisor: 35 methods differ in one or the other."""
WIDTH, HEIGHT = 4.3, 3.2
"""Inches of a panel."""
HANDLE, CHARACTER = 0.7, 0.085
"""Inches of the line in a legend's entry, with what is around it, and of a letter of its text."""


def panels(found: Sequence[Curve], title: str, notes: Sequence[str] = ()) -> Figure:
    """Test win rate (return, where nobody can win) over env steps: median and quartiles over seeds, caption below."""
    environments = list(dict.fromkeys(curve.env for curve in found))
    methods = list(dict.fromkeys(curve.preset for curve in found))
    columns = min(3, len(environments))
    rows = math.ceil(len(environments) / columns)
    figure = Figure(figsize=(max(WIDTH * columns, 6.5), HEIGHT * rows), layout="constrained")
    axes = figure.subplots(rows, columns, squeeze=False).flatten()
    styles = dict(zip(methods, zip(itertools.cycle(COLOURS), itertools.cycle(DASHES), strict=False), strict=False))
    for panel, env in zip(axes, environments, strict=False):
        members = [curve for curve in found if curve.env == env]
        metric = next(iter(curves.metrics(members)))
        for method, group in curves.group(members).items():
            colour, dash = styles[method]
            drawn = curves.band(curves.whole(group), metric)
            for curve in curves.ended_early(group):
                panel.step(curve.steps, curve.values[metric], where="post", color=colour, linestyle="--", linewidth=0.8)
            look = {"color": colour, "linestyle": dash, "linewidth": 1.6, "drawstyle": "steps-post"}
            panel.plot(drawn.steps, drawn.median, label=method, **look)
            band = {"step": "post", "color": colour, "alpha": 0.14, "linewidth": 0}
            panel.fill_between(drawn.steps, drawn.low, drawn.high, **band)
        panel.set_title(env.partition(" version ")[0], fontsize=10)
        panel.set_xlabel("env steps")
        panel.set_ylabel(METRICS[metric])
        if metric == "win_rate":
            panel.set_ylim(-0.02, 1.02)
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
    for panel in axes[len(environments) :]:
        panel.set_visible(False)
    labelled = {
        label: handle for panel in axes for handle, label in zip(*panel.get_legend_handles_labels(), strict=True)
    }
    shown = [method for method in methods if method in labelled]
    entry = HANDLE + CHARACTER * max((len(method) for method in shown), default=0)
    across = max(1, min(4, int(figure.get_figwidth() / entry)))
    handles = [labelled[method] for method in shown]
    figure.legend(handles, shown, loc="outside upper center", ncols=across, frameon=False)
    lines = textwrap.wrap(caption(found, title, notes), round(17 * figure.get_figwidth()))
    figure.text(0.01, 0.01, "\n".join(lines), fontsize=7.5, va="bottom")
    figure.set_figheight(HEIGHT * rows + 0.21 * math.ceil(len(shown) / across) + 0.13 * len(lines))
    below = (0.15 + 0.13 * len(lines)) / figure.get_figheight()
    figure.set_layout_engine("constrained", rect=(0, below, 1, 1 - below))
    return figure


def caption(found: Sequence[Curve], title: str, notes: Sequence[str] = ()) -> str:
    """What a reader must know: what it is, seeds, episodes, intervals, budgets, gradient steps, and warnings."""
    environments = list(dict.fromkeys(curve.env for curve in found))
    counts: dict[str, list[int]] = {}
    for env in environments:
        for method, members in curves.group([curve for curve in found if curve.env == env]).items():
            counts.setdefault(method, []).append(len(curves.whole(members)))
    for numbers in counts.values():
        numbers += [0] * (len(environments) - len(numbers))  # On these it has no run.
    told = curves.listed([f"{method} {_range(numbers)}" for method, numbers in counts.items()])
    warnings = list(
        dict.fromkeys(
            warning
            for env in environments
            for warning in curves.warnings([curve for curve in found if curve.env == env])
            if not warning.startswith("only ")
        )
    )
    short = min(min(numbers) for numbers in counts.values())
    if short < curves.FEW_SEEDS:
        warnings.append(f"fewer than {curves.FEW_SEEDS} seeds")
    parts = [
        f"{title}.",
        f"Median and quartiles over seeds ({told}), each curve as far as its shortest run.",
        f"{curves.made_how(found)}.",
        curves.gradient_steps(found),
        *(f"Warning: {warning}." for warning in (*notes, *warnings)),
    ]
    return " ".join(part for part in parts if part)


def _range(numbers: Sequence[int]) -> str:
    return str(min(numbers)) if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"
