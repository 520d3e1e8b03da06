"""One iteration: device counts, and what counts as an env step."""

import functools

import counting
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import cases

from seca.train.iterate import make_iterate
from seca.train.rollout import collect
from seca.train.state import init_state, iteration_keys

pytestmark = pytest.mark.slow


ENV = counting.env()
ALGORITHM = counting.algorithm()


@pytest.mark.parametrize("n_devices", cases([2, 4]))
def test_device_counts_agree(n_devices: int) -> None:
    """1, 2 and 4 devices: same episodes, and the same update to 1e-6."""
    alone = make_iterate(ENV, ALGORITHM, 16, jax.devices()[:1])(init_state(ALGORITHM, 0))
    shared = make_iterate(ENV, ALGORITHM, 16, jax.devices()[:n_devices])(init_state(ALGORITHM, 0))
    assert int(alone[0].env_steps) == int(shared[0].env_steps) > 0
    assert int(shared[0].episodes) == 16 and int(shared[0].iteration) == 1
    for one, many in zip(jax.tree.leaves(alone[1]), jax.tree.leaves(shared[1]), strict=True):
        np.testing.assert_allclose(many, one, rtol=1e-6, atol=1e-6)  # Some metrics are of size 100.
    for one, many in zip(jax.tree.leaves(alone[0].learner), jax.tree.leaves(shared[0].learner), strict=True):
        np.testing.assert_allclose(many, one, rtol=0, atol=1e-6)


def test_env_steps_are_steps_of_unfinished_episodes() -> None:
    iterate = make_iterate(ENV, ALGORITHM, 16, jax.devices()[:1])
    state = init_state(ALGORITHM, 1)
    play = jax.jit(functools.partial(collect, ENV, ALGORITHM))
    expected = 0
    for _ in range(3):
        collect_key = iteration_keys(state)[0]
        keys = jax.vmap(functools.partial(jax.random.fold_in, collect_key))(jnp.arange(16))
        _, played = play(state.learner.actor.params, keys, state.env_steps)
        expected += int(played.length.sum())
        state, metrics = iterate(state)
        assert int(state.env_steps) == expected
        assert float(metrics["episode_length_mean"]) * 16 == pytest.approx(int(played.length.sum()))


def test_runners_must_divide_over_devices() -> None:
    with pytest.raises(ValueError, match="`runners` is 15; it must be a positive multiple of the 2 devices"):
        make_iterate(ENV, ALGORITHM, 15, jax.devices()[:2])
