"""Advantages without an order: against everybody's action (Eq. 3) and against nobody's (Eq. 4)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from seca.credit.base import QFn, one_hot


def counterfactual(
    q_fn: QFn,
    probs: Float[Array, "agents actions"],
    action: Int[Array, " agents"],
    order: Int[Array, " agents"],
    key: PRNGKeyArray,
) -> Float[Array, " agents"]:
    """COMA's advantage with the critic averaging over agent i's own action.

        A_i = Q(u) - Q(u_{-i}, pi_i)

    Equals the sequential advantage of whoever is judged last. Zang et al. 2023, Eq. 3 (Foerster et al. 2018, Eq. 4).
    """
    del key, order  # Deterministic, and the same for all orders.
    taken = one_hot(action, probs)
    own = jnp.eye(probs.shape[0], dtype=bool)[..., None]
    return q_fn(taken) - jax.vmap(q_fn)(jnp.where(own, probs[None], taken[None]))


def independent(
    q_fn: QFn,
    probs: Float[Array, "agents actions"],
    action: Int[Array, " agents"],
    order: Int[Array, " agents"],
    key: PRNGKeyArray,
) -> Float[Array, " agents"]:
    """Advantage against the policies of all others.

        A_i = Q(u_i, pi_{-i}) - Q(pi)

    Equals the sequential advantage of whoever is judged first. Zang et al. 2023, Eq. 4.
    """
    del key, order  # Deterministic, and the same for all orders.
    own = jnp.eye(probs.shape[0], dtype=bool)[..., None]
    return jax.vmap(q_fn)(jnp.where(own, one_hot(action, probs)[None], probs[None])) - q_fn(probs)
