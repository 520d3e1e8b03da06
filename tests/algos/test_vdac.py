"""VDAC: one loss for agents and mixer, against plain differentiation of the whole of it."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import ALONE, SIZES, SPEC, alone, in_float64, initial, random_episodes
from learners import plain_acting
from reference import assert_close, assert_trees_close, float64_fixture
from tiers import cases

from seca.algos.vdac import Learner, Networks, VdacConfig, init, team_value, vdac
from seca.distributions import floored_policy
from seca.learning.trained import clipped_rmsprop
from seca.policies import FloorConfig, entropy
from seca.returns import lambda_returns
from seca.types import Episodes

pytestmark = pytest.mark.slow

_ = float64_fixture


def config_of(**changes: Any) -> VdacConfig:
    floor = FloorConfig(start=0.3, finish=0.1, steps=100)
    return VdacConfig(actor_hidden=8, embed=6, width=8, entropy_coef=0.02, floor=floor, **changes)


def plain_loss(networks: Networks, episodes: Episodes, config: VdacConfig) -> tuple[jax.Array, Any]:
    """The whole loss over the padded batch, targets and advantages held constant."""
    acting = plain_acting(networks.agent, episodes, floored_policy(jnp.zeros(()), config.floor))
    assert acting.value is not None
    team = team_value(networks.mixer, episodes.state, acting.value)
    returns = functools.partial(lambda_returns, gamma=config.gamma, lam=config.td_lambda)
    goal = jax.lax.stop_gradient(jax.vmap(returns)(episodes.reward, episodes.terminated, episodes.valid, team))
    error, mask = goal - team[:, :-1], episodes.valid
    taken = jnp.take_along_axis(acting.probs[:, :-1], episodes.actions[:, :-1, :, None], axis=-1)[..., 0]
    gain = jnp.where(mask[..., None], jnp.log(taken) * jax.lax.stop_gradient(error)[..., None], 0)
    samples = mask.sum() * episodes.actions.shape[2]
    policy = -gain.sum() / samples
    value = jnp.where(mask, error**2, 0).sum() / mask.sum()
    bonus = jnp.where(mask[..., None], entropy(acting.probs[:, :-1]), 0).sum() / samples
    return policy + config.value_coef * value - config.entropy_coef * bonus, (policy, value)


@pytest.mark.parametrize(
    ("size", "mixing"), cases([("one block", "sum"), ("between blocks", "monotone")], "between blocks")
)
def test_update_equals_autodiff_of_the_whole_loss(size: str, mixing: Any, float64: None) -> None:
    config, (spec, lengths, seed) = config_of(mixing=mixing), SIZES[size]
    learner, batch = (
        in_float64(initial(init, jax.random.key(0), spec, config)),
        random_episodes(seed, 1.0, lengths, spec),
    )
    stepped, metrics = jax.jit(functools.partial(vdac("vdac", spec, config).update, axis=None))(
        learner, batch, None, jax.random.key(0)
    )
    (loss, (policy, value)), gradient = jax.jit(
        jax.value_and_grad(functools.partial(plain_loss, config=config), has_aux=True)
    )(learner.networks.params, batch)
    assert_close(metrics["actor_loss"], loss)
    assert_close(metrics["actor_policy_loss"], policy)
    assert_close(metrics["critic_loss"], value)
    moves, _ = jax.jit(clipped_rmsprop(config.lr, config.clip_norm).update)(gradient, learner.networks.opt)
    expected = jax.tree.map(jnp.add, learner.networks.params, moves)
    assert_trees_close(stepped.networks.params, expected, 1e-8)


def test_one_agent_alone_is_actor_critic(float64: None) -> None:
    """VDAC-sum with n = 1: V_tot is the agent's own value, and the update that of A2C on shared networks."""
    batch, config = alone(random_episodes()), config_of(mixing="sum")
    learner: Learner = in_float64(initial(init, jax.random.key(0), ALONE, config))
    stepped, metrics = jax.jit(functools.partial(vdac("vdac", ALONE, config).update, axis=None))(
        learner, batch, None, jax.random.key(0)
    )
    returns = functools.partial(lambda_returns, gamma=config.gamma, lam=config.td_lambda)
    mask = batch.valid

    def a2c(networks: Networks) -> jax.Array:
        acting = plain_acting(networks.agent, batch, floored_policy(jnp.zeros(()), config.floor))
        assert acting.value is not None
        value, probs = acting.value[:, :, 0], acting.probs[:, :-1, 0]
        goal = jax.lax.stop_gradient(jax.vmap(returns)(batch.reward, batch.terminated, mask, value))
        error = goal - value[:, :-1]
        taken = jnp.take_along_axis(probs, batch.actions[:, :-1, 0, None], axis=-1)[..., 0]
        loss = config.value_coef * error**2 - jnp.log(taken) * jax.lax.stop_gradient(error)
        return jnp.where(mask, loss - config.entropy_coef * entropy(probs), 0).sum() / mask.sum()

    acting = plain_acting(learner.networks.params.agent, batch, floored_policy(jnp.zeros(()), config.floor))
    assert acting.value is not None
    value = acting.value[:, :, 0]
    error = np.asarray(jax.vmap(returns)(batch.reward, batch.terminated, mask, value) - value[:, :-1])
    np.testing.assert_allclose(metrics["advantage_abs"], np.abs(error)[np.asarray(mask)].mean(), rtol=1e-10)
    moves, _ = jax.jit(clipped_rmsprop(config.lr, config.clip_norm).update)(
        jax.jit(jax.grad(a2c))(learner.networks.params), learner.networks.opt
    )
    assert_trees_close(stepped.networks.params, jax.tree.map(jnp.add, learner.networks.params, moves), 1e-8)


