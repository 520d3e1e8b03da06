"""One gradient of the recurrent actor, from the hidden states that acting already computed."""

import dataclasses
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from seca.algos.optim import global_sum
from seca.nets.agents import AnyAgent, RecurrentAgent, agent_inputs
from seca.nets.recurrent import BlockRows, Sweep, backward, empty_sweep
from seca.order.simple import entropy
from seca.types import Episodes, PyTree

EntropyForm = Literal["batch_mean", "per_sample", "alive_only", "plain"]
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
    value: Float[Array, "*rows agents"] | None = None
    """V_i, of an agent whose head has one output more than there are actions."""


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


PolicyFn = Callable[[Float[Array, "*rows actions"], Bool[Array, "*rows actions"]], Float[Array, "*rows actions"]]
"""`policy(logits, avail) -> log-probabilities`: `masked_log_probs`, or one with a floor under it."""


def observed(hidden: Array, outputs: Array, avail: Array, policy: PolicyFn = masked_log_probs) -> tuple[Acting, Array]:
    """What one pass of the agent amounts to, and its log-probabilities."""
    n_actions = avail.shape[-1]
    log_probs = policy(outputs[..., :n_actions], avail)
    value = outputs[..., n_actions] if outputs.shape[-1] > n_actions else None
    return Acting(hidden, jnp.exp(log_probs), value), log_probs


def last_actions(actions: Int[Array, "batch time1 agents"], n_actions: int, dtype: jnp.dtype) -> Array:
    """One-hot of the action before each row; zeros at t = 0."""
    taken = jax.nn.one_hot(actions[:, :-1], n_actions, dtype=dtype)
    return jnp.concatenate([jnp.zeros_like(taken[:, :1]), taken], axis=1)


def unroll(agent: AnyAgent, episodes: Episodes, policy: PolicyFn = masked_log_probs) -> Acting:
    """Hidden states and policies of an actor over given episodes, from zeros at t = 0."""
    previous = last_actions(episodes.actions, episodes.avail.shape[-1], episodes.obs.dtype)
    inputs = jnp.moveaxis(agent_inputs(episodes.obs, previous), 1, 0)

    def step(hidden: Array, inputs_t: Array) -> tuple[Array, tuple[Array, Array]]:
        following, outputs = agent(inputs_t, hidden)
        return following, (hidden, outputs)

    shape = (*episodes.obs.shape[:1], episodes.obs.shape[2], agent.cell.weight_hh.shape[1])
    _, (hidden, outputs) = jax.lax.scan(step, jnp.zeros(shape, episodes.obs.dtype), inputs)
    hidden, outputs = jnp.moveaxis(hidden, 0, 1), jnp.moveaxis(outputs, 0, 1)
    return observed(hidden, outputs, episodes.avail, policy)[0]


class Rows(eqx.Module):
    """What the network reads in a row and what its loss depends on besides the outputs."""

    obs: Float[Array, "batch time1 agents obs"]
    last_action: Float[Array, "batch time1 agents actions"]
    hidden: Float[Array, "batch time1 agents hidden"]
    avail: Bool[Array, "batch time1 agents actions"]
    actions: Int[Array, "batch time1 agents"]
    signal: PyTree
    """What the critic has to say, arrays `[batch, time1, agents, ...]`: advantages, or slopes in the policy."""
    valid: Bool[Array, "batch time1 1"]


RowLoss = Callable[[Array, Array, Rows], Float[Array, "batch block agents"]]
"""`loss(outputs, log_probs, rows)`: loss of each agent in each row, from the network's outputs."""


def score_function(outputs: Array, log_probs: Array, rows: Rows) -> Float[Array, "batch block agents"]:
    """-log pi_i(u_i | tau_i) A_i: the policy gradient; `rows.signal` holds A. Zang et al. 2023, Eq. 13."""
    del outputs  # The policy is all there is to it.
    return -jnp.take_along_axis(log_probs, rows.actions[..., None], axis=-1)[..., 0] * rows.signal


class Judgement(eqx.Module):
    """What `clipped_score` is told of each row."""

    advantage: Float[Array, "batch time1 agents"]
    old_log_prob: Float[Array, "batch time1 agents"]
    """log pi_i(u_i | tau_i) of the policy that acted."""


