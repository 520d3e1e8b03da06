"""The scripted enemy's rules: section 6 of the SMAC facts, and item 12 of its section 12."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab

from seca.envs import smac
from seca.smac import opponent, scenario, state
from seca.smac.opponent import SCRIPTED, Opponent

STOP = 1


@pytest.mark.slow
def test_only_what_the_weapon_reaches_is_a_target():
    """A zealot passes the medivac over its head by and goes for the marine behind; a marine takes the medivac."""
    for enemy, expected in (("zealot", 1), ("marauder", 1), ("marine", 0)):
        field = smac_lab.field(["medivac", "marine"], [enemy])
        battle = SCRIPTED.act(field, smac_lab.at(field, [(15, 16), (12, 16), (16, 16)]))
        assert battle.orders.target[2, 0] == expected


@pytest.mark.slow
def test_threats_come_first():
    """A unit that cannot hurt me, however close, waits for one that can; a threat that comes takes over."""
    field = smac_lab.field(["medivac", "marine"], ["marine"])
    gentle = dataclasses.replace(field, threatens=np.repeat([[False, True, True]], 3, axis=0))
    near, away = [(15, 16), (12, 16), (16, 16)], [(15, 16), (9, 16), (16, 16)]
    for places, expected in ((near, 1), (away, 0)):
        battle = SCRIPTED.act(gentle, smac_lab.at(gentle, places))
        assert battle.orders.target[2, 0] == expected
    old = smac_lab.at(gentle, near)
    old = eqx.tree_at(lambda b: b.orders.target, old, old.orders.target.at[2].set(0))
    assert SCRIPTED.act(gentle, old).orders.target[2, 0] == 1
    assert SCRIPTED.act(field, old).orders.target[2, 0] == 0
    ladder = scenario.load("MMM", "ladder410")
    assert not ladder.threatens[:, [name == "medivac" for name in ladder.unit_names]].any()


@pytest.mark.slow
def test_a_group_order_is_followed_to_the_last():
    """2c_vs_64zg: each zergling goes for the closest colossus wherever it is, keeps it, and takes the next when it is
    dead."""
    field = smac_lab.field(["colossus", "colossus"], ["zergling", "zergling"])
    field = dataclasses.replace(field, attack=scenario.Attack("units"))
    battle = smac_lab.at(field, [(4, 10), (28, 22), (10, 16), (20, 16)])
    assert scenario.load("2c_vs_64zg").attack.kind == "units"
    first = SCRIPTED.act(field, battle)
    assert first.orders.target[2:, 0].tolist() == [0, 1]
    swapped_places = eqx.tree_at(lambda b: b.units.x, first, first.units.x.at[2:].set(jnp.asarray([[25.0], [6.0]])))
    assert SCRIPTED.act(field, swapped_places).orders.target[2:, 0].tolist() == [0, 1]
    dead = eqx.tree_at(lambda b: b.units.health, first, first.units.health.at[0].set(0.0))
    assert SCRIPTED.act(field, dead).orders.target[2:, 0].tolist() == [1, 1]


@pytest.mark.slow
def test_the_crawler_sits():
    """12.12: on 2s_vs_1sc it fires only within 7, edge to edge, never moves, and a stalker outside takes nothing."""
    field = scenario.load("2s_vs_1sc")
    x, y = float(field.spawn_x[2, 0]), float(field.spawn_y[2, 0])
    edges = float(field.radius[0, 0] + field.radius[2, 0])
    far = [(x, y - 7.05 - edges), (x + 1.0, y - 7.1 - edges), (x, y)]
    near = [(x, y - 6.95 - edges), (x + 1.0, y - 7.1 - edges), (x, y)]
    for places, hits in ((far, False), (near, True)):
        battle = smac_lab.at(field, places)
        end, _ = smac_lab.run(field, SCRIPTED, battle, smac_lab.plan([STOP, STOP], repeat=12))
        body = smac_lab.body(end)[:, 0]
        assert (body[0] < 160) == hits and body[1] == 160
        assert (end.units.x[2, 0], end.units.y[2, 0]) == (x, y)


@pytest.mark.slow
def test_attack_points_are_drawn_between_the_marines():
    """2m_vs_1z: one point per battle, evenly between the two marines, by the battle's own seed; the middle without
    chance."""
    field = scenario.load("2m_vs_1z")
    seed = jax.random.bits(jax.random.key(3), (4000,), jnp.uint32)
    battle = SCRIPTED.init(field, state.spawn(field, seed))
    x, y = np.asarray(battle.orders.goal_x)[2], np.asarray(battle.orders.goal_y)[2]
    assert (y == 12).all() and x.min() >= 13 and x.max() <= 19
    counts, _ = np.histogram(x, bins=6, range=(13, 19))
    np.testing.assert_allclose(counts / 4000, 1 / 6, atol=0.02)
    again = SCRIPTED.init(field, state.spawn(field, seed[:8]))
    np.testing.assert_array_equal(again.orders.goal_x[2], x[:8])
    calm = opponent.scripted(smac_lab.CALM).init(field, state.spawn(field, seed[:8]))
    assert (calm.orders.goal_x[2] == 16).all()


def medic(places: list, **changes) -> tuple[scenario.Scenario, state.Battle]:
    """An enemy medivac (unit 4) with three of its marines (1 to 3) at the other end of the map from ours (0)."""
    field = smac_lab.field(["marine"], ["marine", "marine", "marine", "medivac"])
    battle = smac_lab.at(field, [(3, 8), *places], smac_lab.PASSIVE)
    return field, eqx.tree_at(lambda b: b.orders.goal_x, battle, battle.orders.goal_x.at[1:].set(16.0))


@pytest.mark.every
@pytest.mark.slow
def test_enemy_medivacs_heal_the_neediest():
    """Within 6, edge to edge: the least part of life first, then the closest; kept until whole; 5 energy to begin."""
    field, battle = medic([(20, 16), (22, 16), (29.5, 16), (21, 17)])
    hurt = eqx.tree_at(lambda b: b.units.health, battle, battle.units.health.at[1:4, 0].set(jnp.array([30.0, 20, 1])))
    act = jax.jit(functools.partial(SCRIPTED.act, field))
    assert act(hurt).orders.target[4, 0] == 2
    equal = eqx.tree_at(lambda b: b.units.health, hurt, hurt.units.health.at[1, 0].set(20.0))
    nearer = eqx.tree_at(lambda b: b.units.x, equal, equal.units.x.at[1, 0].set(20.9))
    assert act(nearer).orders.target[4, 0] == 1

    chosen = act(hurt)
    worse = eqx.tree_at(lambda b: b.units.health, chosen, chosen.units.health.at[1, 0].set(5.0))
    assert act(worse).orders.target[4, 0] == 2
    whole = eqx.tree_at(lambda b: b.units.health, worse, worse.units.health.at[2, 0].set(45.0))
    assert act(whole).orders.target[4, 0] == 1
    tired = eqx.tree_at(lambda b: b.units.energy, hurt, hurt.units.energy.at[4].set(4.9))
    assert act(tired).orders.target[4, 0] == state.NOBODY
    goes_on = eqx.tree_at(lambda b: b.units.energy, chosen, chosen.units.energy.at[4].set(4.9))
    assert act(goes_on).orders.target[4, 0] == 2
    empty = eqx.tree_at(lambda b: b.units.energy, chosen, chosen.units.energy.at[4].set(0.1))
    assert act(empty).orders.target[4, 0] == state.NOBODY

    end, _ = smac_lab.run(field, SCRIPTED, hurt, smac_lab.plan([STOP], repeat=12))
    assert end.units.health[2, 0] == 45 and end.units.energy[4, 0] < 45


@pytest.mark.every
@pytest.mark.slow
def test_enemy_medivacs_follow_or_wait():
    """With its army it stays within 2 and a loop's way of a friend; with medivac_follows=False it stays."""
    field, battle = medic([(23, 16), (22, 16), (23, 17), (24, 16)])
    end, _ = smac_lab.run(field, SCRIPTED, battle, smac_lab.plan([STOP], repeat=20))
    assert end.units.x[1, 0] < 18
    gap = np.hypot(end.units.x[1:4] - end.units.x[4], end.units.y[1:4] - end.units.y[4]).min()
    assert gap < opponent.BESIDE + 0.5
    waits = opponent.scripted(scenario.Options(medivac_follows=False))
    end, _ = smac_lab.run(field, waits, battle, smac_lab.plan([STOP], repeat=20))
    assert end.units.x[4, 0] == 24 and end.units.x[1, 0] < 18


