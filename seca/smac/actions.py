"""What agents may do, and what it means as orders."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int, Shaped

from seca.smac.scenario import MOVE_AMOUNT, MOVES, SHOOT_RANGE, Scenario
from seca.smac.state import NOBODY, Battle, Units, is_walkable

NO_OP, STOP = 0, 1
DIRECTIONS = np.array([[0, 1], [0, -1], [1, 0], [-1, 0]], np.float32)
"""North, south, east, west."""


def names(scenario: Scenario) -> tuple[tuple[str, ...], ...]:
    """What each agent's actions are called: targets by their unit type and number, a healer's are its own side."""
    fixed, units, a = ("no-op", "stop", "north", "south", "east", "west"), scenario.unit_names, scenario.n_agents
    at = [f"{name} {number}" for side in (units[:a], units[a:]) for number, name in enumerate(side)]
    count = scenario.n_actions - MOVES
    foes = tuple(f"attack {name}" for name in at[a : a + count])
    # There is no action for agents beyond the number of enemies, nor anybody behind what agents lack of it.
    friends = tuple(f"heal {name}" for name in at[: min(a, count)]) + ("no-op",) * (count - a)
    return tuple(fixed + (friends if heals else foes) for heals in scenario.heals[:a, 0] > 0)


def whole(requested: Shaped[Array, "*shape"], name: str = "actions") -> Int[Array, "*shape"]:
    """Actions of any integer dtype as int32; what is too large for it stays too large.

    Raises:
        ValueError: they are not whole numbers by their dtype (values cannot be read where a step is compiled).
    """
    if not jnp.issubdtype(requested.dtype, jnp.integer):
        raise ValueError(f"`{name}` must be whole numbers, of an integer dtype; got {requested.dtype}")
    if requested.dtype == jnp.int32:
        return requested
    given, ours = jnp.iinfo(requested.dtype), jnp.iinfo(jnp.int32)
    return jnp.clip(requested, max(given.min, ours.min), min(given.max, ours.max)).astype(jnp.int32)


def available(scenario: Scenario, units: Units) -> Bool[Array, "agents actions batch"]:
    """Actions SMAC would accept.

    Dead agents: no-op. Others: stop; a move if the one cell at half the move amount in that direction is walkable (on
    the ground, whoever asks); a target if it is alive and its centre is within 6, whatever the weapon. The targets of a
    healer are the agents that do not heal, by their own numbers.
    """
    a = scenario.n_agents
    alive = units.alive[:a, None]
    x, y = units.x[:a, None], units.y[:a, None]
    moves = is_walkable(
        scenario,
        x + DIRECTIONS[None, :, :1] * (MOVE_AMOUNT / 2),
        y + DIRECTIONS[None, :, 1:] * (MOVE_AMOUNT / 2),
    )
    targets = _within(units, x, y, slice(a, None))
    for healer in np.flatnonzero(scenario.heals[:a, 0]):
        known = min(a, scenario.n_enemies)  # SMAC has no action for agents beyond the number of enemies.
        patients = _within(units, x[healer], y[healer], slice(known)) & (scenario.heals[:known] == 0)
        targets = targets.at[healer].set(False).at[healer, :known].set(patients)
    return jnp.concatenate([~alive, alive, moves & alive, targets & alive], axis=1)


def _within(units: Units, x: Array, y: Array, rows: slice) -> Array:
    """Which of these units live within the shoot range of points."""
    lead = (1,) * (x.ndim - 2)
    their_x, their_y, alive = (v[rows].reshape(*lead, -1, v.shape[1]) for v in (units.x, units.y, units.alive))
    dx, dy = their_x - x, their_y - y
    return (dx * dx + dy * dy <= SHOOT_RANGE**2) & alive


def command(scenario: Scenario, battle: Battle, actions: Int[Array, "agents batch"]) -> Battle:
    """Turn the agents' actions into orders of their units.

    An unavailable action becomes stop (no-op for the dead). Anything but attacking the same target again breaks off a
    swing in progress. Allied units never act by themselves. SMAC offers targets that a weapon cannot hit, as a medivac
    to a marauder; the game rejects such an order, and so the unit stands.
    """
    a = scenario.n_agents
    legal = available(scenario, battle.units)
    index = jnp.clip(actions, 0, scenario.n_actions - 1)
    accepted = jnp.take_along_axis(legal, index[:, None], axis=1)[:, 0] & (index == actions)
    taken = jnp.where(accepted, index, STOP)

    walking = (taken > STOP) & (taken < MOVES)
    first = np.where(scenario.heals[:a] > 0, 0, a).astype(np.int32)
    target = jnp.where(taken >= MOVES, taken - MOVES + first, NOBODY)
    if not scenario.can_target[:a, a:].all():
        possible = jnp.asarray(scenario.can_target)[np.arange(a, dtype=np.int32)[:, None], jnp.maximum(target, 0)]
        target = jnp.where(possible, target, NOBODY)
    direction = jnp.asarray(DIRECTIONS * MOVE_AMOUNT)[jnp.clip(taken - 2, 0, 3)]
    old, w = battle.orders, battle.weapons
    orders = eqx.tree_at(
        lambda o: (o.target, o.walking, o.goal_x, o.goal_y),
        old,
        (
            jnp.concatenate([target, old.target[a:]]),
            jnp.concatenate([walking, old.walking[a:]]),
            jnp.concatenate([battle.units.x[:a] + direction[..., 0], old.goal_x[a:]]),
            jnp.concatenate([battle.units.y[:a] + direction[..., 1], old.goal_y[a:]]),
        ),
    )
    swing = jnp.where(target == old.target[:a], w.swing[:a], 0.0)
    return eqx.tree_at(
        lambda b: (b.orders, b.weapons.swing, b.last_action),
        battle,
        (orders, jnp.concatenate([swing, w.swing[a:]]), actions.astype(jnp.int32)),
    )
