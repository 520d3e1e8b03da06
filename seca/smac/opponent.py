"""Who commands the enemy, and the scripted enemy: what SMAC's maps order once, and the engine's rules after that.

The map scripts order one attack when a battle starts (`Scenario.attack`); there is no other AI, at any difficulty (as
SMAC's authors found too, github.com/oxwhirl/smac/issues/39). The rest is the engine's automatic targeting
(liquipedia.net/starcraft2/Automatic_Targeting).

Open choices (the engine is closed): targets are looked for in every loop; among targets of one class the closest one,
edge to edge, is taken; nobody calls for help unless asked to; a target that has left is kept for one more unit of range
during a swing only; an order to attack a group is an order to attack its closest member until that one is dead; healers
without a patient stay with the closest friend that fights.
"""

import dataclasses
import functools
import operator
import sys
import types
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
from jaxtyping import Array, Float, UInt

from seca.sizes import sizes
from seca.smac.scenario import LOOPS_PER_SECOND, Options, Scenario
from seca.smac.state import NOBODY, Battle, either, parked
from seca.types import PyTree

RANGE_SLOP = 1.0
"""How far out of range a target may get before a swing at it is broken off."""
GRUDGE_LOOPS = 2.0 * LOOPS_PER_SECOND
"""How long a unit without a target goes after whoever hit it."""
ARRIVED = 0.75
"""Units stop within this distance of their goal, times the root of their number: the space a crowd takes."""
LEASH = 21.0
"""How far away that attacker may be."""
HELP_RADIUS = 4.0
"""How near, centre to centre, a friend must be who calls for help."""
BESIDE = 2.0
"""Healers without a patient stay this close, centre to centre, to a friend that fights."""
_FAR = 1e6


def _nothing(scenario: Scenario, battle: Battle) -> Battle:
    del scenario  # Orders stay as they are.
    return battle


def _as_it_is(scenario: Scenario) -> Scenario:
    return scenario


@dataclasses.dataclass(frozen=True)
class Opponent:
    """Who commands the enemy.

    `init` gives the first orders of a battle, `decide` new ones once in every env step, before its game loops, and
    `act` in every loop. What an opponent remembers is `Battle.opponent`: arrays with the batch last.

    Opponents are pickled by the names of their functions, which then have to be found in a module: `functools.partial`
    of such a function closes over what else it needs.
    """

    init: Callable[[Scenario, Battle], Battle]
    act: Callable[[Scenario, Battle], Battle] = _nothing
    decide: Callable[[Scenario, Battle], Battle] = _nothing
    prepare: Callable[[Scenario], Scenario] = _as_it_is
    """What it changes about the scenario before there are battles."""
    name: str = "custom"
    """What the options of an environment call it."""

    def __reduce__(self) -> tuple[Any, ...]:
        """Raises TypeError: one of the functions has no name by which another process finds it."""
        parts = {"init": self.init, "act": self.act, "decide": self.decide, "prepare": self.prepare}
        for field, function in parts.items():
            nameless = _nameless(function)
            if nameless is not None:
                raise TypeError(
                    f"opponent {self.name!r} cannot be pickled: `{field}` holds {nameless!r}; use functions defined at "
                    "the top level of a module that can be imported, and `functools.partial` for what they close over"
                )
        return Opponent, (*parts.values(), self.name)

    def __copy__(self) -> "Opponent":
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Opponent":
        del memo  # Pure functions and a name: a copy could not differ.
        return self


def _nameless(value: Any) -> Any:
    """The first function in it that is not found by its name, or None."""
    if isinstance(value, functools.partial):
        parts = (_nameless(part) for part in (value.func, *value.args, *value.keywords.values()))
        return next((part for part in parts if part is not None), None)
    if isinstance(value, _COMPILED):
        return value
    if not isinstance(value, types.FunctionType):
        return None
    try:
        found = operator.attrgetter(value.__qualname__)(sys.modules[value.__module__])
    except (AttributeError, KeyError):
        return value
    return None if found is value else value


_COMPILED = type(jax.jit(_nameless))
"""What `jax.jit` makes cannot be pickled."""


