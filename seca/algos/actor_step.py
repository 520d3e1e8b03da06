"""One gradient of the recurrent actor, from the hidden states that acting already computed."""

import dataclasses
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from seca.algos.optim import global_sum
from seca.nets.agents import RecurrentAgent, agent_inputs
from seca.nets.recurrent import BlockRows, Sweep, backward, empty_sweep
from seca.order.simple import entropy
from seca.types import Episodes, PyTree

EntropyForm = Literal["batch_mean", "per_sample", "alive_only"]
MASKED = -1e9
"""Logit of an unavailable action: its probability is exactly 0 and nothing becomes infinite."""
BLOCK = 8
"""Time steps handled at once by the backward pass; chosen by measurement, results do not depend on it."""
GROUP = 8
"""Episodes handled at once by the backward pass; likewise."""


class Acting(eqx.Module):
    """What acting recorded of each row, or a re-unroll computed; rows are `batch`, or `batch time1` once collected."""

    hidden: Float[Array, "*rows agents hidden"]
    """Recurrent state before the row (zeros at t = 0)."""
    probs: Float[Array, "*rows agents actions"]
    """Masked policy."""


class ActorGradient(eqx.Module):
    """The actor's loss and gradient over a batch, and what explains them."""

    gradient: PyTree
    loss: Float[Array, ""]
    policy_part: Float[Array, ""]
    entropy: Float[Array, ""]
    """Hbar, in the mean that the chosen form uses (batch mean for `per_sample`)."""


def masked_log_probs(
    logits: Float[Array, "*rows actions"], avail: Bool[Array, "*rows actions"]
) -> Float[Array, "*rows actions"]:
    """log softmax over the available actions; about -1e9 at the others."""
    return jax.nn.log_softmax(jnp.where(avail, logits, MASKED))


def last_actions(actions: Int[Array, "batch time1 agents"], n_actions: int, dtype: jnp.dtype) -> Array:
    """One-hot of the action before each row; zeros at t = 0."""
    taken = jax.nn.one_hot(actions[:, :-1], n_actions, dtype=dtype)
    return jnp.concatenate([jnp.zeros_like(taken[:, :1]), taken], axis=1)


def unroll(agent: RecurrentAgent, episodes: Episodes) -> Acting:
    """Hidden states and policies of an actor over given episodes, from zeros at t = 0."""
    previous = last_actions(episodes.actions, episodes.avail.shape[-1], episodes.obs.dtype)
    inputs = jnp.moveaxis(agent_inputs(episodes.obs, previous), 1, 0)

    def step(hidden: Array, inputs_t: Array) -> tuple[Array, tuple[Array, Array]]:
        following, logits = agent(inputs_t, hidden)
        return following, (hidden, logits)

    shape = (*episodes.obs.shape[:1], episodes.obs.shape[2], agent.cell.weight_hh.shape[1])
    _, (hidden, logits) = jax.lax.scan(step, jnp.zeros(shape, episodes.obs.dtype), inputs)
    hidden, logits = jnp.moveaxis(hidden, 0, 1), jnp.moveaxis(logits, 0, 1)
    return Acting(hidden, jnp.exp(masked_log_probs(logits, episodes.avail)))


