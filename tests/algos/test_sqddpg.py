"""SQDDPG: what is kept and drawn, its losses against plain loops, what its parts reduce to, and that it learns."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import BOXED, random_episodes
from particles import SPEC, A, N, episodes_of, transitions

from seca.algos import sqddpg
from seca.algos.sqddpg import SqddpgConfig
from seca.distributions import gaussian
from seca.envs import registry
from seca.learning.shapley_critics import drawn_orders, shares, told_alike
from seca.learning.transitions import Transitions, room, steps_of
from seca.train.iterate import make_iterate
from seca.train.state import init_state

CONFIG = SqddpgConfig(
    hidden=8, interval=7, batch=5, kept=16, critic_epochs=3, target_interval=14, init_std=0.5, orders=2
)


@pytest.mark.slow
@pytest.mark.parametrize("size", [7, 14, 16, 43])
def test_the_latest_steps_are_kept(size: int) -> None:
    """A ring written 7 at a time, of as many rows, twice as many, some between, and more than there are: 42 of 48."""
    config = dataclasses.replace(CONFIG, kept=size)
    many = [episodes_of(seed) for seed in range(3)]
    learner, rows = sqddpg.init(jax.random.key(0), SPEC, config), transitions(many)
    update = jax.jit(lambda learner, episodes, key: sqddpg.update(learner, episodes, None, key, None, config))
    counted = 0
    for number, episodes in enumerate(many):
        learner, measures = update(learner, episodes, jax.random.key(number))
        counted = int(measures["gradient_steps"])
    assert int(learner.updates) == 6 and int(learner.count) == 6 and counted == 24
    assert learner.kept is not None
    for ring, all_rows in zip(jax.tree.leaves(learner.kept), jax.tree.leaves(rows), strict=True):
        for step in range(max(0, 42 - size), 42):
            np.testing.assert_array_equal(ring[step % size], all_rows[step])


@pytest.mark.slow
def test_steps_not_yet_kept_are_never_drawn() -> None:
    """One update: 7 real rows of 16, the rest zeros, which would make the loss another."""
    learner = sqddpg.init(jax.random.key(0), SPEC, CONFIG)
    new = jax.tree.map(lambda x: x[:7], transitions([episodes_of()]))
    poisoned = jax.tree.map(lambda x: jnp.full_like(x, jnp.nan) if x.dtype == jnp.float32 else x, room(SPEC, 16))
    after = sqddpg.learn(dataclasses.replace(learner, kept=poisoned), new, jax.random.key(1), CONFIG)
    assert all(np.isfinite(x).all() for x in jax.tree.leaves((after.actors, after.critics)))


def test_losses_of_plain_loops() -> None:
    learner = sqddpg.init(jax.random.key(0), SPEC, CONFIG)
    batch = jax.tree.map(lambda x: x[3:8], transitions([episodes_of()]))
    now, later = (drawn_orders(jax.random.key(seed), 2, 5, N) for seed in (1, 2))
    actors, critics = learner.actors.params, learner.critics.params
    soft_actors, soft_critics = jax.tree.map(lambda x: 0.5 * x, (actors, critics))

    def policies(net: Any, obs: jax.Array, avail: jax.Array) -> jax.Array:
        return jax.nn.softmax(jnp.where(avail, net(obs), -1e9))

    found = sqddpg.td_errors(critics, soft_actors, soft_critics, batch, now, later, jax.random.key(0), CONFIG)
    next_probs = policies(soft_actors, batch.next_obs, batch.next_avail)
    worth = shares(soft_critics, batch.next_obs, told_alike(next_probs), later).sum(axis=1)
    taken = shares(critics, batch.obs, told_alike(jax.nn.one_hot(batch.actions, A)), now).sum(axis=1)
    errors = [
        float(batch.reward[b]) + (0 if batch.ended[b] else CONFIG.gamma * float(worth[b])) - float(taken[b])
        for b in range(5)
    ]
    assert bool(batch.ended.any())
    np.testing.assert_allclose(found, errors, rtol=1e-4, atol=1e-5)
    probs = np.asarray(policies(actors, batch.obs, batch.avail))
    loss, entropies = sqddpg.actor_loss(actors, critics, batch, now, jax.random.key(0), CONFIG)
    spread = -np.where(probs > 0, probs * np.log(np.where(probs > 0, probs, 1)), 0).sum(axis=-1)
    share = np.asarray(shares(critics, batch.obs, told_alike(jnp.asarray(probs)), now))
    assert float(loss) == pytest.approx(-share.mean(axis=0).sum() - CONFIG.entropy_coef * spread.sum(), rel=1e-4)
    np.testing.assert_allclose(entropies, spread.mean(axis=0), atol=1e-5)


def boxed_steps() -> Transitions:
    """Real env steps with continuous actions."""
    episodes = random_episodes(spec=BOXED)
    return jax.tree.map(lambda x: x[episodes.valid], steps_of(episodes, "bootstrap"))


def test_losses_of_continuous_actions() -> None:
    """Critics are told an action drawn from each policy; what is drawn depends on no order."""
    learner = sqddpg.init(jax.random.key(0), BOXED, CONFIG)
    batch = jax.tree.map(lambda x: x[3:8], boxed_steps())
    now, later = (drawn_orders(jax.random.key(seed), 2, 5, N) for seed in (1, 2))
    actors, critics, luck = learner.actors.params, learner.critics.params, jax.random.key(5)
    soft_actors, soft_critics = jax.tree.map(lambda x: 0.5 * x, (actors, critics))
    noise = jax.random.normal(luck, (5, N, 2))

    def would(net: Any, obs: jax.Array, avail: jax.Array) -> jax.Array:
        policy = gaussian(net(obs), avail)
        action = policy.mean + jnp.exp(policy.log_std) * noise
        return jnp.concatenate([action, jnp.zeros_like(action)], axis=-1)

    found = sqddpg.td_errors(critics, soft_actors, soft_critics, batch, now, later, luck, CONFIG)
    next_told = told_alike(would(soft_actors, batch.next_obs, batch.next_avail))
    worth = np.asarray(shares(soft_critics, batch.next_obs, next_told, later).sum(axis=1))
    done = jnp.concatenate([batch.actions, jnp.zeros_like(batch.actions)], axis=-1)
    taken = np.asarray(shares(critics, batch.obs, told_alike(done), now).sum(axis=1))
    errors = np.asarray(batch.reward) + np.where(batch.ended, 0, CONFIG.gamma * worth) - taken
    np.testing.assert_allclose(found, errors, rtol=1e-4, atol=1e-4)
    loss, entropies = sqddpg.actor_loss(actors, critics, batch, now, luck, CONFIG)
    share = np.asarray(shares(critics, batch.obs, told_alike(would(actors, batch.obs, batch.avail)), now))
    spread = np.asarray(gaussian(actors(batch.obs), batch.avail).entropy())
    assert float(loss) == pytest.approx(-share.mean(axis=0).sum() - CONFIG.entropy_coef * spread.sum(), rel=1e-4)
    np.testing.assert_allclose(entropies, spread.mean(axis=0), atol=1e-4)


def test_noise_and_orders_are_drawn_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever draws high comes first no more often than others: the keys of an update are not each other's."""
    keys: dict[str, list[np.ndarray]] = {"order": [], "luck": []}

    def noted(kind: str, fn: Any) -> Any:
        def call(key: jax.Array, *args: Any) -> Any:
            jax.debug.callback(lambda words: keys[kind].append(np.asarray(words)), jax.random.key_data(key))
            return fn(key, *args)

        return call

    monkeypatch.setattr(sqddpg, "drawn_orders", noted("order", sqddpg.drawn_orders))
    monkeypatch.setattr(sqddpg, "drawn_encoding", noted("luck", sqddpg.drawn_encoding))
    learner = sqddpg.init(jax.random.key(0), BOXED, CONFIG)
    new = jax.tree.map(lambda x: x[:7], boxed_steps())
    jax.block_until_ready(sqddpg.learn(learner, new, jax.random.key(1), CONFIG))
    jax.effects_barrier()
    everything = [tuple(words) for words in (*keys["order"], *keys["luck"])]
    assert len(keys["order"]) > 2 and len(keys["luck"]) >= 2 and len(set(everything)) == len(everything)


