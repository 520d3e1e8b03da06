"""Quadratic games: what they pay; Eq. 5 by means and variances is exact with the critic that their form has."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from games import orders
from reference import float64_fixture

from seca.credit.counterfactual import counterfactual, independent
from seca.credit.sequential import monte_carlo, swept
from seca.credit.shapley import shapley
from seca.envs import check, quadratic
from seca.envs.quadratic import GAMES, GOALS, SUM

_ = float64_fixture
KEY = jax.random.key(0)
MEAN, VARIANCE = np.array([0.3, -0.5, 0.1]), np.array([0.04, 0.25, 0.01])
TAKEN = np.array([[0.7], [-0.2], [-0.4]])
PROBS = np.stack([MEAN, VARIANCE], axis=1)


def by_hand(name: str):
    """The critic of facts: linear in the variances, so that a policy's row is the mean over its actions' rows."""

    def q_fn(inputs: jax.Array) -> jax.Array:
        mean, variance = inputs[:, 0], inputs[:, 1]
        paid = -((mean - jnp.asarray(GOALS)) ** 2).sum() if name == "apart" else -((mean.sum() - SUM) ** 2)
        return paid - variance.sum()

    return q_fn


def conditional(name: str, members: set[int]) -> float:
    """E[r | the actions of some], from the moments of a square: (E x - c)^2 + Var x."""
    known = [agent in members for agent in range(3)]
    mean = np.where(known, TAKEN[:, 0], MEAN)
    variance = np.where(known, 0, VARIANCE)
    if name == "apart":
        return float(-((mean - GOALS) ** 2 + variance).sum())
    return float(-((mean.sum() - SUM) ** 2 + variance.sum()))


@pytest.mark.parametrize("name", GAMES)
def test_the_contract(name: str) -> None:
    env = quadratic.make(name)
    assert check.check_env(env) is None and check.check_pure(env) is None
    state, shown = env.reset(jax.random.split(KEY, 4))
    assert not shown.done.any() and shown.avail.all() and (shown.reward == 0).all()
    actions = jnp.asarray([[[0.5], [-0.25], [0.75]], [[0.0], [0.0], [0.0]], [[1.0], [-1.0], [0.9]], [[9.0], [-9], [0]]])
    state, paid = env.step(state, actions)
    expected = {"apart": [0, -0.875, -0.835, -1.375], "together": [-0.01, -0.81, 0, -0.81]}
    np.testing.assert_allclose(paid.reward, expected[name], atol=1e-6)
    assert paid.terminated.all() and not paid.truncated.any()
    _, after = env.step(state, actions + 1)
    assert (after.reward == 0).all() and after.terminated.all()


@pytest.mark.parametrize("name", GAMES)
def test_expected_rewards_by_samples(name: str) -> None:
    drawn = MEAN + np.sqrt(VARIANCE) * np.random.default_rng(0).normal(size=(400_000, 3))
    found = np.asarray(quadratic.rewards(name, jnp.asarray(drawn, jnp.float32)))
    error = found.std() / np.sqrt(len(drawn))
    expected = float(quadratic.expected(name, jnp.asarray(MEAN), jnp.asarray(VARIANCE)))
    assert abs(found.mean() - expected) < 4 * error < 0.02
    assert expected == pytest.approx(conditional(name, set()), abs=1e-6)


@pytest.mark.parametrize("name", GAMES)
def test_means_and_variances_are_exact_with_the_critic_by_hand(name: str, float64: None) -> None:
    """Eq. 3, 4, 5 and Shapley values, in all orders: what the paper's sentence on Gaussian policies needs."""
    q_fn, probs, taken = by_hand(name), jnp.asarray(PROBS), jnp.asarray(TAKEN)
    told = probs, taken
    first, last, shares = np.zeros(3), np.zeros(3), np.zeros(3)
    for order in orders(3):
        found = np.asarray(swept(q_fn, *told, jnp.asarray(order), KEY))
        before: set[int] = set()
        for agent in order:
            expected = conditional(name, before | {agent}) - conditional(name, before)
            np.testing.assert_allclose(found[agent], expected, atol=1e-12)
            before |= {agent}
        np.testing.assert_allclose(found.sum(), conditional(name, {0, 1, 2}) - conditional(name, set()), atol=1e-12)
        shares += found / 6
        first[order[0]], last[order[-1]] = found[order[0]], found[order[-1]]
    anyhow = jnp.arange(3)
    np.testing.assert_allclose(independent(q_fn, *told, anyhow, KEY), first, atol=1e-12)
    np.testing.assert_allclose(counterfactual(q_fn, *told, anyhow, KEY), last, atol=1e-12)
    np.testing.assert_allclose(shapley(q_fn, *told, anyhow, KEY, orders=6), shares, atol=1e-12)
    # Where agents meet, who is judged first matters.
    assert np.abs(first - last).max() > 0.01 if name == "together" else np.abs(first - last).max() < 1e-12


@pytest.mark.parametrize("name", GAMES)
def test_sampled_credit_needs_no_variances(name: str, float64: None) -> None:
    """A critic that is right about actions alone, and says nonsense of variances: samples average to Eq. 5."""
    order, keys = jnp.array([2, 0, 1]), jax.random.split(KEY, 20_000)
    truth = np.asarray(swept(by_hand(name), jnp.asarray(PROBS), jnp.asarray(TAKEN), order, KEY))
    nonsense = lambda inputs: by_hand(name)(inputs) + 7 * inputs[:, 1].sum()  # noqa: E731
    told = jnp.asarray(PROBS), jnp.asarray(TAKEN), order
    draws = np.asarray(jax.jit(jax.vmap(lambda key: monte_carlo(nonsense, *told, key, samples=3)))(keys))
    error = draws.std(axis=0) / np.sqrt(len(keys))
    assert (np.abs(draws.mean(axis=0) - truth) < 5 * error + 1e-9).all()
    assert np.abs(np.asarray(swept(nonsense, *told, KEY)) - truth).max() > 0.05
    # Common random numbers: in one draw the credits still add up to Q(u) minus one sampled Q, whatever the order.
    one = [np.asarray(monte_carlo(nonsense, *told[:2], jnp.asarray(o), keys[0], samples=1)).sum() for o in orders(3)]
    np.testing.assert_allclose(one, one[0], atol=1e-12)


def test_refused() -> None:
    with pytest.raises(ValueError, match="`env` quadratic/alone does not exist; choose from apart, together"):
        quadratic.make("alone")
