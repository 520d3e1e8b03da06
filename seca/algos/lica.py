"""LICA: the actor climbs the mixing critic's value of its own policies, with no advantage in between.

Gaussian policies climb its value of the actions that they took.
"""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from seca.algos.base import Algorithm, Claim, Claims
from seca.distributions import centre, encoded, is_continuous
from seca.learning.acting import act_in, acting_over, fresh_agent, initial_carry
from seca.learning.buffer import Replay
from seca.learning.climbing import ALONG_SLOPE, along_slope, climb, climbing_gradient
from seca.learning.joint_critic import (
    MixingCriticConfig,
    chunk_rows,
    fresh_mixing_critic,
    td_error,
    train_mixing_critic,
    working_floats,
)
from seca.learning.measures import count_steps, measure_actor, measure_critic
from seca.learning.memory import training_bytes
from seca.learning.options import check_numbers
from seca.learning.policy_gradient import EntropyForm
from seca.learning.rows import pack
from seca.learning.trained import Trained, clipped_adam, fresh
from seca.nets.critics import MixingCritic
from seca.ranges import Count, NonNegative, Positive
from seca.sizes import sizes
from seca.types import Actions, EnvSpec, Episodes


@dataclasses.dataclass(frozen=True)
class LicaConfig(MixingCriticConfig):
    """Options of LICA; the defaults are the published ones, with the compact critic."""

    actor_lr: Positive = 2.5e-3
    """Adam step size of the actor."""
    entropy_coef: NonNegative = 0.06
    """Xi, weight of the adaptive entropy term; the authors advise 0.06, and 0.03 on the hardest maps."""
    entropy: EntropyForm = "batch_mean"
    """Form of the adaptive entropy: xi * H / sg(H) of the batch mean, of each agent and step, or of the mean over
    agents that have a choice. Of continuous actions a plain mean, xi * H."""
    actor_hidden: Count = 64
    """Width of the actor's layers and of its recurrent state."""


class Learner(eqx.Module):
    """Everything that LICA learns or counts. Arrays only."""

    actor: Trained
    critic: Trained


def lica(name: str, spec: EnvSpec, config: LicaConfig) -> Algorithm:
    """Build LICA for one environment. Zhou et al. 2020.

    Each update takes one batch of whole episodes: a critic step, as SeCA's, then one actor step up the critic just
    stepped, then the batch is dropped.

    Raises:
        ValueError: an option is out of range.
    """
    check_numbers(config)
    bind = {"spec": spec, "config": config}
    return Algorithm(
        name=name,
        init=functools.partial(init, **bind),
        policy=lambda learner: learner.actor.params,
        initial_carry=functools.partial(initial_carry, spec=spec, hidden=config.actor_hidden),
        act=act_in(spec),
        update=functools.partial(update, **bind),
        memory=functools.partial(memory, **bind),
        claims=Claims("independent", functools.partial(claim, **bind), says=ALONG_SLOPE),
    )


def init(key: PRNGKeyArray, spec: EnvSpec, config: LicaConfig) -> Learner:
    """Fresh networks; the target is a copy of the critic."""
    actor_key, critic_key = jax.random.split(key)
    actor = fresh_agent(actor_key, spec, config.actor_hidden, spec.action_width)
    optimiser = clipped_adam(config.actor_lr, config.clip_norm)
    return Learner(fresh(actor, optimiser), fresh_mixing_critic(critic_key, spec, config))


def mixing_value_and_slope(
    critic: MixingCritic, state: Float[Array, "rows state"], probs: Float[Array, "rows agents actions"]
) -> tuple[Float[Array, " rows"], Float[Array, "rows agents actions"]]:
    """f(s, pi) and df/dpi of the mixing critic, the gradient in closed form."""
    weights = critic.weights(state, probs.shape[1])
    return weights.value(probs), weights.input_gradient(probs)


