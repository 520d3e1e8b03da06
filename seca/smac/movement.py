"""How units get where they want to be: straight, round each other, and never into walls.

The game's pathing is closed. Here a unit walks straight at its goal; whatever stands in its way turns it along the
tangent, on the side it is heading to already, and what still overlaps is pushed apart. On plain terrain that is enough:
melee units surround, columns file past, nobody is pushed by an enemy.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from seca.smac.opponent import RANGE_SLOP
from seca.smac.scenario import Scenario
from seca.smac.state import Battle, Intent, is_walkable, parked

MARGIN = 0.3
"""Free space below which a unit turns away from what it is about to run into."""
DEAD_AHEAD = 1e-3
"""Sideways step per loop below which a unit has no lean of its own."""
MAX_PUSH = 0.15
"""Longest displacement by pushing apart in one loop."""
UNROLLED_UNITS = 16
"""Up to this many units a pass over pairs is written out, above it is a loop."""


def plan(scenario: Scenario, battle: Battle) -> Battle:
    """Find who is in range of its target, and where everybody else wants to step.

    Units with a living target walk at it until it is in range, then stand; units without walk to their goal, never past
    it. The dead are parked and want nothing.
    """
    orders = battle.orders
    px, py = parked(battle.units)
    index = jnp.maximum(orders.target, 0)
    tx, ty = jnp.take_along_axis(px, index, axis=0), jnp.take_along_axis(py, index, axis=0)
    radius = scenario.radius + jnp.asarray(scenario.radius[:, 0])[index]

    dx, dy = tx - px, ty - py
    distance = jnp.sqrt(dx * dx + dy * dy)
    alive = battle.units.alive
    has_target = (orders.target >= 0) & (distance < 100.0) & alive
    gap = distance - radius
    slop = jnp.where(battle.weapons.swing > 0, RANGE_SLOP, 0.0)
    engaged = has_target & (gap <= scenario.reach + slop)

    gx = jnp.where(has_target, dx, orders.goal_x - px)
    gy = jnp.where(has_target, dy, orders.goal_y - py)
    length = jnp.sqrt(gx * gx + gy * gy)
    moves = alive & jnp.where(orders.target >= 0, has_target & ~engaged, orders.walking)
    scale = jnp.where(moves, jnp.minimum(scenario.speed / jnp.maximum(length, 1e-6), 1.0), 0.0)
    intent = Intent(engaged=engaged, gap=gap, vx=gx * scale, vy=gy * scale, side=battle.intent.side)
    return eqx.tree_at(lambda b: b.intent, battle, intent)


def advance(scenario: Scenario, battle: Battle) -> Battle:
    """Move every unit by one loop: steer round blockers, add the push, stop at walls axis by axis (so units slide)."""
    u = scenario.n_units
    units, intent = battle.units, battle.intent
    px, py = parked(units)
    still = jnp.where((intent.vx == 0) & (intent.vy == 0), 1.0, 0.0)
    speed = jnp.sqrt(intent.vx * intent.vx + intent.vy * intent.vy)
    zero = jnp.zeros_like(px)

    def meet(j, carry):
        return _meet(j, carry, px, py, intent, still, speed, battle.orders.target, jnp.asarray(scenario.separation))

    unroll = u if u <= UNROLLED_UNITS else 1
    vx, vy, push_x, push_y = jax.lax.fori_loop(0, u, meet, (intent.vx, intent.vy, zero, zero), unroll=unroll)

    push = jnp.sqrt(push_x * push_x + push_y * push_y)
    shorten = jnp.minimum(1.0, MAX_PUSH / jnp.maximum(push, 1e-6))
    alive = units.alive
    to_x = jnp.where(alive, units.x + vx + push_x * shorten, units.x)
    to_y = jnp.where(alive, units.y + vy + push_y * shorten, units.y)
    x = jnp.where(is_walkable(scenario, to_x, units.y), to_x, units.x)
    y = jnp.where(is_walkable(scenario, x, to_y), to_y, units.y)
    return eqx.tree_at(lambda b: (b.units.x, b.units.y), battle, (x, y))


def _meet(j, carry, px, py, intent, still, speed, target, separation):
    """What unit `j` does to the steps of all units.

    With n from j to i and g the free space between them: push by max(0, -g) n, shared half and half between two movers
    or two standing units and borne by the mover alone otherwise. If g < margin, the two approach, and i itself walks
    toward j, which is not its target: i walks along the tangent instead, at full speed, to the side it leans to.
    """
    vx, vy, push_x, push_y = carry
    dx, dy = px - px[j], py - py[j]
    distance = jnp.sqrt(dx * dx + dy * dy + 1e-12)
    nx, ny = dx / distance, dy / distance
    gap = distance - separation - separation[j]

    push = jnp.maximum(-gap, 0.0) * (0.5 + 0.5 * (still[j] - still))
    inward = vx * nx + vy * ny
    approach = inward - (intent.vx[j] * nx + intent.vy[j] * ny)
    turn = (gap < MARGIN) & (approach < -1e-3) & (inward < -1e-3) & (target != j)
    lean = vy * nx - vx * ny + DEAD_AHEAD * intent.side
    along = jnp.where(lean >= 0, speed, -speed)
    return (
        jnp.where(turn, -ny * along, vx),
        jnp.where(turn, nx * along, vy),
        push_x + push * nx,
        push_y + push * ny,
    )
