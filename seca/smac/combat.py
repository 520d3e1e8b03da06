"""Swings, shots, hits, beams, blasts, damage, healing and regeneration."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool

from seca.smac.scenario import LOOPS_PER_SECOND, Options, Scenario
from seca.smac.state import NOBODY, Battle, Weapons, either, level_at

SHIELD_DELAY = 10.0 * LOOPS_PER_SECOND
"""Game loops without damage before shields regenerate."""
SHIELD_RATE = 2.0 / LOOPS_PER_SECOND
MIN_DAMAGE = 0.5
"""Least damage of a hit that reaches life."""


def fire(scenario: Scenario, battle: Battle) -> Battle:
    """Run cooldowns and swings, shoot, and say which hits land in this loop.

    A unit in range with a ready weapon starts a swing; at its damage point it shoots, and the cooldown starts, shorter
    by the swing so that attacks are one period apart; the part of a loop left over is carried on. A swing broken off
    before costs nothing. The shot hits at once, or when the missile arrives or the beam burns (both go on if the
    shooter dies); a second hit follows after its delay if the attacker still lives. Targets are not chosen to avoid
    overkill. Healers have no shots.
    """
    w, engaged, alive = battle.weapons, battle.intent.engaged, battle.units.alive
    if (scenario.volley == 0).any():
        engaged = engaged & (scenario.volley > 0)
    swinging = w.swing > 0
    rest = battle.units.cooldown - either(swinging, 0.0, 1.0)
    ready = jnp.where(rest <= -1.0, 0.0, rest)

    starts = engaged & ~swinging & (ready <= 0)
    swing = jnp.where(starts, scenario.windup, jnp.where(engaged, jnp.maximum(w.swing - 1.0, 0.0), 0.0))
    shot = engaged & (starts | swinging) & (swing == 0)
    cooldown = jnp.where(shot, ready + scenario.period - scenario.windup + w.jitter, ready)

    landing = (w.late > 0) & (w.late <= 1.5)  # The loop nearest to the true time.
    flight = scenario.late_delay + scenario.flight_per_unit * jnp.maximum(battle.intent.gap, 0.1)
    late = jnp.where(shot, flight, jnp.where(landing, 0.0, jnp.maximum(w.late - 1.0, 0.0)))
    lands = landing & (alive | (scenario.flies_on > 0))
    hitting = (shot & (scenario.hits_at_once > 0)) | lands
    # A shot never comes before the last one has landed: every delay is shorter than the period.
    victim = jnp.where(shot, battle.orders.target, w.victim)
    return eqx.tree_at(
        lambda b: (b.units.cooldown, b.weapons),
        battle,
        (
            cooldown,
            Weapons(
                swing=swing,
                late=late,
                victim=victim,
                hitting=hitting,
                quiet=w.quiet,
                struck_by=w.struck_by,
                jitter=w.jitter,
            ),
        ),
    )


def hurt(scenario: Scenario, battle: Battle) -> Battle:
    """Apply all hits of this loop at once, so that two units can kill each other.

    Damage goes to the shield first; what is left of the hit that breaks it, and every hit after it, meets armor and
    takes at least 0.5. Of several hits in one loop each counts as their mean (exact if they are equal). A unit with a
    blast dies of its own attack; if it is killed, its blast comes in the next loop.
    """
    u = scenario.n_units
    units, w = battle.units, battle.weapons
    beams, bombs = (np.flatnonzero(weapon[:, 0]).astype(np.int32) for weapon in (scenario.beam, scenario.blast))
    aimed = w.hitting
    if len(beams) + len(bombs):
        aimed = w.hitting & (scenario.beam[:, :1] == 0) & (scenario.blast == 0)
    victim = jnp.where(aimed, w.victim, u)
    table = jnp.asarray(scenario.damage.reshape(-1))
    rows = jnp.arange(u, dtype=jnp.int32)[:, None] * u
    dealt = jnp.where(aimed, table[rows + jnp.minimum(victim, u - 1)], 0.0)
    count = 1.0
    if (scenario.volley > 1).any():
        dealt, count = dealt * scenario.volley, jnp.broadcast_to(scenario.volley, dealt.shape)
    lanes = jnp.arange(victim.shape[1], dtype=jnp.int32)[None, :]
    zero = jnp.zeros_like(units.x)
    raw = zero.at[victim, lanes].add(dealt, mode="drop")
    hits = zero.at[victim, lanes].add(count, mode="drop")
    attackers = jnp.broadcast_to(jnp.arange(u, dtype=jnp.int32)[:, None], victim.shape)
    striker = jnp.full_like(victim, NOBODY).at[victim, lanes].max(attackers, mode="drop")
    for row in beams:
        caught = w.hitting[row][None] & _burnt(scenario, battle, int(row))
        raw, hits, striker = _add(scenario, int(row), caught, raw, hits, striker)
    if len(bombs):
        raw, hits = _explode(scenario, battle, bombs, raw, hits)

    each = raw / jnp.maximum(hits, 1.0)
    absorbed = jnp.floor(units.shield / jnp.maximum(each, 1.0))
    first = jnp.maximum((absorbed + 1.0) * each - units.shield - scenario.armor, MIN_DAMAGE)
    others = (hits - absorbed - 1.0) * jnp.maximum(each - scenario.armor, MIN_DAMAGE)
    life = jnp.where(raw > units.shield, first + others, 0.0)
    struck = hits > 0
    health, late = jnp.maximum(units.health - life, 0.0), w.late
    if len(bombs):
        health = jnp.where(w.hitting & (scenario.blast > 0), 0.0, health)
        killed = units.alive & (health == 0) & ~w.hitting & (scenario.blast > 0)
        late = jnp.where(killed, 1.0, late)
    return eqx.tree_at(
        lambda b: (b.units.health, b.units.shield, b.weapons.quiet, b.weapons.struck_by, b.weapons.late),
        battle,
        (
            health,
            jnp.maximum(units.shield - raw, 0.0),
            jnp.where(struck, 0.0, w.quiet + 1.0),
            jnp.where(struck, striker, w.struck_by),
            late,
        ),
    )


def _burnt(scenario: Scenario, battle: Battle, row: int) -> Bool[Array, "units batch"]:
    """Whom the beam of unit `row` burns: foes on the ground that touch a line through its victim across the shot.

    Centres lie within half width plus radius of the line's stretch of half length l: with d the way from shooter to
    victim, p = d / |d| across and along it, |max(|p_across| - l, 0)|² + p_along² <= (width + radius)². What stands on
    another cliff level than the victim is spared.
    """
    units, victim = battle.units, jnp.clip(battle.weapons.victim[row], 0, scenario.n_units - 1)[None]
    tx, ty = jnp.take_along_axis(units.x, victim, axis=0), jnp.take_along_axis(units.y, victim, axis=0)
    dx, dy = tx - units.x[row][None], ty - units.y[row][None]
    length = jnp.sqrt(dx * dx + dy * dy) + 1e-6
    dx, dy = dx / length, dy / length
    px, py = units.x - tx, units.y - ty
    along, across = px * dx + py * dy, jnp.abs(py * dx - px * dy)
    beyond = jnp.maximum(across - scenario.beam[row, 0], 0.0)
    reach = scenario.beam[row, 1] + scenario.radius
    caught = (beyond * beyond + along * along <= reach * reach) & units.alive & (scenario.damage[row][:, None] > 0)
    if len(np.unique(scenario.level[scenario.level > 0])) > 1:
        levels = jnp.floor(level_at(scenario, units.x, units.y))
        caught = caught & (levels == jnp.take_along_axis(levels, victim, axis=0))
    return caught & _foes(scenario, row)


def _explode(scenario: Scenario, battle: Battle, bombs: np.ndarray, raw: Array, hits: Array) -> tuple[Array, Array]:
    """Add what blasts do to all foes on the ground whose edge is within the radius."""
    units, a = battle.units, scenario.n_agents
    for first, last in ((0, a), (a, scenario.n_units)):
        mine = bombs[(bombs >= first) & (bombs < last)]
        if not len(mine):
            continue
        foes = slice(a, None) if first == 0 else slice(0, a)
        dx = units.x[mine][:, None] - units.x[foes][None]
        dy = units.y[mine][:, None] - units.y[foes][None]
        reach = scenario.blast[mine][:, None] + scenario.radius[foes][None]
        damage = scenario.damage[mine][:, foes, None]
        caught = battle.weapons.hitting[mine][:, None] & (dx * dx + dy * dy <= reach * reach) & (damage > 0)
        raw = raw.at[foes].add(jnp.where(caught, damage, 0.0).sum(axis=0))
        hits = hits.at[foes].add(caught.sum(axis=0, dtype=raw.dtype))
    return raw, hits


def _add(
    scenario: Scenario, row: int, caught: Bool[Array, "units batch"], raw: Array, hits: Array, striker: Array
) -> tuple[Array, Array, Array]:
    """Add the volley of unit `row` to all it catches."""
    volley = float(scenario.volley[row, 0])
    return (
        raw + jnp.where(caught, volley * scenario.damage[row][:, None], 0.0),
        hits + either(caught, volley, 0.0),
        jnp.where(caught, jnp.maximum(striker, row), striker),
    )


def _foes(scenario: Scenario, row: int) -> np.ndarray:
    """`[units, 1]` bool: who is on the other side than unit `row`."""
    ours = np.arange(scenario.n_units)[:, None] < scenario.n_agents
    return ours != (row < scenario.n_agents)


def heal(scenario: Scenario, battle: Battle) -> Battle:
    """Let healers in range of a wounded patient turn energy into its health, and everybody's energy grow.

    In a loop a healer gives min(rate, what is missing); it needs, and spends, energy in proportion. Several healers of
    one patient may give more than is missing: the rest is lost.
    """
    healers = np.flatnonzero(scenario.heals[:, 0])
    if not len(healers):
        return battle
    units = battle.units
    health, energy = units.health, units.energy
    for row in healers:
        patient = jnp.clip(battle.orders.target[row], 0, scenario.n_units - 1)[None]
        pick = lambda x, patient=patient: jnp.take_along_axis(jnp.broadcast_to(x, units.x.shape), patient, axis=0)[0]  # noqa: E731
        given = jnp.minimum(scenario.heal_rate[row], pick(scenario.health_max) - pick(units.health))
        works = battle.intent.engaged[row] & units.alive[row] & (pick(units.health) > 0)
        works = works & (energy[row] >= scenario.heal_rate[row] * scenario.heal_cost[row])
        works = works & pick(scenario.can_target[row][:, None])
        given = jnp.where(works, given, 0.0)
        lanes = jnp.arange(given.shape[0], dtype=jnp.int32)
        health = health.at[patient[0], lanes].add(given)
        energy = energy.at[row].add(-given * scenario.heal_cost[row])
    health = jnp.minimum(health, scenario.health_max)
    energy = jnp.minimum(energy + scenario.energy_rate, scenario.energy_max)
    return eqx.tree_at(
        lambda b: (b.units.health, b.units.energy), battle, (health, jnp.where(units.alive, energy, units.energy))
    )


def regenerate(scenario: Scenario, battle: Battle) -> Battle:
    """Refill the shields of living units that took no damage for ten seconds, by 2 a second; let Zerg life grow."""
    units = battle.units
    grows = (battle.weapons.quiet > SHIELD_DELAY) & units.alive
    shield = jnp.minimum(units.shield + SHIELD_RATE, scenario.shield_max)
    battle = eqx.tree_at(lambda b: b.units.shield, battle, jnp.where(grows, shield, units.shield))
    if not scenario.life_rate.any():
        return battle
    # Creep decay takes more than regeneration gives; it can kill.
    health = jnp.clip(units.health + scenario.life_rate, 0.0, scenario.health_max)
    return eqx.tree_at(lambda b: b.units.health, battle, jnp.where(units.alive, health, units.health))


def draw(options: Options, battle: Battle) -> Battle:
    """Draw what an env step needs of chance, as a hash of seed, step and unit.

    The delay of each unit's next shot is U(-1, 2) game loops (a unit shoots at most once in an env step), and the side
    on which it passes what is dead ahead is a coin flip. Without jitter: no delay, and sides by the parity of the unit.
    """
    unit = jnp.arange(battle.units.x.shape[0], dtype=jnp.uint32)[:, None]
    if options.jitter:
        z = battle.seed[None, :] ^ (battle.steps.astype(jnp.uint32)[None, :] * jnp.uint32(0x9E3779B1))
        z = _mix(_mix(z) + unit * jnp.uint32(0x85EBCA77))
        jitter = (z >> 8).astype(jnp.float32) * jnp.float32(3.0 / 2**24) - 1.0
    else:
        z = jnp.broadcast_to(unit, battle.units.x.shape)
        jitter = jnp.zeros_like(battle.units.x)
    side = jnp.where(battle.intent.passing, battle.intent.side, either((z & 1) == 0, 1.0, -1.0))
    return eqx.tree_at(lambda b: (b.weapons.jitter, b.intent.side), battle, (jitter, side))


def _mix(z: Array) -> Array:
    """A bijective scramble of 32 bits (multiply and xor-shift rounds)."""
    z = (z ^ (z >> 16)) * jnp.uint32(0x7FEB352D)
    z = (z ^ (z >> 15)) * jnp.uint32(0x846CA68B)
    return z ^ (z >> 16)
