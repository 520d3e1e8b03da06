"""Ranges of the numbers among options: each stands on its field alone, `x: Annotated[float, Range(0, 1)]`."""

import dataclasses
import math
import numbers
import typing
from collections.abc import Iterator
from typing import Annotated, Any


@dataclasses.dataclass(frozen=True)
class Range:
    """The finite numbers in which an option means something."""

    least: int | float = 0
    """Smallest of them."""
    most: int | float = math.inf
    """Largest of them, where there is one."""
    above: bool = False
    """Whether `least` itself is too small."""
    whole: bool = False
    """Whether fractions are none of them: `found_in` says so of a field of type int."""

    def holds(self, value: int | float) -> bool:
        """Whether the number is one of them; NaN and infinities never are."""
        if isinstance(value, bool) or (self.whole and not isinstance(value, numbers.Integral)):
            return False
        inside = self.least < value if self.above else self.least <= value
        return inside and value <= self.most and abs(value) < math.inf

    def words(self, value: int | float) -> str:
        """What a number that is none of them must do."""
        if self.whole and self.most < math.inf:
            return f"be a whole number from {self.least} to {self.most}"
        finite = "" if abs(value) < math.inf else "be finite and "
        if self.most < math.inf:
            return f"{finite}lie in {'(' if self.above else '['}{self.least:g}, {self.most:g}]"
        return f"{finite or 'be '}{'above' if self.above else 'at least'} {self.least:g}"


Fraction = Annotated[float, Range(0, 1)]
"""A discount, a share, a lambda."""
Positive = Annotated[float, Range(0, above=True)]
"""A step size, a norm."""
NonNegative = Annotated[float, Range(0)]
"""A weight, 0 leaves out what it is of."""
Count = Annotated[int, Range(1, 2**31 - 1)]
"""How many; counters are 32 bits wide."""
Batch = Annotated[int, Range(1, 2**20)]
"""Environments side by side; what fills an accelerator is below it, and beyond it a number is a slip of the hand."""
Seed = Annotated[int, Range(0, 2**32 - 1)]
"""Where random numbers start from."""
Steps = Annotated[int, Range(1, 4_000_000_000)]
"""Env steps: `TrainState.env_steps` is an unsigned 32-bit counter, and one iteration goes beyond."""


def words_in(hint: Any) -> Iterator[Any]:
    """What may stand in place of a number: the members of literals in an annotation."""
    if typing.get_origin(hint) is typing.Literal:
        yield from typing.get_args(hint)
        return
    for part in typing.get_args(hint):
        yield from words_in(part)


def found_in(hint: Any) -> Iterator[Range]:
    """The ranges in an annotation: on itself, and on the members of a union."""
    if typing.get_origin(hint) is Annotated:
        base, *marks = typing.get_args(hint)
        yield from (dataclasses.replace(mark, whole=base is int) for mark in marks if isinstance(mark, Range))
    for part in typing.get_args(hint):
        yield from found_in(part)
