"""The critic's half of an update: TD(lambda) regression of the taken joint actions."""

import functools
import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Bool, Float, Int, PRNGKeyArray

from seca.algos.config import MixingCriticConfig
from seca.algos.grouped import taken_value as grouped_taken_value
from seca.algos.optim import clipped_adam, global_sum, optimiser_state
from seca.algos.packing import Chunk, Packed, flat, over_chunks, room_for, unpack, write
from seca.nets.critics import MixingCritic
from seca.returns import td_lambda
from seca.types import EnvSpec, Episodes, PyTree

Critic = PyTree
"""A joint critic: `MixingCritic`, or any other that a `TakenValue` knows how to read."""

TakenValue = Callable[[Critic, Float[Array, "rows state"], Int[Array, "rows agents"]], Float[Array, " rows"]]
"""f(s, u) of many rows: `plain_taken_value`, or `algos.grouped.taken_value`, which is faster and equal."""


def plain_taken_value(
    critic: MixingCritic, state: Float[Array, "rows state"], actions: Int[Array, "rows agents"]
) -> Float[Array, " rows"]:
    """f(s, u) of each row from the whole W1(s)."""
    return critic.weights(state, actions.shape[-1]).taken_value(actions)


class Regression(eqx.Module):
    """What the critic is regressed to: fixed over all gradient steps on a batch."""

    targets: Float[Array, "batch time"]
    """y_t; 0 on padding."""
    target_values: Float[Array, "batch time1"]
    """Target critic at the taken actions; meaningless on padding."""


class CriticGradient(eqx.Module):
    """The critic's loss and gradient over a batch."""

    gradient: PyTree
    loss: Float[Array, ""]
    taken: Float[Array, "batch time"]
    """f(s_t, u_t) before the step."""


def regression(
    target: Critic,
    episodes: Episodes,
    packed: Packed,
    chunk: int,
    gamma: float,
    lam: float,
    terminal_limit: bool,
    taken_value: TakenValue = plain_taken_value,
) -> Regression:
    """TD(lambda) targets by the target critic at the taken actions. Zang et al. 2023, Eq. 12.

    Args:
        target: target critic, used for y alone.
        episodes: whole episodes.
        packed: their real rows.
        chunk: rows visited at once.
        gamma: discount.
        lam: lambda of the targets.
        terminal_limit: treat an episode cut by the time limit as ended.
        taken_value: how f(s, u) is computed.
    """
    state, actions = flat(episodes.state), flat(episodes.actions)

    def evaluate(buffer: Array, rows: Chunk) -> Array:
        return write(buffer, taken_value(target, state[rows.index], actions[rows.index]), rows)

    values = unpack(over_chunks(packed, chunk, evaluate, room_for(packed, (), state.dtype)), packed)
    ended = episodes.terminated | episodes.truncated if terminal_limit else episodes.terminated
    targets = jax.vmap(functools.partial(td_lambda, gamma=gamma, lam=lam))(
        episodes.reward, ended, episodes.valid, values
    )
    return Regression(targets, values)


def critic_gradient(
    critic: Critic,
    goal: Regression,
    episodes: Episodes,
    packed: Packed,
    chunk: int,
    axis: str | None,
    taken_value: TakenValue = plain_taken_value,
) -> CriticGradient:
    """Gradient of the masked mean squared error, L = sum_{b,t} m (f(s_t, u_t) - y_t)^2 / sum m.

    Zang et al. 2023, Eq. 12. Chunks' gradients are summed; sums and counts are global over `axis`.

    Args:
        critic: online critic f.
        goal: targets y.
        episodes: whole episodes.
        packed: their real rows.
        chunk: rows visited at once.
        axis: mapped axis of devices, or None.
        taken_value: how f(s, u) is computed.
    """
    state, actions = flat(episodes.state), flat(episodes.actions)
    final_row = ((0, 0), (0, 1))
    valid, y = flat(jnp.pad(episodes.valid, final_row)), flat(jnp.pad(goal.targets, final_row))
    slope = jax.value_and_grad(functools.partial(_squared_error, taken_value), has_aux=True)

    def accumulate(carry: PyTree, rows: Chunk) -> PyTree:
        total, loss, buffer = carry
        counts = rows.real & valid[rows.index]
        (chunk_loss, taken), gradient = slope(critic, state[rows.index], actions[rows.index], y[rows.index], counts)
        return jax.tree.map(jnp.add, total, gradient), loss + chunk_loss, write(buffer, taken, rows)

    zeros = jax.tree.map(jnp.zeros_like, critic)
    init = (zeros, jnp.zeros((), state.dtype), room_for(packed, (), state.dtype))
    gradient, loss, taken = over_chunks(packed, chunk, accumulate, init)
    gradient, loss, count = global_sum((gradient, loss, episodes.valid.sum()), axis)
    return CriticGradient(
        gradient=jax.tree.map(lambda g: g / count.astype(g.dtype), gradient),
        loss=loss / count.astype(loss.dtype),
        taken=unpack(taken, packed)[:, :-1],
    )