def test_the_claim_is_everybodys_advantage(float64: None) -> None:
    """y - V_tot by the networks that acted, of an update that did not begin at the first env step."""
    config, batch = config_of(), random_episodes(garbage=1.0)
    learner, algorithm = in_float64(initial(init, jax.random.key(0), SPEC, config)), vdac("vdac", SPEC, config)
    steps = jnp.uint32(40)
    learner = dataclasses.replace(learner, env_steps=steps)
    assert algorithm.claims is not None and algorithm.claims.kind is None
    claim = jax.jit(algorithm.claims.fn)(learner, batch, steps, jax.random.key(1))
    acting = plain_acting(learner.networks.params.agent, batch, floored_policy(steps, config.floor))
    assert acting.value is not None and claim.value is not None and claim.policy is not None
    team = team_value(learner.networks.params.mixer, batch.state, acting.value)
    returns = functools.partial(lambda_returns, gamma=config.gamma, lam=config.td_lambda)
    error = jax.vmap(returns)(batch.reward, batch.terminated, batch.valid, team) - team[:, :-1]
    mask = np.asarray(batch.valid)
    credit, expected = np.asarray(claim.credit), np.where(mask, error, 0)
    np.testing.assert_allclose(credit, np.broadcast_to(expected[..., None], credit.shape), atol=1e-10)
    np.testing.assert_allclose(np.asarray(claim.value)[mask], np.asarray(team)[:, :-1][mask], atol=1e-10)
    np.testing.assert_allclose(np.asarray(claim.policy)[mask], np.asarray(acting.probs)[:, :-1][mask], atol=1e-10)
    _, metrics = jax.jit(functools.partial(algorithm.update, axis=None))(learner, batch, None, jax.random.key(0))
    np.testing.assert_allclose(metrics["advantage_abs"], np.abs(expected)[mask].mean(), rtol=1e-10)


def test_team_value_rises_with_every_value(float64: None) -> None:
    """dV_tot / dV_i >= 0 for the monotone mixer."""
    mixer = in_float64(initial(init, jax.random.key(3), SPEC, config_of()).networks.params.mixer)
    rng = np.random.default_rng(0)
    state, values = jnp.asarray(rng.normal(size=(20, 6))), jnp.asarray(rng.normal(size=(20, 3)))
    slope = jax.grad(lambda v: team_value(mixer, state, v).sum())(values)
    assert (np.asarray(slope) >= 0).all() and (np.asarray(slope) > 0).any()
