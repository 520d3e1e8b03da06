"""LICA against the authors' code and against the exact policy gradient."""

import dataclasses
import functools
import itertools
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import SPEC, in_float64, random_episodes, updated
from learners import plain_acting
from reference import Numbers, actor, assert_close, assert_trees_close, critic, episodes, float64_fixture, load

from seca.algos.lica import LicaConfig, init, lica, mixing_value_and_slope
from seca.learning.acting import acting_over
from seca.learning.climbing import Climb, climb
from seca.learning.policy_gradient import PolicyLoss, actor_gradient, direct
from seca.learning.rows import pack
from seca.learning.trained import clipped_adam
from seca.nets.critics import MixingWeights
from seca.policies import entropy
from seca.types import EnvSpec, PyTree

pytestmark = [pytest.mark.usefixtures("quick_programs"), pytest.mark.slow]

_ = float64_fixture
CONFIG = LicaConfig(actor_hidden=8, critic_embed=8, critic_width=16)


def up_of(numbers: Numbers) -> Climb:
    batch = episodes(numbers)
    probs = acting_over(actor(numbers), batch).probs
    return climb(critic(numbers), mixing_value_and_slope, batch.state, probs, pack(batch.valid, 5))


def test_values_of_policies(golden_dir: pathlib.Path, float64: None) -> None:
    numbers = load(golden_dir, "lica_update")
    mask = numbers["mask"] > 0
    assert_close(acting_over(actor(numbers), episodes(numbers)).probs[:, :-1], numbers["action_probs"], mask)
    assert_close(up_of(numbers).value[:, :-1], numbers["f_policy"], mask)


@pytest.mark.parametrize("part", ["", "policy_part_"])
def test_actor_gradient(part: str, golden_dir: pathlib.Path, float64: None) -> None:
    numbers = load(golden_dir, "lica_update")
    batch, agent = episodes(numbers), actor(numbers)
    coef = 0.0 if part else float(numbers["entropy_coef"])
    signal = batch.actions.shape[2] * up_of(numbers).slope[:, :-1]
    found = actor_gradient(
        agent, PolicyLoss(direct, coef, "batch_mean"), batch, acting_over(agent, batch), signal, None
    )
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
    learner = dataclasses.replace(
        fresh,
        actor=dataclasses.replace(fresh.actor, params=actor(numbers)),
        critic=dataclasses.replace(fresh.critic, params=critic(numbers), target=critic(numbers)),
    )
    update = jax.jit(functools.partial(updated, lica("lica", spec, config)))
    _, metrics = update(learner, episodes(numbers), jax.random.key(0))
    assert_close(metrics["actor_loss"], numbers["actor_loss"])
    assert_close(metrics["actor_policy_loss"], numbers["actor_loss_policy_part"])
    assert_close(metrics["actor_gradient_norm"], numbers["actor_gradient_norm"])


def test_the_actor_climbs_the_critic_just_stepped(float64: None) -> None:
    """With a step of the critic that shows, and a target that is not the critic."""
    config = dataclasses.replace(CONFIG, critic_lr=0.05)
    fresh = in_float64(init(jax.random.key(1), SPEC, config))
    target = jax.tree.map(lambda x: 0.5 * x, fresh.critic.params)
    learner = dataclasses.replace(fresh, critic=dataclasses.replace(fresh.critic, target=target))
    batch = random_episodes()
    stepped, _ = jax.jit(functools.partial(updated, lica("lica", SPEC, config)))(learner, batch, jax.random.key(0))

    def climbed(critic) -> PyTree:
        def loss(agent) -> jax.Array:
            probs = plain_acting(agent, batch).probs[:, :-1]
            value = critic.weights(batch.state[:, :-1], SPEC.n_agents).value(probs)
            mask, steps = batch.valid[..., None], batch.valid.sum()
            mean = jnp.where(mask, entropy(probs), 0).sum() / (steps * SPEC.n_agents)
            bonus = config.entropy_coef * mean / jax.lax.stop_gradient(mean)
            return -jnp.where(batch.valid, value, 0).sum() / steps - bonus

        moves, _ = clipped_adam(config.actor_lr, config.clip_norm).update(
            jax.jit(jax.grad(loss))(learner.actor.params), learner.actor.opt
        )
        return eqx.apply_updates(learner.actor.params, moves)

    assert_trees_close(stepped.actor.params, climbed(stepped.critic.params), 1e-9)
    apart = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), stepped.actor.params, climbed(learner.critic.params))
    assert max(map(float, jax.tree.leaves(apart))) > 1e-5


def test_gradient_equals_autodiff_through_the_critic(float64: None) -> None:
    """The packed, linearised form against -mean f(s, pi) differentiated end to end."""
    learner, batch = in_float64(init(jax.random.key(1), SPEC, CONFIG)), random_episodes(garbage=1.0)
    online, agent = learner.critic.params, learner.actor.params

    def loss(agent) -> jax.Array:
        probs = plain_acting(agent, batch).probs[:, :-1]
        value = online.weights(batch.state[:, :-1], SPEC.n_agents).value(probs)
        return -jnp.where(batch.valid, value, 0).sum() / batch.valid.sum()

    acting = acting_over(agent, batch)
    up = climb(online, mixing_value_and_slope, batch.state, acting.probs, pack(batch.valid, 4))
    found = actor_gradient(agent, PolicyLoss(direct), batch, acting, SPEC.n_agents * up.slope[:, :-1], None)
    assert_trees_close(found.gradient, jax.grad(loss)(agent), 1e-10)
    mask = np.asarray(batch.valid)
    np.testing.assert_allclose(loss(agent), -np.asarray(up.value)[:, :-1][mask].mean(), atol=1e-12)


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
