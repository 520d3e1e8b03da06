"""Sums and keys over devices: on one, two and four of them the same."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec

from seca.learning.devices import episode_keys, first_of_share, global_max, global_sum, step_keys

KEY = jax.random.key(7)
BATCH = 12


def shared(fn, devices: int, *split: jax.Array):
    """`fn(axis, *shares)` on so many devices, results side by side; on one without an axis."""
    if devices == 1:
        return fn(None, *split)
    runners = PartitionSpec("runners")
    mapped = jax.shard_map(
        functools.partial(fn, "runners"),
        mesh=Mesh(jax.devices()[:devices], ("runners",)),
        in_specs=(runners,) * len(split),
        out_specs=runners,
        check_vma=False,
    )
    return jax.jit(mapped)(*split)


def bits(keys: jax.Array) -> np.ndarray:
    return np.asarray(jax.random.key_data(keys))


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_sums_and_maxima_are_global(devices: int) -> None:
    """Of trees, leaf by leaf: every device has the whole."""
    values = jnp.asarray(np.random.default_rng(0).permutation(BATCH), jnp.float32)

    def measured(axis: str | None, share: jax.Array) -> dict[str, jax.Array]:
        parts = {"sum": share.sum(), "squares": (share**2).sum()}
        return jax.tree.map(lambda x: x[None], global_sum(parts, axis) | {"max": global_max(share.max(), axis)})

    found = shared(measured, devices, values)
    for name, expected in {"sum": 66, "squares": 506, "max": 11}.items():
        np.testing.assert_array_equal(found[name], [expected] * devices)


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_shares_are_numbered_through(devices: int) -> None:
    found = shared(lambda axis, x: first_of_share(len(x), axis) + jnp.arange(len(x)), devices, jnp.zeros(BATCH))
    np.testing.assert_array_equal(found, np.arange(BATCH))


@pytest.mark.parametrize("devices", [1, 2, 4])
def test_keys_are_those_of_the_episodes_number(devices: int) -> None:
    """And of the step's number within it; no two alike."""
    found = shared(lambda axis, x: episode_keys(KEY, len(x), axis), devices, jnp.zeros(BATCH))
    expected = np.stack([bits(jax.random.fold_in(KEY, number)) for number in range(BATCH)])
    np.testing.assert_array_equal(bits(found), expected)
    steps = shared(lambda axis, x: step_keys(episode_keys(KEY, len(x), axis), 5), devices, jnp.zeros(BATCH))
    assert steps.shape == (BATCH, 5)
    for number in range(BATCH):
        for t in range(5):
            one = jax.random.fold_in(jax.random.fold_in(KEY, number), t)
            np.testing.assert_array_equal(bits(steps[number, t]), bits(one))
    assert len({tuple(key) for key in bits(steps).reshape(BATCH * 5, -1).tolist()}) == BATCH * 5
