"""Battles at their start, and what is read off places."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab

from seca.smac import state


@pytest.fixture(scope="module")
def ground():
    """A marine against a zealot and a medivac, on cells and cliff levels drawn at random."""
    rng = np.random.default_rng(0)
    field = smac_lab.field(["marine"], ["zealot", "medivac"])
    return dataclasses.replace(
        field, walkable=rng.random((32, 32)) < 0.5, level=rng.uniform(0, 2, (32, 32)).astype(np.float32)
    )


def test_battles_at_their_start():
    """Everybody whole, with nothing to do, ready to shoot and never hit, where the scenario puts them."""
    battle = state.spawn(smac_lab.field(["marine"], ["zealot", "medivac"]), jnp.array([5, 7], jnp.uint32))
    units, orders, weapons = battle.units, battle.orders, battle.weapons
    expected = {"x": (9, 23, 23), "y": (16, 16, 16), "health": (45, 100, 150), "shield": (0, 50, 0)}
    for name, values in (expected | {"energy": (0, 0, 50), "cooldown": (0, 0, 0)}).items():
        assert getattr(units, name).tolist() == [[value] * 2 for value in values], name
    assert units.alive.all()
    np.testing.assert_array_equal(orders.goal_x, units.x)
    np.testing.assert_array_equal(orders.goal_y, units.y)
    assert (orders.target == -1).all() and not orders.walking.any()
    assert (weapons.victim == -1).all() and (weapons.struck_by == -1).all() and (weapons.quiet == 10_000).all()
    assert not (weapons.swing.any() or weapons.late.any() or weapons.hitting.any() or weapons.jitter.any())
    assert (battle.intent.side == 1).all() and not battle.intent.passing.any()
    assert (battle.seed.tolist(), battle.last_action.tolist(), battle.steps.tolist()) == ([5, 7], [[-1, -1]], [0, 0])
    assert not (battle.terminated.any() or battle.truncated.any() or battle.won.any())


def test_the_dead_are_parked_apart():
    """Far from the map and from each other, each on its own spot; the living are where they are."""
    battle = state.spawn(smac_lab.field(["marine"], ["zealot", "medivac"]), jnp.zeros(2, jnp.uint32))
    health = jnp.array([[0.0, 45.0], [0.5, 0.0], [0.0, 0.0]])
    x, y = state.parked(eqx.tree_at(lambda u: u.health, battle.units, health))
    assert x.tolist() == [[10_000, 9], [23, 10_050], [10_100, 10_100]]
    assert y.tolist() == [[10_000, 16], [16, 10_050], [10_100, 10_100]]


def test_where_one_can_walk(ground):
    """The cell of a point, cut toward 0 as SMAC's `int()`: -0.5 is in the first cell, -1 and 32 are off the map."""
    rng = np.random.default_rng(1)
    x, y = rng.uniform(-2, 34, (2, 400)).astype(np.float32)
    x[:4], y[:4] = [-0.5, -1.0, 31.99, 32.0], [5.2, 5.2, 5.2, 5.2]
    found = np.asarray(state.is_walkable(ground, jnp.asarray(x), jnp.asarray(y)))
    for k in range(400):
        column, row = int(x[k]), int(y[k])
        inside = 0 <= column < 32 and 0 <= row < 32
        assert found[k] == (inside and ground.walkable[column, row])
    assert not found[[1, 3]].any() and 50 < found.sum() < 350


def test_cliff_level_of_points(ground):
    """Of the cell; off the map, of the cell nearest to it."""
    x, y = jnp.array([[3.9, -4.0], [31.5, 5.5]]), jnp.array([[7.0, 7.5], [-0.1, 99.0]])
    at = ground.level
    np.testing.assert_array_equal(state.level_at(ground, x, y), [[at[3, 7], at[0, 7]], [at[31, 0], at[5, 31]]])


@pytest.mark.parametrize("wide", [False, True])
def test_one_of_two_numbers_in_32_bits(wide):
    """Whatever JAX's flags say."""
    with smac_lab.flags(enable_x64=wide):
        chosen = state.either(jnp.array([True, False]), 0.1, -3.0)
    assert chosen.dtype == np.float32 and chosen.tolist() == [np.float32(0.1), -3.0]
