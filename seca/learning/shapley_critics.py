"""Critics that say what an agent adds to those who were there before it: marginal contributions, and their mean.

Wang et al. 2020 (SQDDPG), section 4: each agent's network gives its marginal contribution itself, not as a difference
of two values, and the mean over orders drawn at random is its share of the joint value.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray

from seca.nets.stacked import AgentMLP


def drawn_orders(key: PRNGKeyArray, orders: int, rows: int, n_agents: int) -> Int[Array, "orders rows agents"]:
    """Agent at each position, each order as likely as another."""
    luck = jax.random.uniform(key, (orders, rows, n_agents))
    return jnp.argsort(luck, axis=-1).astype(jnp.int32)


def critic_inputs(
    obs: Float[Array, "rows agents obs"],
    told: Float[Array, "rows agents agents actions"],
    order: Int[Array, "rows agents"],
) -> Float[Array, "rows agents inputs"]:
    """All observations, then the actions of those who came before and the own one, in order; zeros for all others.

    `told[.., i, j]` is what agent i's critic is told of the action of j. A slot is a place in the order, not an agent,
    as in the public code after its authors' correction (before it, places were taken for agents).
    """
    rows, n, _ = obs.shape
    everything = jnp.broadcast_to(obs.reshape(rows, 1, -1), (rows, n, n * obs.shape[-1]))
    in_order = jnp.take_along_axis(told, order[:, None, :, None], axis=2)
    place = jnp.argsort(order, axis=-1)
    there = jnp.arange(n) <= place[..., None]
    slots = jnp.where(there[..., None], in_order, 0)
    return jnp.concatenate([everything, slots.reshape(rows, n, -1)], axis=-1)


def shares(
    critics: AgentMLP,
    obs: Float[Array, "rows agents obs"],
    told: Float[Array, "rows agents agents actions"],
    orders: Int[Array, "orders rows agents"],
) -> Float[Array, "rows agents"]:
    """Mean marginal contribution of each agent over the orders; their sum is the joint value."""
    one = lambda order: critics(critic_inputs(obs, told, order))[..., 0]  # noqa: E731
    return jax.vmap(one)(orders).mean(axis=0)


def told_alike(actions: Float[Array, "rows agents actions"]) -> Float[Array, "rows agents agents actions"]:
    """Everybody's critic is told the same of all actions."""
    rows, n, width = actions.shape
    return jnp.broadcast_to(actions[:, None], (rows, n, n, width))


def told_of_own(actions: Float[Array, "rows agents actions"]) -> Float[Array, "rows agents agents actions"]:
    """The same, but each critic's gradient reaches the own action alone."""
    n = actions.shape[1]
    own = jnp.eye(n, dtype=bool)[None, :, :, None]
    return jnp.where(own, told_alike(actions), jax.lax.stop_gradient(told_alike(actions)))
