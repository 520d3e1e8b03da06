"""IA2C: n-step targets against their definition, the update against plain differentiation, rewards' moments."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from batches import SIZES, SPEC, in_float64, initial, random_episodes
from learners import plain_acting
from reference import assert_close, assert_trees_close, float64_fixture
from tiers import cases

from seca.algos.ia2c import Ia2cConfig, RewardScale, critic_inputs, ia2c, init, with_rewards
from seca.learning.agent_critic import seen_in
from seca.learning.trained import clipped_adam
from seca.nets.agents import RecurrentAgent
from seca.policies import entropy
from seca.types import EnvSpec, Episodes

pytestmark = pytest.mark.slow

_ = float64_fixture
CONFIG = Ia2cConfig(actor_hidden=8, critic_hidden=8, n_step=2, entropy_coef=0.05)


@pytest.mark.parametrize(
    ("size", "standardise"), cases([("one block", True), ("between blocks", False)], "between blocks")
)
def test_update_equals_autodiff(size: str, standardise: bool, float64: None) -> None:
    """Critic and actor of the shipped update against their losses over the padded batch.

    Standardised rewards have mean 0 and deviation 1 over all valid steps so far, those of the batch included.
    """
    config = dataclasses.replace(CONFIG, standardise_rewards=standardise)
    spec, lengths, seed = SIZES[size]
    learner, batch = (
        in_float64(initial(init, jax.random.key(0), spec, config)),
        random_episodes(seed, 1.0, lengths, spec),
    )
    earlier = random_episodes(seed + 1, 0.0, lengths, spec)
    learner = dataclasses.replace(
        learner,
        critic=dataclasses.replace(learner.critic, target=jax.tree.map(lambda x: 0.9 * x, learner.critic.params)),
        rewards=with_rewards(learner.rewards, earlier, None),
    )
    stepped, metrics = jax.jit(functools.partial(ia2c("ia2c", spec, config).update, axis=None))(
        learner, batch, None, jax.random.key(0)
    )
    mask, samples = batch.valid[..., None], batch.valid.sum() * spec.n_agents
    inputs = critic_inputs(seen_in(batch))
    target = np.asarray(learner.critic.target(inputs))[..., 0]
    reward, ended = np.asarray(batch.reward), np.asarray(batch.terminated.any(axis=1))
    if standardise:
        seen = np.concatenate([np.asarray(b.reward)[np.asarray(b.valid)] for b in (earlier, batch)])
        reward = (reward - seen.mean()) / seen.std()
    goal = np.zeros((*reward.shape, spec.n_agents))
    for b, length in enumerate(np.asarray(batch.length)):
        for i in range(spec.n_agents):
            goal[b, :, i] = naive.n_step(reward[b], bool(ended[b]), int(length), target[b, :, i], 0.99, 2)
    goal = jnp.asarray(goal)

    def critic_loss(critic) -> jax.Array:
        return jnp.where(mask, (critic(inputs)[:, :-1, :, 0] - goal) ** 2, 0).sum() / samples

    advantage = goal - learner.critic.params(inputs)[:, :-1, :, 0]

    def actor_loss(actor) -> jax.Array:
        probs = plain_acting(actor, batch).probs[:, :-1]
        taken = jnp.take_along_axis(probs, batch.actions[:, :-1, :, None], axis=-1)[..., 0]
        return -jnp.where(mask, jnp.log(taken) * advantage + 0.05 * entropy(probs), 0).sum() / samples

    for name, loss, before, after in (
        ("critic_loss", critic_loss, learner.critic, stepped.critic),
        ("actor_loss", actor_loss, learner.actor, stepped.actor),
    ):
        value, gradient = jax.jit(jax.value_and_grad(loss))(before.params)
        assert_close(metrics[name], np.asarray(value))
        moves, _ = jax.jit(clipped_adam(5e-4, 10.0).update)(gradient, before.opt)
        assert_trees_close(after.params, jax.tree.map(jnp.add, before.params, moves), 1e-8)
    mixed = jax.tree.map(lambda old, new: 0.99 * old + 0.01 * new, learner.critic.target, stepped.critic.params)
    assert_trees_close(stepped.critic.target, mixed, 1e-12)

    # What is claimed is what was followed, rewards being in the scale that the learner has.
    algorithm = ia2c("ia2c", spec, config)
    assert algorithm.claims is not None and algorithm.claims.kind is None and algorithm.claims.says
    counted = dataclasses.replace(learner, rewards=stepped.rewards)
    claim = jax.jit(algorithm.claims.fn)(counted, batch, jnp.uint32(0), jax.random.key(0))
    followed, valid = np.where(mask, advantage, 0), np.asarray(batch.valid)
    np.testing.assert_allclose(claim.credit, followed, atol=1e-10)
    np.testing.assert_allclose(claim.team, followed.mean(axis=-1), atol=1e-10)
    own = np.asarray(learner.critic.params(inputs))[:, :-1, :, 0]
    np.testing.assert_allclose(np.asarray(claim.value)[valid], own.mean(axis=-1)[valid], atol=1e-10)


def test_before_any_reward_there_is_no_scale() -> None:
    """An untrained learner's claims are finite: rewards are as they are."""
    config = dataclasses.replace(CONFIG, standardise_rewards=True)
    learner, batch = initial(init, jax.random.key(0), SPEC, config), random_episodes()
    claims = [ia2c("ia2c", SPEC, one).claims for one in (config, CONFIG)]
    credits = [one.fn(learner, batch, jnp.uint32(0), jax.random.key(0)).credit for one in claims if one is not None]
    np.testing.assert_allclose(credits[0], credits[1], atol=1e-6)
    assert np.isfinite(credits[0]).all()


