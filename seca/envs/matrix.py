"""One-step matrix games with known optima, to check credit and learners against."""

import dataclasses
import functools

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Key, Shaped

from seca.envs.base import Env
from seca.smac.actions import whole
from seca.types import EnvSpec, PyTree, TimeStep

VERSION = "matrix-1"


@dataclasses.dataclass(frozen=True)
class Game:
    """A payoff table with one axis per agent."""

    payoff: np.ndarray
    summary: str


def _additive() -> np.ndarray:
    """r(u) = sum_i u_i (i + 1) / 4 for three agents with three actions; best when all take action 2."""
    own = np.arange(3) / 4
    return own[:, None, None] + 2 * own[None, :, None] + 3 * own[None, None, :]


GAMES = {
    # Fig. 1 of the paper: two agents hit the same enemy or waste their fire.
    "focus-fire": Game(np.eye(2), "two agents, two enemies; pays 1 when both fire at the same one (Fig. 1)"),
    # Test T5 of our notes: worked by hand in tests/credit.
    "anti-coordination": Game(1 - np.eye(2), "two agents; pays 1 when they act differently"),
    # Son et al. 2019, Table 1a.
    "qtran": Game(
        np.array([[8.0, -12, -12], [-12, 0, 0], [-12, 0, 0]]), "the non-monotonic game of QTRAN; best 8 at (0, 0)"
    ),
    # PyMARL2's one-step game: not monotone either, but its best monotone fit keeps the optimum.
    "peak": Game(
        np.array([[12.0, -0.1, -0.1], [-0.1, 0, 0], [-0.1, 0, 0]]), "pays 12 at (0, 0) and hardly anything elsewhere"
    ),
    "additive": Game(_additive(), "three agents whose rewards add up; best 3 when all take action 2"),
}


def make(name: str) -> Env:
    """Matrix game `name`. Raises ValueError for a name not in `GAMES`.

    Agents see a constant; the episode terminates after its single step, and is `won` if no joint action pays more.
    """
    if name not in GAMES:
        raise ValueError(f"`env` matrix/{name} does not exist; choose from {', '.join(sorted(GAMES))}")
    payoff = jnp.asarray(GAMES[name].payoff, jnp.float32)
    spec = EnvSpec(
        id=f"matrix/{name}",
        version=VERSION,
        n_agents=payoff.ndim,
        n_actions=payoff.shape[0],
        obs_size=1,
        state_size=1,
        episode_limit=1,
    )
    return Env(spec, functools.partial(_reset, spec), functools.partial(_step, spec, payoff))


def _time_step(spec: EnvSpec, reward: Float[Array, " batch"], done: Array, won: Array) -> TimeStep:
    batch = reward.shape[0]
    return TimeStep(
        obs=jnp.ones((batch, spec.n_agents, 1), jnp.float32),
        state=jnp.ones((batch, 1), jnp.float32),
        avail=jnp.ones((batch, spec.n_agents, spec.n_actions), bool),
        reward=reward,
        terminated=done,
        truncated=jnp.zeros(batch, bool),
        info={"won": won},
    )


def _reset(spec: EnvSpec, keys: Key[Array, " batch"]) -> tuple[PyTree, TimeStep]:
    batch = keys.shape[0]
    no = jnp.zeros(batch, bool)
    return (no, no), _time_step(spec, jnp.zeros(batch, jnp.float32), no, no)


def _step(
    spec: EnvSpec, payoff: Array, state: PyTree, actions: Shaped[Array, "batch agents"]
) -> tuple[PyTree, TimeStep]:
    over, won = state
    actions = whole(actions)
    paid = payoff[tuple(actions.T)]
    reward = jnp.where(over, 0.0, paid)
    won = jnp.where(over, won, paid >= payoff.max())
    done = jnp.ones_like(over)
    return (done, won), _time_step(spec, reward, done, won)
