"""A recorded battle and its file: what a viewer needs, and nothing it has to compute.

One compressed .npz without pickle. Axes: ``frames`` (the start, then one per game loop), ``steps`` (env steps),
``units`` (allies in agent order, then enemies), ``agents``, ``actions``, and ``cells_x``, ``cells_y`` of the terrain
(cell i covers i .. i + 1 map units).
"""

import dataclasses
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, Int16

from seca import files
from seca.errors import UsageError

FORMAT = 1
"""Version of the layout of the file."""

Outcome = Literal["won", "lost", "draw", "time limit"]


@dataclasses.dataclass(frozen=True)
class About:
    """Where a recording comes from: enough to record the same battle again."""

    env: str
    """Environment, `smac/2s3z`."""
    env_version: str
    env_options: dict[str, Any]
    """Options that differ from their defaults."""
    policy: str
    """`random`, `heuristic`, or the run folder and its checkpoint."""
    seed: int
    """Seed of the battles, as in `seca evaluate --seed`."""
    battle: int
    """Which battle of that seed: the number of the episode in `seca evaluate`."""
    loops_per_step: int
    loops_per_second: float
    """Game loops per second of SC2's normal speed."""
    seca: str
    """Version that recorded it."""


@dataclasses.dataclass(frozen=True)
class Recording:
    """One battle, loop by loop."""

    about: About
    unit_names: tuple[str, ...]
    radius: Float32[np.ndarray, " units"]
    """Map units."""
    health_max: Float32[np.ndarray, " units"]
    shield_max: Float32[np.ndarray, " units"]
    energy_max: Float32[np.ndarray, " units"]
    """0 for all but healers."""
    flies: Bool[np.ndarray, " units"]
    walkable: Bool[np.ndarray, "cells_x cells_y"]
    level: Float32[np.ndarray, "cells_x cells_y"]
    """Cliff level; 0 is the void beyond the map, and what is above it but not walkable is rock."""
    x: Float32[np.ndarray, "frames units"]
    """Map units, as y; the dead stay where they fell."""
    y: Float32[np.ndarray, "frames units"]
    health: Float32[np.ndarray, "frames units"]
    """0: dead."""
    shield: Float32[np.ndarray, "frames units"]
    energy: Float32[np.ndarray, "frames units"]
    target: Int16[np.ndarray, "frames units"]
    """Unit that the order is about, friend or foe; -1: none."""
    engaged: Bool[np.ndarray, "frames units"]
    """The target was in range in this loop."""
    shot: Bool[np.ndarray, "frames units"]
    """The unit shot at its target in this loop."""
    actions: Int16[np.ndarray, "steps agents"]
    avail: Bool[np.ndarray, "steps agents actions"]
    """What could be chosen when `actions` were."""
    reward: Float32[np.ndarray, " steps"]
    terminated: Bool[np.ndarray, " steps"]
    truncated: Bool[np.ndarray, " steps"]
    won: Bool[np.ndarray, " steps"]

    @property
    def n_agents(self) -> int:
        """Units of the team that the policy commands."""
        return self.actions.shape[1]

    @property
    def n_steps(self) -> int:
        """Env steps."""
        return self.reward.shape[0]

    @property
    def alive(self) -> Bool[np.ndarray, "frames units"]:
        """Who lives in each frame."""
        return self.health > 0

    @property
    def episode_return(self) -> float:
        """Sum of the rewards."""
        return float(self.reward.sum(dtype=np.float64))

    @property
    def outcome(self) -> Outcome:
        """How the battle ended."""
        if self.won[-1]:
            return "won"
        if self.truncated[-1]:
            return "time limit"
        return "lost" if self.alive[-1].any() else "draw"

    def sentence(self) -> str:
        """The outcome in one line."""
        living = self.alive[-1]
        allies, enemies = living[: self.n_agents], living[self.n_agents :]
        return (
            f"{self.outcome} after {self.n_steps} steps, return {self.episode_return:.2f}; alive: "
            f"{allies.sum()} of {allies.size} allies, {enemies.sum()} of {enemies.size} enemies"
        )


_ARRAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    **dict.fromkeys(("radius", "health_max", "shield_max", "energy_max"), ("float32", ("units",))),
    "walkable": ("bool", ("cells_x", "cells_y")),
    "level": ("float32", ("cells_x", "cells_y")),
    "flies": ("bool", ("units",)),
    **dict.fromkeys(("x", "y", "health", "shield", "energy"), ("float32", ("frames", "units"))),
    "target": ("int16", ("frames", "units")),
    **dict.fromkeys(("engaged", "shot"), ("bool", ("frames", "units"))),
    "actions": ("int16", ("steps", "agents")),
    "avail": ("bool", ("steps", "agents", "actions")),
    "reward": ("float32", ("steps",)),
    **dict.fromkeys(("terminated", "truncated", "won"), ("bool", ("steps",))),
}
"""Type and axes of every array in the file; beside them there is `about`, JSON text."""


def check_free(path: pathlib.Path, field: str) -> None:
    """Raise UsageError when there is something at `path`, or no way to put a file there."""
    files.usable(field, path)
    if path.exists():
        again = f"draw it with `seca watch {path} --out OTHER`" if path.suffix == ".npz" else "choose another name"
        raise UsageError(f"`{field}` is {path}: it exists already and is kept; {again}, or remove it")
    above = next(folder for folder in path.absolute().parents if folder.exists())
    if not above.is_dir() or not os.access(above, os.W_OK):
        raise UsageError(f"`{field}` is {path}: nothing can be written to {above}")


