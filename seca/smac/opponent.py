"""The scripted enemy: SC2's attack-move, as the maps order it once and nothing else.

Open choices (the engine is closed): targets are looked for in every loop; among targets the closest one, edge to edge,
is taken; there is no call for help; a target that has left is kept for one more unit of range during a swing only.
"""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from seca.smac.scenario import LOOPS_PER_SECOND, Scenario
from seca.smac.state import NOBODY, Battle, parked

RANGE_SLOP = 1.0
"""How far out of range a target may get before a swing at it is broken off."""
GRUDGE_LOOPS = 2.0 * LOOPS_PER_SECOND
"""How long a unit without a target goes after whoever hit it."""
ARRIVED = 0.75
"""Units stop within this distance of their goal, times the root of their number: the space a crowd takes."""
LEASH = 21.0
"""How far away that attacker may be."""


@dataclasses.dataclass(frozen=True)
class Opponent:
    """Who commands the enemy: `init` gives its first orders at the start of a battle, `act` new ones in every loop."""

    init: Callable[[Scenario, Battle], Battle]
    act: Callable[[Scenario, Battle], Battle]


def order_to_point(scenario: Scenario, battle: Battle, first: int, last: int, point: tuple[float, float]) -> Battle:
    """Order units `first` .. `last - 1` to walk to a point, attacking on the way."""
    del scenario  # The point says it all.
    set_rows = lambda rows, value: rows.at[first:last].set(value)  # noqa: E731
    return eqx.tree_at(
        lambda b: (b.orders.goal_x, b.orders.goal_y),
        battle,
        (set_rows(battle.orders.goal_x, point[0]), set_rows(battle.orders.goal_y, point[1])),
    )


def attack_move(scenario: Scenario, battle: Battle, first: int, last: int) -> Battle:
    """Choose targets for units `first` .. `last - 1` among all others, and walk to the goal when there is none.

    Kept: a living target within range (and slop, in a swing). Else the closest within the scan radius; else who hit me
    in the last two seconds, within the leash; else nobody. A unit near its goal stands still.
    """
    foes = range(last, scenario.n_units) if first == 0 else range(first)
    mine = slice(first, last)
    px, py = parked(battle.units)
    x, y, radius = px[mine], py[mine], scenario.radius[mine]
    old = battle.orders.target[mine]
    w = battle.weapons
    patience = scenario.reach[mine] + jnp.where(w.swing[mine] > 0, RANGE_SLOP, 0.0)

    far = jnp.full_like(x, 1e6)
    carry = (far, jnp.full_like(old, NOBODY), far, far)
    look = lambda j, c: _look(j, c, px, py, x, y, old, w.struck_by[mine], jnp.asarray(scenario.radius))  # noqa: E731
    nearest, who, gap_old, gap_striker = jax.lax.fori_loop(foes.start, foes.stop, look, carry, unroll=len(foes) <= 10)

    near = nearest - radius
    keep = gap_old - radius <= patience
    grudge = (w.quiet[mine] <= GRUDGE_LOOPS) & (gap_striker - radius <= LEASH)
    found = jnp.where(near <= scenario.scan[mine], who, jnp.where(grudge, w.struck_by[mine], NOBODY))
    target = jnp.where(keep, old, found)

    gx, gy = battle.orders.goal_x[mine] - x, battle.orders.goal_y[mine] - y
    near_goal = np.float32(ARRIVED * np.sqrt(last - first))
    walking = gx * gx + gy * gy > near_goal**2
    swing = jnp.where(target == old, w.swing[mine], 0.0)
    return eqx.tree_at(
        lambda b: (b.orders.target, b.orders.walking, b.weapons.swing),
        battle,
        (
            battle.orders.target.at[mine].set(target),
            battle.orders.walking.at[mine].set(walking),
            w.swing.at[mine].set(swing),
        ),
    )


def _look(j, carry, px, py, x, y, old, striker, radius):
    """Compare foe `j` with the best so far; remember how far the old target and the last attacker are."""
    nearest, who, gap_old, gap_striker = carry
    dx, dy = x - px[None, j], y - py[None, j]
    gap = jnp.sqrt(dx * dx + dy * dy) - radius[None, j]
    closer = gap < nearest
    return (
        jnp.where(closer, gap, nearest),
        jnp.where(closer, jnp.int32(j), who),
        jnp.where(old == j, gap, gap_old),
        jnp.where(striker == j, gap, gap_striker),
    )


def _init(scenario: Scenario, battle: Battle) -> Battle:
    return order_to_point(scenario, battle, scenario.n_agents, scenario.n_units, scenario.attack.start)


def _act(scenario: Scenario, battle: Battle) -> Battle:
    return attack_move(scenario, battle, scenario.n_agents, scenario.n_units)


SCRIPTED = Opponent(init=_init, act=_act)
"""What SMAC's maps do: one attack-move of all enemies to the map's attack point."""
