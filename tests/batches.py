"""Made-up episodes to feed updates with."""

import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seca.algos.base import Algorithm
from seca.learning import buffer
from seca.learning.acting import n_agent_inputs
from seca.nets.agents import RecurrentAgent, agent_inputs
from seca.policies import entropy, masked_log_probs, of_taken
from seca.types import Box, EnvSpec, Episodes

SPEC = EnvSpec("test", "1", n_agents=3, n_actions=4, obs_size=5, state_size=6, episode_limit=7)
LENGTHS = (7, 3, 1, 5, 7, 2, 6, 4)
BOXED = dataclasses.replace(SPEC, n_actions=2, box=Box((-1.0, -1.0), (1.0, 1.0)))
"""The same with continuous actions, of two numbers."""
LARGE = dataclasses.replace(SPEC, n_agents=7, state_size=16, episode_limit=14)
BOXED_LARGE = dataclasses.replace(LARGE, n_actions=2, box=BOXED.box)
"""And of such that end between blocks."""
SIZES = {"one block": (SPEC, LENGTHS, 0), "between blocks": (LARGE, (13, 9, 1, 13, 12, 5), 1)}
"""Environment, lengths and seed: episodes within one block of 8 rows, and such as end between the first and second, and
are neither so many nor so long that groups or chunks of them divide. A reported loss was once wrong for want of these.
"""


BOXES = {"one block": (BOXED, LENGTHS), "between blocks": (BOXED_LARGE, SIZES["between blocks"][1])}
"""The same with continuous actions."""


