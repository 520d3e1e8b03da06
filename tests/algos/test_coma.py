"""COMA with its own critic, against PyMARL's numbers."""

import dataclasses
import functools
import pathlib

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from batches import SPEC, in_float64, initial, random_episodes
from learners import plain_acting
from reference import Numbers, actor, assert_close, assert_trees_close, episodes, float64_fixture, linear, load

from seca.algos.coma import (
    ComaConfig,
    advantages,
    coma,
    critic_inputs,
    init,
    step_through_time,
)
from seca.distributions import Categorical, floored_policy
from seca.learning.acting import acting_over
from seca.learning.agent_critic import outputs_of, seen_in, squared_errors, targets_of
from seca.learning.policy_gradient import PolicyLoss, actor_gradient
from seca.learning.rows import pack
from seca.learning.trained import clipped_rmsprop, fresh
from seca.nets.mixers import Deep
from seca.policies import FloorConfig, floored_log_probs, of_taken
from seca.returns import lambda_returns

pytestmark = pytest.mark.slow

_ = float64_fixture
CONFIG = ComaConfig(actor_hidden=8, critic_hidden=16)


@pytest.fixture(name="numbers")
def numbers_fixture(golden_dir: pathlib.Path) -> Numbers:
    return load(golden_dir, "coma_pymarl")


def coma_critic(numbers: Numbers, prefix: str = "critic_") -> Deep:
    return Deep(tuple(linear(numbers, f"{prefix}fc{k}") for k in (1, 2, 3)))


def policy(numbers: Numbers):
    floored = functools.partial(floored_log_probs, epsilon=jnp.asarray(numbers["epsilon"]))
    return lambda outputs, avail: Categorical(floored(outputs, avail))


def targets(numbers: Numbers):
    batch = episodes(numbers)
    q = outputs_of(coma_critic(numbers, "target_critic_"), critic_inputs, seen_in(batch), pack(batch.valid, 5))
    returns = functools.partial(lambda_returns, gamma=float(numbers["gamma"]), lam=float(numbers["td_lambda"]))
    return q, targets_of(of_taken(q, batch.actions), batch, "bootstrap", returns)


def stepped(numbers: Numbers, optimiser: optax.GradientTransformation):
    batch, goal = episodes(numbers), jnp.asarray(numbers["td_lambda_targets"])
    run = jax.jit(lambda critic: step_through_time(critic, seen_in(batch), goal, batch.valid, optimiser, None))
    return run(fresh(coma_critic(numbers), optimiser))


def test_policies_have_a_floor(numbers: Numbers, float64: None) -> None:
    found = acting_over(actor(numbers), episodes(numbers), policy(numbers)).probs
    assert_close(found[:, :-1], numbers["action_probs"], numbers["mask"] > 0)


def test_critic_inputs_and_targets(numbers: Numbers, float64: None) -> None:
    filled, mask = numbers["filled"] > 0, numbers["mask"] > 0
    assert_close(critic_inputs(seen_in(episodes(numbers))), numbers["critic_inputs"], filled)
    q, goal = targets(numbers)
    assert_close(q, numbers["target_q_values"], filled)
    assert_close(goal, numbers["td_lambda_targets"], mask)


def test_frozen_critic(numbers: Numbers, float64: None) -> None:
    """Values, losses and a gradient at every time when no step moves the critic."""
    found = stepped(numbers, optax.set_to_zero())
    mask = numbers["mask"] > 0
    assert_close(found.q, numbers["q_values"], mask)
    assert_close(found.losses, numbers["critic_loss_per_time"])
    middle = mask.shape[1] // 2
    batch = episodes(numbers)
    row = jax.tree.map(lambda x: x[:, middle], (seen_in(batch), jnp.asarray(numbers["td_lambda_targets"]), batch.valid))

    def loss(critic: Deep) -> jax.Array:
        seen, goal, counts = row
        losses, _ = squared_errors(critic_inputs, of_taken, critic, (), seen, goal)
        return jnp.where(counts[:, None], losses, 0).sum()

    gradient = jax.jit(jax.grad(loss))(coma_critic(numbers))
    count = mask[:, middle].sum() * batch.actions.shape[2]
    for k, layer in enumerate(gradient.layers, start=1):
        assert_close(layer.bias / count, numbers[f"critic_gradient_middle_fc{k}_bias"])
        if k != 2:
            assert_close(layer.weight / count, numbers[f"critic_gradient_middle_fc{k}_weight"])


def test_actor_gradient(numbers: Numbers, float64: None) -> None:
    batch, agent, mask = episodes(numbers), actor(numbers), numbers["mask"] > 0
    acting = acting_over(agent, batch, policy(numbers))
    credit = advantages(jnp.asarray(numbers["q_values"]), acting.probs[:, :-1], batch.actions[:, :-1])
    assert_close(credit, numbers["advantage"], mask)
    found = actor_gradient(agent, PolicyLoss(policy=policy(numbers)), batch, acting, credit, None)
    assert_close(found.loss, numbers["actor_loss"])
    assert_close(optax.tree.norm(found.gradient), numbers["actor_gradient_norm"])
    assert_trees_close(found.gradient, actor(numbers, "actor_gradient_"))


