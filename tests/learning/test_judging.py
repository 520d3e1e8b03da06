"""Packed orders and advantages: equal to the plain functions, whatever the chunk."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import LENGTHS, SPEC, agent_of, in_float64, random_episodes
from reference import assert_trees_close, float64_fixture

from seca.credit.base import Credit
from seca.credit.counterfactual import counterfactual, independent
from seca.credit.named import CREDITS
from seca.credit.sequential import SWEPT, exact, monte_carlo, sampled, swept
from seca.credit.shapley import shapley
from seca.learning.acting import acting_over
from seca.learning.judging import Batch, Judged, Judging, judge
from seca.learning.rows import pack
from seca.nets.critics import MixingCritic
from seca.order.base import GradientOrder, Order
from seca.order.gradients import BY_GRADIENTS, by_contribution, by_gradients
from seca.order.named import ORDERS
from seca.order.simple import FIXED
from seca.types import Episodes

pytestmark = pytest.mark.slow

_ = float64_fixture

CRITIC = MixingCritic.init(jax.random.key(2), SPEC.n_agents, SPEC.n_actions, SPEC.state_size, 8, 16)


def critic_of() -> MixingCritic:
    return in_float64(CRITIC)


def judge_with(chunk: int, episodes: Episodes, credit: Credit = SWEPT, order: Order = BY_GRADIENTS) -> Judged:
    """With a state that the fixed order, or the contributions of the batch before, could be."""
    state = jnp.array([2, 0, 1]) if order is FIXED else jnp.array([0.1, 0.3, 0.2])
    state = jnp.arange(3) if order.name == "identity" else state
    keys = jax.random.split(jax.random.key(0), len(LENGTHS))
    packed = pack(episodes.valid, chunk)
    batch = Batch(episodes, probs_of(episodes), packed, keys, None)
    return jax.jit(lambda c, b: judge(c, b, Judging(credit, order), state))(critic_of(), batch)


def probs_of(episodes: Episodes) -> jax.Array:
    return acting_over(agent_of(8), episodes).probs


@pytest.mark.parametrize("credit", CREDITS)
@pytest.mark.parametrize("order", ORDERS)
def test_who_asks_the_critic_of_policies(credit: str, order: str) -> None:
    """Every credit but those of actions alone; and the order by gradients, wherever an order is asked for."""
    judging = Judging(CREDITS[credit](8, 8), ORDERS[order](GradientOrder()))
    by_credit = credit not in ("exact", "monte_carlo")
    assert judging.asks_of_policies == (by_credit or order == "gradients")


PATHS = {
    "episode": GradientOrder(),
    "midpoint": GradientOrder(points=2, rule="midpoint"),
    "eq18": GradientOrder(sign="eq18"),
    "step": GradientOrder(stage=1),
    "blocks": GradientOrder(stage=3),
    "sliding": GradientOrder(stage=3, window="sliding"),
    "last_step": GradientOrder(end="last_step"),
}


@pytest.mark.parametrize("name", PATHS)
def test_packed_order_and_advantages_equal_the_plain_functions(name: str, float64: None) -> None:
    """The packed closed-form pass against autodiff integrated gradients and `swept`, one step at a time."""
    episodes = random_episodes()
    judged, probs = judge_with(5, episodes, order=by_gradients(PATHS[name])), probs_of(episodes)
    assert judged.contribution is not None

    def critic(state, inputs):
        return critic_of().weights(state, SPEC.n_agents).value(inputs)

    order, contribution = jax.jit(jax.vmap(lambda s, p, v: by_contribution(critic, s, p, v, PATHS[name])))(
        episodes.state, probs, episodes.valid
    )
    mask = np.asarray(episodes.valid)
    np.testing.assert_allclose(np.asarray(judged.contribution)[mask], np.asarray(contribution)[mask], atol=1e-10)
    np.testing.assert_array_equal(np.asarray(judged.order)[mask], np.asarray(order)[mask])

    def credit(state, pi, action, sequence):
        return swept(lambda v: critic(state, v), pi, action, sequence, jax.random.key(0))

    plain = jax.jit(jax.vmap(jax.vmap(credit)))(episodes.state[:, :-1], probs[:, :-1], episodes.actions[:, :-1], order)
    np.testing.assert_allclose(np.asarray(judged.advantage)[mask], np.asarray(plain)[mask], atol=1e-10)
    assert (np.asarray(judged.advantage)[~mask] == 0).all()


@pytest.mark.parametrize(
    ("credit", "plain"),
    [("counterfactual", counterfactual), ("independent", independent), ("exact", exact), ("shapley", shapley)],
)
def test_other_credits_equal_the_plain_functions(credit: Any, plain, float64: None) -> None:
    episodes = random_episodes()
    judged, probs = judge_with(5, episodes, CREDITS[credit](8, 8), FIXED), probs_of(episodes)

    def one(state, pi, action):
        weights = critic_of().weights(state, SPEC.n_agents)
        return plain(weights.value, pi, action, jnp.array([2, 0, 1]), jax.random.key(0))

    expected = jax.jit(jax.vmap(jax.vmap(one)))(episodes.state[:, :-1], probs[:, :-1], episodes.actions[:, :-1])
    mask = np.asarray(episodes.valid)
    np.testing.assert_allclose(np.asarray(judged.advantage)[mask], np.asarray(expected)[mask], atol=1e-10)


def test_monte_carlo_in_training_draws_by_episode_and_step(float64: None) -> None:
    """The packed pass gives each step the draw of its own key, whatever the chunks."""
    episodes = random_episodes()
    small, large = (judge_with(chunk, episodes, sampled(3), FIXED) for chunk in (3, 64))
    assert_trees_close(small.advantage, large.advantage, 1e-12)
    probs = probs_of(episodes)
    keys = jax.vmap(lambda key: jax.random.split(key)[1])(jax.random.split(jax.random.key(0), len(LENGTHS)))

    def one(key, t, state, pi, action):
        weights = critic_of().weights(state, SPEC.n_agents)
        own = jax.random.fold_in(key, t)
        return monte_carlo(weights.value, pi, action, jnp.array([2, 0, 1]), own, samples=3)

    over_time = jax.vmap(one, (None, 0, 0, 0, 0))
    steps = jnp.arange(SPEC.episode_limit)
    expected = jax.jit(jax.vmap(over_time, (0, None, 0, 0, 0)))(
        keys, steps, episodes.state[:, :-1], probs[:, :-1], episodes.actions[:, :-1]
    )
    mask = np.asarray(episodes.valid)
    np.testing.assert_allclose(np.asarray(small.advantage)[mask], np.asarray(expected)[mask], atol=1e-10)


def test_orders_shared_by_the_batch(float64: None) -> None:
    """`batch_mean` gives all episodes the order of the mean contribution; `previous` that of the batch before."""
    episodes = random_episodes()
    same = judge_with(5, episodes, order=by_gradients(GradientOrder(reduce="batch_mean")))
    own = judge_with(5, episodes)
    assert same.team_mean is not None
    np.testing.assert_allclose(same.team_mean, np.asarray(own.contribution)[:, 0].mean(axis=0), atol=1e-12)
    assert (np.asarray(same.order) == np.argsort(-np.asarray(same.team_mean))).all()
    before = GradientOrder(reduce="batch_mean", source="previous")
    earlier = judge_with(5, episodes, order=by_gradients(before))
    assert (np.asarray(earlier.order) == np.array([1, 2, 0])).all()
    np.testing.assert_allclose(earlier.state, same.team_mean, atol=1e-12)  # For the batch to come.


@pytest.mark.parametrize("order", ["probability", "entropy", "fixed", "identity", "random"])
def test_simple_orders_are_permutations(order: Any, float64: None) -> None:
    judged = judge_with(5, random_episodes(), order=ORDERS[order](GradientOrder()))
    found = np.asarray(judged.order)
    assert (np.sort(found, axis=-1) == np.arange(SPEC.n_agents)).all()
    if order == "fixed":
        assert (found == [2, 0, 1]).all()
    if order == "identity":
        assert (found == [0, 1, 2]).all()
    if order == "random":
        assert (found == found[:, :1]).all() and len({tuple(row) for row in found[:, 0]}) > 1


@pytest.mark.parametrize("chunk", [5, 9, 64])
def test_the_value_at_policies_and_its_credits_make_the_value_at_actions(chunk: int, float64: None) -> None:
    """43 rows, which no chunk divides: f(s, pi) + sum_i A_i = f(s, u), both as the critic says them plainly."""
    episodes = random_episodes(garbage=5.0)
    rows = int(episodes.valid.sum()) + len(LENGTHS)
    assert rows == 43 and rows % chunk
    judged, probs, mask = judge_with(chunk, episodes), probs_of(episodes), np.asarray(episodes.valid)
    weights = critic_of().weights(episodes.state[:, :-1], SPEC.n_agents)
    at_policies, at_actions = weights.value(probs[:, :-1]), weights.taken_value(episodes.actions[:, :-1])
    np.testing.assert_allclose(np.asarray(judged.expected)[mask], np.asarray(at_policies)[mask], atol=1e-10)
    np.testing.assert_allclose(np.asarray(judged.taken)[mask], np.asarray(at_actions)[mask], atol=1e-10)
    together = np.asarray(judged.expected + judged.advantage.sum(axis=-1))
    np.testing.assert_allclose(together[mask], np.asarray(at_actions)[mask], atol=1e-10)


def test_chunk_size_does_not_matter(float64: None) -> None:
    episodes = random_episodes()
    small, large = judge_with(3, episodes), judge_with(64, episodes)
    assert_trees_close(small, large, 1e-12)
