"""SeCA and its ablations: a recurrent actor, a mixing critic, an advantage per agent and an order to judge in."""

import functools
import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from seca.algos.actor_step import Acting, actor_gradient, masked_log_probs, unroll
from seca.algos.base import Acted, Algorithm
from seca.algos.config import ActorCriticConfig
from seca.algos.credit_pass import judge
from seca.algos.critic_step import CriticGradient, Regression, critic_gradient, plain_taken_value, regression
from seca.algos.grouped import taken_value
from seca.algos.measures import measure
from seca.algos.optim import clipped_adam, optimiser_state
from seca.algos.packing import Packed, pack
from seca.credit.sequential import MAX_JOINT_ACTIONS
from seca.nets.agents import RecurrentAgent, agent_inputs
from seca.nets.critics import MixingCritic
from seca.order.simple import shuffled
from seca.types import EnvSpec, Episodes, PyTree, TimeStep


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


def actor_critic(name: str, spec: EnvSpec, config: ActorCriticConfig) -> Algorithm:
    """Build SeCA, or an ablation of it, for one environment.

    Each update takes one batch of whole episodes: one critic step, then one actor step on advantages of the critic
    just stepped, then the batch is dropped. Zang et al. 2023, section 3.

    Raises:
        ValueError: an option is out of range, or two contradict each other, or the credit cannot serve the env.
    """
    check(spec, config)
    bind = {"spec": spec, "config": config}
    return Algorithm(
        name=name,
        init=functools.partial(init, **bind),
        policy=lambda learner: learner.actor,
        initial_carry=functools.partial(initial_carry, **bind),
        act=functools.partial(act, **bind),
        update=functools.partial(update, **bind),
        memory=functools.partial(memory, **bind),
    )


def check(spec: EnvSpec, config: ActorCriticConfig) -> None:
    """Raise ValueError in words for options that make no sense."""
    for field in ("actor_lr", "critic_lr", "clip_norm"):
        if not getattr(config, field) > 0:
            raise ValueError(f"`{field}` is {getattr(config, field)}; it must be above 0")
    for field in ("gamma", "td_lambda"):
        if not 0 <= getattr(config, field) <= 1:
            raise ValueError(f"`{field}` is {getattr(config, field)}; it must lie in [0, 1]")
    sizes = ("target_interval", "critic_epochs", "actor_hidden", "critic_embed", "credit_samples")
    for field in sizes if config.critic_width is None else (*sizes, "critic_width"):
        if getattr(config, field) < 1:
            raise ValueError(f"`{field}` is {getattr(config, field)}; it must be at least 1")
    if config.entropy_coef < 0:
        raise ValueError(f"`entropy_coef` is {config.entropy_coef}; it must be at least 0")
    path = config.path
    if path.points < 1 or (path.stage is not None and path.stage < 1):
        raise ValueError(f"`path.points` is {path.points} and `path.stage` is {path.stage}; each must be at least 1")
    if path.reduce == "batch_mean" and path.stage is not None:
        raise ValueError(f"`path.reduce` batch_mean orders whole episodes; `path.stage` is {path.stage}, not None")
    if path.source == "previous" and path.reduce != "batch_mean":
        raise ValueError("`path.source` previous needs `path.reduce` batch_mean; it is episode")
    if config.credit == "exact" and spec.n_actions**spec.n_agents > MAX_JOINT_ACTIONS:
        raise ValueError(
            f"`credit` exact enumerates {spec.n_actions}^{spec.n_agents} joint actions of {spec.id}, above "
            f"{MAX_JOINT_ACTIONS}; choose swept or monte_carlo"
        )


