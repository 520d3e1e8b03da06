"""A recorded episode of an environment that offers a drawing, its file, and its pictures.

As `recording`, of which it is the plain sister: one frame per env step, discs where units are there. Axes: ``frames``
(the start, then one per env step), ``steps``, ``discs`` (agents first), ``lines``, ``agents``, ``actions``.
"""

import dataclasses
import math
import pathlib
from typing import Any, Literal

import numpy as np
from jaxtyping import Bool, Float32, Int16
from PIL import Image, ImageDraw

from seca import files
from seca.battles import draw, recording
from seca.battles.recording import FORMAT, About, Recording, made_of, read_about


@dataclasses.dataclass(frozen=True)
class Scene:
    """One episode, step by step."""

    about: About
    names: tuple[str, ...]
    kinds: tuple[str, ...]
    """`agent`, `other` or `mark`, of each disc."""
    area: tuple[float, ...]
    """Left, bottom, right, top of what is always shown."""
    radius: Float32[np.ndarray, " discs"]
    x: Float32[np.ndarray, "frames discs"]
    y: Float32[np.ndarray, "frames discs"]
    lines: Float32[np.ndarray, "frames lines 4"]
    """x, y of one end and of the other."""
    actions: Int16[np.ndarray, "steps agents"] | Float32[np.ndarray, "steps agents actions"]
    avail: Bool[np.ndarray, "steps agents actions"]
    """What could be chosen when `actions` were."""
    reward: Float32[np.ndarray, " steps"]
    terminated: Bool[np.ndarray, " steps"]
    truncated: Bool[np.ndarray, " steps"]

    @property
    def n_steps(self) -> int:
        """Env steps."""
        return self.reward.shape[0]

    @property
    def shot(self) -> Bool[np.ndarray, "frames discs"]:
        """Nobody shoots: no moment is more worth seeing than another."""
        return np.zeros(self.x.shape, bool)

    @property
    def episode_return(self) -> float:
        """Sum of the rewards."""
        return float(self.reward.sum(dtype=np.float64))

    @property
    def outcome(self) -> Literal["ended", "time limit"]:
        """How the episode ended: by its own rules, or by the clock."""
        return "ended" if self.terminated[-1] else "time limit"

    def sentence(self) -> str:
        """The outcome in one line."""
        return f"{self.outcome} after {self.n_steps} steps, return {self.episode_return:.2f}"


_ARRAYS: dict[str, tuple[str, tuple[str, ...]]] = {
    "radius": ("float32", ("discs",)),
    **dict.fromkeys(("x", "y"), ("float32", ("frames", "discs"))),
    "lines": ("float32", ("frames", "lines", "ends")),
    "actions": ("int16", ("steps", "agents")),
    "avail": ("bool", ("steps", "agents", "actions")),
    "reward": ("float32", ("steps",)),
    **dict.fromkeys(("terminated", "truncated"), ("bool", ("steps",))),
}


_CONTINUOUS = _ARRAYS | {"actions": ("float32", ("steps", "agents", "actions"))}
"""The same where actions are continuous, as policies drew them: beyond -1 and 1 they count as these."""


def _layout(actions: np.ndarray) -> recording.Layout:
    return _CONTINUOUS if actions.ndim == 3 else _ARRAYS


def save(scene: Scene, path: pathlib.Path) -> None:
    """Write it so that a kill leaves the whole file or none. Raises UsageError when there is one already."""
    recording.write(path, *parts(scene))


def parts(scene: Scene | Recording) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
    """What a file says of a scene, or of a battle, and its arrays."""
    if isinstance(scene, Recording):
        return recording.parts(scene)
    about = {"scene": {"names": scene.names, "kinds": scene.kinds, "area": scene.area}}
    return about | dataclasses.asdict(scene.about), {name: getattr(scene, name) for name in _ARRAYS}