def told(probs: Float[Array, "*rows agents actions"], actions: Actions) -> Float[Array, "*rows agents actions"]:
    """Where the critic is climbed: at the policies; of continuous actions at those taken, the only ones it has seen."""
    return encoded(actions, probs.shape[-1], probs.dtype) if is_continuous(actions) else probs


def slope_of_policy(
    slope: Float[Array, "*rows agents actions"], probs: Float[Array, "*rows agents actions"], actions: Actions
) -> Float[Array, "*rows agents actions"]:
    """df/dpi from the slope at `told`.

    A continuous action is a = m + s e of its policy's mean m and variance v = s^2, with the luck e that it had. So
    df/dm = df/da and df/dv = df/da (a - m) / (2 v).
    """
    if not is_continuous(actions):
        return slope
    by_action, (mean, variance) = jnp.split(slope, 2, axis=-1)[0], jnp.split(probs, 2, axis=-1)
    return jnp.concatenate([by_action, by_action * (actions - mean) / (2 * jnp.maximum(variance, 1e-9))], axis=-1)


def update(
    learner: Learner,
    episodes: Episodes,
    replay: Replay | None,
    key: PRNGKeyArray,
    axis: str | None,
    spec: EnvSpec,
    config: LicaConfig,
) -> tuple[Learner, dict[str, Array]]:
    """Critic steps, then one actor step. Zhou et al. 2020, section 4.

    L = - sum m f(s, pi_1 .. pi_n) / sum m  -  xi Hbar / sg(Hbar),     the gradient through f into the policies.
    """
    del replay, key  # On policy, deterministic.
    count = count_steps(episodes, axis)
    packed = pack(episodes.valid, sizes().critic_rows if spec.box is None else chunk_rows(spec, config))
    critic, regressed = train_mixing_critic(learner.critic, episodes, packed, config, count, axis)
    acting = acting_over(learner.actor.params, episodes)
    packed = pack(episodes.valid, chunk_rows(spec, config))
    at = told(acting.probs, episodes.actions)
    up = climb(critic.params, mixing_value_and_slope, episodes.state, at, packed)
    up = dataclasses.replace(up, slope=slope_of_policy(up.slope, acting.probs, episodes.actions))
    slope = climbing_gradient(learner.actor.params, episodes, acting, up, config.entropy_coef, config.entropy, axis)
    actor = learner.actor.step(slope.gradient, clipped_adam(config.actor_lr, config.clip_norm))
    metrics = {"gradient_steps": critic.steps + actor.steps}
    metrics |= measure_critic(
        episodes, regressed.taken, regressed.targets, regressed.loss, regressed.gradient_norm, axis
    )
    return Learner(actor, critic), metrics | measure_actor(episodes, acting, slope, axis)


def claim(
    learner: Learner, episodes: Episodes, env_steps: Array, key: PRNGKeyArray, spec: EnvSpec, config: LicaConfig
) -> Claim:
    """What the critic's slope says of each action: df/dpi_i (u_i - pi_i), or from a Gaussian's mean to the action."""
    del env_steps, key  # No schedules, nothing drawn.
    acting = acting_over(learner.actor.params, episodes)
    packed = pack(episodes.valid, chunk_rows(spec, config))
    middle = centre(acting.probs, is_continuous(episodes.actions))
    up = climb(learner.critic.params, mixing_value_and_slope, episodes.state, middle, packed)
    return Claim(
        along_slope(up, middle, episodes),
        team=td_error(learner.critic, episodes, packed, config, config.td_lambda),
        policy=acting.probs[:, :-1],
        value=up.value[:, :-1],
    )


def memory(batch: int, spec: EnvSpec, config: LicaConfig) -> int:
    """Estimated peak bytes of training."""
    learner = jax.eval_shape(functools.partial(init, spec=spec, config=config), jax.random.key(0))
    per_agent = 3 * spec.action_width + 2 * config.critic_embed + 2 * config.actor_hidden
    return training_bytes(learner, spec, batch, per_agent, working_floats(spec, config, batch))
