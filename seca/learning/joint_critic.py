"""The joint critic's half of an update: TD(lambda) regression of the taken joint actions."""

import dataclasses
import functools
import math
from collections.abc import Callable
from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from seca.credit.sequential import prefix_values
from seca.distributions import is_continuous
from seca.learning.devices import global_sum, step_keys
from seca.learning.memory import visited
from seca.learning.rows import Packed, map_rows, sum_value_and_grad, to_rows, unpack
from seca.learning.trained import Trained, clipped_adam, fresh, norm
from seca.nets.critics import MixingCritic
from seca.nets.grouped import taken_value as grouped_taken_value
from seca.ranges import Count, Positive, Range
from seca.returns import LambdaTargets, Targets, lambda_returns
from seca.sizes import sizes
from seca.types import Actions, EnvSpec, Episodes, PyTree, TimeLimit


@dataclasses.dataclass(frozen=True)
class MixingCriticConfig(LambdaTargets):
    """Options of the mixing critic and of its training."""

    critic_lr: Positive = 5e-4
    """Adam step size of the critic."""
    target_interval: Count = 200
    """Critic steps between two copies of the critic into its target."""
    critic_epochs: Annotated[int, Range(1, 10_000)] = 1
    """Gradient steps of the critic on each batch, all towards the same targets."""
    clip_norm: Positive = 10.0
    """Global gradient norm above which the gradient is scaled down, actor and critic apart."""
    critic_embed: Count = 64
    """Width of the mixing critic's hidden layer."""
    critic_width: Count | None = 64
    """Width of the hypernetwork's hidden layer for W1; None is the authors' wide one, embed * agents * actions."""


TakenValue = Callable[[PyTree, Float[Array, "rows state"], Actions], Float[Array, " rows"]]
"""`f(critic, state, actions)` of many rows: `plain_taken_value`, or `nets.grouped.taken_value`, faster and equal."""


def plain_taken_value(
    critic: MixingCritic, state: Float[Array, "rows state"], actions: Actions
) -> Float[Array, " rows"]:
    """f(s, u) of each row from the whole W1(s)."""
    return critic.weights(state, actions.shape[1]).taken_value(actions)


def taken_values(
    critic: PyTree, episodes: Episodes, packed: Packed, taken_value: TakenValue = plain_taken_value
) -> Float[Array, "batch time1"]:
    """f(s_t, u_t) of all real rows; meaningless on padding."""
    of_rows = functools.partial(taken_value, critic)
    return unpack(map_rows(of_rows, packed, episodes.state, episodes.actions), packed)


def regression_targets(
    target: PyTree,
    episodes: Episodes,
    packed: Packed,
    gamma: float,
    lam: float,
    time_limit: TimeLimit,
    taken_value: TakenValue = plain_taken_value,
) -> Float[Array, "batch time"]:
    """y_t, TD(lambda) targets by the target critic at the taken actions; 0 on padding. Zang et al. 2023, Eq. 12.

    Args:
        target: target critic, used for y alone.
        episodes: whole episodes.
        packed: their real rows.
        gamma: discount.
        lam: lambda of the targets.
        time_limit: whether an episode cut by the time limit counts as ended.
        taken_value: how f(s, u) is computed.
    """
    values = taken_values(target, episodes, packed, taken_value)
    returns = functools.partial(lambda_returns, gamma=gamma, lam=lam)
    return jax.vmap(returns)(episodes.reward, episodes.ended(time_limit), episodes.valid, values)


def td_error(
    critic: Trained,
    episodes: Episodes,
    packed: Packed,
    options: Targets,
    lam: float,
    taken_value: TakenValue = plain_taken_value,
) -> Float[Array, "batch time"]:
    """y - f(s, u) of the critic as it is, y by its target as in `regression_targets`; 0 on padding."""
    returns = options.gamma, lam, options.time_limit
    targets = regression_targets(critic.target, episodes, packed, *returns, taken_value)
    taken = taken_values(critic.params, episodes, packed, taken_value)[:, :-1]
    return jnp.where(episodes.valid, targets - taken, 0)