def _squared_error(
    taken_value: TakenValue,
    critic: Critic,
    state: Array,
    actions: Array,
    y: Array,
    counts: Bool[Array, " chunk"],
) -> tuple[Array, Array]:
    """Sum (not mean) over a chunk, so that chunks and devices add up."""
    taken = taken_value(critic, state, actions)
    return jnp.where(counts, (taken - y) ** 2, 0).sum(), taken


def step_joint(
    critic: Critic,
    target: Critic,
    opt: PyTree,
    episodes: Episodes,
    packed: Packed,
    optimiser: optax.GradientTransformation,
    gamma: float,
    lam: float,
    terminal_limit: bool,
    axis: str | None,
    taken_value: TakenValue,
) -> tuple[Critic, PyTree, Regression, CriticGradient]:
    """One gradient step of any joint critic towards TD(lambda) targets of its target; new critic and state first."""
    goal = regression(target, episodes, packed, CRITIC_CHUNK, gamma, lam, terminal_limit, taken_value)
    found = critic_gradient(critic, goal, episodes, packed, CRITIC_CHUNK, axis, taken_value)
    moves, opt = optimiser.update(found.gradient, opt)
    return eqx.apply_updates(critic, moves), opt, goal, found


class CriticTraining(eqx.Module):
    """The mixing critic and everything that its training remembers."""

    critic: MixingCritic
    target: MixingCritic
    opt: PyTree
    steps: Int[Array, ""]


def fresh_critic(key: PRNGKeyArray, spec: EnvSpec, config: MixingCriticConfig) -> CriticTraining:
    """An untrained critic; its target is a copy of it."""
    critic = MixingCritic.init(
        key, spec.n_agents, spec.n_actions, spec.state_size, config.critic_embed, config.critic_width
    )
    opt = optimiser_state(clipped_adam(config.critic_lr, config.clip_norm), critic)
    return CriticTraining(critic, jax.tree.map(jnp.copy, critic), opt, jnp.zeros((), jnp.int32))


class CriticStep(eqx.Module):
    """Measures of a gradient step."""

    loss: Float[Array, "*epochs"]
    gradient_norm: Float[Array, "*epochs"]
    """Before clipping."""
    taken: Float[Array, "*epochs batch time"]
    """f(s_t, u_t) before the step."""


def train_critic(
    before: CriticTraining, episodes: Episodes, packed: Packed, config: MixingCriticConfig, axis: str | None
) -> tuple[CriticTraining, Regression, CriticStep]:
    """All gradient steps of the critic on one batch; the measures are those of the first.

    Targets come from the target critic once; every `target_interval` critic steps the critic just stepped is copied
    into the target.
    """
    values = plain_taken_value if is_wide(config) else grouped_taken_value
    terminal = config.time_limit == "terminal"
    goal = regression(before.target, episodes, packed, CRITIC_CHUNK, config.gamma, config.td_lambda, terminal, values)
    optimiser = clipped_adam(config.critic_lr, config.clip_norm)

    def step(sofar: tuple[MixingCritic, PyTree], _: None) -> tuple[tuple[MixingCritic, PyTree], CriticStep]:
        critic, opt = sofar
        found = critic_gradient(critic, goal, episodes, packed, CRITIC_CHUNK, axis, values)
        moves, opt = optimiser.update(found.gradient, opt)
        measured = CriticStep(found.loss, optax.tree.norm(found.gradient), found.taken)
        return (eqx.apply_updates(critic, moves), opt), measured

    (critic, opt), measured = jax.lax.scan(step, (before.critic, before.opt), length=config.critic_epochs)
    # Counted in critic updates, of which each batch makes `critic_epochs`.
    steps = before.steps + config.critic_epochs
    copy_now = steps // config.target_interval > before.steps // config.target_interval
    target = jax.tree.map(lambda new, old: jnp.where(copy_now, new, old), critic, before.target)
    return CriticTraining(critic, target, opt, steps), goal, jax.tree.map(lambda x: x[0], measured)


CRITIC_CHUNK = 1024
"""Rows visited at once by the critic's regression, which groups them by taken action."""


def is_wide(config: MixingCriticConfig) -> bool:
    """Whether the hypernetwork of W1 is too wide to be handled slice by slice."""
    return config.critic_width is None or config.critic_width > 512


def chunk_rows(spec: EnvSpec, config: MixingCriticConfig) -> int:
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


def mixing_memory(batch: int, spec: EnvSpec, config: MixingCriticConfig, hidden: int) -> int:
    """Estimated peak bytes of training: parameters with optimiser and gradients, episodes, a chunk's working set."""
    n_outputs = config.critic_embed * spec.n_agents * spec.n_actions
    width = n_outputs if config.critic_width is None else config.critic_width
    critic = (spec.state_size + n_outputs) * width + 3 * config.critic_embed * (spec.state_size + config.critic_embed)
    per_row = spec.n_agents * (spec.obs_size + 4 * spec.n_actions + 2 * config.critic_embed + 2 * hidden)
    rows = batch * (spec.episode_limit + 1)
    working = 8 * chunk_rows(spec, config) * max(n_outputs, width)
    # Parameters, target, two Adam moments, gradient and its sum while chunks are added up.
    return 4 * (7 * critic + 3 * rows * (per_row + spec.state_size) + working)
