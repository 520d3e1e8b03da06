"""The plain independent actor-critic: against plain loops, what it reduces to, and that it learns."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from particles import SPEC, A, N, episodes_of, plain_net, transitions

from seca.algos import iac_mpe
from seca.algos.iac_mpe import IacMpeConfig
from seca.envs import registry
from seca.learning.by_transitions import policies_of
from seca.policies import of_taken
from seca.train.iterate import make_iterate
from seca.train.state import init_state

CONFIG = IacMpeConfig(hidden=8, batch=7, critic_epochs=3, target_interval=14, init_std=0.5)


@pytest.mark.slow
def test_targets_and_loss_of_plain_loops() -> None:
    """Each agent's critic sees its own observation alone; the target's value of the only action that it can take."""
    learner = iac_mpe.init(jax.random.key(0), SPEC, CONFIG)
    batch = jax.tree.map(lambda x: x[3:10], transitions([episodes_of()]))
    forced = dataclasses.replace(batch, next_avail=jax.nn.one_hot(jnp.ones((7, N), jnp.int32), A).astype(bool))
    target = jax.tree.map(lambda x: 0.5 * x, learner.critics.params)
    draws = iac_mpe.targets_of(learner.actors.target, target, forced, jax.random.key(0), CONFIG)
    assert draws.shape == (3, 7, N) and (np.ptp(draws, axis=0) == 0).all()
    losses = np.zeros((7, N))
    for row in range(7):
        for agent in range(N):
            q = plain_net(target, agent, np.asarray(batch.next_obs)[row, agent])[1]
            expected = float(batch.reward[row]) + (0.0 if batch.ended[row] else CONFIG.gamma * q)
            assert float(draws[0, row, agent]) == pytest.approx(expected, abs=2e-5)
            own = plain_net(learner.critics.params, agent, np.asarray(batch.obs)[row, agent])
            losses[row, agent] = (own[int(batch.actions[row, agent])] - expected) ** 2
    found = iac_mpe.critic_loss(learner.critics.params, forced, draws[0])
    assert float(found) == pytest.approx(losses.mean(axis=0).sum(), rel=1e-4)


def test_advantages() -> None:
    """Centred, nothing in the mean over the own policy; the public code's is the value itself."""
    learner = iac_mpe.init(jax.random.key(0), SPEC, CONFIG)
    batch = jax.tree.map(lambda x: x[3:10], transitions([episodes_of()]))
    probs, means = policies_of(learner.actors.params, batch), np.zeros((7, N))
    for action in range(A):
        other = dataclasses.replace(batch, actions=jnp.full_like(batch.actions, action))
        means += np.asarray(probs[..., action] * iac_mpe.advantages(learner.critics.params, probs, other, CONFIG))
    np.testing.assert_allclose(means, 0, atol=1e-5)
    plain = dataclasses.replace(CONFIG, advantage="value")
    found = np.asarray(iac_mpe.advantages(learner.critics.params, probs, batch, plain))
    q = np.asarray(learner.critics.params(batch.obs))
    for row in range(7):
        np.testing.assert_array_equal(found[row], q[row, np.arange(N), np.asarray(batch.actions)[row]])


def test_claims_are_the_advantages_of_the_steps() -> None:
    learner, episodes = iac_mpe.init(jax.random.key(0), SPEC, CONFIG), episodes_of()
    claim = iac_mpe.claim(learner, episodes, jnp.uint32(0), jax.random.key(0), CONFIG)
    rows = transitions([episodes])
    probs = policies_of(learner.actors.params, rows)
    expected = iac_mpe.advantages(learner.critics.params, probs, rows, CONFIG)
    valid, q = np.asarray(episodes.valid), np.asarray(learner.critics.params(rows.obs))
    np.testing.assert_allclose(np.asarray(claim.credit)[valid], expected, atol=1e-6)
    assert (np.asarray(claim.credit)[~valid] == 0).all()
    assert claim.policy is not None
    np.testing.assert_allclose(np.asarray(claim.policy)[valid], probs, atol=1e-6)
    value, taken = (
        (np.asarray(probs) * q).sum(axis=-1).mean(axis=-1),
        np.asarray(of_taken(jnp.asarray(q), rows.actions)),
    )
    np.testing.assert_allclose(np.asarray(claim.value)[valid], value, atol=1e-6)
    ended = np.asarray(rows.ended)  # There the target is the reward.
    left = np.asarray(rows.reward) - taken.mean(axis=-1)
    np.testing.assert_allclose(np.asarray(claim.team)[valid][ended], left[ended], atol=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("advantage", ["centred", "value"])
def test_it_learns(advantage: Any) -> None:
    """Three agents whose rewards add up: from the 1.5 of chance to near 3, which is all there is."""
    env = registry.make("matrix/additive")
    config = IacMpeConfig(
        hidden=16, batch=24, actor_lr=2e-2, critic_lr=2e-2, entropy_coef=1e-4, target_interval=24, advantage=advantage
    )
    algorithm = iac_mpe.iac_mpe("x", env.spec, config)
    state, iterate = init_state(algorithm, 1), make_iterate(env, algorithm, 16, jax.devices()[:1])
    returns = []
    for _ in range(200):
        state, metrics = iterate(state)
        returns.append(float(metrics["return_mean"]))
    assert np.mean(returns[:10]) < 2 < 2.8 < np.mean(returns[-10:])