def test_critic_steps_through_time(numbers: Numbers, float64: None) -> None:
    """The release's schedule: a step for each time, each value read between the steps."""
    found = stepped(numbers, clipped_rmsprop(5e-4, 10.0))
    batch, mask = episodes(numbers), numbers["mask"] > 0
    assert_close(found.q, numbers["stepped_q_values"], mask)
    assert_close(found.losses, numbers["stepped_critic_loss_per_time"])
    acting = acting_over(actor(numbers), batch, policy(numbers))
    credit = advantages(found.q, acting.probs[:, :-1], batch.actions[:, :-1])
    assert_close(credit, numbers["stepped_advantage"], mask)
    loss = actor_gradient(actor(numbers), PolicyLoss(policy=policy(numbers)), batch, acting, credit, None).loss
    assert_close(loss, numbers["stepped_actor_loss"])


def test_advantages_average_to_nothing() -> None:
    """sum_a pi_i(a) A_i(a) = 0 whatever the critic says."""
    rng = np.random.default_rng(0)
    q, probs = rng.normal(size=(2, 3, 4, 5)), rng.dirichlet(np.ones(5), size=(2, 3, 4))
    each = [advantages(jnp.asarray(q), jnp.asarray(probs), jnp.full((2, 3, 4), a)) for a in range(5)]
    np.testing.assert_allclose(sum(probs[..., a] * np.asarray(each[a]) for a in range(5)), 0, atol=1e-6)


@pytest.mark.every
def test_target_is_copied_once_per_update_when_due(float64: None) -> None:
    """Seven critic steps per batch and an interval of 10: copies after the 2nd and the 4th batch, counted anew."""
    config = ComaConfig(actor_hidden=8, critic_hidden=16, target_interval=10)
    learner, batch = in_float64(initial(init, jax.random.key(0), SPEC, config)), random_episodes()
    update = jax.jit(functools.partial(coma("coma", SPEC, config).update, axis=None))
    copied = []
    for k in range(4):
        stepped, metrics = update(learner, batch, None, jax.random.key(k))
        expected = stepped.critic.params if k in (1, 3) else learner.critic.target
        assert_trees_close(stepped.critic.target, expected, 0.0)
        learner = stepped
        copied.append(int(learner.copied_at))
    assert copied == [0, 14, 14, 28]
    assert int(learner.env_steps) == 4 * int(batch.valid.sum()) and int(metrics["gradient_steps"]) == 28 + 4


def plain_critic_steps(learner, batch):
    """Targets of the target critic; then one step per time, last first, each reading what the later ones left."""
    seen, valid, index = seen_in(batch), batch.valid, batch.actions[..., None]
    value = lambda critic: jnp.take_along_axis(critic(critic_inputs(seen)), index, axis=-1)[..., 0]  # noqa: E731
    returns = functools.partial(lambda_returns, gamma=0.99, lam=0.8)
    each = jax.vmap(jax.vmap(returns, in_axes=(None, None, None, -1), out_axes=-1))
    goal = each(batch.reward, batch.terminated, valid, value(learner.critic.target))

    def loss(critic, t: int):
        error = jnp.where(valid[:, t, None], value(critic)[:, t] - goal[:, t], 0)
        return (error**2).sum() / (valid[:, t].sum() * SPEC.n_agents)

    critic, opt, rows = learner.critic.params, learner.critic.opt, []
    slope_of, step = jax.jit(jax.grad(loss)), jax.jit(clipped_rmsprop(5e-4, 10.0).update)
    for t in reversed(range(SPEC.episode_limit)):
        rows.append(critic(critic_inputs(seen))[:, t])
        moves, opt = step(slope_of(critic, t), opt)
        critic = eqx.apply_updates(critic, moves)
    return critic, jnp.stack(rows[::-1], axis=1)


def test_update_equals_the_plain_one(float64: None) -> None:
    """The whole shipped update, with a target that is not the critic, against plain loops and autodiff."""
    config = dataclasses.replace(CONFIG, clip_norm=10.0)
    learner = in_float64(initial(init, jax.random.key(2), SPEC, config))
    halved = jax.tree.map(lambda x: 0.5 * x, learner.critic.params)
    learner = dataclasses.replace(learner, critic=dataclasses.replace(learner.critic, target=halved))
    batch = random_episodes(garbage=1.0)
    found, _ = jax.jit(functools.partial(coma("coma", SPEC, config).update, axis=None))(
        learner, batch, None, jax.random.key(0)
    )
    critic, q = plain_critic_steps(learner, batch)
    assert_trees_close(found.critic.params, critic, 1e-9)
    policy = floored_policy(learner.env_steps, config.floor)
    probs = plain_acting(learner.actor.params, batch, policy).probs[:, :-1]
    taken = batch.actions[:, :-1, :, None]
    gained = jnp.take_along_axis(q, taken, axis=-1)[..., 0] - (probs * q).sum(axis=-1)

    def loss(actor):
        chosen = jnp.take_along_axis(plain_acting(actor, batch, policy).probs[:, :-1], taken, axis=-1)[..., 0]
        mask = batch.valid[..., None]
        logs = jnp.log(jnp.where(mask, chosen, 1))
        return -jnp.where(mask, logs * gained, 0).sum() / (batch.valid.sum() * SPEC.n_agents)

    moves, _ = jax.jit(clipped_rmsprop(config.actor_lr, config.clip_norm).update)(
        jax.jit(jax.grad(loss))(learner.actor.params), learner.actor.opt
    )
    assert_trees_close(found.actor.params, eqx.apply_updates(learner.actor.params, moves), 1e-9)


@pytest.mark.parametrize("share", [-0.1, 1.5])
def test_bad_floors_are_refused_in_words(share: float) -> None:
    with pytest.raises(ValueError, match=rf"`floor.start` is {share}; it must lie in \[0, 1\]"):
        coma("coma", SPEC, ComaConfig(floor=FloorConfig(start=share)))
