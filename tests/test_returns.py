"""TD(lambda), Q*(lambda) and n-step targets against their definitions, worked vectors, and known reductions."""

import jax.numpy as jnp
import naive
import numpy as np
import pytest
from reference import float64_fixture

from seca.returns import lambda_returns, n_step

_ = float64_fixture
VALUE = np.arange(1.0, 8.0)


@pytest.fixture(autouse=True)
def _double(float64: None) -> None:
    """The worked vectors have four digits; the identities are exact."""


def targets(length: int, time: int, terminated: bool, gamma: float = 0.99, lam: float = 0.8) -> np.ndarray:
    valid = np.arange(time) < length
    ended = np.zeros(time, bool)
    ended[length - 1] = terminated
    # Garbage in the padding: it must not matter.
    reward, value = np.where(valid, 1.0, 77.0), np.where(np.arange(time + 1) <= length, VALUE[: time + 1], -55.0)
    found = lambda_returns(*(jnp.asarray(x) for x in (reward, ended, valid, value)), gamma=gamma, lam=lam)
    return np.asarray(found)


@pytest.mark.parametrize("time", [3, 6])
@pytest.mark.parametrize(("terminated", "expected"), [(True, [3.2857, 2.386, 1.0]), (False, [5.770, 5.522, 4.960])])
def test_worked_vectors(time: int, terminated: bool, expected: list[float]) -> None:
    """gamma .99, lambda .8, r = 1, v = 1, 2, 3, 4, L = 3: terminated, truncated, and truncated short of the padding."""
    found = targets(3, time, terminated)
    np.testing.assert_allclose(found[:3], expected, atol=1e-3)
    np.testing.assert_array_equal(found[3:], 0)


@pytest.mark.parametrize("terminated", [True, False])
@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("length", [1, 4, 6])
def test_equals_the_mixture_of_n_step_returns(terminated: bool, lam: float, length: int) -> None:
    rng = np.random.default_rng(length)
    reward, value = rng.normal(size=6), rng.normal(size=7)
    valid = np.arange(6) < length
    ended = (np.arange(6) == length - 1) & terminated
    found = lambda_returns(*(jnp.asarray(x) for x in (reward, ended, valid, value)), gamma=0.9, lam=lam)
    np.testing.assert_allclose(found, naive.td_lambda(reward, terminated, length, value, 0.9, lam), atol=1e-12)


def test_lambda_zero_is_one_step_and_lambda_one_is_monte_carlo() -> None:
    np.testing.assert_allclose(targets(3, 3, True, lam=0.0), [1 + 0.99 * 2, 1 + 0.99 * 3, 1], atol=1e-12)
    np.testing.assert_allclose(targets(3, 3, True, lam=1.0), [1 + 0.99 + 0.99**2, 1 + 0.99, 1], atol=1e-12)


@pytest.mark.parametrize("terminated", [True, False])
@pytest.mark.parametrize("lam", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("length", [1, 4, 6])
def test_corrected_q_lambda(terminated: bool, lam: float, length: int) -> None:
    """Equal to its definition, whatever stands in the padding; TD(lambda) where every action taken was greedy."""
    rng = np.random.default_rng(length)
    reward, best, taken = rng.normal(size=6), rng.normal(size=7), rng.normal(size=7)
    valid = np.arange(6) < length
    ended = (np.arange(6) == length - 1) & terminated
    given = jnp.asarray(reward), jnp.asarray(ended), jnp.asarray(valid)
    found = lambda_returns(*given, jnp.asarray(best), jnp.asarray(taken), gamma=0.9, lam=lam)
    expected = naive.q_lambda(reward, terminated, length, best, taken, 0.9, lam)
    np.testing.assert_allclose(found, expected, atol=1e-12)
    on_policy = lambda_returns(*given, jnp.asarray(best), jnp.asarray(best), gamma=0.9, lam=lam)
    np.testing.assert_allclose(on_policy, lambda_returns(*given, jnp.asarray(best), gamma=0.9, lam=lam), atol=1e-12)


@pytest.mark.parametrize("n", [1, 3, 20])
@pytest.mark.parametrize("terminated", [True, False])
def test_n_step_targets(n: int, terminated: bool) -> None:
    rng, time = np.random.default_rng(n), 7
    for length in (1, 4, 7):
        reward, value = rng.normal(size=time), rng.normal(size=time + 1)
        last = np.arange(time) == length - 1
        found = n_step(
            jnp.asarray(reward),
            jnp.asarray(last & terminated),
            jnp.asarray(np.arange(time) < length),
            jnp.asarray(value),
            0.9,
            n,
        )
        np.testing.assert_allclose(found, naive.n_step(reward, terminated, length, value, 0.9, n), atol=1e-12)
