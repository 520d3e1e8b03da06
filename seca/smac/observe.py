"""What agents and the critic see, in SMAC's own layout."""

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from seca.smac.scenario import MAP_SIZE, MOVES, SIGHT_RANGE, STATE_DIVISOR, Options, Scenario
from seca.smac.state import Units, is_walkable

AROUND = np.array([[0, 4], [0, -4], [4, 0], [-4, 0], [2, 2], [-2, -2], [2, -2], [-2, 2]], np.float32)
"""Points at which the flags for pathing and height look, relative to the agent."""


def observe(
    scenario: Scenario,
    options: Options,
    units: Units,
    avail: Bool[Array, "agents actions batch"],
    last_action: Int[Array, "agents batch"],
    steps: Int[Array, " batch"],
) -> Float[Array, "batch agents obs"]:
    """Observations of all agents; zeros for the dead, but for the step number.

    One row of features for the moves, one for each enemy, each other agent, and oneself; a unit out of sight (9) or
    dead is a row of zeros.
    """
    a, u = scenario.n_agents, scenario.n_units
    batch = units.x.shape[1]
    alive = units.alive[:a]
    dx, dy, distance, seen = _relative(scenario, units)
    health, shield = units.health / scenario.health_max, units.shield / np.maximum(scenario.shield_max, 1.0)

    own = np.arange(a, dtype=np.int32)[:, None]

    def rows(lead: Array, columns: slice | np.ndarray, extra: list[Array]) -> Array:
        """`[agents, rows * features, batch]`: lead, distance, dx, dy, extras, of the chosen units."""
        take = lambda x: x[own, columns] if isinstance(columns, np.ndarray) else x[:, columns]  # noqa: E731
        planes = [lead, *(take(x) / SIGHT_RANGE for x in (distance, dx, dy)), *extra]
        shown = jnp.where(take(seen)[:, :, None], jnp.stack(planes, axis=2), 0.0)
        return shown.reshape(a, -1, batch)

    def body(columns: slice | np.ndarray, has_shield: bool, with_health: bool) -> list[Array]:
        """Health, shield and type planes `[agents, rows, batch]` of units picked by row."""
        index = np.arange(u, dtype=np.int32)[columns] if isinstance(columns, slice) else columns
        shape = (a, index.shape[-1], batch)
        spread = lambda x: jnp.broadcast_to(x[index], shape)  # noqa: E731
        bits = [spread(jnp.asarray(bit)[:, None]) for bit in scenario.type_bits.T]
        return [spread(health)] * with_health + [spread(shield)] * (with_health and has_shield) + bits

    enemies, others = slice(a, u), np.array([[j for j in range(a) if j != i] for i in range(a)], np.int32)
    with_health = options.obs_all_health
    can = avail[:, MOVES:].astype(jnp.float32)
    parts = [jnp.where(alive[:, None], _move_features(scenario, options, units, avail), 0.0)]
    parts.append(rows(can, enemies, body(enemies, scenario.enemy_has_shield, with_health)))
    ally_extra = body(others, scenario.ally_has_shield, with_health)
    if options.obs_last_action:
        past = _one_hot(scenario, last_action)
        ally_extra += [past[:, k][others] for k in range(scenario.n_actions)]
    parts.append(rows(jnp.ones((a, a - 1, batch), jnp.float32), others, ally_extra))
    own_parts = body(own, scenario.ally_has_shield, options.obs_all_health or options.obs_own_health)
    if own_parts:
        parts.append(jnp.where(alive[:, None], jnp.stack([p[:, 0] for p in own_parts], axis=1), 0.0))
    if options.obs_timestep_number:
        # SMAC reserves a place in the own block, leaves it 0, and appends the number.
        number = jnp.broadcast_to(steps.astype(jnp.float32) / scenario.limit, (a, 1, batch))
        parts += [jnp.zeros((a, 1, batch), jnp.float32), number]
    return jnp.transpose(jnp.concatenate(parts, axis=1), (2, 0, 1))


