"""COMA on particle toys, and other advantages on its critics: against plain loops, and what each reduces to."""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from batches import random_episodes
from particles import CONFIG, SPEC, A, N, episodes_of, plain_q, transitions

from seca.algos import coma_mpe
from seca.envs import registry
from seca.learning.told_critics import Advantage, advantages, team_value, told_all, values_of_draws
from seca.learning.transitions import Transitions
from seca.nets.stacked import AgentMLP
from seca.train.iterate import make_iterate, spread
from seca.train.state import init_state


def one_batch() -> Transitions:
    return jax.tree.map(lambda x: x[3:10], transitions([episodes_of()]))


@pytest.mark.slow
@pytest.mark.parametrize("shared", [False, True])
def test_gradient_steps_are_those_of_one_adam_for_each_agent(shared: bool) -> None:
    """Each with its own loss, its gradient clipped entry by entry; on one network where they share it."""
    config = dataclasses.replace(CONFIG, shared=shared, critic_epochs=1, critic_lr=1e-2, actor_lr=1e-2, clip=0.05)
    learner, batch, key = coma_mpe.init(jax.random.key(1), SPEC, config), one_batch(), jax.random.key(5)
    _, target_key = jax.random.split(key)
    [targets] = coma_mpe.targets_of(learner.actors.target, learner.critics.target, batch, target_key, config)
    after = coma_mpe.learn(learner, batch, key, config)

    def alone(net: AgentMLP, agent: int) -> AgentMLP:
        return jax.tree.map(lambda x: x[agent], net)

    def together(nets: list[AgentMLP]) -> AgentMLP:
        return jax.tree.map(lambda *x: jnp.stack(x), *nets)

    def plain(before: AgentMLP, loss_of: Any, lr: float) -> AgentMLP:
        parts: list[Any] = [alone(before, agent) for agent in range(N)]
        gradients = [jax.grad(lambda own, i=i: loss_of(together([*parts[:i], own, *parts[i + 1 :]]), i))(parts[i])
                     for i in range(N)]  # fmt: skip
        for agent, gradient in enumerate(gradients):
            adam = optax.adam(lr)
            clipped = jax.tree.map(lambda g: jnp.clip(g, -config.clip, config.clip), gradient)
            moves, _ = adam.update(clipped, adam.init(parts[agent]))
            for who in range(N) if shared else (agent,):
                parts[who] = optax.apply_updates(parts[who], moves)
        return together(parts)

    def critic_loss(net: AgentMLP, agent: int) -> jax.Array:
        [q] = values_of_draws(net, batch.obs, batch.actions[None])
        q = q[:, agent]
        return ((q[jnp.arange(7), batch.actions[:, agent]] - targets[:, agent]) ** 2).mean()

    critics = plain(learner.critics.params, critic_loss, config.critic_lr)
    for ours, theirs in zip(jax.tree.leaves(after.critics.params), jax.tree.leaves(critics), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    logits = jnp.where(batch.avail, learner.actors.params(batch.obs), -1e9)
    probs, order = jax.nn.softmax(logits), jnp.arange(N)
    advantage = advantages(after.critics.params, batch.obs, probs, batch.actions, order, "counterfactual")

    def actor_loss(net: AgentMLP, agent: int) -> jax.Array:
        log = jax.nn.log_softmax(jnp.where(batch.avail, net(batch.obs), -1e9))[:, agent]
        gain = (advantage[:, agent] * log[jnp.arange(7), batch.actions[:, agent]]).mean()
        return -gain + config.entropy_coef * (jnp.exp(log) * jnp.where(log > -1e8, log, 0)).sum()

    actors = plain(learner.actors.params, actor_loss, config.actor_lr)
    for ours, theirs in zip(jax.tree.leaves(after.actors.params), jax.tree.leaves(actors), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        if shared:
            assert (np.asarray(ours) == np.asarray(ours)[:1]).all()


def test_ends_and_next_actions() -> None:
    """r where the episode ended, else with the target's value of actions that the target actors draw."""
    config = dataclasses.replace(CONFIG, gamma=0.9)
    learner, batch = coma_mpe.init(jax.random.key(1), SPEC, config), one_batch()
    forced = dataclasses.replace(batch, next_avail=jax.nn.one_hot(jnp.ones((7, N), jnp.int32), A).astype(bool))
    draws = coma_mpe.targets_of(learner.actors.target, learner.critics.target, forced, jax.random.key(0), config)
    assert draws.shape == (3, 7, N) and (np.ptp(draws, axis=0) == 0).all()  # There is one action to draw.
    found = draws[0]
    assert bool(batch.ended.any()) and not bool(batch.ended.all())
    onehot = np.eye(A)[1]
    for row, agent in itertools.product(range(7), range(N)):
        obs = np.asarray(batch.next_obs)[row]
        q = plain_q(learner.critics.target, obs, agent, dict.fromkeys(range(N), onehot))[1]
        expected = float(batch.reward[row]) + (0.0 if batch.ended[row] else 0.9 * q)
        assert float(found[row, agent]) == pytest.approx(expected, abs=2e-5)


def test_options_that_make_no_sense() -> None:
    """More joint actions than can be listed, and an order that nobody asks for."""
    exact = dataclasses.replace(CONFIG, advantage="exact")
    for n_agents, n_actions, joint in ((7, 5, "15,625"), (5, 12, "20,736")):
        spec = dataclasses.replace(SPEC, n_agents=n_agents, n_actions=n_actions)
        with pytest.raises(ValueError, match=f"`advantage` is exact but in `env` test .* {joint} joint actions"):
            coma_mpe.coma_mpe("x", spec, exact)
    for advantage in ("counterfactual", "independent"):
        with pytest.raises(ValueError, match=f"`order` is random but `advantage` {advantage} asks for none"):
            coma_mpe.coma_mpe("x", SPEC, dataclasses.replace(CONFIG, advantage=advantage, order="random"))


ONE_STEP = dataclasses.replace(
    CONFIG, batch=24, hidden=16, actor_lr=2e-2, critic_lr=2e-2, entropy_coef=1e-4, target_interval=24
)


def trained(advantage: Advantage, devices: int, iterations: int) -> tuple[Any, list[float]]:
    """State and mean returns of a training on a matrix game, whose batches of 16 steps are none of 24."""
    env = registry.make("matrix/additive")
    algorithm = coma_mpe.coma_mpe("x", env.spec, dataclasses.replace(ONE_STEP, advantage=advantage))
    used = jax.devices()[:devices]
    state, iterate = spread(init_state(algorithm, 1), used), make_iterate(env, algorithm, 16, used)
    returns = []
    for _ in range(iterations):
        state, metrics = iterate(state)
        returns.append(float(metrics["return_mean"]))
    return state, returns


@pytest.mark.slow
@pytest.mark.parametrize("advantage", ["counterfactual", "sequential"])
def test_it_learns(advantage: Advantage) -> None:
    """Three agents whose rewards add up: from the 1.5 of chance to near 3, which is all there is."""
    _, returns = trained(advantage, 1, 200)
    assert np.mean(returns[:10]) < 2 < 2.8 < np.mean(returns[-10:])


@pytest.mark.slow
def test_any_number_of_devices_learns_the_same() -> None:
    """Every device learns from the episodes of all, in the same order."""
    one, two = (trained("sequential", devices, 5)[0].learner for devices in (1, 2))
    assert int(one.updates) == int(two.updates) == 3 and int(one.count) == 8
    for ours, theirs in zip(*map(jax.tree.leaves, (one, two)), strict=True):
        np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-6)


@pytest.mark.slow
def test_claims_are_the_advantages_of_the_steps() -> None:
    episodes = random_episodes(garbage=5.0)
    spec = dataclasses.replace(
        SPEC, n_agents=episodes.obs.shape[2], n_actions=episodes.avail.shape[3], obs_size=episodes.obs.shape[3]
    )
    algorithm = coma_mpe.coma_mpe("x", spec, dataclasses.replace(CONFIG, advantage="sequential"))
    learner = algorithm.init(jax.random.key(0))
    assert algorithm.claims is not None and algorithm.claims.kind == "sequential"
    claim = algorithm.claims.fn(learner, episodes, jnp.uint32(0), jax.random.key(1))
    assert claim.order is not None
    valid = np.asarray(episodes.valid)
    assert (np.asarray(claim.credit)[~valid] == 0).all() and np.isfinite(claim.credit).all()
    [b, t] = np.argwhere(valid)[3]
    logits = learner.actors.params(episodes.obs[b, t])
    probs = jax.nn.softmax(jnp.where(episodes.avail[b, t], logits, -1e9))
    rows = (x[None] for x in (episodes.obs[b, t], probs, episodes.actions[b, t].astype(jnp.int32)))
    obs, policy, action = rows
    order = jnp.arange(spec.n_agents)
    alone = advantages(learner.critics.params, obs, policy, action, order, "sequential")
    np.testing.assert_allclose(claim.credit[b, t], alone[0], atol=1e-5)
    assert claim.value is not None and claim.team is not None and claim.policy is not None
    value, critics = team_value(learner.critics.params, obs, policy), learner.critics.params
    np.testing.assert_allclose(claim.value[b, t], value[0], atol=1e-5)
    np.testing.assert_allclose(claim.policy[b, t], probs, atol=1e-6)
    for b, t in np.argwhere(np.asarray(episodes.terminated)):
        taken = jax.nn.one_hot(episodes.actions[b, t], spec.n_actions)
        q = critics(told_all(episodes.obs[b, t], taken))[jnp.arange(spec.n_agents), episodes.actions[b, t]]
        np.testing.assert_allclose(claim.team[b, t], episodes.reward[b, t] - q.mean(), atol=1e-4)


@pytest.mark.slow
def test_order_by_contribution() -> None:
    """Integrated gradients of the mean of sum_a pi_i(a) Q_i(a | pi of the others), against a plain loop."""
    config = dataclasses.replace(CONFIG, advantage="sequential", order="gradients")
    learner, batch = coma_mpe.init(jax.random.key(1), SPEC, config), one_batch()
    actors, critics = learner.actors.params, learner.critics.params
    real = jnp.arange(7) < 5
    order, contribution = coma_mpe.order_of(jax.random.key(0), actors, critics, batch, real, config)

    def value(obs: jax.Array, policies: jax.Array) -> jax.Array:
        found = jnp.zeros(())
        for agent in range(N):
            told = jnp.concatenate([policies[j] for j in range(N) if j != agent])
            x = jnp.concatenate([obs.reshape(-1), obs[agent], told])
            for number, layer in enumerate(critics.layers):
                x = layer.weight[agent] @ x + layer.bias[agent]
                x = jax.nn.relu(x) if number < 2 else x
            found = found + policies[agent] @ x / N
        return found

    def policies(obs: jax.Array, avail: jax.Array) -> jax.Array:
        return jax.nn.softmax(jnp.where(avail, actors(obs), -1e9))

    expected = np.zeros(N)
    for row in range(5):
        now, after = policies(batch.obs[row], batch.avail[row]), policies(batch.next_obs[row], batch.next_avail[row])
        for point in range(5):
            share = point / 5
            at = batch.obs[row] + share * (batch.next_obs[row] - batch.obs[row]), now + share * (after - now)
            slope = jax.grad(value, argnums=1)(*at)
            expected += np.asarray((slope * (now - after)).sum(axis=-1)) / 5
    assert contribution is not None
    np.testing.assert_allclose(contribution, expected, atol=1e-5)
    np.testing.assert_array_equal(order, np.argsort(-expected))
    assert not np.array_equal(order, np.arange(N))  # Else it shows nothing.
    forced = [coma_mpe.learn(learner, batch, jax.random.key(2), c).actors.params.layers[0].weight for c in (
        config, dataclasses.replace(config, order="index"))]  # fmt: skip
    assert float(jnp.abs(forced[0] - forced[1]).max()) > 0


@pytest.mark.slow
def test_claims_have_each_episodes_order_and_contributions() -> None:
    """Padding counts for nothing."""
    config = dataclasses.replace(CONFIG, advantage="sequential", order="gradients")
    learner, episodes = coma_mpe.init(jax.random.key(1), SPEC, config), episodes_of()
    claim = coma_mpe.claim(learner, episodes, jnp.uint32(0), jax.random.key(0), config)
    other = dataclasses.replace(
        episodes, obs=jnp.where(jnp.arange(7)[:, None, None] > episodes.length[:, None, None, None], 9.0, episodes.obs)
    )
    again = coma_mpe.claim(learner, other, jnp.uint32(0), jax.random.key(0), config)
    assert claim.order is not None and claim.contribution is not None and again.order is not None
    for b, length in enumerate(episodes.length):
        one = jax.tree.map(lambda x, b=b, n=length: x[b, :n], coma_mpe.steps_of(episodes, "bootstrap"))
        actors, critics = learner.actors.params, learner.critics.params
        order, contribution = coma_mpe.order_of(
            jax.random.key(0), actors, critics, one, jnp.ones(int(length), bool), config
        )
        assert contribution is not None
        for t in range(int(length)):
            np.testing.assert_array_equal(claim.order[b, t], order)
            np.testing.assert_array_equal(again.order[b, t], order)
            np.testing.assert_allclose(claim.contribution[b, t], contribution, atol=1e-5)
