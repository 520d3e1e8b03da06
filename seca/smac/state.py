"""The state of a batch of battles, as arrays with the batch last.

Beside the names of `seca.types`, signatures here use ``units``: allies in agent order, then enemies. A unit is dead
when its health is 0; its place keeps the last living values.
"""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, UInt

from seca.smac.scenario import MAP_SIZE, Scenario
from seca.types import PyTree

NOBODY = -1
"""Unit index that points at no unit."""
LONG_AGO = 1e4
"""Game loops since an event that has not happened yet."""


class Units(eqx.Module):
    """What SMAC reads of the units: enough to make observations, states, availability and rewards."""

    x: Float[Array, "units batch"]
    y: Float[Array, "units batch"]
    health: Float[Array, "units batch"]
    shield: Float[Array, "units batch"]
    cooldown: Float[Array, "units batch"]
    """Game loops until the weapon is ready. Below 0 it is the part of a loop by which it was ready early."""
    energy: Float[Array, "units batch"]
    """What healers heal with; 0 for all others."""

    @property
    def alive(self) -> Bool[Array, "units batch"]:
        return self.health > 0


class Orders(eqx.Module):
    """What each unit is to do until told otherwise: attack `target`, else walk to the goal, else stand."""

    target: Int[Array, "units batch"]
    """Unit index or `NOBODY`."""
    walking: Bool[Array, "units batch"]
    goal_x: Float[Array, "units batch"]
    goal_y: Float[Array, "units batch"]


class Intent(eqx.Module):
    """What follows from orders and positions in this game loop."""

    engaged: Bool[Array, "units batch"]
    """The target is alive and in range: stand and fire."""
    gap: Float[Array, "units batch"]
    """Distance to the target, edge to edge."""
    vx: Float[Array, "units batch"]
    vy: Float[Array, "units batch"]
    """Wanted displacement of this loop."""
    side: Float[Array, "units batch"]
    """1 or -1: on which side, right or left, to pass what is in the way. Drawn in each env step unless `passing`."""
    passing: Bool[Array, "units batch"]
    """Something was in the way in the last loop."""
    push_x: Float[Array, "units batch"]
    push_y: Float[Array, "units batch"]
    """By how much overlaps pushed the unit in the last loop."""


class Weapons(eqx.Module):
    """Swings, hits under way, and the memory of being hit."""

    swing: Float[Array, "units batch"]
    """Game loops until the shot of the swing in progress; 0: none."""
    late: Float[Array, "units batch"]
    """Game loops until a missile or second hit lands; 0: none under way."""
    victim: Int[Array, "units batch"]
    """Whom the last shot was aimed at."""
    hitting: Bool[Array, "units batch"]
    """A hit on `victim` lands in this loop."""
    quiet: Float[Array, "units batch"]
    """Game loops since the unit last took damage."""
    struck_by: Int[Array, "units batch"]
    """Who dealt it (the highest index among several), or `NOBODY`."""
    jitter: Float[Array, "units batch"]
    """Game loops added to the cooldown of a shot in this env step."""


class Battle(eqx.Module):
    """A batch of battles between two env steps."""

    units: Units
    orders: Orders
    intent: Intent
    weapons: Weapons
    seed: UInt[Array, " batch"]
    """All the randomness a battle has."""
    last_action: Int[Array, "agents batch"]
    """As requested; -1 after a reset."""
    steps: Int[Array, " batch"]
    terminated: Bool[Array, " batch"]
    truncated: Bool[Array, " batch"]
    won: Bool[Array, " batch"]
    opponent: PyTree = ()
    """What the opponent remembers (`seca.smac.opponent.Opponent`): arrays with the batch last."""


def spawn(scenario: Scenario, seed: UInt[Array, " batch"]) -> Battle:
    """Battles at their start, one for each seed."""
    shape = (scenario.n_units, seed.shape[0])

    def full(value: np.ndarray | float) -> Array:
        return jnp.broadcast_to(jnp.asarray(value, jnp.float32), shape)

    zero, never = full(0.0), jnp.zeros(shape, bool)
    nobody = jnp.full(shape, NOBODY, jnp.int32)
    return Battle(
        units=Units(
            x=full(scenario.spawn_x),
            y=full(scenario.spawn_y),
            health=full(scenario.health_max),
            shield=full(scenario.shield_max),
            cooldown=zero,
            energy=full(scenario.energy),
        ),
        orders=Orders(target=nobody, walking=never, goal_x=full(scenario.spawn_x), goal_y=full(scenario.spawn_y)),
        intent=Intent(
            engaged=never, gap=zero, vx=zero, vy=zero, side=full(1.0), passing=never, push_x=zero, push_y=zero
        ),
        weapons=Weapons(
            swing=zero, late=zero, victim=nobody, hitting=never, quiet=full(LONG_AGO), struck_by=nobody, jitter=zero
        ),
        seed=seed,
        last_action=jnp.full((scenario.n_agents, seed.shape[0]), -1, jnp.int32),
        steps=jnp.zeros(seed.shape, jnp.int32),
        terminated=jnp.zeros(seed.shape, bool),
        truncated=jnp.zeros(seed.shape, bool),
        won=jnp.zeros(seed.shape, bool),
    )


def either(condition: Bool[Array, "*shape"], yes: float, no: float) -> Float[Array, "*shape"]:
    """One of two numbers as float32: `jnp.where` of Python's own numbers is as wide as JAX's flags say."""
    return jnp.where(condition, np.float32(yes), np.float32(no))


def parked(units: Units) -> tuple[Float[Array, "units batch"], Float[Array, "units batch"]]:
    """Positions with the dead set far away, each on its own spot: passes over pairs then need no masks."""
    far = 1e4 + 50.0 * np.arange(units.x.shape[0], dtype=np.float32)[:, None]
    return jnp.where(units.alive, units.x, far), jnp.where(units.alive, units.y, far)


def level_at(scenario: Scenario, x: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Float[Array, "*shape"]:
    """Cliff level of the cells of these points; off the map, of the nearest cell."""
    cell_x = jnp.clip(x.astype(jnp.int32), 0, MAP_SIZE - 1)
    cell_y = jnp.clip(y.astype(jnp.int32), 0, MAP_SIZE - 1)
    return jnp.asarray(scenario.level.reshape(-1))[cell_x * MAP_SIZE + cell_y]


def is_walkable(scenario: Scenario, x: Float[Array, "*shape"], y: Float[Array, "*shape"]) -> Bool[Array, "*shape"]:
    """Whether the cells of these points exist and are walkable. Coordinates are cut toward 0, as SMAC's `int()`."""
    cell_x, cell_y = x.astype(jnp.int32), y.astype(jnp.int32)
    inside = (cell_x >= 0) & (cell_x < MAP_SIZE) & (cell_y >= 0) & (cell_y < MAP_SIZE)
    cell = jnp.where(inside, cell_x * MAP_SIZE + cell_y, 0)
    return inside & jnp.asarray(scenario.walkable.reshape(-1))[cell]
