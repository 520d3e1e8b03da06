"""Critics of single agents that are told what the others do: their actions, or policies in the place of these.

Zang et al. 2023, section 4.1, on the critics of Foerster et al. 2018 as Wang et al. 2020 build them.
"""

import dataclasses
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
    return jnp.concatenate([_seen(obs), _beside(others)], axis=-1)


def n_critic_inputs(n_agents: int, obs_size: int, n_actions: int) -> int:
    """Length of a row of `critic_inputs`."""
    return (n_agents + 1) * obs_size + (n_agents - 1) * n_actions


def _seen(obs: Float[Array, "*rows agents obs"]) -> Float[Array, "*rows agents seen"]:
    n = obs.shape[-2]
    everything = jnp.broadcast_to(
        obs.reshape(*obs.shape[:-2], 1, -1), (*obs.shape[:-2], n, obs.shape[-2] * obs.shape[-1])
    )
    return jnp.concatenate([everything, obs], axis=-1)


def _beside(others: Float[Array, "*rows agents agents actions"]) -> Float[Array, "*rows agents told"]:
    n = others.shape[-2]
    beside = np.array([[j for j in range(n) if j != i] for i in range(n)], np.int32).reshape(n, n - 1)
    told = others[..., np.arange(n)[:, None], beside, :]
    return told.reshape(*others.shape[:-2], (n - 1) * others.shape[-1])


def _for_all(actions: Float[Array, "*rows agents actions"]) -> Float[Array, "*rows agents agents actions"]:
    """What everybody is told of the actions, where all are told the same."""
    n = actions.shape[-2]
    return jnp.broadcast_to(actions[..., None, :, :], (*actions.shape[:-2], n, n, actions.shape[-1]))


def told_all(
    obs: Float[Array, "*rows agents obs"], actions: Float[Array, "*rows agents actions"]
) -> Float[Array, "*rows agents inputs"]:
    """`critic_inputs` where all are told the same: one-hots of actions, or policies."""
    return critic_inputs(obs, _for_all(actions))


def values_of_draws(
    critics: AgentMLP, obs: Float[Array, "rows agents obs"], actions: Int[Array, "draws rows agents"]
) -> Float[Array, "draws rows agents actions"]:
    """Q_i(. | the others' actions) of each agent, for many joint actions of each step.

    The first layer's share of the observations is the same for all of them, and that of the actions one product of the
    joint action with all agents' weights.
    """
    draws, rows, n = actions.shape
    first, seen = critics.layers[0], jnp.moveaxis(_seen(obs), -2, 0)
    split = seen.shape[-1]
    of_seen = dataclasses.replace(first, weight=first.weight[..., :split])(seen)
    taken = jax.nn.one_hot(actions, critics.n_outputs, dtype=obs.dtype).reshape(draws, rows, -1)
    of_told = jnp.einsum("drj,nhj->ndrh", taken, _of_everybody(first.weight[..., split:], critics.n_outputs))
    hidden = (of_seen[:, None] + of_told).reshape(n, draws * rows, -1)
    return jnp.moveaxis(critics.after_first(hidden).reshape(n, draws, rows, -1), 0, -2)


def _of_everybody(weight: Float[Array, "agents hidden told"], n_actions: int) -> Float[Array, "agents hidden joint"]:
    """Weights of the others' actions, with zeros where the own one stands in the joint action."""
    n, hidden, _ = weight.shape
    if n == 1:
        return jnp.zeros((1, hidden, n_actions), weight.dtype)
    others = weight.reshape(n, hidden, n - 1, n_actions)
    column = np.array([[j - (j > i) for j in range(n)] for i in range(n)], np.int32).clip(0, n - 2)
    placed = jnp.take_along_axis(others, jnp.asarray(column)[:, None, :, None], axis=2)
    return jnp.where(np.eye(n, dtype=bool)[:, None, :, None], 0, placed).reshape(n, hidden, -1)


def team_value(
    critics: AgentMLP, obs: Float[Array, "*rows agents obs"], policies: Float[Array, "*rows agents actions"]
) -> Float[Array, "*rows"]:
    """f(s, v) of all policies v: the mean over agents of sum_a v_i(a) Q_i(a | v of the others)."""
    q = critics(told_all(obs, policies))
    return (policies * q).sum(axis=-1).mean(axis=-1)


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