class Prefixes(eqx.Module):
    """What a critic is told of the policies, so that it is right of them too."""

    probs: Float[Array, "batch time1 agents actions"]
    """Policies that acted."""
    order: Int[Array, "batch time1 agents"]
    """Agent at each position, drawn anew for every step, so that all sets of agents occur."""


def drawn_prefixes(probs: Float[Array, "batch time1 agents actions"], keys: Key[Array, " batch"]) -> Prefixes:
    """The policies, and orders drawn from a stream of its own of each episode's key."""
    _, rows, n_agents, _ = probs.shape
    own = jax.vmap(lambda key: jax.random.fold_in(key, _PREFIXES))(keys)
    draw = lambda key: jax.random.permutation(key, n_agents)  # noqa: E731
    return Prefixes(probs, jax.vmap(jax.vmap(draw))(step_keys(own, rows)).astype(jnp.int32))


_PREFIXES = 0x9F1


def error_at_action(
    critic: PyTree, _: tuple[()], state: Array, actions: Array, y: Array, taken_value: TakenValue
) -> tuple[Array, Array]:
    """(f(s, u) - y)^2 of some rows, and f(s, u); a loss for `sum_value_and_grad`."""
    taken = taken_value(critic, state, actions)
    return (taken - y) ** 2, taken


def error_at_prefixes(
    critic: MixingCritic, _: tuple[()], state: Array, actions: Array, y: Array, told: Prefixes
) -> tuple[Array, Array]:
    """The mean of (f(s, x_k) - y)^2 over the inputs x_0 .. x_n of a sweep in a random order, and f(s, u) = f(s, x_n).

    In x_k the first k agents of the order are told by their actions, the others by their policies. On policy, y is a
    sample of the return given the actions of those k, so f(s, x_k) is regressed to E[Q | u_1 .. u_k], the very mean
    that Eq. 5 takes, and f(s, x_0) to V(s).
    """
    mixed = critic.weights(state, actions.shape[1]).mix(told.probs, actions)
    values = prefix_values(mixed, told.order)
    return ((values - y[:, None]) ** 2).mean(axis=-1), values[:, -1]


class CriticGradient(eqx.Module):
    """The critic's loss and gradient over a batch."""

    gradient: PyTree
    loss: Float[Array, ""]
    """At the joint actions, whatever else the gradient is of."""
    taken: Float[Array, "batch time"]
    """f(s_t, u_t) before the step."""


def critic_gradient(
    critic: PyTree,
    targets: Float[Array, "batch time"],
    episodes: Episodes,
    packed: Packed,
    count: Float[Array, ""],
    axis: str | None,
    taken_value: TakenValue = plain_taken_value,
    prefixes: Prefixes | None = None,
) -> CriticGradient:
    """Gradient of the masked mean squared error, L = sum_{b,t} m (f(s_t, u_t) - y_t)^2 / sum m.

    Zang et al. 2023, Eq. 12; with `prefixes` the gradient is of `error_at_prefixes` in place of the square.

    Args:
        critic: online critic f.
        targets: y.
        episodes: whole episodes.
        packed: their real rows.
        count: steps of all devices.
        axis: mapped axis of devices, or None.
        taken_value: how f(s, u) is computed.
        prefixes: what else is regressed, beside f(s, u).
    """
    rows: tuple[PyTree, ...] = episodes.state, episodes.actions, to_rows(targets)
    if prefixes is None:
        error = functools.partial(error_at_action, taken_value=taken_value)
    else:
        error, rows = error_at_prefixes, (*rows, prefixes)
    found = sum_value_and_grad(error, packed, critic, (), *rows, axis=axis)
    gradient = jax.tree.map(lambda g: g / count.astype(g.dtype), found.gradient)
    taken, total = unpack(found.kept, packed)[:, :-1], found.value
    if prefixes is not None:  # What is told of the critic is the same whatever else it learned from.
        total = global_sum(jnp.where(episodes.valid, (taken - targets) ** 2, 0).sum(), axis)
    return CriticGradient(gradient, total / count.astype(total.dtype), taken)


