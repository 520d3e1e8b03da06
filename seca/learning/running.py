"""Running normalisation: what a learner is shown in the units of what it has met so far.

Moments are exact over all that was counted: each batch's own, by two passes, are merged into those before (Chan et al.
1983, Eq. 2.1), with sums over all devices. They are part of the learner, so they are saved with it.
"""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float

from seca.distributions import dead
from seca.learning.devices import global_sum
from seca.types import EnvSpec, Episodes, TimeStep

LIMIT = 10.0
"""Deviations beyond which a number is cut off."""
LEAST = 1e-4
"""A deviation below this is none: the feature does not vary, and counts as having one of 1."""
LEAST_SHARE = 1e-6
"""The same as a share of the mean: what single precision can tell of large numbers."""


class Moments(eqx.Module):
    """Count, mean and sum of squared deviations of each of some features, over all that was counted so far."""

    count: Float[Array, "..."]
    """Broadcasts against the features: one for all, or one for each agent."""
    mean: Float[Array, "..."]
    squares: Float[Array, "..."]

    @classmethod
    def nothing(cls, count: tuple[int, ...], features: tuple[int, ...]) -> "Moments":
        """Before anything was counted: numbers are shown as they are."""
        return cls(*(jnp.zeros(shape, jnp.float32) for shape in (count, features, features)))

    def merged(
        self, values: Float[Array, "batch time ..."], counted: Bool[Array, "batch time ..."], axis: str | None
    ) -> "Moments":
        """With a batch of all devices; `counted` broadcasts against `values`, as `count` does against the features.

        d = mean_B - mean_A,  n = n_A + n_B,  mean = mean_A + d n_B / n,  M2 = M2_A + M2_B + d^2 n_A n_B / n
        """
        summed = lambda x: global_sum(jnp.where(counted, x, 0).sum(axis=(0, 1)), axis)  # noqa: E731
        number = global_sum(counted.sum(axis=(0, 1), dtype=self.count.dtype), axis)
        # About the mean so far, which keeps digits where features are large beside their deviation.
        apart = summed(values - self.mean) / jnp.maximum(number, 1)
        squares = summed((values - (self.mean + apart)) ** 2)
        whole = self.count + number
        share = number / jnp.maximum(whole, 1)
        return Moments(whole, self.mean + apart * share, self.squares + squares + apart**2 * self.count * share)

    @property
    def deviation(self) -> Float[Array, "..."]:
        """Of each feature; 1 where it does not vary."""
        variance = self.squares / jnp.maximum(self.count, 1)
        least = jnp.maximum(LEAST, LEAST_SHARE * jnp.abs(self.mean)) ** 2
        return jnp.sqrt(jnp.where(variance > least, variance, 1))

    def shown(self, values: Float[Array, "..."]) -> Float[Array, "..."]:
        """(x - mean) / deviation, cut off at ten."""
        return jnp.clip((values - self.mean) / self.deviation, -LIMIT, LIMIT)


class Running(eqx.Module):
    """What has been counted of a run; None of what is not asked for."""

    obs: Moments | None = None
    """Of each agent and feature."""
    state: Moments | None = None
    reward: Moments | None = None
    """Of the discounted sum of rewards, by whose deviation they are divided."""
    continuous: bool = eqx.field(static=True, default=False)
    """Whether actions are, which tells who is dead."""

    @classmethod
    def nothing(cls, spec: EnvSpec, parts: tuple[str, ...]) -> "Running":
        """Of these parts, before anything was counted."""
        shapes = {
            "obs": ((spec.n_agents, 1), (spec.n_agents, spec.obs_size)),
            "state": ((1,), (spec.state_size,)),
            "reward": ((), ()),
        }
        return cls(**{part: Moments.nothing(*shapes[part]) for part in parts}, continuous=spec.box is not None)

    def merged(self, episodes: Episodes, gamma: float, axis: str | None) -> "Running":
        """With all steps of new episodes; those in which an agent was absent tell nothing of its observations."""
        valid, obs, state, reward = episodes.valid, self.obs, self.state, self.reward
        if obs is not None:
            seen = episodes.obs[:, :-1]
            there = valid[..., None] & ~self._absent(seen, episodes.avail[:, :-1])
            obs = obs.merged(seen, there[..., None], axis)
        if state is not None:
            state = state.merged(episodes.state[:, :-1], valid[..., None], axis)
        if reward is not None:
            reward = reward.merged(discounted(episodes.reward, gamma), valid, axis)
        return dataclasses.replace(self, obs=obs, state=state, reward=reward)

    @property
    def reward_unit(self) -> Float[Array, ""] | float:
        """What rewards are divided by."""
        return 1.0 if self.reward is None else self.reward.deviation

    def time_step(self, time_step: TimeStep) -> TimeStep:
        """As learners see it; the reward, which nobody acts on, is left."""
        return dataclasses.replace(
            time_step, obs=self._obs(time_step.obs, time_step.avail), state=self._state(time_step.state)
        )

    def episodes(self, episodes: Episodes) -> Episodes:
        """As learners see them. Padding becomes other padding."""
        reward = episodes.reward
        if self.reward is not None:
            reward = jnp.clip(reward / self.reward.deviation, -LIMIT, LIMIT)
        obs, state = self._obs(episodes.obs, episodes.avail), self._state(episodes.state)
        return dataclasses.replace(episodes, reward=reward, obs=obs, state=state)

    def _obs(self, obs: Array, avail: Array) -> Array:
        if self.obs is None:
            return obs
        return jnp.where(self._absent(obs, avail)[..., None], 0, self.obs.shown(obs))

    def _state(self, state: Array) -> Array:
        return state if self.state is None else self.state.shown(state)

    def _absent(self, obs: Array, avail: Array) -> Array:
        """Who is dead and sees nothing: zeros that stand for no observation, and stay zeros."""
        return dead(avail, self.continuous) & (obs == 0).all(axis=-1)


def discounted(reward: Float[Array, "batch time"], gamma: float) -> Float[Array, "batch time"]:
    """G_t = gamma G_{t-1} + r_t: what rewards have come to so far, as Gymnasium's `NormalizeReward` counts them."""
    step = functools.partial(_sum_so_far, gamma)
    return jax.lax.scan(step, jnp.zeros_like(reward[:, 0]), reward.T)[1].T


def _sum_so_far(gamma: float, before: Array, reward: Array) -> tuple[Array, Array]:
    now = gamma * before + reward
    return now, now
