"""What a credit method is: one function of one step."""

from typing import Protocol

import jax
from jaxtyping import Array, Float, Int, PRNGKeyArray


class QFn(Protocol):
    """Joint value with the state closed over; each agent's row is the one-hot of an action or a policy."""

    def __call__(self, inputs: Float[Array, "agents actions"], /) -> Float[Array, ""]: ...


class CreditFn(Protocol):
    """Credit of each agent, in agent slots, for the joint action taken in one step."""

    def __call__(
        self,
        q_fn: QFn,
        probs: Float[Array, "agents actions"],
        action: Int[Array, " agents"],
        order: Int[Array, " agents"],
        key: PRNGKeyArray,
        /,
    ) -> Float[Array, " agents"]: ...


def one_hot(action: Int[Array, " agents"], probs: Float[Array, "agents actions"]) -> Float[Array, "agents actions"]:
    """Rows of the taken actions, in the shape and dtype of `probs`."""
    return jax.nn.one_hot(action, probs.shape[-1], dtype=probs.dtype)
