"""One moment of a recorded battle as a picture."""

import dataclasses
import functools
from typing import Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float
from PIL import Image, ImageDraw, ImageFont

from seca.battles.recording import About, Recording

Colour = tuple[int, int, int]

VOID: Colour = (13, 16, 21)
FLOOR: Colour = (31, 37, 47)
GRID: Colour = (36, 43, 54)
ROCK: Colour = (66, 70, 78)
EDGE: Colour = (104, 110, 120)
TEXT: Colour = (232, 236, 241)
DIM: Colour = (148, 157, 170)
SHADOW: Colour = (20, 24, 31)
TEAMS: tuple[Colour, Colour] = ((86, 180, 233), (230, 159, 0))
"""Allies and enemies: sky blue and orange of the palette of Okabe and Ito, which colour-blind eyes tell apart."""
HEALTH: Colour = (64, 201, 140)
SHIELD: Colour = (176, 205, 255)
ENERGY: Colour = (204, 121, 167)
HEAL: Colour = (70, 240, 150)
FLASH: Colour = (255, 255, 255)
SIGNALS: tuple[Colour, ...] = (*TEAMS, HEALTH, SHIELD, ENERGY, HEAL, FLASH)
"""Colours that say something."""

GLYPHS = {
    "marine": "M",
    "marauder": "R",
    "medivac": "+",
    "stalker": "S",
    "zealot": "Z",
    "colossus": "C",
    "hydralisk": "H",
    "zergling": "z",
    "baneling": "b",
    "spine_crawler": "Y",
}
"""The sign of each unit type; others show their first letter."""

WIDTH, HEIGHT, LEAST_WIDTH = 720, 600, 600
"""Pixels that the field may fill, and those that header and footer need."""
HEADER, FOOTER = 46, 28
"""Pixels above and below it."""
FINER = 3
"""The field is drawn this much larger and shrunk, for smooth edges."""
MARGIN, RIM = 3, 1
"""Cells shown around where units go, and around what is walkable; never more than the second needs."""
BEYOND = 64
"""Cells around the map that a view may reach: more than `LEAST_WIDTH` asks for in any."""
LARGEST = 40
"""Most pixels per map unit: a duel need not fill the picture."""
SHOT_LOOPS, FLASH_LOOPS, DEATH_LOOPS = 5, 3, 10
"""How many game loops a shot, a hit and a death can be seen."""


@dataclasses.dataclass(frozen=True)
class View:
    """The part of the map that is shown, and its size in pixels."""

    left: int
    """Map units, as `bottom`, `right` and `top`."""
    bottom: int
    right: int
    top: int
    scale: int
    """Pixels per map unit, in the picture; while drawing `FINER` times as many."""

    @property
    def size(self) -> tuple[int, int]:
        """Width and height of the picture, with header and footer; both even, as video needs it."""
        width, height = (self.right - self.left) * self.scale, (self.top - self.bottom) * self.scale
        return width + width % 2, height + height % 2 + HEADER + FOOTER

    def length(self, units: int | float) -> float:
        """Pixels of a length, while drawing."""
        return float(units * self.scale * FINER)

    def point(self, x: int | float, y: int | float) -> tuple[float, float]:
        """Pixel of a point, while drawing; y points up on the map."""
        return self.length(x - self.left), self.length(self.top - y)