def actor_gradient(
    agent: RecurrentAgent,
    episodes: Episodes,
    acting: Acting,
    advantage: Float[Array, "batch time agents"],
    entropy_coef: float,
    entropy_form: EntropyForm,
    axis: str | None,
) -> ActorGradient:
    """Gradient of the sequential policy loss with adaptive entropy.

        L = - sum m log pi_i(u_i | tau_i) A_i / (n sum m)  -  xi Hbar / sg(Hbar)

    Zang et al. 2023, Eq. 13 to 16. Forms of the entropy part: `batch_mean`, Hbar the mean over valid steps and all
    agents; `per_sample`, each agent's own H / sg(H), whose gradient is Eq. 14, without agents that have no choice;
    `alive_only`, Hbar over agents that have a choice.

    Args:
        agent: the actor, as it was when `acting` was computed.
        episodes: whole episodes.
        acting: its hidden states and policies over them.
        advantage: stop-gradient advantages in agent slots.
        entropy_coef: xi.
        entropy_form: see above.
        axis: mapped axis of devices, or None.
    """
    scale = _scale(episodes, acting, entropy_form, axis)
    batch, n_rows, n_agents = episodes.actions.shape
    block = min(BLOCK, n_rows)
    group = max(size for size in range(1, min(GROUP, batch) + 1) if batch % size == 0)
    everything = Rows(
        episodes.obs,
        last_actions(episodes.actions, episodes.avail.shape[-1], episodes.obs.dtype),
        acting.hidden,
        episodes.avail,
        episodes.actions,
        jnp.pad(advantage, ((0, 0), (0, 1), (0, 0))),
        jnp.pad(episodes.valid, ((0, 0), (0, 1)))[..., None],
    )
    # Episodes of like length together: the work of a group follows its longest episode.
    by_length = jnp.argsort(-episodes.length)

    def sweep_group(number: Int[Array, ""], sweep: Sweep) -> Sweep:
        runners = jax.lax.dynamic_slice_in_dim(by_length, number * group, group)

        def part(start: Int[Array, ""]) -> Rows:
            times = start + jnp.arange(block)
            return jax.tree.map(lambda array: array[runners[:, None], times], everything)

        def rows_of(start: Int[Array, ""]) -> BlockRows:
            rows = part(start)
            return BlockRows(agent_inputs(rows.obs, rows.last_action), rows.hidden)

        def logit_loss(start: Int[Array, ""], logits: Array) -> tuple[Array, Array]:
            return _row_losses(part(start), logits, scale, entropy_coef, entropy_form)

        fresh = dataclasses.replace(sweep, from_later=jnp.zeros_like(sweep.from_later))
        return backward(agent, rows_of, logit_loss, fresh, episodes.length[runners].max(), block)

    init = empty_sweep(agent, group, n_agents, jnp.zeros((), acting.probs.dtype))
    sweep = jax.lax.fori_loop(0, batch // group, sweep_group, init)
    gradient, loss, policy_part = global_sum((sweep.gradient, sweep.loss, sweep.reported), axis)
    return ActorGradient(gradient, loss, policy_part, scale.mean_entropy)


class Rows(eqx.Module):
    """What the network reads in a row and what its loss depends on besides the logits."""

    obs: Float[Array, "batch time1 agents obs"]
    last_action: Float[Array, "batch time1 agents actions"]
    hidden: Float[Array, "batch time1 agents hidden"]
    avail: Bool[Array, "batch time1 agents actions"]
    actions: Int[Array, "batch time1 agents"]
    advantage: Float[Array, "batch time1 agents"]
    valid: Bool[Array, "batch time1 1"]


class Scale(eqx.Module):
    """Global denominators of the loss: sums over all episodes of all devices."""

    samples: Float[Array, ""]
    """n sum m."""
    entropy_samples: Float[Array, ""]
    mean_entropy: Float[Array, ""]


def _scale(episodes: Episodes, acting: Acting, form: EntropyForm, axis: str | None) -> Scale:
    valid = episodes.valid[..., None]
    total = jnp.where(valid, entropy(acting.probs[:, :-1]), 0).sum()
    chosen = valid & (episodes.avail[:, :-1].sum(axis=-1) > 1)
    total, steps, choices = global_sum((total, valid.sum(), chosen.sum()), axis)
    samples = steps.astype(total.dtype) * acting.probs.shape[2]
    entropy_samples = choices.astype(total.dtype) if form == "alive_only" else samples
    return Scale(samples, entropy_samples, total / jnp.maximum(entropy_samples, 1))


def _row_losses(
    rows: Rows, logits: Array, scale: Scale, coef: float, form: EntropyForm
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Loss summed over a block's rows, and the policy part of it."""
    log_probs = masked_log_probs(logits, rows.avail)
    taken = jnp.take_along_axis(log_probs, rows.actions[..., None], axis=-1)[..., 0]
    policy_part = -jnp.where(rows.valid, taken * rows.advantage, 0).sum() / scale.samples
    entropies = entropy(jnp.exp(log_probs))
    choice = rows.valid & (rows.avail.sum(axis=-1) > 1)
    if form == "per_sample":
        own = jnp.where(choice, jax.lax.stop_gradient(entropies), 1)
        # A policy that has become certain has H = 0 to rounding: its term is bounded in logits, only 0 / 0 is not.
        bonus = jnp.where(choice & (own > 0), entropies / jnp.where(own > 0, own, 1), 0).sum() / scale.entropy_samples
    else:
        mean = jnp.where(scale.mean_entropy > 0, scale.mean_entropy, 1)
        counted = choice if form == "alive_only" else rows.valid
        bonus = jnp.where(counted, entropies, 0).sum() / jnp.maximum(scale.entropy_samples, 1) / mean
    return policy_part - coef * bonus, policy_part