def order_to_point(
    scenario: Scenario,
    battle: Battle,
    first: int,
    last: int,
    point: tuple[float | Float[Array, " batch"], float | Float[Array, " batch"]],
) -> Battle:
    """Order units `first` .. `last - 1` to walk to a point (one for all battles, or one each), attacking on the way."""
    del scenario  # The point says it all.
    set_rows = lambda rows, value: rows.at[first:last].set(value)  # noqa: E731
    return eqx.tree_at(
        lambda b: (b.orders.goal_x, b.orders.goal_y),
        battle,
        (set_rows(battle.orders.goal_x, point[0]), set_rows(battle.orders.goal_y, point[1])),
    )


def attack_move(
    scenario: Scenario,
    battle: Battle,
    first: int,
    last: int,
    hunting: bool = False,
    following: bool = True,
    helping: bool = False,
) -> Battle:
    """Choose targets for units `first` .. `last - 1` among all others, and walk to the goal when there is none.

    Only what a unit's weapon reaches is a target. Kept: a living target within range (and slop, in a swing), unless it
    is harmless and a threat comes within the scan radius. Else the closest threat within the scan radius; else the
    closest of the rest there; else who hit me in the last two seconds, within the leash; else nobody. A unit near its
    goal stands still. Healers choose patients (see `heal`).

    Args:
        hunting: the order was to attack the foes themselves: the closest of all is a target wherever it is, until dead.
        following: healers without a patient go with their friends; else they stay where they are.
        helping: who would have no target takes on whoever hit the nearest friend within four in the last two seconds.
    """
    foes = range(last, scenario.n_units) if first == 0 else range(first)
    mine = slice(first, last)
    px, py = parked(battle.units)
    x, y, radius = px[mine], py[mine], scenario.radius[mine]
    old = battle.orders.target[mine]
    w = battle.weapons
    patience = scenario.reach[mine] + either(w.swing[mine] > 0, RANGE_SLOP, 0.0)

    # Decided here, once: most maps have nothing but units that all can hit and all fear.
    fights = scenario.heals[mine, 0] == 0
    can = scenario.can_target[mine, foes.start : foes.stop]
    fears = scenario.threatens[mine, foes.start : foes.stop]
    reachable = None if can.all() else jnp.asarray((can & fights[:, None]).T[:, :, None])
    feared = None if fears[can & fights[:, None]].all() else jnp.asarray(fears.T[:, :, None])

    far = jnp.full_like(x, _FAR)
    carry = (far, jnp.full_like(old, NOBODY), far, far)
    first_foe = foes.start
    view = (px, py, x, y, old, w.struck_by[mine], jnp.asarray(scenario.radius))
    look = lambda j, c: _look(j, c, view, _row(reachable, j - first_foe))  # noqa: E731
    unroll = _unroll(len(foes))
    nearest, who, gap_old, gap_striker = jax.lax.fori_loop(foes.start, foes.stop, look, carry, unroll=unroll)

    keep = gap_old - radius <= patience
    near = nearest - radius
    if hunting:
        keep = gap_old < 100.0
        target = jnp.where(keep, old, jnp.where(near < 100.0, who, NOBODY))
    else:
        if feared is not None:
            threat = lambda j, c: _look(j, c, view, _row(reachable, j - first_foe) & _row(feared, j - first_foe))  # noqa: E731
            nearest_threat, worst, gap_feared, _ = jax.lax.fori_loop(
                foes.start, foes.stop, threat, carry, unroll=unroll
            )
            threatened = nearest_threat - radius <= scenario.scan[mine]
            near, who = jnp.where(threatened, nearest_threat - radius, near), jnp.where(threatened, worst, who)
            keep &= ~threatened | (gap_feared == gap_old)
        grudge = (w.quiet[mine] <= GRUDGE_LOOPS) & (gap_striker - radius <= LEASH)
        found = jnp.where(near <= scenario.scan[mine], who, jnp.where(grudge, w.struck_by[mine], NOBODY))
        if helping:
            called = _called(battle, px, py, first, last)
            found = jnp.where(found == NOBODY, called, found)
        target = jnp.where(keep, old, found)

    gx, gy = battle.orders.goal_x[mine] - x, battle.orders.goal_y[mine] - y
    near_goal = np.float32(ARRIVED * np.sqrt(last - first))
    walking = gx * gx + gy * gy > near_goal**2
    swing = jnp.where(target == old, w.swing[mine], 0.0)
    battle = eqx.tree_at(
        lambda b: (b.orders.target, b.orders.walking, b.weapons.swing),
        battle,
        (
            battle.orders.target.at[mine].set(target),
            battle.orders.walking.at[mine].set(walking),
            w.swing.at[mine].set(swing),
        ),
    )
    return battle if fights.all() else heal(scenario, battle, first, last, old, following)


