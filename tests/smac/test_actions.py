"""What agents may do, what is taken instead of what they may not, and what orders it makes."""

import dataclasses
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


@pytest.mark.slow
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


@pytest.mark.slow
def test_agents_never_act_by_themselves(duel):
    """Allied units neither acquire targets nor strike back."""
    battle = smac_lab.at(duel, [(9, 16), (11, 16)])
    end, _ = smac_lab.run(duel, smac_lab.SCRIPTED, battle, smac_lab.plan([STOP], repeat=10))
    assert smac_lab.body(end)[1, 0] == 150 and smac_lab.body(end)[0, 0] < 160


@pytest.mark.slow
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


@pytest.mark.slow
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


@pytest.mark.slow
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


def test_available_actions_one_by_one():
    """No-op for the dead; for others stop, moves onto walkable cells one ahead, targets that live within 6.

    Those of the medivac are the agents 0 and 1, by their own numbers: there are as many enemies.
    """
    field = smac_lab.field(["marine", "marine", "medivac"], ["zealot", "marine"])
    rng = np.random.default_rng(0)
    field = dataclasses.replace(field, walkable=rng.random((32, 32)) < 0.7)
    x, y = rng.uniform(0, 10, (2, 5, 60)).astype(np.float32)
    x[:2, 0], y[:2, 0] = [0.5, 31.5], [0.5, 31.5]
    health = (rng.random((5, 60)) < 0.8).astype(np.float32)
    battle = smac_lab.at(field, list(zip(x, y, strict=True)), smac_lab.PASSIVE, seeds=60)
    found = np.asarray(actions.available(field, eqx.tree_at(lambda u: u.health, battle.units, jnp.asarray(health))))
    assert found.shape == (3, 8, 60)
    for agent, lane in np.ndindex(3, 60):
        if not health[agent, lane]:
            expected = [True] + [False] * 7
        else:
            here = x[agent, lane], y[agent, lane]
            ahead = [(here[0], here[1] + 1), (here[0], here[1] - 1), (here[0] + 1, here[1]), (here[0] - 1, here[1])]
            cells = [(int(a), int(b)) for a, b in ahead]
            moves = [0 <= a < 32 and 0 <= b < 32 and bool(field.walkable[a, b]) for a, b in cells]
            targets = (0, 1) if agent == 2 else (3, 4)
            near = [np.hypot(x[k, lane] - here[0], y[k, lane] - here[1]) <= 6 and health[k, lane] > 0 for k in targets]
            expected = [False, True, *moves, *near]
        assert found[agent, :, lane].tolist() == expected, (agent, lane)
    assert found[:, FIRST:].mean() > 0.2


@pytest.mark.slow
def test_actions_become_orders(duel):
    """Lane by lane: a move is a goal 2 ahead, a target an order to attack; what is not offered is a stop.

    A swing goes on only at the same target; the enemy keeps its orders, and what was asked is remembered as asked.
    """
    asked = [STOP, NORTH, SOUTH, EAST, WEST, FIRST, FIRST, FIRST, 99, -3]
    foe = np.array([13.0] * 6 + [13, 20, 13, 13], np.float32)
    battle = smac_lab.at(duel, [(10, 16), (foe, 16)], smac_lab.PASSIVE, seeds=10)
    battle = eqx.tree_at(
        lambda b: (b.orders.target, b.orders.goal_x, b.weapons.swing),
        battle,
        (
            jnp.array([[-1] * 5 + [1, -1, -1, 1, 1], [0] * 10]),
            battle.orders.goal_x.at[1].set(5.0),
            jnp.full((2, 10), 2.0),
        ),
    )
    after = actions.command(duel, battle, jnp.array([asked]))
    assert after.orders.target.tolist() == [[-1] * 5 + [1, 1, -1, -1, -1], [0] * 10]
    assert after.orders.walking.tolist() == [[False] + [True] * 4 + [False] * 5, [False] * 10]
    goals = np.stack([after.orders.goal_x[0], after.orders.goal_y[0]], axis=1)[1:5]
    assert goals.tolist() == [[10, 18], [10, 14], [12, 16], [8, 16]]
    assert (after.orders.goal_x[1] == 5).all()
    # Nobody was aimed at before the moves and stops of the first lanes: that swing is at nobody still.
    assert after.weapons.swing.tolist() == [[2.0] * 6 + [0.0, 2.0, 0.0, 0.0], [2.0] * 10]
    assert after.last_action.tolist() == [asked]
