"""SCC: shares of the joint value by enumeration, the public code's sampler, and one update."""

import dataclasses
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import SPEC, in_float64, initial, plain_outputs, random_episodes
from learners import stepping
from reference import assert_close, assert_trees_close, float64_fixture

from seca.algos.scc import Learner, SccConfig, by_sizes, credits_of, init, of_observations, scc
from seca.credit.base import Mixed
from seca.credit.shapley import shapley_fast
from seca.learning.acting import last_actions
from seca.learning.buffer import filled
from seca.learning.rows import pack
from seca.nets.agents import RecurrentAgent, agent_inputs
from seca.nets.critics import CoalitionCritic
from seca.types import EnvSpec

pytestmark = pytest.mark.slow

_ = float64_fixture
CONFIG = SccConfig(
    actor_hidden=8, critic_hidden=8, joint_width=8, batch_episodes=8, buffer_episodes=16, epsilon_steps=100
)


def coalition_value(
    critic: CoalitionCritic, features: jax.Array, one_hot: jax.Array, members: tuple[int, ...]
) -> float:
    """v(C) from the critic's own formula, actions of agents outside C all zero."""
    n_agents = one_hot.shape[0]
    kept = one_hot * jnp.isin(jnp.arange(n_agents), jnp.asarray(members, jnp.int32))[:, None]
    obs = features.reshape(n_agents, -1)
    channels = [jax.nn.relu(critic.channel(jnp.concatenate([obs[i], kept[i]]))) for i in range(n_agents)]
    return float(critic.out(jax.nn.relu(critic.joint(jnp.concatenate(channels))))[0])


@pytest.fixture(name="step")
def step_fixture(float64: None):
    """A critic, one step's observations and actions, and the values of all eight coalitions of three agents."""
    critic = in_float64(jax.tree.map(lambda x: 2 * x, initial(init, jax.random.key(2), SPEC, CONFIG).critic.params))
    rng = np.random.default_rng(0)
    features = jnp.asarray(rng.normal(size=SPEC.n_agents * SPEC.obs_size))
    one_hot = jax.nn.one_hot(jnp.asarray([3, 0, 2]), SPEC.n_actions, dtype=features.dtype)
    coalitions = [c for k in range(4) for c in itertools.combinations(range(3), k)]
    return critic, features, one_hot, {c: coalition_value(critic, features, one_hot, c) for c in coalitions}


def joined(members: tuple[int, ...], agent: int) -> tuple[int, ...]:
    return tuple(sorted((*members, agent)))


def by_orders(mixed: Mixed, key: jax.Array, orders: int) -> jax.Array:
    """The credit of one step; which order the agents are judged in does not matter."""
    row = jax.tree.map(lambda x: x[None], mixed)
    return shapley_fast(row, jnp.arange(SPEC.n_agents)[None], key[None], orders)[0]


def test_all_orders_give_the_shapley_value(step) -> None:
    critic, features, one_hot, values = step
    mixed = critic.mix(features, one_hot)
    found = np.asarray(by_orders(mixed, jax.random.key(0), 6))
    for i in range(3):
        expected = sum(
            math.factorial(len(c)) * math.factorial(2 - len(c)) / 6 * (values[joined(c, i)] - values[c])
            for c in values
            if i not in c
        )
        np.testing.assert_allclose(found[i], expected, atol=1e-12)
    np.testing.assert_allclose(found.sum(), values[(0, 1, 2)] - values[()], atol=1e-12)
    np.testing.assert_allclose(critic.value(features, one_hot), values[(0, 1, 2)], atol=1e-12)


def test_pairs_of_orders_are_unbiased(step) -> None:
    critic, features, one_hot, _ = step
    mixed = critic.mix(features, one_hot)
    draws = np.asarray(jax.vmap(lambda key: by_orders(mixed, key, 2))(jax.random.split(jax.random.key(1), 3000)))
    whole = np.asarray(by_orders(mixed, jax.random.key(0), 6))
    np.testing.assert_allclose(draws.mean(axis=0), whole, atol=4 * draws.std(axis=0).max() / math.sqrt(3000) + 1e-12)


