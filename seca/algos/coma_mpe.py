"""COMA as SQDDPG's authors run it on particle toys, and the sequential advantage on the very same critics: Fig. 2.

Zang et al. 2023, section 4.1: "we only change the way to compute the advantage". Everything else is the setting of the
code of Wang et al. 2020: networks without memory, a critic per agent that reads all observations and the others'
actions, and updates for so many env steps, wherever episodes end.
"""

import dataclasses
import functools
from typing import Annotated, Literal

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

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
from seca.learning.told_critics import (
    KIND,
    MOST_JOINT,
    Advantage,
    advantages,
    n_critic_inputs,
    team_value,
    told_all,
    values_of_draws,
)
from seca.learning.transitions import Transitions, steps_of
from seca.nets.stacked import AgentMLP
from seca.order.base import GradientOrder
from seca.order.gradients import transition_contribution
from seca.order.simple import descending
from seca.policies import masked_log_probs, of_taken, sample_cheaply
from seca.ranges import Range
from seca.types import EnvSpec, Episodes


@dataclasses.dataclass(frozen=True)
class ComaMpeConfig(TransitionOptions):
    """Options; the defaults are those of Predator-Prey in the public code, whose others are in docs/mpe.md."""

    batch: Annotated[int, Range(1, 100_000)] = 100
    """Env steps of an update, in the order in which they were made, whatever episodes they are of. Each of its critic
    steps has next actions drawn anew."""
    advantage: Advantage = "counterfactual"
    """How an action is valued: COMA's Eq. 3; Eq. 5 with the probabilities of later agents in the place of their
    actions, or exact, over all their joint actions; or Eq. 4, with those of all others."""
    order: Literal["index", "random", "gradients"] = "index"
    """Who is judged first: by number, in a random order for each update, or by contribution, the integrated gradients
    of the critics along the steps of the update (Eq. 17 and 18)."""


def coma_mpe(name: str, spec: EnvSpec, config: ComaMpeConfig) -> Algorithm:
    """Build it for one environment. Wang et al. 2020, `coma_fc`; Zang et al. 2023, section 4.1.

    Raises:
        ValueError: an option is out of range, or the team is too large for an exact advantage.
    """
    check_numbers(config)
    joint = spec.n_actions ** (spec.n_agents - 1)
    if config.advantage == "exact" and joint > MOST_JOINT:
        raise ValueError(
            f"`advantage` is exact but in `env` {spec.id} an agent's others have {joint:,} joint actions, over "
            f"{MOST_JOINT:,}: choose sequential"
        )
    if config.order != "index" and KIND[config.advantage] != "sequential":
        raise ValueError(f"`order` is {config.order} but `advantage` {config.advantage} asks for none: leave it out")
    bind = {"spec": spec, "config": config}
    return Algorithm(
        name=name,
        init=functools.partial(init, **bind),
        policy=lambda learner: learner.actors.params,
        initial_carry=lambda batch: (),
        act=act_in(spec),
        update=functools.partial(update, config=config),
        memory=functools.partial(memory, **bind),
        claims=Claims(KIND[config.advantage], functools.partial(claim, config=config)),
        told=lambda carry, actions: carry,
    )


def init(key: PRNGKeyArray, spec: EnvSpec, config: ComaMpeConfig) -> Learner:
    """Fresh networks; targets are copies of them."""
    inputs = n_critic_inputs(spec.n_agents, spec.obs_size, spec.n_actions)
    return fresh_learner(key, spec, config, (inputs, spec.n_actions), config.batch)


def update(
    learner: Learner, episodes: Episodes, replay: Replay | None, key: PRNGKeyArray, axis: str | None,
    config: ComaMpeConfig,
) -> tuple[Learner, dict[str, Array]]:  # fmt: skip
    """An update for every `batch` env steps, those that waited first; what is left over waits for the next."""
    del replay  # On policy.
    return update_by_transitions(learner, episodes, key, axis, functools.partial(learn, config=config), config)


def learn(learner: Learner, batch: Transitions, key: PRNGKeyArray, config: ComaMpeConfig) -> Learner:
    """Critic steps and an actor step on one batch."""
    order_key, target_key = jax.random.split(key)
    targets = targets_of(learner.actors.target, learner.critics.target, batch, target_key, config)
    taken = jax.nn.one_hot(batch.actions, batch.avail.shape[-1], dtype=batch.obs.dtype)
    loss = functools.partial(critic_loss, inputs=told_all(batch.obs, taken), actions=batch.actions)
    critics, measures = regressed(learner, lambda critics, goal: loss(critics, targets=goal), targets, config)
    probs = policies_of(learner.actors.params, batch)
    real = jnp.ones_like(batch.ended)
    order, _ = order_of(order_key, learner.actors.params, critics.params, batch, real, config)
    advantage = advantages(critics.params, batch.obs, probs, batch.actions, order, config.advantage)
    follow = functools.partial(score_loss, batch=batch, advantage=advantage, entropy_coef=config.entropy_coef)
    actors, actor_measures = improved(learner, follow, config)
    measures |= actor_measures | sizes_of(advantage)
    return dataclasses.replace(learner, actors=actors, critics=critics, measured=measures)


