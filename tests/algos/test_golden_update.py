"""SeCA's update against the authors' release: one batch with frozen weights, and five updates in a row."""

import dataclasses
import functools
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import Numbers, actor, assert_close, assert_trees_close, at, critic, episodes, float64_fixture, load

from seca.algos.seca import Learner, SecaConfig, named
from seca.credit.sequential import SWEPT
from seca.learning.acting import acting_over
from seca.learning.joint_critic import critic_gradient, regression_targets, taken_values
from seca.learning.judging import Batch, Judged, Judging, judge
from seca.learning.policy_gradient import PolicyLoss, actor_gradient
from seca.learning.rows import pack
from seca.learning.trained import clipped_adam, fresh
from seca.nets.agents import RecurrentAgent
from seca.order.base import GradientOrder
from seca.order.gradients import by_gradients
from seca.order.named import ORDERS
from seca.policies import entropy, of_taken
from seca.types import EnvSpec, Episodes

_ = float64_fixture
CHUNK = 5  # Smaller than a batch and no divisor of it, so that chunks meet episode ends everywhere.


def config_of(numbers: Numbers, **changes: Any) -> SecaConfig:
    config = SecaConfig(
        gamma=float(numbers["gamma"]),
        td_lambda=float(numbers["td_lambda"]),
        entropy_coef=float(numbers["entropy_coef"]),
        path=GradientOrder(points=int(numbers["ig_points_per_step"])),
    )
    return dataclasses.replace(config, **changes)


@pytest.fixture(name="numbers", params=["seca_update_equal", "seca_update_padded"])
def numbers_fixture(request: pytest.FixtureRequest, golden_dir: pathlib.Path) -> Numbers:
    return load(golden_dir, request.param)


def judged_by(numbers: Numbers, order: str) -> Judged:
    judging = Judging(SWEPT, ORDERS[order](config_of(numbers).path))
    batch = to_judge(actor(numbers), episodes(numbers))
    return judge(critic(numbers), batch, judging, jnp.arange(batch.probs.shape[2]))


def to_judge(agent: RecurrentAgent, batch: Episodes) -> Batch:
    keys = jax.random.split(jax.random.key(0), batch.valid.shape[0])
    return Batch(batch, acting_over(agent, batch).probs, pack(batch.valid, CHUNK), keys, None)


def test_policies(numbers: Numbers, float64: None) -> None:
    batch = episodes(numbers)
    filled = numbers["filled"] > 0
    probs = acting_over(actor(numbers), batch).probs
    assert_close(probs, numbers["action_probs"], filled)
    mask = numbers["mask"] > 0
    taken = of_taken(probs[:, :-1], batch.actions[:, :-1])
    assert_close(jnp.log(jnp.where(mask[..., None], taken, 1)), numbers["log_prob_taken"], mask)
    assert_close(entropy(probs), numbers["entropy_per_agent"], filled)


def prefix_values(critic, batch, probs, order) -> jax.Array:
    """F_0 .. F_n of every step, by the plain critic at each prefix of taken one-hots among policies."""
    n_agents, n_actions = probs.shape[-2:]
    rank = jnp.argsort(order, axis=-1)[..., None, :]
    acted = (jnp.arange(n_agents + 1)[:, None] > rank)[..., None]
    one_hot = jax.nn.one_hot(batch.actions[:, :-1], n_actions)[:, :, None]
    inputs = jnp.where(acted, one_hot, probs[:, :-1, None])
    weights = critic.weights(batch.state[:, :-1], n_agents)
    return jnp.stack([weights.value(inputs[:, :, k]) for k in range(n_agents + 1)], axis=-1)


@pytest.mark.slow
def test_order_and_contributions(numbers: Numbers, float64: None) -> None:
    judged = judged_by(numbers, "gradients")
    assert judged.contribution is not None
    np.testing.assert_array_equal(np.asarray(judged.order)[:, 0], numbers["ig_order"])
    np.testing.assert_array_equal(judged.order, np.broadcast_to(judged.order[:, :1], judged.order.shape))
    assert_close(judged.contribution[:, 0], numbers["ig_contributions"])
    assert_close(-judged.contribution[:, 0], numbers["ig_contributions_eq18_sign"])