def test_a_bandit_gets_the_exact_policy_gradient(float64: None) -> None:
    """One agent, one step, each action taken as often as its policy does: the gradient is that of sum_a pi(a) r(a).

    Whatever the value says: as a baseline it cancels.
    """
    config = dataclasses.replace(CONFIG, entropy_coef=0.0)
    spec, pays = EnvSpec("bandit", "1", 1, 4, 1, 1, 1), jnp.asarray([0.3, -1.0, 2.0, 0.5])
    learner = in_float64(initial(init, jax.random.key(0), spec, config))
    agent, head = learner.actor.params, learner.actor.params.head
    even = dataclasses.replace(head, weight=0 * head.weight, bias=0 * head.bias)
    actor = dataclasses.replace(learner.actor, params=dataclasses.replace(agent, head=even))
    critic = dataclasses.replace(learner.critic, params=jax.tree.map(lambda x: x + 0.1, learner.critic.params))
    learner = dataclasses.replace(learner, actor=actor, critic=critic)
    ended = jnp.ones((4, 1), bool)
    rows = jnp.ones((4, 2, 1), jnp.float64)
    actions = jnp.tile(jnp.arange(4)[:, None, None], (1, 2, 1))
    avail = jnp.ones((4, 2, 1, 4), bool)
    batch = Episodes(pays[:, None], ended, ~ended, ended, rows[..., None], rows, avail, actions)
    stepped, _ = jax.jit(functools.partial(ia2c("ia2c", spec, config).update, axis=None))(
        learner, batch, None, jax.random.key(0)
    )

    def expected_return(actor: RecurrentAgent) -> jax.Array:
        return -(plain_acting(actor, batch).probs[0, 0, 0] * pays).sum()

    gradient = jax.jit(jax.grad(expected_return))(actor.params)
    moves, _ = jax.jit(clipped_adam(5e-4, 10.0).update)(gradient, actor.opt)
    assert_trees_close(stepped.actor.params, jax.tree.map(jnp.add, actor.params, moves), 1e-8)
    assert float(plain_acting(stepped.actor.params, batch).probs[0, 0, 0, 2]) > 0.25


def test_moments_of_rewards_are_those_of_all_valid_steps(float64: None) -> None:
    scale = RewardScale(*(jnp.zeros(()) for _ in range(3)))
    seen = []
    for seed in range(3):
        batch = random_episodes(seed, garbage=5.0)
        scale = with_rewards(scale, batch, None)
        seen.append(np.asarray(batch.reward)[np.asarray(batch.valid)])
    everything = np.concatenate(seen)
    np.testing.assert_allclose(scale.mean, everything.mean(), atol=1e-12)
    np.testing.assert_allclose(scale.squares / scale.count, everything.var(), atol=1e-12)