class CriticStep(eqx.Module):
    """What one or more gradient steps were made of; measures are of the first, before it."""

    targets: Float[Array, "batch time"]
    loss: Float[Array, ""]
    gradient_norm: Float[Array, ""]
    """Before clipping."""
    taken: Float[Array, "batch time"]
    """f(s_t, u_t)."""


def fit(
    critic: Trained,
    targets: Float[Array, "batch time"],
    episodes: Episodes,
    packed: Packed,
    optimiser: optax.GradientTransformation,
    count: Float[Array, ""],
    axis: str | None,
    taken_value: TakenValue,
    epochs: int = 1,
    prefixes: Prefixes | None = None,
) -> tuple[Trained, CriticStep]:
    """Gradient steps of a joint critic towards given targets, all on the same batch."""

    def step(before: Trained, _: None) -> tuple[Trained, CriticStep]:
        found = critic_gradient(before.params, targets, episodes, packed, count, axis, taken_value, prefixes)
        measured = CriticStep(targets, found.loss, norm(found.gradient), found.taken)
        return before.step(found.gradient, optimiser), measured

    if epochs == 1:
        return step(critic, None)
    trained, measured = jax.lax.scan(step, critic, length=epochs)
    return trained, jax.tree.map(lambda x: x[0], measured)


def fresh_mixing_critic(key: PRNGKeyArray, spec: EnvSpec, config: MixingCriticConfig) -> Trained:
    """An untrained mixing critic; its target is a copy of it."""
    critic = MixingCritic.init(
        key, spec.n_agents, spec.action_width, spec.state_size, config.critic_embed, config.critic_width
    )
    return fresh(critic, clipped_adam(config.critic_lr, config.clip_norm), target=True)


def train_mixing_critic(
    critic: Trained,
    episodes: Episodes,
    packed: Packed,
    config: MixingCriticConfig,
    count: Float[Array, ""],
    axis: str | None,
    prefixes: Prefixes | None = None,
) -> tuple[Trained, CriticStep]:
    """All gradient steps of the mixing critic on one batch, at the taken actions or at `prefixes` too.

    Targets come from the target critic once; every `target_interval` critic steps the critic just stepped is copied
    into the target.
    """
    plainly = is_wide(config) or is_continuous(episodes.actions)
    values = plain_taken_value if plainly else grouped_taken_value
    targets = regression_targets(
        critic.target, episodes, packed, config.gamma, config.td_lambda, config.time_limit, values
    )
    optimiser = clipped_adam(config.critic_lr, config.clip_norm)
    epochs = config.critic_epochs
    after, found = fit(critic, targets, episodes, packed, optimiser, count, axis, values, epochs, prefixes)
    # Counted in critic updates, of which each batch makes `critic_epochs`.
    interval = config.target_interval
    return after.copy_when(after.steps // interval > critic.steps // interval), found


def is_wide(config: MixingCriticConfig) -> bool:
    """Whether the hypernetwork of W1 is too wide to be handled slice by slice."""
    return config.critic_width is None or config.critic_width > 512


def chunk_rows(spec: EnvSpec, config: MixingCriticConfig) -> int:
    """Rows per chunk: as many as keep the chunk's W1 in cache on a CPU, in 256 MiB on an accelerator.

    The wide hypernetwork reads tens of MB of weights per chunk, so there a chunk has at least 512 rows.
    """
    row_bytes = 4 * spec.n_agents * spec.action_width * config.critic_embed
    rows = max(16, sizes().weight_bytes // row_bytes)
    if is_wide(config):
        rows = max(rows, 512)
    # A power of two, and no more than the rows a batch can have.
    return 2 ** min(int(math.log2(rows)), 14)


def working_floats(spec: EnvSpec, config: MixingCriticConfig, episodes: int) -> int:
    """Numbers held at once by a visit of the hypernetwork to rows of so many episodes; an estimate."""
    n_outputs = config.critic_embed * spec.n_agents * spec.action_width
    width = n_outputs if config.critic_width is None else config.critic_width
    return 8 * visited(chunk_rows(spec, config), spec, episodes) * max(n_outputs, width)
