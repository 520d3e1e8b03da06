"""A battle as the enemy sees it: the teams change places, so that all that agents can do, enemies can do."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from seca.smac.scenario import MAP_SIZE, Attack, Scenario, unit_numbers
from seca.smac.state import NOBODY, Battle, Orders

_OTHER_LUCK = 0x5BD1E995
"""Seeds of exchanged battles differ from those of the real ones by these bits: two random teams are not in step."""


@dataclasses.dataclass(frozen=True, eq=False)
class Exchange:
    """Which rows change places, and whether the map is turned over on the way."""

    scenario: Scenario
    """What the exchanged battle is a battle of."""
    rows: np.ndarray
    """`[units]`: unit k of the exchanged battle is unit `rows[k]` of the real one."""
    flip_x: bool = False
    flip_y: bool = False

    @functools.cached_property
    def numbers(self) -> np.ndarray:
        """`[units]`: unit `rows[k]` of the real battle is unit k of the exchanged one."""
        return np.argsort(self.rows).astype(np.int32)


@functools.cache
def swapped(scenario: Scenario) -> Exchange:
    """Enemies as agents and agents as enemies, each in its old order and place. Exists on all maps."""
    a, u = scenario.n_agents, scenario.n_units
    rows = np.concatenate([np.arange(a, u), np.arange(a)]).astype(np.int32)
    changed: dict[str, Any] = {}
    for field in dataclasses.fields(Scenario):
        value = getattr(scenario, field.name)
        if isinstance(value, np.ndarray) and field.name not in ("walkable", "level", "height", "max_cooldown"):
            changed[field.name] = value[rows][:, rows] if value.shape == (u, u) else value[rows]
    units, names = unit_numbers(scenario.profile), tuple(scenario.unit_names[k] for k in rows)
    theirs = dataclasses.replace(
        scenario,
        n_agents=scenario.n_enemies,
        n_enemies=a,
        ally_has_shield=scenario.enemy_has_shield,
        enemy_has_shield=scenario.ally_has_shield,
        unit_names=names,
        max_cooldown=np.array([[units[name]["max_cooldown"]] for name in names[: u - a]], np.float32),
        attack=Attack("none"),
        **changed,
    )
    return Exchange(theirs, rows)


@functools.cache
def mirrored(scenario: Scenario) -> Exchange:
    """Enemies as agents in the agents' own order, on the map turned over so that they start where agents start.

    What one side learned there the other can play: each enemy is the mirror image of an agent, and the map its own.

    Raises:
        ValueError: the teams differ, or the map is not its own mirror image.
    """
    a, u = scenario.n_agents, scenario.n_units
    ours, theirs = sorted(scenario.unit_names[:a]), sorted(scenario.unit_names[a:])
    if ours != theirs:
        teams = f"{_listed(ours)} against {_listed(theirs)}"
        raise ValueError(f"`opponent` is a policy, which needs equal teams: {scenario.name} has {teams}")
    for flip_x, flip_y in ((True, False), (False, True), (True, True)):
        step_x, step_y = -1 if flip_x else 1, -1 if flip_y else 1
        same = all(np.array_equal(grid, grid[::step_x, ::step_y]) for grid in (scenario.walkable, scenario.level))
        x, y = _turned(scenario.spawn_x[:, 0], flip_x), _turned(scenario.spawn_y[:, 0], flip_y)
        at = {(scenario.unit_names[k], float(x[k]), float(y[k])): k for k in range(a, u)}
        starts = zip(scenario.unit_names[:a], scenario.spawn_x[:a, 0], scenario.spawn_y[:a, 0], strict=True)
        places = [at.get((name, float(x), float(y)), NOBODY) for name, x, y in starts]
        if same and NOBODY not in places:
            # An exchange of pairs: agent i and its image trade rows.
            rows = np.concatenate([places, np.zeros(u - a, int)]).astype(np.int32)
            rows[places] = np.arange(a)
            return Exchange(scenario, rows, flip_x, flip_y)
    raise ValueError(f"`opponent` is a policy, which needs a map that is its own mirror image: {scenario.name} is not")


def exchange(places: Exchange, battle: Battle, last_action: Int[Array, "agents batch"]) -> Battle:
    """The battle with the teams in each other's places; `last_action` are those of the agents it then has."""
    rows, numbers = places.rows, jnp.asarray(places.numbers)
    sign_x, sign_y = (-1.0 if flip else 1.0 for flip in (places.flip_x, places.flip_y))

    def who(target: Array) -> Array:
        return jnp.where(target == NOBODY, NOBODY, numbers[jnp.maximum(target, 0)])

    units, orders, intent, weapons = (
        jax.tree.map(lambda x: x[rows], part) for part in (battle.units, battle.orders, battle.intent, battle.weapons)
    )
    return dataclasses.replace(
        battle,
        units=dataclasses.replace(units, x=_turned(units.x, places.flip_x), y=_turned(units.y, places.flip_y)),
        orders=dataclasses.replace(
            orders,
            target=who(orders.target),
            goal_x=_turned(orders.goal_x, places.flip_x),
            goal_y=_turned(orders.goal_y, places.flip_y),
        ),
        intent=dataclasses.replace(
            intent,
            vx=intent.vx * sign_x,
            vy=intent.vy * sign_y,
            side=intent.side * (sign_x * sign_y),
            push_x=intent.push_x * sign_x,
            push_y=intent.push_y * sign_y,
        ),
        weapons=dataclasses.replace(weapons, victim=who(weapons.victim), struck_by=who(weapons.struck_by)),
        seed=battle.seed ^ jnp.uint32(_OTHER_LUCK),
        last_action=last_action,
    )


def give_orders(places: Exchange, battle: Battle, theirs: Battle) -> Battle:
    """The real battle, in which the enemies have the orders of the agents of the exchanged one."""
    a = theirs.last_action.shape[0]
    rows, orders = places.rows[:a], theirs.orders
    target = jnp.asarray(places.rows, jnp.int32)[jnp.maximum(orders.target[:a], 0)]
    return eqx.tree_at(
        lambda b: (b.orders, b.weapons.swing),
        battle,
        (
            Orders(
                target=battle.orders.target.at[rows].set(jnp.where(orders.target[:a] == NOBODY, NOBODY, target)),
                walking=battle.orders.walking.at[rows].set(orders.walking[:a]),
                goal_x=battle.orders.goal_x.at[rows].set(_turned(orders.goal_x[:a], places.flip_x)),
                goal_y=battle.orders.goal_y.at[rows].set(_turned(orders.goal_y[:a], places.flip_y)),
            ),
            battle.weapons.swing.at[rows].set(theirs.weapons.swing[:a]),
        ),
    )


def _turned(position: Any, flip: bool) -> Any:
    return MAP_SIZE - position if flip else position


def _listed(names: list[str]) -> str:
    """`2 stalker, 3 zealot`."""
    return ", ".join(f"{names.count(name)} {name}" for name in dict.fromkeys(names))
