"""Order by contribution: integrated gradients of the critic along the episode's own path."""

import dataclasses
from typing import Literal


@dataclasses.dataclass(frozen=True)
class GradientOrder:
    """Descending contribution to the value earned along the path (section 3.3, Eq. 17 and 18)."""

    points: int = 5
    """K, points of the path per transition."""
    rule: Literal["left", "midpoint"] = "left"
    """Where on each of its K pieces a transition is sampled."""
    stage: int | None = None
    """Steps judged in one order; None is the whole episode."""
    window: Literal["block", "sliding"] = "block"
    """Whether stages are disjoint blocks or, at each step, the `stage` steps to come."""
    sign: Literal["earned", "eq18"] = "earned"
    """`earned`: contribution to f(start) - f(end), as the authors' code has it; `eq18`: Eq. 18 as printed."""
    end: Literal["final", "last_step"] = "final"
    """Whether the path ends at the final observation (row L) or at the last step (row L - 1)."""
    reduce: Literal["episode", "batch_mean"] = "episode"
    """Whether each episode has its own contributions or all share the batch's mean."""
    source: Literal["same", "previous"] = "same"
    """Whether the order comes from the batch it is applied to or from the batch before."""
