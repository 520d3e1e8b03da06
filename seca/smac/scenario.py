"""Maps and units as data: what a battle is made of, before anything moves."""

import dataclasses
import functools
import importlib.resources
import math
import tomllib
from typing import Any

import numpy as np

LOOPS_PER_SECOND = 16.0
LOOPS_PER_STEP = 8
MAP_SIZE = 32
STATE_DIVISOR = 32.0
"""SMAC divides positions in the state by the playable extent: MapInfo says 32, a live grid hints at 28 (open point)."""
SIGHT_RANGE = 9.0
SHOOT_RANGE = 6.0
MOVE_AMOUNT = 2.0
MOVES = 6
"""Actions before the first target: no-op, stop, north, south, east, west."""


@dataclasses.dataclass(frozen=True)
class Options:
    """SMAC's constructor flags, and the switches of this simulator."""

    obs_all_health: bool = True
    """Show health and shield of allies and enemies (and, whatever `obs_own_health` says, one's own)."""
    obs_own_health: bool = True
    """Show one's own health and shield; read only when `obs_all_health` is off, as in SMAC."""
    obs_last_action: bool = False
    """Show the last actions of visible allies."""
    obs_pathing_grid: bool = False
    """Show whether eight cells around the agent are walkable."""
    obs_terrain_height: bool = False
    """Show the terrain height of eight cells around the agent and its own."""
    obs_timestep_number: bool = False
    """Append steps / limit. The vector is one longer than SMAC reports, as in SMAC."""
    obs_instead_of_state: bool = False
    """The state is all observations in a row."""
    state_last_action: bool = True
    """The state holds the last actions of all agents."""
    state_timestep_number: bool = False
    """The state ends with steps / limit."""
    reward_sparse: bool = False
    """1 for a win, -1 for a defeat, 0 otherwise (still scaled, as in SMAC)."""
    reward_only_positive: bool = True
    """Ignore the losses of the own team."""
    reward_abs: bool = True
    """SMAC takes the absolute value of a positive-only reward, so that enemies who regenerate pay; off: they pay 0."""
    reward_death_value: float = 10.0
    """For each enemy killed."""
    reward_win: float = 200.0
    """For winning the battle."""
    reward_defeat: float = 0.0
    """For losing it."""
    reward_negative_scale: float = 0.5
    """Weight of own losses when `reward_only_positive` is off."""
    reward_scale: bool = True
    """Divide rewards by the largest possible return over `reward_scale_rate`."""
    reward_scale_rate: float = 20.0
    """Return of a perfect battle without regeneration."""
    jitter: bool = True
    """Weapon cooldowns vary by U(-1, +2) game loops per shot, as in the game; off: a battle has no randomness."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"`{field.name}` must be a finite number, got {value!r}")
        if self.reward_scale and not self.reward_scale_rate > 0:
            raise ValueError(f"`reward_scale_rate` must be positive, got {self.reward_scale_rate!r}")

    def changed(self) -> tuple[tuple[str, Any], ...]:
        """The options that differ from their defaults, sorted by name."""
        pairs = ((f.name, getattr(self, f.name), f.default) for f in dataclasses.fields(self))
        return tuple(sorted((name, value) for name, value, default in pairs if value != default))


def read_options(values: dict[str, Any]) -> Options:
    """Options from names and values; whole numbers do for fractions.

    Raises:
        ValueError: no such option, or a value it cannot take.
    """
    fields = {field.name: type(field.default) for field in dataclasses.fields(Options)}
    checked: dict[str, Any] = {}
    for name, value in values.items():
        if name not in fields:
            raise ValueError(f"`env-options` must be among {', '.join(fields)}; got {name!r}")
        kind = fields[name]
        number = kind is float and isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number and not isinstance(value, kind):
            choices = "True or False" if kind is bool else "a number" if kind is float else "a name"
            raise ValueError(f"`{name}` must be {choices}, got {value!r}")
        checked[name] = float(value) if number else value
    return Options(**checked)


@dataclasses.dataclass(frozen=True, eq=False)
class Scenario:
    """One map: constants of its units (allies, then enemies) as float32 columns `[units, 1]`, and its terrain."""

    name: str
    limit: int
    n_agents: int
    n_enemies: int
    ally_has_shield: bool
    enemy_has_shield: bool
    unit_names: tuple[str, ...]
    type_bits: np.ndarray
    """`[units, bits]` one-hot of the unit type as SMAC shows it; no columns on maps with one type."""
    health_max: np.ndarray
    shield_max: np.ndarray
    armor: np.ndarray
    speed: np.ndarray
    """Map units per game loop."""
    radius: np.ndarray
    separation: np.ndarray
    reach: np.ndarray
    """Weapon range, edge to edge."""
    scan: np.ndarray
    period: np.ndarray
    """Game loops between attacks."""
    windup: np.ndarray
    """Game loops from the start of a swing to its shot, a whole number."""
    hits_at_once: np.ndarray
    """1 where a shot hits in its own loop (all but missiles)."""
    late_delay: np.ndarray
    """Game loops from the shot to the second hit; 0 where there is none."""
    flight_per_unit: np.ndarray
    """Game loops a missile needs per map unit; 0 where there is none."""
    damage: np.ndarray
    """`[units, units]` damage per hit of the row's unit against the column's, before armor."""
    max_cooldown: np.ndarray
    """SMAC's divisor of the cooldown in the state, `[agents, 1]`."""
    spawn_x: np.ndarray
    spawn_y: np.ndarray
    attack_point: tuple[float, float]
    walkable: np.ndarray
    """`[x, y]` bool."""
    height: np.ndarray
    """`[x, y]` in 0 .. 1."""

    @property
    def n_units(self) -> int:
        return self.n_agents + self.n_enemies

    @property
    def n_actions(self) -> int:
        return MOVES + self.n_enemies

    def largest_return(self, options: Options) -> float:
        """The unscaled return of killing every enemy once and winning, without regeneration."""
        bodies = self.health_max[self.n_agents :].sum() + self.shield_max[self.n_agents :].sum()
        return self.n_enemies * options.reward_death_value + options.reward_win + float(bodies)


