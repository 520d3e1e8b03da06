"""Advantages without an order: against everybody's action (Eq. 3) and against nobody's (Eq. 4)."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from seca.credit.base import Credit, Mixed, QFn, taken_rows
from seca.types import Actions


def counterfactual(
    q_fn: QFn,
    probs: Float[Array, "agents actions"],
    action: Actions,
    order: Int[Array, " agents"],
    key: PRNGKeyArray,
) -> Float[Array, " agents"]:
    """COMA's advantage with the critic averaging over agent i's own action.

        A_i = Q(u) - Q(u_{-i}, pi_i)

    Equals the sequential advantage of whoever is judged last. Zang et al. 2023, Eq. 3 (Foerster et al. 2018, Eq. 4).
    """
    del key, order  # Deterministic, and the same for all orders.
    taken = taken_rows(action, probs)
    own = jnp.eye(probs.shape[0], dtype=bool)[..., None]
    return q_fn(taken) - jax.vmap(q_fn)(jnp.where(own, probs[None], taken[None]))


def counterfactual_fast(
    step: Mixed, order: Int[Array, "*rows agents"] | None = None, keys: Key[Array, "*rows"] | None = None
) -> Float[Array, "*rows agents"]:
    """`counterfactual` of many steps, from the hidden layer."""
    del order, keys
    taken = step.policy + step.delta.sum(axis=-2)
    return step.value(taken)[..., None] - step.each(taken[..., None, :] - step.delta)


COUNTERFACTUAL = Credit("counterfactual", counterfactual, counterfactual_fast, "counterfactual", reads_order=False)


def independent(
    q_fn: QFn,
    probs: Float[Array, "agents actions"],
    action: Actions,
    order: Int[Array, " agents"],
    key: PRNGKeyArray,
) -> Float[Array, " agents"]:
    """Advantage against the policies of all others.

        A_i = Q(u_i, pi_{-i}) - Q(pi)

    Equals the sequential advantage of whoever is judged first. Zang et al. 2023, Eq. 4.
    """
    del key, order  # Deterministic, and the same for all orders.
    own = jnp.eye(probs.shape[0], dtype=bool)[..., None]
    return jax.vmap(q_fn)(jnp.where(own, taken_rows(action, probs)[None], probs[None])) - q_fn(probs)


def independent_fast(
    step: Mixed, order: Int[Array, "*rows agents"] | None = None, keys: Key[Array, "*rows"] | None = None
) -> Float[Array, "*rows agents"]:
    """`independent` of many steps, from the hidden layer."""
    del order, keys
    return step.each(step.policy[..., None, :] + step.delta) - step.value(step.policy)[..., None]


INDEPENDENT = Credit("independent", independent, independent_fast, "independent", reads_order=False)
