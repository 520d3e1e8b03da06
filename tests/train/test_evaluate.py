"""Greedy evaluation: the same again, other battles with another key, and on any number of devices."""

import dataclasses

import counting
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.train.evaluate import make_evaluate
from seca.train.iterate import make_iterate
from seca.train.state import init_state, iteration_keys

ENV = counting.env()


ALGORITHM = counting.algorithm()


@pytest.mark.slow
def test_evaluation_is_greedy_and_repeatable() -> None:
    state = init_state(ALGORITHM, 0)
    evaluate = make_evaluate(ENV, ALGORITHM, 12, jax.devices())  # 12 episodes on four devices, three each.
    first, second = evaluate(state), evaluate(state)
    assert set(first) == {"won", "return", "length"} and len(first["won"]) == 12
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])
    other = evaluate(state, jax.random.key(9))
    assert (other["length"] != first["length"]).any()


@pytest.mark.slow
def test_evaluation_on_fewer_devices_than_training() -> None:
    """Six episodes do not divide over four devices: three take part, wherever the state lives."""
    state, _ = make_iterate(ENV, ALGORITHM, 16, jax.devices())(init_state(ALGORITHM, 0))
    assert len(make_evaluate(ENV, ALGORITHM, 6, jax.devices())(state)["won"]) == 6
    assert len(make_evaluate(ENV, ALGORITHM, 1, jax.devices())(state)["won"]) == 1


@pytest.mark.slow
def test_every_episode_has_its_key_whatever_the_devices() -> None:
    """Episode i plays from key i of the key given, or of the state's own evaluation key."""
    state = init_state(counting.watcher([]), 0)
    for given in (None, jax.random.key(5)):
        key = iteration_keys(state)[2] if given is None else given
        ends = counting.lengths(jnp.stack([jax.random.split(jax.random.fold_in(key, i))[0] for i in range(6)]))
        steps = np.minimum(ends, counting.LIMIT)
        for devices in (jax.devices()[:1], jax.devices()):  # Of four, three take part.
            found = make_evaluate(ENV, counting.watcher([]), 6, devices)(state, given)
            np.testing.assert_array_equal(found["length"], steps)
            np.testing.assert_array_equal(found["return"], steps * (steps + 1) / 2)
            np.testing.assert_array_equal(found["won"], (np.array(ends) % 2 == 0) & (np.array(ends) <= counting.LIMIT))


@pytest.mark.slow
@pytest.mark.parametrize(("episodes", "told"), [(3, [3]), (4, [4]), (8, [4, 8]), (11, [4, 8, 11]), (5, [3, 5])])
def test_portions_change_no_outcome(episodes: int, told: list[int]) -> None:
    """At most four at once, on up to two devices; each portion says how many are done."""
    state, key, heard = init_state(counting.watcher([]), 0), jax.random.key(5), []
    whole = make_evaluate(ENV, counting.watcher([]), episodes, jax.devices()[:1])(state, key)
    evaluate = make_evaluate(ENV, counting.watcher([]), episodes, jax.devices()[:2], at_once=4)
    parts = evaluate(state, key, lambda share, count: heard.append((share, count)))
    assert heard == [(count / episodes, count) for count in told]
    assert set(parts) == set(whole)
    for name, values in whole.items():
        assert values.shape == (episodes,)
        np.testing.assert_array_equal(parts[name], values)
    assert len(set(whole["length"].tolist())) > 1  # Else any other episode would do.


def test_where_nobody_can_win_nobody_does() -> None:
    def without(made):
        return made[0], dataclasses.replace(made[1], info={})

    env = dataclasses.replace(
        ENV, reset=lambda keys: without(ENV.reset(keys)), step=lambda state, actions: without(ENV.step(state, actions))
    )
    algorithm = counting.watcher([])
    found = make_evaluate(env, algorithm, 3, jax.devices()[:1])(init_state(algorithm, 0))
    assert set(found) == {"return", "length"}


def test_episodes_that_stay_lost_are_counted() -> None:
    """Those of lengths 2 and 5, whenever they are begun; the others are there, in their order."""
    algorithm, env = counting.watcher([]), dataclasses.replace(counting.losing(2, 5), host=counting.Stand())
    told: list[tuple[float, int]] = []
    evaluate = make_evaluate(env, algorithm, 9, jax.devices()[:1])
    found = evaluate(init_state(algorithm, 0), jax.random.key(5), lambda share, count: told.append((share, count)))
    keys = jnp.stack([jax.random.split(jax.random.fold_in(jax.random.key(5), i))[0] for i in range(9)])
    kept = [min(length, counting.LIMIT) for length in counting.lengths(keys) if length not in (2, 5)]
    assert found["length"].tolist() == kept and 0 < len(kept) < 9
    assert int(found["lost"]) == 9 - len(kept) and told[-1] == (len(kept) / 9, len(kept))
