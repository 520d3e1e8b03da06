"""Policies as distributions, over discrete actions or Gaussian over continuous ones, and what actions are told as.

Networks are told of an agent either what it did or what it might do, in `EnvSpec.action_width` numbers: its *encoding*.
A discrete action is a one-hot, a policy over discrete actions their probabilities; a continuous action a is (a, 0), a
Gaussian policy (mean, variance). Zang et al. 2023, section 3.2. Functions here tell the two apart by the type of the
actions: integers or not.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Integer, Key, PRNGKeyArray

from seca import policies
from seca.types import Actions, EnvSpec

LOG_STD = (-4.0, 1.0)
"""Bounds of the logarithm of a Gaussian policy's deviation, in a box from -1 to 1; approached, never reached."""
FIRST_LOG_STD = -0.5
"""Where an output of 0 is between them: a deviation of 0.61."""
_SHIFT = math.log((FIRST_LOG_STD - LOG_STD[0]) / (LOG_STD[1] - FIRST_LOG_STD))


class Categorical(eqx.Module):
    """A policy over discrete actions."""

    log_probs: Float[Array, "*rows actions"]
    """About -1e9 at what is not available."""

    @property
    def encoding(self) -> Float[Array, "*rows actions"]:
        """Probabilities."""
        return jnp.exp(self.log_probs)

    def log_prob(self, actions: Actions) -> Float[Array, "*rows agents"]:
        """log pi(u)."""
        return policies.of_taken(self.log_probs, actions)

    def entropy(self) -> Float[Array, "..."]:
        """In nats."""
        return policies.entropy(self.encoding)

    def sample(self, keys: Key[Array, " batch"]) -> Actions:
        """An action of each agent, with a key for each team."""
        return policies.sample(self.log_probs, keys)

    def mode(self) -> Actions:
        """Each agent's most probable action."""
        return self.log_probs.argmax(axis=-1).astype(jnp.int32)


class Gaussian(eqx.Module):
    """A policy over continuous actions, its numbers independent of each other; what it draws may leave the box."""

    mean: Float[Array, "*rows numbers"]
    log_std: Float[Array, "*rows numbers"]

    @property
    def encoding(self) -> Float[Array, "*rows actions"]:
        """Means, then variances."""
        return jnp.concatenate([self.mean, jnp.exp(2 * self.log_std)], axis=-1)

    def log_prob(self, actions: Actions) -> Float[Array, "*rows agents"]:
        """log of the density at an action."""
        away = (actions - self.mean) * jnp.exp(-self.log_std)
        return -(away**2 / 2 + self.log_std + math.log(2 * math.pi) / 2).sum(axis=-1)

    def entropy(self) -> Float[Array, "..."]:
        """Of the density, in nats: negative where the policy is decided, for a deviation below 0.24."""
        return (self.log_std + math.log(2 * math.pi * math.e) / 2).sum(axis=-1)

    def sample(self, keys: Key[Array, " batch"]) -> Actions:
        """An action of each agent, with a key for each team."""
        return self.mean + jnp.exp(self.log_std) * _noise(keys, self.mean)

    def mode(self) -> Actions:
        """The mean."""
        return self.mean


Distribution = Categorical | Gaussian
PolicyFn = Callable[[Float[Array, "*rows outputs"], Bool[Array, "*rows actions"]], Distribution]
"""`policy(outputs, avail)`: what the first outputs of a network stand for."""


def masked(outputs: Float[Array, "*rows outputs"], avail: Bool[Array, "*rows actions"]) -> Categorical:
    """The softmax over available actions."""
    return Categorical(policies.masked_log_probs(outputs[..., : avail.shape[-1]], avail))


def gaussian(outputs: Float[Array, "*rows outputs"], avail: Bool[Array, "*rows numbers"]) -> Gaussian:
    """Means as they come, and deviations bounded: log sigma = low + (high - low) / (1 + exp(-x - shift)).

    An agent that does not act, as the dead, has mean 0 and the least deviation, whatever the network says.
    """
    numbers, (low, high) = avail.shape[-1], LOG_STD
    mean, raw = outputs[..., :numbers], outputs[..., numbers : 2 * numbers]
    log_std = low + (high - low) * jax.nn.sigmoid(raw + _SHIFT)
    return Gaussian(jnp.where(avail, mean, 0), jnp.where(avail, log_std, low))


def floored_policy(env_steps: Array, floor: policies.FloorConfig) -> PolicyFn:
    """The softmax with a floor under it, after so many env steps."""
    epsilon = policies.linear(env_steps, floor.start, floor.finish, floor.steps)

    def policy(outputs: Array, avail: Array) -> Categorical:
        return Categorical(
            policies.floored_log_probs(outputs[..., : avail.shape[-1]], avail, epsilon=epsilon, masked=floor.masked)
        )

    return policy


