"""A buffer may keep what acting recorded of each row: the policy that acted, for whoever corrects for it."""

import dataclasses

import jax
import numpy as np
import pytest
from batches import SPEC, in_float32, random_episodes

from seca.learning import buffer
from seca.learning.acting import Acting, acting_over, n_agent_inputs
from seca.learning.buffer import Buffer, ReplayOptions
from seca.nets.agents import RecurrentAgent


def recorded():
    episodes = in_float32(random_episodes())
    agent = RecurrentAgent.init(jax.random.key(1), n_agent_inputs(SPEC), 8, SPEC.n_actions)
    return dataclasses.replace(episodes, record=acting_over(agent, episodes))


def test_what_acting_recorded_comes_back() -> None:
    episodes = recorded()
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[2:], x.dtype), episodes.record)
    kept = Buffer(SPEC, episodes=8, record=shapes)
    replay = buffer.add(kept.init(), episodes, None)
    found = buffer.latest(replay, 3, None)
    assert isinstance(found.record, Acting)
    np.testing.assert_array_equal(found.record.probs, episodes.record.probs[::-1][:3])
    np.testing.assert_array_equal(found.actions, episodes.actions[::-1][:3])
    drawn = buffer.sample(replay, 4, jax.random.key(0), None)
    assert drawn.record.probs.shape == (4, SPEC.episode_limit + 1, SPEC.n_agents, SPEC.n_actions)
    assert kept.size > Buffer(SPEC, episodes=8).size


def test_without_it_nothing_is_kept() -> None:
    replay = buffer.add(Buffer(SPEC, episodes=8).init(), recorded(), None)
    assert buffer.latest(replay, 3, None).record is None


def test_what_is_kept_counts_in_the_memory_allowed() -> None:
    """As many episodes as fit, with what acting recorded of each; and no more bytes than allowed."""
    policies = jax.ShapeDtypeStruct((SPEC.n_agents, SPEC.n_actions), np.float32)
    allowed = 20 * buffer.episode_bytes(SPEC)
    options = ReplayOptions(batch_episodes=4, buffer_gib=allowed / 2**30)
    plain, kept = options.buffer(SPEC), options.buffer(SPEC, policies)
    assert plain.episodes == 20
    more = 4 * SPEC.n_agents * SPEC.n_actions * (SPEC.episode_limit + 1)
    assert kept.episodes == allowed // (buffer.episode_bytes(SPEC) + more) < 20
    assert kept.size <= allowed < kept.size + kept.size // kept.episodes
    with pytest.raises(ValueError, match="`batch_episodes` is 19 but the buffer holds"):
        dataclasses.replace(options, batch_episodes=19).buffer(SPEC, policies)