def load(path: pathlib.Path) -> Scene | Recording:
    """What was recorded in a file, of either kind. Raises UsageError: missing, damaged, or of another format."""
    given = f"`recording` is {files.usable('recording', path)}"
    return files.read_archive(path, given, "recording", FORMAT, recording.MOST_BYTES, made)


TOLD = "told_"
"""How the names of arrays begin that are not of the picture: what a method said of the episode (`view.account`)."""


def made(arrays: dict[str, np.ndarray], written: dict[str, Any]) -> Scene | Recording:
    """The scene or battle that a file holds. Raises ValueError, KeyError or TypeError when it holds none."""
    if written.pop("account", None) is not None:
        arrays = {name: array for name, array in arrays.items() if not name.startswith(TOLD)}
    return _made_of(arrays, written) if "scene" in written else made_of(arrays, written)


def _made_of(arrays: dict[str, np.ndarray], written: dict[str, Any]) -> Scene:
    """Raises ValueError, KeyError or TypeError unless all is there and fits together: a painter indexes with it."""
    told = written.pop("scene")
    names, kinds, area = tuple(told["names"]), tuple(told["kinds"]), tuple(map(float, told["area"]))
    recording.check_names("names", names)
    if len(kinds) != len(names) or any(kind not in COLOURS for kind in kinds):
        raise ValueError(f"`kinds` are {kinds}: each must be one of {', '.join(COLOURS)}")
    if len(area) != 4 or not (-recording.MOST_NUMBER <= area[0] < area[2] <= recording.MOST_NUMBER) or not (
        -recording.MOST_NUMBER <= area[1] < area[3] <= recording.MOST_NUMBER
    ):  # fmt: skip
        raise ValueError(f"`area` is {area}")
    known = {"discs": len(names), "ends": 4} | ({"agents": kinds.count("agent")} if names else {})
    recording.checked_sizes(arrays, _layout(arrays["actions"]), known, 1)
    if not (arrays["radius"] > 0).all():
        raise ValueError("`radius` holds one that is not above 0")
    return Scene(read_about(written), names, kinds, area, **arrays)


COLOURS: dict[str, draw.Colour] = {"agent": draw.TEAMS[0], "other": draw.TEAMS[1], "mark": draw.EDGE}
"""Of each kind of disc."""
_WIDTH, _HEIGHT = 720, 600
"""Pixels that the plane fills at most."""
_TRAIL = 12
"""Steps for which the way of whoever moves can be seen."""


@dataclasses.dataclass(frozen=True)
class Window:
    """What is shown of the plane, and its size in pixels."""

    left: float
    bottom: float
    right: float
    top: float
    scale: float
    """Pixels of a unit, in the picture; while drawing `draw.FINER` times as many."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture with header and footer; both even, as video needs it."""
        width, height = self.field
        return max(width + width % 2, draw.LEAST_WIDTH), height + height % 2 + draw.HEADER + draw.FOOTER

    @property
    def field(self) -> tuple[int, int]:
        """Width and height of the plane alone."""
        return round((self.right - self.left) * self.scale), round((self.top - self.bottom) * self.scale)

    def point(self, x: float | np.floating[Any], y: float | np.floating[Any]) -> tuple[float, float]:
        """Pixel of a point, while drawing."""
        finer = self.scale * draw.FINER
        return (float(x) - self.left) * finer, (self.top - float(y)) * finer


def window(scene: Scene) -> Window:
    """The area, and whatever leaves it."""
    reach = scene.radius[None]
    at = (scene.x, scene.y)
    left, bottom = (min(edge, float((x - reach).min())) for edge, x in zip(scene.area[:2], at, strict=True))
    right, top = (max(edge, float((x + reach).max())) for edge, x in zip(scene.area[2:], at, strict=True))
    return Window(left, bottom, right, top, min(_WIDTH / (right - left), _HEIGHT / (top - bottom)))