def targets_of(
    actors: AgentMLP, critics: AgentMLP, batch: Transitions, key: PRNGKeyArray, config: ComaMpeConfig
) -> Float[Array, "draws rows agents"]:
    """r + gamma (1 - end) Q'_i(s', u'), the next actions u' drawn from the target actors, for each critic step anew."""
    probs = jnp.exp(masked_log_probs(actors(batch.next_obs), batch.next_avail))
    drawn = sample_cheaply(key, probs, config.critic_epochs)
    following = of_taken(values_of_draws(critics, batch.next_obs, drawn), drawn)
    return batch.reward[:, None] + config.gamma * jnp.where(batch.ended[:, None], 0, following)


def critic_loss(
    critics: AgentMLP,
    inputs: Float[Array, "rows agents inputs"],
    actions: Int[Array, "rows agents"],
    targets: Float[Array, "rows agents"],
) -> Float[Array, ""]:
    """Mean squared error of each agent's critic, summed over agents: each learns from its own alone."""
    return ((of_taken(critics(inputs), actions) - targets) ** 2).mean(axis=0).sum()


def order_of(
    key: PRNGKeyArray,
    actors: AgentMLP,
    critics: AgentMLP,
    steps: Transitions,
    real: Bool[Array, " rows"],
    config: ComaMpeConfig,
) -> tuple[Int[Array, " agents"], Float[Array, " agents"] | None]:
    """Agent at each position, and the contributions over all `real` steps that it follows from, if it does."""
    n_agents = steps.actions.shape[-1]
    if config.order == "gradients":
        now, after = policies_of(actors, steps), jnp.exp(masked_log_probs(actors(steps.next_obs), steps.next_avail))
        value = lambda state, policies: team_value(critics, state.reshape(n_agents, -1), policies)  # noqa: E731
        earned = functools.partial(transition_contribution, value, options=GradientOrder())
        start, end = (x.reshape(x.shape[0], -1) for x in (steps.obs, steps.next_obs))
        each = jax.vmap(earned)(start, end, now, after)
        contribution = jnp.where(real[:, None], each, 0).sum(axis=0)
        return descending(contribution), contribution
    by_number = jnp.arange(n_agents, dtype=jnp.int32)
    return by_number if config.order == "index" else jax.random.permutation(key, by_number), None


def claim(learner: Learner, episodes: Episodes, env_steps: Array, key: PRNGKeyArray, config: ComaMpeConfig) -> Claim:
    """Each agent's advantage by the critics as they are, in an order of each episode's own."""
    del env_steps
    actors, critics = learner.actors.params, learner.critics.params

    def of_episode(steps: Transitions, valid: Array, key: PRNGKeyArray) -> tuple[Array, Array, Array | None]:
        order, contribution = order_of(key, actors, critics, steps, valid, config)
        probs = policies_of(actors, steps)
        return advantages(critics, steps.obs, probs, steps.actions, order, config.advantage), order, contribution

    order_key, target_key = jax.random.split(key)
    steps, keys = steps_of(episodes, config.time_limit), jax.random.split(order_key, episodes.reward.shape[0])
    advantage, order, contribution = jax.vmap(of_episode)(steps, episodes.valid, keys)
    order, contribution = jax.tree.map(lambda x: jnp.broadcast_to(x[:, None], advantage.shape), (order, contribution))
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), steps)
    goal = targets_of(learner.actors.target, learner.critics.target, flat, target_key, config).mean(axis=0)
    taken = jax.nn.one_hot(steps.actions, steps.avail.shape[-1], dtype=steps.obs.dtype)
    error = goal.reshape(advantage.shape) - of_taken(critics(told_all(steps.obs, taken)), steps.actions)
    probs = policies_of(actors, steps)
    return Claim(
        jnp.where(episodes.valid[..., None], advantage, 0),
        order if KIND[config.advantage] == "sequential" else None,
        team=jnp.where(episodes.valid, error.mean(axis=-1), 0),
        contribution=contribution,
        policy=probs,
        value=team_value(critics, steps.obs, probs),
    )


def memory(batch: int, spec: EnvSpec, config: ComaMpeConfig) -> int:
    """Estimated peak bytes of training."""
    learner = jax.eval_shape(functools.partial(init, spec=spec, config=config), jax.random.key(0))
    n = spec.n_agents
    width = (n + 1) * spec.obs_size + n * spec.n_actions + (3 + config.critic_epochs) * config.hidden
    return training_bytes(learner, spec, batch, 2 * spec.obs_size + 4 * spec.n_actions, 8 * config.batch * n * width)
