"""Walls, corners, layers and crowds: section 9 and the movement part of section 12 of the SMAC facts."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab
from tiers import cases

from seca.host import throughput
from seca.smac import actions, combat, movement, opponent, scenario, state, tick

STOP, NORTH, SOUTH, EAST, WEST, FIRST = range(1, 7)
OPEN_GROUND = {"rows": ["_" * 32] * 32}


@pytest.mark.slow
def test_layers():
    """Colossi and medivacs pass over zerglings without touching them, but not over their own kind."""
    battlefield = smac_lab.field_at(["colossus"] * 2 + ["medivac"] * 2, ["zergling"] * 2, OPEN_GROUND)
    below, ahead = np.array([12, 30]), np.array([30, 12])  # In the first battle zerglings, in the second their kind.
    battle = smac_lab.at(
        battlefield,
        [(9, 8), (ahead, 8), (9, 24), (ahead, 24), (below, 8), (below, 24)],
        smac_lab.PASSIVE,
        seeds=2,
    )
    _, seen = smac_lab.run(battlefield, smac_lab.PASSIVE, battle, smac_lab.plan([EAST, STOP, EAST, STOP], repeat=6))
    x, y = np.asarray(seen.units.x), np.asarray(seen.units.y)
    for walker, same, other in ((0, 1, 4), (2, 3, 5)):
        apart = [np.hypot(x[:, walker] - x[:, k], y[:, walker] - y[:, k]).min(axis=0) for k in (other, same)]
        assert apart[0][0] < 0.1 and apart[1][1] > 1.4
        assert (x[-1, walker] > 13.5).all()
        assert (x[:, [same, other]] == x[0, [same, other]]).all() and (y[:, [same, other]] == y[0, [same, other]]).all()


@pytest.mark.slow
def test_colossus_crosses_the_wall_by_momentum():
    """Section 9: at (16, 14), south is allowed and ends inside the wall at 12.875; south again leads out of it."""
    walk = smac_lab.plan([SOUTH, STOP], repeat=3)
    battlefield = smac_lab.field_at(["colossus", "zergling"], ["zergling"], "ravine", (16.0, 9.0))
    battle = smac_lab.at(battlefield, [(16, 14), (20, 14), (4, 20)], smac_lab.PASSIVE)
    _, seen = smac_lab.run(battlefield, smac_lab.PASSIVE, battle, walk)
    np.testing.assert_allclose(np.asarray(seen.units.y)[[7, 15, 23], 0, 0], [12.875, 11.75, 10.625], atol=1e-3)
    battle = smac_lab.at(battlefield, [(20, 14), (16, 14), (4, 20)], smac_lab.PASSIVE)
    _, seen = smac_lab.run(battlefield, smac_lab.PASSIVE, battle, smac_lab.plan([STOP, SOUTH], repeat=3))
    assert (np.asarray(seen.units.y)[:, 1] >= 13).all()


@pytest.mark.slow
def test_medivac_gathers_speed():
    """It accelerates by 2.3125 / 256 per loop and loop to 1.375 a step, in any direction, and stops at once."""
    battlefield = smac_lab.field_at(["medivac"], ["zergling"], OPEN_GROUND)
    battle = smac_lab.at(battlefield, [(6, 16), (30, 30)], smac_lab.PASSIVE)
    program = smac_lab.plan([EAST], [EAST], [EAST], [EAST], [NORTH], [STOP])
    _, seen = smac_lab.run(battlefield, smac_lab.PASSIVE, battle, program)
    x, y = np.asarray(seen.units.x)[:, 0, 0], np.asarray(seen.units.y)[:, 0, 0]
    gain, top = 2.3125 / 256, 2.75 / 16
    speeds = np.minimum(gain * np.arange(1, 33), top)
    np.testing.assert_allclose(x[:32], 6 + np.cumsum(speeds), atol=1e-4)
    np.testing.assert_allclose(y[39] - y[31], 1.375, atol=1e-4)
    assert (y[39:] == y[39]).all() and (x[31:] == x[31]).all()


@pytest.mark.slow
def test_crawlers_stay_where_they_are():
    """Nothing pushes a spine crawler, standing in it or walking into it; who stands in it is pushed out."""
    battlefield = smac_lab.field_at(["stalker"], ["spine_crawler"], "pentagon", (14.0, 16.0))
    for place, action in (((13.0, 16.0), STOP), ((12.0, 16.1), EAST)):
        battle = smac_lab.at(battlefield, [place, (14, 16)], smac_lab.PASSIVE)
        end, seen = smac_lab.run(battlefield, smac_lab.PASSIVE, battle, smac_lab.plan([action], repeat=4))
        assert (np.asarray(seen.units.x)[:, 1] == 14).all() and (np.asarray(seen.units.y)[:, 1] == 16).all()
        assert np.hypot(end.units.x[0, 0] - 14, end.units.y[0, 0] - 16) > 1.5 - 0.01


def attackers(seen, ours: int, reach: float) -> np.ndarray:
    """How many enemies have each ally in reach, `[loops, allies, batch]`; `reach` from centre to centre."""
    dx = np.asarray(seen.units.x)[:, None, ours:] - np.asarray(seen.units.x)[:, :ours, None]
    dy = np.asarray(seen.units.y)[:, None, ours:] - np.asarray(seen.units.y)[:, :ours, None]
    return (np.hypot(dx, dy) <= reach + 1e-4).sum(axis=2)


@pytest.mark.slow
@pytest.mark.parametrize("terrain", ["simple", "octagon"])
def test_zerglings_surround(terrain):
    """12.9: of eight zerglings six reach a lone zealot within 3 seconds of the first (seven is the most).

    Over 24 directions; those in front stand where they arrive, and leave gaps of less than a zergling. In one or two
    directions rounding on another machine may leave five.
    """
    battlefield = smac_lab.field_at(["zealot"], ["zergling"] * 8, terrain)
    battlefield = dataclasses.replace(battlefield, health_max=battlefield.health_max * 50)
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    place = [(np.full(24, 16.0), np.full(24, 16.0))]
    for k in range(8):
        out, across = 5.5 + 0.76 * (k // 4), 0.76 * (k % 4 - 1.5)
        place.append(
            (16 + out * np.cos(angle) - across * np.sin(angle), 16 + out * np.sin(angle) + across * np.cos(angle))
        )
    battle = smac_lab.at(battlefield, place, seeds=24)
    _, seen = smac_lab.run(battlefield, smac_lab.SCRIPTED, battle, smac_lab.plan([STOP], repeat=12))
    biting = attackers(seen, 1, 0.5 + 0.375 + 0.1)[:, 0]
    contact = (biting > 0).argmax(axis=0)
    later = biting[contact + 48, np.arange(24)]
    assert (later >= 6).mean() >= 0.9 and later.min() >= 5


@pytest.mark.every
@pytest.mark.slow
def test_a_choke_holds():
    """12.9: six zealots abreast in the corridor's choke face fewer zerglings each than in the open, three at most."""
    met = {}
    for terrain in ("corridor", "simple"):
        battlefield = smac_lab.field_at(["zealot"] * 6, ["zergling"] * 24, terrain, (13.0, 15.0))
        battlefield = dataclasses.replace(battlefield, health_max=battlefield.health_max * 50)
        line = [(11.1 + 0.76 * k, 12.6) for k in range(6)]
        swarm = [(15.0 + 0.8 * (k % 6), 15.5 + 0.8 * (k // 6)) for k in range(24)]
        battle = opponent.order_to_point(battlefield, smac_lab.at(battlefield, [*line, *swarm]), 6, 30, (13.0, 9.0))
        _, seen = smac_lab.run(battlefield, smac_lab.SCRIPTED, battle, smac_lab.plan([STOP] * 6, repeat=20))
        met[terrain] = attackers(seen, 6, 0.5 + 0.375 + 0.1)[80:, :, 0]
    assert met["corridor"].max() <= 3 and met["corridor"].sum(axis=1).mean() > 4
    assert met["simple"].mean() > 1.2 * met["corridor"].mean()


@pytest.mark.every
@pytest.mark.slow
def test_zerglings_take_the_ramps():
    """12.11: with colossi that stand, zerglings come round the wall, bite after 7 to 9 seconds, and move none."""
    battlefield = scenario.load("2c_vs_64zg")
    battlefield = dataclasses.replace(battlefield, health_max=battlefield.health_max * 50)
    battle = smac_lab.SCRIPTED.init(battlefield, state.spawn(battlefield, jnp.arange(2, dtype=jnp.uint32)))
    _, seen = smac_lab.run(battlefield, smac_lab.SCRIPTED, battle, smac_lab.plan([STOP, STOP], repeat=50))
    x, y = np.asarray(seen.units.x)[..., 0], np.asarray(seen.units.y)[..., 0]
    assert (x[:, :2] == x[0, :2]).all() and (y[:, :2] == y[0, :2]).all()
    # Above the wall nobody comes but at its ends.
    up = (y[1:, 2:] >= 12.5) & (y[:-1, 2:] < 12.5)
    assert up.sum() >= 60 and ((x[1:, 2:][up] < 4) | (x[1:, 2:][up] >= 28)).all()
    biting = attackers(seen, 2, 1 + 0.375 + 0.1)[..., 0]
    contact = int(biting.any(axis=1).argmax())
    # The army stands six wide: the first has less of a way than the spawn point's 22 to 26.
    assert 6.5 <= contact / 16 <= 9.0
    assert biting[contact + 160 :].sum(axis=1).max() >= 10
    start = jnp.float32([[16.0, 9.0]])
    alone = smac_lab.field_at(["zergling"], ["colossus"], "ravine", (16.0, 9.0))
    _, way = smac_lab.stroll(alone, smac_lab.walkers(alone, start, jnp.float32([[16.0, 16.0]])), 300)
    assert 22 <= float(way[0]) - 1.475 <= 26


def overlaps(battlefield, units) -> np.ndarray:
    """The deepest overlap of two living units of one layer, `[time, batch]`."""
    deepest = []
    for x, y, health in zip(*map(np.asarray, (units.x, units.y, units.health)), strict=True):
        room = (battlefield.separation + battlefield.separation.T)[..., None]
        room = room - np.hypot(x[:, None] - x[None], y[:, None] - y[None])
        both = (health[:, None] > 0) & (health[None] > 0) & (battlefield.layer == battlefield.layer.T)[..., None]
        both &= ~np.eye(len(x), dtype=bool)[..., None]
        deepest.append(np.where(both, room, 0.0).max(axis=(0, 1)))
    return np.stack(deepest)


def where(lanes, new, old):
    """`new` in these lanes, else `old`."""
    return jax.tree.map(lambda n, o: jnp.where(lanes, n, o), new, old)


@functools.partial(jax.jit, static_argnums=(0, 1))
def watch(battlefield, steps, seed):
    """All loops of battles: with random legal actions in even lanes; with both teams attack-moving in odd ones."""
    a, theirs, attacks = battlefield.n_agents, slice(battlefield.n_agents, None), jnp.arange(seed.size) % 2 == 1
    there = (float(battlefield.spawn_x[theirs].mean()), float(battlefield.spawn_y[theirs].mean()))

    def loop(battle, _):
        led = where(attacks, opponent.attack_move(battlefield, battle, 0, a), battle)
        battle = tick.tick(battlefield, smac_lab.SCRIPTED, led)
        return battle, battle.units

    def one(carry, _):
        battle, noise = carry
        noise = noise * jnp.uint32(747796405) + jnp.uint32(2891336453)
        avail = jnp.transpose(actions.available(battlefield, battle.units), (2, 0, 1))
        commanded = actions.command(battlefield, battle, throughput.random_actions(avail, noise).T)
        battle = combat.draw(scenario.Options(), where(attacks, battle, commanded))
        battle, seen = jax.lax.scan(loop, battle, None, length=8)
        return (eqx.tree_at(lambda b: b.steps, battle, battle.steps + 1), noise), seen

    battle = smac_lab.SCRIPTED.init(battlefield, state.spawn(battlefield, seed))
    battle = opponent.order_to_point(battlefield, battle, 0, a, there)
    noise = seed[:, None] ^ (jnp.arange(a, dtype=jnp.uint32) * jnp.uint32(0x9E3779B1))
    _, seen = jax.lax.scan(one, (battle, noise), None, length=steps)
    return jax.tree.map(lambda s: s.reshape(-1, *s.shape[2:]), seen)


@pytest.mark.slow
@pytest.mark.parametrize("terrain", ["simple", "octagon"])
def test_chance_decides_on_the_side(terrain):
    """What is dead ahead is passed on the side drawn for the walker, in the open as where it is tight."""
    battlefield = smac_lab.field_at(["zealot", "zealot"], ["zealot"], terrain)
    assert movement.is_tight(battlefield) == (terrain == "octagon")
    battle = smac_lab.at(battlefield, [(15.2, 16), (16, 16), (25, 16)], smac_lab.PASSIVE, seeds=2)
    orders = [battle.orders.goal_x.at[0].set(20.0), battle.orders.walking.at[0].set(True)]
    where_to = lambda b: [b.orders.goal_x, b.orders.walking, b.intent.side]  # noqa: E731
    battle = eqx.tree_at(where_to, battle, [*orders, battle.intent.side.at[0].set(jnp.float32([1.0, -1.0]))])
    battle = eqx.tree_at(lambda b: b.orders.goal_y, battle, battle.orders.goal_y.at[0].set(16.0))
    wanted = movement.steer(battlefield, movement.plan(battlefield, battle)).intent
    speed = 2.25 / 16
    np.testing.assert_allclose(wanted.vy[0], [-speed, speed], atol=1e-3)
    np.testing.assert_array_equal(wanted.side[0], [1.0, -1.0])
    assert wanted.passing[0].all()


TIGHT = ("corridor", "27m_vs_30m", "bane_vs_bane", "2c_vs_64zg", "so_many_baneling", "6h_vs_8z", "MMM2")


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(TIGHT))
def test_nobody_in_walls_or_in_each_other(name):
    """12.10: in crowds and between walls no two units of a layer ever overlap by 0.1, in random play and in battle."""
    battlefield = scenario.load(name)
    assert movement.is_tight(battlefield)
    units = watch(battlefield, 50, jax.random.bits(jax.random.key(4), (6,), jnp.uint32))
    x, y = np.asarray(units.x), np.asarray(units.y)
    assert np.isfinite(x).all() and np.isfinite(y).all()
    stands = np.stack([battlefield.walkable, battlefield.level > 0, np.ones((32, 32), bool)])
    assert stands[np.broadcast_to(battlefield.layer, x.shape), x.astype(int), y.astype(int)].all()
    assert overlaps(battlefield, units).max() < 0.1


def test_steps_fit_in_a_word():
    """Packing keeps sides and counts exactly and steps to 1/600 of the speed, and packed twice they stay."""
    rng = np.random.default_rng(0)
    speed = jnp.float32(rng.uniform(0.1, 0.2, 500))
    step_x, step_y = (jnp.float32(rng.uniform(-1.7, 1.7, 500)) * speed for _ in range(2))
    side = jnp.float32(rng.choice([-3, -1, -58 / 64, 0, 1 / 64, 2], 500))
    unit, inverse = speed * (1 / 600.0), 600.0 / speed
    word = movement._pack(inverse, (step_x, step_y, side))
    vx, vy, again = movement._unpack(unit, word)
    np.testing.assert_array_equal(again, side)
    np.testing.assert_allclose(jnp.stack([vx, vy]), jnp.stack([step_x, step_y]), atol=0.2 / 600)
    np.testing.assert_array_equal(movement._pack(inverse, (vx, vy, again)), word)


@pytest.mark.slow
def test_one_step_of_movement(duel, marines):
    """12.1: a stalker walks 1.477 in a step and a marine 1.125, in each direction."""
    for field, enemy, length in ((duel, (28, 8), 1.4766), (marines, (28, 8), 1.125)):
        spots = [(15, 16), (15, 10), enemy][-field.n_units :]
        battle = smac_lab.at(field, spots, smac_lab.PASSIVE)
        for action, (dx, dy) in zip((NORTH, SOUTH, EAST, WEST), actions.DIRECTIONS, strict=True):
            end, _ = smac_lab.run(field, smac_lab.PASSIVE, battle, smac_lab.plan([action] * field.n_agents))
            moved = np.array([end.units.x[0, 0] - battle.units.x[0, 0], end.units.y[0, 0] - battle.units.y[0, 0]])
            np.testing.assert_allclose(moved, length * np.array([dx, dy]), atol=0.01)


@pytest.mark.slow
def test_zealots_surround():
    """Melee units do not queue: eight zealots on a standing one get to at least five places around it in 5 seconds."""
    field = smac_lab.field(["zealot"], ["zealot"] * 8)
    field = dataclasses.replace(field, health_max=field.health_max * 50)
    starts = [(16.0 + 0.8 * (k % 2), 13.2 + 0.8 * (k // 2)) for k in range(8)]
    battle = smac_lab.at(field, [(9, 16), *starts])
    _, seen = smac_lab.run(field, smac_lab.SCRIPTED, battle, smac_lab.plan([STOP], repeat=20))
    dx, dy = seen.units.x[:, 1:, 0] - seen.units.x[:, :1, 0], seen.units.y[:, 1:, 0] - seen.units.y[:, :1, 0]
    biting = (np.hypot(dx, dy) - 1.0 <= 0.1 + 1e-4).sum(axis=1)
    contact = int(np.argmax(biting > 0))
    assert biting[contact + 80] >= 5


@pytest.mark.slow
def test_a_medivac_takes_its_time_to_speed_up(patrol):
    """Facts 7a: 2.3125 per second squared up to 2.75; ground units are at full speed at once."""
    battle = smac_lab.at(patrol, [(5, 16), (5, 12), (5, 20), (28, 8), (28, 9), (28, 10)], smac_lab.PASSIVE)
    _, seen = smac_lab.run(patrol, smac_lab.PASSIVE, battle, smac_lab.plan([4, 4, 4], repeat=5))
    x = np.asarray(seen.units.x)[:, :3, 0]
    v = np.diff(x, axis=0, prepend=np.full((1, 3), 5.0)) * 16
    np.testing.assert_allclose(v[:8, :2], 2.25, atol=1e-3)
    np.testing.assert_allclose(np.diff(v[:19, 2]) * 16, 2.3125, atol=0.01)
    assert v[:, 2].max() == pytest.approx(2.75, abs=1e-3)
