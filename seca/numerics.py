"""The settings of JAX that our numbers are made with, whatever is set around us.

A flag in the environment (`JAX_ENABLE_X64=1`, `JAX_DEFAULT_PRNG_IMPL=rbg`, ...) must neither break a run nor give it
other numbers. Entry points `pin` them for their process; what is called from somebody's own program uses them for the
time of the call (`own`) and leaves the program's settings as they were. What a user may want to change although it
changes numbers, such as the precision of products, stays, and `free` says what it is.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Integer, Key, UInt32

from seca.types import PyTree

GENERATOR = "threefry2x32"
"""Random bits are this generator's; JAX's other ones give others on other devices."""

_PINNED: dict[str, Any] = {
    "jax_enable_x64": False,
    "jax_default_prng_impl": GENERATOR,
    "jax_threefry_partitionable": True,
    "jax_random_seed_offset": 0,
    "jax_high_dynamic_range_gumbel": False,
    "jax_numpy_dtype_promotion": "standard",
    "jax_numpy_rank_promotion": "allow",
    # Not numbers, but nothing of ours runs with them: programs are compiled ahead, one key serves all of a batch,
    # numbers go to and from the devices unasked, and JAX's new and old ways of the same are not all finished.
    "jax_disable_jit": False,
    "jax_debug_key_reuse": False,
    "jax_use_shardy_partitioner": True,
    "jax_scan3": False,
    "jax_no_tracing": False,
    "jax_no_execution": False,
    "jax_error_checking_behavior_nan": "ignore",
    "jax_error_checking_behavior_divide": "ignore",
    "jax_error_checking_behavior_oob": "ignore",
    "jax_transfer_guard": "allow",
    "jax_transfer_guard_host_to_device": "allow",
    "jax_transfer_guard_device_to_device": "allow",
    "jax_transfer_guard_device_to_host": "allow",
}
_FREE: dict[str, Any] = {
    "jax_default_matmul_precision": None,
    "jax_disable_most_optimizations": False,
    "jax_optimization_level": "UNKNOWN",
    "jax_exec_time_optimization_effort": 0.0,
    "jax_softmax_custom_jvp": False,
    "jax_use_direct_linearize": True,
    "jax_threefry_gpu_kernel_lowering": False,
}
"""Options that can change a number, and their defaults."""


def pin() -> None:
    """Set this process's JAX to our settings. For entry points only."""
    for name, value in _PINNED.items():
        if name in jax.config.values:  # Versions of JAX differ in what there is to set.
            jax.config.update(name, value)


@contextmanager
def own() -> Iterator[None]:
    """Our settings for the time of a call, in this thread; also a decorator."""
    with ExitStack() as settings:
        settings.enter_context(jax.enable_x64(False))
        settings.enter_context(jax.default_prng_impl(GENERATOR))
        settings.enter_context(jax.threefry_partitionable(True))
        settings.enter_context(jax.numpy_dtype_promotion("standard"))
        settings.enter_context(jax.numpy_rank_promotion("allow"))
        settings.enter_context(jax.transfer_guard("allow"))
        yield


def key(seed: int | Integer[Array, ""]) -> Key[Array, ""]:
    """`jax.random.key(seed)` of our generator as JAX makes it by default, whatever generator and offset are set.

    As there, 32 bits of the seed count.
    """
    word = jnp.asarray(np.uint32(seed & 0xFFFFFFFF) if isinstance(seed, int) else seed).astype(jnp.uint32)
    return typed(jnp.stack([jnp.zeros_like(word), word]))


def typed(words: UInt32[Array, "... 2"]) -> Key[Array, " ..."]:
    """Keys of our generator whose words are these, as checkpoints and programs with raw keys hold them."""
    return jax.random.wrap_key_data(words, impl=GENERATOR)


def narrow(tree: PyTree) -> PyTree:
    """Arrays of 64 bits, as somebody's own program may hold them, as ours of 32. Call it within `own`."""
    return jax.tree.map(lambda x: x.astype(jax.dtypes.canonicalize_dtype(x.dtype)), tree)


def free() -> dict[str, Any]:
    """Settings beside ours that can change a number, where they are not JAX's defaults: name and JSON-ready value."""
    now = {name: jax.config.values.get(name, default) for name, default in _FREE.items()}
    return {name: str(now[name]) for name, default in _FREE.items() if now[name] != default}
