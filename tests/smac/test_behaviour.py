"""How single fights go, in sight, range, steps and shots: the expected numbers of section 12 of the SMAC facts."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab

from seca.smac import actions, observe, tick

NOOP, STOP, NORTH, SOUTH, EAST, WEST, FIRST = range(7)


@pytest.mark.slow
def test_range_and_sight(marines):
    """12.2: available up to 6.0; fires only at 5 + radii; visible below 9."""
    distance = np.array([5.9, 6.0, 6.01, 8.99, 9.0], np.float32)
    battle = smac_lab.at(marines, [(5, 16), (5, 9), (5 + distance, 16)], smac_lab.PASSIVE, seeds=5)
    avail = np.asarray(actions.available(marines, battle.units))
    assert avail[0, FIRST].tolist() == [True, True, False, False, False]
    assert np.asarray(observe.visibility(marines, battle.units))[:, 0, 2].tolist() == [True, True, True, True, False]

    _, seen = smac_lab.run(marines, smac_lab.PASSIVE, battle, smac_lab.plan([FIRST, STOP]))
    apart = np.asarray(seen.units.x[:, 2] - seen.units.x[:, 0])[:, 0]
    struck = np.flatnonzero(np.diff(smac_lab.body(seen)[:, 2, 0]) < 0)
    reach = 5 + 0.375 + 0.5
    assert struck.size == 1 and apart[struck[0]] <= reach < 5.9
    assert apart.min() > reach - 0.15


def test_stand_and_fight(duel):
    """12.4: a stalker that stands gets 2 free shots at a zealot coming from 6, and loses to one with 55 left."""
    battle = smac_lab.at(duel, [(9, 16), (15, 16)])
    end, seen = smac_lab.run(duel, smac_lab.SCRIPTED, battle, smac_lab.plan([FIRST], repeat=40))
    ours, theirs = smac_lab.body(seen)[:, 0, 0], smac_lab.body(seen)[:, 1, 0]
    shots = np.flatnonzero(np.diff(np.concatenate([[150], theirs])) < 0)
    bitten = int(np.argmax(ours < 160))
    dead = int(np.argmax(ours == 0))
    assert ours[-1] == 0
    assert (shots < bitten).sum() == 2
    assert (shots < dead).sum() == 10
    assert theirs[dead] == 55


@pytest.mark.parametrize(("moves", "change"), [(2, -0.42), (3, -0.07), (4, 0.28)])
def test_kiting(duel, moves, change):
    """12.4: attack and move away in turn; the gap to the zealot changes by these amounts per cycle."""
    battle = smac_lab.at(duel, [(9, 16), (3.5, 16)])
    cycle = [[FIRST]] + [[EAST]] * moves
    repeat = 12 // (moves + 1)
    _, seen = smac_lab.run(duel, smac_lab.SCRIPTED, battle, smac_lab.plan(*cycle, repeat=repeat))
    apart = np.asarray(seen.units.x[:, 0] - seen.units.x[:, 1])[:, 0]
    ends = apart[8 * (moves + 1) - 1 :: 8 * (moves + 1)]
    np.testing.assert_allclose(np.diff(ends), change, atol=0.005)
    shots = (np.diff(smac_lab.body(seen)[:, 1, 0]) < 0).sum()
    assert shots in (repeat - 1, repeat)  # One shot per cycle; the last missile may still be flying.
    assert smac_lab.body(seen)[-1, 0, 0] == 160


def test_free_shots_of_a_kiting_stalker(duel):
    """12.4: of attack and two moves in turn, from 6 apart, about 11 shots are free; here 10 land before the first bite.

    The number is a quotient, (6 - 1.225) / 0.42: the bite comes while the stalker stands to shoot, a cycle before the
    gap after the moves is used up. The way is longer than the map, so it is walked in two legs.
    """
    battle, legs = smac_lab.at(duel, [(8.2, 16), (2.2, 16)]), []
    for _ in range(2):
        end, seen = smac_lab.run(duel, smac_lab.SCRIPTED, battle, smac_lab.plan([FIRST], [EAST], [EAST], repeat=7))
        legs.append(smac_lab.body(seen)[..., 0])
        battle = eqx.tree_at(lambda b: b.units.x, end, end.units.x - (end.units.x[1] - 2.2))
    ours, theirs = np.concatenate(legs).T
    bitten = int(np.argmax(ours < 160))
    assert bitten > 0 and (np.diff(theirs)[: bitten - 1] < 0).sum() in (10, 11)


def test_marine_loses_ground_by_shooting(marines):
    """12.4: marine and zealot are equally fast: an attack step costs 1.125, a move step nothing."""
    battle = smac_lab.at(marines, [(9, 16), (3, 8), (5, 16)])
    _, seen = smac_lab.run(marines, smac_lab.SCRIPTED, battle, smac_lab.plan([EAST, STOP], [FIRST, STOP], [EAST, STOP]))
    apart = np.asarray(seen.units.x[:, 0] - seen.units.x[:, 2])[:, 0]
    ends = np.concatenate([[4.0], apart[7::8]])
    np.testing.assert_allclose(np.diff(ends), [0.0, -1.125, 0.0], atol=0.02)


@pytest.mark.slow
@pytest.mark.parametrize("start", [((22, 16), (28, 16)), ((26, 8), (20, 8))])
def test_sustained_kiting(start):
    """12.4: a stalker that runs in a circle and shoots when it has room wins in 17 shots without a scratch."""
    field = smac_lab.field(["stalker"], ["zealot"], "open")
    step = jax.jit(lambda battle, act: tick.step(field, smac_lab.CALM, battle, act, smac_lab.SCRIPTED)[0])
    battle, shots, reloading = smac_lab.at(field, list(start)), 0, False
    for _ in range(100):
        (x, foe_x), (y, foe_y) = np.asarray(battle.units.x)[:, 0], np.asarray(battle.units.y)[:, 0]
        apart = np.hypot(x - foe_x, y - foe_y)
        dx, dy = x - 16, y - 16
        onward = (NORTH if dx > 0 else SOUTH) if abs(dx) >= abs(dy) else (WEST if dy > 0 else EAST)
        ready = float(battle.units.cooldown[0, 0]) <= 0
        shots += reloading is False and not ready
        reloading = not ready
        # Room: after half a second of standing the zealot is still out of reach.
        action = FIRST if ready and 1.5 + 0.625 + 0.5 < apart <= 6 else onward
        battle = step(battle, jnp.full((1, 1), action, jnp.int32))
        if battle.terminated[0]:
            break
    assert bool(battle.won[0]) and smac_lab.body(battle)[0, 0] == 160
    assert shots + (not reloading) == 17
