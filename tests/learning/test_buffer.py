"""The replay buffer: what it keeps, what it draws, and how it is written."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import SPEC, in_float32, random_episodes

from seca.learning import buffer as buffers
from seca.learning.buffer import Buffer

pytestmark = pytest.mark.slow


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


def test_buffer_is_written_in_place() -> None:
    """Donated, the program's memory is the buffer's once, not twice."""
    replay = Buffer(SPEC, 4096).init()
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(replay))
    episodes = in_float32(random_episodes())
    program = jax.jit(lambda b, e: buffers.add(b, e, None), donate_argnums=0).lower(replay, episodes).compile()
    analysis = program.memory_analysis()
    assert analysis is not None
    assert analysis.alias_size_in_bytes >= size and analysis.temp_size_in_bytes < size / 50
