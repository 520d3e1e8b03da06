"""A buffer of whole episodes, by flashbax: what was collected lately, drawn from at random.

The buffer is by far the largest part of a training state. It is written in place, which takes that the caller donates
it (see `train.iterate`), and every device holds all of it, so that any number of devices draws the same episodes.
"""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray

from seca.learning.devices import first_of_share
from seca.ranges import Count, Positive
from seca.types import EnvSpec, Episodes, PyTree


class Replay(eqx.Module):
    """A replay buffer's arrays, as flashbax keeps them."""

    state: PyTree
    shown: Callable[[Episodes], Episodes] | None = None
    """What becomes of episodes that are taken from it, for updates that see them otherwise than they are stored."""


@dataclasses.dataclass(frozen=True)
class Buffer:
    """What a replay buffer is to be: asked before compiling, and by the training loop."""

    spec: EnvSpec
    episodes: int
    """Episodes that it holds; those of an iteration must fit in it."""
    drawn: dict[str, int] = dataclasses.field(default_factory=dict)
    """Episodes taken from it at a time, by the option that says so: each is split evenly over the devices."""
    record: PyTree = None
    """Shapes of what it keeps of what acting recorded of each row (arrays `[...]` without batch and time), such as the
    probabilities of the policy that acted, for corrections of what is off-policy; None keeps nothing."""

    @property
    def size(self) -> int:
        """Bytes; every device holds all of it."""
        return self.episodes * episode_bytes(self.spec, self.record)

    def init(self) -> Replay:
        """With nothing in it."""
        state = _flashbax(self.episodes, 1).init(_empty(self.spec, self.record))
        # flashbax's counters are weakly typed, what a checkpoint gives back is not: the same types, the same program.
        return Replay(jax.tree.map(lambda x: jnp.asarray(x, x.dtype), state))


@dataclasses.dataclass(frozen=True)
class ReplayOptions:
    """Options of those who learn from replayed episodes."""

    batch_episodes: Count = 32
    """Episodes drawn from the buffer for each gradient step on replayed ones."""
    buffer_episodes: Count = 5000
    """Episodes the buffer holds."""
    buffer_gib: Positive = 2.0
    """Memory the buffer may take on each device; on large maps it holds fewer episodes for that."""

    def capacity(self, spec: EnvSpec, record: PyTree = None) -> int:
        """Episodes that the buffer holds, with what it keeps of each: `buffer_episodes`, or as many as `buffer_gib`."""
        return min(self.buffer_episodes, int(self.buffer_gib * 2**30) // episode_bytes(spec, record))

    def buffer(self, spec: EnvSpec, record: PyTree = None) -> Buffer:
        """The buffer from which `batch_episodes` are drawn at a time. Raises ValueError when it cannot hold them."""
        drawn = {"batch_episodes": self.batch_episodes}
        self.check_room(spec, record, **drawn)
        return Buffer(spec, self.capacity(spec, record), drawn, record)

    def check_room(self, spec: EnvSpec, record: PyTree = None, **needed: int) -> None:
        """Raise ValueError unless the buffer can hold as many episodes as each option named needs."""
        held = self.capacity(spec, record)
        for field, value in needed.items():
            if held < value:
                raise ValueError(
                    f"`{field}` is {value} but the buffer holds {held}: the least of `buffer_episodes` "
                    f"{self.buffer_episodes} and what fits in `buffer_gib` {self.buffer_gib}, at "
                    f"{episode_bytes(spec, record) / 2**20:.2g} MiB per episode of {spec.id}"
                )


def episode_bytes(spec: EnvSpec, record: PyTree = None) -> int:
    """Size of one padded episode in the buffer."""
    shapes = jax.eval_shape(lambda: _empty(spec, record))
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(shapes))


def shown_as(replay: Replay | None, shown: Callable[[Episodes], Episodes]) -> Replay | None:
    """The same buffer, whose episodes are first what they are `shown` as there, then what that makes of them."""
    if replay is None:
        return None
    first = replay.shown
    return Replay(replay.state, shown if first is None else lambda episodes: shown(first(episodes)))


def size(replay: Replay) -> int:
    """Episodes that it can hold."""
    return replay.state.experience.reward.shape[1]


