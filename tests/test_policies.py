"""Policies with a floor under every action, and schedules."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import float64_fixture

from seca.algos.q_learning import QLearningConfig
from seca.distributions import floored_policy
from seca.policies import FloorConfig, linear, sample_cheaply

pytestmark = pytest.mark.slow

_ = float64_fixture


def test_floor_falls_with_env_steps() -> None:
    floor = FloorConfig(start=0.5, finish=0.1, steps=1000)
    logits = jnp.array([9.0, 0.0, 0.0, 50.0])
    avail = jnp.array([True, True, True, False])
    for steps, share in ((0, 0.5), (500, 0.3), (1000, 0.1), (9000, 0.1)):
        probs = floored_policy(jnp.asarray(steps), floor)(logits, avail).encoding
        soft = np.exp(np.asarray(logits) - 50.0) / np.exp(np.asarray(logits) - 50.0).sum()
        expected = np.where(avail, (1 - share) * soft + share / 4, 0)
        np.testing.assert_allclose(probs, expected / expected.sum(), rtol=1e-5)


def test_masked_floor_is_over_available_actions(float64: None) -> None:
    """PyMARL2's form: (1 - eps) softmax over what is available plus eps shared among it; PyMARL's where all is."""
    rng = np.random.default_rng(0)
    logits, avail = rng.normal(size=(40, 5)), rng.random((40, 5)) < 0.6
    avail[:, 2] = True
    masked = floored_policy(jnp.asarray(50), FloorConfig(start=0.4, finish=0.0, steps=100, masked=True))
    found = np.asarray(masked(jnp.asarray(logits), jnp.asarray(avail)).encoding)
    soft = np.where(avail, np.exp(logits), 0)
    expected = 0.8 * soft / soft.sum(axis=1, keepdims=True) + 0.2 * avail / avail.sum(axis=1, keepdims=True)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    np.testing.assert_allclose(found.sum(axis=1), 1, atol=1e-12)
    assert (found[~avail] == 0).all()
    plain = floored_policy(jnp.asarray(50), FloorConfig(start=0.4, finish=0.0, steps=100))
    everything = jnp.asarray(logits), jnp.ones((40, 5), bool)
    np.testing.assert_allclose(masked(*everything).encoding, plain(*everything).encoding, atol=1e-12)


def test_epsilon_falls_in_a_line() -> None:
    config = QLearningConfig(epsilon_start=1.0, epsilon_finish=0.2, epsilon_steps=100)
    line = config.epsilon_start, config.epsilon_finish, config.epsilon_steps
    found = [float(linear(jnp.uint32(steps), *line)) for steps in (0, 25, 50, 100, 4_000_000_000)]
    np.testing.assert_allclose(found, [1.0, 0.8, 0.6, 0.2, 0.2], rtol=1e-6)


def test_cheap_samples_follow_the_policy() -> None:
    """Counts of 40,000 draws within five deviations; what is impossible is never drawn, wherever it stands."""
    probs = jnp.array([[0.2, 0.0, 0.5, 0.3, 0.0], [0.0, 0.0, 1.0, 0.0, 0.0], [0.0, 0.25, 0.0, 0.0, 0.75]])
    drawn = np.asarray(sample_cheaply(jax.random.key(0), probs, 40_000))
    assert drawn.shape == (40_000, 3)
    for row in range(3):
        counts = np.bincount(drawn[:, row], minlength=5)
        expected = 40_000 * np.asarray(probs[row])
        assert (counts[expected == 0] == 0).all()
        assert (np.abs(counts - expected) <= 5 * np.sqrt(expected)).all()


def test_cheap_samples_of_the_very_last_number(monkeypatch: pytest.MonkeyPatch) -> None:
    """Rounding may put a number at the end of all: it is the last possible action's."""
    monkeypatch.setattr(jax.random, "uniform", lambda key, shape, dtype: jnp.ones(shape, dtype))
    probs = jnp.array([[0.1] * 3 + [0.0], [0.3, 0.7, 0.0, 0.0]])
    assert sample_cheaply(jax.random.key(0), probs, 2).tolist() == [[2, 1], [2, 1]]
