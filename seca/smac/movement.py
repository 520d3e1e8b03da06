"""How units get where they want to be: round walls, round each other, and never into either.

The game's pathing is closed. Here a unit walks straight at its goal, or at the next corner on the way to it; whatever
stands in its way turns it along the tangent, on the side it is heading to already, and what still overlaps is pushed
apart: melee units surround, columns file past, nobody is pushed by an enemy. Only units of one layer meet: colossi, who
step over cliffs and over what is on the ground, and flyers are among themselves.
"""

import functools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from seca.sizes import sizes
from seca.smac import paths
from seca.smac.opponent import RANGE_SLOP
from seca.smac.scenario import LAYERS, MAP_SIZE, Scenario
from seca.smac.state import Battle, Units, either, is_walkable, parked

SKIN = 0.1
"""Free space a unit keeps to what it would otherwise run into in this loop."""
COMMITMENT = 0.9
"""A unit that is passing something changes its side only for a lean above this part of its speed."""
UNDECIDED = 1e-2
"""The same for a unit that is not passing anything yet."""
HEMMED_IN = 2.0
"""Turns in one loop after which a unit stands still instead."""
YIELD = 0.02
"""Push in the last loop above which a unit does not walk against it."""
MAX_PUSH = 0.15
"""Longest displacement by pushing apart in one loop."""
CROWD = 17
"""Number of units from which it is tight even without walls."""
TOLERANCE = 0.03
"""How deep units may walk into each other where it is tight."""
TRUST = 0.15
"""How much of the step of a unit that makes room counts as room."""
GROUND, CLIFFS, AIR = (LAYERS.index(layer) for layer in ("ground", "cliffs", "air"))
LAYER_APART = 64.0
"""How far apart layers are set in passes over pairs: farther than the map is wide."""
AIR_MARGIN = 0.01
"""Flyers stay this far inside the map."""