def filled(replay: Replay) -> Int[Array, ""]:
    """Episodes that it holds."""
    return jnp.where(replay.state.is_full, size(replay), replay.state.current_index)


def add(replay: Replay, episodes: Episodes, axis: str | None, lost: Bool[Array, " batch"] | None = None) -> Replay:
    """Store new episodes of all devices over the oldest ones, but for those that were `lost`: they take no room."""
    record = episodes.record if replay.state.experience.record is not None else None
    new = dataclasses.replace(episodes, record=record)
    new = jax.tree.map(lambda x, room: x.astype(room.dtype), new, replay.state.experience)
    if axis is not None:
        new, lost = jax.lax.all_gather((new, lost), axis, tiled=True)
    if lost is None:
        return Replay(_flashbax(size(replay), 1).add(replay.state, new))
    return Replay(_with_kept(replay.state, new, ~lost))


def _with_kept(state: PyTree, new: Episodes, kept: Bool[Array, " batch"]) -> PyTree:
    """flashbax's state with some of the episodes, in their order: flashbax itself adds all of a batch."""
    room, here = state.experience.reward.shape[1], state.current_index
    behind = jnp.cumsum(kept, dtype=here.dtype)
    # What is put beyond the end is dropped.
    place = jnp.where(kept, (here + behind - 1) % room, room)
    stored = jax.tree.map(lambda held, x: held.at[0, place].set(x, mode="drop"), state.experience, new)
    end = here + behind[-1]
    return state.replace(experience=stored, current_index=end % room, is_full=state.is_full | (end >= room))


def sample(replay: Replay, batch: int, key: PRNGKeyArray, axis: str | None) -> Episodes:
    """This device's share of `batch` episodes, each drawn from all that are stored; some may come up twice.

    PyMARL draws without replacement, which makes no difference worth the sort: of 32 draws from 5000, 0.1 coincide.

    Raises:
        ValueError: the batch does not divide evenly over the devices.
    """
    return _share(replay, _flashbax(size(replay), batch).sample(replay.state, key).experience, "batch_episodes", axis)


def latest(replay: Replay, count: int, axis: str | None) -> Episodes:
    """This device's share of the `count` episodes stored last, newest first; what is missing has no valid step.

    Raises:
        ValueError: they do not divide evenly over the devices.
    """
    age = jnp.arange(count, dtype=jnp.int32)
    index = (replay.state.current_index - 1 - age) % size(replay)
    found = jax.tree.map(lambda x: x[0, index], replay.state.experience)
    found = dataclasses.replace(found, valid=found.valid & (age < filled(replay))[:, None])
    return _share(replay, found, "latest_episodes", axis)


def _share(replay: Replay, everywhere: Episodes, field: str, axis: str | None) -> Episodes:
    """This device's share of episodes that all devices have, in the types of episodes that were not stored."""
    batch, devices = everywhere.reward.shape[0], 1 if axis is None else jax.lax.axis_size(axis)
    if batch % devices:
        raise ValueError(f"`{field}` is {batch}; it must be a multiple of the {devices} devices in use")
    share = batch // devices
    first = first_of_share(share, axis)
    own = jax.tree.map(lambda x: jax.lax.dynamic_slice_in_dim(x, first, share), everywhere)
    own = dataclasses.replace(own, actions=own.actions.astype(jnp.int32))
    return own if replay.shown is None else replay.shown(own)


def has(replay: Replay, episodes: int) -> Bool[Array, ""]:
    """Whether it holds at least so many."""
    return filled(replay) >= episodes


def _flashbax(max_length: int, batch: int) -> PyTree:
    """flashbax's own record of functions, for episodes as items."""
    import flashbax  # Takes a while to load: only when a method replays.

    return flashbax.make_item_buffer(max_length, min_length=1, sample_batch_size=batch, add_batches=True)


def _empty(spec: EnvSpec, record: PyTree) -> Episodes:
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
        actions=jnp.zeros((1, time + 1, agents), small)
        if spec.box is None
        else jnp.zeros((1, time + 1, agents, actions), jnp.float32),
        record=jax.tree.map(lambda x: jnp.zeros((1, time + 1, *x.shape), x.dtype), record),
    )
    return jax.tree.map(lambda x: x[0], shapes)
