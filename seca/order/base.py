"""What an order is: a plain function of one episode, a small state of its own, and what training may know of it."""

import dataclasses
from collections.abc import Callable
from typing import Annotated, Literal

from jaxtyping import Array, Float, Int, PRNGKeyArray

from seca.ranges import Range
from seca.types import Episodes, PyTree

CriticAt = Callable[[Float[Array, " state"], Float[Array, "agents actions"]], Float[Array, ""]]
"""f(s, v): the critic with everything else closed over."""

OrderFn = Callable[
    [CriticAt, Episodes, Float[Array, "time1 agents actions"], PRNGKeyArray, PyTree],
    Int[Array, "time agents"],
]
"""`order(critic, episode, probs, key, state)`: `order[t, k]` is the agent judged k-th at step t. The episode has no
batch axis; what is in its padding must not change the order of its valid steps. `state` is what `Order.init` made."""


@dataclasses.dataclass(frozen=True)
class GradientOrder:
    """Descending contribution to the value earned along the path (section 3.3, Eq. 17 and 18)."""

    points: Annotated[int, Range(1, 1_000)] = 5
    """K, points of the path per transition."""
    rule: Literal["left", "midpoint"] = "left"
    """Where on each of its K pieces a transition is sampled."""
    stage: Annotated[int, Range(1, 1_000_000)] | None = None
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


def stateless(key: PRNGKeyArray, n_agents: int) -> PyTree:
    """Nothing to remember."""
    del key, n_agents
    return ()


@dataclasses.dataclass(frozen=True)
class Order:
    """Who is judged first? A plain function, and what makes it quick to train with."""

    name: str
    fn: OrderFn
    """The plain form, of one episode."""
    init: Callable[[PRNGKeyArray, int], PyTree] = stateless
    """`init(key, n_agents) -> state`, arrays that a run keeps from batch to batch."""
    path: GradientOrder | None = None
    """Where the order follows from integrated gradients: their options. Training then takes contributions from the pass
    that carries each step to the critic's hidden layer anyway, and does not ask `fn`; the state is the batch's mean of
    contributions, which `reduce` and `source` of the options may make the order of."""
    reads_critic: bool = False
    """Whether `fn` asks the critic: episodes are then judged one after another, for what that takes of memory."""
