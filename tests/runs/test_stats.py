"""Statistics of evaluations: intervals, means, and a sentence."""

import numpy as np
import pytest

from seca.runs import stats


@pytest.mark.parametrize(
    ("successes", "trials", "low", "high"),
    # Newcombe 1998 (Statistics in Medicine 17), Table I, method 3: Wilson without continuity correction.
    [(81, 263, 0.2553, 0.3662), (15, 148, 0.0624, 0.1605), (0, 20, 0.0, 0.1611), (1, 29, 0.0061, 0.1718)],
)
def test_wilson_against_newcombe(successes: int, trials: int, low: float, high: float) -> None:
    np.testing.assert_allclose(stats.wilson(successes, trials), (low, high), atol=6e-5)


def test_wilson_solves_its_equation_and_stays_inside() -> None:
    """The bounds are the p with |p - successes / n| = z sqrt(p (1 - p) / n)."""
    for trials in (1, 7, 128):
        for successes in range(trials + 1):
            low, high = stats.wilson(successes, trials)
            assert 0 <= low <= successes / trials <= high <= 1
            for bound in (low, high):
                distance = abs(bound - successes / trials)
                assert distance == pytest.approx(1.959964 * np.sqrt(bound * (1 - bound) / trials), abs=1e-9)
            mirrored = stats.wilson(trials - successes, trials)
            np.testing.assert_allclose((low, high), (1 - mirrored[1], 1 - mirrored[0]), atol=1e-12)
    with pytest.raises(ValueError, match="`trials` 0"):
        stats.wilson(0, 0)


def test_summary_counts_episodes() -> None:
    results = {"won": np.array([True, False, True, True]), "return": np.array([1.0, 2, 3, 4]), "length": np.arange(4)}
    summary = stats.summary(results)
    assert (summary["episodes"], summary["win_rate"], summary["return_mean"]) == (4, 0.75, 2.5)
    assert summary["episode_won"] == [1, 0, 1, 1]
    assert "75.0 %" in stats.sentence(summary)


def test_where_nobody_wins_returns_are_told() -> None:
    summary = stats.summary({"return": np.array([1.0, 2, 3, 4]), "length": np.arange(4)})
    assert not any("win" in name or "won" in name for name in summary)
    assert (summary["episodes"], summary["return_mean"], summary["length_mean"]) == (4, 2.5, 1.5)
    assert stats.sentence(summary) == "return 2.50, length 1.5"


def test_lost_episodes_are_counted_beside_those_played() -> None:
    results = {"return": np.array([1.0, 2, 3, 4]), "length": np.arange(4), "lost": np.array(2)}
    summary = stats.summary(results)
    assert (summary["episodes"], summary["episodes_lost"]) == (4, 2)
    assert stats.sentence(summary) == "return 2.50, length 1.5, 2 more episodes lost"
    whole = stats.summary(results | {"lost": np.array(0)})
    assert whole["episodes_lost"] == 0 and stats.sentence(whole) == "return 2.50, length 1.5"
