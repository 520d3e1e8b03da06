"""How many env steps per second an environment makes, with legal random actions."""

import dataclasses
import functools
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, UInt

from seca import numerics
from seca.envs.base import Env, where_done
from seca.types import Box, PyTree, TimeStep

SCANNED_STEPS = 200
"""Steps of one timed call: enough that dispatching it costs nothing."""


@dataclasses.dataclass(frozen=True)
class Play:
    """Random play of an environment, compiled: what `measure` times."""

    env: Env
    batch: int
    devices: int
    steps: int
    """Env steps of one call, of each environment."""
    start: Callable[[Array], PyTree]
    program: Callable[[PyTree], PyTree]
    compile_seconds: float

    def time(self, seconds: float) -> dict[str, Any]:
        """Rates over as many calls as fit into `seconds`, one at least; fields as `measure` has them."""
        carry = self.start(jax.random.split(numerics.key(0), self.batch))
        carry = jax.block_until_ready(self.program(carry))
        rates: list[float] = []
        deadline = time.perf_counter() + seconds
        while not rates or time.perf_counter() < deadline:
            began = time.perf_counter()
            carry = jax.block_until_ready(self.program(carry))
            rates.append(self.steps * self.batch / (time.perf_counter() - began))
        return {
            "env": self.env.spec.id,
            "batch": self.batch,
            "devices": self.devices,
            "platform": jax.devices()[0].platform,
            "env_steps_per_second": statistics.median(rates),
            "best_env_steps_per_second": max(rates),
            "timed_calls": len(rates),
            "compile_seconds": self.compile_seconds,
        }


def compile_play(env: Env, batch: int, devices: int = 1, steps: int = SCANNED_STEPS) -> Play:
    """Compile random play with immediate resets: every lane of the batch counts, every output is computed.

    Args:
        env: what is played.
        batch: environments in all, split evenly over the devices.
        devices: how many of `jax.devices()` to use.
        steps: env steps of one call.

    Raises:
        ValueError: `devices` or `batch` does not fit.
    """
    if not 1 <= devices <= jax.device_count():
        raise ValueError(f"`devices` must be between 1 and {jax.device_count()}, got {devices}")
    if batch < 1 or batch % devices:
        raise ValueError(f"`batch` must be a positive multiple of `devices` = {devices}, got {batch}")
    mesh = jax.make_mesh(
        (devices,), ("batch",), devices=jax.devices()[:devices], axis_types=(jax.sharding.AxisType.Auto,)
    )
    by_lane = PartitionSpec("batch")

    def shard(fn, out_specs):
        return jax.jit(jax.shard_map(fn, mesh=mesh, in_specs=by_lane, out_specs=out_specs, check_vma=False))

    # One device's carry is stacked on a new first axis, so that states with any batch axis can be split.
    stack = functools.partial(jax.tree.map, lambda x: x[None])
    start = shard(lambda keys: stack(_start(env, keys)), by_lane)
    run = shard(lambda carry: stack(_run(env, steps, jax.tree.map(lambda x: x[0], carry))), by_lane)
    place = NamedSharding(mesh, by_lane)
    began = time.perf_counter()
    keys = jax.ShapeDtypeStruct((batch,), numerics.key(0).dtype, sharding=place)
    compiled = run.lower(jax.eval_shape(start, keys)).compile()
    begin = start.lower(keys).compile()
    seconds = time.perf_counter() - began
    return Play(env, batch, devices, steps, lambda keys: begin(jax.device_put(keys, place)), compiled, seconds)


def measure(env: Env, batch: int, seconds: float = 3.0, devices: int = 1) -> dict[str, Any]:
    """Time random play (`compile_play`).

    Args:
        env: what is played.
        batch: environments in all, split evenly over the devices.
        seconds: how long to keep timing calls.
        devices: how many of `jax.devices()` to use.

    Returns:
        Median and best rate in env steps per second over the timed calls, and how long compiling took.

    Raises:
        ValueError: `devices` or `batch` does not fit, or `seconds` is not positive.
    """
    if not seconds > 0:
        raise ValueError(f"`seconds` must be positive, got {seconds}")
    return compile_play(env, batch, devices).time(seconds)


def random_actions(
    avail: Bool[Array, "batch agents actions"], noise: UInt[Array, "batch agents"]
) -> Int[Array, "batch agents"]:
    """One available action per agent, uniformly, from 32 random bits each."""
    count = jnp.cumsum(avail.astype(jnp.int32), axis=-1)
    pick = ((noise >> 16) * count[..., -1].astype(jnp.uint32) >> 16).astype(jnp.int32)
    return (count <= pick[..., None]).sum(axis=-1, dtype=jnp.int32)


def random_numbers(box: Box, noise: UInt[Array, "batch agents"]) -> Float[Array, "batch agents numbers"]:
    """Continuous actions anywhere in a box, from 32 random bits for each agent."""
    low, high = jnp.asarray(box.low, jnp.float32), jnp.asarray(box.high, jnp.float32)
    each = noise[..., None] * (2 * jnp.arange(1, len(box.low) + 1, dtype=jnp.uint32) + 1)
    return low + (high - low) * (each >> 8).astype(jnp.float32) / 2**24


def _start(env: Env, keys: Array) -> PyTree:
    """Carry of `_run`: first states, running noise, keys to reset with, and a sum over all outputs."""
    state, shown = env.reset(keys)
    noise = jax.vmap(lambda key: jax.random.bits(key, (env.spec.n_agents,), jnp.uint32))(keys)
    return state, shown, noise, keys, jnp.float32(0.0)


def _run(env: Env, steps: int, carry: PyTree) -> PyTree:
    return jax.lax.scan(functools.partial(_one_step, env), carry, None, length=steps)[0]


def _one_step(env: Env, carry: PyTree, _: None) -> tuple[PyTree, None]:
    state, shown, noise, keys, total = carry
    noise = noise * jnp.uint32(747796405) + jnp.uint32(2891336453)
    if env.spec.box is None:
        actions = random_actions(shown.avail, noise)
    else:
        actions = random_numbers(env.spec.box, noise)
    played = env.step(state, actions)
    done = played[1].done
    # Every battle is a new one, with a key of its own.
    keys = jax.vmap(jax.random.fold_in)(keys, done.astype(jnp.uint32))
    state, shown = jax.lax.cond(done.any(), lambda: where_done(env, done, env.reset(keys), played), lambda: played)
    return (state, shown, noise, keys, total + _sum(shown)), None


def _sum(shown: TimeStep) -> Array:
    """Touch every output, so that none is optimised away."""
    return shown.obs.sum() + shown.state.sum() + shown.reward.sum()
