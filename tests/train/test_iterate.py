"""One iteration: device counts, and what counts as an env step."""

import dataclasses
import functools

import counting
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import cases

from seca.learning.buffer import Buffer
from seca.learning.devices import global_max
from seca.train.iterate import make_iterate, spread
from seca.train.minibatches import dealt
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


@pytest.mark.parametrize("devices", cases([1, 2], 2))
def test_lost_episodes_are_neither_stored_nor_counted(devices: int) -> None:
    """What the buffer holds is what was kept, in its order; measures are of updates from some of it."""
    env, lost = counting.losing(1, 3, 5, 8), (1, 3, 5, 8)

    def update(learner, episodes, replay, key, axis):
        """Measures how often it was called, and the longest episode it was given."""
        longest = global_max(episodes.length.max(), axis)
        return learner + 1, {"gradient_steps": learner[0] + 1, "longest": longest}

    @jax.jit
    def drawn(state):
        """Keys of the episodes, and who is in which minibatch."""
        collect_key, update_key, _ = iteration_keys(state)
        keys = jax.vmap(functools.partial(jax.random.fold_in, collect_key))(jnp.arange(6))
        return jax.vmap(jax.random.split, out_axes=1)(keys)[0], dealt(jax.random.split(update_key)[0], 6, 3, None)

    algorithm = dataclasses.replace(
        counting.watcher([]), init=lambda key: jnp.zeros(1, jnp.int32), update=update, buffer=Buffer(env.spec, 9)
    )
    iterate = make_iterate(env, algorithm, 6, jax.devices()[:devices], 3)
    state, steps, updates = spread(init_state(algorithm, 0), jax.devices()[:devices]), [], 0
    for _ in range(4):
        keys, parts = drawn(state)
        begun = np.array(counting.lengths(keys))
        played = np.where(np.isin(begun, lost), 0, np.minimum(begun, counting.LIMIT))
        steps += played[played > 0].tolist()
        state, metrics = iterate(state)
        assert int(state.episodes) == len(steps) and int(state.env_steps) == sum(steps)
        assert int(metrics["buffer_episodes"]) == min(len(steps), 9)
        assert int(metrics["episodes_lost"]) == (played == 0).sum()
        assert state.replay is not None
        held = np.asarray(state.replay.state.experience.valid.sum(axis=-1))[0]
        end = int(state.replay.state.current_index)
        assert np.roll(held, -end)[::-1][: len(steps)].tolist() == steps[::-1][:9]
        of_each = played[np.asarray(parts)].max(axis=1)
        updates += (of_each > 0).sum()
        assert int(metrics["gradient_steps"]) == updates
        assert float(metrics["longest"]) == pytest.approx(of_each[of_each > 0].mean())
    assert len(steps) > 9 and updates < 12
