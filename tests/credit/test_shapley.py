"""Shapley values: the definition over coalitions, the reference numbers, and what any draw of orders keeps."""

import itertools
import math
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from games import random_game, random_weights, table_q
from naive import conditional_value
from reference import float64_fixture, load

from seca.credit.shapley import averaged, drawn_orders, enumerates, shapley

_ = float64_fixture


def by_coalitions(table: np.ndarray, probs: np.ndarray, joint: tuple[int, ...]) -> np.ndarray:
    """The definition: weighted marginal contributions over all coalitions, conditional values by enumeration."""
    n = table.ndim
    credit = np.zeros(n)
    for i in range(n):
        others = [j for j in range(n) if j != i]
        for size in range(n):
            weight = math.factorial(size) * math.factorial(n - size - 1) / math.factorial(n)
            for members in itertools.combinations(others, size):
                with_i = conditional_value(table, probs, joint, {*members, i})
                credit[i] += weight * (with_i - conditional_value(table, probs, joint, set(members)))
    return credit


@pytest.mark.parametrize("n_agents", [2, 3])
def test_all_orders_give_the_shapley_value(n_agents: int, float64: None) -> None:
    table, probs = random_game(n_agents, n_agents)
    for joint in itertools.product(range(3), repeat=n_agents):
        found = shapley(
            table_q(table), jnp.asarray(probs), jnp.asarray(joint), jnp.arange(n_agents), jax.random.key(0), 6
        )
        np.testing.assert_allclose(found, by_coalitions(table, probs, joint), atol=1e-12)


def test_reference_numbers(golden_dir: pathlib.Path, float64: None) -> None:
    numbers = load(golden_dir, "exact_games")
    table, probs = numbers["agents4_actions2_q"], jnp.asarray(numbers["agents4_actions2_policies"])
    credit = jax.jit(lambda u: shapley(table_q(table), probs, u, jnp.arange(4), jax.random.key(0), 24))
    for joint in itertools.product(range(2), repeat=4):
        expected = numbers["agents4_actions2_shapley_value"][joint]
        np.testing.assert_allclose(credit(jnp.asarray(joint)), expected, atol=1e-10)


@pytest.mark.slow
def test_any_draw_is_efficient_and_the_mean_of_draws_is_right(float64: None) -> None:
    """Credits add up to Q(u) - Q(pi) in each draw; over many keys they tend to the value over all orders."""
    weights = random_weights(1, n_agents=4, n_actions=3)
    rng = np.random.default_rng(0)
    probs, action = jnp.asarray(rng.dirichlet(np.ones(3), size=4), jnp.float32), jnp.asarray([0, 2, 1, 1])

    def credit(key: jax.Array, orders: int) -> jax.Array:
        return shapley(weights.value, probs, action, jnp.arange(4), key, orders)

    draws = np.asarray(jax.jit(jax.vmap(lambda key: credit(key, 4)))(jax.random.split(jax.random.key(3), 2000)))
    whole = np.asarray(credit(jax.random.key(0), 24))
    one_hot = jax.nn.one_hot(action, 3, dtype=probs.dtype)
    np.testing.assert_allclose(draws.sum(axis=1), weights.value(one_hot) - weights.value(probs), atol=1e-4)
    np.testing.assert_allclose(draws.mean(axis=0), whole, atol=4 * draws.std(axis=0).max() / math.sqrt(2000))
    assert draws.std(axis=0).max() > 1e-3


def test_orders_come_with_their_reverses() -> None:
    drawn = np.asarray(drawn_orders(jax.random.key(0), 6, 10))
    assert drawn.shape == (10, 6) and (np.sort(drawn, axis=1) == np.arange(6)).all()
    np.testing.assert_array_equal(drawn[5:], drawn[:5, ::-1])


def test_orders_that_cover_a_team_or_pair() -> None:
    """Any number from n! on; below it an even one. No more numbers are held than there are orders."""
    for n_agents, orders, whole in ((3, 5, False), (3, 6, True), (3, 7, True), (4, 23, False), (4, 24, True)):
        assert enumerates(n_agents, orders) == whole
    for n_agents, orders in ((3, 7), (4, 8), (4, 25), (1, 1)):
        averaged(orders).check(n_agents, 5)
    with pytest.raises(ValueError, match="`credit_orders` is 23; .*: choose an even number, or at least the 24 orders"):
        averaged(23).check(4, 5)
    assert averaged(10).floats(4, 5, 16) == 3 * 10 * 16 and averaged(10).floats(3, 5, 16) == 3 * 6 * 16