def crop(recording: Recording) -> View:
    """Where units go, with a margin; nothing beyond the rim of the walkable area that no unit sees either."""
    cells = np.argwhere(recording.walkable)
    living = recording.alive
    spots = np.stack([recording.x[living], recording.y[living]], axis=-1)
    low = np.floor(np.maximum(spots.min(axis=0) - MARGIN, np.minimum(cells.min(axis=0), spots.min(axis=0)) - RIM))
    high = np.ceil(np.minimum(spots.max(axis=0) + MARGIN, np.maximum(cells.max(axis=0) + 1, spots.max(axis=0)) + RIM))
    (left, bottom), (right, top) = low.astype(int).tolist(), high.astype(int).tolist()
    scale = max(1, min(WIDTH // (right - left), HEIGHT // (top - bottom), LARGEST))
    aside = max(0, -(-(LEAST_WIDTH - (right - left) * scale) // (2 * scale)))
    return View(left - aside, bottom, right + aside, top, scale)


class Painter:
    """Draws any frame of a recording; what is the same in all frames is drawn once."""

    def __init__(self, recording: Recording) -> None:
        self.recording, self.view = recording, crop(recording)
        self._ground = paint_ground(recording, self.view)
        total = recording.health + recording.shield
        hurt = np.diff(total, axis=0, prepend=total[:1]) < -0.05
        self._hurt: Bool[np.ndarray, "frames units"] = hurt
        self._healing = healing(recording)
        died = recording.alive[:-1] & ~recording.alive[1:]
        self._death = np.where(died.any(axis=0), died.argmax(axis=0) + 1, len(total))
        # Flyers last: they pass over the others.
        self._order = np.argsort(recording.flies, kind="stable").tolist()

    def frame(self, frame: int) -> Image.Image:
        """The picture of one frame, of size `view.size`."""
        field = self._ground.copy()
        brush = ImageDraw.Draw(field)
        for unit in self._order:
            self._paint_death(brush, frame, unit)
        for unit in self._order:
            self._paint_attacks(brush, frame, unit)
        for unit in self._order:
            if self.recording.alive[frame, unit]:
                self._paint_unit(brush, frame, unit)
        for unit in self._order:
            if self.recording.alive[frame, unit]:
                self._paint_bars(brush, frame, unit)
        picture = Image.new("RGB", self.view.size, VOID)
        picture.paste(field.reduce(FINER), (0, HEADER))
        write_header(picture, self.recording, frame)
        write_footer(picture, self.recording, frame)
        return picture

    def _team(self, unit: int) -> Colour:
        return TEAMS[int(unit >= self.recording.n_agents)]

    def _at(self, frame: int, unit: int) -> tuple[float, float]:
        return self.view.point(float(self.recording.x[frame, unit]), float(self.recording.y[frame, unit]))

    def _paint_death(self, brush: ImageDraw.ImageDraw, frame: int, unit: int) -> None:
        """A cross where a unit fell, and a ring that spreads and fades just after."""
        age = frame - int(self._death[unit])
        if age < 0:
            return
        x, y = self._at(frame, unit)
        arm, width = self.view.length(0.22), round(self.view.length(0.07))
        colour = blend(FLOOR, self._team(unit), 0.4)
        brush.line([(x - arm, y - arm), (x + arm, y + arm)], fill=colour, width=width)
        brush.line([(x - arm, y + arm), (x + arm, y - arm)], fill=colour, width=width)
        if age < DEATH_LOOPS:
            spread = float(self.recording.radius[unit]) * (1.0 + age / DEATH_LOOPS)
            colour = blend(FLOOR, self._team(unit), 0.9 * (1 - age / DEATH_LOOPS))
            brush.circle((x, y), self.view.length(spread), outline=colour, width=round(self.view.length(0.08)))

    def _paint_attacks(self, brush: ImageDraw.ImageDraw, frame: int, unit: int) -> None:
        """Lines from a unit to those it shot in the last loops, fading; a beam to whom it heals."""
        recording = self.recording
        for age in reversed(range(min(SHOT_LOOPS, frame + 1))):
            then = frame - age
            if recording.shot[then, unit]:
                strength = 1 - age / SHOT_LOOPS
                ends = [self._at(frame, unit), self._at(frame, int(recording.target[then, unit]))]
                width = max(1, round(self.view.length(0.06 + 0.08 * strength)))
                brush.line(ends, fill=blend(FLOOR, blend(self._team(unit), FLASH, 0.5), strength), width=width)
        if self._healing[frame, unit]:
            ends = [self._at(frame, unit), self._at(frame, int(recording.target[frame, unit]))]
            brush.line(ends, fill=blend(FLOOR, HEAL, 0.45), width=round(self.view.length(0.3)))
            brush.line(ends, fill=HEAL, width=round(self.view.length(0.1)))

    def _paint_unit(self, brush: ImageDraw.ImageDraw, frame: int, unit: int) -> None:
        """A disc of the unit's true radius with the sign of its type; white while it is hit."""
        recording, team = self.recording, self._team(unit)
        x, y = self._at(frame, unit)
        radius = self.view.length(float(recording.radius[unit]))
        since = self._hurt[max(0, frame - FLASH_LOOPS + 1) : frame + 1, unit]
        if recording.flies[unit]:
            drop = self.view.length(0.25)
            brush.circle((x + drop, y + drop), radius, fill=SHADOW)
        rim = FLASH if since.any() else team
        brush.circle((x, y), radius, fill=blend(VOID, team, 0.55), outline=rim, width=round(self.view.length(0.09)))
        brush.text(
            (x, y), glyph(recording.unit_names[unit]), font=font(max(1, round(radius * 1.25))), fill=TEXT, anchor="mm"
        )

    def _paint_bars(self, brush: ImageDraw.ImageDraw, frame: int, unit: int) -> None:
        """Above a unit, from below: health, shield where it has one; energy where it has any."""
        recording = self.recording
        parts = [(recording.health[frame, unit] / recording.health_max[unit], HEALTH)]
        if recording.shield_max[unit] > 0:
            parts.append((recording.shield[frame, unit] / recording.shield_max[unit], SHIELD))
        if recording.energy_max[unit] > 0:
            parts.append((recording.energy[frame, unit] / recording.energy_max[unit], ENERGY))
        half, thick = max(float(recording.radius[unit]), 0.4), 0.13
        x, y = float(recording.x[frame, unit]), float(recording.y[frame, unit]) + float(recording.radius[unit]) + 0.08
        for share, colour in parts:
            full = float(np.clip(share, 0, 1))
            brush.rectangle([*self.view.point(x - half, y + thick), *self.view.point(x + half, y)], fill=SHADOW)
            if full > 0:
                filled = x - half + 2 * half * full
                brush.rectangle([*self.view.point(x - half, y + thick), *self.view.point(filled, y)], fill=colour)
            y += thick + 0.03


def paint_ground(recording: Recording, view: View) -> Image.Image:
    """Floor, shaded by cliff level; rock and void where nobody walks, with an edge between."""
    size = (round(view.length(view.right - view.left)), round(view.length(view.top - view.bottom)))
    ground = Image.new("RGB", size, VOID)
    brush = ImageDraw.Draw(ground)
    # Beyond the map there is void: with it, every cell of the view has its neighbours.
    floor, level = np.pad(recording.walkable, BEYOND), np.pad(recording.level, BEYOND)
    lowest = float(level[floor].min())
    cells = [(i, j) for i in range(view.left, view.right) for j in range(view.bottom, view.top)]
    for i, j in cells:
        box = [*view.point(i, j + 1), *view.point(i + 1, j)]
        here = float(level[i + BEYOND, j + BEYOND])
        if floor[i + BEYOND, j + BEYOND]:
            brush.rectangle(box, fill=blend(FLOOR, ROCK, 0.3 * min(1.0, here - lowest)), outline=GRID)
        elif here > 0:
            brush.rectangle(box, fill=ROCK)
    width = round(view.length(0.1))
    for i, j in cells:
        for (di, dj), ends in _SIDES.items():
            if floor[i + BEYOND, j + BEYOND] and not floor[i + di + BEYOND, j + dj + BEYOND]:
                brush.line([view.point(i + x, j + y) for x, y in ends], fill=EDGE, width=width)
    return ground


_SIDES: dict[tuple[int, int], list[tuple[int, int]]] = {
    (1, 0): [(1, 0), (1, 1)],
    (-1, 0): [(0, 0), (0, 1)],
    (0, 1): [(0, 1), (1, 1)],
    (0, -1): [(0, 0), (1, 0)],
}
"""Neighbour of a cell -> ends of the edge they share."""


def healing(recording: Recording) -> Bool[np.ndarray, "frames units"]:
    """Who heals in each frame: in range of a friend, and paying energy for it."""
    units = np.arange(len(recording.unit_names))
    friend = (recording.target >= 0) & ((recording.target >= recording.n_agents) == (units >= recording.n_agents))
    paid: Float[np.ndarray, "frames units"] = np.diff(recording.energy, axis=0, prepend=recording.energy[:1])
    return friend & recording.engaged & (paid < 0)


def glyph(unit_name: str) -> str:
    """The sign of a unit type."""
    return GLYPHS.get(unit_name, unit_name[:1].upper())


@runtime_checkable
class Told(Protocol):
    """What a header tells of: a battle, or a scene."""

    @property
    def about(self) -> About:
        """Where it comes from."""

    @property
    def x(self) -> Float[np.ndarray, "frames things"]:
        """Of which the length counts."""

    @property
    def reward(self) -> Float[np.ndarray, " steps"]:
        """Of each env step."""

    @property
    def n_steps(self) -> int:
        """Env steps."""

    @property
    def outcome(self) -> str:
        """How it ended."""


def write_header(picture: Image.Image, recording: Told, frame: int) -> None:
    """Map, policy and battle; step, time, return so far; the outcome once it is known."""
    brush, about = ImageDraw.Draw(picture), recording.about
    right, last = picture.width - 12, len(recording.x) - 1
    step = -(-frame // about.loops_per_step)
    options = "".join(f"  {name}={value}" for name, value in sorted(about.env_options.items()))
    who = f"{about.policy}  ·  seed {about.seed}, battle {about.battle}"
    brush.text((12, 14), fitted(f"{about.env}{options}", 17, right - 320), font=font(17), fill=TEXT, anchor="lm")
    brush.text((12, 34), fitted(who, 12, right - 120), font=font(12), fill=DIM, anchor="lm")
    earned = float(recording.reward[: frame // about.loops_per_step].sum(dtype=np.float64))
    numbers = f"step {step} of {recording.n_steps}   {frame / about.loops_per_second:.1f} s   return {earned:.2f}"
    brush.text((right, 14), numbers, font=font(14), fill=TEXT, anchor="rm")
    if frame == last:
        brush.text(
            (right, 34), recording.outcome.upper(), font=font(16), fill=_OUTCOMES[recording.outcome], anchor="rm"
        )


_OUTCOMES: dict[str, Colour] = {
    "won": TEAMS[0],
    "lost": TEAMS[1],
    **dict.fromkeys(("draw", "time limit", "ended"), TEXT),
}


def write_footer(picture: Image.Image, recording: Recording, frame: int) -> None:
    """How many of each type live, allies left and enemies right; the signs are explained by it."""
    brush, y = ImageDraw.Draw(picture), picture.height - FOOTER // 2
    n, alive = recording.n_agents, recording.alive[frame]
    for team, (first, last) in enumerate(((0, n), (n, len(alive)))):
        names = recording.unit_names[first:last]
        living = [name for name, lives in zip(names, alive[first:last], strict=True) if lives]
        counts = [
            f"{glyph(kind)} {kind.replace('_', ' ')} {living.count(kind)}/{names.count(kind)}"
            for kind in dict.fromkeys(names)
        ]
        x, anchor = ((12, "lm"), (picture.width - 12, "rm"))[team]
        brush.text((x, y), "   ".join(counts), font=font(13), fill=TEAMS[team], anchor=anchor)


def blend(under: Colour, over: Colour, share: float) -> Colour:
    """`share` of one colour laid over another."""
    red, green, blue = (round(u + (o - u) * share) for u, o in zip(under, over, strict=True))
    return red, green, blue


def fitted(text: str, size: int, width: int) -> str:
    """The text in one line, or as much of it as `width` pixels hold."""
    text = " ".join(text.split())[: max(1, width)]  # No letter is narrower than a pixel.
    if font(size).getlength(text) <= width:
        return text
    while text and font(size).getlength(f"{text} ...") > width:
        text = text[:-1]
    return f"{text} ..."


@functools.cache
def font(size: int) -> ImageFont.ImageFont | ImageFont.FreeTypeFont:
    """Pillow's own typeface: the same picture on every machine."""
    return ImageFont.load_default(size)
