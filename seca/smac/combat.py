"""Swings, shots, hits, damage and shields."""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import Array

from seca.smac.scenario import LOOPS_PER_SECOND, Options, Scenario
from seca.smac.state import NOBODY, Battle, Weapons

SHIELD_DELAY = 10.0 * LOOPS_PER_SECOND
"""Game loops without damage before shields regenerate."""
SHIELD_RATE = 2.0 / LOOPS_PER_SECOND
MIN_DAMAGE = 0.5
"""Least damage of a hit that reaches life."""


def fire(scenario: Scenario, battle: Battle) -> Battle:
    """Run cooldowns and swings, shoot, and say which hits land in this loop.

    A unit in range with a ready weapon starts a swing; at its damage point it shoots, and the cooldown starts, shorter
    by the swing so that attacks are one period apart; the part of a loop left over is carried on. A swing broken off
    before costs nothing. The shot hits at once, or when the missile arrives (it flies on if the shooter dies); a second
    hit follows after its delay if the attacker still lives. Targets are not chosen to avoid overkill.
    """
    w, engaged, alive = battle.weapons, battle.intent.engaged, battle.units.alive
    swinging = w.swing > 0
    rest = battle.units.cooldown - jnp.where(swinging, 0.0, 1.0)
    ready = jnp.where(rest <= -1.0, 0.0, rest)

    starts = engaged & ~swinging & (ready <= 0)
    swing = jnp.where(starts, scenario.windup, jnp.where(engaged, jnp.maximum(w.swing - 1.0, 0.0), 0.0))
    shot = engaged & (starts | swinging) & (swing == 0)
    cooldown = jnp.where(shot, ready + scenario.period - scenario.windup + w.jitter, ready)

    landing = (w.late > 0) & (w.late <= 1.5)  # The loop nearest to the true time.
    flight = scenario.late_delay + scenario.flight_per_unit * jnp.maximum(battle.intent.gap, 0.1)
    late = jnp.where(shot, flight, jnp.where(landing, 0.0, jnp.maximum(w.late - 1.0, 0.0)))
    lands = landing & (alive | (scenario.flight_per_unit > 0))
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
    takes at least 0.5. Of several hits in one loop each counts as their mean (exact if they are equal).
    """
    u = scenario.n_units
    units, w = battle.units, battle.weapons
    victim = jnp.where(w.hitting, w.victim, u)
    table = jnp.asarray(scenario.damage.reshape(-1))
    rows = jnp.arange(u, dtype=jnp.int32)[:, None] * u
    dealt = jnp.where(w.hitting, table[rows + jnp.minimum(victim, u - 1)], 0.0)
    lanes = jnp.arange(victim.shape[1], dtype=jnp.int32)[None, :]
    zero = jnp.zeros_like(units.x)
    raw = zero.at[victim, lanes].add(dealt, mode="drop")
    hits = zero.at[victim, lanes].add(1.0, mode="drop")
    attackers = jnp.broadcast_to(jnp.arange(u, dtype=jnp.int32)[:, None], victim.shape)
    striker = jnp.full_like(victim, NOBODY).at[victim, lanes].max(attackers, mode="drop")

    each = raw / jnp.maximum(hits, 1.0)
    absorbed = jnp.floor(units.shield / jnp.maximum(each, 1.0))
    first = jnp.maximum((absorbed + 1.0) * each - units.shield - scenario.armor, MIN_DAMAGE)
    others = (hits - absorbed - 1.0) * jnp.maximum(each - scenario.armor, MIN_DAMAGE)
    life = jnp.where(raw > units.shield, first + others, 0.0)
    struck = hits > 0
    return eqx.tree_at(
        lambda b: (b.units.health, b.units.shield, b.weapons.quiet, b.weapons.struck_by),
        battle,
        (
            jnp.maximum(units.health - life, 0.0),
            jnp.maximum(units.shield - raw, 0.0),
            jnp.where(struck, 0.0, w.quiet + 1.0),
            jnp.where(struck, striker, w.struck_by),
        ),
    )


def regenerate(scenario: Scenario, battle: Battle) -> Battle:
    """Refill the shields of living units that took no damage for ten seconds, by 2 a second."""
    units = battle.units
    grows = (battle.weapons.quiet > SHIELD_DELAY) & units.alive
    shield = jnp.minimum(units.shield + SHIELD_RATE, scenario.shield_max)
    return eqx.tree_at(lambda b: b.units.shield, battle, jnp.where(grows, shield, units.shield))


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
    side = jnp.where(battle.intent.passing, battle.intent.side, jnp.where((z & 1) == 0, 1.0, -1.0))
    return eqx.tree_at(lambda b: (b.weapons.jitter, b.intent.side), battle, (jitter, side))


def _mix(z: Array) -> Array:
    """A bijective scramble of 32 bits (multiply and xor-shift rounds)."""
    z = (z ^ (z >> 16)) * jnp.uint32(0x7FEB352D)
    z = (z ^ (z >> 15)) * jnp.uint32(0x846CA68B)
    return z ^ (z >> 16)