def _called(battle: Battle, px: Array, py: Array, first: int, last: int) -> Array:
    """Who hit the nearest friend of each unit that calls for help; nobody where none does, or the attacker is gone."""
    x, y, w = px[first:last], py[first:last], battle.weapons

    def ask(j, carry):
        squared, who = carry
        dx, dy = x - px[None, j], y - py[None, j]
        away = dx * dx + dy * dy
        heard = (w.quiet[None, j] <= GRUDGE_LOOPS) & (away <= HELP_RADIUS**2) & (away < squared)
        return jnp.where(heard, away, squared), jnp.where(heard, w.struck_by[None, j], who)

    none = jnp.full_like(battle.orders.target[first:last], NOBODY)
    _, who = jax.lax.fori_loop(first, last, ask, (jnp.full_like(x, _FAR), none), unroll=sizes().unrolled)
    attacker = jnp.maximum(who, 0)
    to_x, to_y = (jnp.take_along_axis(p, attacker, axis=0) for p in (px, py))
    reached = (to_x - x) ** 2 + (to_y - y) ** 2 <= LEASH**2  # The dead are parked beyond it.
    return jnp.where((who != NOBODY) & reached, who, NOBODY)


def _row(table: Array | None, j: Array) -> Array | bool:
    return True if table is None else table[j]


def _look(j, carry, view, counts):
    """Compare foe `j` with the best so far; remember how far the old target and the last attacker are.

    Foes that do not count are as good as infinitely far.
    """
    nearest, who, gap_old, gap_striker = carry
    px, py, x, y, old, striker, radius = view
    dx, dy = x - px[None, j], y - py[None, j]
    gap = jnp.sqrt(dx * dx + dy * dy) - radius[None, j]
    if counts is not True:
        gap = jnp.where(counts, gap, _FAR)
    closer = gap < nearest
    return (
        jnp.where(closer, gap, nearest),
        jnp.where(closer, jnp.int32(j), who),
        jnp.where(old == j, gap, gap_old),
        jnp.where(striker == j, gap, gap_striker),
    )


