"""One gradient of the recurrent actor: what a critic has to say of each row, a policy loss, an entropy bonus."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Literal

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from seca.distributions import Distribution, PolicyFn, entropy_of, has_choice, is_continuous, policy_for
from seca.learning.acting import Acting
from seca.learning.counted import agent_steps
from seca.learning.devices import global_sum
from seca.learning.rows import to_rows
from seca.learning.through_time import through_time
from seca.nets.several import SharedOrOwn
from seca.types import Actions, Episodes, PyTree

EntropyForm = Literal["batch_mean", "per_sample", "alive_only"]
FOLLOWED_BY_ALL = "no credit: the team's advantage, the same for all"
FOLLOWED_BY_EACH = "each agent's own advantage of the team's reward, which says nothing of single actions' shares"
"""What is said of advantages that are no credit."""


class Rows(eqx.Module):
    """What the loss of a row depends on besides the network's outputs."""

    avail: Bool[Array, "batch time1 agents actions"]
    actions: Actions
    signal: PyTree
    """What the critic has to say, arrays `[batch, time1, agents, ...]`: advantages, or slopes in the policy."""
    counted: Bool[Array, "batch time1 agents"] | None = None
    """`Episodes.counted`."""


RowLoss = Callable[[Array, Distribution, Rows], Float[Array, "batch block agents"]]
"""`loss(outputs, policy, rows)`: loss of each agent in each row, from the network's outputs and the policy in them."""


def score_function(outputs: Array, policy: Distribution, rows: Rows) -> Float[Array, "batch block agents"]:
    """-log pi_i(u_i | tau_i) A_i: the policy gradient; `rows.signal` holds A. Zang et al. 2023, Eq. 13."""
    del outputs  # The policy is all there is to it.
    return -policy.log_prob(rows.actions) * rows.signal


class Judgement(eqx.Module):
    """What `clipped_score` is told of each row."""

    advantage: Float[Array, "batch time1 agents"]
    old_log_prob: Float[Array, "batch time1 agents"]
    """log pi_i(u_i | tau_i) of the policy that acted."""


def clipped_score(outputs: Array, policy: Distribution, rows: Rows, clip: float) -> Float[Array, "batch block agents"]:
    """-min(r A_i, clip(r, 1 - c, 1 + c) A_i),  r = pi_i(u_i | tau_i) / pi_i,old(u_i | tau_i); signal: a `Judgement`.

    Schulman et al. 2017 (PPO), Eq. 7. At the policy that acted its gradient is that of `score_function`.
    """
    del outputs  # The policy is all there is to it.
    ratio = jnp.exp(policy.log_prob(rows.actions) - rows.signal.old_log_prob)
    advantage = rows.signal.advantage
    return -jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - clip, 1 + clip) * advantage)


def direct(outputs: Array, policy: Distribution, rows: Rows) -> Float[Array, "batch block agents"]:
    """-sum_a pi_i(a) g_i(a): follows a critic's slope g = df/dpi, held constant in `rows.signal`.

    Of a Gaussian policy pi_i are its mean and variance.

    With the slope taken at the present policy, the gradient in the actor's parameters is exactly that of -f(s, pi).
    """
    del outputs  # The policy is all there is to it.
    return -(policy.encoding * rows.signal).sum(axis=-1)


@dataclasses.dataclass(frozen=True)
class PolicyLoss:
    """A policy loss with an entropy bonus.

        L = sum m l_i / (n sum m)  -  xi Hbar / sg(Hbar),     l_i = -log pi_i(u_i | tau_i) A_i by default

    Zang et al. 2023, Eq. 13 to 16.
    """

    of_row: RowLoss = score_function
    """l_i from outputs and policy."""
    entropy_coef: float = 0.0
    """xi."""
    entropy: EntropyForm | Literal["plain"] = "plain"
    """`batch_mean`: Hbar the mean over valid steps and all agents; `per_sample`: each agent's own H / sg(H), whose
    gradient is Eq. 14, without agents that have no choice; `alive_only`: Hbar over agents that have a choice; `plain`:
    xi Hbar of the batch mean without the denominator. So it is for continuous actions whatever is said here: the
    entropy of a density may be 0 or less, and a bonus relative to it would jump and change sign."""
    team_too: bool = False
    """Whether `of_row` holds a share of the team's loss as well: it is then kept of agents whose steps do not count,
    whose own part of it the caller has made 0."""
    policy: PolicyFn | None = None
    """How outputs became policies when acting; None is the form that such actions have by themselves."""