@functools.cache
def read_data(name: str) -> dict[str, Any]:
    """One of the two data files of this package, `units` or `maps`."""
    return tomllib.loads(importlib.resources.files("seca.smac").joinpath(f"{name}.toml").read_text("utf-8"))


def map_names() -> tuple[str, ...]:
    """Every map the simulator knows, in the order of the data file."""
    return tuple(read_data("maps")["maps"])


def pack_spawns(
    groups: list[dict[str, Any]], separation: dict[str, float], walkable: np.ndarray, ahead: int
) -> list[tuple[str, float, float]]:
    """Place one team's units in creation order, each on the nearest free spot around its spawn point.

    The game's own offsets are unknown. Spots lie on a grid of 1/8, nearest first; among equals those beside the point
    (north, south) come before those behind and ahead. The teams are mirror images (`ahead` is the sign of the direction
    to the foe along x), so that neither starts better placed. A spot is free if it is walkable and no centre is closer
    than the sum of the separation radii. Returns `(unit, x, y)` rows.
    """
    steps = np.arange(-48, 49) / 8
    offsets = [(float(dx), float(dy)) for dx in steps for dy in steps]
    offsets.sort(key=lambda o: (o[0] ** 2 + o[1] ** 2, abs(o[0]), o))
    placed: list[tuple[str, float, float]] = []
    for group in groups:
        unit, (at_x, at_y) = group["unit"], group["at"]
        for _ in range(group["count"]):
            for dx, dy in offsets:
                x, y = at_x + ahead * dx, at_y + dy
                clear = all(
                    (x - px) ** 2 + (y - py) ** 2 >= (separation[unit] + separation[other]) ** 2
                    for other, px, py in placed
                )
                if clear and walkable[int(x), int(y)]:
                    placed.append((unit, x, y))
                    break
            else:
                raise ValueError(f"no free spot for {unit} around ({at_x}, {at_y})")
    return placed


