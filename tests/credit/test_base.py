"""What a credit is: properties that all of them have, and the hidden layer that their fast forms start from."""

import functools
import typing

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from games import orders, random_game, random_weights, table_q
from joints import KEY, all_credits, game_fixture
from reference import Numbers, float64_fixture

from seca.credit.base import KINDS, Credit, Kind, Mixed, taken_rows
from seca.credit.counterfactual import counterfactual, independent
from seca.credit.sequential import exact, monte_carlo, swept

_ = float64_fixture, game_fixture


@pytest.fixture(autouse=True)
def _double(float64: None) -> None:
    """Identities are exact: double precision throughout."""


def test_order_and_conditioning_change_only_the_variance_of_the_gradient(game: Numbers) -> None:
    """T4: one mean for all credits and orders, grad E_u Q; and the variance of each, with parameters per agent."""
    table, probs = game["q"], game["policies"]
    n_agents, n_actions = probs.shape
    joints = np.array(naive.joint_actions(table))
    weights = np.array([naive.joint_probability(probs, joint) for joint in joints])
    np.testing.assert_allclose(weights.reshape(table.shape), game["joint_probs"], atol=1e-12)
    np.testing.assert_allclose(weights @ table.ravel(), game["expected_q"], atol=1e-12)
    score = np.eye(n_actions)[joints] - probs  # d log pi_i(u_i) / d logits_i
    identity = np.arange(n_agents)
    cases = [(exact, order, "sequential", number) for number, order in enumerate(game["orders"])]
    cases += [(counterfactual, identity, "coma", ()), (independent, identity, "independent", ())]
    for credit, order, name, number in cases:
        gradient = score * all_credits(credit, table, probs, order)[0][..., None]
        mean = np.einsum("j,jna->na", weights, gradient)
        np.testing.assert_allclose(mean, game["policy_gradient"], atol=1e-8)
        variance = weights @ (gradient**2).sum(axis=(1, 2)) - (mean**2).sum()
        np.testing.assert_allclose(variance, game[f"gradient_variance_{name}"][number], atol=1e-8)


@pytest.mark.parametrize("credit", [exact, swept, counterfactual, independent])
def test_corrected_credit_has_the_true_gradient_whatever_the_critic(credit) -> None:
    """With y - f(u) added to each agent's credit the mean gradient is that of E y, for any f that averages exactly."""
    truth, probs = random_game(20)
    wrong, _ = random_game(21)
    joints = np.array(naive.joint_actions(truth))
    weights = np.array([naive.joint_probability(probs, joint) for joint in joints])
    score = np.eye(3)[joints] - probs
    expected = np.einsum("j,jna,j->na", weights, score, truth.ravel())
    for order in orders(3):
        plain = all_credits(credit, wrong, probs, order)[0]
        corrected = plain + (truth - wrong).ravel()[:, None]
        np.testing.assert_allclose(np.einsum("j,jna,jn->na", weights, score, corrected), expected, atol=1e-12)
        assert np.abs(np.einsum("j,jna,jn->na", weights, score, plain) - expected).max() > 0.01


@pytest.mark.slow
def test_dead_agents_have_no_credit(usual_programs: None) -> None:
    """T8: with a single possible action the policy is that action's one-hot, so nothing changes.

    Exactly so, in programs as users have them: hardly optimised, equal rows of a product may be summed otherwise.
    """
    weights = random_weights(7)
    probs = jnp.asarray(np.random.default_rng(0).dirichlet(np.ones(5), size=4)).at[1].set(jnp.eye(5)[0])
    action, order = jnp.array([3, 0, 2, 1]), jnp.array([2, 1, 0, 3])
    for credit in (swept, counterfactual, independent, exact):
        compiled = jax.jit(functools.partial(credit, weights.value))
        assert float(compiled(probs, action, order, KEY)[1]) == 0.0