class ActorGradient(eqx.Module):
    """The actor's loss and gradient over a batch, and what explains them."""

    gradient: PyTree
    loss: Float[Array, ""]
    policy_part: Float[Array, ""]
    entropy: Float[Array, ""]
    """Hbar, in the mean that the chosen form uses (batch mean for `per_sample`)."""


def actor_gradient(
    agent: SharedOrOwn, loss: PolicyLoss, episodes: Episodes, acting: Acting, signal: PyTree, axis: str | None
) -> ActorGradient:
    """Gradient of a policy loss in the actor's parameters.

    Args:
        agent: the actor.
        loss: what is differentiated.
        episodes: whole episodes.
        acting: hidden states and policies over them (see `learning.through_time` where an earlier policy's).
        signal: what the loss needs of the critic, `[batch, time, agents, ...]`; constants.
        axis: mapped axis of devices, or None.
    """
    scale = _scale(episodes, acting, loss.entropy, axis)
    rows = Rows(episodes.avail, episodes.actions, to_rows(signal), to_rows(episodes.counted))
    swept = through_time(agent, episodes, acting.hidden, rows, functools.partial(_row_loss, loss, scale))
    gradient, total, part = global_sum((swept.gradient, swept.loss, swept.part), axis)
    return ActorGradient(gradient, total, part, scale.mean_entropy)


class _Scale(eqx.Module):
    """Global denominators of the loss: sums over all episodes of all devices."""

    samples: Float[Array, ""]
    """n sum m, or steps of agents that count."""
    entropy_samples: Float[Array, ""]
    mean_entropy: Float[Array, ""]


def _scale(episodes: Episodes, acting: Acting, form: str, axis: str | None) -> _Scale:
    valid = agent_steps(episodes)
    taken = episodes.actions[:, :-1]
    chosen = valid & has_choice(episodes.avail[:, :-1], taken)
    # Who has no choice has an entropy of 0, but for the densities that stand for the dead.
    counted = chosen if is_continuous(taken) else valid
    total = jnp.where(counted, entropy_of(acting.probs[:, :-1], taken), 0).sum()
    total, steps, choices = global_sum((total, valid.sum(), chosen.sum()), axis)
    # Of all agents or of those whose steps count, which may be nobody.
    samples = steps.astype(total.dtype) * (acting.probs.shape[2] // valid.shape[2])
    if episodes.counted is not None:
        samples = jnp.maximum(samples, 1)
    entropy_samples = choices.astype(total.dtype) if form == "alive_only" else samples
    return _Scale(samples, entropy_samples, total / jnp.maximum(entropy_samples, 1))


def _row_loss(loss: PolicyLoss, scale: _Scale, outputs: Array, rows: Rows) -> tuple[Array, Array]:
    """What each agent's row adds to the loss, and to the policy part of it."""
    policy = (loss.policy or policy_for(rows.actions))(outputs, rows.avail)
    policy_part = loss.of_row(outputs, policy, rows) / scale.samples
    entropies = policy.entropy()
    choice = has_choice(rows.avail, rows.actions)
    adaptive = loss.entropy != "plain" and not is_continuous(rows.actions)
    if adaptive and loss.entropy == "per_sample":
        own = jnp.where(choice, jax.lax.stop_gradient(entropies), 1)
        # A policy that has become certain has H = 0 to rounding: its term is bounded in logits, only 0 / 0 is not.
        bonus = jnp.where(choice & (own > 0), entropies / jnp.where(own > 0, own, 1), 0) / scale.entropy_samples
    else:
        mean = jnp.where(adaptive & (scale.mean_entropy > 0), scale.mean_entropy, 1)
        everybody = loss.entropy != "alive_only" and not is_continuous(rows.actions)
        counted = entropies if everybody else jnp.where(choice, entropies, 0)
        bonus = counted / jnp.maximum(scale.entropy_samples, 1) / mean
    if rows.counted is not None:
        policy_part = policy_part if loss.team_too else jnp.where(rows.counted, policy_part, 0)
        bonus = jnp.where(rows.counted, bonus, 0)
    return policy_part - loss.entropy_coef * bonus, policy_part
