"""What an order is: one function of one episode."""

from collections.abc import Callable

from jaxtyping import Array, Float, Int, PRNGKeyArray

from seca.order.gradients import CriticAt
from seca.types import Episodes

OrderFn = Callable[
    [CriticAt, Episodes, Float[Array, "time1 agents actions"], PRNGKeyArray],
    Int[Array, "time agents"],
]
"""`order(critic, episode, probs, key)`: `order[t, k]` is the agent judged k-th at step t. The episode has no batch
axis; what is in its padding must not change the order of its valid steps."""
