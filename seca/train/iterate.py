"""One compiled iteration: collect a batch of whole episodes, update, measure."""

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jax.sharding import Mesh, NamedSharding, PartitionSpec, SingleDeviceSharding
from jaxtyping import Array

from seca import numerics
from seca.algos.base import Algorithm
from seca.envs.base import Env
from seca.envs.check import check_pure
from seca.learning import buffer
from seca.learning.buffer import Replay
from seca.learning.devices import global_sum
from seca.train import contract
from seca.train.forking import credits_of_batch
from seca.train.minibatches import in_turn
from seca.train.rollout import collect
from seca.train.state import TrainState, iteration_keys

AXIS = "runners"
"""Name of the device axis over which runners are spread."""

Iterate = Callable[[TrainState], tuple[TrainState, dict[str, Array]]]


@dataclasses.dataclass(frozen=True)
class Iteration:
    """One iteration as a function of the state.

    A replay buffer in the state is donated: it is written in place and gone from the state given. All else of that
    state stays good, for whoever keeps the best policy or the last state before a loss became NaN.
    """

    program: Callable[..., tuple[TrainState, dict[str, Array]]]

    @numerics.own()
    def __call__(self, state: TrainState) -> tuple[TrainState, dict[str, Array]]:
        """The next state, and measures: `contract.check_kept` reads the one of whether the environment kept its own."""
        return self.program(state.without_replay(), state.replay)

    @numerics.own()
    def compile(self, state: TrainState) -> "Iteration":
        """The same, compiled for states like `state`, which is not touched."""
        assert isinstance(self.program, jax.stages.Wrapped)
        return Iteration(self.program.lower(state.without_replay(), state.replay).compile())


def make_iterate(
    env: Env, algorithm: Algorithm, runners: int, devices: list[jax.Device], minibatches: int = 1
) -> Iteration:
    """Compile-ready iteration over `runners` environments spread evenly over `devices`, with so many updates.

    Raises ValueError if the runners do not divide evenly.
    """
    check_split("runners", runners, devices, minibatches)
    if algorithm.forking is not None:
        check_pure(env)
    body = functools.partial(_iterate, env, algorithm, runners // len(devices), minibatches)
    if len(devices) == 1:
        return Iteration(jax.jit(functools.partial(body, axis=None), donate_argnums=1))
    everywhere = PartitionSpec()
    shared = jax.shard_map(
        functools.partial(body, axis=AXIS),
        mesh=Mesh(devices, (AXIS,)),
        in_specs=(everywhere, everywhere),
        out_specs=(everywhere, everywhere),
        # Trip counts of the loops inside differ between devices, which the replication check cannot follow.
        check_vma=False,
    )
    return Iteration(jax.jit(shared, donate_argnums=1))


def spread(state: TrainState, devices: list[jax.Device]) -> TrainState:
    """A copy of `state` on every device, as an iteration returns it, so that the second iteration compiles nothing.

    A replay buffer is moved there, not copied: it is gone from the state given.
    """
    place = placement(devices)
    rest = jax.device_put(state.without_replay(), place)
    return dataclasses.replace(rest, replay=jax.device_put(state.replay, place, donate=True))


def placement(devices: list[jax.Device]) -> jax.sharding.Sharding:
    """Where a state lies: on the one device, or whole on each of several."""
    if len(devices) == 1:
        return SingleDeviceSharding(devices[0])
    return NamedSharding(Mesh(devices, (AXIS,)), PartitionSpec())


def check_split(field: str, batch: int, devices: list[jax.Device], minibatches: int = 1) -> None:
    """Raise ValueError unless `batch` divides evenly over the devices, and each share into minibatches."""
    each = f" times {minibatches} minibatches" if minibatches > 1 else ""
    if batch < 1 or batch % (len(devices) * minibatches):
        raise ValueError(
            f"`{field}` is {batch}; it must be a positive multiple of the {len(devices)} devices in use{each}"
        )


def device_keys(key: Array, per_device: int, axis: str | None) -> Array:
    """This device's share of one key per runner; the same keys whatever the number of devices."""
    first = 0 if axis is None else jax.lax.axis_index(axis) * per_device
    return jax.vmap(functools.partial(jax.random.fold_in, key))(first + jnp.arange(per_device))


def _iterate(
    env: Env,
    algorithm: Algorithm,
    per_device: int,
    minibatches: int,
    state: TrainState,
    replay: Replay | None,
    axis: str | None,
) -> tuple[TrainState, dict[str, Array]]:
    collect_key, update_key, _ = iteration_keys(state)
    keys = device_keys(collect_key, per_device, axis)
    episodes, played = collect(env, algorithm, algorithm.policy(state.learner), keys, state.env_steps)
    replay = None if replay is None else buffer.add(replay, episodes, axis, played.lost)
    learner = state.learner if algorithm.begin is None else algorithm.begin(state.learner, episodes, axis)
    if algorithm.forking is None:
        update = lambda learner, part, key: algorithm.update(learner, part, replay, key, axis)  # noqa: E731
        left = None if played.lost is None else lambda part: global_sum(part.valid.sum(), axis)
        learner, metrics = in_turn(update, learner, episodes, minibatches, update_key, axis, left)
    else:
        forking = algorithm.forking
        fork_key, update_key = jax.random.split(update_key)
        begun = state.learner, episodes, keys, state.env_steps
        tried = credits_of_batch(env, algorithm, forking, *begun, fork_key, axis)
        update = lambda learner, part, key: forking.update(learner, part[0], part[1], key, axis)  # noqa: E731
        learner, metrics = in_turn(update, learner, (episodes, tried), minibatches, update_key, axis)
    if replay is not None:
        metrics["buffer_episodes"] = buffer.filled(replay)
    if contract.looked_at(env):
        metrics[contract.BREACH] = contract.first_breach(env.spec, episodes, axis)
    wins = None if played.won is None else played.won.sum()
    count = jnp.asarray(per_device) if played.lost is None else jnp.sum(~played.lost)
    sums = (played.episode_return.sum(), wins, played.length.sum(), count)
    returns, wins, steps, count = global_sum(sums, axis)
    some = count if played.lost is None else jnp.maximum(count, 1)
    outcome = {"return_mean": returns / some, "episode_length_mean": steps / some}
    if wins is not None:
        outcome["win_rate"] = wins / some
    if played.lost is not None:
        outcome["episodes_lost"] = global_sum(played.lost.sum(), axis)
    following = TrainState(
        learner=learner,
        replay=replay,
        seed_key=state.seed_key,
        iteration=state.iteration + 1,
        episodes=state.episodes + count.astype(state.episodes.dtype),
        env_steps=state.env_steps + steps.astype(state.env_steps.dtype),
    )
    return following, outcome | metrics
