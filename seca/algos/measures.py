"""What an update reports: numbers that tell why learning goes as it goes. Means are over valid steps, all devices."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from seca.algos.actor_step import Acting, ActorGradient
from seca.algos.credit_pass import Judged
from seca.algos.critic_step import CriticStep, Regression
from seca.algos.optim import global_sum
from seca.types import Episodes


def mean_over_steps(values: Float[Array, "batch time ..."], episodes: Episodes, axis: str | None) -> Array:
    """Mean over valid steps of all episodes on all devices; later axes stay."""
    valid = episodes.valid
    steps = global_sum(valid.sum(), axis).astype(values.dtype)
    mask = valid.reshape(valid.shape + (1,) * (values.ndim - 2))
    return global_sum(jnp.where(mask, values, 0).sum(axis=(0, 1)), axis) / steps


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
    taken = jnp.take_along_axis(acting.probs[:, :-1], episodes.actions[:, :-1, :, None], axis=-1)[..., 0]
    choices = (episodes.avail[:, :-1].sum(axis=-1) > 1).astype(taken.dtype)
    return {
        "actor_loss": slope.loss,
        "actor_policy_loss": slope.policy_part,
        "actor_gradient_norm": optax.tree.norm(slope.gradient),
        "entropy": slope.entropy,
        "probability_taken": mean_over_steps(taken, episodes, axis).mean(),
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


def measure(
    episodes: Episodes,
    acting: Acting,
    goal: Regression,
    regressed: CriticStep,
    judged: Judged,
    slope: ActorGradient,
    ordered: bool,
    by_path: bool,
    axis: str | None,
) -> dict[str, Array]:
    """All of the above for the methods that judge agents in an order, with each agent's place and contribution.

    `rank_mean` is each agent's mean position (0 is judged first), `contribution_mean` its mean contribution per
    episode.
    """
    found = measure_critic(episodes, regressed.taken, goal.targets, regressed.loss, regressed.gradient_norm, axis)
    found |= measure_actor(episodes, acting, slope, axis) | measure_advantage(episodes, judged.advantage, axis)
    # Only what was really computed: no ranks without an order, no contributions without integrated gradients.
    if ordered:
        rank = jnp.argsort(judged.order, axis=-1).astype(goal.targets.dtype)
        found["rank_mean"] = mean_over_steps(rank, episodes, axis)
        if by_path:
            found["contribution_mean"] = judged.team_mean
    return found
