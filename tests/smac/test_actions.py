"""What agents may do, what is taken instead of what they may not, and what orders it makes."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab

from seca.envs import registry, smac
from seca.smac import actions, simulator
from seca.smac.views.jaxmarl import SmacJaxEnv

NOOP, STOP, NORTH, SOUTH, EAST, WEST, FIRST = range(7)


def test_walls_stop_movement(duel):
    """12.1: a move is unavailable exactly when the cell one ahead is blocked, and then it is a stop."""
    x = np.linspace(27.2, 29.9, 28).astype(np.float32)
    battle = smac_lab.at(duel, [(x, 16.0), (4.0, 8.0)], smac_lab.PASSIVE, seeds=len(x))
    avail = np.asarray(actions.available(duel, battle.units))[0, EAST]
    np.testing.assert_array_equal(avail, x + 1 < 30)
    end, _ = smac_lab.run(duel, smac_lab.PASSIVE, battle, smac_lab.plan([EAST]))
    moved = np.asarray(end.units.x)[0] - x
    assert (moved[~avail] == 0).all()
    # Cells count, not the radius: a unit walks up to the wall and no further.
    assert (moved[avail] > 0.9).all() and (np.asarray(end.units.x)[0] < 30).all()


def test_agents_never_act_by_themselves(duel):
    """Allied units neither acquire targets nor strike back."""
    battle = smac_lab.at(duel, [(9, 16), (11, 16)])
    end, _ = smac_lab.run(duel, smac_lab.SCRIPTED, battle, smac_lab.plan([STOP], repeat=10))
    assert smac_lab.body(end)[1, 0] == 150 and smac_lab.body(end)[0, 0] < 160


def test_move_before_the_damage_point_cancels_the_shot():
    """A swing broken off costs nothing: no damage, no cooldown."""
    field = smac_lab.field(["stalker"], ["zealot"])
    battle = smac_lab.at(field, [(9, 16), (13, 16)], smac_lab.PASSIVE)
    end, _ = smac_lab.run(field, smac_lab.PASSIVE, battle, smac_lab.plan([FIRST], [WEST]), 3)
    assert smac_lab.body(end)[1, 0] == 150 and end.units.cooldown[0, 0] <= 0 and end.weapons.swing[0, 0] == 0
    end, _ = smac_lab.run(field, smac_lab.PASSIVE, battle, smac_lab.plan([FIRST], [WEST], [WEST], [WEST]), 4)
    assert smac_lab.body(end)[1, 0] == 140 and end.units.cooldown[0, 0] > 0


def test_whom_a_medivac_can_heal(patrol):
    """Its targets are the agents that do not heal, within 6, at any health; the dead are none."""
    battle = smac_lab.at(patrol, [(9, 16), (14, 16), (10, 16), (12, 16), (12, 17), (12, 18)], smac_lab.PASSIVE)
    avail = np.asarray(actions.available(patrol, battle.units))[:, :, 0]
    assert patrol.unit_names[:3] == ("marine", "marauder", "medivac")
    assert avail[2, FIRST:].tolist() == [True, True, False]
    assert avail[0, FIRST:].tolist() == [True, True, True]
    gone = eqx.tree_at(lambda b: b.units.health, battle, battle.units.health.at[1].set(0.0))
    assert np.asarray(actions.available(patrol, gone.units))[2, FIRST:, 0].tolist() == [True, False, False]


def test_ground_weapons_do_not_reach_a_medivac():
    """SMAC offers the target, the game rejects the order: the marauder stands, the marine shoots."""
    field = smac_lab.field(["marauder", "marine"], ["medivac"])
    battle = smac_lab.at(field, [(9, 16), (9, 14), (14.9, 16)], smac_lab.PASSIVE)
    avail = np.asarray(actions.available(field, battle.units))[:, FIRST, 0]
    assert avail.tolist() == [True, False]
    battle = smac_lab.at(field, [(9, 16), (9.2, 14), (14.9, 15)], smac_lab.PASSIVE)
    end, _ = smac_lab.run(field, smac_lab.PASSIVE, battle, smac_lab.plan([FIRST, FIRST], repeat=4))
    assert float(end.units.x[0, 0]) == 9.0 and int(end.orders.target[0, 0]) == -1
    # 6 - 1 armor, three shots of the marine in two seconds.
    assert float(end.units.health[2, 0]) == 150 - 3 * 5


def test_unavailable_actions():
    """An unavailable action of a living agent is stop, of a dead one nothing; both are remembered as asked."""
    env = smac.make("3m")
    battle, _ = env.reset(jax.random.split(jax.random.key(0), 1))
    dead = eqx.tree_at(lambda b: b.units.health, battle, battle.units.health.at[0].set(0.0))
    step = jax.jit(env.step)
    asked, _ = step(dead, jnp.asarray([[2, 8, 0]]))
    legal, shown = step(dead, jnp.asarray([[0, 1, 1]]))
    assert smac_lab.same(asked.units, legal.units)
    assert asked.last_action[:, 0].tolist() == [2, 8, 0]
    assert shown.avail[0, 0].tolist() == [True] + [False] * 8 and shown.info["dead_allies"][0] == 1


def test_actions_of_any_integer_dtype_and_no_other():
    """Values cannot be read in a compiled step, dtypes can; what is too large for int32 is no other action."""
    for dtype in (np.int8, np.uint8, np.uint32):
        assert actions.whole(jnp.array([3, 100], dtype)).dtype == jnp.int32
    with smac_lab.flags(enable_x64=True):
        top = np.iinfo(np.int32)
        np.testing.assert_array_equal(actions.whole(jnp.array([2**32 + 1, -(2**40), 7])), [top.max, top.min, 7])
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
    for env in (simulator.make("3m"), registry.make("matrix/additive")):
        state, _ = jax.eval_shape(env.reset, keys)
        for dtype in (jnp.float32, bool):
            with pytest.raises(ValueError, match="`actions` must be whole numbers, of an integer dtype; got (fl|bo)"):
                jax.eval_shape(env.step, state, jax.ShapeDtypeStruct((2, 3), dtype))
    env = SmacJaxEnv("3m")
    key = jax.eval_shape(lambda: jax.random.key(0))
    _, state = jax.eval_shape(env.reset, key)
    wrong = dict.fromkeys(env.agents, 1) | {"agent_1": 1.9}
    for call in (env.step, env.step_env):
        with pytest.raises(ValueError, match="`actions` of `agent_1` must be whole numbers, of an integer dtype; got"):
            jax.eval_shape(functools.partial(call, actions=wrong), key, state)
