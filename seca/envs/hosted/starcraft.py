"""StarCraft II itself, through the user's own copy of SMAC: `starcraft:MAP`.

Nothing of the game comes with this package. What is needed is looked for before anything starts, and what is missing
is said in one line.
"""

import dataclasses
import importlib
import importlib.util
import os
import pathlib
import re
from collections.abc import Mapping
from typing import Any

from seca.envs.hosted import pymarl
from seca.errors import told

FAMILY = "starcraft:"
GET_PACKAGE = "pip install git+https://github.com/oxwhirl/smac.git"
GET_GAME = "download the Linux packages of https://github.com/Blizzard/s2client-proto#downloads, or set SC2PATH"
GET_MAPS = (
    "extract https://github.com/oxwhirl/smac/releases/download/v0.1-beta1/SMAC_Maps.zip into the folder Maps of "
    "the game"
)
RELEASES = {"Base69232": "4.6.2", "Base75689": "4.10"}
"""Names of the two releases that results are published with; SMAC's README: they are not always comparable."""
MEMORY = 2**30
"""Bytes taken to be needed for one game: an estimate from below, not a measurement."""


@dataclasses.dataclass(frozen=True)
class Found:
    """What is needed for a game, where it is."""

    package: pathlib.Path
    game: pathlib.Path
    version: str
    """Of the game, as spec.version has it: `starcraft-4.10-Base75689`."""


def make(map_name: str, /, limit: int | None = None, game_version: str | None = None, **options: Any) -> pymarl.Told:
    """Battles on a map of SMAC, in the game. No game is started before the first `reset`.

    Args:
        map_name: `2s3z` and others, as SMAC calls them.
        limit: env steps of a battle; by default the map's own, which is the most.
        game_version: of several that are installed, the release that PySC2 is told to start; by default the latest.
        options: for SMAC's `StarCraft2Env`.

    Raises:
        ValueError: see `check`; or SMAC cannot be imported, or takes no such options.
    """
    env_id = f"{FAMILY}{map_name}"
    if "map_name" in options:
        raise ValueError(
            f"`env-options` map_name is {options['map_name']!r}, but the map is part of the name, {env_id}"
        )
    found = check(map_name, 1, game_version)  # Of as many as there are runners the registry asks, before any starts.
    try:
        build = importlib.import_module("smac.env").StarCraft2Env
    except (Exception, SystemExit) as error:
        raise ValueError(f"`env` {env_id} needs smac, whose import fails: {told(error)}") from None
    every = {"map_name": map_name} | options | ({"game_version": game_version} if game_version else {})
    # SMAC counts the number of the time step among an agent's own features, leaves that place 0, and appends it.
    longer = int(bool(options.get("obs_timestep_number", False)))
    env = pymarl.Told(build, env_id, found.version, limit, options=every, longer_obs=longer)
    kept = tuple((name, value) for name, value in env.spec.options if name != "map_name")
    env.spec = dataclasses.replace(env.spec, options=kept)
    return env


def check(map_name: str, instances: int, game_version: str | None = None) -> Found:
    """Whether so many games can be started on a map, without starting one.

    Args:
        map_name: of SMAC.
        instances: games at the same time, on this machine.
        game_version: release of the game, `4.10`; the latest that is installed where None.

    Raises:
        ValueError: in one line what is missing first, and how to get it: the package, the game, its version, the map,
            or memory.
    """
    package, game = _package(), _game()
    version = _version(game, game_version)
    _look_for_map(game, map_name)
    free = _free_memory(pathlib.Path("/proc/meminfo"))
    if free is not None and free < instances * MEMORY:
        raise ValueError(
            f"`env` {FAMILY}{map_name} needs about {MEMORY / 2**30:g} GiB of memory for each of {instances} games, and "
            f"{free / 2**30:.1f} GiB are free: choose fewer runners"
        )
    return Found(package, game, version)


