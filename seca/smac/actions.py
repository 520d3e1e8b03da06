"""What agents may do, and what it means as orders."""

import equinox as eqx
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Int

from seca.smac.scenario import MOVE_AMOUNT, MOVES, SHOOT_RANGE, Scenario
from seca.smac.state import NOBODY, Battle, Units, is_walkable

NO_OP, STOP = 0, 1
DIRECTIONS = np.array([[0, 1], [0, -1], [1, 0], [-1, 0]], np.float32)
"""North, south, east, west."""


def available(scenario: Scenario, units: Units) -> Bool[Array, "agents actions batch"]:
    """Actions SMAC would accept.

    Dead agents: no-op. Others: stop; a move if the one cell at half the move amount in that direction is walkable; a
    target if it is alive and its centre is within 6, whatever the weapon.
    """
    a = scenario.n_agents
    alive = units.alive[:a, None]
    x, y = units.x[:a, None], units.y[:a, None]
    moves = is_walkable(
        scenario,
        x + DIRECTIONS[None, :, :1] * (MOVE_AMOUNT / 2),
        y + DIRECTIONS[None, :, 1:] * (MOVE_AMOUNT / 2),
    )
    dx, dy = units.x[None, a:] - x, units.y[None, a:] - y
    targets = (dx * dx + dy * dy <= SHOOT_RANGE**2) & units.alive[None, a:]
    return jnp.concatenate([~alive, alive, moves & alive, targets & alive], axis=1)


def command(scenario: Scenario, battle: Battle, actions: Int[Array, "agents batch"]) -> Battle:
    """Turn the agents' actions into orders of their units.

    An unavailable action becomes stop (no-op for the dead). Anything but attacking the same target again breaks off a
    swing in progress. Allied units never act by themselves.
    """
    a = scenario.n_agents
    legal = available(scenario, battle.units)
    index = jnp.clip(actions, 0, scenario.n_actions - 1)
    accepted = jnp.take_along_axis(legal, index[:, None], axis=1)[:, 0] & (index == actions)
    taken = jnp.where(accepted, index, STOP)

    walking = (taken > STOP) & (taken < MOVES)
    target = jnp.where(taken >= MOVES, taken - MOVES + a, NOBODY)
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
