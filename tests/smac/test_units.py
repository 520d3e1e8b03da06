"""What the special units do: section 12 of the SMAC facts, items 5 to 8."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab
from tiers import cases

from seca.smac import combat, scenario

STOP, FIRST = 1, 6


@pytest.mark.slow
def test_healing(patrol):
    """12.6: 4.5 life a step, 1 to 45 in 9.8 steps, for biological units only, out of the healer's energy."""
    battle = smac_lab.at(patrol, [(9, 16), (9, 12), (10, 16), (28, 8), (28, 9), (28, 10)], smac_lab.PASSIVE)
    battle = eqx.tree_at(lambda b: b.units.health, battle, battle.units.health.at[0].set(1.0))
    end, seen = smac_lab.run(patrol, smac_lab.PASSIVE, battle, smac_lab.plan([STOP, STOP, FIRST + 0], repeat=12))
    life = np.asarray(seen.units.health)[:, 0, 0]
    np.testing.assert_allclose(life[7], 1 + 4.5, atol=1e-4)
    assert int(np.argmax(life >= 45)) + 1 == pytest.approx(9.8 * 8, abs=1)
    assert life[-1] == 45
    spent = 50 + 0.5625 * 12 * 0.5 - float(end.units.energy[2, 0])
    assert spent == pytest.approx(44 * 0.33, abs=0.02)


@pytest.mark.slow
def test_energy_runs_out(patrol):
    """12.6: 50 energy last 20.8 s of healing, some 187 life; after that only as much as grows back."""
    field = dataclasses.replace(patrol, health_max=np.full_like(patrol.health_max, 1000.0))
    battle = smac_lab.at(field, [(9, 16), (9, 12), (10, 16), (28, 8), (28, 9), (28, 10)], smac_lab.PASSIVE)
    battle = eqx.tree_at(lambda b: b.units.health, battle, battle.units.health.at[0].set(1.0))
    _, seen = smac_lab.run(field, smac_lab.PASSIVE, battle, smac_lab.plan([STOP, STOP, FIRST + 0], repeat=60))
    gains = np.diff(np.asarray(seen.units.health)[:, 0, 0], prepend=1.0)
    pause = int(np.argmax(gains == 0))
    assert pause / 16 == pytest.approx(20.8, abs=0.2)
    assert gains[:pause].sum() == pytest.approx(187, abs=2)
    grown = gains[pause:].sum() * 0.33 / ((len(gains) - pause) / 16)
    assert grown == pytest.approx(0.5625, abs=0.02)
    assert (np.asarray(seen.units.energy)[:, 2, 0] >= 0).all()


def burn(places: list, shooter=(10.0, 16.0), profile: str = "smac"):
    """Health of zerglings at `places` after one volley of a colossus at the first of them."""
    field = smac_lab.field(["colossus"], ["zergling"] * len(places), profile=profile)
    battle = smac_lab.at(field, [shooter, *places], smac_lab.PASSIVE)
    end, _ = smac_lab.run(field, smac_lab.PASSIVE, battle, smac_lab.plan([FIRST], repeat=3))
    return np.asarray(end.units.health)[1:, 0]


@pytest.mark.slow
def test_a_beam_burns_across_the_shot():
    """12.7: of zerglings in touch, five die in a line across the shot, one in a line along it."""
    across = [(15.0, 16 + 0.75 * k) for k in (0, -3, -2, -1, 1, 2, 3)]
    assert burn(across).tolist() == [0, 35, 0, 0, 0, 0, 35]
    along = [(15.0 + 0.75 * k, 16.0) for k in (0, 1, 2)]
    assert burn(along).tolist() == [0, 35, 35]
    # On the ladder two hits of 15 leave 5 (and life grows a little before the step ends).
    left = burn(across, profile="ladder410")
    assert (left[[0, 2, 3, 4, 5]] < 5.5).all() and (left[[0, 2, 3, 4, 5]] >= 5).all()
    assert left[[1, 6]].tolist() == [35, 35]


