"""Orders that need no critic: ties, what is most probable or most decided, permutations, and who is remembered."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import random_episodes
from jax.scipy.stats import norm
from reference import float64_fixture

from seca.order.base import Order
from seca.order.simple import (
    BY_ENTROPY,
    BY_PROBABILITY,
    FIXED,
    IDENTITY,
    RANDOM,
    by_entropy,
    by_probability,
    descending,
    index_order,
    shuffled,
)
from seca.policies import entropy

_ = float64_fixture
KEY = jax.random.key(3)


def test_ties_keep_index_order(float64: None) -> None:
    np.testing.assert_array_equal(descending(jnp.array([1.0, 2, 1, 2])), [1, 3, 0, 2])
    np.testing.assert_array_equal(descending(jnp.zeros(5)), np.arange(5))


def test_probability_and_entropy_orders(float64: None) -> None:
    probs = jnp.array([[0.5, 0.5, 0.0], [0.9, 0.1, 0.0], [1.0, 0.0, 0.0]])
    np.testing.assert_array_equal(by_probability(probs, jnp.array([0, 1, 0])), [2, 0, 1])
    np.testing.assert_array_equal(by_entropy(probs, jnp.array([0, 1, 0])), [2, 1, 0])


def test_probability_and_entropy_of_gaussian_policies(float64: None) -> None:
    """By density at the action, and by deviation: one may be decided and have done what was unlikely."""
    probs = jnp.array([[0.0, 0.25], [0.0, 0.01], [0.5, 1.0]])  # Means and variances.
    action = jnp.array([[0.1], [0.9], [0.5]])
    densities = [norm.logpdf(0.1, 0, 0.5), norm.logpdf(0.9, 0, 0.1), norm.logpdf(0.5, 0.5, 1.0)]
    np.testing.assert_array_equal(by_probability(probs, action), np.argsort(-np.array(densities)))
    np.testing.assert_array_equal(by_entropy(probs, action), [1, 0, 2])


def test_entropy_of_impossible_actions_is_finite(float64: None) -> None:
    """0 log 0 = 0, in value and gradient; the authors' release has NaN here."""
    probs = jnp.array([1.0, 0.0, 0.0])
    assert float(entropy(probs)) == 0.0
    assert np.isfinite(jax.grad(lambda p: entropy(p))(probs)).all()
    np.testing.assert_allclose(entropy(jnp.full(4, 0.25)), np.log(4), atol=1e-12)


def test_random_orders_are_permutations_and_vary(float64: None) -> None:
    drawn = np.asarray(jax.vmap(lambda key: shuffled(key, 4))(jax.random.split(jax.random.key(0), 200)))
    assert (np.sort(drawn, axis=1) == np.arange(4)).all()
    assert len({tuple(order) for order in drawn}) == 24


def never(state: jax.Array, inputs: jax.Array) -> jax.Array:
    """A critic that nobody may ask."""
    raise AssertionError


def made(order: Order, state: object, key: jax.Array = KEY) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """An order of one episode of three agents, its policies and its actions."""
    episode = jax.tree.map(lambda x: x[2], random_episodes())
    probs = np.random.default_rng(5).dirichlet(np.ones(4), size=(8, 3)).astype(np.float32)
    found = order.fn(never, episode, jnp.asarray(probs), key, state)
    assert found.shape == (7, 3)
    return np.asarray(found), probs, np.asarray(episode.actions)


def test_each_step_is_ordered_by_its_own_policies() -> None:
    """Rows t = 0 .. L - 1, each against a sort in plain Python; the last row's policies order nobody."""
    found, probs, actions = made(BY_PROBABILITY, ())
    for t, order in enumerate(found):
        assert order.tolist() == sorted(range(3), key=lambda i: -probs[t, i, actions[t, i]])
    found, probs, _ = made(BY_ENTROPY, ())
    for t, order in enumerate(found):
        assert order.tolist() == sorted(range(3), key=lambda i: -(probs[t, i] * np.log(probs[t, i])).sum())
    assert len({tuple(order) for order in found.tolist()}) > 1


@pytest.mark.parametrize("order", [FIXED, IDENTITY])
def test_a_remembered_order_is_the_state(order: Order) -> None:
    """Whatever the key of the batch says."""
    found, _, _ = made(order, jnp.asarray([2, 0, 1]))
    np.testing.assert_array_equal(found, [[2, 0, 1]] * 7)


def test_what_a_run_remembers() -> None:
    """Drawn once per run: small integers, another permutation with another key; or agents as they are numbered."""
    drawn = [FIXED.init(key, 6) for key in jax.random.split(KEY, 4)]
    assert all(order.dtype == jnp.int32 and sorted(order.tolist()) == list(range(6)) for order in drawn)
    assert len({tuple(order.tolist()) for order in drawn}) > 1
    for order in (IDENTITY.init(KEY, 6), index_order(KEY, 6)):
        assert order.dtype == jnp.int32 and order.tolist() == [0, 1, 2, 3, 4, 5]


def test_a_random_order_is_drawn_once_per_episode() -> None:
    keys = jax.random.split(KEY, 12)
    found = [made(RANDOM, (), key)[0] for key in keys]
    for order, key in zip(found, keys, strict=True):
        np.testing.assert_array_equal(order, np.broadcast_to(shuffled(key, 3), (7, 3)))
    assert len({tuple(order[0].tolist()) for order in found}) > 1
