"""Rows visited in chunks give what whole padded arrays give, at lengths that do not divide the chunk and that do."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import LENGTHS, SPEC, random_episodes
from reference import assert_trees_close, float64_fixture

from seca.learning.rows import InRows, map_rows, next_row, pack, sum_value_and_grad, to_rows, unpack

_ = float64_fixture
ROWS = sum(length + 1 for length in LENGTHS)
FILLED = np.arange(SPEC.episode_limit + 1) <= np.array(LENGTHS)[:, None]
CHUNKS = (1, 2, 5, ROWS - 1, ROWS, ROWS + 1, FILLED.size - 1, FILLED.size, FILLED.size + 1)
"""Below, at, above and between divisors of the 43 real rows, a prime number, and of all that there is room for."""


@pytest.mark.parametrize("chunk", CHUNKS)
def test_each_real_row_is_visited_once(chunk: int) -> None:
    episodes = random_episodes()
    packed = pack(episodes.valid, chunk)
    assert int(packed.count) == ROWS
    assert packed.chunk == min(chunk, FILLED.size)  # Fillers beyond the batch would be worked on for nothing.
    index = np.asarray(packed.index)[:ROWS]
    np.testing.assert_array_equal(index, np.flatnonzero(FILLED))
    np.testing.assert_array_equal(np.asarray(packed.row_of)[FILLED], np.arange(ROWS))
    steps = np.asarray(packed.is_step)
    np.testing.assert_array_equal(steps[:ROWS], np.pad(episodes.valid, ((0, 0), (0, 1)))[FILLED])
    assert not steps[ROWS:].any()


@pytest.mark.parametrize("chunk", CHUNKS)
def test_a_function_of_rows(chunk: int) -> None:
    """Of padded arrays and of what a visit left; trees in, trees out."""
    episodes = random_episodes(garbage=9.0)
    packed = pack(episodes.valid, chunk)
    first = map_rows(lambda s, u: {"sum": s.sum(axis=-1), "taken": u + 1}, packed, episodes.state, episodes.actions)
    second = map_rows(lambda before, s: before["sum"] - s[:, 0], packed, first, episodes.state)
    found, rest = unpack(first, packed), unpack(second, packed)
    np.testing.assert_allclose(found["sum"][FILLED], episodes.state.sum(axis=-1)[FILLED], rtol=1e-6)
    np.testing.assert_array_equal(found["taken"][FILLED], episodes.actions[FILLED] + 1)
    np.testing.assert_allclose(rest[FILLED], episodes.state[..., 1:].sum(axis=-1)[FILLED], rtol=1e-4, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("chunk", CHUNKS)
@pytest.mark.parametrize("agents", [3, 7])
def test_sums_and_gradients_are_those_of_the_whole(chunk: int, agents: int, float64: None) -> None:
    """Value, both gradients and what is kept; the final rows, and garbage in the padding, do not count."""
    episodes = random_episodes(garbage=9.0)
    rng = np.random.default_rng(agents)
    inputs = jnp.asarray(rng.normal(size=(*FILLED.shape, agents)))
    params = jnp.asarray(rng.normal(size=(SPEC.state_size, agents)))
    goal = jnp.asarray(rng.normal(size=episodes.valid.shape))

    def loss(params, inputs, state, goal):
        values = jnp.tanh(state @ params) * inputs
        return (values - goal[..., None]) ** 2, values

    def whole(params, inputs):
        losses, values = loss(params, inputs, episodes.state, to_rows(goal))
        return jnp.where(to_rows(episodes.valid)[..., None], losses, 0).sum(), values

    packed = pack(episodes.valid, chunk)
    found = sum_value_and_grad(loss, packed, params, inputs, episodes.state, to_rows(goal), axis=None)
    (value, values), (gradient, slopes) = jax.value_and_grad(whole, argnums=(0, 1), has_aux=True)(params, inputs)
    np.testing.assert_allclose(found.value, value, rtol=1e-12)
    assert_trees_close(found.gradient, gradient, 1e-12)
    for ours, theirs in ((found.slopes, slopes), (found.kept, values)):
        np.testing.assert_allclose(unpack(ours, packed)[FILLED], theirs[FILLED], atol=1e-12)


def test_nothing_to_differentiate_row_by_row() -> None:
    episodes = random_episodes()
    packed = pack(episodes.valid, 4)
    found = sum_value_and_grad(lambda p, _, s: (p * s, ()), packed, jnp.ones(6), (), episodes.state, axis=None)
    np.testing.assert_allclose(found.gradient, episodes.state[:, :-1][episodes.valid].sum(axis=0), rtol=1e-5)
    assert jax.tree.leaves((found.slopes, found.kept)) == []


def test_the_next_row_is_the_next_step() -> None:
    rows = jnp.arange(12).reshape(2, 6)
    np.testing.assert_array_equal(next_row(rows), [[1, 2, 3, 4, 5, 5], [7, 8, 9, 10, 11, 11]])
    np.testing.assert_array_equal(to_rows(rows)[:, -1], 0)


def test_rows_are_arrays_of_arrays() -> None:
    """What a visit leaves can be carried through `jit`."""
    episodes = random_episodes()
    packed = pack(episodes.valid, 4)
    doubled = jax.jit(lambda s: map_rows(lambda x: 2 * x, packed, s))(episodes.state)
    assert isinstance(doubled, InRows)
    np.testing.assert_allclose(unpack(doubled, packed)[FILLED], 2 * episodes.state[FILLED])


def test_rows_of_zeros_tell_of_no_step() -> None:
    assert to_rows({"a": jnp.ones((2, 3, 4))})["a"].shape == (2, 4, 4)
