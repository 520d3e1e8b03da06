"""Scenarios of one's own: a TOML file of units, places, terrain and orders, checked line by line."""

import hashlib
import pathlib
import tomllib
from typing import Any

from seca import files
from seca.smac.scenario import MAP_SIZE, PROFILES, Scenario, build, read_data, read_terrain, unit_numbers

MAX_UNITS = 200
"""In all; a pass over pairs of more would not fit the caches the simulator is written for."""
MAX_STEPS = 1_000_000
"""Longest limit."""
OWN_PROFILES = tuple(name for name in PROFILES if name != "smaclite")
_FIELDS = {
    "limit": f"a whole number of env steps from 1 to {MAX_STEPS}",
    "allies": 'a list of groups like { unit = "marine", count = 3, at = [9, 16] }',
    "enemies": 'a list of groups like { unit = "marine", count = 3, at = [23, 16] }',
    "attack": '{ point = [x, y] }, { between = [[x, y], [x, y]] }, { units = "allies" } or {}',
    "terrain": "the name of a terrain or a table of `rows` and, if wanted, `levels`",
}
_OPTIONAL = ("medivac_rule",)


def read(path: str | pathlib.Path, profile: str = "smac", creep_decay: bool = False) -> Scenario:
    """The scenario in a TOML file.

    The file has the fields of an entry of maps.toml: `limit`, `allies`, `enemies`, `attack`, `terrain` (a name, or a
    table with 32 `rows`). Races and types follow from the units: a team shows shields if one of its units has one, and
    types are shown, by first appearance, if there are several. A team with a healer falls under the medivac rule,
    unless a team has nothing but healers: it would be beaten before it begins.

    Raises:
        ValueError: the file cannot be read, or a field is missing, unknown, or has a value it cannot take; or the
            profile is SMAClite's, which has numbers for the units of its own maps only.
    """
    if profile not in OWN_PROFILES:
        raise ValueError(f"`profile` of a scenario of one's own must be {' or '.join(OWN_PROFILES)}; got {profile!r}")
    data = _load(path)
    try:
        checked = _check(data, unit_numbers(profile))
        return build(pathlib.Path(path).stem, checked, profile, creep_decay)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None


def fingerprint(path: str | pathlib.Path) -> str:
    """Eight hexadecimal digits that change with the file. Raises ValueError when it cannot be read."""
    return hashlib.sha256(_content(path)).hexdigest()[:8]


def _load(path: str | pathlib.Path) -> dict[str, Any]:
    content = _content(path)
    try:
        return tomllib.loads(content.decode("utf-8"))
    except (ValueError, RecursionError) as error:  # Not TOML, not text, a number of 5,000 digits; nested without end.
        raise ValueError(f"{path}: not a TOML file: {error}") from None


def _content(path: str | pathlib.Path) -> bytes:
    try:
        return files.read_bytes(pathlib.Path(path))
    except ValueError as error:  # From `files`, or for a NUL in the name.
        raise ValueError(f"`env` scenario file {str(path)!r} cannot be read: {error}") from None


