"""Acting with the recurrent agent: what every method with a stochastic policy does between two updates."""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from seca.algos.actor_step import PolicyFn, masked_log_probs, observed
from seca.algos.base import Acted
from seca.nets.agents import AnyAgent, agent_inputs
from seca.types import EnvSpec, TimeStep


class Carry(eqx.Module):
    """Recurrent state and last action of each agent."""

    hidden: Float[Array, "batch agents hidden"]
    last_action: Float[Array, "batch agents actions"]


def initial_carry(batch: int, spec: EnvSpec, hidden: int) -> Carry:
    """Zeros."""
    return Carry(
        jnp.zeros((batch, spec.n_agents, hidden), jnp.float32),
        jnp.zeros((batch, spec.n_agents, spec.n_actions), jnp.float32),
    )


def always_masked(env_steps: Array) -> PolicyFn:
    """The masked softmax, however long training has gone on."""
    del env_steps  # No schedule.
    return masked_log_probs


def act(
    params: AnyAgent,
    carry: Carry,
    time_step: TimeStep,
    keys: Key[Array, " batch"],
    env_steps: Array,
    greedy: bool,
    policy_at: Callable[[Array], PolicyFn] = always_masked,
) -> Acted:
    """Sample from the policy, or take its most probable action.

    Args:
        params: the agent.
        carry: its state.
        time_step: what it sees.
        keys: one per runner.
        env_steps: training steps so far, for schedules.
        greedy: whether to take the most probable action.
        policy_at: how logits become a policy after so many env steps.
    """
    hidden, outputs = params(agent_inputs(time_step.obs, carry.last_action), carry.hidden)
    seen, log_probs = observed(carry.hidden, outputs, time_step.avail, policy_at(env_steps))
    actions = log_probs.argmax(axis=-1) if greedy else jax.vmap(jax.random.categorical)(keys, log_probs)
    last_action = jax.nn.one_hot(actions, log_probs.shape[-1], dtype=log_probs.dtype)
    return Acted(Carry(hidden, last_action), actions.astype(jnp.int32), None if greedy else seen)


def n_agent_inputs(spec: EnvSpec) -> int:
    """Numbers that the agent network reads: observation, last action, index."""
    return spec.obs_size + spec.n_actions + spec.n_agents
