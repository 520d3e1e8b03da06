"""SeCA and its ablations: a recurrent actor, a mixing critic, an advantage per agent and an order to judge in."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from seca.algos.acting import act, initial_carry, n_agent_inputs
from seca.algos.actor_step import (
    Acting,
    ActorGradient,
    Judgement,
    actor_gradient,
    clipped_score,
    score_function,
    unroll,
)
from seca.algos.base import Algorithm
from seca.algos.config import ActorCriticConfig, check_numbers
from seca.algos.credit_pass import credit_floats, follows_path, judge, reads_order
from seca.algos.critic_step import CRITIC_CHUNK, CriticTraining, chunk_rows, fresh_critic, mixing_memory, train_critic
from seca.algos.measures import mean_over_steps, measure
from seca.algos.optim import clipped_adam, optimiser_state
from seca.algos.packing import pack
from seca.credit.base import CreditFn
from seca.credit.sequential import MAX_JOINT_ACTIONS
from seca.credit.shapley import check_pairs
from seca.nets.agents import RecurrentAgent
from seca.nets.critics import MixingCritic
from seca.order.base import OrderFn
from seca.order.simple import shuffled
from seca.types import EnvSpec, Episodes, PyTree


class Learner(eqx.Module):
    """Everything that SeCA learns or counts. Arrays only."""

    actor: RecurrentAgent
    critic: MixingCritic
    target: MixingCritic
    actor_opt: PyTree
    critic_opt: PyTree
    critic_steps: Int[Array, ""]
    fixed_order: Int[Array, " agents"]
    """The run's random order, for order `fixed`."""
    contributions: Float[Array, " agents"]
    """Mean contributions of the last batch, for path source `previous`; random at first."""


def actor_critic(
    name: str,
    spec: EnvSpec,
    config: ActorCriticConfig,
    credit_fn: CreditFn | None = None,
    order_fn: OrderFn | None = None,
) -> Algorithm:
    """Build SeCA, or an ablation of it, for one environment.

    Each update takes one batch of whole episodes: one critic step, then one actor step on advantages of the critic
    just stepped, then the batch is dropped. Zang et al. 2023, section 3.

    Args:
        name: for run folders and messages.
        spec: the environment.
        config: options; all but `credit` and `order` where these are given as functions.
        credit_fn: a credit of one's own in place of `config.credit`.
        order_fn: an order of one's own in place of `config.order`.

    Raises:
        ValueError: an option is out of range, or two contradict each other, or the credit cannot serve the env.
    """
    check(spec, config, credit_fn)
    bind = {"spec": spec, "config": config}
    return Algorithm(
        name=name,
        init=functools.partial(init, **bind),
        policy=lambda learner: learner.actor,
        initial_carry=functools.partial(initial_carry, spec=spec, hidden=config.actor_hidden),
        act=act,
        update=functools.partial(update, **bind, credit_fn=credit_fn, order_fn=order_fn),
        memory=functools.partial(memory, **bind),
    )


def check(spec: EnvSpec, config: ActorCriticConfig, credit_fn: CreditFn | None = None) -> None:
    """Raise ValueError in words for options that make no sense."""
    check_numbers(config)
    path = config.path
    if path.reduce == "batch_mean" and path.stage is not None:
        raise ValueError(f"`path.reduce` batch_mean orders whole episodes; `path.stage` is {path.stage}, not None")
    if path.source == "previous" and path.reduce != "batch_mean":
        raise ValueError("`path.source` previous needs `path.reduce` batch_mean; it is episode")
    if credit_fn is not None:
        return
    if config.credit == "exact" and spec.n_actions**spec.n_agents > MAX_JOINT_ACTIONS:
        raise ValueError(
            f"`credit` exact enumerates {spec.n_actions}^{spec.n_agents} joint actions of {spec.id}, above "
            f"{MAX_JOINT_ACTIONS}; choose swept or monte_carlo"
        )
    if config.credit == "shapley":
        check_pairs(spec.n_agents, config.credit_orders)


def init(key: PRNGKeyArray, spec: EnvSpec, config: ActorCriticConfig) -> Learner:
    """Fresh networks; the target is a copy of the critic."""
    actor_key, critic_key, order_key, contribution_key = jax.random.split(key, 4)
    actor = RecurrentAgent.init(actor_key, n_agent_inputs(spec), config.actor_hidden, spec.n_actions)
    training = fresh_critic(critic_key, spec, config)
    return Learner(
        actor=actor,
        critic=training.critic,
        target=training.target,
        actor_opt=optimiser_state(clipped_adam(config.actor_lr, config.clip_norm), actor),
        critic_opt=training.opt,
        critic_steps=training.steps,
        fixed_order=shuffled(order_key, spec.n_agents).astype(jnp.int32),
        contributions=jax.random.normal(contribution_key, (spec.n_agents,)),
    )


