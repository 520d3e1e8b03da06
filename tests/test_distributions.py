"""Policies as distributions: densities by scipy's formulas, samples by their moments, one form for either kind."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import BOXED, SPEC
from jax.scipy.stats import norm
from reference import float64_fixture

from seca import policies
from seca.distributions import (
    FIRST_LOG_STD,
    LOG_STD,
    Categorical,
    Gaussian,
    centre,
    drawn_encoding,
    draws_of,
    encoded,
    entropy_of,
    gaussian,
    has_choice,
    is_continuous,
    log_prob_of,
    masked,
    of_encoding,
    policy_for,
    policy_of,
)

_ = float64_fixture
NUMBERS = 3
ALL = jnp.ones((4, 2, NUMBERS), bool)


def random_outputs(seed: int = 0) -> jax.Array:
    return jnp.asarray(np.random.default_rng(seed).normal(size=(4, 2, 2 * NUMBERS + 1)))


def test_a_gaussian_of_outputs(float64: None) -> None:
    """Density and entropy by another's formulas; an output that is none of the policy's changes nothing."""
    outputs = random_outputs()
    policy, actions = gaussian(outputs, ALL), random_outputs(1)[..., :NUMBERS]
    np.testing.assert_array_equal(policy.mean, outputs[..., :NUMBERS])
    std = np.exp(policy.log_std)
    expected = norm.logpdf(actions, policy.mean, std).sum(axis=-1)
    np.testing.assert_allclose(policy.log_prob(actions), expected, atol=1e-12)
    np.testing.assert_allclose(policy.entropy(), 0.5 * np.log(2 * np.pi * np.e * std**2).sum(axis=-1), atol=1e-12)
    np.testing.assert_allclose(policy.encoding, np.concatenate([policy.mean, std**2], axis=-1), atol=1e-12)
    np.testing.assert_array_equal(policy.mode(), policy.mean)
    again = of_encoding(policy.encoding)
    np.testing.assert_allclose(again.log_std, policy.log_std, atol=1e-12)
    everywhere = jnp.ones((4, 2), bool)
    np.testing.assert_allclose(log_prob_of(policy.encoding, actions, everywhere), expected, atol=1e-10)
    np.testing.assert_allclose(entropy_of(policy.encoding, actions), policy.entropy(), atol=1e-12)
    assert (log_prob_of(policy.encoding, actions, ~everywhere) == 0).all()


def test_deviations_are_bounded_and_keep_a_slope(float64: None) -> None:
    raw = jnp.array([-50.0, 0.0, 50.0])
    log_std = lambda x: gaussian(jnp.stack([jnp.zeros_like(x), x], axis=-1), jnp.ones((3, 1), bool)).log_std[:, 0]  # noqa: E731
    np.testing.assert_allclose(log_std(raw), [LOG_STD[0], FIRST_LOG_STD, LOG_STD[1]], atol=1e-9)
    slope = jax.grad(lambda x: log_std(x).sum())(jnp.array([-6.0, 0.0, 6.0]))
    assert (slope > 1e-3).all()


def test_who_does_not_act_has_a_policy_of_no_parameters(float64: None) -> None:
    """The dead: no slope reaches the network, in probability or entropy."""
    acts = ALL.at[:, 1].set(False)
    policy = gaussian(random_outputs(), acts)
    assert (policy.mean[:, 1] == 0).all() and (policy.log_std[:, 1] == LOG_STD[0]).all()

    def total(outputs: jax.Array) -> jax.Array:
        found = gaussian(outputs, acts)
        return (found.log_prob(jnp.ones((4, 2, NUMBERS))) + found.entropy()).sum()

    slope = np.asarray(jax.grad(total)(random_outputs()))
    assert (slope[:, 1] == 0).all() and (slope[:, 0, : 2 * NUMBERS] != 0).all()
    np.testing.assert_array_equal(has_choice(acts, jnp.zeros((4, 2, NUMBERS))), [[True, False]] * 4)


def test_samples_have_the_moments(float64: None) -> None:
    policy = gaussian(random_outputs()[:1], ALL[:1])
    keys = jax.random.split(jax.random.key(2), 40_000)
    drawn = np.asarray(jax.vmap(lambda key: policy.sample(key[None])[0])(keys))
    std = np.exp(np.asarray(policy.log_std[0]))
    np.testing.assert_allclose(drawn.mean(axis=0), policy.mean[0], atol=4 * std.max() / 200)
    np.testing.assert_allclose(drawn.std(axis=0), std, rtol=0.02)
    one, action = policy.encoding[0], drawn[0]
    several = np.asarray(draws_of(jax.random.key(3), one, jnp.asarray(action), 40_000))
    assert several.shape == (40_000, 2, NUMBERS)
    np.testing.assert_allclose(several.mean(axis=0), policy.mean[0], atol=4 * std.max() / 200)
    np.testing.assert_allclose(several.std(axis=0), std, rtol=0.02)
    # Each agent and number has luck of its own.
    assert np.abs(np.corrcoef(several.reshape(len(several), -1).T) - np.eye(6)).max() < 0.03


def test_a_key_is_one_team_s() -> None:
    """A team in a batch draws what it draws alone."""
    policy = gaussian(jnp.asarray(random_outputs(), jnp.float32), ALL)
    keys = jax.random.split(jax.random.key(4), 4)
    together = policy.sample(keys)
    for team in range(4):
        alone = Gaussian(policy.mean[team : team + 1], policy.log_std[team : team + 1]).sample(keys[team : team + 1])
        np.testing.assert_array_equal(together[team : team + 1], alone)


def test_discrete_policies_are_as_they_were(float64: None) -> None:
    rng = np.random.default_rng(5)
    logits, avail = (
        jnp.asarray(rng.normal(size=(6, 2, 5))),
        jnp.asarray(rng.random((6, 2, 5)) < 0.5).at[..., 2].set(True),
    )
    policy, log_probs = masked(logits, avail), policies.masked_log_probs(logits[..., :4], avail[..., :4])
    assert isinstance(policy, Categorical)
    np.testing.assert_array_equal(masked(logits, avail[..., :4]).log_probs, log_probs)
    actions = policy.sample(jax.random.split(jax.random.key(1), 6))
    assert (
        actions.dtype == jnp.int32 and np.take_along_axis(np.asarray(avail), np.asarray(actions)[..., None], -1).all()
    )
    np.testing.assert_allclose(policy.log_prob(actions), policies.of_taken(policy.log_probs, actions), atol=0)
    np.testing.assert_allclose(log_prob_of(policy.encoding, actions, jnp.ones((6, 2), bool)), policy.log_prob(actions))
    np.testing.assert_array_equal(policy.mode(), np.where(avail, logits, -np.inf).argmax(axis=-1))
    np.testing.assert_allclose(entropy_of(policy.encoding, actions), policy.entropy(), atol=1e-12)
    np.testing.assert_array_equal(has_choice(avail, actions), np.asarray(avail).sum(axis=-1) > 1)


def test_which_kind() -> None:
    assert policy_of(SPEC) is masked and policy_of(BOXED) is gaussian
    assert policy_for(jnp.zeros((2, 3), jnp.int8)) is masked and policy_for(jnp.zeros((2, 3, 1))) is gaussian
    assert (SPEC.action_width, BOXED.action_width) == (4, 4) and not is_continuous(jnp.zeros(2, jnp.int32))


@pytest.mark.parametrize("continuous", [False, True])
def test_what_networks_are_told(continuous: bool) -> None:
    actions = jnp.asarray([[[0.5, -2.0]]]) if continuous else jnp.asarray([[3]])
    expected = [[[0.5, -2.0, 0.0, 0.0]]] if continuous else [[[0, 0, 0, 1]]]
    np.testing.assert_array_equal(encoded(actions, 4, jnp.dtype("float32")), expected)
    policy = jnp.asarray([[[0.1, 0.2, 0.3, 0.4]]])
    middle, drawn = centre(policy, continuous), drawn_encoding(jax.random.key(0), policy, continuous)
    if not continuous:
        np.testing.assert_array_equal(middle, policy)
        np.testing.assert_array_equal(drawn, policy)
        return
    np.testing.assert_allclose(middle, [[[0.1, 0.2, 0, 0]]])
    assert (drawn[..., 2:] == 0).all() and (drawn[..., :2] != policy[..., :2]).all()
    # a = m + sqrt(v) e: da/dm = 1, da/dv = e / (2 sqrt(v)).
    slope = jax.grad(lambda p: drawn_encoding(jax.random.key(0), p, True).sum())(policy)[0, 0]
    luck = (drawn[0, 0, :2] - policy[0, 0, :2]) / jnp.sqrt(policy[0, 0, 2:])
    np.testing.assert_allclose(slope, [1, 1, *(luck / (2 * jnp.sqrt(policy[0, 0, 2:])))], rtol=1e-4)
