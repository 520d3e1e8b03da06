"""Numbers that every algorithm refuses, named as the command line names them (`tests/test_ranges.py` has more)."""

import dataclasses
from typing import Any

import pytest

from seca.learning.options import ActorCriticOptions, check_numbers
from seca.order.base import GradientOrder
from seca.ranges import Fraction


@dataclasses.dataclass(frozen=True)
class Part:
    path: GradientOrder = GradientOrder()
    share: Fraction | None = None


@dataclasses.dataclass(frozen=True)
class Options(ActorCriticOptions):
    part: Part = Part()
    name: str = "anything"
    free: float = -1e30
    """Of a number without a range nothing is refused."""


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [
        ("actor_lr", 0.0, "be above 0"),
        ("critic_lr", -1e-9, "be above 0"),
        ("clip_norm", 0.0, "be above 0"),
        ("actor_hidden", 0, "be a whole number from 1 to 2147483647"),
        ("critic_hidden", -3, "be a whole number from 1 to 2147483647"),
    ],
)
def test_every_shared_option_has_its_range(field: str, value: float, words: str) -> None:
    options: dict[str, Any] = {field: value}
    for config in (ActorCriticOptions(**options), Options(**options)):
        with pytest.raises(ValueError) as refused:
            check_numbers(config)
        assert str(refused.value) == f"`{field}` is {value}; it must {words}"


def test_parts_of_parts_are_named_by_their_way() -> None:
    with pytest.raises(ValueError, match=r"^`part.path.points` is 0; it must"):
        check_numbers(Options(part=Part(GradientOrder(points=0))))
    with pytest.raises(ValueError, match=r"^`run.part.share` is 1.5; it must lie in \[0, 1\]$"):
        check_numbers(Options(part=Part(share=1.5)), "run.")


def test_what_is_in_its_range_passes() -> None:
    check_numbers(ActorCriticOptions())
    check_numbers(Options(part=Part(share=None)))
    check_numbers(Options(part=Part(share=1.0), actor_lr=1e-30))
