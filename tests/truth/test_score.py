"""Scores of credits whose quality is known."""

import math

import numpy as np
import pytest

from seca.truth.score import score


def made(noise: float, steps: int = 4000, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """True worth, what forks say of it, their standard errors, battles of four steps."""
    rng = np.random.default_rng(seed)
    true = rng.normal(size=steps)
    error = np.full(steps, noise)
    return true, true + noise * rng.normal(size=steps), error, np.arange(steps) // 4


@pytest.mark.parametrize("noise", [0.0, 0.5, 1.0])
def test_known_shares(noise: float) -> None:
    """The truth itself explains 1, half of it 3/4, nothing 0, its opposite -3, whatever the error of the forks."""
    true, measured, error, battle = made(noise)
    for factor, share in ((1.0, 1.0), (0.5, 0.75), (0.0, 0.0), (-1.0, -3.0)):
        found = score(factor * true, measured, error, battle)
        assert found.explained == pytest.approx(share, abs=0.12)
        assert found.low <= found.explained <= found.high
        assert found.rms_truth == pytest.approx(1, abs=0.05) and found.rms_error == pytest.approx(noise)
        assert found.ceiling == pytest.approx(1 / (1 + noise**2), abs=0.03)
        if factor:
            assert found.slope == pytest.approx(1 / factor, rel=0.05)
            assert found.correlation == pytest.approx(math.copysign(1 / math.sqrt(1 + noise**2), factor), abs=0.03)
        if noise:
            assert found.signs == pytest.approx({1.0: 1, 0.5: 1, 0.0: 0, -1.0: 0}[factor], abs=0.02)


@pytest.mark.slow
def test_intervals_cover_the_share() -> None:
    """In 90 % of cases or more, of a credit that explains 3/4 of the truth, with 100 battles."""
    inside = 0
    for seed in range(200):
        true, measured, error, battle = made(0.5, 400, seed)
        found = score(0.5 * true, measured, error, battle)
        inside += found.low <= 0.75 <= found.high
    assert 0.90 <= inside / 200 <= 0.99


def test_steps_of_a_battle_hang_together() -> None:
    """Every step four times over is no more known than once: the interval is as wide if the battles are known."""
    true, measured, error, _ = made(0.5, 200)
    credit, measured, error = (np.repeat(x, 4) for x in (0.5 * true, measured, error))
    known = score(credit, measured, error, np.repeat(np.arange(200), 4))
    fooled = score(credit, measured, error, np.arange(800))
    assert known.high - known.low > 1.6 * (fooled.high - fooled.low)


def test_where_nothing_can_be_said() -> None:
    none = np.zeros(0)
    nothing = score(none, none, none, none.astype(int))
    assert nothing.agent_steps == 0 and math.isnan(nothing.explained) and nothing.sure == 0
    drowned = score(np.ones(8), np.full(8, 0.1), np.ones(8), np.arange(8))
    assert math.isnan(drowned.explained) and drowned.rms_truth == 0 and drowned.ceiling == 0
    true, measured, error, _ = made(0.5, 40)
    assert math.isnan(score(true, measured, error, np.arange(40) % 4).low), "four battles"
    assert score(true, measured, error, np.arange(40) % 5).low < 1
