"""The sequential advantage: identities, Proposition 1, and agreement of its forms."""

import functools

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from batches import BOXED, SPEC
from games import orders, random_game, random_weights, table_q
from hypothesis import given, settings
from hypothesis import strategies as st
from jaxtyping import Array
from joints import KEY, all_credits, game_fixture, variances
from reference import Numbers, float64_fixture

from seca.credit.counterfactual import (
    COUNTERFACTUAL,
    INDEPENDENT,
    counterfactual,
    counterfactual_fast,
    independent,
    independent_fast,
)
from seca.credit.sequential import EXACT, SWEPT, exact, monte_carlo, prefix_values, sampled, swept, swept_fast
from seca.nets.critics import MixingWeights

_ = float64_fixture, game_fixture


@pytest.fixture(autouse=True)
def _double(float64: None) -> None:
    """Identities are exact: double precision throughout."""


def test_reference_games(game: Numbers) -> None:
    """Advantages and their variances in all orders against brute force from elsewhere."""
    table, probs = game["q"], game["policies"]
    shaped = (*table.shape, table.ndim)
    for number, order in enumerate(game["orders"]):
        found = all_credits(exact, table, probs, order)[0].reshape(shaped)
        np.testing.assert_allclose(found, game["sequential_advantage"][number], atol=1e-8)
        np.testing.assert_allclose(
            variances(exact, table, probs, order), game["sequential_variance"][number], atol=1e-8
        )


def test_mean_over_orders_is_the_shapley_value(game: Numbers) -> None:
    table, probs = game["q"], game["policies"]
    mean = np.mean([all_credits(exact, table, probs, order)[0] for order in game["orders"]], axis=0)
    np.testing.assert_allclose(mean.reshape(game["shapley_value"].shape), game["shapley_value"], atol=1e-8)


@pytest.mark.parametrize("seed", range(3))
def test_exact_equals_its_slow_twin(seed: int) -> None:
    table, probs = random_game(seed)
    for order in orders(3):
        values, _weights, joints = all_credits(exact, table, probs, order)
        for joint, value in zip(joints, values, strict=True):
            np.testing.assert_allclose(value, naive.sequential_advantage(table, probs, joint, order), atol=1e-12)


@pytest.mark.parametrize("credit", [exact, swept])
def test_credits_sum_to_the_joint_advantage(credit) -> None:
    """T1: sum_i A_i = Q(u) - E Q in every order."""
    table, probs = random_game(3)
    for order in orders(3):
        values, weights, joints = all_credits(credit, table, probs, order)
        q = np.array([table[joint] for joint in joints])
        np.testing.assert_allclose(values.sum(axis=1), q - weights @ q, atol=1e-12)


def test_sequential_is_the_conditional_mean_of_counterfactual() -> None:
    """T2 (this is Proposition 1): A_seq = E[A_cf | u of agents judged so far], and the variances differ by the gap."""
    table, probs = random_game(4)
    order = np.array([2, 0, 1])
    sequential, weights, joints = all_credits(exact, table, probs, order)
    against = all_credits(counterfactual, table, probs, order)[0]
    for position, agent in enumerate(order):
        judged = order[: position + 1]
        for number, joint in enumerate(joints):
            same = np.array([all(other[i] == joint[i] for i in judged) for other in joints])
            mean = (weights * same) @ against[:, agent] / (weights @ same)
            np.testing.assert_allclose(sequential[number, agent], mean, atol=1e-12)
    gap = weights @ (against - sequential) ** 2
    np.testing.assert_allclose(
        variances(counterfactual, table, probs, order), variances(exact, table, probs, order) + gap, atol=1e-12
    )


@given(seed=st.integers(0, 10_000), number=st.integers(0, 5))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_proposition_1(seed: int, number: int) -> None:
    """Var A_seq <= Var A_cf for every agent, order and game; and Eq. 4's variance is lower still."""
    table, probs = random_game(seed)
    order = orders(3)[number]
    sequential = variances(exact, table, probs, order)
    assert (sequential <= variances(counterfactual, table, probs, order) + 1e-10).all()
    assert (variances(independent, table, probs, order) <= sequential + 1e-10).all()


