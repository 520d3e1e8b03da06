"""Order by contribution: integrated gradients with their sign, path and stages."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import float64_fixture

from seca.nets.critics import MixingCritic
from seca.order.base import GradientOrder
from seca.order.gradients import (
    by_contribution,
    by_gradients,
    by_stage,
    first_contributions,
    on_path,
    sample_points,
    transition_contribution,
    transition_contribution_fast,
)

_ = float64_fixture
N_AGENTS, N_ACTIONS, STATE = 3, 4, 6


@pytest.fixture(autouse=True)
def _double(float64: None) -> None:
    """Completeness is an identity: double precision."""


@pytest.fixture(name="path")
def path_fixture():
    """A nonlinear critic f(s, v) and one episode of six steps in a padding of eight."""
    critic = MixingCritic.init(jax.random.key(0), N_AGENTS, N_ACTIONS, STATE, 8, 16)
    critic = jax.tree.map(lambda x: 2 * x.astype(jnp.float64), critic)
    rng = np.random.default_rng(0)
    state = jnp.asarray(rng.normal(size=(9, STATE)))
    probs = jnp.asarray(rng.dirichlet(np.ones(N_ACTIONS), size=(9, N_AGENTS)))
    valid = jnp.arange(8) < 6
    return lambda s, v: critic.weights(s, N_AGENTS).value(v), state, probs, valid


def state_contribution(critic, s0, s1, p0, p1, points: int) -> jax.Array:
    """The state's part of the same path integral, by autodiff."""
    alphas = (jnp.arange(points) + 0.5) / points
    slopes = jax.vmap(lambda a: jax.grad(critic)(s0 + a * (s1 - s0), p0 + a * (p1 - p0)))(alphas)
    return slopes.mean(axis=0) @ (s0 - s1)


@pytest.mark.slow
def test_completeness(path) -> None:
    """Contributions of all agents and of the state add up to f(start) - f(end) as the points grow."""
    critic, state, probs, _valid = path
    ends = (state[0], state[1], probs[0], probs[1])
    earned = critic(state[0], probs[0]) - critic(state[1], probs[1])
    errors = []
    for points in (5, 50, 500):
        options = GradientOrder(points=points, rule="midpoint")
        whole = transition_contribution(critic, *ends, options).sum() + state_contribution(critic, *ends, points)
        errors.append(abs(float(whole - earned)))
    # First order in 1 / points because of the ReLUs' kinks.
    assert errors[-1] < 1e-2 * max(1.0, abs(float(earned)))
    assert errors[-1] < errors[0] / 10
    # The policies alone do not add up while the state moves.
    alone = transition_contribution(critic, *ends, GradientOrder(points=500, rule="midpoint")).sum()
    assert abs(float(alone - earned)) > 1e-2


def test_exact_at_any_number_of_points_for_linear_critics() -> None:
    """With the state at rest and f linear in v one point suffices: c_i = g_i . (pi_0 - pi_1)."""
    slope = jnp.asarray(np.random.default_rng(1).normal(size=(N_AGENTS, N_ACTIONS)))
    probs = jnp.asarray(np.random.default_rng(2).dirichlet(np.ones(N_ACTIONS), size=(2, N_AGENTS)))
    at_rest, (p0, p1) = jnp.zeros(STATE), probs
    for points in (1, 5):
        found = transition_contribution(
            lambda s, v: (slope * v).sum() + s.sum(), at_rest, at_rest, p0, p1, GradientOrder(points=points)
        )
        np.testing.assert_allclose(found, (slope * (probs[0] - probs[1])).sum(axis=-1), atol=1e-12)


@pytest.mark.slow
def test_sign(path) -> None:
    """`earned` is the contribution to f(start) - f(end); Eq. 18 as printed is minus that and reverses the order."""
    critic, state, probs, valid = path
    order, earned = by_contribution(critic, state, probs, valid, GradientOrder())
    reversed_order, printed = by_contribution(critic, state, probs, valid, GradientOrder(sign="eq18"))
    np.testing.assert_allclose(printed, -earned, atol=1e-12)
    np.testing.assert_array_equal(reversed_order, order[:, ::-1])
    assert (np.diff(np.take_along_axis(np.asarray(earned), np.asarray(order), axis=1)) <= 0).all()


def test_whole_episode_is_the_sum_of_its_steps(path) -> None:
    critic, state, probs, valid = path
    _, whole = by_contribution(critic, state, probs, valid, GradientOrder())
    _, steps = by_contribution(critic, state, probs, valid, GradientOrder(stage=1))
    np.testing.assert_allclose(whole[0], steps[:6].sum(axis=0), atol=1e-12)
    np.testing.assert_allclose(whole, jnp.broadcast_to(whole[0], whole.shape))


