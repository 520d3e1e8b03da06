"""Critics of single agents that are told what the others do: their actions, or policies in the place of these.

Zang et al. 2023, section 4.1, on the critics of Foerster et al. 2018 as Wang et al. 2020 build them.
"""

import itertools
from typing import Literal

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int

from seca.credit.base import Kind
from seca.nets.stacked import AgentMLP
from seca.policies import of_taken

Advantage = Literal["counterfactual", "sequential", "exact", "independent"]
KIND: dict[Advantage, Kind] = {
    "counterfactual": "counterfactual",
    "sequential": "sequential",
    "exact": "sequential",
    "independent": "independent",
}
"""What each is an estimate of."""
MOST_JOINT = 10_000
"""Joint actions of all others, at most, over which an exact advantage takes its mean."""


def critic_inputs(
    obs: Float[Array, "*rows agents obs"], others: Float[Array, "*rows agents agents actions"]
) -> Float[Array, "*rows agents inputs"]:
    """All observations, the own one once more, and what `others[.., i, j]` says of the actions of j beside i."""
    n = obs.shape[-2]
    everything = jnp.broadcast_to(
        obs.reshape(*obs.shape[:-2], 1, -1), (*obs.shape[:-2], n, obs.shape[-2] * obs.shape[-1])
    )
    beside = np.array([[j for j in range(n) if j != i] for i in range(n)], np.int32).reshape(n, n - 1)
    told = others[..., np.arange(n)[:, None], beside, :]
    return jnp.concatenate([everything, obs, told.reshape(*obs.shape[:-1], -1)], axis=-1)


def _for_all(actions: Float[Array, "*rows agents actions"]) -> Float[Array, "*rows agents agents actions"]:
    """What everybody is told of the actions, where all are told the same."""
    n = actions.shape[-2]
    return jnp.broadcast_to(actions[..., None, :, :], (*actions.shape[:-2], n, n, actions.shape[-1]))


def values_of(critics: AgentMLP, obs: Array, actions: Int[Array, "rows agents"]) -> Float[Array, "rows agents actions"]:
    """Q_i(. | the others' actions) of each agent."""
    n_actions = critics.layers[-1].bias.shape[-1]
    taken = jax.nn.one_hot(actions, n_actions, dtype=obs.dtype)
    return critics(critic_inputs(obs, _for_all(taken)))


def advantages(
    critics: AgentMLP,
    obs: Float[Array, "rows agents obs"],
    probs: Float[Array, "rows agents actions"],
    actions: Int[Array, "rows agents"],
    order: Int[Array, " agents"],
    kind: Advantage,
) -> Float[Array, "rows agents"]:
    """q_i(u_i) - sum_a pi_i(a) q_i(a), which is 0 in the mean over the own policy whatever q_i is.

    q_i is the critic told, of each other agent, its action (Eq. 3), or its policy where it comes later in the order
    (Eq. 5), or wherever it comes (Eq. 4). The critic has seen actions alone: told policies it is no mean over these.
    `exact` takes that mean, over all joint actions of those who come later.
    """
    n, n_actions = probs.shape[-2:]
    taken = jax.nn.one_hot(actions, n_actions, dtype=probs.dtype)
    place = jnp.argsort(order)
    known = {
        "counterfactual": jnp.ones((n, n), bool),
        "independent": jnp.zeros((n, n), bool),
    }.get(kind, place[None, :] < place[:, None])
    if kind == "exact" and n > 1:
        q = _expected(critics, obs, probs, taken, known)
    else:
        told = jnp.where(known[..., None], taken[..., None, :, :], probs[..., None, :, :])
        q = critics(critic_inputs(obs, told))
    return of_taken(q, actions) - (probs * q).sum(axis=-1)


def _expected(
    critics: AgentMLP,
    obs: Float[Array, "rows agents obs"],
    probs: Float[Array, "rows agents actions"],
    taken: Float[Array, "rows agents actions"],
    known: Bool[Array, "agents agents"],
) -> Float[Array, "rows agents actions"]:
    """E[Q_i(. | u)] over the actions of those whom agent i does not know, `known[i, j]` saying whom it does."""
    n, n_actions = probs.shape[-2:]
    joint = jnp.asarray(list(itertools.product(range(n_actions), repeat=n - 1)), jnp.int32)
    # Where among the others of agent i each agent comes; the agent itself is told nothing of itself.
    column = np.array([[j - (j > i) for j in range(n)] for i in range(n)], np.int32).clip(0, n - 2)
    fixed = known | jnp.eye(n, dtype=bool)  # Of these nothing is drawn: only their first action stands for all.

    def add(total: Array, others: Int[Array, " others"]) -> tuple[Array, None]:
        drawn = others[column]
        choice = jax.nn.one_hot(drawn, n_actions, dtype=probs.dtype)
        drawing = (probs[..., None, :, :] * choice).sum(axis=-1)
        # The agent's own column is another's too, whose first action counts once for it.
        first = jnp.where(jnp.eye(n, dtype=bool), True, drawn == 0).astype(probs.dtype)
        chance = jnp.where(fixed, first, drawing)
        told = jnp.where(known[..., None], taken[..., None, :, :], choice)
        return total + chance.prod(axis=-1)[..., None] * critics(critic_inputs(obs, told)), None

    return jax.lax.scan(add, jnp.zeros_like(probs), joint)[0]