def policy_of(spec: EnvSpec) -> PolicyFn:
    """The form of policies for an environment's actions."""
    return masked if spec.box is None else gaussian


def policy_for(actions: Actions) -> PolicyFn:
    """The form of policies that such actions are drawn from."""
    return gaussian if is_continuous(actions) else masked


def is_continuous(actions: Actions) -> bool:
    """Whether these are the numbers of continuous actions, by their type."""
    return jnp.issubdtype(actions.dtype, jnp.floating)


def encoded(actions: Actions, width: int, dtype: jnp.dtype) -> Float[Array, "*rows agents actions"]:
    """One-hots of discrete actions, (a, 0) of continuous ones."""
    if is_continuous(actions):
        exact = actions.astype(dtype)
        return jnp.concatenate([exact, jnp.zeros_like(exact)], axis=-1)
    return jax.nn.one_hot(actions, width, dtype=dtype)


def of_encoding(encoding: Float[Array, "*rows actions"]) -> Gaussian:
    """The Gaussian policy of (mean, variance); where there is none, in padding, the variance counts as 1."""
    mean, variance = jnp.split(encoding, 2, axis=-1)
    return Gaussian(mean, jnp.log(jnp.where(variance > 0, variance, 1)) / 2)


def has_choice(avail: Bool[Array, "*rows agents actions"], actions: Actions) -> Bool[Array, "*rows agents"]:
    """Whether an agent has a choice: more than one discrete action, or a continuous one."""
    return avail.any(axis=-1) if is_continuous(actions) else avail.sum(axis=-1) > 1


def dead(avail: Bool[Array, "*rows agents actions"], continuous: bool) -> Bool[Array, "*rows agents"]:
    """Who is dead, or has left: may choose nothing but the first action, SMAC's no-op; or nothing continuous."""
    if continuous:
        return ~avail.any(axis=-1)
    return avail[..., 0] & ~avail[..., 1:].any(axis=-1)


def log_prob_of(
    encoding: Float[Array, "*rows agents actions"], actions: Actions, where: Bool[Array, "..."]
) -> Float[Array, "*rows agents"]:
    """log pi(u) by the encoding of a policy; 0 where it is not asked for."""
    if is_continuous(actions):
        return jnp.where(where, of_encoding(encoding).log_prob(actions), 0)
    taken = policies.of_taken(encoding, actions)
    return jnp.log(jnp.where(where & (taken > 0), taken, 1))


def entropy_of(encoding: Float[Array, "*rows agents actions"], actions: Actions) -> Float[Array, "*rows agents"]:
    """Entropy by the encoding of the policy that such actions are drawn from."""
    return of_encoding(encoding).entropy() if is_continuous(actions) else policies.entropy(encoding)


def draws_of(
    key: PRNGKeyArray, encoding: Float[Array, "agents actions"], actions: Actions, draws: int
) -> Integer[Array, "draws agents"] | Float[Array, "draws agents numbers"]:
    """So many joint actions, of the kind of `actions`, from the policies of one step."""
    if is_continuous(actions):
        policy = of_encoding(encoding)
        noise = jax.random.normal(key, (draws, *policy.mean.shape), encoding.dtype)
        return policy.mean + jnp.exp(policy.log_std) * noise
    shape = (draws, encoding.shape[0])
    return jax.random.categorical(key, policies.log_of(encoding), shape=shape, mode="low")


def drawn_encoding(
    key: PRNGKeyArray, encoding: Float[Array, "*rows agents actions"], continuous: bool
) -> Float[Array, "*rows agents actions"]:
    """What a critic that knows actions alone may be told of policies, with a slope back into them.

    Probabilities as they are, since a softened one-hot differs little from some action; of a Gaussian an action drawn
    from it, mean + deviation * noise, for a variance is like no action at all.
    """
    if not continuous:
        return encoding
    policy = of_encoding(encoding)
    drawn = policy.mean + jnp.exp(policy.log_std) * jax.random.normal(key, policy.mean.shape, encoding.dtype)
    return jnp.concatenate([drawn, jnp.zeros_like(drawn)], axis=-1)


def centre(encoding: Float[Array, "*rows actions"], continuous: bool) -> Float[Array, "*rows actions"]:
    """The point beside which an action is held: the probabilities, or (mean, 0)."""
    if not continuous:
        return encoding
    mean, _ = jnp.split(encoding, 2, axis=-1)
    return jnp.concatenate([mean, jnp.zeros_like(mean)], axis=-1)


def _noise(keys: Key[Array, " batch"], like: Float[Array, "batch ..."]) -> Float[Array, "batch ..."]:
    return jax.vmap(lambda key: jax.random.normal(key, like.shape[1:], like.dtype))(keys)
