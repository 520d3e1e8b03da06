"""What an update reports: numbers that tell why learning goes as it goes. Means are over valid steps, all devices."""

import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from seca.distributions import has_choice, is_continuous, of_encoding
from seca.learning.acting import Acting
from seca.learning.devices import global_sum
from seca.learning.policy_gradient import ActorGradient
from seca.learning.trained import norm
from seca.policies import of_taken
from seca.types import Episodes


def count_steps(episodes: Episodes, axis: str | None) -> Float[Array, ""]:
    """Steps of all episodes on all devices, as a real number."""
    return global_sum(episodes.valid.sum(), axis).astype(episodes.reward.dtype)


def mean_over_steps(values: Float[Array, "batch time ..."], episodes: Episodes, axis: str | None) -> Array:
    """Mean over valid steps of all episodes on all devices; later axes stay."""
    valid = episodes.valid
    steps = global_sum(valid.sum(), axis).astype(values.dtype)
    mask = valid.reshape(valid.shape + (1,) * (values.ndim - 2))
    return global_sum(jnp.where(mask, values, 0).sum(axis=(0, 1)), axis) / steps


def mean_of_choices(
    values: Float[Array, "batch time agents"],
    episodes: Episodes,
    axis: str | None,
    of: Bool[Array, "batch time"] | None = None,
) -> Float[Array, ""]:
    """Mean over the agents that have a choice, in all steps or some `of` them; 0 of none.

    Of an agent without one, as of the dead, the policy follows nothing, whatever its advantage is.
    """
    chosen = has_choice(episodes.avail[:, :-1], episodes.actions[:, :-1])
    chosen = (chosen if of is None else chosen & of[..., None]).astype(values.dtype)
    return share_of(*(mean_over_steps(x, episodes, axis).sum() for x in (values * chosen, chosen)))


def measure_critic(
    episodes: Episodes,
    taken: Float[Array, "batch time ..."],
    targets: Float[Array, "batch time ..."],
    loss: Float[Array, ""],
    gradient_norm: Float[Array, ""],
    axis: str | None,
) -> dict[str, Array]:
    """Scales of a critic's values and of the targets it is regressed to, per agent or for the team alike."""

    def mean(values: Array) -> Array:
        return mean_over_steps(values, episodes, axis).mean()

    q_mean, y_mean = mean(taken), mean(targets)
    y_variance = mean((targets - y_mean) ** 2)
    return {
        "critic_loss": loss,
        "critic_gradient_norm": gradient_norm,
        "critic_mean": q_mean,
        "critic_std": jnp.sqrt(mean((taken - q_mean) ** 2)),
        "target_mean": y_mean,
        "target_std": jnp.sqrt(y_variance),
        # 1 when the critic explains its targets, 0 when it does no better than their mean.
        "critic_explained": 1 - loss / jnp.maximum(y_variance, 1e-12),
    }


def measure_actor(episodes: Episodes, acting: Acting, slope: ActorGradient, axis: str | None) -> dict[str, Array]:
    """Losses and gradient norm of the actor, and how decided it is."""
    probs, actions = acting.probs[:, :-1], episodes.actions[:, :-1]
    choices = has_choice(episodes.avail[:, :-1], actions).astype(probs.dtype)
    if is_continuous(actions):  # A density has no probabilities: the mean deviation of who acts.
        spread = jnp.exp(of_encoding(probs).log_std).mean(axis=-1) * choices
        sums = (mean_over_steps(values, episodes, axis).sum() for values in (spread, choices))
        decided = {"policy_std": share_of(*sums)}
    else:
        decided = {"probability_taken": mean_over_steps(of_taken(probs, actions), episodes, axis).mean()}
    return {
        "actor_loss": slope.loss,
        "actor_policy_loss": slope.policy_part,
        "actor_gradient_norm": norm(slope.gradient),
        "entropy": slope.entropy,
        **decided,
        "alive_share": mean_over_steps(choices, episodes, axis).mean(),
    }


def measure_advantage(
    episodes: Episodes, advantage: Float[Array, "batch time agents"], axis: str | None
) -> dict[str, Array]:
    """Mean and size of the advantages."""
    by_agent = mean_over_steps(jnp.abs(advantage), episodes, axis)
    return {
        "advantage_mean": mean_over_steps(advantage, episodes, axis).mean(),
        "advantage_abs": by_agent.mean(),
        "advantage_agent_abs": by_agent,
    }


def share_of(part: Float[Array, ""], whole: Float[Array, ""]) -> Float[Array, ""]:
    """Part of a whole; 0 of nothing."""
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1), 0)


def measure_tried(
    episodes: Episodes,
    advantage: Float[Array, "batch time agents"],
    credit: Float[Array, "batch time agents"],
    known: Bool[Array, "batch time"],
    axis: str | None,
) -> dict[str, Array]:
    """Share of steps with a credit by forks, its size there, and that of the critic's credit in the same steps.

    Sizes are means over the agents that have a choice.
    """
    share = mean_over_steps(known.astype(credit.dtype), episodes, axis)
    by_forks, by_critic = (mean_of_choices(jnp.abs(x), episodes, axis, known) for x in (credit, advantage))
    return {"fork_share": share, "fork_abs": by_forks, "fork_critic_abs": by_critic}
