"""A game loop and an env step: what comes after what, and when a battle is over."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab

from seca.envs import smac
from seca.smac import scenario, tick
from seca.smac.opponent import Opponent

FIRST = 6


@pytest.mark.slow
def test_a_win_on_the_last_step_is_no_timeout(duel):
    """The end of a battle is read before the limit: a win on the last step allowed is terminated, not truncated."""
    battle = smac_lab.at(duel, [(9, 16), (14, 16)], smac_lab.PASSIVE, seeds=3)
    health = battle.units.health.at[1].set(jnp.array([1.0, 100.0, 1.0]))
    steps = jnp.array([9_999, 9_999, 5], jnp.int32)
    shield = battle.units.shield.at[1].set(0.0)
    battle = eqx.tree_at(lambda b: (b.units.health, b.units.shield, b.steps), battle, (health, shield, steps))
    shoot = jnp.full((1, 3), FIRST, jnp.int32)
    after, gain = tick.step(duel, smac_lab.CALM, battle, shoot, smac_lab.PASSIVE)
    assert np.asarray(after.terminated).tolist() == [True, False, True]
    assert np.asarray(after.truncated).tolist() == [False, True, False]
    assert np.asarray(after.won).tolist() == [True, False, True]
    assert (np.asarray(gain)[[0, 2]] > 10).all() and gain[1] < 2
    again, gain = tick.step(duel, smac_lab.CALM, after, shoot, smac_lab.PASSIVE)
    assert np.asarray(gain)[[0, 1, 2]].tolist() == [0, 0, 0]
    assert np.asarray(again.steps).tolist() == np.asarray(after.steps).tolist()


@pytest.mark.slow
def test_time_limit_truncates():
    """Standing still in peace until the limit ends in truncation, not termination."""
    env = smac.make("3m")
    battle, shown = env.reset(jax.random.split(jax.random.key(0), 2))
    corner = jnp.asarray([[28.0], [28.0], [28.0]]), jnp.asarray([[8.0], [9.0], [10.0]])
    battle = eqx.tree_at(
        lambda b: (b.units.x, b.units.y, b.steps),
        battle,
        (battle.units.x.at[:3].set(corner[0]), battle.units.y.at[:3].set(corner[1]), battle.steps + 58),
    )
    step = jax.jit(env.step)
    for expected in (False, True, True):
        battle, shown = step(battle, jnp.ones((2, 3), jnp.int32))
        assert (shown.truncated == expected).all() and not shown.terminated.any() and not shown.info["won"].any()
    assert (battle.steps == 60).all()


@pytest.mark.every
def test_what_the_opponent_remembers_is_frozen_with_the_battle():
    """A finished battle's carry stays; a battle of its own key is the same in any batch."""
    env = smac.make("3m", opponent="heuristic")
    battle, _ = jax.jit(env.reset)(jax.random.split(jax.random.key(0), 4))
    step = jax.jit(env.step)
    first, _ = step(battle, jnp.ones((4, 3), jnp.int32))
    assert (first.opponent >= 0).all()
    over = dataclasses.replace(battle, terminated=jnp.array([True, False, True, False]))
    after, _ = step(over, jnp.ones((4, 3), jnp.int32))
    np.testing.assert_array_equal(after.opponent[:, ::2], battle.opponent[:, ::2])
    np.testing.assert_array_equal(after.opponent[:, 1::2], first.opponent[:, 1::2])
    alone = jax.tree.map(lambda x: x[..., 1:2], battle)
    single, _ = step(alone, jnp.ones((1, 3), jnp.int32))
    np.testing.assert_array_equal(single.opponent, first.opponent[:, 1:2])


def test_an_opponent_decides_once_and_then_acts_in_every_loop(duel):
    """From 0: once + 100, then eight times 2 x + 1."""
    enemy = Opponent(
        init=lambda field, battle: dataclasses.replace(battle, opponent=jnp.zeros(2, jnp.int32)),
        decide=lambda field, battle: dataclasses.replace(battle, opponent=battle.opponent + 100),
        act=lambda field, battle: dataclasses.replace(battle, opponent=2 * battle.opponent + 1),
    )
    battle = smac_lab.at(duel, [(9, 16), (20, 16)], enemy, seeds=2)
    after = jax.jit(lambda b: tick.play(duel, smac_lab.CALM, b, enemy))(battle)
    assert after.opponent.tolist() == [100 * 2**8 + 2**8 - 1] * 2
    assert after.steps.tolist() == [0, 0]  # Those are counted by `step`.


@pytest.mark.slow
def test_two_who_shoot_at_once_kill_each_other():
    """All shots of a loop come before all damage: both marines die, which is a draw and pays 1 life and 10."""
    field = smac_lab.field(["marine"], ["marine"])
    aims = lambda field, battle: eqx.tree_at(  # noqa: E731
        lambda b: b.orders.target, battle, battle.orders.target.at[1].set(0)
    )
    enemy = Opponent(init=lambda field, battle: battle, act=aims)
    battle = smac_lab.at(field, [(10, 16), (14, 16)], enemy)
    battle = eqx.tree_at(lambda b: b.units.health, battle, jnp.ones((2, 1)))
    options = scenario.Options(jitter=False, reward_scale=False)
    after, gain = tick.step(field, options, battle, jnp.array([[FIRST]]), enemy)
    assert after.units.health[:, 0].tolist() == [0, 0] and gain.tolist() == [11.0]
    assert (after.terminated.tolist(), after.won.tolist(), after.truncated.tolist()) == ([True], [False], [False])
    assert after.steps.tolist() == [1] and after.last_action.tolist() == [[FIRST]]