@pytest.mark.parametrize("credit", [swept, exact, counterfactual, independent])
def test_relabelling_agents_permutes_credits(credit) -> None:
    """T9."""
    table, probs = random_game(8)
    action, order = np.array([2, 0, 1]), np.array([1, 2, 0])
    relabel = np.array([2, 0, 1])  # New agent j is old agent relabel[j].
    inverse = np.argsort(relabel)
    plain = credit(table_q(table), jnp.asarray(probs), jnp.asarray(action), jnp.asarray(order), KEY)
    moved = credit(
        table_q(table.transpose(relabel)),
        jnp.asarray(probs[relabel]),
        jnp.asarray(action[relabel]),
        jnp.asarray(inverse[order]),
        KEY,
    )
    np.testing.assert_allclose(moved, np.asarray(plain)[relabel], atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("credit", [swept, exact, monte_carlo, counterfactual, independent])
def test_same_eager_jitted_and_vmapped(credit) -> None:
    table, probs = random_game(13)
    q_fn, pi = table_q(table), jnp.asarray(probs)
    action, order = jnp.array([1, 2, 0]), jnp.array([2, 0, 1])
    eager = credit(q_fn, pi, action, order, KEY)
    jitted = jax.jit(lambda p, u, o: credit(q_fn, p, u, o, KEY))(pi, action, order)
    vmapped = jax.vmap(lambda p, u, o: credit(q_fn, p, u, o, KEY))(pi[None], action[None], order[None])[0]
    np.testing.assert_allclose(jitted, eager, atol=1e-12)
    np.testing.assert_allclose(vmapped, eager, atol=1e-12)


@pytest.mark.slow
def test_dtype_follows_the_policies() -> None:
    with jax.enable_x64(False), jax.numpy_dtype_promotion("strict"):
        weights = random_weights(14)
        probs = jnp.full((4, 5), 0.2, jnp.float32)
        for credit in (swept, exact, monte_carlo, counterfactual, independent):
            found = credit(weights.value, probs, jnp.zeros(4, jnp.int32), jnp.arange(4, dtype=jnp.int32), KEY)
            assert found.dtype == jnp.float32


HIDDEN = Mixed(
    policy=jnp.array([[1.0, -2.0, 0.5]]),
    delta=jnp.array([[[1.0, 1, 1], [-3, 4, 0]]]),
    w2=jnp.array([[1.0, 10, 100]]),
    b2=jnp.array([0.25]),
)
"""A row of two agents and three hidden units."""


def test_values_of_a_hidden_layer_by_hand() -> None:
    """Units below 0 count nothing."""
    np.testing.assert_array_equal(HIDDEN.value(HIDDEN.policy), [1 + 50 + 0.25])
    np.testing.assert_array_equal(HIDDEN.taken(), [0 + 30 + 150 + 0.25])  # The layer is -1, 3, 1.5.
    np.testing.assert_array_equal(HIDDEN.each(HIDDEN.policy[:, None] + HIDDEN.delta), [[152.25, 70.25]])


def test_leading_axes_go_along_with_the_rows() -> None:
    """Five layers over one row, each as it is alone."""
    layers = jnp.arange(15.0).reshape(5, 1, 3) - 4
    found = HIDDEN.value(layers)
    assert found.shape == (5, 1)
    for k in range(5):
        np.testing.assert_array_equal(found[k], HIDDEN.value(layers[k]))


def test_rows_of_taken_actions() -> None:
    probs = jnp.full((3, 4), 0.25, jnp.float32)
    found = taken_rows(jnp.array([3, 0, 1]), probs)
    assert found.dtype == jnp.float32
    np.testing.assert_array_equal(found, [[0, 0, 0, 1], [1, 0, 0, 0], [0, 1, 0, 0]])


def test_what_a_credit_says_of_itself_by_default() -> None:
    """An estimate of Eq. 5, which depends on the order, has no fast form, holds nothing and serves every team."""
    credit = Credit("any", swept)
    assert credit.kind == "sequential" and credit.reads_order and credit.fast is None
    assert credit.floats(27, 36, 64) == 0
    credit.check(27, 36)
    assert KINDS == typing.get_args(Kind) == ("sequential", "counterfactual", "independent", "shapley")
