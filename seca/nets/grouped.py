"""The critic at taken joint actions, reading only the rows of W1 that the actions name.

Regression needs f(s, u) for one-hot u, that is n of the n * A rows of W1(s). Instead of all rows for every state, the
entries (state, agent) are grouped by (agent, action), so that each group is one matrix product with its own
[embed, width] slice of the hypernetwork's output layer: A times fewer operations, and the same numbers as
`MixingWeights.taken_value`. Groups are cut into tiles of equal height, because shapes must be static.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from seca.nets.critics import MixingCritic

TILE = 32
"""Entries per tile; chosen by measurement."""


class Tiles(eqx.Module):
    """Where each entry (row, agent) went."""

    entry: Int[Array, "tiles height"]
    """Entry at each place, as row * agents + agent; empty places name the entry past the last."""
    group: Int[Array, " tiles"]
    """Group of each tile, as agent * actions + action."""
    place: Int[Array, "rows agents"]
    """Place of each entry in the flattened tiles."""


def tile(actions: Int[Array, "rows agents"], n_actions: int) -> Tiles:
    """Group entries by (agent, action); every tile holds entries of one group.

    Positions come from cumulative counts, which is cheaper than a sort.
    """
    n_rows, n_agents = actions.shape
    chosen = jax.nn.one_hot(actions, n_actions, dtype=jnp.int32)
    before = jnp.cumsum(chosen, axis=0) - chosen
    within = jnp.take_along_axis(before, actions[..., None], axis=-1)[..., 0]
    heights = -(-chosen.sum(axis=0).reshape(-1) // TILE)
    ends = jnp.cumsum(heights)
    starts = (ends - heights).reshape(n_agents, n_actions)
    first = jnp.take_along_axis(starts, actions.T, axis=1).T
    place = first * TILE + within
    n_tiles = -(-n_rows * n_agents // TILE) + n_agents * n_actions
    entry = jnp.full(n_tiles * TILE, n_rows * n_agents, jnp.int32)
    entry = entry.at[place.reshape(-1)].set(jnp.arange(n_rows * n_agents, dtype=jnp.int32))
    group = jnp.searchsorted(ends, jnp.arange(n_tiles, dtype=ends.dtype), side="right", method="compare_all")
    # Tiles past the last group are empty; any group serves.
    group = jnp.minimum(group, n_agents * n_actions - 1)
    return Tiles(entry.reshape(n_tiles, TILE), group, place)


def taken_value(
    critic: MixingCritic, state: Float[Array, "rows state"], actions: Int[Array, "rows agents"]
) -> Float[Array, " rows"]:
    """f(s, u) of each row. Same as `critic.weights(state, n).taken_value(actions)`."""
    n_rows, n_agents = actions.shape
    embed, width = critic.b1.bias.shape[0], critic.w1.out.weight.shape[1]
    n_actions = critic.w1.out.bias.shape[0] // (n_agents * embed)
    tiles = tile(actions, n_actions)
    features = jax.nn.relu(critic.w1.hidden(state))
    # Empty places read a row of zeros and are never read back.
    source = jnp.concatenate([features, jnp.zeros_like(features[:1])])[tiles.entry // n_agents]
    slices = critic.w1.out.weight.reshape(n_agents * n_actions, embed, width)[tiles.group]
    rows = jnp.einsum("thk,tek->the", source, slices).reshape(-1, embed)[tiles.place]
    bias = critic.w1.out.bias.reshape(n_agents, n_actions, embed)[jnp.arange(n_agents), actions]
    hidden = (rows + bias).sum(axis=-2) + critic.b1(state)
    return (jax.nn.relu(hidden) * critic.w2(state)).sum(axis=-1) + critic.b2(state)[..., 0]