@pytest.mark.slow
def test_a_beam_turns_with_the_shot():
    """The line lies across the way from shooter to victim, whatever its direction."""
    c = np.sqrt(0.5)
    places = [(15 + 0.75 * c * k, 16 - 0.75 * c * k) for k in (0, -3, -2, -1, 1, 2, 3)]
    assert burn(places, shooter=(15 - 5 * c, 16 - 5 * c)).tolist() == [0, 35, 0, 0, 0, 0, 35]


@pytest.mark.slow
def test_friends_do_not_burn():
    field = smac_lab.field(["colossus", "zealot"], ["zergling"])
    battle = smac_lab.at(field, [(10, 16), (15, 16.9), (15, 16)], smac_lab.PASSIVE)
    end, _ = smac_lab.run(field, smac_lab.PASSIVE, battle, smac_lab.plan([FIRST, STOP], repeat=3))
    assert smac_lab.body(end)[:, 0].tolist() == [350, 150, 0]


@pytest.mark.slow
def test_a_beam_burns_although_its_shooter_dies():
    """Half a second passes between the shot and the fire; armor meets both hits."""
    field = smac_lab.field(["colossus"], ["zealot"])
    battle = smac_lab.at(field, [(10, 16), (15, 16)], smac_lab.PASSIVE)
    _, seen = smac_lab.run(field, smac_lab.PASSIVE, battle, smac_lab.plan([FIRST], repeat=2))
    body = smac_lab.body(seen)[:, 1, 0]
    shot = int(np.argmax(np.asarray(seen.weapons.late)[:, 0, 0] > 0))
    burnt = int(np.argmax(body < 150))
    assert burnt - shot == 8 and body[-1] == 110
    halfway = smac_lab.at(field, [(10, 16), (15, 16)], smac_lab.PASSIVE)
    dead = jax.tree.map(lambda x: jnp.asarray(x[shot + 2]), seen)
    dead = eqx.tree_at(lambda b: b.units.health, dead, dead.units.health.at[0].set(0.0))
    end, _ = smac_lab.run(field, smac_lab.PASSIVE, dead, smac_lab.plan([FIRST], repeat=2))
    assert smac_lab.body(end)[1, 0] == 110 and smac_lab.body(halfway)[1, 0] == 150


def bombs(n: int, foes: list, spots: list, steps: int = 2):
    """`n` banelings of ours, all ordered at the first foe, in the middle of `foes` at `spots`."""
    field = smac_lab.field(["baneling"] * n, foes)
    battle = smac_lab.at(field, [(10 + 0.01 * k, 16) for k in range(n)] + spots, smac_lab.PASSIVE)
    field = dataclasses.replace(field, separation=np.zeros_like(field.separation))
    end, _ = smac_lab.run(field, smac_lab.PASSIVE, battle, smac_lab.plan([FIRST] * n, repeat=steps))
    return np.asarray(end.units.health)[:, 0], smac_lab.body(end)[n:, 0]


@pytest.mark.slow
def test_a_blast_hits_all_in_its_circle():
    """12.8: 35 to every zealot whose edge is within 2.2, nothing to friends; the baneling is used up."""
    spots = [(10.5, 16), (10, 18.6), (12.6, 16), (10, 13.2), (7.2, 16)]
    health, foes = bombs(1, ["zealot"] * 5, spots)
    assert health[0] == 0
    assert foes.tolist() == [115, 115, 115, 150, 150]
    health, _ = bombs(2, ["zealot"], [(20.0, 16.0)], steps=1)
    assert (health[:2] == 30).all()


@pytest.mark.slow
@pytest.mark.parametrize(("unit", "needed"), cases([("zealot", 5), ("baneling", 2), ("zergling", 1)], "zealot"))
def test_how_many_banelings_it_takes(unit, needed):
    """12: baneling against zealot, baneling and zergling."""
    assert bombs(needed - 1, [unit], [(10.4, 16.0)])[1][0] > 0 if needed > 1 else True
    assert bombs(needed, [unit], [(10.4, 16.0)])[1][0] == 0