@pytest.mark.slow
@pytest.mark.parametrize(("order", "name"), [("identity", "identity_order"), ("gradients", "ig_order")])
def test_advantages_and_actor_gradient(numbers: Numbers, order: str, name: str, float64: None) -> None:
    mask = numbers["mask"] > 0
    judged = judged_by(numbers, order)
    assert_close(judged.advantage, numbers[f"advantage_{name}"], mask)
    batch, agent = episodes(numbers), actor(numbers)
    values = prefix_values(critic(numbers), batch, acting_over(agent, batch).probs, judged.order)
    assert_close(values, numbers[f"prefix_values_{name}"], mask)
    acted = acting_over(agent, batch)
    loss = PolicyLoss(entropy_coef=float(numbers["entropy_coef"]), entropy="batch_mean")
    whole = actor_gradient(agent, loss, batch, acted, judged.advantage, None)
    assert_close(whole.entropy, numbers["entropy_batch_mean"])
    assert_close(whole.loss, numbers[f"actor_loss_{name}"])
    assert_close(whole.policy_part, numbers[f"actor_loss_policy_part_{name}"])
    assert_close(whole.loss - whole.policy_part, numbers[f"actor_loss_entropy_part_{name}"])
    assert_trees_close(whole.gradient, actor(numbers, f"actor_gradient_{name}_"))
    policy_only = actor_gradient(agent, PolicyLoss(), batch, acted, judged.advantage, None)
    assert_trees_close(policy_only.gradient, actor(numbers, f"actor_gradient_policy_part_{name}_"))


def spec_of(numbers: Numbers) -> EnvSpec:
    _, _, time, n_agents, obs_size = numbers["obs"].shape
    return EnvSpec(
        "golden", "1", n_agents, numbers["avail_actions"].shape[-1], obs_size, numbers["state"].shape[-1], time
    )


def learner_of(numbers: Numbers, config: SecaConfig) -> Learner:
    return Learner(
        actor=fresh(actor(numbers), clipped_adam(config.actor_lr, config.clip_norm)),
        critic=fresh(critic(numbers), clipped_adam(config.critic_lr, config.clip_norm), target=True),
        order=jnp.zeros(numbers["obs"].shape[3]),
    )


def consecutive_config(numbers: Numbers) -> SecaConfig:
    return config_of(
        numbers,
        actor_lr=float(numbers["actor_learning_rate"]),
        critic_lr=float(numbers["critic_learning_rate"]),
        clip_norm=float(numbers["gradient_clip_norm"]),
        target_interval=int(numbers["target_update_interval"]),
        actor_hidden=numbers["actor_gru_weight_hh"].shape[1],
        critic_embed=numbers["critic_b1_bias"].shape[0],
        critic_width=None,
    )


