"""Direct gradients: LICA against the authors' code and against the exact policy gradient."""

import dataclasses
import functools
import itertools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import SPEC, in_float64, random_episodes
from reference import Numbers, actor, assert_close, assert_trees_close, critic, episodes, float64_fixture, load

from seca.algos.actor_step import actor_gradient, direct, unroll
from seca.algos.direct_gradient import LicaConfig, climb, init, lica
from seca.algos.packing import pack
from seca.nets.critics import MixingWeights
from seca.types import EnvSpec

_ = float64_fixture
CONFIG = LicaConfig(actor_hidden=8, critic_embed=8, critic_width=16)


def up_of(numbers: Numbers):
    batch = episodes(numbers)
    return climb(critic(numbers), batch, unroll(actor(numbers), batch).probs, pack(batch.valid, 5), 5)


def test_values_of_policies(golden_dir: pathlib.Path, float64: None) -> None:
    numbers = load(golden_dir, "lica_update")
    mask = numbers["mask"] > 0
    assert_close(unroll(actor(numbers), episodes(numbers)).probs[:, :-1], numbers["action_probs"], mask)
    assert_close(up_of(numbers).value[:, :-1], numbers["f_policy"], mask)


@pytest.mark.parametrize("part", ["", "policy_part_"])
def test_actor_gradient(part: str, golden_dir: pathlib.Path, float64: None) -> None:
    numbers = load(golden_dir, "lica_update")
    batch, agent = episodes(numbers), actor(numbers)
    coef = 0.0 if part else float(numbers["entropy_coef"])
    signal = batch.actions.shape[2] * up_of(numbers).slope[:, :-1]
    found = actor_gradient(agent, batch, unroll(agent, batch), signal, coef, "batch_mean", None, direct)
    assert_trees_close(found.gradient, actor(numbers, f"actor_gradient_{part}"))
    assert_close(found.entropy, numbers["entropy_batch_mean"])


def test_whole_update(golden_dir: pathlib.Path, float64: None) -> None:
    """What `update` reports, the critic's own step being too small to see, is what the authors' code has."""
    numbers = load(golden_dir, "lica_update")
    _, rows, n_agents, obs_size = numbers["obs"].shape
    spec = EnvSpec(
        "golden", "1", n_agents, numbers["avail_actions"].shape[-1], obs_size, numbers["state"].shape[-1], rows - 1
    )
    config = LicaConfig(
        critic_lr=1e-30,
        entropy_coef=float(numbers["entropy_coef"]),
        actor_hidden=numbers["actor_gru_weight_hh"].shape[1],
        critic_embed=numbers["critic_b1_bias"].shape[0],
        critic_width=None,
    )
    fresh = in_float64(init(jax.random.key(0), spec, config))
    training = dataclasses.replace(fresh.training, critic=critic(numbers), target=critic(numbers))
    learner = dataclasses.replace(fresh, actor=actor(numbers), training=training)
    update = jax.jit(functools.partial(lica("lica", spec, config).update, axis=None))
    _, metrics = update(learner, episodes(numbers), jax.random.key(0))
    assert_close(metrics["actor_loss"], numbers["actor_loss"])
    assert_close(metrics["actor_policy_loss"], numbers["actor_loss_policy_part"])
    assert_close(metrics["actor_gradient_norm"], numbers["actor_gradient_norm"])


def test_gradient_equals_autodiff_through_the_critic(float64: None) -> None:
    """The packed, linearised form against -mean f(s, pi) differentiated end to end."""
    learner, batch = in_float64(init(jax.random.key(1), SPEC, CONFIG)), random_episodes(garbage=1.0)
    online = learner.training.critic

    def loss(agent) -> jax.Array:
        probs = unroll(agent, batch).probs[:, :-1]
        value = online.weights(batch.state[:, :-1], SPEC.n_agents).value(probs)
        return -jnp.where(batch.valid, value, 0).sum() / batch.valid.sum()

    acting = unroll(learner.actor, batch)
    up = climb(online, batch, acting.probs, pack(batch.valid, 4), 4)
    found = actor_gradient(
        learner.actor, batch, acting, SPEC.n_agents * up.slope[:, :-1], 0.0, "batch_mean", None, direct
    )
    assert_trees_close(found.gradient, jax.grad(loss)(learner.actor), 1e-10)
    mask = np.asarray(batch.valid)
    np.testing.assert_allclose(loss(learner.actor), -np.asarray(up.value)[:, :-1][mask].mean(), atol=1e-12)


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
