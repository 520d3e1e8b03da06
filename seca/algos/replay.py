"""A buffer of whole episodes, by flashbax: what was collected lately, drawn from at random.

The buffer is by far the largest part of a learner's state. It is written in place, which takes that the caller donates
it (see `train.iterate`), and every device holds all of it, so that any number of devices draws the same episodes.
"""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from seca.types import EnvSpec, Episodes, PyTree


class Replay(eqx.Module):
    """A replay buffer's arrays, as flashbax keeps them."""

    state: PyTree


def take_out(tree: PyTree) -> tuple[PyTree, PyTree]:
    """A tree without its replay buffer, and the buffer in its place in an otherwise empty tree.

    `eqx.combine(*take_out(tree), is_leaf=is_replay)` puts it back. Trees without a buffer are returned whole.
    """
    return eqx.partition(tree, lambda leaf: not is_replay(leaf), is_leaf=is_replay)


def put_back(rest: PyTree, replay: PyTree) -> PyTree:
    """The tree that `take_out` took apart."""
    return eqx.combine(rest, replay, is_leaf=is_replay)


def is_replay(node: PyTree) -> bool:
    """Whether a node of a tree is a replay buffer."""
    return isinstance(node, Replay)


def capacity(spec: EnvSpec, episodes: int, gib: float) -> int:
    """Episodes that the buffer holds: `episodes`, or as many as fit in `gib`."""
    return min(episodes, int(gib * 2**30) // episode_bytes(spec))


def check_room(spec: EnvSpec, episodes: int, gib: float, **needed: int) -> None:
    """Raise ValueError unless the buffer can hold as many episodes as each option named needs."""
    held = capacity(spec, episodes, gib)
    for field, value in needed.items():
        if held < value:
            raise ValueError(
                f"`{field}` is {value} but the buffer holds {held}: the least of `buffer_episodes` {episodes} and what "
                f"fits in `buffer_gib` {gib}, at {episode_bytes(spec) / 2**20:.2g} MiB per episode of {spec.id}"
            )


def episode_bytes(spec: EnvSpec) -> int:
    """Size of one padded episode in the buffer."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(jax.eval_shape(lambda: _empty(spec))))


def init(spec: EnvSpec, size: int) -> Replay:
    """An empty buffer for `size` episodes."""
    state = _flashbax(size, 1).init(_empty(spec))
    # flashbax's counters are weakly typed, what a checkpoint gives back is not: the same types, the same program.
    return Replay(jax.tree.map(lambda x: jnp.asarray(x, x.dtype), state))


def size(replay: Replay) -> int:
    """Episodes that it can hold."""
    return replay.state.experience.reward.shape[1]


def filled(replay: Replay) -> Int[Array, ""]:
    """Episodes that it holds."""
    return jnp.where(replay.state.is_full, size(replay), replay.state.current_index)


def add(replay: Replay, episodes: Episodes, axis: str | None) -> Replay:
    """Store new episodes of all devices over the oldest ones."""
    new = dataclasses.replace(episodes, record=None)
    new = jax.tree.map(lambda x, room: x.astype(room.dtype), new, replay.state.experience)
    if axis is not None:
        new = jax.lax.all_gather(new, axis, tiled=True)
    return Replay(_flashbax(size(replay), 1).add(replay.state, new))


def sample(replay: Replay, batch: int, key: PRNGKeyArray, axis: str | None) -> Episodes:
    """This device's share of `batch` episodes, each drawn from all that are stored; some may come up twice.

    PyMARL draws without replacement, which makes no difference worth the sort: of 32 draws from 5000, 0.1 coincide.

    Raises:
        ValueError: the batch does not divide evenly over the devices.
    """
    return _share(_flashbax(size(replay), batch).sample(replay.state, key).experience, "batch_episodes", axis)


def latest(replay: Replay, count: int, axis: str | None) -> Episodes:
    """This device's share of the `count` episodes stored last, newest first; what is missing has no valid step.

    Raises:
        ValueError: they do not divide evenly over the devices.
    """
    age = jnp.arange(count, dtype=jnp.int32)
    index = (replay.state.current_index - 1 - age) % size(replay)
    found = jax.tree.map(lambda x: x[0, index], replay.state.experience)
    found = dataclasses.replace(found, valid=found.valid & (age < filled(replay))[:, None])
    return _share(found, "latest_episodes", axis)


def _share(everywhere: Episodes, field: str, axis: str | None) -> Episodes:
    """This device's share of episodes that all devices have, in the types of episodes that were not stored."""
    batch, devices = everywhere.reward.shape[0], 1 if axis is None else jax.lax.axis_size(axis)
    if batch % devices:
        raise ValueError(f"`{field}` is {batch}; it must be a multiple of the {devices} devices in use")
    share = batch // devices
    first = 0 if axis is None else jax.lax.axis_index(axis) * share
    own = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, share), everywhere)
    return dataclasses.replace(own, actions=own.actions.astype(jnp.int32))


def has(replay: Replay, episodes: int) -> Bool[Array, ""]:
    """Whether it holds at least so many."""
    return filled(replay) >= episodes


def _flashbax(max_length: int, batch: int) -> PyTree:
    """flashbax's own record of functions, for episodes as items."""
    import flashbax  # Takes a while to load: only when a method replays.

    return flashbax.make_item_buffer(max_length, min_length=1, sample_batch_size=batch, add_batches=True)


def _empty(spec: EnvSpec) -> Episodes:
    """One episode of zeros without a batch axis, in the types that it is stored in."""
    time, agents, actions = spec.episode_limit, spec.n_agents, spec.n_actions
    small = jnp.int8 if actions <= 128 else jnp.int16
    flags = jnp.zeros(time, bool)
    shapes = Episodes(
        reward=jnp.zeros((1, time), jnp.float32),
        terminated=flags[None],
        truncated=flags[None],
        valid=flags[None],
        obs=jnp.zeros((1, time + 1, agents, spec.obs_size), jnp.float32),
        state=jnp.zeros((1, time + 1, spec.state_size), jnp.float32),
        avail=jnp.zeros((1, time + 1, agents, actions), bool),
        actions=jnp.zeros((1, time + 1, agents), small),
    )
    return jax.tree.map(lambda x: x[0], shapes)
