"""Forks: their returns, whatever they are played beside, and their luck."""

import dataclasses
from typing import Any

import forking
import jax
import jax.experimental
import jax.numpy as jnp
import numpy as np
import pytest

from seca.train.standing import standing_at
from seca.truth.audit import audit
from seca.truth.forks import Forks
from seca.truth.rounds import Plan


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
