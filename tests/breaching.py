"""A game that breaks its contract in the way it is told to, compiled or played by workers."""

import os

import jax
import jax.numpy as jnp
import numpy as np

from seca.envs.base import Env
from seca.envs.hosted.single import Frame, Spec
from seca.types import EnvSpec, TimeStep

LIMIT = 4
WAYS = {
    "obs": "agent 1 observes a number that is not finite",
    "state": "the state holds a number that is not finite",
    "avail": "agent 1 has no available action; who may do nothing has one that does so",
    "reward": "the reward is not finite",
    "ends": "the episode both terminated and was truncated",
}
"""How it may break it, and what is said of it."""


def env(how: str = "", at: int = 2, every: int = 1, mended: str = "") -> Env:
    """Two agents wait for the limit. At step `at` the contract is broken in episodes whose number, 0 to 99, leaves no
    rest divided by `every`, unless there is a file `mended`."""
    how = "" if mended and os.path.exists(mended) else how

    def show(number, t):
        now = jnp.where((t == at) & (number % every == 0), jnp.nan, 0) if how else jnp.zeros(t.shape)
        broken, second = jnp.isnan(now), jnp.arange(2) == 1
        told = lambda way: now if how == way else jnp.zeros(t.shape)  # noqa: E731
        obs = jnp.stack([t / LIMIT, number / 100], axis=-1)[:, None] + jnp.where(
            second[:, None], told("obs")[:, None, None], 0
        )
        avail = jnp.ones((len(t), 2, 3), bool)
        if how == "avail":
            avail &= ~(broken[:, None] & second)[..., None]
        both = broken & (how == "ends")
        state = jnp.stack([t / LIMIT, number / 100 + told("state")], axis=-1)
        reward = jnp.where(t > 0, 1.0, 0.0) + told("reward")
        obs, state, reward = (x.astype(jnp.float32) for x in (obs, state, reward))
        return TimeStep(obs, state, avail, reward, both, both | (t >= LIMIT), {})

    def reset(keys):
        number = jax.vmap(lambda key: jax.random.randint(key, (), 0, 100))(keys)
        t = jnp.zeros_like(number)
        return (number, t), show(number, t)

    def step(state, actions):
        number, t = state
        return (number, jnp.minimum(t + 1, LIMIT)), show(number, jnp.minimum(t + 1, LIMIT))

    return Env(EnvSpec("breaching", "1", 2, 3, 2, 2, LIMIT), reset, step)


class Played:
    """The same for workers."""

    wins = False

    def __init__(self, how: str, at: int, every: int) -> None:
        self.spec = Spec("breaching", "1", 2, 3, 2, 2, LIMIT)
        self._how, self._at, self._every = how, at, every

    def reset(self, seed: int) -> Frame:
        self._seed, self._time = seed, 0
        return self._shown()

    def step(self, actions: np.ndarray) -> Frame:
        self._time += 1
        return self._shown()

    def close(self) -> None:
        pass

    def _shown(self) -> Frame:
        how = self._how if self._time == self._at and self._seed % self._every == 0 else ""
        obs = np.full((2, 2), self._time / LIMIT, np.float32)
        obs[1] += np.nan if how == "obs" else 0
        state = np.array([self._time, np.inf if how == "state" else 0], np.float32)
        avail = np.array([[True] * 3, [how != "avail"] * 3])
        ends = how == "ends"
        return Frame(obs, state, avail, np.nan if how == "reward" else 1.0, ends, ends)


def single(how: str = "", at: int = 2, every: int = 1) -> Played:
    """See `env`."""
    return Played(how, at, every)