def _package() -> pathlib.Path:
    """Where SMAC is, told from PyPI's package of that name without importing either."""
    found = importlib.util.find_spec("smac")
    if found is None or not found.submodule_search_locations:
        raise ValueError(f"`env` {FAMILY}... needs SMAC: {GET_PACKAGE}")
    places = [pathlib.Path(place) for place in found.submodule_search_locations]
    for place in places:
        if (place / "env" / "starcraft2").is_dir() or (place / "env" / "__init__.py").is_file():
            return place
    if found.origin is None:  # Some folder of that name in Python's path: no package at all.
        raise ValueError(f"`env` {FAMILY}... needs SMAC: {GET_PACKAGE}")
    raise ValueError(
        f"`env` {FAMILY}... needs SMAC of the University of Oxford, and the package smac in {places[0]} is another of "
        f"that name (PyPI's optimiser): pip uninstall smac, then {GET_PACKAGE}"
    )


def _game() -> pathlib.Path:
    """The game's folder, as PySC2 finds it on Linux."""
    said = os.environ.get("SC2PATH")
    game = pathlib.Path(said or "~/StarCraftII").expanduser()
    if not game.is_dir():
        where = f"SC2PATH is {said}, which" if said else f"SC2PATH is not set, and {game}"
        raise ValueError(f"`env` {FAMILY}... needs StarCraft II: {where} is no folder; {GET_GAME}")
    return game


def _version(game: pathlib.Path, asked: str | None) -> str:
    """The one that PySC2 starts: that which is asked for, else the latest."""
    bases = {int(path.name[4:]): path for path in game.glob("Versions/Base*") if re.fullmatch(r"Base\d+", path.name)}
    if not bases:
        raise ValueError(f"`env` {FAMILY}... needs StarCraft II: no Versions/Base* in {game}; {GET_GAME}")
    base = bases[max(bases)]
    if asked is not None and asked != "latest":
        numbers = {release: int(name[4:]) for name, release in RELEASES.items()}
        number = numbers.get(asked)
        if number is not None and number not in bases:
            there = ", ".join(RELEASES.get(path.name, path.name) for _, path in sorted(bases.items()))
            raise ValueError(
                f"`env-options` game_version is {asked!r}, which is not in {game}/Versions: there is {there}"
            )
        if number is None:
            return f"starcraft-{asked}"
        base = bases[number]
    program = base / "SC2_x64"
    if program.is_file() and not os.access(program, os.X_OK):
        raise ValueError(f"`env` {FAMILY}... cannot start {program}: chmod +x {program}")
    release = RELEASES.get(base.name)
    return f"starcraft-{release}-{base.name}" if release else f"starcraft-{base.name}"


def _look_for_map(game: pathlib.Path, map_name: str) -> None:
    folder = game / "Maps" / "SMAC_Maps"
    if not folder.is_dir():
        raise ValueError(f"`env` {FAMILY}{map_name} needs SMAC's maps: {folder} is no folder; {GET_MAPS}")
    names = sorted(path.stem for path in folder.glob("*.SC2Map"))
    if map_name not in names:
        there = f"choose from {', '.join(names)}" if names else GET_MAPS
        raise ValueError(f"`env` {FAMILY}{map_name} needs the map {folder / map_name}.SC2Map: {there}")


def _free_memory(meminfo: pathlib.Path) -> int | None:
    """Bytes that programs may still take, as Linux says; None where it is another system."""
    if not meminfo.is_file():
        return None
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
    return int(fields["MemAvailable"].split()[0]) * 1024 if "MemAvailable" in fields else None


def installed() -> Mapping[str, Any]:
    """What `seca envs` tells: `maps` that can be played, or `missing`, the line that says what is not there."""
    try:
        _package()
        folder = _game() / "Maps" / "SMAC_Maps"
        version = _version(folder.parents[1], None)
    except ValueError as error:
        return {"missing": str(error)}
    return {"version": version, "maps": sorted(path.stem for path in folder.glob("*.SC2Map"))}
