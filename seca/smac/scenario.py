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
LAYERS = ("ground", "cliffs", "air")
"""Who collides with whom: only units of one layer."""
PROFILES = ("smac", "ladder410", "smaclite")


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
    opponent: str = "scripted"
    """Who commands the enemy: `scripted` (what SMAC's maps do) or a script of `seca.smac.scripts`."""
    medivac_follows: bool = True
    """The enemy's medivac goes with its army; off: it stays where it starts. Which one the game does is unknown."""
    call_for_help: bool = False
    """Scripted enemies without a target turn on whoever hits a friend within 4; whether SMAC's do is unknown."""
    profile: str = "smac"
    """Unit numbers: `smac` (what the maps run), `ladder410` (4.10 ladder balance), `smaclite` (on the maps it has)."""
    creep_decay: bool = False
    """Spine crawlers lose 3 life a second, as structures without creep do; whether SMAC's map has creep is unknown."""

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if isinstance(value, float) and not math.isfinite(value):
                raise ValueError(f"`{field.name}` must be a finite number, got {value!r}")
        if self.profile not in PROFILES:
            raise ValueError(f"`profile` must be one of {', '.join(PROFILES)}; got {self.profile!r}")
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


@dataclasses.dataclass(frozen=True)
class Attack:
    """What all enemies are ordered to attack at the start: a point drawn between two, the allies, or nothing."""

    kind: str
    """`point`, `units` or `none`."""
    start: tuple[float, float] = (0.0, 0.0)
    stop: tuple[float, float] = (0.0, 0.0)
    """Equal to `start` on all maps but one."""


@dataclasses.dataclass(frozen=True, eq=False)
class Scenario:
    """One map: constants of its units (allies, then enemies) as float32 columns `[units, 1]`, and its terrain."""

    name: str
    version: int
    """Raised when a change can move results on this map."""
    profile: str
    limit: int
    n_agents: int
    n_enemies: int
    ally_has_shield: bool
    enemy_has_shield: bool
    medivac_rule: bool
    """A side with nothing but medivacs left has lost."""
    unit_names: tuple[str, ...]
    type_bits: np.ndarray
    """`[units, bits]` one-hot of the unit type as SMAC shows it; no columns on maps with one type."""
    health_max: np.ndarray
    shield_max: np.ndarray
    armor: np.ndarray
    life_rate: np.ndarray
    """Health regenerated per game loop."""
    layer: np.ndarray
    """Index into `LAYERS`."""
    speed: np.ndarray
    """Map units per game loop."""
    acceleration: np.ndarray
    """Map units per game loop, each game loop; infinite for all that start at full speed."""
    radius: np.ndarray
    separation: np.ndarray
    reach: np.ndarray
    """Weapon range (of healers, range of healing), edge to edge."""
    scan: np.ndarray
    """Radius, edge to edge, in which targets (of healers, patients) are looked for."""
    period: np.ndarray
    """Game loops between attacks."""
    windup: np.ndarray
    """Game loops from the start of a swing to its shot, a whole number."""
    volley: np.ndarray
    """Hits of one attack that land together; 0 for units without a weapon."""
    hits_at_once: np.ndarray
    """1 where a shot hits in its own loop (all but missiles and delayed beams)."""
    flies_on: np.ndarray
    """1 where what was shot lands even if the shooter dies before."""
    late_delay: np.ndarray
    """Game loops from the shot to the second hit, or to the burning of a beam; 0 where there is none."""
    flight_per_unit: np.ndarray
    """Game loops a missile needs per map unit; 0 where there is none."""
    damage: np.ndarray
    """`[units, units]` damage per hit of the row's unit against the column's, before armor; 0 where it cannot hit."""
    can_target: np.ndarray
    """`[units, units]` bool: the row's weapon reaches the column's unit; for healers, it is a patient."""
    threatens: np.ndarray
    """`[units, units]` bool: the column's unit counts as a threat to the row's when targets are chosen."""
    beam: np.ndarray
    """`[units, 2]` half length and half width of the line that an attack burns; 0 for all other weapons."""
    blast: np.ndarray
    """Radius in which the unit's death, which is its attack, hits; 0 for all others."""
    heals: np.ndarray
    """1 for units that heal."""
    heal_rate: np.ndarray
    """Health per game loop."""
    heal_cost: np.ndarray
    """Energy per health."""
    heal_energy: np.ndarray
    """Energy a healer needs to begin by itself."""
    energy: np.ndarray
    """At the start."""
    energy_max: np.ndarray
    energy_rate: np.ndarray
    """Energy per game loop."""
    max_cooldown: np.ndarray
    """SMAC's divisor of the cooldown (of healers, of the energy) in the state, `[agents, 1]`."""
    spawn_x: np.ndarray
    spawn_y: np.ndarray
    attack: Attack
    terrain: str
    """Name of the terrain."""
    walkable: np.ndarray
    """`[x, y]` bool, for units on the ground."""
    level: np.ndarray
    """`[x, y]` cliff level, in parts on a ramp; units of layer `cliffs` stand wherever it is not 0."""
    height: np.ndarray
    """`[x, y]` in 0 .. 1."""
    turns: np.ndarray | None = None
    """`[units]`: in which order units in the way are looked at (the first decides on the side); None: by number."""

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


