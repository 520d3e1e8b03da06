"""Ranges stand on the fields of options, and one function reads them."""

import dataclasses
import math
import typing
from collections.abc import Iterator
from typing import Annotated, Any

import pytest

from seca import cli
from seca.config import RunConfig
from seca.learning.options import check_numbers
from seca.presets import PRESETS
from seca.ranges import Count, Fraction, NonNegative, Positive, Range, found_in


@dataclasses.dataclass(frozen=True)
class Inner:
    few: Annotated[int, Range(1, 3)] = 1


@dataclasses.dataclass(frozen=True)
class Options:
    share: Fraction = 0.5
    rate: Positive = 1.0
    weight: NonNegative = 0.0
    size: Count | None = None
    flag: bool = False
    inner: Inner = Inner()


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"share": 1.5}, "`share` is 1.5; it must lie in [0, 1]"),
        ({"share": math.nan}, "`share` is nan; it must be finite and lie in [0, 1]"),
        ({"share": 2}, "`share` is 2; it must lie in [0, 1]"),
        ({"size": True}, "`size` is True; it must be a whole number from 1 to 2147483647"),
        ({"size": 1.5}, "`size` is 1.5; it must be a whole number from 1 to 2147483647"),
        ({"rate": 0.0}, "`rate` is 0.0; it must be above 0"),
        ({"rate": math.inf}, "`rate` is inf; it must be finite and above 0"),
        ({"weight": -0.1}, "`weight` is -0.1; it must be at least 0"),
        ({"size": 0}, "`size` is 0; it must be a whole number from 1 to 2147483647"),
        ({"inner": Inner(4)}, "`inner.few` is 4; it must be a whole number from 1 to 3"),
    ],
    ids=lambda part: str(part)[:20],
)
def test_numbers_out_of_range(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as refused:
        check_numbers(Options(**changes))
    assert str(refused.value) == words


@pytest.mark.parametrize("changes", [{"share": 0.0}, {"share": 1.0}, {"rate": 1e-9}, {"size": 1}, {"size": None}])
def test_ends_of_a_range_are_in_it(changes: dict[str, Any]) -> None:
    check_numbers(Options(**changes))


def test_words_of_a_range_that_is_open_below() -> None:
    assert Range(0, 1, above=True).words(0.0) == "lie in (0, 1]"


def _records(config: Any) -> Iterator[type]:
    yield type(config)
    for field in dataclasses.fields(config):
        if dataclasses.is_dataclass(getattr(config, field.name)):
            yield from _records(getattr(config, field.name))


KINDS = {kind for preset in PRESETS.values() for kind in _records(preset.config)} | set(_records(RunConfig()))
COMMANDS = {
    cli.EvaluateOptions,
    cli.AuditOptions,
    cli.BenchOptions,
    cli.WatchOptions,
    cli.PlotOptions,
    cli.ResumeOptions,
    cli.SweepOptions,
}
ELSEWHERE = {"fps", "every"}
"""Where pictures are made, which is not done by the command line alone."""


@pytest.mark.parametrize("kind", sorted(KINDS | COMMANDS, key=lambda kind: kind.__name__))
def test_every_number_has_its_range(kind: type) -> None:
    """Of a field without one nothing would be refused."""
    for name, hint in typing.get_type_hints(kind, include_extras=True).items():
        plain = typing.get_type_hints(kind)[name]
        if {int, float} & {plain, *typing.get_args(plain)} and name not in ELSEWHERE:
            assert len(list(found_in(hint))) == 1, f"{kind.__name__}.{name}"
