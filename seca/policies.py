"""Policies over discrete actions, once for acting and learning: masks, a floor, epsilon-greedy, entropy."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from seca.ranges import Count, Fraction

MASKED = -1e9
"""Logit of an unavailable action: its probability is exactly 0 and nothing becomes infinite."""


@dataclasses.dataclass(frozen=True)
class FloorConfig:
    """The least probability of every action, a share of the uniform policy that falls linearly with env steps."""

    start: Fraction = 0.5
    """Share of the uniform policy at first."""
    finish: Fraction = 0.01
    """Share of the uniform policy at last."""
    steps: Count = 100_000
    """Env steps from first to last."""
    masked: bool = False
    """Whether softmax and floor are over the available actions alone (PyMARL2), or over all, of which the available
    ones are then kept (PyMARL)."""


@dataclasses.dataclass(frozen=True)
class Exploration:
    """Options of those who take the best action but for a share of random ones."""

    epsilon_start: Fraction = 1.0
    """Share of random actions at the beginning."""
    epsilon_finish: Fraction = 0.05
    """Share of random actions after `epsilon_steps`; linear in between, 0 in tests."""
    epsilon_steps: Count = 100_000
    """Env steps over which epsilon falls."""

    def epsilon(self, env_steps: Array) -> Float[Array, ""]:
        """Share of random actions after so many env steps."""
        return linear(env_steps, self.epsilon_start, self.epsilon_finish, self.epsilon_steps)


def masked_log_probs(
    logits: Float[Array, "*rows actions"], avail: Bool[Array, "*rows actions"]
) -> Float[Array, "*rows actions"]:
    """log softmax over the available actions; about -1e9 at the others."""
    return jax.nn.log_softmax(jnp.where(avail, logits, MASKED))


def floored_log_probs(
    logits: Float[Array, "*rows actions"],
    avail: Bool[Array, "*rows actions"],
    epsilon: Float[Array, ""],
    masked: bool = False,
) -> Float[Array, "*rows actions"]:
    """Log-probabilities with a floor under every action; about -1e9 at actions that are not available.

        p = (1 - eps) softmax(logits) + eps / A over all actions, then 0 where unavailable, then rescaled to sum 1;
        masked: over the available actions alone, A their number, which sums to 1 as it is.

    The first is PyMARL's order of things (`mask_before_softmax` False): what the softmax gives to impossible actions is
    lost. The second is PyMARL2's.
    """
    share, counted = epsilon.astype(logits.dtype), avail | (not masked)
    soft = jax.nn.softmax(jnp.where(counted, logits, MASKED))
    number = counted.sum(axis=-1, keepdims=True, dtype=logits.dtype)
    possible = jnp.where(avail, (1 - share) * soft + share / jnp.maximum(number, 1), 0)
    total = possible.sum(axis=-1, keepdims=True)
    positive = possible > 0
    return jnp.where(positive, jnp.log(jnp.where(positive, possible / jnp.where(total > 0, total, 1), 1)), MASKED)


def log_of(probs: Float[Array, "*rows actions"]) -> Float[Array, "*rows actions"]:
    """Log-probabilities to draw with: -inf at what is impossible, and no logarithm of 0 on the way."""
    return jnp.where(probs > 0, jnp.log(jnp.where(probs > 0, probs, 1)), -jnp.inf)


def linear(env_steps: Array, start: float, finish: float, steps: int) -> Float[Array, ""]:
    """From `start` to `finish` over `steps` env steps, then constant."""
    return start + (finish - start) * jnp.minimum(env_steps.astype(jnp.float32) / steps, 1)


def sample(log_probs: Float[Array, "batch agents actions"], keys: Key[Array, " batch"]) -> Int[Array, "batch agents"]:
    """An action of each agent, drawn from its policy."""
    return jax.vmap(functools.partial(jax.random.categorical, mode="low"))(keys, log_probs).astype(jnp.int32)


def sample_cheaply(key: PRNGKeyArray, probs: Float[Array, "*rows actions"], draws: int) -> Int[Array, "draws *rows"]:
    """Several actions from each policy, with one random number for each; `sample` takes one for each action.

    An action of probability 0 is never drawn.
    """
    below = jnp.cumsum(probs, axis=-1)
    at = jax.random.uniform(key, (draws, *probs.shape[:-1]), probs.dtype) * below[..., -1]
    last = probs.shape[-1] - 1 - jnp.argmax((probs > 0)[..., ::-1], axis=-1)  # For what rounding puts at the very end.
    return jnp.minimum((below <= at[..., None]).sum(axis=-1), last).astype(jnp.int32)


def mode(
    values: Float[Array, "*rows agents actions"], avail: Bool[Array, "*rows agents actions"]
) -> Int[Array, "*rows agents"]:
    """Each agent's best available action, by log-probability or by value."""
    return jnp.where(avail, values, MASKED).argmax(axis=-1).astype(jnp.int32)


def epsilon_greedy(
    key: PRNGKeyArray,
    values: Float[Array, "agents actions"],
    avail: Bool[Array, "agents actions"],
    share: Float[Array, ""],
) -> Int[Array, " agents"]:
    """Each agent's best available action, or with probability `share` any available one."""
    whether_key, which_key = jax.random.split(key)
    best = mode(values, avail)
    explores = jax.random.uniform(whether_key, best.shape, jnp.float32) < share
    anything = jax.random.categorical(which_key, jnp.where(avail, 0.0, MASKED), mode="low").astype(best.dtype)
    return jnp.where(explores, anything, best)


def epsilon_greedy_probs(
    values: Float[Array, "*rows agents actions"],
    avail: Bool[Array, "*rows agents actions"],
    share: Float[Array, ""],
) -> Float[Array, "*rows agents actions"]:
    """The policy that `epsilon_greedy` draws from."""
    best = jax.nn.one_hot(mode(values, avail), values.shape[-1], dtype=values.dtype)
    return (1 - share) * best + share * avail / jnp.maximum(avail.sum(axis=-1, keepdims=True), 1)


def of_taken(values: Float[Array, "*rows actions"], actions: Int[Array, "*rows"]) -> Float[Array, "*rows"]:
    """What the last axis holds for the taken actions: log-probabilities, or values."""
    return jnp.take_along_axis(values, actions[..., None], axis=-1)[..., 0]


def entropy(probs: Float[Array, "*rows actions"]) -> Float[Array, "*rows"]:
    """H(pi) = -sum p log p in nats, with 0 log 0 = 0 and a finite gradient there."""
    positive = probs > 0
    return -jnp.where(positive, probs * jnp.log(jnp.where(positive, probs, 1)), 0).sum(axis=-1)