def test_first_and_last_judged() -> None:
    """T3: the first agent's credit is Eq. 4's, the last one's is Eq. 3's."""
    table, probs = random_game(5)
    for order in orders(3):
        for credit in (exact, swept):
            values = all_credits(credit, table, probs, order)[0]
            alone = all_credits(independent, table, probs, order)[0]
            against = all_credits(counterfactual, table, probs, order)[0]
            np.testing.assert_allclose(values[:, order[0]], alone[:, order[0]], atol=1e-12)
            np.testing.assert_allclose(values[:, order[-1]], against[:, order[-1]], atol=1e-12)


def test_hand_worked_game() -> None:
    """T5: anti-coordination with p1(1) = .7, p2(1) = .4, worked on paper."""
    table = 1 - np.eye(2)
    probs = np.array([[0.3, 0.7], [0.6, 0.4]])
    order = np.array([0, 1])
    values, weights, joints = all_credits(exact, table, probs, order)
    by_joint = dict(zip(joints, values, strict=True))
    assert np.isclose(weights @ np.array([table[joint] for joint in joints]), 0.54)
    expected = {(1, 1): (0.06, -0.6), (1, 0): (0.06, 0.4), (0, 1): (-0.14, 0.6), (0, 0): (-0.14, -0.4)}
    for joint, credit in expected.items():
        np.testing.assert_allclose(by_joint[joint], credit, atol=1e-12)
    sequential = variances(exact, table, probs, order)
    against = variances(counterfactual, table, probs, order)
    np.testing.assert_allclose([sequential[0], against[0]], [0.0084, 0.21], atol=1e-12)
    np.testing.assert_allclose([sequential[1], against[1]], [0.24, 0.24], atol=1e-12)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(4))
def test_hidden_layer_form_equals_the_plain_one(seed: int) -> None:
    """T6: the O(n) form from the critic's hidden layer equals n + 1 evaluations of the critic."""
    weights = random_weights(seed)
    rng = np.random.default_rng(seed)
    probs = jnp.asarray(rng.dirichlet(np.ones(5), size=4))
    action, order = jnp.asarray(rng.integers(5, size=4)), jnp.asarray(rng.permutation(4))
    plain = swept(weights.value, probs, action, order, KEY)
    np.testing.assert_allclose(swept_fast(weights.mix(probs, action), order), plain, atol=1e-6)


@pytest.mark.slow
def test_credits_go_back_to_their_agents() -> None:
    """T13: F_k - F_{k-1} lands in the slot of the agent at position k, for any order of each row."""
    rng = np.random.default_rng(6)
    for seed in range(10):
        weights = random_weights(seed)
        probs, action = jnp.asarray(rng.dirichlet(np.ones(5), size=4)), jnp.asarray(rng.integers(5, size=4))
        order = rng.permutation(4)
        found = np.asarray(swept_fast(weights.mix(probs, action), jnp.asarray(order)))
        inputs, before = np.asarray(probs).copy(), float(weights.value(probs))
        for agent in order:
            inputs[agent] = np.eye(5)[action[agent]]
            after = float(weights.value(jnp.asarray(inputs)))
            np.testing.assert_allclose(found[agent], after - before, atol=1e-5)
            before = after


def test_equality_cases_of_proposition_1() -> None:
    """T11: equal variances exactly when u_i does not interact with the agents judged later; strict otherwise."""
    rng = np.random.default_rng(9)
    probs = rng.dirichlet(np.ones(3), size=3)
    g, h = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    # Order <0, 1, 2>: agent 1 enters with agent 0 only, so nothing it does interacts with agent 2.
    table = g[:, :, None] + h[:, None, :]
    order = np.array([0, 1, 2])
    sequential, against = variances(exact, table, probs, order), variances(counterfactual, table, probs, order)
    np.testing.assert_allclose(sequential[1:], against[1:], atol=1e-12)
    assert sequential[0] < against[0] - 1e-3  # Agent 0 interacts with both.
    interacting = table + rng.normal(size=(1, 3, 3))
    assert (
        variances(exact, interacting, probs, order)[1] < variances(counterfactual, interacting, probs, order)[1] - 1e-3
    )