def observe_state(
    scenario: Scenario,
    options: Options,
    units: Units,
    last_action: Int[Array, "agents batch"],
    steps: Int[Array, " batch"],
) -> Float[Array, "batch state"]:
    """The global state: allies, enemies, last actions, step number. Rows of the dead are zeros."""
    a, batch = scenario.n_agents, units.x.shape[1]
    x = (units.x - MAP_SIZE / 2) / STATE_DIVISOR
    y = (units.y - MAP_SIZE / 2) / STATE_DIVISOR
    health, shield = units.health / scenario.health_max, units.shield / np.maximum(scenario.shield_max, 1.0)
    bits = [jnp.broadcast_to(jnp.asarray(bit)[:, None], x.shape) for bit in scenario.type_bits.T]

    def team(rows: slice, planes: list[Array], has_shield: bool) -> Array:
        shown = planes + [p[rows] for p in [shield] * has_shield + bits]
        return jnp.where(units.alive[rows, None], jnp.stack(shown, axis=1), 0.0).reshape(-1, batch)

    allies, enemies = slice(0, a), slice(a, None)
    charge = jnp.maximum(units.cooldown[allies], 0.0)
    if scenario.heals[allies].any():
        charge = jnp.where(scenario.heals[allies] > 0, units.energy[allies], charge)
    cooldown = charge / scenario.max_cooldown
    parts = [
        team(allies, [health[allies], cooldown, x[allies], y[allies]], scenario.ally_has_shield),
        team(enemies, [health[enemies], x[enemies], y[enemies]], scenario.enemy_has_shield),
    ]
    if options.state_last_action:
        parts.append(_one_hot(scenario, last_action).reshape(-1, batch))
    if options.state_timestep_number:
        parts.append((steps.astype(jnp.float32) / scenario.limit)[None])
    return jnp.concatenate(parts).T


def visibility(scenario: Scenario, units: Units) -> Bool[Array, "batch agents units"]:
    """Which living agent sees which living unit: nearer than 9, oneself excluded."""
    return jnp.transpose(_relative(scenario, units)[3], (2, 0, 1))


def _relative(scenario: Scenario, units: Units) -> tuple[Array, Array, Array, Array]:
    """`[agents, units, batch]`: dx, dy and distance from agent to unit, and whether the agent sees it."""
    a = scenario.n_agents
    dx, dy = units.x[None] - units.x[:a, None], units.y[None] - units.y[:a, None]
    squared = dx * dx + dy * dy
    other = ~np.eye(a, scenario.n_units, dtype=bool)[:, :, None]
    seen = (squared < SIGHT_RANGE**2) & units.alive[None] & units.alive[:a, None] & other
    return dx, dy, jnp.sqrt(squared), seen


def _move_features(
    scenario: Scenario, options: Options, units: Units, avail: Bool[Array, "agents actions batch"]
) -> Float[Array, "agents features batch"]:
    """Available moves, then pathing and height around the agent where asked for. Off the map both are 1."""
    a = scenario.n_agents
    # SMAC counts from the cell's corner, not from the unit.
    x, y = jnp.trunc(units.x[:a, None]), jnp.trunc(units.y[:a, None])
    px, py = x + AROUND[None, :, :1], y + AROUND[None, :, 1:]
    parts = [avail[:, 2:MOVES].astype(jnp.float32)]
    if options.obs_pathing_grid:
        parts.append((is_walkable(scenario, px, py) | ~_on_map(px, py)).astype(jnp.float32))
    if options.obs_terrain_height:
        hx, hy = jnp.concatenate([px, x], axis=1), jnp.concatenate([py, y], axis=1)
        cell = jnp.where(_on_map(hx, hy), hx.astype(jnp.int32) * MAP_SIZE + hy.astype(jnp.int32), 0)
        height = jnp.asarray(scenario.height.reshape(-1))[cell]
        parts.append(jnp.where(_on_map(hx, hy), height, 1.0))
    return jnp.concatenate(parts, axis=1)


def _on_map(x: Array, y: Array) -> Array:
    """Whether `int(x), int(y)` is a cell of the map."""
    cell_x, cell_y = x.astype(jnp.int32), y.astype(jnp.int32)
    return (cell_x >= 0) & (cell_x < MAP_SIZE) & (cell_y >= 0) & (cell_y < MAP_SIZE)


def _one_hot(scenario: Scenario, last_action: Int[Array, "agents batch"]) -> Float[Array, "agents actions batch"]:
    """One-hot of actions; -1 (nothing done yet) is a row of zeros."""
    index = jnp.arange(scenario.n_actions, dtype=jnp.int32)[None, :, None]
    return (last_action[:, None] == index).astype(jnp.float32)
