"""The replay buffer: what it keeps, what it draws, and how it is written.

It may keep what acting recorded of each row: the policy that acted, for whoever corrects for it.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import LENGTHS, SPEC, in_float32, random_episodes
from jax.sharding import Mesh, PartitionSpec
from tiers import cases

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
@pytest.mark.parametrize("devices", cases([1, 3], 3))
def test_lost_episodes_are_never_stored(devices: int) -> None:
    """Against a list: batches of six, of which none to all are lost, go round a ring of seven four times."""
    add_to = lambda replay, new, lost: buffers.add(replay, new, None, lost)  # noqa: E731
    if devices > 1:
        everywhere, split = PartitionSpec(), PartitionSpec("runners")
        add_to = jax.shard_map(
            lambda replay, new, lost: buffers.add(replay, new, "runners", lost),
            mesh=Mesh(jax.devices()[:devices], ("runners",)),
            in_specs=(everywhere, split, split),
            out_specs=everywhere,
            check_vma=False,
        )

    @jax.jit
    def added(replay, new, lost, key):
        """Afterwards, and what is found in it."""
        replay = add_to(replay, new, lost)
        latest = buffers.latest(replay, 7, None)
        drawn = buffers.sample(replay, 5, key, None)
        return replay, buffers.filled(replay), latest.reward[:, 0], latest.valid.any(axis=1), drawn.reward[:, 0]

    rng = np.random.default_rng(0)
    episodes, replay, held = random_episodes(lengths=LENGTHS[:6]), Buffer(SPEC, 7).init(), []
    for number in range(12):
        lost = rng.random(6) < (number % 5) / 4
        marks = 10.0 * number + np.arange(6)
        marked = dataclasses.replace(episodes, reward=jnp.full((6, SPEC.episode_limit), jnp.asarray(marks)[:, None]))
        held = (held + marks[~lost].tolist())[-7:]
        replay, *found = added(replay, marked, jnp.asarray(lost), jax.random.key(number))
        filled, latest, shown, drawn = map(np.asarray, found)
        assert filled == len(held) and latest[: len(held)].tolist() == held[::-1]
        assert (shown == (np.arange(7) < len(held))).all()
        assert not held or set(drawn.tolist()) <= set(held)


@pytest.mark.slow
@pytest.mark.parametrize("loses", [False, True])
def test_buffer_is_written_in_place(loses: bool) -> None:
    """Donated, the program's memory is the buffer's once, not twice."""
    replay = Buffer(SPEC, 4096).init()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(replay))
    episodes = in_float32(random_episodes())
    lost = jnp.zeros(len(LENGTHS), bool) if loses else None
    add = jax.jit(lambda replay, new, lost: buffers.add(replay, new, None, lost), donate_argnums=0)
    program = add.lower(replay, episodes, lost).compile()
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
