"""What every algorithm refuses of its numbers."""

import dataclasses
import typing
from typing import Any

from seca.ranges import found_in


def check_numbers(config: Any, prefix: str = "") -> None:
    """Raise ValueError, naming field and value, for a number outside the range that stands on its field."""
    for name, hint in typing.get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            check_numbers(value, f"{prefix}{name}.")
            continue
        for bounds in found_in(hint):
            if value is not None and not bounds.holds(value):
                raise ValueError(f"`{prefix}{name}` is {value}; it must {bounds.words(value)}")