def random_episodes(
    seed: int = 0, garbage: float = 0.0, lengths: tuple[int, ...] = LENGTHS, spec: EnvSpec = SPEC
) -> Episodes:
    """Episodes of unequal lengths: some terminated, some truncated short of the padding; dead agents at the end."""
    rng = np.random.default_rng(seed)
    batch, time = len(lengths), spec.episode_limit
    length = np.array(lengths)
    valid = np.arange(time) < length[:, None]
    last = np.arange(time) == length[:, None] - 1
    terminated = last & (np.arange(batch) % 2 == 0)[:, None]
    avail = rng.random((batch, time + 1, spec.n_agents, spec.n_actions)) < 0.6
    avail[..., 0], avail[..., 1] = False, True
    dead = (np.arange(time + 1) > length[:, None] // 2)[..., None] & (np.arange(spec.n_agents) == 1)
    avail[dead] = np.arange(spec.n_actions) == 0
    if spec.box is not None:
        avail[:] = True
        avail[dead] = False
    weights = avail * rng.random(avail.shape)
    filled = np.arange(time + 1) <= length[:, None]

    def pad(array: np.ndarray) -> jax.Array:
        rows = filled if array.shape[1] == time + 1 else valid
        mask = rows.reshape(rows.shape + (1,) * (array.ndim - 2))
        noise = garbage * rng.normal(size=array.shape)
        return jnp.asarray(np.where(mask, array, noise).astype(array.dtype))

    return Episodes(
        reward=pad(rng.normal(size=(batch, time))),
        terminated=jnp.asarray(terminated),
        truncated=jnp.asarray(last & ~terminated),
        valid=jnp.asarray(valid),
        obs=pad(rng.normal(size=(batch, time + 1, spec.n_agents, spec.obs_size))),
        state=pad(rng.normal(size=(batch, time + 1, spec.state_size))),
        avail=jnp.asarray(avail),
        actions=jnp.asarray(weights.argmax(axis=-1)) if spec.box is None else pad(rng.normal(size=avail.shape)),
    )


ALONE = dataclasses.replace(SPEC, id="alone", n_agents=1)
"""The environment of one agent of `SPEC`."""


def alone(episodes: Episodes) -> Episodes:
    """The episodes as its first agent lives them."""
    own = {name: getattr(episodes, name)[:, :, :1] for name in ("obs", "avail", "actions")}
    return dataclasses.replace(episodes, **own)


def in_float64(tree: Any) -> Any:
    """The tree with its real numbers in double precision."""
    return _cast(tree, np.float64)


def in_float32(tree: Any) -> Any:
    """The tree with its real numbers in single precision."""
    return _cast(tree, np.float32)


def _cast(tree: Any, kind: type) -> Any:
    """By NumPy where there are numbers: a cast by JAX is a program for each shape."""

    def cast(x: jax.Array) -> jax.Array:
        if not jnp.issubdtype(x.dtype, jnp.floating):
            return x
        return x.astype(kind) if isinstance(x, jax.core.Tracer) else jnp.asarray(np.asarray(x, kind))

    return jax.tree.map(cast, tree)


def initial(init: Callable[..., Any], key: jax.Array, *options: Any) -> Any:
    """`init(key, *options)` as one program, where every draw would be one of its own."""
    return jax.jit(lambda key: init(key, *options))(key)


def widened(episodes: Episodes, extra: int) -> Episodes:
    """The same episodes with `extra` more rows of padding."""

    def pad(array: jax.Array) -> jax.Array:
        return jnp.pad(array, ((0, 0), (0, extra)) + ((0, 0),) * (array.ndim - 2))

    return dataclasses.replace(
        episodes,
        **{
            f.name: pad(getattr(episodes, f.name))
            for f in dataclasses.fields(episodes)
            if f.name not in ("record", "counted")
        },
    )


def agent_of(hidden: int, spec: EnvSpec = SPEC, outputs: int | None = None) -> RecurrentAgent:
    """A random agent in double precision."""
    agent = RecurrentAgent.init(jax.random.key(1), n_agent_inputs(spec), hidden, outputs or spec.n_actions)
    return in_float64(agent)


def updated(
    algorithm: Algorithm,
    learner: Any,
    episodes: Episodes,
    key: jax.Array,
    axis: str | None = None,
    lost: jax.Array | None = None,
) -> tuple[Any, dict[str, jax.Array]]:
    """One update as the training loop makes it, from an empty buffer where there is one."""
    replay = None
    if algorithm.buffer is not None:
        empty = algorithm.buffer.init()
        wide = episodes.reward.dtype == jnp.float64  # As the numbers are compared in.
        replay = buffer.add(in_float64(empty) if wide else empty, episodes, axis, lost)
    return algorithm.update(learner, episodes, replay, key, axis)


def plain_outputs(agent: RecurrentAgent, episodes: Episodes) -> jax.Array:
    """Of a network unrolled over whole padded episodes, `[batch, time + 1, agents, outputs]`."""
    batch, _, n_agents = episodes.actions.shape[:3]
    taken = (
        jax.nn.one_hot(episodes.actions, episodes.avail.shape[-1])
        if episodes.actions.ndim == 3
        else jnp.concatenate([episodes.actions, jnp.zeros_like(episodes.actions)], axis=-1)
    )
    previous = jnp.concatenate([jnp.zeros_like(taken[:, :1]), taken[:, :-1]], axis=1)
    inputs = jnp.moveaxis(agent_inputs(episodes.obs, previous), 1, 0)
    hidden = jnp.zeros((batch, n_agents, agent.cell.weight_hh.shape[1]), inputs.dtype)
    _, outputs = jax.lax.scan(lambda h, x: agent(x, h), hidden, inputs)
    return jnp.moveaxis(outputs, 0, 1)


def plain_actor_loss(
    agent: RecurrentAgent, episodes: Episodes, advantage: jax.Array, coef: float, form: str
) -> jax.Array:
    """Eq. 13 to 16 over the whole padded batch, differentiated through the unrolled network."""
    log_probs = masked_log_probs(plain_outputs(agent, episodes), episodes.avail)[:, :-1]
    mask = episodes.valid[..., None]
    samples = episodes.valid.sum() * episodes.actions.shape[2]
    policy = -jnp.where(mask, of_taken(log_probs, episodes.actions[:, :-1]) * advantage, 0).sum() / samples
    entropies = entropy(jnp.exp(log_probs))
    choice = mask & (episodes.avail[:, :-1].sum(axis=-1) > 1)
    if form == "per_sample":  # xi log H has the gradient of Eq. 14.
        return policy - coef * jnp.where(choice, jnp.log(jnp.where(choice, entropies, 1)), 0).sum() / samples
    counted = choice if form == "alive_only" else jnp.broadcast_to(mask, entropies.shape)
    mean = jnp.where(counted, entropies, 0).sum() / counted.sum()
    return policy - coef * mean / jax.lax.stop_gradient(mean)