class ScenePainter:
    """Draws any frame of a scene, as `draw.Painter` does of a battle."""

    def __init__(self, scene: Scene) -> None:
        self.recording, self.view = scene, window(scene)
        moves = (np.ptp(scene.x, axis=0) > 0) | (np.ptp(scene.y, axis=0) > 0)
        self._moves: list[int] = np.flatnonzero(moves).tolist()
        # Marks first: whoever acts is seen above them.
        self._order = sorted(range(len(scene.kinds)), key=lambda disc: scene.kinds[disc] != "mark")

    def frame(self, frame: int) -> Image.Image:
        """The picture of one frame, of size `view.size`."""
        scene, view = self.recording, self.view
        width, height = view.field
        plane = Image.new("RGB", (width * draw.FINER, height * draw.FINER), draw.FLOOR)
        brush = ImageDraw.Draw(plane)
        self._paint_grid(brush)
        for disc in self._moves:
            ways = range(max(0, frame - _TRAIL), frame + 1)
            points = [view.point(scene.x[at, disc], scene.y[at, disc]) for at in ways]
            faint = draw.blend(draw.FLOOR, COLOURS[scene.kinds[disc]], 0.35)
            if len(points) > 1:
                brush.line(points, fill=faint, width=2 * draw.FINER)
        for disc in self._order:
            self._paint_disc(brush, frame, disc)
        for line in scene.lines[frame]:
            ends = [view.point(*line[:2]), view.point(*line[2:])]
            brush.line(ends, fill=draw.blend(draw.FLOOR, draw.FLASH, 0.7), width=2 * draw.FINER)
        picture = Image.new("RGB", view.size, draw.VOID)
        picture.paste(plane.reduce(draw.FINER), ((view.size[0] - width) // 2, draw.HEADER))
        draw.write_header(picture, scene, frame)
        self._write_footer(picture, frame)
        return picture

    def _paint_grid(self, brush: ImageDraw.ImageDraw) -> None:
        """A line for each unit, or for ten of them, or a hundred."""
        view = self.view
        unit = 10 ** max(0, math.ceil(math.log10(max(view.right - view.left, view.top - view.bottom) / 20)))
        for x in range(math.ceil(view.left / unit), math.floor(view.right / unit) + 1):
            at = float(x * unit)
            brush.line([view.point(at, view.bottom), view.point(at, view.top)], fill=draw.GRID, width=3)
        for y in range(math.ceil(view.bottom / unit), math.floor(view.top / unit) + 1):
            at = float(y * unit)
            brush.line([view.point(view.left, at), view.point(view.right, at)], fill=draw.GRID, width=3)

    def _paint_disc(self, brush: ImageDraw.ImageDraw, frame: int, disc: int) -> None:
        """Its true radius; agents with their numbers."""
        scene, colour = self.recording, COLOURS[self.recording.kinds[disc]]
        centre = self.view.point(scene.x[frame, disc], scene.y[frame, disc])
        radius = float(scene.radius[disc]) * self.view.scale * draw.FINER
        fill = draw.blend(draw.VOID, colour, 0.55)
        brush.circle(centre, radius, fill=fill, outline=colour, width=2 * draw.FINER)
        if scene.kinds[disc] == "agent":
            size = max(1, round(min(1.2 * radius, 18 * draw.FINER)))
            brush.text(centre, str(disc), font=draw.font(size), fill=draw.TEXT, anchor="mm")

    def _write_footer(self, picture: Image.Image, frame: int) -> None:
        """Who is who, and the reward of the step that led here."""
        scene, brush, y = self.recording, ImageDraw.Draw(picture), picture.height - draw.FOOTER // 2
        x = 12.0
        for kind, colour in COLOURS.items():
            names = [name for name, other in zip(scene.names, scene.kinds, strict=True) if other == kind]
            said = draw.fitted(", ".join(names), 13, picture.width // 3)
            brush.text((x, y), said, font=draw.font(13), fill=colour, anchor="lm")
            x += draw.font(13).getlength(said) + 18 if said else 0
        if frame:
            reward = f"reward {float(scene.reward[frame - 1]):.2f}"
            brush.text((picture.width - 12, y), reward, font=draw.font(13), fill=draw.TEXT, anchor="rm")