def init(key: PRNGKeyArray, spec: EnvSpec, config: ActorCriticConfig) -> Learner:
    """Fresh networks; the target is a copy of the critic."""
    actor_key, critic_key, order_key, contribution_key = jax.random.split(key, 4)
    n_inputs = spec.obs_size + spec.n_actions + spec.n_agents
    actor = RecurrentAgent.init(actor_key, n_inputs, config.actor_hidden, spec.n_actions)
    critic = MixingCritic.init(
        critic_key, spec.n_agents, spec.n_actions, spec.state_size, config.critic_embed, config.critic_width
    )
    return Learner(
        actor=actor,
        critic=critic,
        target=jax.tree.map(jnp.copy, critic),
        actor_opt=optimiser_state(clipped_adam(config.actor_lr, config.clip_norm), actor),
        critic_opt=optimiser_state(clipped_adam(config.critic_lr, config.clip_norm), critic),
        critic_steps=jnp.zeros((), jnp.int32),
        fixed_order=shuffled(order_key, spec.n_agents).astype(jnp.int32),
        contributions=jax.random.normal(contribution_key, (spec.n_agents,)),
    )


class Carry(eqx.Module):
    """Recurrent state and last action of each agent."""

    hidden: Float[Array, "batch agents hidden"]
    last_action: Float[Array, "batch agents actions"]


def initial_carry(batch: int, spec: EnvSpec, config: ActorCriticConfig) -> Carry:
    """Zeros."""
    return Carry(
        jnp.zeros((batch, spec.n_agents, config.actor_hidden), jnp.float32),
        jnp.zeros((batch, spec.n_agents, spec.n_actions), jnp.float32),
    )


def act(
    params: RecurrentAgent,
    carry: Carry,
    time_step: TimeStep,
    keys: Key[Array, " batch"],
    env_steps: Array,
    greedy: bool,
    spec: EnvSpec,
    config: ActorCriticConfig,
) -> Acted:
    """Sample from the masked policy, or take its most probable action. There is no other exploration."""
    del env_steps, spec, config  # No schedule.
    hidden, logits = params(agent_inputs(time_step.obs, carry.last_action), carry.hidden)
    log_probs = masked_log_probs(logits, time_step.avail)
    actions = log_probs.argmax(axis=-1) if greedy else jax.vmap(jax.random.categorical)(keys, log_probs)
    last_action = jax.nn.one_hot(actions, logits.shape[-1], dtype=logits.dtype)
    record = None if greedy else Acting(carry.hidden, jnp.exp(log_probs))
    return Acted(Carry(hidden, last_action), actions.astype(jnp.int32), record)