@pytest.mark.slow
@pytest.mark.parametrize("helps", [False, True])
def test_who_is_hit_from_afar_calls_for_help_only_if_asked_to(helps):
    """The zealot that a stalker hits from 7 turns on it; of its friends those within 4 join it if they may.

    The next lane has the attacker dead, the last the hit three seconds ago: nobody turns on anybody.
    """
    field = smac_lab.field(["stalker"], ["zealot"] * 3)
    enemy = opponent.scripted(scenario.Options(call_for_help=helps))
    battle = smac_lab.at(field, [(20, 10), (20, 17.0), (22, 18.0), (24.1, 17.0)], seeds=3)
    battle = eqx.tree_at(
        lambda b: (b.weapons.struck_by, b.weapons.quiet, b.units.health),
        battle,
        (
            battle.weapons.struck_by.at[1].set(0),
            battle.weapons.quiet.at[1].set(jnp.array([1.0, 1.0, 48.0])),
            battle.units.health.at[0, 1].set(0.0),
        ),
    )
    target = enemy.act(field, battle).orders.target
    assert target[:, 0].tolist() == [-1, 0, 0 if helps else -1, -1]
    assert (target[:, 1:] == -1).all()
    assert smac.make("3m", call_for_help=helps).spec.options == ((("call_for_help", True),) if helps else ())