def test_padding_is_not_on_the_path(path) -> None:
    """T10 for the order: garbage after row L changes nothing."""
    critic, state, probs, valid = path
    garbage = by_contribution(critic, state.at[7:].set(99.0), probs.at[7:].set(0.0), valid, GradientOrder())
    clean = by_contribution(critic, state, probs, valid, GradientOrder())
    np.testing.assert_array_equal(garbage[0][:6], clean[0][:6])
    np.testing.assert_allclose(garbage[1][:6], clean[1][:6], atol=1e-12)


def test_path_may_end_at_the_last_step(path) -> None:
    """`last_step` leaves out the transition into row L, whose state the critic is never trained on."""
    critic, state, probs, valid = path
    _, steps = by_contribution(critic, state, probs, valid, GradientOrder(stage=1))
    _, shorter = by_contribution(critic, state, probs, valid, GradientOrder(end="last_step"))
    np.testing.assert_allclose(shorter[0], steps[:5].sum(axis=0), atol=1e-12)
    np.testing.assert_array_equal(on_path(valid, GradientOrder(end="last_step")), np.arange(8) < 5)


@pytest.mark.parametrize("stage", [1, 3, 6, 100])
@pytest.mark.parametrize("window", ["block", "sliding"])
def test_stages(stage: int, window: Any) -> None:
    rng = np.random.default_rng(stage)
    contribution, valid = rng.normal(size=(8, 2)), np.arange(8) < 6
    found = by_stage(jnp.asarray(contribution), jnp.asarray(valid), GradientOrder(stage=stage, window=window))
    for t in range(6):
        first = t if window == "sliding" else t // stage * stage
        np.testing.assert_allclose(found[t], contribution[first : min(first + stage, 6)].sum(axis=0), atol=1e-12)


def test_left_and_midpoint_rules() -> None:
    """f = s v moves its slope along the path: the left rule sees alpha = 0, 1/2, the midpoint rule 1/4, 3/4."""
    zero, one = jnp.zeros(1), jnp.ones(1)
    p0, p1 = jnp.array([[1.0, 0.0]]), jnp.array([[0.0, 1.0]])

    def critic(s, v):
        return s[0] * v[0, 0]

    left = transition_contribution(critic, zero, one, p0, p1, GradientOrder(points=2))
    middle = transition_contribution(critic, zero, one, p0, p1, GradientOrder(points=2, rule="midpoint"))
    np.testing.assert_allclose(left, [0.25])
    np.testing.assert_allclose(middle, [0.5])


@pytest.mark.parametrize(
    ("rule", "expected"), [("left", (0, 0.25, 0.5, 0.75)), ("midpoint", (0.125, 0.375, 0.625, 0.875))]
)
def test_where_a_piece_is_sampled(rule: Any, expected: tuple[float, ...]) -> None:
    assert sample_points(GradientOrder(points=4, rule=rule)) == expected


@pytest.mark.slow
@pytest.mark.parametrize("sign", ["earned", "eq18"])
@pytest.mark.parametrize(("rule", "points"), [("left", 1), ("left", 3), ("midpoint", 1), ("midpoint", 4)])
def test_closed_form_equals_autodiff(rule: Any, points: int, sign: Any) -> None:
    """Five steps at once, from the weights at their states, against one after the other."""
    module = MixingCritic.init(jax.random.key(4), N_AGENTS, N_ACTIONS, STATE, 8, 16)
    module = jax.tree.map(lambda x: 2 * x.astype(jnp.float64), module)
    rng = np.random.default_rng(points)
    s0, s1 = (jnp.asarray(rng.normal(size=(5, STATE))) for _ in range(2))
    p0, p1 = (jnp.asarray(rng.dirichlet(np.ones(N_ACTIONS), size=(5, N_AGENTS))) for _ in range(2))
    options = GradientOrder(points=points, rule=rule, sign=sign)
    found = transition_contribution_fast(
        lambda s: module.weights(s, N_AGENTS), module.weights(s0, N_AGENTS), s0, s1, p0, p1, options
    )
    for k in range(5):
        plain = transition_contribution(
            lambda s, v: module.weights(s, N_AGENTS).value(v), s0[k], s1[k], p0[k], p1[k], options
        )
        np.testing.assert_allclose(found[k], plain, atol=1e-12)
    assert float(jnp.abs(found).max()) > 1e-2


def test_what_contradicts_itself_is_refused() -> None:
    with pytest.raises(ValueError, match="`path.reduce` batch_mean orders whole episodes; `path.stage` is 3, not None"):
        by_gradients(GradientOrder(reduce="batch_mean", stage=3))
    with pytest.raises(ValueError, match="`path.source` previous needs `path.reduce` batch_mean; it is episode"):
        by_gradients(GradientOrder(source="previous"))
    options = GradientOrder(reduce="batch_mean", source="previous")
    assert by_gradients(options).path == options


def test_before_the_first_batch_contributions_are_random() -> None:
    found = first_contributions(jax.random.key(0), 4)
    assert found.shape == (4,) and found.dtype == jnp.float32 and len(set(found.tolist())) == 4
    assert (found != first_contributions(jax.random.key(1), 4)).all()