def unit_numbers(profile: str) -> dict[str, dict[str, Any]]:
    """All unit types of a profile: the numbers of `smac`, and what the profile has instead."""
    data = read_data("units")
    changes = {} if profile == "smac" else data[profile]
    return {unit: numbers | changes.get(unit, {}) for unit, numbers in data["smac"].items()}


def map_names() -> tuple[str, ...]:
    """Every map the simulator knows, in the order of the data file."""
    return tuple(read_data("maps")["maps"])


def pack_spawns(
    groups: list[dict[str, Any]],
    units: dict[str, dict[str, Any]],
    standing: dict[str, np.ndarray],
    ahead: tuple[int, int],
) -> list[tuple[str, float, float]]:
    """Place one team's units in creation order, each on the nearest free spot around its spawn point.

    The game's own offsets are unknown. Spots lie on a grid of 1/8, nearest first; among equals those beside the point
    come before those behind and ahead. The teams are mirror images (`ahead` is the direction to the foe, along one
    axis), so that neither starts better placed. A spot is free if the unit can stand there (`standing[layer]` at
    `[x, y]`) and no centre of its layer is closer than the sum of the separation radii. Returns `(unit, x, y)` rows.
    """
    placed: list[tuple[str, float, float]] = []
    along, across = _spots().T
    for group in groups:
        unit, (at_x, at_y) = group["unit"], group["at"]
        layer, room = units[unit]["layer"], units[unit]["separation"]
        x = at_x + (ahead[0] * along if ahead[0] else across)
        y = at_y + (ahead[1] * along if ahead[1] else across)
        free = (x >= 0) & (x < MAP_SIZE) & (y >= 0) & (y < MAP_SIZE)
        free[free] = standing[layer][x[free].astype(int), y[free].astype(int)]
        for other, other_x, other_y in placed:
            if units[other]["layer"] == layer:
                free &= (x - other_x) ** 2 + (y - other_y) ** 2 >= (room + units[other]["separation"]) ** 2
        for _ in range(group["count"]):
            if not free.any():
                raise ValueError(f"no free spot for {unit} around ({at_x}, {at_y})")
            nearest = int(free.argmax())
            placed.append((unit, float(x[nearest]), float(y[nearest])))
            free &= (x - x[nearest]) ** 2 + (y - y[nearest]) ** 2 >= (2 * room) ** 2
    return placed


@functools.cache
def _spots() -> np.ndarray:
    """Offsets (along, across) from a spawn point, `[spots, 2]`, in the order in which they are tried."""
    steps = np.arange(-48, 49) / 8
    offsets = [(float(along), float(across)) for along in steps for across in steps]
    return np.array(sorted(offsets, key=lambda o: (o[0] ** 2 + o[1] ** 2, abs(o[0]), o)))


