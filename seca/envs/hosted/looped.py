"""A pool of workers as an `Env`: the compiled training loop calls out to it and waits.

JAX takes these calls for effects (`io_callback`), so that none is left out or made twice; what one returns goes into
the next, so that they come in their order.
"""

import atexit
import functools
import weakref
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.experimental import io_callback
from jaxtyping import Array, Int, Key

from seca.envs.base import Env
from seca.envs.hosted.batches import Shown
from seca.envs.hosted.lanes import Recipe
from seca.envs.hosted.pool import Hosting, Pool
from seca.envs.hosted.single import Spec
from seca.types import Actions, Box, EnvSpec, TimeStep

LOST = "lost"
"""In `TimeStep.info`: the environment failed, so that nothing of the episode counts."""


class State(eqx.Module):
    """Where to find the episodes; what they are is with the workers."""

    batch: Int[Array, " batch"]
    """Number of the batch that they were begun in."""
    place: Int[Array, " batch"]
    time: Int[Array, " batch"]
    """Env steps played: an older state than the latest is refused."""


def make(recipe: Recipe, hosting: Hosting) -> Env:
    """The environment, played by workers of its own until the process ends or `Env.host` is closed.

    Raises ValueError where it cannot be made, in one line.
    """
    pool = Pool(recipe, hosting)
    _OPEN.add(pool)
    reset, step = functools.partial(_reset, pool), functools.partial(_step, pool)
    return Env(_env_spec(pool.spec), reset, step, host=pool)


def _env_spec(spec: Spec) -> EnvSpec:
    box = None if spec.box is None else Box(*spec.box)
    return EnvSpec(**vars(spec) | {"box": box})


_OPEN: "weakref.WeakSet[Pool]" = weakref.WeakSet()


@atexit.register
def _close_all() -> None:
    for pool in tuple(_OPEN):
        pool.close()


def _reset(pool: Pool, keys: Key[Array, " batch"]) -> tuple[State, TimeStep]:
    batch = keys.shape[0]
    bits = jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32))(keys)
    number, shown = io_callback(
        lambda seeds: _plain(pool.reset(np.asarray(seeds))),
        (jax.ShapeDtypeStruct((batch,), jnp.int32), _shapes(pool, batch)),
        (bits >> 1).astype(jnp.int32),
    )
    return State(number, jnp.arange(batch, dtype=jnp.int32), shown["time"]), _time_step(pool, shown)


def _step(pool: Pool, before: State, actions: Actions) -> tuple[State, TimeStep]:
    shown = io_callback(
        lambda *given: _plain(pool.step(*(np.asarray(array) for array in given))),
        _shapes(pool, actions.shape[0]),
        before.batch,
        before.place,
        before.time,
        actions,
    )
    return State(before.batch, before.place, shown["time"]), _time_step(pool, shown)


def _shapes(pool: Pool, batch: int) -> dict[str, jax.ShapeDtypeStruct]:
    blank = Shown.blank(pool.spec, batch)
    return {name: jax.ShapeDtypeStruct(array.shape, array.dtype) for name, array in vars(blank).items()}


def _plain(result: Any) -> Any:
    """Trees that JAX knows, in place of ours."""
    return (result[0], vars(result[1])) if isinstance(result, tuple) else vars(result)


def _time_step(pool: Pool, shown: dict[str, Array]) -> TimeStep:
    info = {LOST: shown["lost"]} | ({"won": shown["won"]} if pool.wins else {})
    return TimeStep(
        obs=shown["obs"],
        state=shown["state"],
        avail=shown["avail"],
        reward=shown["reward"],
        terminated=shown["terminated"],
        truncated=shown["truncated"],
        info=info,
    )
