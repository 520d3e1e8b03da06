"""Forks: their returns, whatever they are played beside, and their luck."""

import dataclasses
from typing import Any

import counting
import forking
import jax
import jax.experimental
import jax.numpy as jnp
import numpy as np
import pytest

from seca.train.standing import acted_at, fork_keys, standing_at
from seca.truth.audit import audit
from seca.truth.forks import Forks, rounded
from seca.truth.rounds import Plan


@pytest.mark.slow
@pytest.mark.parametrize("devices", [1, 3])
@pytest.mark.parametrize("forks", [1, 2, 7, 30])
def test_forks_do_not_depend_on_lanes_and_devices(forks: int, devices: int) -> None:
    """Fewer, as many and more forks than lanes (4), filled up in parts of 8 on 1 and 3 devices; played one by one."""
    env, algorithm = forking.env(), forking.algorithm()
    params, now = jnp.zeros(1), jnp.zeros((), jnp.uint32)
    keys = jax.random.split(jax.random.key(0), 3)
    steps = standing_at(env, algorithm, params, keys, now, jnp.array([0, 1, 2]), jnp.array([0, 0, 0]))
    rng = np.random.default_rng(forks)
    index, first = rng.integers(0, 3, forks), rng.integers(0, 2, (forks, forking.N_AGENTS))
    luck = jax.random.split(jax.random.key(1), forks)

    def returns(lanes: int, places: int, capacity: int) -> np.ndarray:
        found = np.full(forks, np.nan)
        made = Forks(env, algorithm, forking.GAMMA, lanes, capacity, tuple(jax.devices()[:places]))
        for part, values, (played, cut) in made.returns(params, now, steps, index, first, luck):
            found[part] = values
            assert 0 < played <= forking.LIMIT * len(values) and 0 <= cut <= len(values)
        return found

    np.testing.assert_allclose(returns(4, devices, 8), returns(1, 1, 64), rtol=1e-6)


@pytest.mark.slow
def test_the_same_luck_whatever_is_asked() -> None:
    """Two forks of one number that begin with the same joint action are the same; of another number they differ."""
    env, algorithm = forking.env(), forking.algorithm()
    params, now = jnp.zeros(1), jnp.zeros((), jnp.uint32)
    steps = standing_at(
        env, algorithm, params, jax.random.split(jax.random.key(0), 1), now, jnp.array([0]), jnp.array([0])
    )
    luck = jax.random.split(jax.random.key(2), 60)
    twice = jnp.concatenate([luck, luck])
    [(_, found, _)] = Forks(env, algorithm, 0.9, lanes=7).returns(
        params, now, steps, np.zeros(120, np.int64), np.zeros((120, 3), np.int64), twice
    )
    np.testing.assert_array_equal(found[:60], found[60:])
    assert len(set(found.tolist())) > 5


@pytest.mark.slow
def test_a_fork_ends_at_the_time_limit_whatever_the_environment_says() -> None:
    """One that never reports its end: returns are those of the game that does, and all forks count as cut."""
    run = forking.run()

    def endless(made: Any) -> Any:
        state, shown = made
        return state, dataclasses.replace(shown, terminated=shown.terminated & False, truncated=shown.truncated & False)

    step, reset = run.env.step, run.env.reset
    run.env = dataclasses.replace(run.env, step=lambda s, a: endless(step(s, a)), reset=lambda k: endless(reset(k)))
    found = audit(run, Plan(10, 4))
    assert found.about["cut"] == 1.0 and (found.length == forking.LIMIT).all()
    assert 0 < forking.audited().about["cut"] < 1


def test_sizes_are_powers_of_two() -> None:
    assert [rounded(count) for count in (1, 2, 3, 4, 5, 64, 65)] == [2, 2, 4, 4, 8, 64, 128]


@pytest.mark.slow
def test_returns_are_discounted_sums() -> None:
    """Of battles whose step t pays t, forked at each of their steps: by a plain loop, and how many the limit cuts."""
    env, algorithm, gamma = counting.env(), counting.watcher([]), 0.5
    keys, now, params = jax.random.split(jax.random.key(7), 12), jnp.zeros((), jnp.uint32), jnp.zeros(1)
    ends = counting.lengths(jax.vmap(lambda key: jax.random.split(key)[0])(keys))
    where = [(b, t) for b, end in enumerate(ends) for t in range(min(end, counting.LIMIT))]
    episode, time = (jnp.array(part) for part in zip(*where, strict=True))
    steps = standing_at(env, algorithm, params, keys, now, episode, time)
    index = np.random.default_rng(0).permutation(len(where))
    first, luck = np.zeros((len(where), 2), np.int64), jax.random.split(jax.random.key(1), len(where))
    [(part, found, (played, cut))] = Forks(env, algorithm, gamma, lanes=8).returns(
        params, now, steps, index, first, luck
    )
    expected, steps_played, cuts = [], 0, 0
    for b, t in (where[i] for i in index):
        last = min(ends[b], counting.LIMIT)
        expected.append(sum(gamma ** (k - t - 1) * k for k in range(t + 1, last + 1)))
        steps_played += last - t
        cuts += ends[b] > counting.LIMIT
    assert part == slice(0, len(where))
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    assert (int(played), int(cut)) == (steps_played, cuts) and 0 < cuts < len(where)


@pytest.mark.slow
def test_what_is_drawn_is_what_the_policy_would_have_done() -> None:
    """With the acting key of each fork, however many lanes there are; beside it numbers in [0, 1) of its own."""
    env, algorithm = counting.env(), counting.watcher([])
    keys, now, params = jax.random.split(jax.random.key(7), 3), jnp.zeros((), jnp.uint32), jnp.zeros(1)
    steps = standing_at(env, algorithm, params, keys, now, jnp.array([0, 1, 2]), jnp.array([0, 0, 0]))
    index, luck = np.array([2, 0, 1, 1, 0]), jax.random.split(jax.random.key(1), 5)
    found = [Forks(env, algorithm, 0.9, lanes).draw(params, now, steps, index, luck) for lanes in (1, 3, 64)]
    begun = jax.tree.map(lambda x: x[index], steps)
    expected = acted_at(algorithm, params, begun, fork_keys(luck)[1], jnp.int32(0), now).actions
    for actions, numbers in found:
        np.testing.assert_array_equal(actions, expected)
        np.testing.assert_array_equal(numbers, found[0][1])
    numbers = found[0][1]
    assert numbers.shape == (5, 2) and (0 <= numbers).all() and (numbers < 1).all() and len(set(numbers.ravel())) == 10
