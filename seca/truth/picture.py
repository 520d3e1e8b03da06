"""A picture of an audit: what a credit says of each agent step beside what the step was worth."""

import io
import pathlib
import textwrap

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seca import files
from seca.truth import findings
from seca.truth.audit import Audit
from seca.truth.rounds import OWN, ZERO

SCALE = 10
"""How much narrower or wider than the truth the axis of a credit may be: else what is too small is a line."""
BINS = 10
"""Of the calibration curve, each with as many agent steps."""


def save(audit: Audit, path: pathlib.Path) -> pathlib.Path:
    """Write the picture. An older one is replaced."""
    buffer = io.BytesIO()
    draw(audit).savefig(buffer, format="png", dpi=150)
    with files.replacing(path) as temporary:
        temporary.write_bytes(buffer.getvalue())
    return path


def draw(audit: Audit) -> Figure:
    """Scatter of every credit against the truth it claims, with its calibration, and the caption below."""
    credits = {name: credit for name, credit in audit.credits.items() if name != ZERO}
    figure = Figure(figsize=(4.6 * len(credits), 5.4), layout="constrained")
    scores = findings.scores(audit)
    for axes, (name, credit) in zip(np.ravel(figure.subplots(1, len(credits))), credits.items(), strict=True):
        kind = findings.kind_of(audit, name)
        mean, error = audit.sums.mean()[:, kind], audit.sums.error()[:, kind]
        _scatter(axes, credit[audit.choice], mean[audit.choice], error[audit.choice])
        one = scores[name]
        axes.set_title(f"{name}: explains {one.explained:.2f} ({findings.interval_of(one)})", fontsize=10)
        axes.set_xlabel("what it says an action was worth")
        axes.set_ylabel(f"what it was worth ({audit.plan.kinds[kind]}, by forks)")
    figure.supxlabel("\n".join(textwrap.wrap(caption(audit), width=62 * len(credits))), fontsize=8)
    return figure


def _scatter(axes: Axes, credit: np.ndarray, truth: np.ndarray, error: np.ndarray) -> None:
    wide, high = (float(np.abs(values).max()) * 1.1 + 1e-9 for values in (credit, truth))
    wide = min(max(wide, high / SCALE), high * SCALE)
    axes.plot([-wide, wide], [-wide, wide], color="0.6", linewidth=1, label="right")
    axes.axhline(0, color="0.85", linewidth=1, zorder=0)
    axes.axvline(0, color="0.85", linewidth=1, zorder=0)
    axes.errorbar(credit, truth, yerr=error, fmt="o", markersize=3, alpha=0.35, linewidth=0.7, label="agent steps")
    if len(credit) >= 2 * BINS:
        parts = np.array_split(np.argsort(credit, kind="stable"), BINS)
        middle = [(credit[part].mean(), truth[part].mean()) for part in parts]
        axes.plot(*np.transpose(middle), "s-", color="C3", markersize=4, label="means of tenths")
    axes.set_xlim(-wide, wide)
    axes.set_ylim(-high, high)
    axes.locator_params(axis="x", nbins=5)
    axes.legend(fontsize=8, loc="upper left")


def caption(audit: Audit) -> str:
    """How the numbers were made."""
    about, plan, one = audit.about, audit.plan, findings.scores(audit)[OWN]
    return (
        f"{about['preset']} on {about['env']} ({about['env_version']}) after {about['env_steps']:,} env steps, "
        f"training seed {about['training_seed']}. {one.agent_steps} agent steps with a choice, from {plan.steps} steps "
        f"of {len(np.unique(audit.battle))} episodes that the policy sampled (audit seed {plan.seed}). Truth: "
        f"{plan.forks} forks of each step with common random numbers, discount {about['gamma']}; bars are its "
        f"standard error (rms {one.rms_error:.3f}, rms of the truth {one.rms_truth:.3f}). Intervals: 95 %, battles "
        "drawn again 1,000 times."
    )