def plan(scenario: Scenario, battle: Battle) -> Battle:
    """Find who is in range of its target, and where everybody else wants to step.

    Units with a living target walk at it until it is in range, then stand; units without walk to their goal, never past
    it. On the ground the way leads round walls. The dead are parked and want nothing.
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
    slop = either(battle.weapons.swing > 0, RANGE_SLOP, 0.0)
    engaged = has_target & (gap <= scenario.reach + slop)

    gx = jnp.where(has_target, dx, orders.goal_x - px)
    gy = jnp.where(has_target, dy, orders.goal_y - py)
    gx, gy = round_walls(scenario, battle.units, gx, gy)
    length = jnp.sqrt(gx * gx + gy * gy)
    moves = alive & jnp.where(orders.target >= 0, has_target & ~engaged, orders.walking)
    speed = jnp.asarray(scenario.speed)
    if np.isfinite(scenario.acceleration).any():
        speed = jnp.minimum(speed, jnp.hypot(battle.intent.vx, battle.intent.vy) + scenario.acceleration)
    scale = jnp.where(moves, jnp.minimum(speed / jnp.maximum(length, 1e-6), 1.0), 0.0)
    wanted = (engaged, gap, gx * scale, gy * scale)
    return eqx.tree_at(lambda b: (b.intent.engaged, b.intent.gap, b.intent.vx, b.intent.vy), battle, wanted)


def round_walls(
    scenario: Scenario, units: Units, dx: Float[Array, "units batch"], dy: Float[Array, "units batch"]
) -> tuple[Float[Array, "units batch"], Float[Array, "units batch"]]:
    """Where to head for a goal at (dx, dy) from each unit: there, or at the next way-point of `seca.smac.paths`."""
    ways = paths.find(scenario.walkable)
    if ways is None:
        return dx, dy
    own = _cell(units.x) * MAP_SIZE + _cell(units.y)
    goal = _cell(units.x + dx) * MAP_SIZE + _cell(units.y + dy)
    entry = jnp.asarray(ways.row * ways.via.shape[1])[goal] + jnp.asarray(ways.column)[own]
    point = jnp.asarray(ways.via.reshape(-1))[entry].astype(jnp.int32)
    turns = (point > 0) & jnp.asarray(scenario.layer == GROUND)
    to_x, to_y = jnp.asarray(ways.x)[point] - units.x, jnp.asarray(ways.y)[point] - units.y
    return jnp.where(turns, to_x, dx), jnp.where(turns, to_y, dy)


def _cell(at: Float[Array, "units batch"]) -> Int[Array, "units batch"]:
    return jnp.clip(at.astype(jnp.int32), 0, MAP_SIZE - 1)


def is_tight(scenario: Scenario) -> bool:
    """Whether units may get wedged: crowds, and corners of walls. Then nobody walks farther than there is room."""
    return scenario.n_units >= CROWD or paths.find(scenario.walkable) is not None


def steer(scenario: Scenario, battle: Battle) -> Battle:
    """Turn wanted steps away from whatever would be run into, and do not walk against the last push."""
    intent = battle.intent
    px, py = _layered(scenario, battle.units)
    speed = jnp.sqrt(intent.vx * intent.vx + intent.vy * intent.vy)
    pairs = functools.partial(_avoid, px, py, intent, speed, battle.orders.target, jnp.asarray(scenario.separation))
    bias = intent.side * either(intent.passing, COMMITMENT, UNDECIDED)
    if is_tight(scenario):
        unit, inverse = speed * (1 / 600.0), 600.0 / jnp.maximum(speed, 1e-6)
        packed = functools.partial(_in_one_word, pairs, unit, inverse)
        # Rounded, not cut off: the lean of the undecided would be lost, and whatever is dead ahead passed on the right.
        bias = jnp.round(bias * 64.0) * (1 / 64.0)
        word = _over_units(scenario, packed, _pack(inverse, (intent.vx, intent.vy, bias)))
        vx, vy, side = _unpack(unit, word)
        turned = jnp.abs(side) >= 1.0
        vx, vy = jnp.where(turned, vx, intent.vx), jnp.where(turned, vy, intent.vy)
    else:
        vx, vy, side = _over_units(scenario, pairs, (intent.vx, intent.vy, bias))
    shorten = jnp.minimum(1.0, speed / jnp.maximum(jnp.sqrt(vx * vx + vy * vy), 1e-6))
    vx, vy = vx * shorten, vy * shorten
    pushed = intent.push_x * intent.push_x + intent.push_y * intent.push_y
    against = jnp.minimum(vx * intent.push_x + vy * intent.push_y, 0.0)
    yielded = jnp.where(pushed > YIELD**2, against / jnp.maximum(pushed, 1e-6), 0.0)
    vx, vy = vx - yielded * intent.push_x, vy - yielded * intent.push_y
    steered = (vx, vy, either(side >= 0, 1.0, -1.0), jnp.abs(side) >= 1.0)
    return eqx.tree_at(lambda b: (b.intent.vx, b.intent.vy, b.intent.side, b.intent.passing), battle, steered)


def _avoid(px, py, intent, speed, target, separation, j, carry):
    """Make all units avoid unit `j`.

    With n from j to i: if the two would touch in this loop, and i itself walks toward j, which is not its target, then
    i walks along the tangent instead, at full speed. The first such j decides on the side, by where i leans and where
    it went before; all others are passed on the same side, which leads out of pockets and round a ring of fighters to
    its open end. A unit turned too often in one loop is hemmed in and waits. (|side| below 1 is a bias, from 1 on it
    counts turns.) Touching, the distance is about the room both need: it stands for it here, to save roots.
    """
    vx, vy, side = carry
    dx, dy = px - px[None, j], py - py[None, j]
    room = separation + separation[None, j]
    away_x, away_y = vx - intent.vx[None, j], vy - intent.vy[None, j]
    next_x, next_y = dx + away_x, dy + away_y
    touches = next_x * next_x + next_y * next_y < (room + SKIN) * (room + SKIN)
    closing = (away_x * dx + away_y * dy < -1e-3) & (vx * dx + vy * dy < -1e-3)
    turn = touches & closing & (target != j)
    lean = vy * dx - vx * dy + speed * side * room
    decided = either(jnp.where(jnp.abs(side) >= 1.0, side, lean) >= 0, 1.0, -1.0)
    times = jnp.floor(jnp.abs(side))
    along = jnp.where(times < HEMMED_IN, speed * decided, 0.0) / room
    return (
        jnp.where(turn, -dy * along, vx),
        jnp.where(turn, dx * along, vy),
        jnp.where(turn, decided * (times + 1), side),
    )


def _in_one_word(pairs: Callable[[Any, tuple], tuple], unit: Array, inverse: Array, j: Any, word: Array) -> Array:
    """`pairs` on a carry of one array: with three, all of the work would be done again for each of them."""
    return _pack(inverse, pairs(j, _unpack(unit, word)))


def _pack(inverse: Array, carry: tuple[Array, Array, Array]) -> Array:
    """A step in units of 1 / `inverse` and a side in 1/64, as 11, 11 and 10 bits."""
    vx, vy, side = carry
    x, y = (jnp.round(v * inverse).astype(jnp.int32) for v in (vx, vy))
    return ((side * 64.0).astype(jnp.int32) << 22) | ((x & 0x7FF) << 11) | (y & 0x7FF)


def _unpack(unit: Array, word: Array) -> tuple[Array, Array, Array]:
    x, y = (word << 10) >> 21, (word << 21) >> 21
    return x.astype(jnp.float32) * unit, y.astype(jnp.float32) * unit, (word >> 22).astype(jnp.float32) * (1 / 64.0)


def walk(scenario: Scenario, battle: Battle) -> Battle:
    """Take the steps; where it is tight, only as far as there is room for."""
    if not is_tight(scenario):
        return _displace(scenario, battle, battle.intent.vx, battle.intent.vy)
    intent, units = battle.intent, battle.units
    # What overlaps since the last loop moves apart in this one, within the same limits.
    moved = _displace(scenario, battle, intent.vx + intent.push_x, intent.vy + intent.push_y)
    dx, dy = moved.units.x - units.x, moved.units.y - units.y
    px, py = _layered(scenario, units)
    pairs = functools.partial(_limit, px, py, dx, dy, jnp.asarray(scenario.separation))
    part = _over_units(scenario, pairs, jnp.ones_like(px))
    return _displace(scenario, battle, dx * part, dy * part)


def _limit(px, py, vx, vy, separation, j, part):
    """Shorten steps of all units to the part that leaves room to unit `j`.

    With n from j to i, the gap between them may shrink by as much as it is, and by `TOLERANCE`; of the steps,

        part_i <= gap / (max(-v_i.n, 0) + max(v_j.n, 0))   for v_i.n < 0,

    so that both together give up what is too much. A step out of the way adds `TRUST` of itself to the gap, as it may
    in turn be shortened. All is taken times the distance d, and (d - s) d as (d d - s s) / 2, less by little: no roots.
    """
    dx, dy = px - px[None, j], py - py[None, j]
    touch = separation + separation[None, j] - TOLERANCE
    mine, theirs = vx * dx + vy * dy, vx[None, j] * dx + vy[None, j] * dy
    gap = 0.5 * (dx * dx + dy * dy - touch * touch) + jnp.where(theirs < 0, -TRUST * theirs, 0.0)
    gap = jnp.where(gap > 0, gap, 0.0)
    closing = jnp.where(theirs > 0, theirs, 0.0) - mine
    return jnp.where((mine < -1e-4) & (gap < part * closing), gap / closing, part)


def push_apart(scenario: Scenario, battle: Battle) -> Battle:
    """Undo overlaps, half and half between two movers or two standing units, else by the mover alone.

    So nobody is pushed by walkers while it fights, and nothing pushes what cannot walk at all. Where it is tight, the
    push comes with the next step.
    """
    px, py = _layered(scenario, battle.units)
    still = either((battle.intent.vx == 0) & (battle.intent.vy == 0), 1.0, 0.0)
    tight = is_tight(scenario)
    pairs = functools.partial(_nudge if tight else _push, px, py, still, jnp.asarray(scenario.separation))
    dx, dy = _over_units(scenario, pairs, (jnp.zeros_like(px), jnp.zeros_like(px)))
    if (scenario.speed == 0).any():
        dx, dy = (jnp.where(jnp.asarray(scenario.speed) == 0, 0.0, push) for push in (dx, dy))
    shorten = jnp.minimum(1.0, MAX_PUSH / jnp.maximum(jnp.sqrt(dx * dx + dy * dy), 1e-6))
    if tight:
        dx, dy = dx * shorten, dy * shorten
    battle = eqx.tree_at(lambda b: (b.intent.push_x, b.intent.push_y), battle, (dx, dy))
    return battle if tight else _displace(scenario, battle, dx * shorten, dy * shorten)


def _push(px, py, still, separation, j, carry):
    """Add what unit `j` pushes all units by: w max(0, overlap) n."""
    push_x, push_y = carry
    dx, dy = px - px[None, j], py - py[None, j]
    distance = jnp.sqrt(dx * dx + dy * dy + 1e-12)
    overlap = jnp.maximum(separation + separation[None, j] - distance, 0.0)
    share = overlap * (0.5 + 0.5 * (still[None, j] - still)) / distance
    return push_x + share * dx, push_y + share * dy


def _nudge(px, py, still, separation, j, carry):
    """`_push` for small overlaps: s - d is about (s s - d d) / 2s, and n about the way apart over s; no roots."""
    push_x, push_y = carry
    dx, dy = px - px[None, j], py - py[None, j]
    squared = jnp.square(separation + separation[None, j])
    overlap = squared - (dx * dx + dy * dy)
    share = jnp.where(overlap > 0, overlap, 0.0) * (0.25 + 0.25 * (still[None, j] - still)) / squared
    return push_x + share * dx, push_y + share * dy


def _over_units(scenario: Scenario, pairs: Callable[[Any, Any], Any], carry: Any) -> Any:
    """Fold `pairs` over all units."""
    unroll = sizes().unrolled
    if scenario.turns is not None:
        turns = jnp.asarray(scenario.turns, jnp.int32)
        return jax.lax.fori_loop(0, scenario.n_units, lambda k, c: pairs(turns[k], c), carry, unroll=unroll)
    return jax.lax.fori_loop(0, scenario.n_units, pairs, carry, unroll=unroll)


def _layered(scenario: Scenario, units: Units) -> tuple[Float[Array, "units batch"], Float[Array, "units batch"]]:
    """Positions for passes over pairs: layers far apart, the dead parked."""
    px, py = parked(units)
    if (scenario.layer == GROUND).all():
        return px, py
    return px + (scenario.layer * LAYER_APART).astype(np.float32), py


def _displace(scenario: Scenario, battle: Battle, dx: Array, dy: Array) -> Battle:
    """Move living units; stop at walls axis by axis, so that they slide along them."""
    units, alive = battle.units, battle.units.alive
    to_x, to_y = units.x + dx, units.y + dy
    if (scenario.layer == AIR).any():
        flies = jnp.asarray(scenario.layer == AIR)
        to_x, to_y = (jnp.where(flies, jnp.clip(to, AIR_MARGIN, MAP_SIZE - AIR_MARGIN), to) for to in (to_x, to_y))
    x = jnp.where(alive & may_stand(scenario, to_x, units.y), to_x, units.x)
    y = jnp.where(alive & may_stand(scenario, x, to_y), to_y, units.y)
    return eqx.tree_at(lambda b: (b.units.x, b.units.y), battle, (x, y))


def may_stand(
    scenario: Scenario, x: Float[Array, "units batch"], y: Float[Array, "units batch"]
) -> Bool[Array, "units batch"]:
    """Whether each unit could be at its point: on walkable cells, on cliffs of any level, or anywhere in the air."""
    if (scenario.layer == GROUND).all():
        return is_walkable(scenario, x, y)
    cell = _cell(x) * MAP_SIZE + _cell(y) + scenario.layer * MAP_SIZE**2
    inside = (x >= 0) & (x < MAP_SIZE) & (y >= 0) & (y < MAP_SIZE)
    table = np.stack([scenario.walkable, scenario.level > 0, np.ones_like(scenario.walkable)])
    return inside & jnp.asarray(table.reshape(-1))[cell]
