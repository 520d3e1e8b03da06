"""The backward sweep against `jax.grad` of the unrolled network: gradients and all that is reported, at any size."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import SPEC, agent_of, plain_outputs, random_episodes
from reference import assert_trees_close, float64_fixture

from seca.learning.acting import acting_over, unroll
from seca.learning.policy_gradient import PolicyLoss, actor_gradient
from seca.learning.through_time import through_time
from seca.sizes import CPU
from seca.types import EnvSpec, Episodes

_ = float64_fixture


def sized(n_agents: int, longest: int, lengths: tuple[int, ...], seed: int = 0) -> tuple[EnvSpec, Episodes]:
    spec = dataclasses.replace(SPEC, n_agents=n_agents, episode_limit=longest)
    return spec, random_episodes(seed, 3.0, lengths, spec)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("length", "block", "n_agents", "group"),
    [
        *((1, 8, 3, 2), (7, 8, 7, 3), (8, 8, 3, 6), (9, 8, 7, 2), (13, 8, 3, 4), (16, 8, 7, 3)),
        *((9, 1, 3, 1), (13, 3, 7, 5), (9, 16, 3, 8)),
    ],
)
def test_sums_are_those_of_the_unrolled_network(
    length: int, block: int, n_agents: int, group: int, float64: None
) -> None:
    """Lengths below, at, above and between multiples of the block; with rows of garbage after the longest episode.

    Six episodes in groups of 1, 2, 3 and 6 of unequal length: a group is a divisor of six, 4 and 5 are none.
    """
    lengths = (1, length, max(length - 3, 1), max(length // 2, 1), 1, length)
    spec, episodes = sized(n_agents, length + 1, lengths, seed=length)
    agent = agent_of(5, spec)
    weights = jnp.asarray(np.random.default_rng(block).normal(size=(*episodes.actions.shape, spec.n_actions)))

    def loss(outputs, weights):
        terms = (jnp.sin(outputs) * weights).sum(axis=-1)
        return terms, terms**2

    def plain(module):
        terms, part = loss(plain_outputs(module, episodes)[:, :-1], weights[:, :-1])
        mask = episodes.valid[..., None]
        return jnp.where(mask, terms, 0).sum(), jnp.where(mask, part, 0).sum()

    hidden = jax.jit(unroll)(agent, episodes).hidden
    found = jax.jit(lambda a: through_time(a, episodes, hidden, weights, loss, block, group))(agent)
    (total, part), gradient = jax.jit(jax.value_and_grad(plain, has_aux=True))(agent)
    assert_trees_close(found.gradient, gradient, 1e-10)
    np.testing.assert_allclose(found.loss, total, atol=1e-10)
    np.testing.assert_allclose(found.part, part, atol=1e-10)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("rows", "batch"), [(7, CPU.episodes + 1), (9, CPU.episodes + 1), (13, CPU.episodes + 1), (9, 2 * CPU.episodes)]
)
def test_the_reported_loss_counts_each_row_once(rows: int, batch: int, float64: None) -> None:
    """Nine steps and blocks of eight once gave 0.1144 where the loss is 0.0522, with the right gradient."""
    spec, episodes = sized(3, rows, (rows,) * batch)
    agent = agent_of(5, spec)
    advantage = jnp.asarray(np.random.default_rng(rows).normal(size=(*episodes.valid.shape, 3)))
    acted = jax.jit(acting_over)(agent, episodes)
    found = jax.jit(lambda a: actor_gradient(a, PolicyLoss(), episodes, acted, advantage, None))(agent)
    taken = jnp.take_along_axis(acted.probs[:, :-1], episodes.actions[:, :-1, :, None], axis=-1)[..., 0]
    np.testing.assert_allclose(found.loss, -(jnp.log(taken) * advantage).mean(), atol=1e-12)
    np.testing.assert_allclose(found.policy_part, found.loss, atol=1e-12)
