"""Collected episodes: row conventions, what acting keeps, and whose key decides."""

import dataclasses
import functools

import counting
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.algos.base import Algorithm
from seca.learning.acting import acting_over, last_actions
from seca.train.rollout import collect, play, started, unfinished
from seca.train.state import init_state

ENV = counting.env()


ALGORITHM = counting.algorithm()


@pytest.fixture(name="collected", scope="module")
def collected_fixture():
    state = init_state(ALGORITHM, 0)
    keys = jax.random.split(jax.random.key(3), 16)
    played = jax.jit(functools.partial(collect, ENV, ALGORITHM))
    return state, *played(state.learner.actor.params, keys, state.env_steps)


@pytest.mark.slow
def test_rows_of_collected_episodes(collected) -> None:
    """Row t holds what was seen before step t; row L the final observation and a sampled bootstrap action."""
    _, episodes, played = collected
    length = np.asarray(episodes.length)
    assert len(set(length)) > 3 and length.max() == counting.LIMIT
    for b, steps in enumerate(length):
        np.testing.assert_allclose(episodes.obs[b, : steps + 1, 0, 0], np.arange(steps + 1) / 10, atol=1e-6)
        np.testing.assert_allclose(episodes.reward[b, :steps], np.arange(1, steps + 1))
        ends = (np.asarray(episodes.terminated[b]), np.asarray(episodes.truncated[b]))
        assert ends[0].sum() + ends[1].sum() == 1 and (ends[0] | ends[1])[steps - 1]
        chosen = np.take_along_axis(np.asarray(episodes.avail[b]), np.asarray(episodes.actions[b])[..., None], axis=-1)
        assert chosen[: steps + 1].all()
    assert np.asarray(episodes.truncated).any() and np.asarray(episodes.terminated).any()
    np.testing.assert_array_equal(played.length, length)
    np.testing.assert_allclose(played.episode_return, length * (length + 1) / 2)


@pytest.mark.slow
def test_record_is_the_forward_pass(collected) -> None:
    """Hidden states and policies kept while acting equal a re-unroll on the real rows."""
    state, episodes, _ = collected
    again = acting_over(state.learner.actor.params, dataclasses.replace(episodes, record=None))
    filled = np.arange(counting.LIMIT + 1) <= np.asarray(episodes.length)[:, None]
    for kept, fresh in zip(jax.tree.leaves(episodes.record), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(np.asarray(kept)[filled], np.asarray(fresh)[filled], atol=1e-6)
    assert (last_actions(episodes)[:, 0] == 0).all()


@pytest.mark.slow
def test_episodes_depend_on_their_own_key_only(collected) -> None:
    """A runner plays the same episode whoever plays beside it."""
    state, episodes, _ = collected
    keys = jax.random.split(jax.random.key(3), 16)[4:8]
    few, _ = jax.jit(functools.partial(collect, ENV, ALGORITHM))(state.learner.actor.params, keys, state.env_steps)
    for b, steps in enumerate(np.asarray(few.length)):
        np.testing.assert_array_equal(few.actions[b, :steps], episodes.actions[4 + b, :steps])


WATCHED = jax.random.split(jax.random.key(7), 12)


def by_hand(keys: jax.Array) -> tuple[jax.Array, list[int], list[int], list[bool]]:
    """Keys to act with, and length, return and winner of each episode, from its key alone."""
    halves = [jax.random.split(key) for key in keys]
    ends = counting.lengths(jnp.stack([reset for reset, _ in halves]))
    steps = [min(end, counting.LIMIT) for end in ends]
    won = [end <= counting.LIMIT and end % 2 == 0 for end in ends]
    return jnp.stack([act for _, act in halves]), steps, [n * (n + 1) // 2 for n in steps], won


@pytest.mark.slow
def test_outcomes_are_those_of_each_episode() -> None:
    """Of greedy episodes and of collected ones alike."""
    seen: list[bool] = []
    algorithm, params = counting.watcher(seen), jnp.zeros(1)
    played = jax.jit(lambda keys: play(ENV, algorithm, params, keys))(WATCHED)
    assert set(seen) == {True}
    seen.clear()
    _, collected = jax.jit(lambda keys: collect(ENV, algorithm, params, keys, jnp.uint32(0)))(WATCHED)
    assert set(seen) == {False}
    _, steps, returns, won = by_hand(WATCHED)
    assert any(won) and not all(won) and min(steps) < counting.LIMIT
    for found in (played, collected):
        assert found.length.tolist() == steps
        assert found.episode_return.tolist() == returns
        assert found.won is not None and found.won.tolist() == won


@pytest.mark.slow
def test_acting_is_told_the_step_and_has_a_key_for_each() -> None:
    """Env steps of the training as they were given, the carry of the step before, and key t of the runner's own."""
    algorithm = counting.watcher([])
    episodes, _ = jax.jit(lambda keys: collect(ENV, algorithm, jnp.zeros(1), keys, jnp.uint32(9)))(WATCHED)
    acting, steps, _, _ = by_hand(WATCHED)
    for b, n in enumerate(steps):
        expected = [jax.random.bits(jax.random.fold_in(acting[b], t)) for t in range(n + 1)]
        np.testing.assert_array_equal(episodes.record["drawn"][b, : n + 1], jnp.stack(expected))
        assert episodes.record["calls"][b, : n + 1].tolist() == list(range(n + 1))
        assert (episodes.record["now"][b, : n + 1] == 9).all()


def test_the_work_ends_with_the_longest_episode() -> None:
    """Nothing is written after the row of its last observation."""
    _, steps, _, _ = by_hand(WATCHED)
    short = WATCHED[np.flatnonzero(np.array(steps) <= 3)]
    longest = max(n for n in steps if n <= 3)
    assert len(short) > 1
    algorithm = counting.watcher([])
    episodes, _ = jax.jit(lambda keys: collect(ENV, algorithm, jnp.zeros(1), keys, jnp.uint32(9)))(short)
    written = np.asarray(episodes.record["now"] == 9).all(axis=0)
    assert written.tolist() == [t <= longest for t in range(counting.LIMIT + 1)]
    assert not episodes.valid[:, longest:].any() and not episodes.obs[:, longest + 1 :].any()


def test_what_is_unfinished() -> None:
    """One episode that goes on is enough, but not beyond the time limit."""
    algorithm: Algorithm = counting.watcher([])
    playing = started(ENV, algorithm, WATCHED[:2])

    def at(t: int, done: list[bool]) -> bool:
        shown = dataclasses.replace(playing.time_step, terminated=jnp.array(done))
        return bool(unfinished(ENV, dataclasses.replace(playing, t=jnp.int32(t), time_step=shown)))

    assert at(0, [False, False]) and at(counting.LIMIT - 1, [True, False])
    assert not at(2, [True, True]) and not at(counting.LIMIT, [False, False])