def load(map_name: str) -> Scenario:
    """Build the scenario of a map from the data files.

    Raises:
        ValueError: the map is unknown.
    """
    maps = read_data("maps")["maps"]
    if map_name not in maps:
        raise ValueError(f"`map_name` must be one of {', '.join(maps)}; got {map_name!r}")
    return build(map_name, maps[map_name])


def build(name: str, data: dict[str, Any]) -> Scenario:
    """Build a scenario from an entry like those of maps.toml."""
    units = read_data("units")
    terrain = read_data("maps")["terrains"][data["terrain"]]
    walkable = np.array([[c == "_" for c in row] for row in terrain["rows"]])[::-1].T
    separation = {unit: numbers["separation"] for unit, numbers in units.items()}
    allies = pack_spawns(data["allies"], separation, walkable, ahead=1)
    allies.sort(key=lambda unit: (data["types"].index(unit[0]), unit[1], unit[2]))
    enemies = pack_spawns(data["enemies"], separation, walkable, ahead=-1)
    names = tuple(unit for unit, _, _ in allies + enemies)
    n_agents, n_enemies = len(allies), len(enemies)

    def column(field: str, scale: float = 1.0) -> np.ndarray:
        return np.array([[units[unit].get(field, 0.0) * scale] for unit in names], np.float32)

    missile_speed = column("missile_speed")
    flight = np.divide(LOOPS_PER_SECOND, missile_speed, out=np.zeros_like(missile_speed), where=missile_speed > 0)
    type_bits = np.zeros((len(names), len(data["types"]) if "ally_bits" in data else 0), np.float32)
    for i, unit in enumerate(names if type_bits.size else ()):
        type_bits[i, data["ally_bits" if i < n_agents else "enemy_bits"][unit]] = 1.0
    return Scenario(
        name=name,
        limit=data["limit"],
        n_agents=n_agents,
        n_enemies=n_enemies,
        ally_has_shield=data["ally_race"] == "P",
        enemy_has_shield=data["enemy_race"] == "P",
        unit_names=names,
        type_bits=type_bits,
        health_max=column("health"),
        shield_max=column("shield"),
        armor=column("armor"),
        speed=column("speed", 1 / LOOPS_PER_SECOND),
        radius=column("radius"),
        separation=column("separation"),
        reach=column("range"),
        scan=column("scan"),
        period=column("period", LOOPS_PER_SECOND),
        windup=np.round(column("damage_point", LOOPS_PER_SECOND)),
        hits_at_once=(missile_speed == 0).astype(np.float32),
        late_delay=column("second_hit_delay", LOOPS_PER_SECOND),
        flight_per_unit=flight.astype(np.float32),
        damage=np.array([[damage_per_hit(units[a], units[b]) for b in names] for a in names], np.float32),
        max_cooldown=column("max_cooldown")[:n_agents],
        spawn_x=np.array([[x] for _, x, _ in allies + enemies], np.float32),
        spawn_y=np.array([[y] for _, _, y in allies + enemies], np.float32),
        attack_point=(float(data["attack"][0]), float(data["attack"][1])),
        walkable=walkable,
        height=np.full((MAP_SIZE, MAP_SIZE), terrain["height"], np.float32),
    )


def damage_per_hit(attacker: dict[str, Any], defender: dict[str, Any]) -> float:
    """Damage of one hit before armor, bonus against the defender's attributes included."""
    bonus = attacker.get("bonus", {})
    return float(attacker["damage"] + sum(bonus.get(attribute, 0) for attribute in defender["attributes"]))
