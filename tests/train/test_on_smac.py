"""The whole loop on battles: device counts, resuming, and learning."""

import functools

import jax
import numpy as np
import pytest

from seca.envs.registry import make
from seca.presets import PRESETS, build
from seca.train.iterate import make_iterate
from seca.train.state import TrainState, init_state


@functools.lru_cache
def setting(env_id: str):
    env = make(env_id)
    return env, build("seca", env.spec, PRESETS["seca"].config)


@functools.lru_cache
def iterations(n_devices: int, count: int, env_id: str = "smac/3m", runners: int = 4):
    """State and metrics after some iterations from seed 0."""
    env, algorithm = setting(env_id)
    iterate = make_iterate(env, algorithm, runners, jax.devices()[:n_devices])
    state, lines = init_state(algorithm, 0), []
    for _ in range(count):
        state, metrics = iterate(state)
        lines.append(jax.device_get(metrics))
    return iterate, state, lines


def close(left: TrainState, right: TrainState, tolerance: float) -> None:
    for one, other in zip(jax.tree.leaves(left.learner), jax.tree.leaves(right.learner), strict=True):
        np.testing.assert_allclose(other, one, rtol=0, atol=tolerance)


@pytest.mark.slow
def test_one_and_two_devices_play_the_same_battles_and_learn_the_same() -> None:
    """Battles of unequal length on 1 and 2 devices: same steps, same update to 1e-6."""
    _, alone, first = iterations(1, 1)
    _, shared, second = iterations(2, 1)
    assert int(alone.env_steps) == int(shared.env_steps) > 4
    np.testing.assert_allclose(second[0]["return_mean"], first[0]["return_mean"], rtol=1e-6)
    close(alone, shared, 1e-6)


@pytest.mark.every
def test_going_on_from_a_copy_equals_going_on() -> None:
    """Three iterations, and two then one from arrays read back on the host: bit for bit the same."""
    iterate, state, _ = iterations(1, 2)
    copied = jax.tree.map(lambda leaf: jax.numpy.asarray(np.asarray(leaf)), state)
    unbroken, resumed = iterate(state), iterate(copied)
    for one, other in zip(jax.tree.leaves(unbroken), jax.tree.leaves(resumed), strict=True):
        np.testing.assert_array_equal(np.asarray(one), np.asarray(other))


@pytest.mark.every
@pytest.mark.usefixtures("usual_programs")
def test_seca_learns_on_3m() -> None:
    """Training return over 120 updates of 32 battles: the last twenty beat the first twenty by 2 of 20 points."""
    _, _, lines = iterations(2, 120, runners=32)
    returns = np.array([line["return_mean"] for line in lines])
    assert returns[-20:].mean() > returns[:20].mean() + 2.0, (returns[:20].mean(), returns[-20:].mean())
