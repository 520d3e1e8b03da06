"""Options that methods share, and what every algorithm refuses of its numbers."""

import dataclasses
import typing
from typing import Any, Literal

from seca.ranges import Count, Positive, found_in, words_in


@dataclasses.dataclass(frozen=True)
class ActorCriticOptions:
    """Options of an actor and a critic that are trained apart."""

    actor_lr: Positive = 5e-4
    """Step size of the actor's optimiser."""
    critic_lr: Positive = 5e-4
    """Step size of the critic's optimiser."""
    clip_norm: Positive = 10.0
    """Global gradient norm above which the gradient is scaled down, actor and critic apart."""
    actor_hidden: Count = 64
    """Width of the actor's layers and of its recurrent state."""
    critic_hidden: Count = 128
    """Width of the critic's hidden layers."""


Part = Literal["obs", "state", "reward"]
Dead = Literal["none", "mask-obs", "mask-loss"]
Share = Literal["all", "type", "none"]


@dataclasses.dataclass(frozen=True)
class Adaptation:
    """How a method is fitted to environments that it was not made for; by default as its authors ran it."""

    normalise: tuple[Part, ...] = ()
    """What learners see in running units: observations and states centred, over their deviations; rewards over the
    deviation of their discounted sum. Saved with the run, and only read in evaluation."""

    dead: Dead = "none"
    """Of agents that are dead or have left, who may choose nothing but the first action: none, each method as it is;
    mask-obs, their observations are zeros; mask-loss, their steps count in no loss of single agents."""

    share: Share = "all"
    """Who acts by one network: all, those of a type as the environment tells them, or none with another. Critics are
    left as each method has them."""

    def check(self) -> None:
        """Raise ValueError where something is named twice."""
        twice = [part for part in self.normalise if self.normalise.count(part) > 1]
        if twice:
            raise ValueError(f"`normalise` holds {twice[0]} twice: name each of obs, state, reward once or not at all")


UNADAPTED = Adaptation()
"""Every method as it is."""


def check_numbers(config: Any, prefix: str = "") -> None:
    """Raise ValueError, naming field and value, for a number outside the range that stands on its field."""
    for name, hint in typing.get_type_hints(type(config), include_extras=True).items():
        value = getattr(config, name)
        if dataclasses.is_dataclass(value):
            check_numbers(value, f"{prefix}{name}.")
            continue
        words = (None, *words_in(hint))
        for bounds in found_in(hint):
            for number in value if isinstance(value, tuple) else (value,):
                if number not in words and not bounds.holds(number):
                    raise ValueError(f"`{prefix}{name}` is {number}; it must {bounds.words(number)}")
