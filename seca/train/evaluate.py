"""Greedy evaluation of the current policy on episodes of its own."""

import functools
from collections.abc import Callable

import jax
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, PRNGKeyArray

from seca.algos.base import Algorithm
from seca.envs.base import Env
from seca.train.iterate import AXIS, device_keys
from seca.train.rollout import Played, play
from seca.train.state import TrainState, iteration_keys

Evaluate = Callable[..., dict[str, np.ndarray]]


def make_evaluate(env: Env, algorithm: Algorithm, episodes: int, devices: list[jax.Device]) -> Evaluate:
    """`evaluate(state, key=None)` plays `episodes` greedy episodes at once with the state's policy.

    Returns `won` (bool), `return` and `length`, one entry per episode. Without a key, the state's own evaluation key
    of its iteration is used, which training never touches.
    """
    # Evaluation batches need not divide evenly: use as many devices as do.
    share = max(n for n in range(1, len(devices) + 1) if episodes % n == 0)
    body = functools.partial(_play, env, algorithm, episodes // share)
    if share == 1:
        compiled = jax.jit(functools.partial(body, axis=None))
    else:
        split = PartitionSpec(AXIS)
        compiled = jax.jit(
            jax.shard_map(
                functools.partial(body, axis=AXIS),
                mesh=Mesh(devices[:share], (AXIS,)),
                in_specs=(PartitionSpec(), PartitionSpec()),
                out_specs=split,
                check_vma=False,
            )
        )

    def evaluate(state: TrainState, key: PRNGKeyArray | None = None) -> dict[str, np.ndarray]:
        played = jax.device_get(compiled(state, iteration_keys(state)[2] if key is None else key))
        return {
            "won": np.asarray(played.won),
            "return": np.asarray(played.episode_return),
            "length": np.asarray(played.length),
        }

    return evaluate


def _play(
    env: Env, algorithm: Algorithm, per_device: int, state: TrainState, key: Array, axis: str | None
) -> Played:
    keys = device_keys(key, per_device, axis)
    return play(env, algorithm, algorithm.policy(state.learner), keys)
