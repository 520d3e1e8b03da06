"""How many agents count in a step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import random_episodes
from jax.sharding import Mesh, PartitionSpec

from seca.distributions import dead
from seca.learning.counted import agent_steps, per_step


def test_all_or_the_living() -> None:
    """All n exactly where nothing is said; else the mean over real steps, of all devices."""
    episodes = random_episodes(garbage=3.0)
    alive = ~dead(episodes.avail[:, :-1], False)
    there = np.asarray(episodes.valid)[..., None] & np.asarray(alive)
    assert per_step(episodes, None) == 3 and agent_steps(episodes).shape[-1] == 1
    some = dataclasses.replace(episodes, counted=alive)
    expected = there.sum() / np.asarray(episodes.valid).sum()
    assert float(per_step(some, None)) == pytest.approx(expected) and expected < 3
    np.testing.assert_array_equal(agent_steps(some), there)
    split, everywhere = PartitionSpec("runners"), PartitionSpec()
    mesh = Mesh(jax.devices()[:2], ("runners",))
    shared = jax.shard_map(
        lambda x: per_step(x, "runners"), mesh=mesh, in_specs=(split,), out_specs=everywhere, check_vma=False
    )
    assert float(jax.jit(shared)(some)) == pytest.approx(expected)


def test_nobody_counts() -> None:
    """Losses are divided by it: it stays above 0."""
    episodes = random_episodes()
    nobody = dataclasses.replace(episodes, counted=jnp.zeros((*episodes.valid.shape, 3), bool))
    assert float(per_step(nobody, None)) > 0 and not agent_steps(nobody).any()
