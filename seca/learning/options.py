"""Options that several methods share, and what every method refuses of its numbers."""

import dataclasses
from typing import Any


def check_numbers(config: Any, prefix: str = "") -> None:
    """Raise ValueError, naming field and value, for a number outside the range in which the equations mean something.

    Step sizes and clipping norms are above 0, discounts and fractions in [0, 1], other reals at least 0, whole numbers
    at least 1.
    """
    for field in dataclasses.fields(config):
        name, value = field.name, getattr(config, field.name)
        if dataclasses.is_dataclass(value):
            check_numbers(value, f"{prefix}{name}.")
        elif isinstance(value, bool) or not isinstance(value, int | float):
            continue
        elif name in POSITIVE and not value > 0:
            raise ValueError(f"`{prefix}{name}` is {value}; it must be above 0")
        elif name in FRACTIONS and not 0 <= value <= 1:
            raise ValueError(f"`{prefix}{name}` is {value}; it must lie in [0, 1]")
        elif isinstance(value, int) and value < 1:
            raise ValueError(f"`{prefix}{name}` is {value}; it must be at least 1")
        elif not value >= 0:
            raise ValueError(f"`{prefix}{name}` is {value}; it must be at least 0")


POSITIVE = ("huber_delta", "lr", "actor_lr", "critic_lr", "clip_norm", "loss_scale", "buffer_gib")
FRACTIONS = (
    "gamma",
    "td_lambda",
    "gae_lambda",
    "norm_decay",
    "target_share",
    "alpha",
    "epsilon_start",
    "epsilon_finish",
    "start",
    "finish",
)
