"""What has to hold on any device, on the one that JAX chooses.

`make test` runs on the CPU what says something there: that an accelerator's programs play as the CPU's do.
benchmarks/accelerator.sh runs all of it on an accelerator, with SECA_TEST_PLATFORM=default.
"""

import collections
import functools
import pathlib

import counting
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import SPEC, random_episodes
from sizes import small

from seca.envs.base import Env
from seca.envs.registry import make
from seca.host.throughput import random_actions
from seca.presets import build
from seca.sizes import ACCELERATOR, CPU, using
from seca.train import checkpoint
from seca.train.iterate import make_iterate
from seca.train.state import init_state

pytestmark = pytest.mark.slow

ON_CPU = jax.default_backend() == "cpu"
BATTLES, STEPS = 200, 60


def environment() -> Env:
    """Battles where they compile in seconds."""
    return counting.env() if ON_CPU else make("smac/2s3z")


@pytest.mark.every
@pytest.mark.parametrize("name", ["2s3z", "MMM2", "3m", "3s_vs_5z"])
def test_battles_are_those_of_the_cpu_step_by_step(name: str) -> None:
    """Each step from where the CPU stands: what rounds otherwise would lead elsewhere in time.

    A unit at the very edge of its range may or may not reach: of each array that is shown or kept one number in 2,000
    may be another. Of the loops that are written out eight steps at a time there are six, eight, ten and 22.
    """
    env, cpu = make(f"smac/{name}"), jax.devices("cpu")[0]
    with using(ACCELERATOR):
        there = jax.jit(env.step)
        keys = jax.random.split(jax.random.key(2), BATTLES)
        state, shown = jax.jit(env.reset)(keys)
        there(state, random_actions(shown.avail, jnp.zeros(shown.avail.shape[:2], jnp.uint32)))  # Traced with these.
    moved = functools.partial(jax.device_put, device=cpu)
    with using(CPU), jax.default_device(cpu):
        here = jax.jit(lambda state, actions: env.step(state, actions))
        key = jax.random.key(3)
        state, shown = moved((state, shown))
    other: dict[str, float] = collections.defaultdict(float)
    alive = 0
    for t in range(STEPS):
        with using(CPU), jax.default_device(cpu):
            bits = jax.random.bits(jax.random.fold_in(key, t), shown.avail.shape[:2], jnp.uint32)
            actions = random_actions(shown.avail, bits)
            following, expected = here(state, actions)
        found = there(*jax.device_put((state, actions), jax.devices()[0]))
        told = zip(jax.tree_util.tree_leaves_with_path(found), jax.tree.leaves((following, expected)), strict=True)
        for (path, one), two in told:
            one, two = (np.asarray(x, np.float64) for x in (one, two))
            # Not `>`, which is false of NaN.
            wrong = ~(np.abs(one - two) <= 1e-3 * np.maximum(1, np.abs(two)))
            other[jax.tree_util.keystr(path)] += int(wrong.sum()) * 2000 / wrong.size / STEPS
        alive += int((~np.asarray(shown.done)).sum())
        state, shown = following, expected
    assert alive > BATTLES * 20  # Battles were on.
    assert max(other.values()) <= 1, (
        f"of 2,000 numbers so many are other than the CPU's: {sorted(other.items(), key=lambda kept: -kept[1])[:5]}"
    )


@pytest.mark.every
def test_an_update_is_that_of_the_cpu() -> None:
    """With the products that the device takes by default, which may have 10 bits only: losses within 1 %."""
    algorithm = build("seca", SPEC, small("seca"))
    told = algorithm.init(jax.random.key(0)), random_episodes(), None, jax.random.key(1)
    with using(ACCELERATOR):
        _, found = jax.jit(functools.partial(algorithm.update, axis=None))(*told)
    cpu = jax.devices("cpu")[0]
    with using(CPU), jax.default_device(cpu), jax.default_matmul_precision("highest"):
        plain = jax.jit(lambda *told: algorithm.update(*told, axis=None))
        _, expected = plain(*jax.device_put(told, cpu))
    for name in ("critic_loss", "entropy", "critic_gradient_norm", "actor_gradient_norm"):
        np.testing.assert_allclose(found[name], expected[name], rtol=0.01, atol=1e-4, err_msg=name)


@pytest.mark.every
def test_runs_repeat_and_go_on_bit_for_bit(tmp_path: pathlib.Path) -> None:
    """From the same state the same state; and from a checkpoint what an unbroken run has."""
    env = environment()
    algorithm = build("seca", env.spec, small("seca"))
    iterate = make_iterate(env, algorithm, 16, jax.devices()[:1], 2)
    state = init_state(algorithm, 0)
    for _ in range(2):
        state, _ = iterate(state)
    checkpoint.save(tmp_path, "latest", state, {})
    stored = checkpoint.load(checkpoint.find(tmp_path, "latest")[0], init_state(algorithm, 1))
    unbroken, again, resumed = (iterate(start)[0] for start in (state, state, stored))
    for other in (again, resumed):
        for one, two in zip(jax.tree.leaves(unbroken), jax.tree.leaves(other), strict=True):
            np.testing.assert_array_equal(np.asarray(one), np.asarray(two))


@pytest.mark.every
def test_several_devices_learn_the_same() -> None:
    counts = [count for count in (2, 4, 8) if count <= jax.device_count()]
    if not counts:
        pytest.skip("one device: nothing to compare it with")
    env = environment()
    algorithm = build("seca", env.spec, small("seca"))
    learners = [
        make_iterate(env, algorithm, 16, jax.devices()[:count], 2)(init_state(algorithm, 0))[0].learner
        for count in (1, *counts)
    ]
    for learner in learners[1:]:
        for one, two in zip(jax.tree.leaves(learners[0]), jax.tree.leaves(learner), strict=True):
            np.testing.assert_allclose(np.asarray(one), np.asarray(two), atol=2e-5)
