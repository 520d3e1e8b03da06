"""Direct gradient: the actor climbs the critic's value of its own policies, with no advantage in between."""

import dataclasses
import functools
from typing import Literal

import equinox as eqx
import jax
import optax
from jaxtyping import Array, Float, PRNGKeyArray

from seca.algos.acting import act, initial_carry, n_agent_inputs
from seca.algos.actor_step import actor_gradient, direct, unroll
from seca.algos.base import Algorithm
from seca.algos.config import MixingCriticConfig, check_numbers
from seca.algos.critic_step import CRITIC_CHUNK, CriticTraining, chunk_rows, fresh_critic, mixing_memory, train_critic
from seca.algos.measures import mean_over_steps, measure_actor, measure_critic
from seca.algos.optim import clipped_adam, optimiser_state
from seca.algos.packing import Chunk, Packed, flat, over_chunks, pack, room_for, unpack, write
from seca.nets.agents import RecurrentAgent
from seca.nets.critics import MixingCritic
from seca.types import EnvSpec, Episodes, PyTree


@dataclasses.dataclass(frozen=True)
class LicaConfig(MixingCriticConfig):
    """Options of LICA; the defaults are the published ones, with the compact critic."""

    actor_lr: float = 2.5e-3
    """Adam step size of the actor."""
    entropy_coef: float = 0.06
    """Xi, weight of the adaptive entropy term; the authors advise 0.06, and 0.03 on the hardest maps."""
    entropy: Literal["batch_mean", "per_sample", "alive_only"] = "batch_mean"
    """Form of the adaptive entropy: xi * H / sg(H) of the batch mean, of each agent and step, or of the mean over
    agents that have a choice."""
    actor_hidden: int = 64
    """Width of the actor's layers and of its recurrent state."""


class Learner(eqx.Module):
    """Everything that LICA learns or counts. Arrays only."""

    actor: RecurrentAgent
    actor_opt: PyTree
    training: CriticTraining


class Climb(eqx.Module):
    """The critic at the actor's policies, and which way is up."""

    value: Float[Array, "batch time1"]
    """f(s, pi_1 .. pi_n); meaningless on padding."""
    slope: Float[Array, "batch time1 agents actions"]
    """df/dpi; meaningless on padding."""


def lica(name: str, spec: EnvSpec, config: LicaConfig) -> Algorithm:
    """Build LICA for one environment. Zhou et al. 2020.

    Each update takes one batch of whole episodes: one critic step, as SeCA's, then one actor step up the critic just
    stepped, then the batch is dropped.

    Raises:
        ValueError: an option is out of range.
    """
    check_numbers(config)
    return Algorithm(
        name=name,
        init=functools.partial(init, spec=spec, config=config),
        policy=lambda learner: learner.actor,
        initial_carry=functools.partial(initial_carry, spec=spec, hidden=config.actor_hidden),
        act=act,
        update=functools.partial(update, spec=spec, config=config),
        memory=functools.partial(mixing_memory, spec=spec, config=config, hidden=config.actor_hidden),
    )


def init(key: PRNGKeyArray, spec: EnvSpec, config: LicaConfig) -> Learner:
    """Fresh networks; the target is a copy of the critic."""
    actor_key, critic_key = jax.random.split(key)
    actor = RecurrentAgent.init(actor_key, n_agent_inputs(spec), config.actor_hidden, spec.n_actions)
    return Learner(
        actor=actor,
        actor_opt=optimiser_state(clipped_adam(config.actor_lr, config.clip_norm), actor),
        training=fresh_critic(critic_key, spec, config),
    )


def climb(
    critic: MixingCritic,
    episodes: Episodes,
    probs: Float[Array, "batch time1 agents actions"],
    packed: Packed,
    chunk: int,
) -> Climb:
    """f(s, pi) and df/dpi of every step, the gradient in closed form."""
    state, pi = flat(episodes.state), flat(probs)

    def body(carry: PyTree, rows: Chunk) -> PyTree:
        weights = critic.weights(state[rows.index], pi.shape[1])
        value, slope = carry
        value = write(value, weights.value(pi[rows.index]), rows)
        return value, write(slope, weights.input_gradient(pi[rows.index]), rows)

    room = functools.partial(room_for, packed, dtype=pi.dtype)
    value, slope = over_chunks(packed, chunk, body, (room(()), room(pi.shape[1:])))
    return Climb(unpack(value, packed), unpack(slope, packed))


def update(
    learner: Learner, episodes: Episodes, key: PRNGKeyArray, axis: str | None, spec: EnvSpec, config: LicaConfig
) -> tuple[Learner, dict[str, Array]]:
    """One critic step, then one actor step. Zhou et al. 2020, section 4.

    L = - sum m f(s, pi_1 .. pi_n) / sum m  -  xi Hbar / sg(Hbar),     the gradient through f into the policies.
    """
    del key  # Deterministic.
    chunk = chunk_rows(spec, config)
    packed = pack(episodes.valid, max(chunk, CRITIC_CHUNK))
    training, goal, regressed = train_critic(learner.training, episodes, packed, config, axis)
    acting = unroll(learner.actor, episodes) if episodes.record is None else episodes.record
    up = climb(training.critic, episodes, acting.probs, packed, chunk)
    # The loss is a mean over agents too; the value is one for all of them.
    slope = actor_gradient(
        learner.actor,
        episodes,
        acting,
        spec.n_agents * up.slope[:, :-1],
        config.entropy_coef,
        config.entropy,
        axis,
        direct,
    )
    optimiser = clipped_adam(config.actor_lr, config.clip_norm)
    steps, actor_opt = optimiser.update(slope.gradient, learner.actor_opt)
    # In value, the linear part that was differentiated is not the loss.
    policy_part = -mean_over_steps(up.value[:, :-1], episodes, axis)
    slope = dataclasses.replace(slope, loss=slope.loss - slope.policy_part + policy_part, policy_part=policy_part)
    metrics = {"gradient_steps": training.steps + training.steps // config.critic_epochs}
    norm = optax.tree.norm(regressed.gradient)
    metrics |= measure_critic(episodes, regressed.taken, goal.targets, regressed.loss, norm, axis)
    metrics |= measure_actor(episodes, acting, slope, axis)
    return Learner(eqx.apply_updates(learner.actor, steps), actor_opt, training), metrics
