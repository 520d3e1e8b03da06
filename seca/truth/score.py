"""How good a credit is: what it says of agent steps beside what they were worth."""

import dataclasses
import math

import numpy as np
from jaxtyping import Float, Int

RESAMPLES = 1000
"""Of the battles, for the interval of the share explained."""
FEW_BATTLES = 5
"""Battles below which there is no interval."""
TINY = 1e-9
"""Share of a second moment below which nothing is left of it when its error is taken out."""
SURE = 3.0
"""Standard errors from 0 at which the sign of a truth is taken as known."""


@dataclasses.dataclass(frozen=True)
class Score:
    """One credit on some agent steps. Where nothing can be said, a number is NaN."""

    agent_steps: int
    explained: float
    """Share of the second moment of the truth that the credit explains, the truth's own error taken out:
    1 - (mean (c - t)^2 - mean se^2) / (mean t^2 - mean se^2). 1 is right, 0 as good as saying nothing."""
    low: float
    """2.5 % of it over battles drawn again, with replacement. NaN of fewer than `FEW_BATTLES`, and where one draw in
    forty leaves nothing of the truth beside its error."""
    high: float
    """97.5 % of it."""
    ceiling: float
    """What the plain share, 1 - mean (c - t)^2 / mean t^2, would be for a perfect credit; at least 0."""
    correlation: float
    """With the truth as measured, so that its error pulls it towards 0."""
    slope: float
    """Of the truth on the credit, through 0: what to multiply the credit by. Free of the truth's error."""
    signs: float
    """Share of right signs among agent steps whose truth is over three standard errors from 0."""
    sure: int
    """How many of those there are."""
    rms_credit: float
    rms_truth: float
    """Root of the second moment of the truth, its error taken out."""
    rms_error: float
    """Root mean square of the standard errors."""


def score(
    credit: Float[np.ndarray, " steps"],
    truth: Float[np.ndarray, " steps"],
    error: Float[np.ndarray, " steps"],
    battle: Int[np.ndarray, " steps"],
    seed: int = 0,
) -> Score:
    """Hold what a credit says of agent steps against their truth.

    Args:
        credit: what it says.
        truth: what the forks say.
        error: standard errors of the truth.
        battle: the battle that each agent step is from; the interval is over battles, whose steps hang together.
        seed: of the battles drawn again.
    """
    credit, truth, error = (np.asarray(x, np.float64) for x in (credit, truth, error))
    nan = math.nan
    if not len(truth):
        return Score(0, *(nan,) * 7, 0, *(nan,) * 3)
    moments = np.stack([(credit - truth) ** 2, truth**2, error**2], axis=1)
    wrong, size, noise = moments.mean(axis=0)
    _, battles = np.unique(battle, return_inverse=True)
    sums = np.zeros((battles.max() + 1, 3))
    np.add.at(sums, battles, moments)
    rng = np.random.default_rng(seed)
    drawn = [sums[rng.integers(0, len(sums), len(sums))].sum(axis=0) for _ in range(RESAMPLES)]
    again = _explained(*np.transpose(drawn))
    known = len(sums) >= FEW_BATTLES and np.isnan(again).mean() <= 1 / 40
    low, high = np.nanpercentile(again, (2.5, 97.5)) if known else (nan, nan)
    sure = np.abs(truth) > SURE * error
    return Score(
        agent_steps=len(truth),
        explained=float(_explained(wrong, size, noise)),
        low=float(low),
        high=float(high),
        ceiling=float(np.maximum(1 - _ratio(noise, size), 0)),
        correlation=_correlation(credit, truth),
        slope=float(_ratio((credit * truth).sum(), (credit**2).sum())),
        signs=float((np.sign(credit) == np.sign(truth))[sure].mean()) if sure.any() else nan,
        sure=int(sure.sum()),
        rms_credit=float(np.sqrt((credit**2).mean())),
        rms_truth=float(np.sqrt(max(size - noise, 0))),
        rms_error=float(np.sqrt(noise)),
    )


def _explained(wrong: np.ndarray | float, size: np.ndarray | float, noise: np.ndarray | float) -> np.ndarray:
    left = np.asarray(size - noise)
    return np.where(left > TINY * np.asarray(size), 1 - _ratio(wrong - noise, left), math.nan)


def _ratio(a: np.ndarray | float, b: np.ndarray | float) -> np.ndarray:
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(np.asarray(b) != 0, np.divide(a, b), math.nan)


def _correlation(a: np.ndarray, b: np.ndarray) -> float:
    a, b = a - a.mean(), b - b.mean()
    return float(_ratio((a * b).sum(), math.sqrt((a**2).sum() * (b**2).sum())))