def test_sizes_are_the_public_codes_and_no_shapley_value(step) -> None:
    """Expectation: k in {1, 2} alike, then C uniform among the others' subsets of 2 - k; it is not efficient."""
    critic, features, one_hot, values = step
    mixed = critic.mix(features, one_hot)
    draws = np.asarray(jax.vmap(lambda key: by_sizes(mixed, key, 3))(jax.random.split(jax.random.key(1), 4000)))
    expected = np.zeros(3)
    for i in range(3):
        others = [j for j in range(3) if j != i]
        for size in (0, 1):
            subsets = list(itertools.combinations(others, size))
            expected[i] += np.mean([values[joined(c, i)] - values[c] for c in subsets]) / 2
    np.testing.assert_allclose(draws.mean(axis=0), expected, atol=4 * draws.std(axis=0).max() / math.sqrt(4000) + 1e-12)
    assert abs(expected.sum() - (values[(0, 1, 2)] - values[()])) > 1e-4


@pytest.mark.parametrize("n_agents", [1, 2])
def test_sizes_of_small_teams_leave_the_agent_itself_out(n_agents: int, float64: None) -> None:
    """With its observation: v of all less v of the others, from the critic's own formula, step by step."""
    spec = dataclasses.replace(SPEC, n_agents=n_agents)
    batch = random_episodes()
    few = {name: getattr(batch, name)[:, :, :n_agents] for name in ("obs", "avail", "actions")}
    batch = of_observations(dataclasses.replace(batch, **few))
    config = dataclasses.replace(CONFIG, sampler="sizes")
    critic = in_float64(initial(init, jax.random.key(2), spec, config).critic.params)
    found = credits_of(critic, batch, pack(batch.valid, 1024), jax.random.split(jax.random.key(3), 8), config)

    def joint(obs: jax.Array, taken: jax.Array) -> jax.Array:
        read = jax.nn.relu(critic.channel(jnp.concatenate([obs, taken], axis=-1)))
        return critic.out(jax.nn.relu(critic.joint(read.reshape(*read.shape[:2], -1))))[..., 0]

    obs, taken = batch.obs[:, :-1], jnp.eye(SPEC.n_actions)[batch.actions[:, :-1]]
    for i in range(n_agents):
        gone = [x.at[:, :, i].set(0) for x in (obs, taken)]
        assert_close(found[..., i], np.asarray(joint(obs, taken) - joint(*gone)), np.asarray(batch.valid))


@pytest.mark.parametrize("sampler", ["orders", "sizes"])
def test_credits_do_not_depend_on_padding(sampler: Any, float64: None) -> None:
    config = dataclasses.replace(CONFIG, sampler=sampler)
    critic = in_float64(initial(init, jax.random.key(2), SPEC, config).critic.params)
    keys = jax.random.split(jax.random.key(3), 8)
    found = [
        credits_of(critic, of_observations(batch), pack(batch.valid, 1024), keys, config)
        for batch in (random_episodes(), random_episodes(garbage=3.0))
    ]
    assert_close(found[0], np.asarray(found[1]))


def by_hand(before, gradient, limit: float) -> list[np.ndarray]:
    """TensorFlow's first RMSprop step, each array clipped alone: r = 0.9 + 0.1 g^2, x - lr g / sqrt(r + eps)."""
    after = []
    for x, g in zip(map(np.asarray, jax.tree.leaves(before)), map(np.asarray, jax.tree.leaves(gradient)), strict=True):
        g = g * min(1, limit / np.sqrt((g**2).sum()))
        after.append(x - 5e-4 * g / np.sqrt(0.9 * 1 + 0.1 * g**2 + 1e-10))
    return after


