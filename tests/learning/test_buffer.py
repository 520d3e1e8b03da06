"""The replay buffer: what it keeps, what it draws, and how it is written.

It may keep what acting recorded of each row: the policy that acted, for whoever corrects for it.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import SPEC, in_float32, random_episodes

from seca.learning import buffer as buffers
from seca.learning.acting import Acting, acting_over, n_agent_inputs
from seca.learning.buffer import Buffer, ReplayOptions, episode_bytes
from seca.nets.agents import RecurrentAgent


@pytest.mark.slow
def test_buffer_keeps_the_latest_and_draws_only_what_it_holds() -> None:
    """Room for 24: of 4 batches of 8, marked by their reward, the last three stay."""
    replay = Buffer(SPEC, 24).init()
    for number in range(4):
        marked = dataclasses.replace(random_episodes(), reward=jnp.full((8, SPEC.episode_limit), 10.0 + number))
        replay = buffers.add(replay, marked, None)
        drawn = buffers.sample(replay, 24, jax.random.key(number), None)
        held = set(range(10, 11 + number)) if number < 3 else {11, 12, 13}
        assert set(np.asarray(drawn.reward[:, 0]).tolist()) == held
        assert int(buffers.filled(replay)) == min(24, 8 * (number + 1))
        latest = buffers.latest(replay, 12, None)
        assert np.asarray(latest.reward[:8, 0]).tolist() == [10.0 + number] * 8
        assert np.asarray(latest.valid[8:].any(axis=1)).tolist() == [number > 0] * 4
        assert number == 0 or np.asarray(latest.reward[8:, 0]).tolist() == [9.0 + number] * 4
    assert (np.asarray(drawn.length)[:, None] == np.asarray(drawn.valid).sum(axis=1)[:, None]).all()
    assert drawn.actions.dtype == jnp.int32 and drawn.record is None


@pytest.mark.slow
def test_buffer_is_written_in_place() -> None:
    """Donated, the program's memory is the buffer's once, not twice."""
    replay = Buffer(SPEC, 4096).init()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(replay))
    episodes = in_float32(random_episodes())
    program = jax.jit(lambda b, e: buffers.add(b, e, None), donate_argnums=0).lower(replay, episodes).compile()
    analysis = program.memory_analysis()
    assert analysis is not None
    assert analysis.alias_size_in_bytes >= size and analysis.temp_size_in_bytes < size / 50


def recorded():
    episodes = in_float32(random_episodes())
    agent = RecurrentAgent.init(jax.random.key(1), n_agent_inputs(SPEC), 8, SPEC.n_actions)
    return dataclasses.replace(episodes, record=acting_over(agent, episodes))


@pytest.mark.slow
def test_what_acting_recorded_comes_back() -> None:
    episodes = recorded()
    shapes = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape[2:], x.dtype), episodes.record)
    kept = Buffer(SPEC, episodes=8, record=shapes)
    replay = buffers.add(kept.init(), episodes, None)
    found = buffers.latest(replay, 3, None)
    assert isinstance(found.record, Acting)
    np.testing.assert_array_equal(found.record.probs, episodes.record.probs[::-1][:3])
    np.testing.assert_array_equal(found.actions, episodes.actions[::-1][:3])
    drawn = buffers.sample(replay, 4, jax.random.key(0), None)
    assert drawn.record.probs.shape == (4, SPEC.episode_limit + 1, SPEC.n_agents, SPEC.n_actions)
    assert kept.size > Buffer(SPEC, episodes=8).size


@pytest.mark.slow
def test_without_it_nothing_is_kept() -> None:
    replay = buffers.add(Buffer(SPEC, episodes=8).init(), recorded(), None)
    assert buffers.latest(replay, 3, None).record is None


def test_bytes_of_an_episode_by_hand() -> None:
    """Rewards 28, three flags 21, observations 480, states 192, masks 96, actions 24: 7 steps, 8 rows, 3 agents.

    Actions are a byte each, two where there are more than 128 of them; what acting recorded counts in its own types.
    """
    assert episode_bytes(SPEC) == 28 + 21 + 480 + 192 + 96 + 24
    many = dataclasses.replace(SPEC, n_actions=129)
    assert episode_bytes(many) == 28 + 21 + 480 + 192 + 8 * 3 * 129 + 8 * 3 * 2
    record = {"probs": jax.ShapeDtypeStruct((3, 4), jnp.float32), "flag": jax.ShapeDtypeStruct((), jnp.bool_)}
    assert episode_bytes(SPEC, record) == 841 + 8 * (3 * 4 * 4 + 1)
    assert Buffer(SPEC, 5).size == 5 * 841


def test_what_is_kept_counts_in_the_memory_allowed() -> None:
    """As many episodes as fit, with what acting recorded of each; and no more bytes than allowed."""
    policies = jax.ShapeDtypeStruct((SPEC.n_agents, SPEC.n_actions), np.float32)
    allowed = 20 * episode_bytes(SPEC)
    options = ReplayOptions(batch_episodes=4, buffer_gib=allowed / 2**30)
    plain, kept = options.buffer(SPEC), options.buffer(SPEC, policies)
    assert plain.episodes == 20
    more = 4 * SPEC.n_agents * SPEC.n_actions * (SPEC.episode_limit + 1)
    assert kept.episodes == allowed // (episode_bytes(SPEC) + more) < 20
    assert kept.size <= allowed < kept.size + kept.size // kept.episodes
    with pytest.raises(ValueError, match="`batch_episodes` is 19 but the buffer holds"):
        dataclasses.replace(options, batch_episodes=19).buffer(SPEC, policies)
