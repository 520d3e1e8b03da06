"""Direct gradients against autodiff through the critic and against the exact policy gradient."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import SPEC, in_float64, random_episodes
from learners import plain_acting
from reference import assert_trees_close, float64_fixture

from seca.algos.lica import LicaConfig, init, mixing_value_and_slope
from seca.learning.acting import acting_over
from seca.learning.climbing import climb, climbing_gradient
from seca.learning.rows import pack
from seca.nets.critics import MixingWeights

pytestmark = pytest.mark.slow

_ = float64_fixture
CONFIG = LicaConfig(actor_hidden=8, critic_embed=8, critic_width=16)


def test_gradient_equals_autodiff_through_the_critic(float64: None) -> None:
    """The packed, linearised form against -mean f(s, pi) differentiated end to end."""
    learner, batch = in_float64(init(jax.random.key(1), SPEC, CONFIG)), random_episodes(garbage=1.0)
    actor, online = learner.actor.params, learner.critic.params

    def loss(agent) -> jax.Array:
        probs = plain_acting(agent, batch).probs[:, :-1]
        value = online.weights(batch.state[:, :-1], SPEC.n_agents).value(probs)
        return -jnp.where(batch.valid, value, 0).sum() / batch.valid.sum()

    acting = acting_over(actor, batch)
    up = climb(online, mixing_value_and_slope, batch.state, acting.probs, pack(batch.valid, 4))
    found = climbing_gradient(actor, batch, acting, up, 0.0, "batch_mean", None)
    assert_trees_close(found.gradient, jax.grad(loss)(actor), 1e-10)
    mask = np.asarray(batch.valid)
    np.testing.assert_allclose(loss(actor), -np.asarray(up.value)[:, :-1][mask].mean(), atol=1e-12)


def test_with_a_linear_critic_the_slope_is_the_exact_policy_gradient(float64: None) -> None:
    """Where f is multilinear, d f(pi) / d pi_i(a) = E[Q(a, u_-i)], by enumeration of the joint actions."""
    rng = np.random.default_rng(0)
    # Far from the kink of its ReLU, the mixing critic is linear in the joint action.
    weights = MixingWeights(
        w1=jnp.asarray(rng.normal(size=(3, 2, 4))),
        b1=jnp.full(4, 50.0),
        w2=jnp.asarray(rng.normal(size=4)),
        b2=jnp.asarray(0.3),
    )
    probs = rng.dirichlet(np.ones(2), size=3)
    slope = np.asarray(weights.input_gradient(jnp.asarray(probs)))
    expected = np.zeros((3, 2))
    for joint in itertools.product(range(2), repeat=3):
        value = float(weights.taken_value(jnp.asarray(joint)))
        for i in range(3):
            others = np.prod([probs[j, joint[j]] for j in range(3) if j != i])
            expected[i, joint[i]] += others * value
    np.testing.assert_allclose(slope[:, 1] - slope[:, 0], expected[:, 1] - expected[:, 0], atol=1e-10)