def test_update_regresses_each_agent_to_its_share(float64: None) -> None:
    """Losses and steps of an update on the whole of a buffer that holds one batch eight times over; target copies."""
    config = dataclasses.replace(CONFIG, clip_norm=0.05, target_interval=16)
    one = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), random_episodes())
    learner: Learner = in_float64(initial(init, jax.random.key(0), SPEC, config))
    moved = jax.tree.map(lambda x: 0.9 * x, learner.critic.params)
    learner = dataclasses.replace(learner, critic=dataclasses.replace(learner.critic, target=moved))
    algorithm = scc("scc", SPEC, config)
    assert algorithm.buffer is not None
    update = jax.jit(stepping(algorithm))
    stepped, replay, metrics = update(learner, in_float64(algorithm.buffer.init()), one, jax.random.key(0))
    assert int(metrics["gradient_steps"]) == 2 and int(filled(replay)) == 8
    length = int(one.length[0])
    features = one.obs.reshape(*one.obs.shape[:2], -1)[0]
    taken = jax.nn.one_hot(one.actions, SPEC.n_actions)
    bootstrap = np.asarray(learner.critic.target.value(features, taken[0]))[1:]
    goal = np.asarray(one.reward[0]) + 0.99 * np.where(np.asarray(one.terminated[0]), 0, bootstrap)
    value = np.asarray(learner.critic.params.value(features, taken[0]))[:-1]
    expected = ((value - goal)[:length] ** 2).mean()
    np.testing.assert_allclose(metrics["critic_loss"], expected, rtol=1e-10)

    batch = of_observations(one)
    keys = jax.random.split(jax.random.key(9), 8)
    share = credits_of(stepped.critic.params, batch, pack(batch.valid, 1024), keys, CONFIG)
    inputs = agent_inputs(one.obs, last_actions(one))

    def actor_loss(actor: RecurrentAgent) -> jax.Array:
        hidden, q = jnp.zeros((8, SPEC.n_agents, 8)), []
        for t in range(length):
            hidden, out = actor(inputs[:, t], hidden)
            q.append(jnp.take_along_axis(out, one.actions[:, t, :, None], axis=-1)[..., 0])
        # Three agents have six orders, of which eight are enough: no draw, the same share whatever the key.
        return ((jnp.stack(q, axis=1) - share[:, :length]) ** 2).mean()

    loss, gradient = jax.jit(jax.value_and_grad(actor_loss))(learner.actor.params)
    np.testing.assert_allclose(metrics["actor_loss"], loss, rtol=1e-10)
    norms = [float(jnp.linalg.norm(leaf.ravel())) for leaf in jax.tree.leaves(gradient)]
    assert min(norms) < 0.05 < max(norms)  # Some arrays are clipped, others are not.
    assert_trees_close(jax.tree.leaves(stepped.actor.params), by_hand(learner.actor.params, gradient, 0.05), 1e-10)

    assert_trees_close(stepped.critic.target, learner.critic.target, 0.0)
    again, replay, _ = update(stepped, replay, one, jax.random.key(1))
    assert_trees_close(again.critic.target, again.critic.params, 0.0)
    assert_trees_close(update(again, replay, one, jax.random.key(2))[0].critic.target, again.critic.target, 0.0)


def test_the_claims_value_is_the_critics_of_the_greedy_actions(float64: None) -> None:
    """Beside its TD error at those taken, whose target where the episode ended is the reward."""
    algorithm, batch = scc("scc", SPEC, CONFIG), random_episodes()
    learner: Learner = in_float64(initial(init, jax.random.key(0), SPEC, CONFIG))
    assert algorithm.claims is not None
    claim = jax.jit(algorithm.claims.fn)(learner, batch, jnp.uint32(10), jax.random.key(1))
    features, mask = batch.obs.reshape(*batch.obs.shape[:2], -1)[:, :-1], np.asarray(batch.valid)
    q = np.where(batch.avail, plain_outputs(learner.actor.params, batch), -np.inf)[:, :-1]
    joint = (jnp.asarray(q.argmax(axis=-1)), batch.actions[:, :-1])
    greedy, taken = (learner.critic.params.value(features, jax.nn.one_hot(u, SPEC.n_actions)) for u in joint)
    np.testing.assert_allclose(np.asarray(claim.value)[mask], np.asarray(greedy)[mask], atol=1e-10)
    last = np.asarray(batch.terminated)
    np.testing.assert_allclose(np.asarray(claim.team)[last], np.asarray(batch.reward - taken)[last], atol=1e-10)


def test_refusals() -> None:
    with pytest.raises(ValueError, match="`batch_episodes` is 32 but the buffer holds 8"):
        scc("scc", SPEC, SccConfig(buffer_episodes=8))
    large = EnvSpec("large", "1", n_agents=5, n_actions=4, obs_size=5, state_size=6, episode_limit=7)
    with pytest.raises(ValueError, match="`credit_orders` is 7; .* at least the 120 orders of 5 agents"):
        scc("scc", large, SccConfig(credit_orders=7))