def update(
    learner: Learner,
    episodes: Episodes,
    key: PRNGKeyArray,
    axis: str | None,
    spec: EnvSpec,
    config: ActorCriticConfig,
    credit_fn: CreditFn | None = None,
    order_fn: OrderFn | None = None,
) -> tuple[Learner, dict[str, Array]]:
    """Critic steps, then actor steps, one each as published. Zang et al. 2023, Fig. 3(c).

    1. TD(lambda) targets of the target critic; gradient, clipping, Adam step of the critic, `critic_epochs` times.
    2. Every `target_interval` critic steps the critic just stepped is copied into the target.
    3. Order and advantages by the critic just stepped; gradient, clipping, Adam step of the actor, `actor_epochs`
       times. With `td_correction` w, which is not in the paper, the actor follows

           A_i + w (y - f(s, u)),

       whose mean gradient for w = 1 and exact expectations over the agents yet to be judged is that of y, whatever f.
    """
    chunk = chunk_rows(spec, config)
    packed = pack(episodes.valid, max(chunk, CRITIC_CHUNK))
    before = CriticTraining(learner.critic, learner.target, learner.critic_opt, learner.critic_steps)
    trained, goal, regressed = train_critic(before, episodes, packed, config, axis)
    acting = unroll(learner.actor, episodes) if episodes.record is None else episodes.record
    judged = judge(
        trained.critic,
        episodes,
        acting.probs,
        packed,
        chunk,
        config,
        learner.fixed_order,
        learner.contributions,
        _episode_keys(key, episodes, axis),
        axis,
        credit_fn,
        order_fn,
    )
    correction = config.td_correction * jnp.where(episodes.valid, goal.targets - judged.taken, 0)
    actor, actor_opt, slope = train_actor(
        learner.actor, learner.actor_opt, episodes, acting, judged.advantage + correction[..., None], config, axis
    )
    stepped = Learner(
        actor=actor,
        critic=trained.critic,
        target=trained.target,
        actor_opt=actor_opt,
        critic_opt=trained.opt,
        critic_steps=trained.steps,
        fixed_order=learner.fixed_order,
        contributions=judged.team_mean,
    )
    batches = trained.steps // config.critic_epochs
    counts = {"gradient_steps": trained.steps + config.actor_epochs * batches}
    ordered, by_path = reads_order(config, credit_fn), follows_path(config, credit_fn, order_fn)
    found = measure(episodes, acting, goal, regressed, judged, slope, ordered, by_path, axis)
    if config.td_correction:
        found["correction_abs"] = mean_over_steps(jnp.abs(correction), episodes, axis)
    return stepped, counts | found


def train_actor(
    actor: RecurrentAgent,
    opt: PyTree,
    episodes: Episodes,
    acting: Acting,
    advantage: Float[Array, "batch time agents"],
    config: ActorCriticConfig,
    axis: str | None,
) -> tuple[RecurrentAgent, PyTree, ActorGradient]:
    """All gradient steps of the actor on one batch; the measures are those of the first.

    The first step is the published one (Eq. 13 to 16), whether or not ratios are clipped: they are 1 there.
    """
    optimiser = clipped_adam(config.actor_lr, config.clip_norm)
    gradient_of = functools.partial(
        actor_gradient, episodes=episodes, acting=acting, entropy_coef=config.entropy_coef, axis=axis
    )
    if config.actor_epochs == 1:
        signal, row_loss = advantage, score_function
    else:
        taken = jnp.take_along_axis(acting.probs[:, :-1], episodes.actions[:, :-1, :, None], axis=-1)[..., 0]
        old_log_prob = jnp.log(jnp.where(episodes.valid[..., None] & (taken > 0), taken, 1))
        signal, row_loss = Judgement(advantage, old_log_prob), functools.partial(clipped_score, clip=config.clip)

    def step(sofar: tuple[RecurrentAgent, PyTree], _: None) -> tuple[tuple[RecurrentAgent, PyTree], ActorGradient]:
        agent, opt = sofar
        slope = gradient_of(agent, signal=signal, entropy_form=config.entropy, row_loss=row_loss)
        moves, opt = optimiser.update(slope.gradient, opt)
        return (eqx.apply_updates(agent, moves), opt), slope

    (actor, opt), slopes = jax.lax.scan(step, (actor, opt), length=config.actor_epochs)
    return actor, opt, jax.tree.map(lambda x: x[0], slopes)


def _episode_keys(key: PRNGKeyArray, episodes: Episodes, axis: str | None) -> Key[Array, " batch"]:
    """One key per episode, whatever the number of devices."""
    batch = episodes.valid.shape[0]
    first = 0 if axis is None else jax.lax.axis_index(axis) * batch
    return jax.vmap(functools.partial(jax.random.fold_in, key))(first + jnp.arange(batch))


def memory(batch: int, spec: EnvSpec, config: ActorCriticConfig) -> int:
    """Estimated peak bytes of training."""
    credit = 4 * chunk_rows(spec, config) * credit_floats(spec, config)
    return mixing_memory(batch, spec, config, config.actor_hidden) + credit