def update(
    learner: Learner,
    episodes: Episodes,
    key: PRNGKeyArray,
    axis: str | None,
    spec: EnvSpec,
    config: ActorCriticConfig,
) -> tuple[Learner, dict[str, Array]]:
    """One critic step, then one actor step. Zang et al. 2023, Fig. 3(c).

    1. TD(lambda) targets of the target critic; gradient, clipping, Adam step of the critic.
    2. Every `target_interval` critic steps the critic just stepped is copied into the target.
    3. Order and advantages by the critic just stepped; gradient, clipping, Adam step of the actor.
    """
    chunk = chunk_rows(spec, config)
    packed = pack(episodes.valid, max(chunk, CRITIC_CHUNK))
    critic, critic_opt, goal, regressed = _step_critic(learner, episodes, packed, config, axis)
    # Counted in critic updates, of which each batch makes `critic_epochs`.
    critic_steps = learner.critic_steps + config.critic_epochs
    copy_now = critic_steps // config.target_interval > learner.critic_steps // config.target_interval
    target = jax.tree.map(lambda new, old: jnp.where(copy_now, new, old), critic, learner.target)

    acting = unroll(learner.actor, episodes) if episodes.record is None else episodes.record
    judged = judge(
        critic,
        episodes,
        acting.probs,
        packed,
        chunk,
        config,
        learner.fixed_order,
        learner.contributions,
        _episode_keys(key, episodes, axis),
        axis,
    )
    slope = actor_gradient(learner.actor, episodes, acting, judged.advantage, config.entropy_coef, config.entropy, axis)
    optimiser = clipped_adam(config.actor_lr, config.clip_norm)
    steps, actor_opt = optimiser.update(slope.gradient, learner.actor_opt)
    stepped = Learner(
        actor=eqx.apply_updates(learner.actor, steps),
        critic=critic,
        target=target,
        actor_opt=actor_opt,
        critic_opt=critic_opt,
        critic_steps=critic_steps,
        fixed_order=learner.fixed_order,
        contributions=judged.team_mean,
    )
    # One actor step goes with each `critic_epochs` steps of the critic.
    counts = {"gradient_steps": critic_steps + critic_steps // config.critic_epochs}
    return stepped, counts | measure(episodes, acting, goal, regressed, judged, slope, config, axis)


def _step_critic(
    learner: Learner, episodes: Episodes, packed: Packed, config: ActorCriticConfig, axis: str | None
) -> tuple[MixingCritic, PyTree, Regression, CriticGradient]:
    """All gradient steps of the critic on one batch; the measures are those of the first."""
    values = plain_taken_value if is_wide(config) else taken_value
    terminal = config.time_limit == "terminal"
    goal = regression(learner.target, episodes, packed, CRITIC_CHUNK, config.gamma, config.td_lambda, terminal, values)
    optimiser = clipped_adam(config.critic_lr, config.clip_norm)

    def step(critic: MixingCritic, opt: PyTree) -> tuple[MixingCritic, PyTree, CriticGradient]:
        found = critic_gradient(critic, goal, episodes, packed, CRITIC_CHUNK, axis, values)
        steps, opt = optimiser.update(found.gradient, opt)
        return eqx.apply_updates(critic, steps), opt, found

    critic, opt, first = step(learner.critic, learner.critic_opt)
    critic, opt = jax.lax.fori_loop(1, config.critic_epochs, lambda _, c: step(*c)[:2], (critic, opt))
    return critic, opt, goal, first


def _episode_keys(key: PRNGKeyArray, episodes: Episodes, axis: str | None) -> Key[Array, " batch"]:
    """One key per episode, whatever the number of devices."""
    batch = episodes.valid.shape[0]
    first = 0 if axis is None else jax.lax.axis_index(axis) * batch
    return jax.vmap(functools.partial(jax.random.fold_in, key))(first + jnp.arange(batch))


CRITIC_CHUNK = 1024
"""Rows visited at once by the critic's regression, which groups them by taken action."""


def is_wide(config: ActorCriticConfig) -> bool:
    """Whether the hypernetwork of W1 is too wide to be handled slice by slice."""
    return config.critic_width is None or config.critic_width > 512


def chunk_rows(spec: EnvSpec, config: ActorCriticConfig) -> int:
    """Rows per chunk: as many as keep the chunk's W1 in cache on a CPU, in 256 MiB on an accelerator.

    The wide hypernetwork reads tens of MB of weights per chunk, so there a chunk has at least 512 rows.
    """
    row_bytes = 4 * spec.n_agents * spec.n_actions * config.critic_embed
    on_cpu = jax.default_backend() == "cpu"
    rows = max(16, (2**21 if on_cpu else 2**28) // row_bytes)
    if is_wide(config):
        rows = max(rows, 512)
    # A power of two, and no more than the rows a batch can have.
    return 2 ** min(int(math.log2(rows)), 14)


def memory(batch: int, spec: EnvSpec, config: ActorCriticConfig) -> int:
    """Estimated peak bytes of training: parameters with optimiser and gradients, episodes, a chunk's working set."""
    n_outputs = config.critic_embed * spec.n_agents * spec.n_actions
    width = n_outputs if config.critic_width is None else config.critic_width
    critic = (spec.state_size + n_outputs) * width + 3 * config.critic_embed * (spec.state_size + config.critic_embed)
    per_row = spec.n_agents * (spec.obs_size + 4 * spec.n_actions + 2 * config.critic_embed + 2 * config.actor_hidden)
    rows = batch * (spec.episode_limit + 1)
    working = 8 * chunk_rows(spec, config) * max(n_outputs, width)
    # Parameters, target, two Adam moments, gradient and its sum while chunks are added up.
    return 4 * (7 * critic + 3 * rows * (per_row + spec.state_size) + working)