def test_one_sided_game() -> None:
    """T14: when only agent 0's action matters, agent 1 has no credit in either order."""
    table = np.array([[1.0, 1], [4, 4]])
    probs = np.array([[0.5, 0.5], [0.2, 0.8]])
    for credit in (exact, swept):
        forward = all_credits(credit, table, probs, np.array([0, 1]))[0]
        backward = all_credits(credit, table, probs, np.array([1, 0]))[0]
        np.testing.assert_allclose(forward[:, 1], 0, atol=1e-12)
        np.testing.assert_allclose(forward, backward, atol=1e-12)


@pytest.mark.slow
def test_swept_equals_exact_for_multilinear_critics_only() -> None:
    table, probs = random_game(10)
    order = np.array([1, 0, 2])
    np.testing.assert_allclose(
        all_credits(swept, table, probs, order)[0], all_credits(exact, table, probs, order)[0], atol=1e-12
    )
    weights = random_weights(11)
    pi = jnp.asarray(np.random.default_rng(11).dirichlet(np.ones(5), size=4))
    action, sequence = jnp.array([0, 1, 2, 3]), jnp.array([3, 1, 0, 2])
    apart = swept(weights.value, pi, action, sequence, KEY) - exact(weights.value, pi, action, sequence, KEY)
    assert float(jnp.abs(apart).max()) > 1e-3  # Jensen gap of the ReLU.


@pytest.mark.slow
def test_swept_can_violate_proposition_1() -> None:
    """The bound is proved for expectations; a critic that is nonlinear inside the simplex need not respect it.

    Q rises by 4 only while agent 1's row is strictly mixed, which no joint action shows. Judged first, agent 0 is
    credited with that rise: its swept credit varies, its exact and counterfactual ones do not.
    """

    def q_fn(inputs):
        mixedness = jnp.minimum(inputs[1, 0], inputs[1, 1])
        return inputs[0, 0] * 8 * mixedness

    probs, order = jnp.full((2, 2), 0.5), jnp.array([0, 1])
    joints = [(0, 0), (0, 1), (1, 0), (1, 1)]

    def spread(credit) -> float:
        return float(np.var([credit(q_fn, probs, jnp.array(u), order, KEY)[0] for u in joints]))

    assert spread(counterfactual) < 1e-12
    assert spread(exact) < 1e-12
    assert spread(swept) > 1.0


def test_monte_carlo_is_unbiased() -> None:
    """Credits of many keys average to the exact ones."""
    table, probs = random_game(12)
    q_fn, action, order = table_q(table), jnp.array([1, 2, 0]), jnp.array([2, 0, 1])
    estimate = functools.partial(monte_carlo, samples=4)
    keys = jax.random.split(jax.random.key(1), 20_000)
    draws = jax.jit(jax.vmap(lambda key: estimate(q_fn, jnp.asarray(probs), action, order, key)))(keys)
    truth = exact(q_fn, jnp.asarray(probs), action, order, KEY)
    error = np.asarray(draws.std(axis=0)) / np.sqrt(len(keys))
    assert (np.abs(np.asarray(draws.mean(axis=0)) - np.asarray(truth)) < 5 * error + 1e-9).all()


@pytest.mark.parametrize("key", range(5))
def test_monte_carlo_has_common_random_numbers(key: int) -> None:
    """All prefixes share their samples: who changes nothing has no credit, however few the samples are."""
    table, probs = random_game(12)
    table = np.broadcast_to(table[:, :1], table.shape)  # What agent 1 does is worth nothing.
    one = functools.partial(monte_carlo, table_q(table), jnp.asarray(probs), jnp.array([1, 2, 0]), samples=1)
    for order in orders(3):
        credit = np.asarray(one(jnp.asarray(order), jax.random.key(key)))
        assert credit[1] == 0.0
        # The same draw whatever the order, so the sum is Q(u) minus one sampled Q.
        np.testing.assert_allclose(credit.sum(), one(jnp.arange(3), jax.random.key(key)).sum(), atol=1e-12)