@pytest.mark.slow
def test_a_baneling_explodes_when_it_is_shot():
    """12.8: killed by a marine beside our other units it hits them all the same, and once only."""
    field = smac_lab.field(["marine", "marine"], ["baneling"])
    field = dataclasses.replace(field, speed=np.zeros_like(field.speed))
    battle = smac_lab.at(field, [(8, 16), (13, 17), (13, 16)], smac_lab.PASSIVE)
    _, seen = smac_lab.run(field, smac_lab.PASSIVE, battle, smac_lab.plan([FIRST, STOP], repeat=10))
    victim, bomb = np.asarray(seen.units.health)[:, 1, 0], np.asarray(seen.units.health)[:, 2, 0]
    died = int(np.argmax(bomb == 0))
    assert bomb[-1] == 0 and victim[died - 1] == 45
    assert victim[died + 1] == 10 and victim[-1] == 10  # 20 + 15 against light, a loop later.


@pytest.mark.slow
def test_clumped_zealots_against_banelings():
    """12.8: five blasts kill any number of zealots in one circle."""
    ring = [(10 + 2 * np.cos(t), 16 + 2 * np.sin(t)) for t in np.linspace(0, 2 * np.pi, 6, endpoint=False)]
    _, foes = bombs(5, ["zealot"] * 7, [(10.4, 16.0), *ring])
    assert (foes == 0).all()


@pytest.mark.slow
def test_spread_zealots_against_banelings():
    """12.8: of seven who stand farther apart than a blast reaches, 32 banelings leave one, even if nobody fights.

    Five go for each of six, two for the seventh: all that 32 can do.
    """
    field = smac_lab.field(["zealot"] * 7, ["baneling"] * 32, "open")
    turn = 2 * np.pi * np.arange(7) / 7
    zealots = np.stack([16 + 6.6 * np.cos(turn), 16 + 6.6 * np.sin(turn)], axis=1)
    apart = np.hypot(*(zealots[:, None] - zealots[None]).T)
    assert apart[apart > 0].min() > 2 * (2.2 + 0.5)
    around = [(k, t + 0.35 * (j - 2)) for k, t in enumerate(turn) for j in range(2 if k == 6 else 5)]
    banelings = [tuple(zealots[k] + 2.5 * np.array([np.cos(t), np.sin(t)])) for k, t in around]
    battle = smac_lab.at(field, [*map(tuple, zealots), *banelings])
    end, _ = smac_lab.run(field, smac_lab.SCRIPTED, battle, smac_lab.plan([STOP] * 7, repeat=15))
    body = smac_lab.body(end)[:, 0]
    assert (body[7:] == 0).all()
    assert (body[:7] > 0).tolist() == [False] * 6 + [True]
    assert body[6] == 150 - 2 * 35 + 1  # Armor meets what the shield no longer takes.


@pytest.mark.slow
def test_zerg_life_grows_at_once():
    """12.5: a zergling regains 0.137 in a step, never above its maximum."""
    field = smac_lab.field(["zealot"], ["zergling", "zergling"])
    battle = smac_lab.at(field, [(4, 8), (20, 16), (25, 16)], smac_lab.PASSIVE)
    battle = eqx.tree_at(lambda b: b.units.health, battle, battle.units.health.at[1].set(20.0))
    end, _ = smac_lab.run(field, smac_lab.PASSIVE, battle, smac_lab.plan([STOP], repeat=4))
    assert float(end.units.health[1, 0]) == pytest.approx(20 + 4 * 0.1367, abs=1e-3)
    assert float(end.units.health[2, 0]) == 35


def test_creep_decay_is_a_switch():
    """Off by default; on, a spine crawler without creep loses 3 life a second, less what it regenerates."""
    plain = scenario.load("2s_vs_1sc")
    decaying = scenario.load("2s_vs_1sc", creep_decay=True)
    assert plain.life_rate[2, 0] * 16 == pytest.approx(0.2734)
    assert decaying.life_rate[2, 0] * 16 == pytest.approx(0.2734 - 1 / 0.3332)
    assert (plain.life_rate[:2] == 0).all() and (decaying.life_rate[:2] == 0).all()
    battle = smac_lab.at(decaying, [(11, 10), (17, 10), (14, 20)], smac_lab.PASSIVE)
    after = jax.jit(lambda b: combat.regenerate(decaying, b))(battle)
    assert float(after.units.health[2, 0]) < 300
