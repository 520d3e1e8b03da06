"""What a credit method is: one function of one step."""

from collections.abc import Callable

import jax
from jaxtyping import Array, Float, Int, PRNGKeyArray

QFn = Callable[[Float[Array, "agents actions"]], Float[Array, ""]]
"""Joint value with the state closed over; each agent's row is the one-hot of an action, or a policy."""

CreditFn = Callable[
    [QFn, Float[Array, "agents actions"], Int[Array, " agents"], Int[Array, " agents"], PRNGKeyArray],
    Float[Array, " agents"],
]
"""`credit(q_fn, probs, action, order, key)`: credit of each agent, in agent slots, for the joint action of one step."""


def one_hot(action: Int[Array, " agents"], probs: Float[Array, "agents actions"]) -> Float[Array, "agents actions"]:
    """Rows of the taken actions, in the shape and dtype of `probs`."""
    return jax.nn.one_hot(action, probs.shape[-1], dtype=probs.dtype)