def load(map_name: str, profile: str = "smac", creep_decay: bool = False) -> Scenario:
    """Build the scenario of a map from the data files.

    Raises:
        ValueError: the map is unknown, or the profile is, or SMAClite does not have the map.
    """
    maps = read_data("maps")["maps"]
    if map_name not in maps:
        raise ValueError(f"`map_name` must be one of {', '.join(maps)}; got {map_name!r}")
    if profile == "smaclite" and not maps[map_name].get("smaclite"):
        choices = ", ".join(name for name, data in maps.items() if data.get("smaclite"))
        raise ValueError(f"`profile` smaclite exists on the maps SMAClite has ({choices}); got {map_name!r}")
    return build(map_name, maps[map_name], profile, creep_decay)


def build(name: str, data: dict[str, Any], profile: str = "smac", creep_decay: bool = False) -> Scenario:
    """Build a scenario from an entry like those of maps.toml.

    Raises:
        ValueError: the profile is unknown, or a team does not fit around its spawn points.
    """
    if profile not in PROFILES:
        raise ValueError(f"`profile` must be one of {', '.join(PROFILES)}; got {profile!r}")
    units = unit_numbers(profile)
    terrain = data["terrain"] if isinstance(data["terrain"], dict) else read_data("maps")["terrains"][data["terrain"]]
    walkable, level = read_terrain(terrain)
    standing = {"ground": walkable, "cliffs": level > 0, "air": np.ones_like(walkable)}
    ahead = _ahead(data)
    allies = pack_spawns(data["allies"], units, standing, ahead)
    allies.sort(key=lambda unit: (data["types"].index(unit[0]), unit[1], unit[2]))
    enemies = pack_spawns(data["enemies"], units, standing, (-ahead[0], -ahead[1]))
    names = tuple(unit for unit, _, _ in allies + enemies)
    n_agents, n_enemies = len(allies), len(enemies)
    numbers = [units[unit] for unit in names]
    if creep_decay:
        numbers = [n | {"life_rate": n["life_rate"] - CREEP_DECAY} if "S" in n["attributes"] else n for n in numbers]

    def column(field: str, scale: float = 1.0, default: float = 0.0) -> np.ndarray:
        return np.array([[unit.get(field, default) * scale] for unit in numbers], np.float32)

    per_loop = 1 / LOOPS_PER_SECOND
    heals = column("heal_rate") > 0
    missile_speed, beam_delay, blast = column("missile_speed"), column("beam_delay", LOOPS_PER_SECOND), column("blast")
    flight = np.divide(LOOPS_PER_SECOND, missile_speed, out=np.zeros_like(missile_speed), where=missile_speed > 0)
    acceleration = column("acceleration", per_loop**2)
    type_bits = np.zeros((len(names), len(data["types"]) if "ally_bits" in data else 0), np.float32)
    for i, unit in enumerate(names if type_bits.size else ()):
        type_bits[i, data["ally_bits" if i < n_agents else "enemy_bits"][unit]] = 1.0
    can_hit = np.array([[reaches(a, b) for b in numbers] for a in numbers])
    foes = np.arange(len(names))[:, None] < n_agents
    foes = foes != foes.T
    patients = np.array([["B" in b["attributes"] for b in numbers]]) & ~foes
    damage = np.array([[damage_per_hit(a, b) for b in numbers] for a in numbers], np.float32)
    return Scenario(
        name=name,
        version=data.get("version", 1),
        profile=profile,
        limit=data["limit"],
        n_agents=n_agents,
        n_enemies=n_enemies,
        ally_has_shield=data["ally_race"] == "P",
        enemy_has_shield=data["enemy_race"] == "P",
        medivac_rule=data.get("medivac_rule", False),
        unit_names=names,
        type_bits=type_bits,
        health_max=column("health"),
        shield_max=column("shield"),
        armor=column("armor"),
        life_rate=column("life_rate", per_loop),
        layer=np.array([[LAYERS.index(unit["layer"])] for unit in numbers], np.int32),
        speed=column("speed", per_loop),
        acceleration=np.where(acceleration > 0, acceleration, np.inf).astype(np.float32),
        radius=column("radius"),
        separation=column("separation"),
        reach=np.where(heals, column("heal_reach"), column("range")),
        scan=np.where(heals, column("heal_scan"), column("scan")),
        period=column("period", LOOPS_PER_SECOND),
        windup=np.round(column("damage_point", LOOPS_PER_SECOND)),
        volley=np.where(column("damage") > 0, column("volley", default=1.0), 0.0).astype(np.float32),
        hits_at_once=((missile_speed == 0) & (beam_delay == 0)).astype(np.float32),
        flies_on=((missile_speed > 0) | (beam_delay > 0) | (blast > 0)).astype(np.float32),
        late_delay=column("second_hit_delay", LOOPS_PER_SECOND) + beam_delay,
        flight_per_unit=flight.astype(np.float32),
        damage=np.where(can_hit, damage, 0.0).astype(np.float32),
        can_target=np.where(heals, patients, can_hit),
        threatens=np.array([[reaches(b, a) or b.get("threatens", False) for b in numbers] for a in numbers]),
        beam=np.array([unit.get("beam", [0.0, 0.0]) for unit in numbers], np.float32),
        blast=blast,
        heals=heals.astype(np.float32),
        heal_rate=column("heal_rate", per_loop),
        heal_cost=column("heal_cost"),
        heal_energy=column("heal_energy"),
        energy=column("energy"),
        energy_max=column("energy_max"),
        energy_rate=column("energy_rate", per_loop),
        max_cooldown=column("max_cooldown")[:n_agents],
        spawn_x=np.array([[x] for _, x, _ in allies + enemies], np.float32),
        spawn_y=np.array([[y] for _, _, y in allies + enemies], np.float32),
        attack=read_attack(data["attack"]),
        terrain=data["terrain"] if isinstance(data["terrain"], str) else name,
        walkable=walkable,
        level=level,
        height=(level * LEVEL_HEIGHT).astype(np.float32),
    )