def heal(scenario: Scenario, battle: Battle, first: int, last: int, old: Array, following: bool) -> Battle:
    """Choose patients for the healers among units `first` .. `last - 1`; those without one stay with their friends.

    Kept: a patient that lives and is not whole, while energy lasts. Else, with energy enough to begin: of those within
    the scan radius, edge to edge, the one with the smallest part of its life, and of equals the closest; else nobody.
    `old` holds the targets `[last - first, batch]` of all these units before this loop.
    """
    rows = _rows(first, scenario.heals[first:last, 0])
    patients = _rows(first, scenario.can_target[rows, first:last].any(axis=0))
    fighters = _rows(first, scenario.heals[first:last, 0] == 0)
    units, before = battle.units, old[rows - first]
    px, py = parked(units)
    x, y, radius = px[rows], py[rows], scenario.radius[rows]
    part = units.health / scenario.health_max

    def look(j, carry):
        fraction, gap, who, kept = carry
        life = part[None, j]
        needs = (life > 0) & (life < 1) & jnp.asarray(scenario.can_target)[rows, j][:, None]
        dx, dy = x - px[None, j], y - py[None, j]
        away = jnp.sqrt(dx * dx + dy * dy) - jnp.asarray(scenario.radius)[None, j]
        seen = needs & (away - radius <= scenario.scan[rows])
        better = seen & ((life < fraction) | ((life == fraction) & (away < gap)))
        return (
            jnp.where(better, life, fraction),
            jnp.where(better, away, gap),
            jnp.where(better, j, who),
            kept | (needs & (before == j)),
        )

    whole = jnp.ones_like(x)
    carry = (whole, whole * _FAR, jnp.full_like(before, NOBODY), jnp.zeros(x.shape, bool))
    _, _, worst, needy = _over(patients, look, carry)
    energy = units.energy[rows]
    begins = jnp.where(energy >= scenario.heal_energy[rows], worst, NOBODY)
    lasts = energy >= (scenario.heal_rate * scenario.heal_cost)[rows]
    target = jnp.where(needy & lasts, before, begins)

    def friend(j, carry):
        squared, to_x, to_y = carry
        dx, dy = px[None, j] - x, py[None, j] - y
        closer = dx * dx + dy * dy < squared
        return (
            jnp.where(closer, dx * dx + dy * dy, squared),
            jnp.where(closer, px[None, j], to_x),
            jnp.where(closer, py[None, j], to_y),
        )

    orders, walking = battle.orders, jnp.zeros(x.shape, bool)
    goal_x, goal_y = orders.goal_x[rows], orders.goal_y[rows]
    if following:
        apart, goal_x, goal_y = _over(fighters, friend, (whole * 1e4, goal_x, goal_y))
        walking = (apart > BESIDE**2) & (apart < 1e4)
    return eqx.tree_at(
        lambda b: (b.orders.target, b.orders.walking, b.orders.goal_x, b.orders.goal_y),
        battle,
        (
            orders.target.at[rows].set(target),
            orders.walking.at[rows].set(walking),
            orders.goal_x.at[rows].set(goal_x),
            orders.goal_y.at[rows].set(goal_y),
        ),
    )


def _rows(first: int, chosen: npt.ArrayLike) -> np.ndarray:
    """Their numbers, if the first of them is unit `first`."""
    return (first + np.flatnonzero(chosen)).astype(np.int32)


def _over(rows: np.ndarray, look: Callable[[Array, PyTree], PyTree], carry: PyTree) -> PyTree:
    """Fold `look` over the units of these rows; of none, `carry` is what is left."""
    if not len(rows):
        return carry
    one = lambda k, c: look(jnp.asarray(rows)[k], c)  # noqa: E731
    return jax.lax.fori_loop(0, len(rows), one, carry, unroll=_unroll(len(rows)))


def _unroll(count: int) -> int:
    """Steps of a loop over so many units that are written out at a time."""
    return count if count <= sizes().unrolled_whole else sizes().unrolled


def attack_point(
    scenario: Scenario, seed: UInt[Array, " batch"], chance: bool
) -> tuple[float | Float[Array, " batch"], float | Float[Array, " batch"]]:
    """The point that all enemies are ordered to attack; on 2m_vs_1z drawn between the marines, evenly, by the seed.

    Without chance it is the middle.
    """
    start, stop = scenario.attack.start, scenario.attack.stop
    if start == stop:
        return start
    part: float | Float[Array, " batch"] = 0.5
    if chance:
        part = ((seed * jnp.uint32(0x9E3779B1)) >> 8).astype(jnp.float32) * jnp.float32(2**-24)
    return start[0] + (stop[0] - start[0]) * part, start[1] + (stop[1] - start[1]) * part


_DEFAULTS = Options()


@functools.cache
def scripted(options: Options = _DEFAULTS) -> Opponent:
    """What SMAC's maps do: all enemies are ordered, once, to attack a point, the allies, or nothing."""

    return Opponent(functools.partial(_order_once, options), functools.partial(_by_the_rules, options), name="scripted")


def _order_once(options: Options, scenario: Scenario, battle: Battle) -> Battle:
    if scenario.attack.kind != "point":
        return battle
    point = attack_point(scenario, battle.seed, options.jitter)
    return order_to_point(scenario, battle, scenario.n_agents, scenario.n_units, point)


def _by_the_rules(options: Options, scenario: Scenario, battle: Battle) -> Battle:
    hunting = scenario.attack.kind == "units"
    first, last = scenario.n_agents, scenario.n_units
    return attack_move(scenario, battle, first, last, hunting, options.medivac_follows, options.call_for_help)


SCRIPTED = scripted()
"""The scripted enemy as the options are by default."""
