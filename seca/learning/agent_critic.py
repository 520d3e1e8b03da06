"""Critics with a row of their own for each agent: values, targets and regression.

Used by COMA, whose critic has an output per action of the agent judged, and by IA2C, whose critic values the agent's
own observation.
"""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from seca.learning.acting import last_actions
from seca.learning.rows import Packed, map_rows, sum_value_and_grad, to_rows, unpack
from seca.nets.mixers import Deep
from seca.sizes import sizes
from seca.types import Actions, Episodes, PyTree, TimeLimit


class Seen(eqx.Module):
    """What a critic may read of a row."""

    state: Float[Array, "*rows state"]
    obs: Float[Array, "*rows agents obs"]
    actions: Actions
    last_action: Float[Array, "*rows agents actions"]
    """As networks are told it; zeros at t = 0."""


InputFn = Callable[[Seen], Float[Array, "*rows agents inputs"]]
"""What the critic of each agent reads."""

Readout = Callable[[Float[Array, "*rows agents outputs"], Actions], Float[Array, "*rows agents"]]
"""The value that is regressed, from the critic's outputs and the actions: `first_output`, or `policies.of_taken`."""


class AgentRegression(eqx.Module):
    """Loss and gradient of a regression before any step, and the outputs found on the way."""

    gradient: PyTree
    loss: Float[Array, ""]
    outputs: Float[Array, "..."]


def seen_in(episodes: Episodes) -> Seen:
    """All rows of a batch, `[batch, time + 1, ...]`."""
    return Seen(episodes.state, episodes.obs, episodes.actions, last_actions(episodes))


def first_output(outputs: Array, actions: Array) -> Array:
    """V_i of a critic with one output."""
    del actions  # A state value.
    return outputs[..., 0]


def outputs_of(critic: Deep, inputs: InputFn, seen: Seen, packed: Packed) -> Array:
    """The critic's outputs in every real row, `[batch, time + 1, agents, outputs]`; meaningless on padding."""
    return unpack(map_rows(lambda rows: critic(inputs(rows)), packed, seen), packed)


def targets_of(
    values: Float[Array, "batch time1 agents"],
    episodes: Episodes,
    time_limit: TimeLimit,
    returns: Callable[..., Float[Array, " time"]],
) -> Float[Array, "batch time agents"]:
    """Each agent's own targets from the team reward.

    Args:
        values: v_t of each agent by the target network.
        episodes: whole episodes.
        time_limit: whether an episode cut by the time limit counts as ended.
        returns: `returns(reward, terminated, valid, value)` of one stream, as `returns.lambda_returns`.
    """
    by_agent = jax.vmap(returns, in_axes=(None, None, None, -1), out_axes=-1)
    return jax.vmap(by_agent)(episodes.reward, episodes.ended(time_limit), episodes.valid, values)


def squared_errors(
    inputs: InputFn, readout: Readout, critic: Deep, _: tuple[()], seen: Seen, targets: Float[Array, "*rows agents"]
) -> tuple[Float[Array, "*rows agents"], Array]:
    """(q_i - y_i)^2 of each row and agent, and the outputs; a loss for `sum_value_and_grad`."""
    outputs = critic(inputs(seen))
    return (readout(outputs, seen.actions) - targets) ** 2, outputs


def regress_all(
    critic: Deep,
    inputs: InputFn,
    seen: Seen,
    targets: Float[Array, "batch time agents"],
    packed: Packed,
    count: Float[Array, ""],
    axis: str | None,
    readout: Readout = first_output,
    counted: Bool[Array, "batch time agents"] | None = None,
) -> AgentRegression:
    """Mean squared error over all valid steps and agents of a batch, all devices, and its gradient.

    `count` is the number of steps of all devices, or, where not all agents' are `counted`, of those.
    """
    error = functools.partial(squared_errors, inputs, readout)
    if counted is None:
        count = count * targets.shape[-1]
        found = sum_value_and_grad(error, packed, critic, (), seen, to_rows(targets), axis=axis)
    else:
        error = functools.partial(_counted_errors, error)
        rows = seen, to_rows(targets), to_rows(counted)
        found = sum_value_and_grad(error, packed, critic, (), *rows, axis=axis)
    gradient = jax.tree.map(lambda g: g / count.astype(g.dtype), found.gradient)
    return AgentRegression(gradient, found.value / count.astype(found.value.dtype), unpack(found.kept, packed)[:, :-1])


def _counted_errors(
    error: Callable[..., tuple[Array, Array]], critic: Deep, _: tuple[()], seen: Seen, targets: Array, counted: Array
) -> tuple[Array, Array]:
    losses, outputs = error(critic, (), seen, targets)
    return jnp.where(counted, losses, 0), outputs


def rows_at_once(n_agents: int, n_inputs: int) -> int:
    """Rows per chunk that keep the critic's inputs around 4 MiB on a CPU: a power of two from 16 to `critic_rows`."""
    fitting = sizes().input_bytes // (4 * n_agents * n_inputs)
    return 2 ** min(max(fitting, 16).bit_length() - 1, sizes().critic_rows.bit_length() - 1)
