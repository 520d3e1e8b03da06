"""One-step games with continuous actions and known answers: what policies are worth has a closed form.

Each of three agents says a number from -1 to 1. Under Gaussian policies of means m_i and variances v_i,

    apart      r = -sum_i (a_i - c_i)^2        E r = -sum_i ((m_i - c_i)^2 + v_i)
    together   r = -(sum_i a_i - c)^2          E r = -((sum_i m_i - c)^2 + sum_i v_i)

so a critic told of policies by mean and variance can be exact (Zang et al. 2023, section 3.2; docs/math.md).
"""

import functools

import jax.numpy as jnp
from jaxtyping import Array, Float, Key

from seca.envs.base import Env
from seca.types import Box, EnvSpec, PyTree, TimeStep

VERSION = "quadratic-1"
GAMES = ("apart", "together")
N_AGENTS = 3
GOALS = (0.5, -0.25, 0.75)
"""c_i of `apart`."""
SUM = 0.9
"""c of `together`."""


def make(name: str) -> Env:
    """`apart` or `together`. Raises ValueError for any other name.

    Agents see a constant, the episode terminates after its single step, and nobody wins: the best return is 0.
    """
    if name not in GAMES:
        raise ValueError(f"`env` quadratic/{name} does not exist; choose from {', '.join(GAMES)}")
    spec = EnvSpec(
        id=f"quadratic/{name}",
        version=VERSION,
        n_agents=N_AGENTS,
        n_actions=1,
        obs_size=1,
        state_size=1,
        episode_limit=1,
        box=Box((-1.0,), (1.0,)),
    )
    return Env(spec, _reset, functools.partial(_step, name))


def rewards(name: str, actions: Float[Array, "*batch agents"]) -> Float[Array, "*batch"]:
    """What a joint action pays."""
    if name == "apart":
        return -((actions - jnp.asarray(GOALS, actions.dtype)) ** 2).sum(axis=-1)
    return -((actions.sum(axis=-1) - SUM) ** 2)


def expected(
    name: str, mean: Float[Array, "*batch agents"], variance: Float[Array, "*batch agents"]
) -> Float[Array, "*batch"]:
    """Its mean under Gaussian policies, whose actions the box does not cut."""
    return rewards(name, mean) - variance.sum(axis=-1)


def _shown(reward: Float[Array, " batch"], done: Array) -> TimeStep:
    ones = jnp.ones((reward.shape[0], N_AGENTS, 1), jnp.float32)
    no = jnp.zeros_like(done)
    return TimeStep(ones, ones[:, 0], ones > 0, reward, done, no, {})


def _reset(keys: Key[Array, " batch"]) -> tuple[PyTree, TimeStep]:
    over = jnp.zeros(keys.shape[0], bool)
    return over, _shown(jnp.zeros(keys.shape[0], jnp.float32), over)


def _step(name: str, over: Array, actions: Float[Array, "batch agents 1"]) -> tuple[PyTree, TimeStep]:
    paid = rewards(name, jnp.clip(actions[..., 0], -1, 1))
    done = jnp.ones_like(over)
    return done, _shown(jnp.where(over, 0.0, paid).astype(jnp.float32), done)
