"""Direct gradients against autodiff through the critic."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import SPEC, in_float64, initial, random_episodes
from learners import plain_acting
from reference import assert_trees_close, float64_fixture

from seca.algos.lica import LicaConfig, init, mixing_value_and_slope
from seca.learning.acting import acting_over
from seca.learning.climbing import climb, climbing_gradient
from seca.learning.rows import pack

pytestmark = pytest.mark.slow

_ = float64_fixture
CONFIG = LicaConfig(actor_hidden=8, critic_embed=8, critic_width=16)


def test_gradient_equals_autodiff_through_the_critic(float64: None) -> None:
    """The packed, linearised form against -mean f(s, pi) differentiated end to end."""
    learner, batch = in_float64(initial(init, jax.random.key(1), SPEC, CONFIG)), random_episodes(garbage=1.0)
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
