"""Orders that need no critic: by probability, by entropy, random. One step each; batch with `vmap`."""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int, PRNGKeyArray


def descending(score: Float[Array, " agents"]) -> Int[Array, " agents"]:
    """Agents by descending score; equal scores keep index order. `order[k]` is the agent judged k-th."""
    return jnp.argsort(-score, stable=True)


def by_probability(probs: Float[Array, "agents actions"], action: Int[Array, " agents"]) -> Int[Array, " agents"]:
    """Agents whose taken action was most probable first (SeCA-Prob, section 4.2)."""
    return descending(jnp.take_along_axis(probs, action[:, None], axis=-1)[:, 0])


def by_entropy(probs: Float[Array, "agents actions"]) -> Int[Array, " agents"]:
    """Agents of lowest policy entropy first (SeCA-Entro, section 4.2).

    Impossible actions count 0 log 0 = 0; the authors' release has NaN there, which leaves its order to the sort.
    """
    return descending(-entropy(probs))


def entropy(probs: Float[Array, "*rows actions"]) -> Float[Array, "*rows"]:
    """H(pi) = -sum p log p in nats, with 0 log 0 = 0 and a finite gradient there."""
    positive = probs > 0
    return -jnp.where(positive, probs * jnp.log(jnp.where(positive, probs, 1)), 0).sum(axis=-1)


def shuffled(key: PRNGKeyArray, n_agents: int) -> Int[Array, " agents"]:
    """A uniformly random order (SeCA-Fixed draws it once per run, SeCA-random once per episode)."""
    return jax.random.permutation(key, n_agents)