def _check(data: dict[str, Any], units: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The same as an entry of maps.toml, or a ValueError in one line."""
    for name in data:
        if name not in _FIELDS and name not in _OPTIONAL:
            raise ValueError(f"`{name}` is unknown; choose from {', '.join([*_FIELDS, *_OPTIONAL])}")
    for name, what in _FIELDS.items():
        if name not in data:
            raise ValueError(f"`{name}` is missing; it must be {what}")
    if not _is_count(data["limit"]) or data["limit"] > MAX_STEPS:
        raise ValueError(f"`limit` must be {_FIELDS['limit']}, got {data['limit']!r}")
    if not isinstance(data.get("medivac_rule", False), bool):
        raise ValueError(f"`medivac_rule` must be true or false, got {data['medivac_rule']!r}")
    for team in ("allies", "enemies"):
        _check_team(team, data[team], units)
    total = sum(group["count"] for team in ("allies", "enemies") for group in data[team])
    if total > MAX_UNITS:
        raise ValueError(f"`allies` and `enemies` must be {MAX_UNITS} units at most, got {total}")
    _check_attack(data["attack"])
    terrain = _check_terrain(data["terrain"])
    walkable, level = read_terrain(terrain)
    for team in ("allies", "enemies"):
        for group in data[team]:
            x, y = (int(v) for v in group["at"])
            layer = units[group["unit"]]["layer"]
            if layer != "air" and not (walkable if layer == "ground" else level > 0)[x, y]:
                raise ValueError(f"`{team}` {group['unit']} stands in a wall at {group['at']}")

    def facts(team: str) -> tuple[list[str], bool, list[bool]]:
        names = list(dict.fromkeys(group["unit"] for group in data[team]))
        shielded = any(units[name].get("shield", 0) > 0 for name in names)
        return names, shielded, ["heal_rate" in units[name] for name in names]

    ours, theirs = facts("allies"), facts("enemies")
    every = list(dict.fromkeys(ours[0] + theirs[0]))
    bits = {name: k for k, name in enumerate(every)}
    shown = {"ally_bits": bits, "enemy_bits": bits} if len(every) > 1 else {}
    races = {"ally_race": "P" if ours[1] else "T", "enemy_race": "P" if theirs[1] else "T"}
    healers_only = all(ours[2]) or all(theirs[2])
    if healers_only and data.get("medivac_rule"):
        raise ValueError("`medivac_rule` must be false where a team has nothing but healers, got true")
    rule = {"medivac_rule": data.get("medivac_rule", any(ours[2] + theirs[2]) and not healers_only)}
    return data | shown | races | rule | {"types": every, "terrain": terrain}


def _check_team(team: str, groups: Any, units: dict[str, dict[str, Any]]) -> None:
    if not isinstance(groups, list) or not groups:
        raise ValueError(f"`{team}` must be {_FIELDS[team]}, got {groups!r}")
    for group in groups:
        if not isinstance(group, dict) or set(group) != {"unit", "count", "at"}:
            raise ValueError(f"`{team}` groups have the fields unit, count and at; got {group!r}")
        if not isinstance(group["unit"], str) or group["unit"] not in units:
            raise ValueError(f"`unit` must be one of {', '.join(units)}; got {group['unit']!r}")
        if not _is_count(group["count"]):
            raise ValueError(f"`count` of {group['unit']} must be a whole number above 0, got {group['count']!r}")
        if not _is_point(group["at"]):
            raise ValueError(f"`at` of {group['unit']} must be [x, y] within 0 .. {MAP_SIZE}, got {group['at']!r}")


def _check_attack(attack: Any) -> None:
    fine = isinstance(attack, dict) and (
        attack in ({}, {"units": "allies"})
        or (set(attack) == {"point"} and _is_point(attack["point"]))
        or (
            set(attack) == {"between"}
            and isinstance(attack["between"], list)
            and len(attack["between"]) == 2
            and all(_is_point(point) for point in attack["between"])
        )
    )
    if not fine:
        raise ValueError(f"`attack` must be {_FIELDS['attack']}, got {attack!r}")


def _check_terrain(terrain: Any) -> dict[str, Any]:
    known = read_data("maps")["terrains"]
    if isinstance(terrain, str):
        if terrain not in known:
            raise ValueError(f"`terrain` must be one of {', '.join(known)}, or a table of rows; got {terrain!r}")
        return known[terrain]
    if not isinstance(terrain, dict) or not {"rows"} <= set(terrain) <= {"rows", "levels"}:
        raise ValueError(f"`terrain` must be {_FIELDS['terrain']}, got {terrain!r}")
    for name, letters in (("rows", "_X"), ("levels", ".1abc2")):
        rows = terrain.get(name, ["_" * MAP_SIZE] * MAP_SIZE if name == "rows" else ["." * MAP_SIZE] * MAP_SIZE)
        if not isinstance(rows, list) or len(rows) != MAP_SIZE:
            got = len(rows) if isinstance(rows, list) else rows
            raise ValueError(f"`{name}` of the terrain must be {MAP_SIZE} strings, got {got!r}")
        for k, row in enumerate(rows):
            if not isinstance(row, str) or len(row) != MAP_SIZE or set(row) - set(letters):
                raise ValueError(
                    f"`{name}` of the terrain, row {k + 1}, must be {MAP_SIZE} of {letters!r}, got {row!r}"
                )
    if "_" not in "".join(terrain["rows"]):
        raise ValueError("`rows` of the terrain must have a walkable cell, `_`")
    return terrain


def _is_count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _is_point(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and all(isinstance(v, (int, float)) and not isinstance(v, bool) and 0 <= v < MAP_SIZE for v in value)
    )
