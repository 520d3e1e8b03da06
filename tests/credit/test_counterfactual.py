"""Advantages without an order: golden numbers, slow twins, what they average to, and their fast forms."""

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from games import random_game, random_weights
from joints import KEY, all_credits, game_fixture, variances
from reference import Numbers, assert_close, critic, float64_fixture, load

from seca.credit.counterfactual import (
    COUNTERFACTUAL,
    INDEPENDENT,
    counterfactual,
    counterfactual_fast,
    independent,
    independent_fast,
)

_ = float64_fixture, game_fixture


@pytest.fixture(autouse=True)
def _double(float64: None) -> None:
    """Identities are exact: double precision throughout."""


def test_reference_games(game: Numbers) -> None:
    """Advantages and their variances against brute force from elsewhere."""
    table, probs = game["q"], game["policies"]
    identity = np.arange(table.ndim)
    for credit, name in [(counterfactual, "coma"), (independent, "independent")]:
        found = all_credits(credit, table, probs, identity)[0].reshape(*table.shape, table.ndim)
        np.testing.assert_allclose(found, game[f"{name}_advantage"], atol=1e-8)
        np.testing.assert_allclose(variances(credit, table, probs, identity), game[f"{name}_variance"], atol=1e-8)


@pytest.mark.slow
def test_coma_newarchi_golden(golden_dir, float64: None) -> None:
    numbers = load(golden_dir, "coma_newarchi")
    probs = jnp.asarray(numbers["action_probs"])
    taken = jnp.asarray(numbers["actions_onehot"]).argmax(axis=-1)
    weights = critic(numbers).weights(jnp.asarray(numbers["states"]), probs.shape[2])
    mixed = weights.mix(probs, taken)
    assert_close(mixed.value(mixed.policy), numbers["f_policy"])
    assert_close(counterfactual_fast(mixed), numbers["advantage"])
    one_step = jax.tree.map(lambda x: x[0, 0], weights)
    plain = counterfactual(one_step.value, probs[0, 0], taken[0, 0], jnp.arange(probs.shape[2]), jax.random.key(0))
    assert_close(plain, numbers["advantage"][0, 0])


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_hidden_layer_forms_equal_the_plain_ones(seed: int) -> None:
    """T6: the O(n) forms from the critic's hidden layer equal n + 1 evaluations of the critic."""
    weights = random_weights(seed)
    rng = np.random.default_rng(seed)
    probs = jnp.asarray(rng.dirichlet(np.ones(5), size=4))
    action, order = jnp.asarray(rng.integers(5, size=4)), jnp.asarray(rng.permutation(4))
    mixed = weights.mix(probs, action)
    for fast, plain in [(counterfactual_fast(mixed), counterfactual), (independent_fast(mixed), independent)]:
        np.testing.assert_allclose(fast, plain(weights.value, probs, action, order, KEY), atol=1e-6)


@pytest.mark.parametrize("seed", range(3))
def test_both_equal_their_slow_twins(seed: int) -> None:
    table, probs = random_game(seed)
    for credit, twin in ((counterfactual, naive.counterfactual_advantage), (independent, naive.independent_advantage)):
        values, _, joints = all_credits(credit, table, probs, np.arange(3))
        for joint, value in zip(joints, values, strict=True):
            np.testing.assert_allclose(value, twin(table, probs, joint), atol=1e-12)


def test_by_hand() -> None:
    """Two agents, Q = [[0, 2], [4, 10]], policies (1/2, 1/2) and (1/4, 3/4), joint action (1, 0)."""
    table, probs = np.array([[0.0, 2], [4, 10]]), np.array([[0.5, 0.5], [0.25, 0.75]])
    against, _, joints = all_credits(counterfactual, table, probs, np.arange(2))
    alone = all_credits(independent, table, probs, np.arange(2))[0]
    row = joints.index((1, 0))
    np.testing.assert_allclose(against[row], [4 - 2, 4 - 8.5])
    np.testing.assert_allclose(alone[row], [8.5 - 5, 2 - 5])  # Q(pi) = 1/2 (3/4 2) + 1/2 (1/4 4 + 3/4 10) = 5.


@pytest.mark.parametrize("credit", [counterfactual, independent])
def test_nothing_in_the_mean_over_the_own_action(credit) -> None:
    """sum_a pi_i(a) A_i(a, u_-i) = 0, whatever the others do."""
    table, probs = random_game(4)
    values, weights, joints = all_credits(credit, table, probs, np.arange(3))
    for agent in range(3):
        for joint in joints:
            same = np.array([all(other[i] == joint[i] for i in range(3) if i != agent) for other in joints])
            np.testing.assert_allclose((weights * same) @ values[:, agent], 0, atol=1e-12)


def test_neither_depends_on_an_order() -> None:
    table, probs = random_game(5)
    for credit, name in ((COUNTERFACTUAL, "counterfactual"), (INDEPENDENT, "independent")):
        assert credit.name == credit.kind == name and not credit.reads_order and credit.fast is not None
        one, other = (all_credits(credit.fn, table, probs, np.array(order))[0] for order in ([0, 1, 2], [2, 0, 1]))
        np.testing.assert_array_equal(one, other)
