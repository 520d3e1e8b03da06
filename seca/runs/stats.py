"""Small statistics of evaluations."""

import math
from typing import Any

import jax
import numpy as np
from jaxtyping import PRNGKeyArray

from seca import numerics

_EVALUATION_STREAM = 0x5ECA
"""Keeps keys of evaluations after training apart from those used inside it."""


@numerics.own()
def evaluation_key(seed: int) -> PRNGKeyArray:
    """Key of the battles of an evaluation after training; trained and untrained policy share it."""
    return jax.random.fold_in(numerics.key(seed), _EVALUATION_STREAM)


def wilson(successes: int, trials: int, z: float = 1.959964) -> tuple[float, float]:
    """Wilson's score interval of a proportion, 95 % by default.

    (p + z²/2n ± z sqrt(p(1-p)/n + z²/4n²)) / (1 + z²/n); always inside [0, 1]. Wilson 1927. Raises ValueError without
    trials.
    """
    if trials < 1 or not 0 <= successes <= trials:
        raise ValueError(f"`successes` is {successes} of `trials` {trials}: no proportion")
    p, spread = successes / trials, z * z / trials
    centre = (p + spread / 2) / (1 + spread)
    half = z * math.sqrt(p * (1 - p) / trials + spread / (4 * trials)) / (1 + spread)
    # At the ends the bound is the proportion itself; rounding must not push it past.
    low = 0.0 if successes == 0 else centre - half
    high = 1.0 if successes == trials else centre + half
    return low, high


def summary(results: dict[str, np.ndarray]) -> dict[str, Any]:
    """JSON-ready numbers of one evaluation: means, interval, and every episode; of wins where there are any.

    `episodes` were played to their end; `episodes_lost` more were not, where workers play.
    """
    rate, each = _wins(results["won"]) if "won" in results else ({}, {})
    return {
        "episodes": int(np.size(results["return"])),
        **({"episodes_lost": int(results["lost"])} if "lost" in results else {}),
        **rate,
        "return_mean": float(np.mean(results["return"])),
        "length_mean": float(np.mean(results["length"])),
        **each,
        "episode_return": np.asarray(results["return"], dtype=np.float64).round(6).tolist(),
        "episode_length": np.asarray(results["length"]).astype(int).tolist(),
    }


def _wins(results: np.ndarray) -> tuple[dict[str, float], dict[str, list[int]]]:
    """The win rate with its interval, and who won."""
    won = np.asarray(results).astype(int)
    low, high = wilson(int(won.sum()), won.size)
    return {"win_rate": float(won.mean()), "win_rate_low": low, "win_rate_high": high}, {"episode_won": won.tolist()}


def sentence(numbers: dict[str, Any]) -> str:
    """One line on one evaluation, for people."""
    told = f"return {numbers['return_mean']:.2f}, length {numbers['length_mean']:.1f}"
    if numbers.get("episodes_lost"):
        told += f", {numbers['episodes_lost']} more episodes lost"
    if "win_rate" not in numbers:
        return told
    low, high = 100 * numbers["win_rate_low"], 100 * numbers["win_rate_high"]
    return f"win rate {100 * numbers['win_rate']:5.1f} % (95 % interval {low:.1f} to {high:.1f}), {told}"
