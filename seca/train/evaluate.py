"""Greedy evaluation of the current policy on episodes of its own."""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, Int, PRNGKeyArray

from seca import numerics
from seca.algos.base import Algorithm
from seca.envs.base import Env, Host
from seca.errors import RunError, UsageError
from seca.train import contract
from seca.train.iterate import AXIS
from seca.train.rollout import Played, collect, play
from seca.train.state import TrainState, iteration_keys
from seca.types import PyTree

TRIES = 3
"""How often an episode is begun that is lost each time."""
AT_ONCE = 1024
"""Episodes that are played at once, at most; no outcome depends on it."""
Evaluate = Callable[..., dict[str, np.ndarray]]
Tell = Callable[[float, int], None]
"""`tell(share, count)`: how much of an evaluation is done, and how many episodes."""


def make_evaluate(
    env: Env, algorithm: Algorithm, episodes: int, devices: list[jax.Device], at_once: int = AT_ONCE
) -> Evaluate:
    """`evaluate(state, key=None, tell=None)` plays `episodes` greedy episodes with the state's policy.

    More than `at_once` are played in portions of one size, after each of which `tell` hears how many are done.
    Returns `won` (bool, where the environment says so), `return` and `length`, one entry per episode; where workers
    play also `lost`, the number of episodes that are missing since they were lost whenever begun. Without a key, the
    state's own evaluation key of its iteration is used, which training never touches. Raises UsageError, in one line,
    where a return is not finite.
    """
    if env.host is not None:
        return _with_workers(env, algorithm, episodes, env.host)
    portions = -(-episodes // at_once)
    portion = -(-episodes // portions)
    # Evaluation batches need not divide evenly: use as many devices as do.
    share = max(n for n in range(1, len(devices) + 1) if portion % n == 0)
    mesh = Mesh(devices[:share], (AXIS,))
    compiled = jax.jit(
        jax.shard_map(
            functools.partial(_play, env, algorithm),
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec(), PartitionSpec(AXIS)),
            out_specs=PartitionSpec(AXIS),
            check_vma=False,
        )
    )
    # The policy may live on all devices: bring it to those that take part.
    place = NamedSharding(mesh, PartitionSpec())

    @numerics.own()
    def evaluate(state: TrainState, key: PRNGKeyArray | None = None, tell: Tell | None = None) -> dict[str, np.ndarray]:
        key = iteration_keys(state)[2] if key is None else key
        params = algorithm.policy(state.learner)
        given, parts = jax.device_put((params, key), place), []
        for first in range(0, episodes, portion):
            which = np.minimum(first + np.arange(portion), episodes - 1)  # One program: the last one is repeated.
            parts.append(jax.device_get(compiled(*given, which)))
            if tell is not None:
                tell(min(first + portion, episodes) / episodes, min(first + portion, episodes))
        played = jax.tree.map(lambda *rows: np.concatenate(rows)[:episodes], *parts)
        if not np.isfinite(played.episode_return).all():
            raise _endless(env, algorithm, params, key, np.asarray(played.episode_return))
        won = {} if played.won is None else {"won": np.asarray(played.won)}
        return won | {"return": np.asarray(played.episode_return), "length": np.asarray(played.length)}

    return evaluate


def _endless(env: Env, algorithm: Algorithm, params: PyTree, key: Array, returns: np.ndarray) -> UsageError:
    """The line about a return that is not finite: the first such episode is played again, and looked at."""
    episode, start = int(np.flatnonzero(~np.isfinite(returns))[0]), jnp.zeros((), jnp.uint32)

    @jax.jit
    def again(params: PyTree, key: Array) -> Int[Array, ""]:
        played, _ = collect(env, algorithm, params, jax.random.fold_in(key, episode)[None], start, greedy=True)
        return contract.first_breach(env.spec, played, None)

    first = int(again(params, key))
    if first != contract.NONE:
        return contract.broken(env, first, "an evaluation")
    return UsageError(f"`env` {env.spec.id}: the return of an episode of an evaluation is {returns[episode]}")


def _with_workers(env: Env, algorithm: Algorithm, episodes: int, host: Host) -> Evaluate:
    """The same where workers play: as many at once as there are environments, those that were lost once more.

    After `TRIES` an episode is given up: then there are fewer, `lost` says by how many. Raises RunError when none is
    left, or when the workers cannot go on.
    """
    at_once, some = min(host.lanes, episodes), jax.jit(functools.partial(_play, env, algorithm))

    @numerics.own()
    def evaluate(state: TrainState, key: PRNGKeyArray | None = None, tell: Tell | None = None) -> dict[str, np.ndarray]:
        key = iteration_keys(state)[2] if key is None else key
        params = algorithm.policy(state.learner)
        found: dict[int, Played] = {}
        for _ in range(TRIES):
            left = [episode for episode in range(episodes) if episode not in found]
            for first in range(0, len(left), at_once):
                mine = left[first : first + at_once]
                which = mine + mine[-1:] * (at_once - len(mine))  # One program for all: the last one is repeated.
                played = jax.device_get(some(params, key, jnp.asarray(which)))
                host.check()
                one = (jax.tree.map(lambda x: x[row], played) for row in range(len(mine)))  # noqa: B023
                found |= {episode: outcome for episode, outcome in zip(mine, one, strict=True) if not outcome.lost}
                if tell is not None:
                    tell(len(found) / episodes, len(found))
        if not found:
            raise RunError(
                f"`env` {env.spec.id}: all {episodes} episodes of an evaluation were lost {TRIES} times, the last "
                f"time: {host.said}"
            )
        rows = [found[episode] for episode in sorted(found)]
        won = {} if rows[0].won is None else {"won": np.array([row.won for row in rows])}
        returns, lengths = (np.array([getattr(row, name) for row in rows]) for name in ("episode_return", "length"))
        return won | {"return": returns, "length": lengths, "lost": np.array(episodes - len(rows))}

    return evaluate


def _play(env: Env, algorithm: Algorithm, params: PyTree, key: Array, which: Int[Array, " batch"]) -> Played:
    return play(env, algorithm, params, jax.vmap(functools.partial(jax.random.fold_in, key))(which))
