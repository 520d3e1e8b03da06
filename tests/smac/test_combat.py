"""Damage and time: duels and team fights of golden/smac_duels.json, hits against a slow twin, shields and luck."""

import dataclasses
import json

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab
from tiers import cases

from seca.smac import combat, scenario, state, tick
from seca.smac.opponent import Opponent

STOP = 1


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["smac", "ladder410"])
def test_duels(golden_dir, profile):
    """Volleys to the kill, and the time from the first hit to the last, of all pairs of units, in one battle."""
    golden = json.loads((golden_dir / "smac_duels.json").read_text())["duels"]
    duels = [d for d in golden if d["profile"] == profile and d["attacker"] != "baneling"]
    assert len(duels) == 27
    field = smac_lab.field([d["attacker"] for d in duels], [d["defender"] for d in duels], "open", profile)
    # `build` numbers agents by type: pair them again.
    types = list(dict.fromkeys(d["attacker"] for d in duels))
    agents = np.argsort([types.index(d["attacker"]) for d in duels], kind="stable")
    assert [field.unit_names[i] for i in range(len(duels))] == [duels[k]["attacker"] for k in agents]
    n = len(duels)
    spots = [(4.0 + 5 * (k % 5), 4.0 + 4.5 * (k // 5)) for k in range(n)]
    foes = n + np.arange(n)
    pair = np.empty(n, int)
    pair[agents] = np.arange(n)
    touch = (field.separation[pair] + field.separation[foes])[:, 0] + 0.01
    edge = (field.reach[pair] + field.radius[pair] + field.radius[foes])[:, 0] - 0.02
    apart = np.maximum(np.minimum(edge, 1.05), touch)
    places = [spots[k] for k in agents] + [(x + d, y) for (x, y), d in zip(spots, apart, strict=True)]
    battle = smac_lab.at(field, places, smac_lab.PASSIVE)
    orders = [6 + int(k) for k in agents]
    _, seen = smac_lab.run(field, smac_lab.PASSIVE, battle, smac_lab.plan(orders, repeat=120))
    left = smac_lab.body(seen)[:, n:, 0]
    start = smac_lab.body(battle)[n:, 0]
    drops = np.diff(np.concatenate([start[None], left]), axis=0) < 0
    for k, duel in enumerate(duels):
        hits = np.flatnonzero(drops[:, k])
        assert left[-1, k] == 0, duel
        double = duel["hits_per_volley"] == 2 and duel["attacker"] == "zealot"  # A colossus burns twice at once.
        volleys = duel.get("volleys_with_life_regen", duel["volleys"])
        assert -(-len(hits) // (2 if double else 1)) == volleys, duel
        seconds = duel.get("seconds_with_life_regen", duel["seconds"]) + 0.28 * (double and len(hits) % 2 == 0)
        assert hits[-1] - hits[0] == pytest.approx(16 * seconds, abs=1.0), duel


def test_periods_are_exact_on_average():
    """Fractions of a loop are carried on: 20 marine attacks take 19 * 13.7728 loops."""
    field = smac_lab.field(["marine"], ["zealot"])
    field = dataclasses.replace(field, health_max=field.health_max * 100)
    battle = smac_lab.at(field, [(10, 16), (14, 16)], smac_lab.PASSIVE)
    _, seen = smac_lab.run(field, smac_lab.PASSIVE, battle, smac_lab.plan([6], repeat=40))
    left = smac_lab.body(seen)[:, 1, 0]
    hits = np.flatnonzero(np.diff(left) < 0)
    assert hits[19] - hits[0] == pytest.approx(19 * 13.7728, abs=1.0)
    assert np.asarray(seen.units.cooldown)[:, 0].max() == pytest.approx(13.7728 - 1, abs=1.0)


def naive_hits(shield: float, health: float, armor: float, hits: list[float]) -> tuple[float, float]:
    """Hits one after the other: shield first, the rest of each meets armor and takes at least 0.5 (facts 7a)."""
    for hit in hits:
        absorbed = min(shield, hit)
        shield -= absorbed
        if hit > absorbed:
            health -= max(hit - absorbed - armor, 0.5)
    return shield, max(health, 0.0)


def test_hits_against_the_slow_twin():
    """Any number of equal hits in one loop is exact; different hits differ by at most one armor."""
    field = smac_lab.field(["marine", "stalker", "stalker", "zealot", "zealot"], ["zealot", "stalker"])
    rng = np.random.default_rng(0)
    lanes = 400
    battle = smac_lab.at(field, [(10 + k, 16) for k in range(7)], seeds=lanes)
    shield = np.floor(rng.uniform(0, 30, (7, lanes))).astype(np.float32)
    health = np.floor(rng.uniform(1, 80, (7, lanes))).astype(np.float32)
    hitting = rng.random((7, lanes)) < 0.6
    hitting[5:] = False
    victim = np.broadcast_to(rng.integers(5, 7, lanes), (7, lanes)).astype(np.int32)
    battle = eqx.tree_at(
        lambda b: (b.units.shield, b.units.health, b.weapons.hitting, b.weapons.victim),
        battle,
        (jnp.asarray(shield), jnp.asarray(health), jnp.asarray(hitting), jnp.asarray(victim)),
    )
    after = jax.jit(lambda b: combat.hurt(field, b))(battle)
    equal = 0
    for lane in range(lanes):
        for j in (5, 6):
            hits = [float(field.damage[i, j]) for i in range(5) if hitting[i, lane] and victim[i, lane] == j]
            expected = naive_hits(shield[j, lane], health[j, lane], float(field.armor[j, 0]), hits)
            got = float(after.units.shield[j, lane]), float(after.units.health[j, lane])
            assert got[0] == expected[0]
            same = len(set(hits)) <= 1
            equal += same and len(hits) > 1
            assert abs(got[1] - expected[1]) <= (0.0 if same else float(field.armor[j, 0]) + 0.5)
            assert bool(after.weapons.quiet[j, lane] == 0) == bool(hits)
    assert equal > 10


def volley_targets(policy: str, team: slice, foes: slice, health: jax.Array) -> jax.Array:
    """Targets `[team, batch]` as golden/smac_duels.json defines the policies."""
    alive = health[foes] > 0
    living = jnp.cumsum(alive, axis=0)
    shooter = (jnp.cumsum(health[team] > 0, axis=0) - 1)[:, None]
    first = foes.start + jnp.argmax(alive, axis=0)
    if policy == "focus":
        return jnp.broadcast_to(first, health[team].shape)
    if policy == "spread":
        index = jnp.arange(health[team].shape[0])[:, None, None]
        wanted = index % jnp.maximum(living[-1], 1) + 1
        return foes.start + jnp.argmax((living[None] == wanted) & alive[None], axis=1)
    need = jnp.cumsum(jnp.where(alive, jnp.ceil(health[foes] / 6), 0), axis=0)
    open_ = need[None] > shooter
    return jnp.where(open_.any(axis=1), foes.start + jnp.argmax(open_, axis=1), first)


MORE_FIGHTS = ("8m", "8m_vs_9m", "10m_vs_11m", "25m", "27m_vs_30m")


@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    cases(["3m", "5m_vs_6m", *MORE_FIGHTS], "5m_vs_6m"),
)
def test_team_fights(golden_dir, name):
    """Marines in range of each other, volley by volley: who survives, and with how much health."""
    golden = [f for f in json.loads((golden_dir / "smac_duels.json").read_text())["team_fights"] if f["map"] == name]
    assert golden
    field = scenario.load(name)
    field = dataclasses.replace(field, reach=np.full_like(field.reach, 90.0), speed=np.zeros_like(field.speed))
    allies, enemies = slice(0, field.n_agents), slice(field.n_agents, field.n_units)

    def act(_, battle):
        health = battle.units.health
        rows = []
        for team, foes, side in ((allies, enemies, "ally_policy"), (enemies, allies, "enemy_policy")):
            chosen = [volley_targets(f[side], team, foes, health[:, k : k + 1]) for k, f in enumerate(golden)]
            rows.append(jnp.concatenate(chosen, axis=1).astype(jnp.int32))
        return eqx.tree_at(lambda b: b.orders.target, battle, jnp.concatenate(rows))

    opponent = Opponent(init=lambda _, battle: battle, act=act)
    battle = state.spawn(field, jnp.zeros(len(golden), jnp.uint32))
    loops = 14 * max(f["volleys"] for f in golden) + 20

    @jax.jit
    def fight(battle):
        def loop(battle, _):
            battle = tick.tick(field, opponent, battle)
            return battle, battle.weapons.hitting.any(axis=0)

        return jax.lax.scan(loop, battle, None, length=loops)

    end, volleys = fight(battle)
    health = np.asarray(end.units.health)
    for k, expected in enumerate(golden):
        got = {
            "allies_alive": int((health[allies, k] > 0).sum()),
            "allies_hp": int(health[allies, k].sum()),
            "enemies_alive": int((health[enemies, k] > 0).sum()),
            "enemies_hp": int(health[enemies, k].sum()),
            "volleys": int(np.asarray(volleys)[:, k].sum()),
        }
        assert got == {key: expected[key] for key in got}, expected


def test_shields_regenerate(duel):
    """12.5: nothing for 160 loops, then 1 per env step, 80 points in 80 steps; a hit restarts the wait."""
    battle = smac_lab.at(duel, [(9, 16), (28, 8)], smac_lab.PASSIVE)
    battle = eqx.tree_at(
        lambda b: (b.units.shield, b.weapons.quiet),
        battle,
        (battle.units.shield.at[0].set(0.0), jnp.zeros_like(battle.weapons.quiet)),
    )
    _, seen = smac_lab.run(duel, smac_lab.PASSIVE, battle, smac_lab.plan([STOP], repeat=104))
    shield = np.asarray(seen.units.shield)[:, 0, 0]
    assert (shield[:160] == 0).all() and shield[160] > 0
    np.testing.assert_allclose(shield[7::8][20:100], np.arange(1, 81), atol=1e-4)
    assert (shield[800:] == 80).all()

    again = eqx.tree_at(lambda b: b.weapons.quiet, battle, jnp.full_like(battle.weapons.quiet, 150.0))
    hit = eqx.tree_at(lambda b: b.units.x, again, again.units.x.at[1].set(10.0))
    hit = eqx.tree_at(lambda b: b.units.y, hit, hit.units.y.at[1].set(16.0))
    hit = eqx.tree_at(lambda b: b.orders.target, hit, hit.orders.target.at[1].set(0))
    _, seen = smac_lab.run(duel, smac_lab.PASSIVE, hit, smac_lab.plan([STOP], repeat=3))
    assert (np.asarray(seen.weapons.quiet)[:, 0] < 8 * 3).all() and (np.asarray(seen.units.shield)[:, 0] == 0).all()


def test_jitter_of_shots():
    """Each shot's cooldown varies by U(-1, 2) game loops, on average half a loop, from battle to battle."""
    field = scenario.load("3m")
    battle = state.spawn(field, jnp.arange(20_000, dtype=jnp.uint32))
    jitter = np.asarray(combat.draw(scenario.Options(), battle).weapons.jitter)
    assert jitter.min() >= -1.0 and jitter.max() <= 2.0
    assert jitter.mean() == pytest.approx(0.5, abs=0.01) and jitter.std() == pytest.approx(3 / np.sqrt(12), abs=0.01)
    assert np.abs(np.corrcoef(jitter) - np.eye(field.n_units)).max() < 0.05
    following = combat.draw(scenario.Options(), eqx.tree_at(lambda b: b.steps, battle, battle.steps + 1))
    assert abs(np.corrcoef(jitter[0], np.asarray(following.weapons.jitter)[0])[0, 1]) < 0.05


def test_weapons_loop_by_loop(duel):
    """A stalker in one loop, lane by lane: windup 3 loops, period 23.04, a missile that flies 16 / 18.75 a unit."""
    lanes = {  # engaged, cooldown, swing, late, life -> cooldown, swing, late, hitting
        "ready, it begins": ((1, 0, 0, 0, 80), (0, 3, 0, 0)),
        "its swing goes on": ((1, 0, 3, 0, 80), (0, 2, 0, 0)),
        "it shoots: 0.5 of luck": ((1, 0, 1, 0, 80), (23.04 - 3 + 0.5, 0, 3.875 * 16 / 18.75, 0)),
        "part of a loop too early is carried on": ((1, 0.75, 0, 0, 80), (-0.25, 3, 0, 0)),
        "it reloads": ((1, 5, 0, 0, 80), (4, 0, 0, 0)),
        "a swing broken off costs nothing": ((0, 0, 2, 0, 80), (0, 0, 0, 0)),
        "a missile is on its way": ((0, 5, 0, 2.5, 80), (4, 0, 1.5, 0)),
        "it lands in the nearest loop": ((0, 5, 0, 1.5, 80), (4, 0, 0, 1)),
        "it lands although the shooter is dead": ((0, 5, 0, 1.2, 0), (4, 0, 0, 1)),
    }
    before, expected = (np.array(part, np.float32).T for part in zip(*lanes.values(), strict=True))
    battle = smac_lab.at(duel, [(9, 16), (14, 16)], smac_lab.PASSIVE, seeds=len(lanes))
    engaged, cooldown, swing, late, life = jnp.asarray(before)
    battle = eqx.tree_at(
        lambda b: (
            *(b.intent.engaged, b.intent.gap, b.units.cooldown, b.units.health),
            *(b.weapons.swing, b.weapons.late, b.weapons.jitter, b.orders.target, b.weapons.victim),
        ),
        battle,
        (
            battle.intent.engaged.at[0].set(engaged > 0),
            battle.intent.gap.at[0].set(3.875),
            battle.units.cooldown.at[0].set(cooldown),
            battle.units.health.at[0].set(life),
            battle.weapons.swing.at[0].set(swing),
            battle.weapons.late.at[0].set(late),
            battle.weapons.jitter.at[0].set(0.5),
            battle.orders.target.at[0].set(1),
            battle.weapons.victim.at[0].set(7),
        ),
    )
    after = combat.fire(duel, battle)
    found = [after.units.cooldown[0], after.weapons.swing[0], after.weapons.late[0], after.weapons.hitting[0]]
    for name, row, wanted in zip(lanes, np.stack(found).T, expected.T, strict=True):
        np.testing.assert_allclose(row, wanted, atol=1e-5, err_msg=name)
    assert after.weapons.victim[0].tolist() == [7, 7, 1] + [7] * 6
    assert not after.weapons.hitting[1].any()


def test_what_grows_in_a_loop():
    """Shields 2 / 16 after more than 160 loops, up to what they were; a zergling's life 0.2734 / 16; nothing dead."""
    field = smac_lab.field(["stalker"], ["zergling"])
    battle = smac_lab.at(field, [(9, 16), (14, 16)], smac_lab.PASSIVE, seeds=4)
    battle = eqx.tree_at(
        lambda b: (b.units.health, b.units.shield, b.weapons.quiet),
        battle,
        (
            jnp.array([[80.0, 80, 80, 0], [20.0, 34.99, 35, 0]]),
            jnp.array([[10.0, 10, 79.9, 10], [0.0] * 4]),
            jnp.array([[160.0, 161, 161, 161], [0.0] * 4]),
        ),
    )
    units = combat.regenerate(field, battle).units
    assert units.shield.tolist() == [[10, 10.125, 80, 10], [0] * 4]
    np.testing.assert_allclose(units.health, [[80, 80, 80, 0], [20 + 0.2734 / 16, 35, 35, 0]], rtol=1e-6)


def test_healing_in_a_loop():
    """9 / 16 life for 0.33 energy each; of two medivacs that give what one could, both spend and the rest is lost."""
    field = smac_lab.field(["marine", "medivac", "medivac"], ["marine"])
    battle = smac_lab.at(field, [(9, 16), (10, 16), (8, 16), (25, 16)], smac_lab.PASSIVE, seeds=5)
    lanes = jnp.array([[20.0, 44.9, 20, 20, 0], [150] * 3 + [0, 150], [150] * 5, [45] * 5])
    works = jnp.array([[False] * 5, [True] * 5, [False, True, False, False, True], [False] * 5])
    energy = jnp.array([[0.0] * 5, [50, 50, 0.18, 50, 50], [50.0] * 5, [0.0] * 5])
    battle = eqx.tree_at(
        lambda b: (b.units.health, b.units.energy, b.intent.engaged, b.orders.target),
        battle,
        (lanes, energy, works, battle.orders.target.at[1:3].set(0)),
    )
    units = combat.heal(field, battle).units
    np.testing.assert_allclose(units.health[0], [20 + 9 / 16, 45, 20, 20, 0], rtol=1e-6)
    spent, grown = 0.33 * 9 / 16, 0.5625 / 16
    first = [50 - spent + grown, 50 - 0.033 + grown, 0.18 + grown, 50, 50 + grown]
    second = [50 + grown, 50 - 0.033 + grown, 50 + grown, 50 + grown, 50 + grown]
    np.testing.assert_allclose(units.energy[1:3], [first, second], rtol=1e-6)
    assert not np.asarray(units.energy)[[0, 3]].any()


def test_luck_against_the_slow_twin():
    """The same hash in Python's whole numbers; who is passing something keeps its side."""

    def mix(z: int) -> int:
        z = (z ^ z >> 16) * 0x7FEB352D % 2**32
        z = (z ^ z >> 15) * 0x846CA68B % 2**32
        return z ^ z >> 16

    field = smac_lab.field(["marine"] * 2, ["marine"] * 2)
    seeds, steps = [0, 1, 12345, 2**32 - 1], [0, 1, 7, 59]
    battle = state.spawn(field, jnp.array(seeds, jnp.uint32))
    passing = battle.intent.passing.at[1].set(True)
    battle = eqx.tree_at(lambda b: (b.steps, b.intent.passing), battle, (jnp.array(steps, jnp.int32), passing))
    found = combat.draw(scenario.Options(), battle)
    for unit in range(4):
        for lane, (seed, step) in enumerate(zip(seeds, steps, strict=True)):
            z = mix((mix(seed ^ step * 0x9E3779B1 % 2**32) + unit * 0x85EBCA77) % 2**32)
            assert found.weapons.jitter[unit, lane] == pytest.approx((z >> 8) * 3 / 2**24 - 1, abs=1e-6)
            assert found.intent.side[unit, lane] == (1 if unit == 1 or z % 2 == 0 else -1)
    calm = combat.draw(smac_lab.CALM, battle)
    assert not calm.weapons.jitter.any() and calm.intent.side[:, 0].tolist() == [1, 1, 1, -1]
