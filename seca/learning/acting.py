"""Acting with recurrent networks, one for all agents or several, and unrolling them again over given episodes."""

import functools
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, Key, PRNGKeyArray

from seca.distributions import Distribution, PolicyFn, encoded, is_continuous, policy_for, policy_of
from seca.nets.agents import RecurrentAgent, agent_inputs
from seca.nets.several import SharedOrOwn, own, several
from seca.policies import Exploration, epsilon_greedy, epsilon_greedy_probs, mode, of_taken
from seca.types import Acted, Actions, EnvSpec, Episodes, TimeStep


class Carry(eqx.Module):
    """Recurrent state and last action of each agent, the action as networks are told it."""

    hidden: Float[Array, "batch agents hidden"]
    last_action: Float[Array, "batch agents actions"]


class Acting(eqx.Module):
    """What acting recorded of each row, or a re-unroll computed; rows are `batch`, or `batch time1` once collected."""

    hidden: Float[Array, "*rows agents hidden"]
    """Recurrent state before the row (zeros at t = 0)."""
    probs: Float[Array, "*rows agents actions"]
    """Masked policy, as critics are told it: probabilities, or means and variances (`distributions`)."""
    value: Float[Array, "*rows agents"] | None = None
    """V_i, of an agent whose head has one output more than there are actions."""


class Unrolled(eqx.Module):
    """A network's pass over whole episodes; rows after the longest one are zeros."""

    hidden: Float[Array, "batch time1 agents hidden"]
    """Recurrent state before each row."""
    outputs: Float[Array, "batch time1 agents outputs"]


def n_agent_inputs(spec: EnvSpec) -> int:
    """Length of a row of `nets.agents.agent_inputs`."""
    return spec.obs_size + spec.action_width + spec.n_agents


def fresh_agent(key: PRNGKeyArray, spec: EnvSpec, hidden: int, outputs: int) -> SharedOrOwn:
    """A fresh network that reads `agent_inputs`, or one for each of `spec.networks`."""
    make = functools.partial(RecurrentAgent.init, n_inputs=n_agent_inputs(spec), hidden=hidden, n_actions=outputs)
    return several(make, key, spec.networks)


def initial_carry(batch: int, spec: EnvSpec, hidden: int) -> Carry:
    """Zeros."""
    return Carry(
        jnp.zeros((batch, spec.n_agents, hidden), jnp.float32),
        jnp.zeros((batch, spec.n_agents, spec.action_width), jnp.float32),
    )


def told(carry: Carry, actions: Actions) -> Carry:
    """The carry after acting, had these actions been taken."""
    return Carry(carry.hidden, encoded(actions, carry.last_action.shape[-1], carry.last_action.dtype))


def act_in(spec: EnvSpec) -> Callable[..., Acted]:
    """`act` by policies of the form that an environment's actions have by themselves, without a schedule."""
    return functools.partial(act, policy_at=lambda env_steps: policy_of(spec))


def act(
    params: SharedOrOwn,
    carry: Carry,
    time_step: TimeStep,
    keys: Key[Array, " batch"],
    env_steps: Array,
    greedy: bool,
    policy_at: Callable[[Array], PolicyFn],
) -> Acted:
    """Sample from the policy, or take its most probable action.

    Args:
        params: the agent.
        carry: its state.
        time_step: what it sees.
        keys: one per runner.
        env_steps: training steps so far, for schedules.
        greedy: whether to take the most probable action.
        policy_at: how outputs become a policy after so many env steps.
    """
    hidden, outputs = params(agent_inputs(time_step.obs, carry.last_action), carry.hidden)
    seen, policy = observed(carry.hidden, outputs, time_step.avail, policy_at(env_steps))
    actions = policy.mode() if greedy else policy.sample(keys)
    return Acted(told(Carry(hidden, carry.last_action), actions), actions, None if greedy else seen)