CREEP_DECAY = 1 / 0.3332
"""Life a second that a Zerg structure without creep loses."""
LEVEL_HEIGHT = 0.25
"""Height of a cliff level in `height`, a stand-in: the game's own heights are not among the map facts."""
_LEVELS = {".": 0.0, "1": 1.0, "a": 1.25, "b": 1.5, "c": 1.75, "2": 2.0}


def read_terrain(terrain: dict[str, Any]) -> tuple[np.ndarray, np.ndarray]:
    """`walkable` and `level`, both `[x, y]`, from rows of characters, top row first.

    Without `levels` all that is walkable lies on level 1, and the rest is void.
    """
    walkable = np.array([[c == "_" for c in row] for row in terrain["rows"]])[::-1].T
    if "levels" not in terrain:
        return walkable, walkable.astype(np.float32)
    return walkable, np.array([[_LEVELS[c] for c in row] for row in terrain["levels"]], np.float32)[::-1].T


def read_attack(attack: dict[str, Any]) -> Attack:
    """The enemy's order from its entry in maps.toml: `point`, `between`, `units`, or nothing."""
    if "units" in attack:
        return Attack("units")
    if not attack:
        return Attack("none")
    start, stop = attack["between"] if "between" in attack else (attack["point"], attack["point"])
    return Attack("point", (float(start[0]), float(start[1])), (float(stop[0]), float(stop[1])))


def reaches(attacker: dict[str, Any], defender: dict[str, Any]) -> bool:
    """Whether a weapon hits the defender's layer; the colossus, over cliffs, stands on the ground and in the air."""
    layers = ("ground", "air") if defender["layer"] == "cliffs" else (defender["layer"],)
    return any(layer in attacker.get("hits", ()) for layer in layers)


def damage_per_hit(attacker: dict[str, Any], defender: dict[str, Any]) -> float:
    """Damage of one hit before armor, bonus against the defender's attributes included; 0 without a weapon."""
    bonus = attacker.get("bonus", {})
    return float(attacker.get("damage", 0) + sum(bonus.get(attribute, 0) for attribute in defender["attributes"]))


def _ahead(data: dict[str, Any]) -> tuple[int, int]:
    """The direction from the allies' first spawn point to the enemies', along the axis of the longer way."""
    (ax, ay), (bx, by) = data["allies"][0]["at"], data["enemies"][0]["at"]
    if abs(bx - ax) >= abs(by - ay):
        return (1 if bx >= ax else -1, 0)
    return (0, 1 if by >= ay else -1)
