"""What an update reports: numbers that tell why learning goes as it goes."""

import jax.numpy as jnp
import optax
from jaxtyping import Array, Float

from seca.algos.actor_step import Acting, ActorGradient
from seca.algos.config import ActorCriticConfig
from seca.algos.credit_pass import ORDERED, Judged
from seca.algos.critic_step import CriticGradient, Regression
from seca.algos.optim import global_sum
from seca.types import Episodes


def measure(
    episodes: Episodes,
    acting: Acting,
    goal: Regression,
    regressed: CriticGradient,
    judged: Judged,
    slope: ActorGradient,
    config: ActorCriticConfig,
    axis: str | None,
) -> dict[str, Array]:
    """Losses, gradient norms, scales of rewards and critic, and each agent's place and contribution.

    Means are over valid steps of all episodes on all devices; `rank_mean` is each agent's mean position (0 is judged
    first), `contribution_mean` its mean contribution per episode.
    """
    valid = episodes.valid
    steps = global_sum(valid.sum(), axis).astype(goal.targets.dtype)

    def mean(values: Float[Array, "batch time ..."]) -> Array:
        mask = valid.reshape(valid.shape + (1,) * (values.ndim - 2))
        return global_sum(jnp.where(mask, values, 0).sum(axis=(0, 1)), axis) / steps

    q_mean, y_mean = mean(regressed.taken), mean(goal.targets)
    y_variance = mean((goal.targets - y_mean) ** 2)
    rank = jnp.argsort(judged.order, axis=-1).astype(goal.targets.dtype)
    choices = (episodes.avail[:, :-1].sum(axis=-1) > 1).astype(goal.targets.dtype)
    found = {
        "critic_loss": regressed.loss,
        "critic_gradient_norm": optax.tree.norm(regressed.gradient),
        "critic_mean": q_mean,
        "critic_std": jnp.sqrt(mean((regressed.taken - q_mean) ** 2)),
        "target_mean": y_mean,
        "target_std": jnp.sqrt(y_variance),
        # 1 when the critic explains its targets, 0 when it does no better than their mean.
        "critic_explained": 1 - regressed.loss / jnp.maximum(y_variance, 1e-12),
        "actor_loss": slope.loss,
        "actor_policy_loss": slope.policy_part,
        "actor_gradient_norm": optax.tree.norm(slope.gradient),
        "entropy": slope.entropy,
        "advantage_mean": mean(judged.advantage).mean(),
        "advantage_abs": mean(jnp.abs(judged.advantage)).mean(),
        "probability_taken": mean(
            jnp.take_along_axis(acting.probs[:, :-1], episodes.actions[:, :-1, :, None], axis=-1)[..., 0]
        ).mean(),
        "alive_share": mean(choices).mean(),
    }
    # Only what was really computed: no ranks without an order, no contributions without integrated gradients.
    if config.credit in ORDERED:
        found["rank_mean"] = mean(rank)
        if config.order == "gradients":
            found["contribution_mean"] = judged.team_mean
    found["advantage_agent_abs"] = mean(jnp.abs(judged.advantage))
    return found
