"""Greedy evaluation of the current policy on episodes of its own."""

import functools
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from jaxtyping import Array, PRNGKeyArray

from seca import numerics
from seca.algos.base import Algorithm
from seca.envs.base import Env
from seca.train.iterate import AXIS, device_keys
from seca.train.rollout import Played, play
from seca.train.state import TrainState, iteration_keys
from seca.types import PyTree

Evaluate = Callable[..., dict[str, np.ndarray]]


def make_evaluate(env: Env, algorithm: Algorithm, episodes: int, devices: list[jax.Device]) -> Evaluate:
    """`evaluate(state, key=None)` plays `episodes` greedy episodes at once with the state's policy.

    Returns `won` (bool, where the environment says so), `return` and `length`, one entry per episode. Without a key,
    the state's own evaluation key of its iteration is used, which training never touches.
    """
    # Evaluation batches need not divide evenly: use as many devices as do.
    share = max(n for n in range(1, len(devices) + 1) if episodes % n == 0)
    mesh = Mesh(devices[:share], (AXIS,))
    body = functools.partial(_play, env, algorithm, episodes // share)
    compiled = jax.jit(
        jax.shard_map(
            functools.partial(body, axis=AXIS),
            mesh=mesh,
            in_specs=(PartitionSpec(), PartitionSpec()),
            out_specs=PartitionSpec(AXIS),
            check_vma=False,
        )
    )
    # The policy may live on all devices: bring it to those that take part.
    place = NamedSharding(mesh, PartitionSpec())

    @numerics.own()
    def evaluate(state: TrainState, key: PRNGKeyArray | None = None) -> dict[str, np.ndarray]:
        key = iteration_keys(state)[2] if key is None else key
        params = algorithm.policy(state.learner)
        played = jax.device_get(compiled(*jax.device_put((params, key), place)))
        won = {} if played.won is None else {"won": np.asarray(played.won)}
        return won | {"return": np.asarray(played.episode_return), "length": np.asarray(played.length)}

    return evaluate


def _play(env: Env, algorithm: Algorithm, per_device: int, params: PyTree, key: Array, axis: str) -> Played:
    keys = device_keys(key, per_device, axis)
    return play(env, algorithm, params, keys)