def clipped_score(outputs: Array, log_probs: Array, rows: Rows, clip: float) -> Float[Array, "batch block agents"]:
    """-min(r A_i, clip(r, 1 - c, 1 + c) A_i),  r = pi_i(u_i | tau_i) / pi_i,old(u_i | tau_i); signal: a `Judgement`.

    Schulman et al. 2017 (PPO), Eq. 7. At the policy that acted its gradient is that of `score_function`.
    """
    del outputs  # The policy is all there is to it.
    log_prob = jnp.take_along_axis(log_probs, rows.actions[..., None], axis=-1)[..., 0]
    ratio, advantage = jnp.exp(log_prob - rows.signal.old_log_prob), rows.signal.advantage
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)


def direct(outputs: Array, log_probs: Array, rows: Rows) -> Float[Array, "batch block agents"]:
    """-sum_a pi_i(a) g_i(a): follows a critic's slope g = df/dpi, held constant in `rows.signal`.

    With the slope taken at the present policy, the gradient in the actor's parameters is exactly that of -f(s, pi).
    """
    del outputs  # The policy is all there is to it.
    return -(jnp.exp(log_probs) * rows.signal).sum(axis=-1)


def actor_gradient(
    agent: RecurrentAgent,
    episodes: Episodes,
    acting: Acting,
    signal: PyTree,
    entropy_coef: float,
    entropy_form: EntropyForm,
    axis: str | None,
    row_loss: RowLoss = score_function,
    policy: PolicyFn = masked_log_probs,
) -> ActorGradient:
    """Gradient of a policy loss with an entropy bonus; by default the sequential policy loss.

        L = sum m l_i / (n sum m)  -  xi Hbar / sg(Hbar),     l_i = -log pi_i(u_i | tau_i) A_i

    Zang et al. 2023, Eq. 13 to 16. Forms of the entropy part: `batch_mean`, Hbar the mean over valid steps and all
    agents; `per_sample`, each agent's own H / sg(H), whose gradient is Eq. 14, without agents that have no choice;
    `alive_only`, Hbar over agents that have a choice; `plain`, xi Hbar of the batch mean without the denominator.

    Args:
        agent: the actor, as it was when `acting` was computed.
        episodes: whole episodes.
        acting: its hidden states and policies over them.
        signal: what `row_loss` needs of the critic, `[batch, time, agents, ...]`; constants.
        entropy_coef: xi.
        entropy_form: see above.
        axis: mapped axis of devices, or None.
        row_loss: l_i from outputs and log-probabilities.
        policy: how logits became policies in `acting`.
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
        jax.tree.map(lambda x: jnp.pad(x, ((0, 0), (0, 1)) + ((0, 0),) * (x.ndim - 2)), signal),
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

        def outputs_loss(start: Int[Array, ""], outputs: Array) -> tuple[Array, Array]:
            return _block_loss(part(start), outputs, scale, entropy_coef, entropy_form, row_loss, policy)

        fresh = dataclasses.replace(sweep, from_later=jnp.zeros_like(sweep.from_later))
        return backward(agent, rows_of, outputs_loss, fresh, episodes.length[runners].max(), block)

    init = empty_sweep(agent, group, n_agents, jnp.zeros((), acting.probs.dtype))
    sweep = jax.lax.fori_loop(0, batch // group, sweep_group, init)
    gradient, loss, policy_part = global_sum((sweep.gradient, sweep.loss, sweep.reported), axis)
    return ActorGradient(gradient, loss, policy_part, scale.mean_entropy)


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


def _block_loss(
    rows: Rows, outputs: Array, scale: Scale, coef: float, form: EntropyForm, row_loss: RowLoss, policy: PolicyFn
) -> tuple[Float[Array, ""], Float[Array, ""]]:
    """Loss summed over a block's rows, and the policy part of it."""
    log_probs = policy(outputs[..., : rows.avail.shape[-1]], rows.avail)
    policy_part = jnp.where(rows.valid, row_loss(outputs, log_probs, rows), 0).sum() / scale.samples
    entropies = entropy(jnp.exp(log_probs))
    choice = rows.valid & (rows.avail.sum(axis=-1) > 1)
    if form == "per_sample":
        own = jnp.where(choice, jax.lax.stop_gradient(entropies), 1)
        # A policy that has become certain has H = 0 to rounding: its term is bounded in logits, only 0 / 0 is not.
        bonus = jnp.where(choice & (own > 0), entropies / jnp.where(own > 0, own, 1), 0).sum() / scale.entropy_samples
    else:
        adaptive = form != "plain"
        mean = jnp.where(adaptive & (scale.mean_entropy > 0), scale.mean_entropy, 1)
        counted = choice if form == "alive_only" else rows.valid
        bonus = jnp.where(counted, entropies, 0).sum() / jnp.maximum(scale.entropy_samples, 1) / mean
    return policy_part - coef * bonus, policy_part
