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
from seca.algos.coma_mpe import Transitions
from seca.envs import registry
from seca.nets.stacked import AgentMLP
from seca.train.iterate import make_iterate, spread
from seca.train.state import init_state


@pytest.mark.parametrize("size", [7, 8, 16, 17])
def test_every_step_is_learned_from_once_and_in_order(size: int) -> None:
    """16 steps a batch, and updates of fewer that do not divide them, of half, of as many, and of one more."""
    many, config = [episodes_of(seed) for seed in range(3)], dataclasses.replace(CONFIG, batch=size)
    learner = expected = coma_mpe.init(jax.random.key(0), SPEC, config)
    rows = transitions(many)
    update = jax.jit(lambda learner, episodes, key: coma_mpe.update(learner, episodes, None, key, None, SPEC, config))
    keys = []
    for number, episodes in enumerate(many):
        key, before = jax.random.key(10 + number), int(learner.updates)
        learner, measures = update(learner, episodes, key)
        keys += [jax.random.fold_in(key, n) for n in range(int(learner.updates) - before)]
        assert int(learner.updates) * size + int(learner.count) == 16 * (number + 1) and int(learner.count) < size
        assert int(measures["gradient_steps"]) == 4 * int(learner.updates)
    learn = jax.jit(lambda learner, part, key: coma_mpe.learn(learner, part, key, config))
    for number, key in enumerate(keys):
        part = jax.tree.map(lambda x, n=number: x[size * n : size * (n + 1)], rows)
        expected = learn(expected, part, key)
    assert len(keys) == 48 // size
    for nets in ("actors", "critics"):
        for ours, theirs in zip(*(jax.tree.leaves(getattr(x, nets)) for x in (learner, expected)), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
    waits = jax.tree.map(lambda x: x[: int(learner.count)], learner.waiting)
    for ours, theirs in zip(jax.tree.leaves(waits), jax.tree.leaves(rows), strict=True):
        np.testing.assert_array_equal(ours, theirs[48 // size * size :])


def one_batch() -> Transitions:
    return jax.tree.map(lambda x: x[3:10], transitions([episodes_of()]))


@pytest.mark.parametrize("shared", [False, True])
def test_gradient_steps_are_those_of_one_adam_for_each_agent(shared: bool) -> None:
    """Each with its own loss, its gradient clipped entry by entry; on one network where they share it."""
    config = dataclasses.replace(CONFIG, shared=shared, critic_epochs=1, critic_lr=1e-2, actor_lr=1e-2, clip=0.05)
    learner, batch, key = coma_mpe.init(jax.random.key(1), SPEC, config), one_batch(), jax.random.key(5)
    _, target_key = jax.random.split(key)
    [draw] = jax.random.split(target_key, 1)
    targets = coma_mpe.targets_of(learner.actors.target, learner.critics.target, batch, draw, config.gamma)
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
        q = coma_mpe.values_of(net, batch.obs, batch.actions)[:, agent]
        return ((q[jnp.arange(7), batch.actions[:, agent]] - targets[:, agent]) ** 2).mean()

    critics = plain(learner.critics.params, critic_loss, config.critic_lr)
    for ours, theirs in zip(jax.tree.leaves(after.critics.params), jax.tree.leaves(critics), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    logits = jnp.where(batch.avail, learner.actors.params(batch.obs), -1e9)
    probs, order = jax.nn.softmax(logits), jnp.arange(N)
    advantage = coma_mpe.advantages(after.critics.params, batch.obs, probs, batch.actions, order, "counterfactual")

    def actor_loss(net: AgentMLP, agent: int) -> jax.Array:
        log = jax.nn.log_softmax(jnp.where(batch.avail, net(batch.obs), -1e9))[:, agent]
        gain = (advantage[:, agent] * log[jnp.arange(7), batch.actions[:, agent]]).mean()
        return -gain + config.entropy_coef * (jnp.exp(log) * jnp.where(log > -1e8, log, 0)).sum()

    actors = plain(learner.actors.params, actor_loss, config.actor_lr)
    for ours, theirs in zip(jax.tree.leaves(after.actors.params), jax.tree.leaves(actors), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        if shared:
            assert (np.asarray(ours) == np.asarray(ours)[:1]).all()


def test_targets_are_mixed_when_due() -> None:
    """Every 14 env steps, so with every second update of 7."""
    learner, batch = coma_mpe.init(jax.random.key(1), SPEC, CONFIG), one_batch()
    first = coma_mpe.learn(learner, batch, jax.random.key(0), CONFIG)
    second = coma_mpe.learn(first, batch, jax.random.key(1), CONFIG)
    for nets in ("actors", "critics"):
        start, once, twice = (getattr(x, nets) for x in (learner, first, second))
        for old, kept, mixed, new in zip(
            *map(jax.tree.leaves, (start.target, once.target, twice.target, twice.params)), strict=True
        ):
            np.testing.assert_array_equal(old, kept)
            np.testing.assert_allclose(mixed, 0.9 * old + 0.1 * new, atol=1e-6)


def test_ends_and_next_actions() -> None:
    """r where the episode ended, else with the target's value of actions that the target actors draw."""
    learner, batch = coma_mpe.init(jax.random.key(1), SPEC, CONFIG), one_batch()
    forced = dataclasses.replace(batch, next_avail=jax.nn.one_hot(jnp.ones((7, N), jnp.int32), A).astype(bool))
    found = coma_mpe.targets_of(learner.actors.target, learner.critics.target, forced, jax.random.key(0), 0.9)
    assert bool(batch.ended.any()) and not bool(batch.ended.all())
    onehot = np.eye(A)[1]
    for row, agent in itertools.product(range(7), range(N)):
        obs = np.asarray(batch.next_obs)[row]
        q = plain_q(learner.critics.target, obs, agent, dict.fromkeys(range(N), onehot))[1]
        expected = float(batch.reward[row]) + (0.0 if batch.ended[row] else 0.9 * q)
        assert float(found[row, agent]) == pytest.approx(expected, abs=2e-5)


def test_policies_have_no_memory_and_keep_to_the_mask() -> None:
    env = registry.make("mpe/predator-prey")
    algorithm = coma_mpe.coma_mpe("coma-mpe", env.spec, CONFIG)
    learner = algorithm.init(jax.random.key(0))
    _, shown = env.reset(jax.random.split(jax.random.key(1), 64))
    shown = dataclasses.replace(shown, avail=shown.avail.at[:, 1, 2:].set(False))
    keys, params = jax.random.split(jax.random.key(2), 64), algorithm.policy(learner)
    sampled = algorithm.act(params, algorithm.initial_carry(64), shown, keys, jnp.uint32(0), False)
    assert sampled.carry == () and algorithm.told((), sampled.actions) == ()
    assert np.asarray(sampled.actions)[:, 1].max() == 1 and len(np.unique(sampled.actions)) == 5
    greedy = algorithm.act(params, (), shown, keys, jnp.uint32(0), True).actions
    logits = jnp.where(shown.avail, params(shown.obs), -jnp.inf)
    np.testing.assert_array_equal(greedy, logits.argmax(axis=-1))


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


def trained(advantage: coma_mpe.Advantage, devices: int, iterations: int) -> tuple[Any, list[float]]:
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
def test_it_learns(advantage: coma_mpe.Advantage) -> None:
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
    alone = coma_mpe.advantages(learner.critics.params, obs, policy, action, order, "sequential")
    np.testing.assert_allclose(claim.credit[b, t], alone[0], atol=1e-5)
