"""The orders that the command line knows by name."""

from collections.abc import Callable

from seca.order.base import GradientOrder, Order
from seca.order.gradients import by_gradients
from seca.order.simple import BY_ENTROPY, BY_PROBABILITY, FIXED, IDENTITY, RANDOM

ORDERS: dict[str, Callable[[GradientOrder], Order]] = {
    "gradients": by_gradients,
    "probability": lambda path: BY_PROBABILITY,
    "entropy": lambda path: BY_ENTROPY,
    "fixed": lambda path: FIXED,
    "identity": lambda path: IDENTITY,
    "random": lambda path: RANDOM,
}
"""`make(path)` of each: options of the path, where it follows one."""