def test_the_slope_says_what_an_action_adds() -> None:
    """By differences, the others' policies held; in the mean over the own policy it is nothing."""
    learner = sqddpg.init(jax.random.key(0), SPEC, CONFIG)
    batch = jax.tree.map(lambda x: x[3:8], transitions([episodes_of()]))
    orders, actors, critics = drawn_orders(jax.random.key(1), 2, 5, N), learner.actors.params, learner.critics.params
    probs = jax.nn.softmax(jnp.where(batch.avail, actors(batch.obs), -1e9))
    share, found = sqddpg.along_slope(critics, probs, batch, orders)
    np.testing.assert_allclose(share, shares(critics, batch.obs, told_alike(probs), orders), atol=1e-5)
    for agent in range(N):
        towards = jax.nn.one_hot(batch.actions, A)[:, agent] - probs[:, agent]
        at = [shares(critics, batch.obs, told_alike(probs.at[:, agent].add(step * towards)), orders)[:, agent]
              for step in (-1e-2, 1e-2)]  # fmt: skip
        np.testing.assert_allclose(found[:, agent], (at[1] - at[0]) / 2e-2, atol=2e-3)
    means = np.zeros((5, N))
    for action in range(A):
        other = dataclasses.replace(batch, actions=jnp.full_like(batch.actions, action))
        means += np.asarray(probs[..., action] * sqddpg.along_slope(critics, probs, other, orders)[1])
    np.testing.assert_allclose(means, 0, atol=1e-5)


def test_fewer_kept_than_come() -> None:
    with pytest.raises(ValueError, match="`kept` is 6 and `interval` 7"):
        sqddpg.sqddpg("sqddpg", SPEC, dataclasses.replace(CONFIG, kept=6))


@pytest.mark.slow
def test_it_learns_and_its_shares_add_up_to_the_value() -> None:
    """Three agents whose rewards add up: near the most there is, and the shares of the best sum to its value."""
    env = registry.make("matrix/additive")
    config = SqddpgConfig(
        hidden=16, interval=24, batch=32, kept=500, orders=2, actor_lr=1e-2, critic_lr=1e-2, entropy_coef=1e-4
    )
    algorithm = sqddpg.sqddpg("x", env.spec, config)
    state, iterate = init_state(algorithm, 1), make_iterate(env, algorithm, 16, jax.devices()[:1])
    returns = []
    for _ in range(300):
        state, metrics = iterate(state)
        returns.append(float(metrics["return_mean"]))
    assert np.mean(returns[:10]) < 2 < 2.8 < np.mean(returns[-10:])
    learner = state.learner
    _, shown = env.reset(jax.random.split(jax.random.key(0), 1))
    orders = drawn_orders(jax.random.key(1), 50, 1, env.spec.n_agents)
    best = jax.nn.one_hot(jnp.argmax(learner.actors.params(shown.obs), axis=-1), env.spec.n_actions)
    worth = shares(learner.critics.params, shown.obs, told_alike(best), orders).sum()
    assert float(worth) == pytest.approx(3.0, abs=0.4)
