"""The state of a run: what an untrained one is, and the keys of each iteration."""

import dataclasses

import counting
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca import numerics
from seca.learning.buffer import Buffer
from seca.train.state import TrainState, init_state, iteration_keys


def bits(keys: tuple[jax.Array, ...]) -> list[list[int]]:
    return [jax.random.key_data(key).tolist() for key in keys]


@pytest.mark.parametrize("seed", [0, 2**32 - 1])
def test_an_untrained_run(seed: int) -> None:
    """One half of the seed's key makes the learner, which here is that key; the other is kept for the run."""
    state = init_state(counting.watcher([]), seed)
    halves = bits(tuple(jax.random.split(numerics.key(seed))))
    assert [state.learner.tolist(), state.seed_key.tolist()] == halves
    assert (int(state.iteration), int(state.episodes), int(state.env_steps)) == (0, 0, 0)
    assert state.env_steps.dtype == jnp.uint32, "runs may be longer than 2^31 env steps"
    assert state.replay is None


def test_keys_follow_from_seed_and_iteration_alone() -> None:
    """So that a resumed run draws what an unbroken one would have drawn."""
    state = init_state(counting.watcher([]), 3)
    run_key = jax.random.split(numerics.key(3))[1]
    for iteration in (0, 7):
        later = dataclasses.replace(state, iteration=jnp.int32(iteration))
        expected = bits(tuple(jax.random.split(jax.random.fold_in(run_key, iteration), 3)))
        assert bits(iteration_keys(later)) == expected
        played = dataclasses.replace(later, env_steps=jnp.uint32(99), episodes=jnp.int32(5), learner=jnp.zeros(4))
        assert bits(iteration_keys(played)) == expected


def test_no_key_comes_twice() -> None:
    """Of three purposes, four iterations and two seeds."""
    states = [init_state(counting.watcher([]), seed) for seed in (0, 1)]
    found = [
        tuple(key)
        for state in states
        for iteration in range(4)
        for key in bits(iteration_keys(dataclasses.replace(state, iteration=jnp.int32(iteration))))
    ]
    assert len(set(found)) == len(found) == 2 * 4 * 3


def test_all_but_the_buffer() -> None:
    """Also of shapes, which have no values."""
    algorithm = dataclasses.replace(counting.watcher([]), buffer=Buffer(counting.env().spec, 4))
    state = init_state(algorithm, 0)
    assert state.replay is not None
    for whole in (state, jax.eval_shape(lambda: init_state(algorithm, 0))):
        rest = whole.without_replay()
        assert isinstance(rest, TrainState) and rest.replay is None and whole.replay is not None
        kept = jax.tree.leaves(dataclasses.replace(state, replay=None))
        assert [leaf.shape for leaf in jax.tree.leaves(rest)] == [leaf.shape for leaf in kept]
    for one, other in zip(jax.tree.leaves(state.without_replay().learner), jax.tree.leaves(state.learner), strict=True):
        np.testing.assert_array_equal(one, other)
