"""The plain independent actor-critic beside COMA on particle toys: each agent alone with its own observation.

Wang et al. 2020, `independent_ac`. Nothing but the critic and the advantage differs from `coma_mpe`.
"""

import dataclasses
import functools
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, PRNGKeyArray

from seca.algos.base import Algorithm, Claim, Claims
from seca.learning.buffer import Replay
from seca.learning.by_transitions import (
    Learner,
    TransitionOptions,
    act_in,
    fresh_learner,
    improved,
    policies_of,
    regressed,
    score_loss,
    sizes_of,
)
from seca.learning.by_transitions import update as update_by_transitions
from seca.learning.memory import training_bytes
from seca.learning.options import check_numbers
from seca.learning.transitions import Transitions, steps_of
from seca.nets.stacked import AgentMLP
from seca.policies import of_taken, sample_cheaply
from seca.ranges import Range
from seca.types import EnvSpec, Episodes


@dataclasses.dataclass(frozen=True)
class IacMpeConfig(TransitionOptions):
    """Options; the defaults are those of Predator-Prey in the public code, but for the advantage."""

    batch: Annotated[int, Range(1, 100_000)] = 100
    """Env steps of an update, in the order in which they were made, whatever episodes they are of. Each of its critic
    steps has next actions drawn anew."""
    advantage: Literal["centred", "value"] = "centred"
    """What the actor follows: q_i(u_i) less its mean under the policy, or, as the public code has it, q_i(u_i) itself,
    which moves policies by the level of the returns too."""


def iac_mpe(name: str, spec: EnvSpec, config: IacMpeConfig) -> Algorithm:
    """Build it for one environment. Wang et al. 2020, `independent_ac`.

    Raises:
        ValueError: an option is out of range.
    """
    check_numbers(config)
    bind = {"spec": spec, "config": config}
    return Algorithm(
        name=name,
        init=functools.partial(init, **bind),
        policy=lambda learner: learner.actors.params,
        initial_carry=lambda batch: (),
        act=act_in(spec),
        update=functools.partial(update, config=config),
        memory=functools.partial(memory, **bind),
        claims=Claims(
            "independent",
            functools.partial(claim, config=config),
            says="by each agent's own critic, which sees what that agent sees",
        ),
        told=lambda carry, actions: carry,
    )


def init(key: PRNGKeyArray, spec: EnvSpec, config: IacMpeConfig) -> Learner:
    """Fresh networks; targets are copies of them."""
    return fresh_learner(key, spec, config, (spec.obs_size, spec.n_actions), config.batch)


def update(
    learner: Learner, episodes: Episodes, replay: Replay | None, key: PRNGKeyArray, axis: str | None,
    config: IacMpeConfig,
) -> tuple[Learner, dict[str, Array]]:  # fmt: skip
    """An update for every `batch` env steps, those that waited first; what is left over waits for the next."""
    del replay  # On policy.
    return update_by_transitions(learner, episodes, key, axis, functools.partial(learn, config=config), config)


def learn(learner: Learner, batch: Transitions, key: PRNGKeyArray, config: IacMpeConfig) -> Learner:
    """Critic steps and an actor step on one batch."""
    targets = targets_of(learner.actors.target, learner.critics.target, batch, key, config)
    loss = functools.partial(critic_loss, batch=batch)
    critics, measures = regressed(learner, lambda critics, goal: loss(critics, targets=goal), targets, config)
    advantage = advantages(critics.params, policies_of(learner.actors.params, batch), batch, config)
    follow = functools.partial(score_loss, batch=batch, advantage=advantage, entropy_coef=config.entropy_coef)
    actors, actor_measures = improved(learner, follow, config)
    measures |= actor_measures | sizes_of(advantage)
    return dataclasses.replace(learner, actors=actors, critics=critics, measured=measures)


def targets_of(
    actors: AgentMLP, critics: AgentMLP, batch: Transitions, key: PRNGKeyArray, config: IacMpeConfig
) -> Float[Array, "draws rows agents"]:
    """r + gamma (1 - end) q'_i(o'_i, u'_i), the next actions drawn from the target actors, for each critic step anew.

    The public code asks the critic that it is training in place of its target, which it has and leaves idle.
    """
    after = dataclasses.replace(batch, obs=batch.next_obs, avail=batch.next_avail)
    drawn = sample_cheaply(key, policies_of(actors, after), config.critic_epochs)
    q = critics(batch.next_obs)
    following = jax.vmap(functools.partial(of_taken, q))(drawn)
    return batch.reward[:, None] + config.gamma * jnp.where(batch.ended[:, None], 0, following)


def critic_loss(critics: AgentMLP, batch: Transitions, targets: Float[Array, "rows agents"]) -> Float[Array, ""]:
    """Mean squared error of each agent's critic, summed over agents: each learns from its own alone."""
    return ((of_taken(critics(batch.obs), batch.actions) - targets) ** 2).mean(axis=0).sum()


def advantages(
    critics: AgentMLP, probs: Float[Array, "*rows agents actions"], batch: Transitions, config: IacMpeConfig
) -> Float[Array, "*rows agents"]:
    """q_i(o_i, u_i), and without what the agent would have got anyway."""
    q = critics(batch.obs)
    anyway = (probs * q).sum(axis=-1) if config.advantage == "centred" else 0
    return of_taken(q, batch.actions) - anyway


def claim(learner: Learner, episodes: Episodes, env_steps: Array, key: PRNGKeyArray, config: IacMpeConfig) -> Claim:
    """Each agent's advantage by its critic as it is."""
    del env_steps
    steps = steps_of(episodes, config.time_limit)
    probs, q = policies_of(learner.actors.params, steps), learner.critics.params(steps.obs)
    advantage = advantages(learner.critics.params, probs, steps, config)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps)
    goal = targets_of(learner.actors.target, learner.critics.target, flat, key, config).mean(axis=0)
    error = (goal.reshape(advantage.shape) - of_taken(q, steps.actions)).mean(axis=-1)
    return Claim(
        jnp.where(episodes.valid[..., None], advantage, 0),
        team=jnp.where(episodes.valid, error, 0),
        policy=probs,
        value=(probs * q).sum(axis=-1).mean(axis=-1),
    )


def memory(batch: int, spec: EnvSpec, config: IacMpeConfig) -> int:
    """Estimated peak bytes of training."""
    learner = jax.eval_shape(functools.partial(init, spec=spec, config=config), jax.random.key(0))
    width = spec.obs_size + config.critic_epochs * spec.n_actions + 3 * config.hidden
    working = 8 * config.batch * spec.n_agents * width
    return training_bytes(learner, spec, batch, 2 * spec.obs_size + 4 * spec.n_actions, working)
