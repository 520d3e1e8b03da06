"""Shapley values of the agents' actions: the sequential advantage, averaged over orders."""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from seca.credit.base import Credit, Mixed, QFn
from seca.credit.sequential import swept, swept_fast
from seca.types import Actions


def enumerates(n_agents: int, orders: int) -> bool:
    """Whether `orders` are enough for every order of the team."""
    return math.factorial(n_agents) <= orders


def check_pairs(n_agents: int, orders: int) -> None:
    """Raise ValueError unless `orders` covers all orders of a team or is even."""
    if orders % 2 and not enumerates(n_agents, orders):
        raise ValueError(
            f"`credit_orders` is {orders}; orders come with their reverses: choose an even number, or at least the "
            f"{math.factorial(n_agents)} orders of {n_agents} agents"
        )


def drawn_orders(key: PRNGKeyArray, n_agents: int, orders: int) -> Int[Array, "orders agents"]:
    """All orders of a team that has no more than `orders`; else half as many random ones, each with its reverse."""
    if enumerates(n_agents, orders):
        return jnp.asarray(list(itertools.permutations(range(n_agents))))
    half = jnp.argsort(jax.random.uniform(key, (orders // 2, n_agents), jnp.float32), axis=-1)
    return jnp.concatenate([half, half[:, ::-1]])


def shapley(
    q_fn: QFn,
    probs: Float[Array, "agents actions"],
    action: Actions,
    order: Int[Array, " agents"],
    key: PRNGKeyArray,
    orders: int = 8,
) -> Float[Array, " agents"]:
    """Mean of the sequential advantage over orders: unbiased for the Shapley value, and equal to it over all orders.

        phi_i = sum_C |C|! (n - |C| - 1)! / n! [v(C + i) - v(C)],    v(C) = Q(u_C, pi_-C)

    Shapley 1953. Whatever the orders, sum_i phi_i = Q(u) - Q(pi), as each order's advantages add up to that. An order
    and its reverse are drawn together: what is judged early in one is judged late in the other.

    Args:
        q_fn: joint value at the step's state.
        probs: policies pi_i(. | tau_i).
        action: joint action u.
        order: ignored.
        key: consumed for the orders.
        orders: how many to average over; even, unless it covers all of them.
    """
    del order  # The mean is over many.
    each = jax.vmap(lambda o: swept(q_fn, probs, action, o, key))(drawn_orders(key, probs.shape[0], orders))
    return each.mean(axis=0)


def shapley_fast(
    step: Mixed, order: Int[Array, "rows agents"], keys: Key[Array, " rows"], orders: int = 8
) -> Float[Array, "rows agents"]:
    """`shapley` of many steps, from the hidden layer."""
    drawn = jax.vmap(functools.partial(drawn_orders, n_agents=order.shape[-1], orders=orders))(keys)
    return jax.vmap(functools.partial(swept_fast, step), in_axes=1)(drawn).mean(axis=0)


def averaged(orders: int = 8) -> Credit:
    """`shapley` over so many orders per step, which are evaluated side by side."""
    return Credit(
        "shapley",
        functools.partial(shapley, orders=orders),
        functools.partial(shapley_fast, orders=orders),
        "shapley",
        reads_order=False,
        floats=lambda n_agents, n_actions, embed: 3 * min(orders, math.factorial(n_agents)) * embed,
        check=lambda n_agents, n_actions: check_pairs(n_agents, orders),
    )