def replay(numbers: Numbers, tolerance: float) -> None:
    """Run all updates through the shipped `update` and compare everything that the file holds."""
    config = consecutive_config(numbers)
    algorithm = named("seca", spec_of(numbers), config)
    learner = learner_of(numbers, config)
    update = jax.jit(functools.partial(algorithm.update, axis=None))
    for k in range(numbers["rewards"].shape[0]):
        batch = episodes(numbers, k)
        version = int(numbers["target_critic_version_before"][k])
        expected = (
            critic(numbers) if version == 0 else critic(at(numbers, "critic_after_", version - 1), "critic_after_")
        )
        assert_trees_close(learner.critic.target, expected, tolerance)
        probs = acting_over(learner.actor.params, batch).probs
        assert_close(probs, numbers["action_probs"][k], tolerance=tolerance)
        learner, metrics = update(learner, batch, None, jax.random.key(k))
        assert_close(metrics["critic_loss"], numbers["critic_loss"][k], tolerance=tolerance)
        assert_close(metrics["critic_gradient_norm"], numbers["critic_gradient_norm"][k], tolerance=tolerance)
        assert_close(metrics["entropy"], numbers["entropy_batch_mean"][k], tolerance=tolerance)
        assert_close(metrics["actor_loss"], numbers["actor_loss_ig_order"][k], tolerance=tolerance)
        assert_close(metrics["actor_gradient_norm"], numbers["actor_gradient_norm_ig_order"][k], tolerance=tolerance)
        assert_close(metrics["contribution_mean"], numbers["ig_contributions"][k].mean(axis=0), tolerance=tolerance)
        assert_trees_close(learner.critic.params, critic(at(numbers, "critic_after_", k), "critic_after_"), tolerance)
        assert_trees_close(learner.actor.params, actor(at(numbers, "actor_after_", k), "actor_after_"), tolerance)


@pytest.mark.slow
def test_consecutive_updates(golden_dir: pathlib.Path, float64: None) -> None:
    """What comes before what: stepped critic, clipping, target copies, masked means."""
    numbers = load(golden_dir, "seca_consecutive_updates")
    assert numbers["critic_clipped"].any() and not numbers["critic_clipped"].all()
    assert numbers["target_copied"].any()
    replay(numbers, 1e-8)


@pytest.mark.slow
def test_consecutive_updates_float32(golden_dir: pathlib.Path) -> None:
    """An accelerator's products have 10 bits unless it is told otherwise."""
    rough = jax.default_backend() != "cpu" and jax.config.values["jax_default_matmul_precision"] is None
    numbers = load(golden_dir, "seca_consecutive_updates")
    halved = {k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in numbers.items()}
    replay(halved, 2e-2 if rough else 1e-5)


@pytest.mark.slow
def test_consecutive_orders_and_advantages(golden_dir: pathlib.Path, float64: None) -> None:
    """Targets and values by the critics before each update; orders, prefixes and advantages by that after its step."""
    numbers = load(golden_dir, "seca_consecutive_updates")
    config = consecutive_config(numbers)
    agent = actor(numbers)
    versions = [critic(numbers)]
    versions += [critic(at(numbers, "critic_after_", k), "critic_after_") for k in range(numbers["rewards"].shape[0])]
    for k in range(numbers["rewards"].shape[0]):
        batch = episodes(numbers, k)
        packed = pack(batch.valid, CHUNK)
        filled = np.arange(batch.valid.shape[1] + 1) <= numbers["episode_lengths"][k][:, None]
        target = versions[int(numbers["target_critic_version_before"][k])]
        targets = regression_targets(target, batch, packed, config.gamma, config.td_lambda, "bootstrap")
        found = critic_gradient(versions[k], targets, batch, packed, batch.valid.sum().astype(float), None)
        stepped, mask = versions[k + 1], numbers["mask"][k] > 0
        assert_close(taken_values(target, batch, packed), numbers["target_critic_values"][k], filled)
        assert_close(targets, numbers["td_lambda_targets"][k], mask)
        assert_close(found.taken, numbers["critic_values_taken"][k], mask)
        n_agents = batch.actions.shape[2]
        judging = Judging(SWEPT, by_gradients(config.path))
        judged = judge(stepped, to_judge(agent, batch), judging, jnp.zeros(n_agents))
        values = prefix_values(stepped, batch, acting_over(agent, batch).probs, judged.order)
        assert_close(values, numbers["prefix_values_ig_order"][k], mask)
        assert judged.contribution is not None
        assert_close(judged.contribution[:, 0], numbers["ig_contributions"][k])
        np.testing.assert_array_equal(np.asarray(judged.order)[:, 0], numbers["ig_order"][k])
        assert_close(judged.advantage, numbers["advantage_ig_order"][k], mask)
        agent = actor(at(numbers, "actor_after_", k), "actor_after_")
