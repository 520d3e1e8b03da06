"""Values of taken actions from grouped tiles, against the whole W1."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import assert_trees_close, float64_fixture

from seca.learning.joint_critic import plain_taken_value
from seca.nets.critics import MixingCritic
from seca.nets.grouped import TILE, taken_value, tile

pytestmark = pytest.mark.slow

_ = float64_fixture


def some_actions(kind: str, n_rows: int, n_agents: int, n_actions: int) -> jax.Array:
    rng = np.random.default_rng(n_rows)
    if kind == "all the same":
        return jnp.full((n_rows, n_agents), n_actions - 1)
    return jnp.asarray(rng.integers(n_actions, size=(n_rows, n_agents)))


@pytest.mark.parametrize("kind", ["random", "all the same"])
@pytest.mark.parametrize("n_rows", [1, 31, 200])
def test_every_entry_has_one_place_in_a_tile_of_its_group(kind: str, n_rows: int) -> None:
    actions = some_actions(kind, n_rows, 3, 5)
    tiles = tile(actions, 5)
    entries, places = np.asarray(tiles.entry).reshape(-1), np.asarray(tiles.place).reshape(-1)
    np.testing.assert_array_equal(entries[places], np.arange(n_rows * 3))
    assert (entries < n_rows * 3).sum() == n_rows * 3  # The other places are empty.
    group = np.asarray(tiles.group)[places // TILE]
    np.testing.assert_array_equal(group, (np.arange(3) * 5 + np.asarray(actions)).reshape(-1))


@pytest.mark.parametrize("kind", ["random", "all the same"])
def test_value_and_gradient_equal_the_plain_form(kind: str, float64: None) -> None:
    critic = jax.tree.map(lambda x: x.astype(jnp.float64), MixingCritic.init(jax.random.key(0), 3, 5, 6, 8, 16))
    state, actions = jax.random.normal(jax.random.key(1), (70, 6)), some_actions(kind, 70, 3, 5)

    def loss(module: MixingCritic, values) -> jax.Array:
        return jnp.sin(values(module, state, actions)).sum()

    np.testing.assert_allclose(
        taken_value(critic, state, actions), plain_taken_value(critic, state, actions), atol=1e-12
    )
    slope = jax.jit(jax.grad(loss), static_argnums=1)
    assert_trees_close(slope(critic, taken_value), slope(critic, plain_taken_value), 1e-12)