@pytest.mark.slow
def test_enemy_walks_to_its_order_point():
    """12.12: with all agents out of reach in a corner, enemies walk to the attack point and stop there."""
    field = smac_lab.field(["marine"] * 2, ["zealot"] * 3 + ["stalker"] * 2)
    rest = [(23, 16), (23, 15), (24, 16), (24, 17.2), (25, 15)]
    battle = smac_lab.at(field, [(28.5, 7.5), (28.5, 8.5), *rest])
    end, seen = smac_lab.run(field, smac_lab.SCRIPTED, battle, smac_lab.plan([STOP, STOP], repeat=45))
    distance = np.hypot(np.asarray(end.units.x)[2:] - 9, np.asarray(end.units.y)[2:] - 16)
    assert (distance < 0.75 * np.sqrt(5) + 1.3).all()
    settled = np.asarray(seen.units.x)[-40:, 2:]
    assert np.ptp(settled, axis=0).max() < 0.05
    assert (smac_lab.body(end) == smac_lab.body(battle)).all()


@pytest.mark.slow
def test_zealot_chases_who_shoots_from_afar(duel):
    """12.12: scan is 5, but a zealot hit from 6 turns on the shooter instead of walking on to its point."""

    def act(field, battle):
        battle = smac_lab.SCRIPTED.act(field, battle)
        return eqx.tree_at(lambda b: b.orders.target, battle, battle.orders.target.at[0].set(1))

    far = [(20, 10), (20, 17.1)]  # 5.975 from edge to edge.
    for enemy in (smac_lab.SCRIPTED, Opponent(smac_lab.SCRIPTED.init, act)):
        battle = smac_lab.at(duel, far)
        _, seen = smac_lab.run(duel, enemy, battle, smac_lab.plan([STOP], repeat=4))
        targets = np.asarray(seen.orders.target)[:, 1, 0]
        if enemy is smac_lab.SCRIPTED:
            assert (targets == -1).all() and seen.units.x[-1, 1, 0] < 17
        else:
            struck = int(np.argmax(smac_lab.body(seen)[:, 1, 0] < 150))
            assert (targets[: struck + 1] == -1).all() and (targets[struck + 1 :] == 0).all()
            assert seen.units.y[-1, 1, 0] < 15.5


def test_attack_points_against_the_slow_twin():
    """A point between two, as far along as the seed's hash says; halfway without chance; a single one is itself."""
    field = smac_lab.field(["marine"], ["marine"], attack={"between": [[13, 12], [19, 14]]})
    seeds = [0, 1, 12345, 2**32 - 1]
    x, y = opponent.attack_point(field, jnp.array(seeds, jnp.uint32), True)
    parts = np.array([(seed * 0x9E3779B1 % 2**32 >> 8) / 2**24 for seed in seeds])
    np.testing.assert_allclose(x, 13 + 6 * parts, rtol=1e-6)
    np.testing.assert_allclose(y, 12 + 2 * parts, rtol=1e-6)
    assert opponent.attack_point(field, jnp.array(seeds, jnp.uint32), False) == (16, 13)
    plain = smac_lab.field(["marine"], ["marine"])
    assert opponent.attack_point(plain, jnp.array(seeds, jnp.uint32), True) == (9, 16)


def test_an_order_is_for_some_units():
    """Goals of units 1 and 2 only, one for all battles or one each."""
    field = smac_lab.field(["marine"], ["marine"] * 3)
    battle = smac_lab.at(field, [(9, 16)] * 4, smac_lab.PASSIVE, seeds=2)
    x, y = battle.orders.goal_x.tolist(), battle.orders.goal_y.tolist()
    ordered = opponent.order_to_point(field, battle, 1, 3, (5.0, jnp.array([6.0, 7.0]))).orders
    assert ordered.goal_x.tolist() == [x[0], [5, 5], [5, 5], x[3]]
    assert ordered.goal_y.tolist() == [y[0], [6, 7], [6, 7], y[3]]


@pytest.mark.slow
def test_targets_kept_and_goals_reached():
    """A marine reaches 5, in a swing 1 more; farther out than it looks (5) there is no other target than the old one.

    Alone, it stands still within 0.75 of its goal.
    """
    field = smac_lab.field(["marine"], ["marine"])
    edges = np.array([4.9, 5.5, 5.5, 6.1, 5.5], np.float32)
    battle = smac_lab.at(field, [(9, 16), (9.75 + edges, 16)], smac_lab.PASSIVE, seeds=5)
    apart = jnp.array([0.74, 0.76, 0.0, 0.0, 0.0])
    battle = eqx.tree_at(
        lambda b: (b.orders.target, b.weapons.swing, b.orders.goal_x, b.orders.goal_y),
        battle,
        (
            battle.orders.target.at[1].set(jnp.array([-1, 0, 0, 0, -1])),
            battle.weapons.swing.at[1].set(jnp.array([0.0, 0, 1, 1, 0])),
            battle.units.x.at[1].add(apart),
            battle.units.y,
        ),
    )
    after = opponent.attack_move(field, battle, 1, 2)
    assert after.orders.target[1].tolist() == [0, -1, 0, -1, -1]
    assert after.weapons.swing[1].tolist() == [0, 0, 1, 0, 0]
    assert after.orders.walking[1].tolist() == [False, True, False, False, False]
    assert after.orders.target[0].tolist() == [-1] * 5
