"""What an environment offers to be drawn of its states: discs with names, and lines."""

import dataclasses
from collections.abc import Callable
from typing import Literal

from jaxtyping import Array, Float

from seca.types import PyTree

Kind = Literal["agent", "other", "mark"]
"""Agents come first and in their order; others act but are nobody's agents; marks are things."""


@dataclasses.dataclass(frozen=True)
class Drawing:
    """How a state looks from above, x to the right and y up. One entry per disc where nothing else is said.

    Raises:
        ValueError: the tuples are not of one length, an area is empty, or agents do not come first.
    """

    names: tuple[str, ...]
    kinds: tuple[Kind, ...]
    radius: tuple[float, ...]
    area: tuple[float, float, float, float]
    """Left, bottom, right, top of what is always shown; the picture grows with discs that leave it."""
    discs: Callable[[PyTree], Float[Array, "batch discs 2"]]
    """`discs(state)`: where they are."""
    lines: Callable[[PyTree], Float[Array, "batch lines 2 2"]] | None = None
    """`lines(state)`: ends of straight lines, such as what is held, linked or headed for."""
    seconds: float = 0.1
    """Of an env step, as it is told and played."""

    def __post_init__(self) -> None:
        left, bottom, right, top = self.area
        if not len(self.names) == len(self.kinds) == len(self.radius):
            raise ValueError("`names`, `kinds` and `radius` must have an entry for each disc")
        if not (left < right and bottom < top):
            raise ValueError(f"`area` is {self.area}: left, bottom, right, top must enclose something")
        agents = sum(kind == "agent" for kind in self.kinds)
        if agents == 0 or any(kind != "agent" for kind in self.kinds[:agents]):
            raise ValueError("`kinds` must begin with the agents")