def save(recording: Recording, path: pathlib.Path) -> None:
    """Write a recording so that a kill leaves the whole file or none. Raises UsageError when there is one already."""
    write(path, *parts(recording))


def parts(recording: Recording) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a file says of a recording, and its arrays."""
    about = {"unit_names": recording.unit_names} | dataclasses.asdict(recording.about)
    return about, {name: getattr(recording, name) for name in _ARRAYS}


def write(path: pathlib.Path, about: dict[str, Any], arrays: dict[str, Any]) -> None:
    """Write a file of this format, whole or not at all. Raises UsageError when there is one already."""
    check_free(path, "recording")
    with files.replacing(path) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, about=np.array(json.dumps({"format": FORMAT} | about)), **arrays)


def load(path: pathlib.Path) -> Recording:
    """The recording in a file. Raises UsageError when it is missing, damaged, or of another format."""

    given = f"`recording` is {files.usable('recording', path)}"
    return files.read_archive(path, given, "recording", FORMAT, MOST_BYTES, made_of)


def made_of(arrays: dict[str, np.ndarray], written: dict[str, Any]) -> Recording:
    """The recording that a file holds. Raises ValueError, KeyError or TypeError when it is none."""
    names = tuple(written.pop("unit_names"))
    about = read_about(written)
    _check(arrays, names, about.loops_per_step)
    return Recording(about, names, **arrays)


MOST_BYTES = 2**30
"""Largest that a recording is unpacked: one of 200 units over 10,000 loops has 50 MB."""
_MOST_CELLS, _MOST_RADIUS, MOST_NUMBER = 256, 16.0, 1e6
"""Largest map that is drawn, in cells each way, largest unit on it, in map units, and largest of all other numbers."""
_KINDS: dict[Any, type | tuple[type, ...]] = {str: str, int: int, float: (int, float), dict[str, Any]: dict}


def read_about(values: dict[str, Any]) -> About:
    """`About` of its fields. Raises TypeError when one is missing, unknown or of another type."""
    for field in dataclasses.fields(About):
        if not isinstance(values[field.name], _KINDS[field.type]):
            raise TypeError(f"`{field.name}` is {values[field.name]!r}")
    about = About(**values)
    if about.loops_per_step < 1 or not 1 <= about.loops_per_second <= MOST_NUMBER:
        raise ValueError(f"{about.loops_per_step} loops per step, {about.loops_per_second} per second")
    return about


Layout = Mapping[str, tuple[str, tuple[str, ...]]]
"""Type and axes of each array."""


def check_names(field: str, names: tuple[Any, ...]) -> None:
    """Raise ValueError unless all are texts that can be drawn."""
    if not all(isinstance(name, str) and name.isprintable() for name in names):
        raise ValueError(f"`{field}` are not names")


def checked_sizes(
    arrays: dict[str, np.ndarray], layout: Layout, known: Mapping[str, int], frames_per_step: int
) -> dict[str, int]:
    """Length of every axis. Raises ValueError unless the arrays are those of the layout, and fit together."""
    if arrays.keys() != layout.keys():
        raise ValueError(f"missing or unknown: {', '.join(sorted(arrays.keys() ^ layout.keys()))}")
    sizes = dict(known)
    for name, (kind, axes) in layout.items():
        array = arrays[name]
        if array.dtype != kind or array.ndim != len(axes):
            raise ValueError(f"`{name}` is {array.dtype}{list(array.shape)}, not {kind} [{' '.join(axes)}]")
        for axis, size in zip(axes, array.shape, strict=True):
            if sizes.setdefault(axis, size) != size:
                raise ValueError(f"`{name}` has {size} {axis}, not {sizes[axis]}")
        if kind == "float32" and not (np.abs(array) <= MOST_NUMBER).all():
            raise ValueError(f"`{name}` holds a number that is not finite, or beyond {MOST_NUMBER:,.0f}")
    frames = sizes["steps"] * frames_per_step + 1
    if sizes["steps"] < 1 or sizes["frames"] != frames:
        raise ValueError(f"{sizes['frames']} frames, but {sizes['steps']} steps need {frames}")
    return sizes


def _check(arrays: dict[str, np.ndarray], names: tuple[Any, ...], loops_per_step: int) -> None:
    """Raise ValueError unless the arrays are all there and fit together: a viewer indexes with them."""
    check_names("unit_names", names)
    units = len(names)
    sizes = checked_sizes(arrays, _ARRAYS, {"units": units}, loops_per_step)
    if not 0 < sizes["agents"] < units:
        raise ValueError(f"{sizes['agents']} agents of {units} units")
    if max(sizes["cells_x"], sizes["cells_y"]) > _MOST_CELLS:
        raise ValueError(f"a map of {sizes['cells_x']} x {sizes['cells_y']} cells, over {_MOST_CELLS} each way")
    if not ((arrays["radius"] > 0) & (arrays["radius"] <= _MOST_RADIUS)).all():
        raise ValueError(f"`radius` holds one that is not above 0, or beyond {_MOST_RADIUS}")
    if arrays["target"].min() < -1 or arrays["target"].max() >= units:
        raise ValueError(f"`target` points beyond the {units} units")
    for name, axis in (("x", "cells_x"), ("y", "cells_y")):
        if arrays[name].min() < -1 or arrays[name].max() > sizes[axis] + 1:
            raise ValueError(f"`{name}` lies outside the map of {sizes[axis]} cells")
    if not (arrays["health_max"] > 0).all() or not arrays["walkable"].any() or not (arrays["health"][0] > 0).any():
        raise ValueError("no living unit, or no ground to stand on")
