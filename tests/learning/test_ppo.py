"""Stretches in groups: gradients and all that is reported, of any number of stretches in groups of any size."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import SPEC, in_float64, initial, random_episodes
from reference import assert_trees_close, float64_fixture
from tiers import cases

from seca.algos.mappo import MappoConfig, init, judge
from seca.learning.acting import acting_over
from seca.learning.ppo import Networks, PpoLoss, ppo_gradient, stretches, terms
from seca.sizes import CPU

_ = float64_fixture
PPO = PpoLoss(clip=0.2, entropy_coef=0.01, huber_delta=10.0)


@functools.cache
def judged(n_agents: int, lengths: tuple[int, ...]) -> Any:
    """Networks some steps away from those that acted, and what these say of a batch in stretches of 4 steps."""
    spec = dataclasses.replace(SPEC, n_agents=n_agents, episode_limit=max(lengths) + 1)
    config = MappoConfig(actor_hidden=8, critic_hidden=8, stretch=4)
    old, new = (in_float64(initial(init, jax.random.key(seed), spec, config)) for seed in (0, 1))
    scale = dataclasses.replace(old.scale, mean=jnp.asarray(0.2), square=jnp.asarray(1.3), weight=jnp.asarray(0.7))
    episodes = random_episodes(3, 1.0, lengths, spec)
    found = jax.jit(
        lambda learner: judge(
            learner.critic.params, scale, episodes, acting_over(learner.actor.params, episodes), config, None
        )
    )(old)
    return Networks(new.actor.params, new.critic.params), scale, found


@functools.cache
def at_once(n_agents: int, lengths: tuple[int, ...]) -> Any:
    """Gradient and sums of all stretches in one, those without a real step among them."""
    networks, scale, found = judged(n_agents, lengths)

    def plain(params: Networks) -> tuple[jax.Array, Any]:
        whole = jax.tree.map(jnp.sum, terms(params, found.stretches, scale, found.counts, PPO))
        return -whole.policy - PPO.entropy_coef * whole.entropy + whole.value, whole

    return jax.jit(jax.grad(plain, has_aux=True))(networks)


@pytest.mark.parametrize(
    ("n_agents", "lengths", "group"),
    cases(
        [
            *((3, (9, 13, 1, 5), group) for group in (1, 3, 5, 24)),
            *((7, (13, 9), group) for group in (2, 4)),
            *((3, (13,) * 4 + (1,), group) for group in (CPU.stretches - 1, CPU.stretches, CPU.stretches + 1)),
            (3, (4,), CPU.stretches),
        ],
        (3, (13,) * 4 + (1,), CPU.stretches + 1),
        (3, (9, 13, 1, 5), 5),
        slow=True,
    ),
)
def test_groups_change_no_number(n_agents: int, lengths: tuple[int, ...], group: int, float64: None) -> None:
    networks, scale, found = judged(n_agents, lengths)
    real = sum(-(-length // 4) for length in lengths)
    assert int(found.stretches.valid.any(axis=1).sum()) == real
    told = scale, found.counts, PPO
    slope, means = jax.jit(lambda n, s: ppo_gradient(n, s, *told, None, group))(networks, found.stretches)
    expected, whole = at_once(n_agents, lengths)
    assert_trees_close(slope, expected, 1e-10)
    assert_trees_close(means, whole, 1e-10)
    assert np.abs(np.asarray([whole.policy, whole.entropy, whole.value])).min() > 1e-4


@pytest.mark.parametrize("limit", [1, 3, 5])
def test_a_stretch_is_no_longer_than_an_episode(limit: int) -> None:
    """Nothing is worked on that no episode has room for: stretches of a matrix game are one step long."""
    spec = dataclasses.replace(SPEC, episode_limit=limit)
    episodes = random_episodes(3, 1.0, (limit, 1), spec)
    hidden = jnp.zeros((2, limit + 1, spec.n_agents, 4))
    ones = jnp.ones(episodes.actions.shape)
    steps = {name: ones for name in ("old_log_prob", "advantage", "old_value", "returns", "active")}
    cut = functools.partial(
        stretches, episodes, (hidden, hidden), {**steps, "valid": episodes.valid}, jnp.zeros((*ones.shape, 2))
    )
    for longer in (limit + 1, 10):
        for array, same in zip(jax.tree.leaves(cut(longer)), jax.tree.leaves(cut(limit)), strict=True):
            np.testing.assert_array_equal(array, same)
        assert cut(longer).valid.shape == (2, limit)
    if limit > 1:
        assert cut(limit - 1).valid.shape == (4, limit - 1)
