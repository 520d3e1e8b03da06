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


@pytest.mark.parametrize(
    "name",
    cases(["3m", "5m_vs_6m", *MORE_FIGHTS], "3m", "5m_vs_6m", "8m_vs_9m"),
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
