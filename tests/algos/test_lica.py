"""LICA against the authors' code, and the critic that it climbs."""

import dataclasses
import functools
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import BOXES, SIZES, in_float64, initial, plain_outputs, random_episodes
from learners import plain_acting
from reference import Numbers, actor, assert_close, assert_trees_close, critic, episodes, float64_fixture, load
from tiers import cases

from seca.algos.lica import LicaConfig, init, lica, mixing_value_and_slope, slope_of_policy, told
from seca.distributions import gaussian
from seca.learning.acting import acting_over
from seca.learning.climbing import climb, climbing_gradient
from seca.learning.rows import pack
from seca.learning.trained import clipped_adam
from seca.policies import entropy
from seca.types import EnvSpec, PyTree

pytestmark = pytest.mark.slow

_ = float64_fixture
CONFIG = LicaConfig(actor_hidden=8, critic_embed=8, critic_width=16)


def up_of(numbers: Numbers):
    batch = episodes(numbers)
    probs = acting_over(actor(numbers), batch).probs
    return climb(critic(numbers), mixing_value_and_slope, batch.state, probs, pack(batch.valid, 5))


def test_values_of_policies(golden_dir: pathlib.Path, float64: None) -> None:
    numbers = load(golden_dir, "lica_update")
    mask = numbers["mask"] > 0
    assert_close(acting_over(actor(numbers), episodes(numbers)).probs[:, :-1], numbers["action_probs"], mask)
    assert_close(up_of(numbers).value[:, :-1], numbers["f_policy"], mask)


@pytest.mark.parametrize("size", BOXES)
def test_gradient_of_gaussian_policies(size: str, float64: None) -> None:
    """-mean f(s, a) at the taken actions, a = m + s e with the luck that each had, differentiated end to end."""
    spec, lengths = BOXES[size]
    learner = in_float64(initial(init, jax.random.key(1), spec, CONFIG))
    batch = random_episodes(garbage=1.0, lengths=lengths, spec=spec)
    agent, online = learner.actor.params, learner.critic.params
    old = gaussian(plain_outputs(agent, batch), batch.avail)
    luck = (batch.actions - old.mean) / jnp.exp(old.log_std)

    def loss(module) -> jax.Array:
        policy = gaussian(plain_outputs(module, batch), batch.avail)
        action = policy.mean + jnp.exp(policy.log_std) * luck
        inputs = jnp.concatenate([action, jnp.zeros_like(action)], axis=-1)[:, :-1]
        value = online.weights(batch.state[:, :-1], spec.n_agents).value(inputs)
        return -jnp.where(batch.valid, value, 0).sum() / batch.valid.sum()

    acting = acting_over(agent, batch)
    at = told(acting.probs, batch.actions)
    up = climb(online, mixing_value_and_slope, batch.state, at, pack(batch.valid, 5))
    up = dataclasses.replace(up, slope=slope_of_policy(up.slope, acting.probs, batch.actions))
    found = climbing_gradient(agent, batch, acting, up, 0.0, "batch_mean", None)
    assert_trees_close(found.gradient, jax.grad(loss)(agent), 1e-9)
    np.testing.assert_allclose(found.policy_part, loss(agent), atol=1e-12)


@pytest.mark.parametrize("part", ["", "policy_part_"])
def test_actor_gradient(part: str, golden_dir: pathlib.Path, float64: None) -> None:
    numbers = load(golden_dir, "lica_update")
    batch, agent = episodes(numbers), actor(numbers)
    coef = 0.0 if part else float(numbers["entropy_coef"])
    acting = acting_over(agent, batch)
    found = climbing_gradient(agent, batch, acting, up_of(numbers), coef, "batch_mean", None)
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
    fresh = in_float64(initial(init, jax.random.key(0), spec, config))
    learner = dataclasses.replace(
        fresh,
        actor=dataclasses.replace(fresh.actor, params=actor(numbers)),
        critic=dataclasses.replace(fresh.critic, params=critic(numbers), target=critic(numbers)),
    )
    update = jax.jit(functools.partial(lica("lica", spec, config).update, axis=None))
    _, metrics = update(learner, episodes(numbers), None, jax.random.key(0))
    assert_close(metrics["actor_loss"], numbers["actor_loss"])
    assert_close(metrics["actor_policy_loss"], numbers["actor_loss_policy_part"])
    assert_close(metrics["actor_gradient_norm"], numbers["actor_gradient_norm"])


@pytest.mark.parametrize("size", cases(SIZES, "between blocks"))
def test_the_actor_climbs_the_critic_just_stepped(size: str, float64: None) -> None:
    """With a step of the critic that shows, and a target that is not the critic."""
    config, (spec, lengths, seed) = dataclasses.replace(CONFIG, critic_lr=0.05), SIZES[size]
    fresh = in_float64(initial(init, jax.random.key(1), spec, config))
    target = jax.tree.map(lambda x: 0.5 * x, fresh.critic.params)
    learner = dataclasses.replace(fresh, critic=dataclasses.replace(fresh.critic, target=target))
    batch = random_episodes(seed, 0.0, lengths, spec)
    stepped, metrics = jax.jit(functools.partial(lica("lica", spec, config).update, axis=None))(
        learner, batch, None, jax.random.key(0)
    )

    def climbed(critic) -> tuple[PyTree, jax.Array]:
        def loss(agent) -> jax.Array:
            probs = plain_acting(agent, batch).probs[:, :-1]
            value = critic.weights(batch.state[:, :-1], spec.n_agents).value(probs)
            mask, steps = batch.valid[..., None], batch.valid.sum()
            mean = jnp.where(mask, entropy(probs), 0).sum() / (steps * spec.n_agents)
            bonus = config.entropy_coef * mean / jax.lax.stop_gradient(mean)
            return -jnp.where(batch.valid, value, 0).sum() / steps - bonus

        value, slope = jax.jit(jax.value_and_grad(loss))(learner.actor.params)
        moves, _ = jax.jit(clipped_adam(config.actor_lr, config.clip_norm).update)(slope, learner.actor.opt)
        return eqx.apply_updates(learner.actor.params, moves), value

    expected, loss = climbed(stepped.critic.params)
    assert_trees_close(stepped.actor.params, expected, 1e-9)
    assert_close(metrics["actor_loss"], np.asarray(loss))
    apart = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), stepped.actor.params, climbed(learner.critic.params)[0])
    assert max(map(float, jax.tree.leaves(apart))) > 1e-5