def act_on_values(
    params: SharedOrOwn,
    carry: Carry,
    time_step: TimeStep,
    keys: Key[Array, " batch"],
    env_steps: Array,
    greedy: bool,
    exploration: Exploration,
) -> Acted:
    """Each agent for itself: its best available action, or with probability epsilon any available one."""
    hidden, q = params(agent_inputs(time_step.obs, carry.last_action), carry.hidden)
    if greedy:
        actions = mode(q, time_step.avail)
    else:
        choose = functools.partial(epsilon_greedy, share=exploration.epsilon(env_steps))
        actions = jax.vmap(choose)(keys, q, time_step.avail)
    last_action = jax.nn.one_hot(actions, q.shape[-1], dtype=q.dtype)
    return Acted(Carry(hidden, last_action), actions)


def utility_gain(
    q: Float[Array, "batch time agents actions"], episodes: Episodes, epsilon: Float[Array, ""]
) -> tuple[Float[Array, "batch time agents"], Float[Array, "batch time agents actions"]]:
    """q_i(u_i) - sum_a pi_i(a) q_i(a) under the policy of `act_on_values`, 0 on padding; and that policy."""
    probs = epsilon_greedy_probs(q, episodes.avail[:, :-1], epsilon)
    gain = of_taken(q, episodes.actions[:, :-1]) - (probs * q).sum(axis=-1)
    return jnp.where(episodes.valid[..., None], gain, 0), probs


def observed(hidden: Array, outputs: Array, avail: Array, policy: PolicyFn) -> tuple[Acting, Distribution]:
    """What one pass of the agent amounts to, and its policy."""
    found = policy(outputs, avail)
    encoding = found.encoding
    width = encoding.shape[-1]
    value = outputs[..., width] if outputs.shape[-1] > width else None
    return Acting(hidden, encoding, value), found


def action_width(episodes: Episodes) -> int:
    """`EnvSpec.action_width` of the environment that they were played in."""
    return episodes.avail.shape[-1] * (2 if is_continuous(episodes.actions) else 1)


def last_actions(episodes: Episodes) -> Float[Array, "batch time1 agents actions"]:
    """The action before each row, as networks are told it; zeros at t = 0."""
    taken = encoded(episodes.actions[:, :-1], action_width(episodes), episodes.obs.dtype)
    return jnp.concatenate([jnp.zeros_like(taken[:, :1]), taken], axis=1)


def unroll(agent: SharedOrOwn, episodes: Episodes) -> Unrolled:
    """Hidden states and outputs from zeros at t = 0 up to row L of the longest episode."""
    agent = own(agent)
    batch, n_rows, n_agents, _ = episodes.obs.shape
    previous = last_actions(episodes)
    hidden = jnp.zeros((batch, n_agents, agent.cell.weight_hh.shape[-1]), agent.cell.weight_hh.dtype)
    room = lambda size: jnp.zeros((n_rows, batch, n_agents, size), hidden.dtype)  # noqa: E731

    def step(t: Int[Array, ""], carry: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        before, states, outputs = carry
        after, output = agent(agent_inputs(episodes.obs[:, t], previous[:, t]), before)
        return after, states.at[t].set(before), outputs.at[t].set(output)

    carry = (hidden, room(hidden.shape[-1]), room(agent.head.bias.shape[-1]))
    _, states, outputs = jax.lax.fori_loop(0, episodes.length.max() + 1, step, carry)
    return Unrolled(jnp.moveaxis(states, 0, 1), jnp.moveaxis(outputs, 0, 1))


def acting_over(agent: SharedOrOwn, episodes: Episodes, policy: PolicyFn | None = None) -> Acting:
    """Hidden states and policies of an actor: as acting recorded them, else unrolled again over the episodes.

    The policy's form is that which such actions have by themselves, unless one is given.
    """
    if episodes.record is not None:
        return episodes.record
    again = unroll(agent, episodes)
    form = policy_for(episodes.actions) if policy is None else policy
    return observed(again.hidden, again.outputs, episodes.avail, form)[0]
