"""The credits that the command line knows by name."""

from collections.abc import Callable

from seca.credit.base import Credit
from seca.credit.counterfactual import COUNTERFACTUAL, INDEPENDENT
from seca.credit.sequential import EXACT, SWEPT, sampled
from seca.credit.shapley import averaged

CREDITS: dict[str, Callable[[int, int], Credit]] = {
    "swept": lambda samples, orders: SWEPT,
    "exact": lambda samples, orders: EXACT,
    "monte_carlo": lambda samples, orders: sampled(samples),
    "counterfactual": lambda samples, orders: COUNTERFACTUAL,
    "independent": lambda samples, orders: INDEPENDENT,
    "shapley": lambda samples, orders: averaged(orders),
}
"""`make(samples, orders)` of each: joint actions and orders drawn per step, where it draws any."""
