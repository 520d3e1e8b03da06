"""Several networks of one form: agents of a kind share one, as do all of them by default.

Parameters are stacked, one network after another, and spread over the agents where they are used: `own` gives arrays
with the agents first, of which the layers of `nets.linear` and `nets.agents` take each agent's own.
"""

import dataclasses
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, PRNGKeyArray

from seca.nets.agents import AnyAgent
from seca.types import PyTree


class Several(eqx.Module):
    """Networks, and which of them is whose."""

    each: AnyAgent
    """Arrays `[networks, ...]`."""
    whose: tuple[int, ...] = eqx.field(static=True)
    """Of each agent the number of its network."""

    def __call__(
        self, inputs: Float[Array, "*rows agents inputs"], h: Float[Array, "*rows agents hidden"]
    ) -> tuple[Float[Array, "*rows agents hidden"], Float[Array, "*rows agents outputs"]]:
        """Next recurrent states and outputs, of each agent by its own network."""
        return own(self)(inputs, h)


SharedOrOwn = AnyAgent | Several


def several(init: Callable[[PRNGKeyArray], AnyAgent], key: PRNGKeyArray, networks: tuple[int, ...]) -> SharedOrOwn:
    """Fresh networks, each from a key of its own; of no `networks`, one for all from the key itself."""
    if not networks:
        return init(key)
    return Several(jax.vmap(init)(jax.random.split(key, max(networks) + 1)), networks)


def own(agent: SharedOrOwn) -> AnyAgent:
    """The one network of all, or each agent's own: arrays `[agents, ...]`."""
    return jax.tree.map(lambda x: x[np.array(agent.whose)], agent.each) if isinstance(agent, Several) else agent


def by_network(agent: SharedOrOwn, gradient: PyTree) -> PyTree:
    """A gradient in `own(agent)` as one in the agent: networks add up what their agents ask of them."""
    if not isinstance(agent, Several):
        return gradient

    def total(like: Array, of_agents: Array) -> Array:
        return jnp.zeros_like(like).at[np.array(agent.whose)].add(of_agents)

    return dataclasses.replace(agent, each=jax.tree.map(total, agent.each, gradient))


def one_by_one(change: Callable[[PyTree], PyTree], agent: PyTree) -> PyTree:
    """`change` of the one network, or of each."""
    return (
        dataclasses.replace(agent, each=jax.vmap(change)(agent.each)) if isinstance(agent, Several) else change(agent)
    )
