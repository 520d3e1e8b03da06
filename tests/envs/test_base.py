"""What callers do with an environment: reset those that ended, compare two, give a state other luck."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.envs import matrix, registry
from seca.envs.base import action_shapes, in_units, keys_replaced, where_done
from seca.types import Box

KEYS = jax.random.split(jax.random.key(0), 4)


def test_resetting_is_the_callers_choice() -> None:
    env = matrix.make("additive")
    fresh = env.reset(KEYS)
    done = env.step(fresh[0], jnp.ones((4, 3), jnp.int32))
    mixed_state, mixed = where_done(env, jnp.array([True, False, True, False]), fresh, done)
    np.testing.assert_array_equal(mixed.terminated, [False, True, False, True])
    np.testing.assert_array_equal(mixed_state[0], [False, True, False, True])


def test_the_batch_may_be_the_last_axis_of_the_state() -> None:
    """As many environments as features: only the axis tells them apart. What comes beside the state has them first."""
    env = dataclasses.replace(matrix.make("additive"), state_batch_axis=-1)
    state, other = jnp.arange(9).reshape(3, 3), -jnp.arange(9).reshape(3, 3)
    shown = {"deep": (state, jnp.array([1, 2, 3]))}, {"deep": (other, jnp.array([-1, -2, -3]))}
    chosen, beside = where_done(env, jnp.array([True, False, True]), (state, shown[0]), (other, shown[1]))
    assert chosen.tolist() == [[0, -1, 2], [3, -4, 5], [6, -7, 8]]
    assert [leaf.tolist() for leaf in beside["deep"]] == [[[0, 1, 2], [-3, -4, -5], [6, 7, 8]], [1, -2, 3]]


def test_an_environment_is_equal_to_itself_alone() -> None:
    env = registry.make("smac/3m")
    assert env == env and hash(env) == hash(env) and env != registry.make("smac/3m")


def test_learners_act_from_minus_one_to_one() -> None:
    """Whatever the box: its ends are met at -1 and 1 and wherever is beyond them; its middle at 0."""
    env = matrix.make("additive")
    spec = dataclasses.replace(env.spec, n_actions=2, box=Box((-3.0, 10.0), (1.0, 20.0)))
    boxed = dataclasses.replace(env, spec=spec, step=lambda state, actions: (actions, state[1]))
    served = in_units(boxed)
    assert served.spec.box == Box((-1.0, -1.0), (1.0, 1.0)) and served.spec.id == env.spec.id
    actions = jnp.asarray([[[-1.0, 1.0], [0.0, 0.5], [-7.0, 7.0]]])
    found, _ = served.step(env.reset(KEYS[:1]), actions)
    np.testing.assert_allclose(found, [[[-3, 20], [-1, 17.5], [-3, 20]]])
    assert in_units(env) is env and in_units(served) is served
    assert action_shapes(spec, 4).shape == (4, 3, 2) and action_shapes(spec, 4).dtype == jnp.float32
    assert action_shapes(env.spec, 4).shape == (4, 3) and action_shapes(env.spec, 4).dtype == jnp.int32


@pytest.mark.parametrize("ends", [(-0.4, 0.7), (-0.1, 0.3), (-3.3, 1.1), (0.1, 0.9)])
def test_no_action_is_rounded_out_of_its_box(ends: tuple[float, float]) -> None:
    """In float32 low + 1 * (high - low) may be more than high."""
    env = matrix.make("additive")
    spec = dataclasses.replace(env.spec, n_actions=1, box=Box((ends[0],), (ends[1],)))
    boxed = dataclasses.replace(env, spec=spec, step=lambda state, actions: (actions, state[1]))
    start = env.reset(KEYS[:1])
    told = [in_units(boxed).step(start, jnp.full((1, 3, 1), action, jnp.float32))[0] for action in (-1.0, 0.3, 1.0)]
    low, high = (np.float32(end) for end in ends)
    assert [float(one[0, 0, 0]) for one in told][::2] == [low, high]
    assert low < float(told[1][0, 0, 0]) < high


def test_luck_is_drawn_anew() -> None:
    """Typed keys of a state are replaced, different ones in every leaf, and nothing else is."""
    keys, new = jax.random.split(jax.random.key(0), (2, 5))
    state = {"first": keys, "second": keys, "place": jnp.arange(5)}
    found = keys_replaced(state, new)
    bits = [np.asarray(jax.random.key_data(found[name])) for name in ("first", "second")]
    old = np.asarray(jax.random.key_data(keys))
    assert (bits[0] != bits[1]).any(axis=1).all() and (bits[0] != old).any(axis=1).all()
    np.testing.assert_array_equal(found["place"], state["place"])


def test_keys_of_another_shape_need_a_function() -> None:
    keys = jax.random.split(jax.random.key(0), (5, 2))
    with pytest.raises(ValueError, match=r"keys of shape \[5, 2\]"):
        keys_replaced({"both": keys}, keys[:, 0])