def test_exact_refuses_large_games() -> None:
    probs = jnp.full((8, 5), 0.2)
    with pytest.raises(ValueError, match=r"`credit` exact enumerates 5\^8 joint actions"):
        exact(lambda inputs: inputs.sum(), probs, jnp.zeros(8, jnp.int32), jnp.arange(8), KEY)


def test_numbers_held_by_hand() -> None:
    """Four agents of five actions, 16 hidden units: 4 * 5 + 2 * 16 numbers for each joint action that is evaluated."""
    assert SWEPT.floats(4, 5, 16) == 0
    assert EXACT.floats(4, 5, 16) == 5**4 * 52
    assert sampled(3).floats(4, 5, 16) == 3 * 5 * 52


@pytest.mark.parametrize(("agents", "actions"), [(16, 2), (8, 4), (1, 65_536)])
def test_what_can_be_enumerated(agents: int, actions: int) -> None:
    """65,536 joint actions and no more; whoever samples or sweeps serves every team."""
    EXACT.check(agents, actions)
    with pytest.raises(ValueError, match=rf"enumerates {actions + 1}\^{agents} joint actions, above 65536"):
        EXACT.check(agents, actions + 1)
    SWEPT.check(agents, actions + 1)
    sampled(3).check(agents, actions + 1)


def boxed_step(seed: int, n_agents: int, numbers: int) -> tuple[MixingWeights, Array, Array, Array]:
    """A random critic of continuous actions at one state; policies, actions, and an order."""
    weights = random_weights(seed, n_agents, 2 * numbers)
    weights = jax.tree.map(lambda x: x.astype(jnp.float64), weights)
    rng = np.random.default_rng(seed)
    probs = np.concatenate([rng.normal(size=(n_agents, numbers)), rng.random((n_agents, numbers))], axis=1)
    actions = rng.normal(size=(n_agents, numbers))
    return weights, jnp.asarray(probs), jnp.asarray(actions), jnp.asarray(rng.permutation(n_agents))


@pytest.mark.parametrize(("n_agents", "numbers"), [(1, 1), (3, 2), (7, 5)])
def test_fast_forms_of_continuous_actions(n_agents: int, numbers: int) -> None:
    """From the hidden layer, actions told as (a, 0): the plain forms, by the whole W1."""
    weights, probs, actions, order = boxed_step(3, n_agents, numbers)
    mixed = weights.mix(probs, actions)
    plain = swept(weights.value, probs, actions, order, KEY)
    np.testing.assert_allclose(swept_fast(mixed, order), plain, atol=1e-12)
    np.testing.assert_allclose(counterfactual_fast(mixed), counterfactual(weights.value, probs, actions, order, KEY))
    np.testing.assert_allclose(independent_fast(mixed), independent(weights.value, probs, actions, order, KEY))
    told = jnp.concatenate([actions, jnp.zeros_like(actions)], axis=-1)
    np.testing.assert_allclose(weights.taken_value(actions), weights.value(told), atol=1e-12)
    values = np.asarray(prefix_values(mixed, order))
    np.testing.assert_allclose(values[[0, -1]], [weights.value(probs), weights.value(told)], atol=1e-12)
    np.testing.assert_allclose(np.diff(values)[np.argsort(order)], plain, atol=1e-12)


def test_who_enumerates_serves_no_continuous_actions() -> None:
    with pytest.raises(ValueError, match="`credit` exact enumerates joint actions, and those of test are continuous"):
        EXACT.check_serves(BOXED)
    for credit in (SWEPT, sampled(3), COUNTERFACTUAL, INDEPENDENT):
        credit.check_serves(BOXED)
        assert credit.reads_policies == (credit.name != "monte_carlo")
    EXACT.check_serves(SPEC)
