"""The environment contract: batched, pure, and never resetting by itself."""

import dataclasses
from collections.abc import Callable
from typing import Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Key, PRNGKeyArray

from seca.envs.drawing import Drawing
from seca.smac.simulator import Simulator
from seca.types import Actions, Box, EnvSpec, PyTree, TimeStep


def keys_replaced(state: PyTree, keys: Key[Array, " batch"]) -> PyTree:
    """The state with a key of ours, different in every leaf, in place of each typed key in it."""
    leaves, tree = jax.tree.flatten(state)
    for number, leaf in enumerate(leaves):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            if leaf.shape != keys.shape:
                raise ValueError(
                    f"the state of `env` holds keys of shape {list(leaf.shape)}, not one for each environment: it "
                    "needs `reseed` to be forked"
                )
            leaves[number] = jax.vmap(jax.random.fold_in, (0, None))(keys, number)
    return jax.tree.unflatten(tree, leaves)


@runtime_checkable
class Host(Protocol):
    """Workers that play outside of JAX."""

    lanes: int
    """Environments side by side: no more episodes can be begun at once."""
    restarts: int
    """How often one was started anew."""
    said: str
    """What the last one that failed said."""

    def check(self) -> None:
        """Raise, in one line, where they cannot go on: RunError, or UsageError where the environment breaks its
        contract. From then on all episodes are lost at once, as nothing can be raised inside a compiled program."""
        ...

    def close(self) -> None:
        """End them."""
        ...


@dataclasses.dataclass(frozen=True)
class Env:
    """A batch of environments as two pure functions.

    Stepping a finished episode changes nothing: reward 0, flags stay. An unavailable action never raises inside
    `step`; each family documents what it does instead. The randomness of an episode depends on its own key only, so
    an episode in a batch of 16 equals the same episode in a batch of 32.
    """

    spec: EnvSpec
    reset: Callable[[PRNGKeyArray], tuple[PyTree, TimeStep]]
    """`reset(keys)` with keys of shape `[batch]` returns the first state and time step."""
    step: Callable[[PyTree, Actions], tuple[PyTree, TimeStep]]
    """`step(state, actions)` returns the next state and time step; actions are int32 `[batch, agents]`, or, where the
    spec has a `box`, float32 `[batch, agents, numbers]` within it."""
    state_batch_axis: int = 0
    """Batch axis of the leaves of the state (-1 where the simulator keeps the batch last for speed)."""
    reseed: Callable[[PyTree, Key[Array, " batch"]], PyTree] = keys_replaced
    """`reseed(state, keys)`: the same states with other luck from here on, so that episodes can be forked. By default
    typed keys among the leaves of the state, one for each environment, are replaced and all else is taken to follow
    from the state and the actions; an environment that draws from anything else needs a function of its own."""
    simulator: Simulator | None = dataclasses.field(default=None, compare=False, repr=False)
    """What plays, where it is SMAC's battles: to be watched, and to find who commands the enemy."""
    drawing: Drawing | None = dataclasses.field(default=None, compare=False, repr=False)
    """What `seca watch` draws of it, where it is not SMAC's."""
    host: Host | None = dataclasses.field(default=None, compare=False, repr=False)
    """Who plays, where it is workers outside of JAX: there are so many environments, and it may fail."""
    action_names: tuple[tuple[str, ...], ...] = ()
    """Of each agent, what its actions are called, or the numbers of a continuous one; () where nothing is said."""


def in_units(env: Env) -> Env:
    """The same environment with continuous actions from -1, the low end of each number, to 1, its high end.

    So learners act in it, whatever the box. What lies beyond an end counts as that end. An environment with discrete
    actions is itself.
    """
    box = env.spec.box
    if box is None or box == unit_box(len(box.low)):
        return env
    low, high = np.array(box.low, np.float32), np.array(box.high, np.float32)

    def step(state: PyTree, actions: Float[Array, "batch agents numbers"]) -> tuple[PyTree, TimeStep]:
        share = (jnp.clip(actions, -1, 1) + 1) / 2
        return env.step(state, jnp.clip(low + share * (high - low), low, high))  # Rounding leads beyond an end.

    return dataclasses.replace(env, spec=dataclasses.replace(env.spec, box=unit_box(len(low))), step=step)


def unit_box(numbers: int) -> Box:
    """From -1 to 1 in each number."""
    return Box((-1.0,) * numbers, (1.0,) * numbers)


def action_shapes(spec: EnvSpec, batch: int) -> jax.ShapeDtypeStruct:
    """What `step` takes, for programs that are traced only."""
    if spec.box is None:
        return jax.ShapeDtypeStruct((batch, spec.n_agents), jnp.int32)
    return jax.ShapeDtypeStruct((batch, spec.n_agents, spec.n_actions), jnp.float32)


def where_done(
    env: Env,
    done: Bool[Array, " batch"],
    on_true: tuple[PyTree, PyTree],
    on_false: tuple[PyTree, PyTree],
) -> tuple[PyTree, PyTree]:
    """Choose, environment by environment, between two (state, time step) pairs: the caller's way to auto-reset.

    In place of the time step there may be any tree of arrays with the batch first.
    """

    def choose(axis: int, new: Array, old: Array) -> Array:
        shape = [1] * old.ndim
        shape[axis] = done.shape[0]
        return jnp.where(done.reshape(shape), new, old)

    state = jax.tree.map(lambda new, old: choose(env.state_batch_axis, new, old), on_true[0], on_false[0])
    time_step = jax.tree.map(lambda new, old: choose(0, new, old), on_true[1], on_false[1])
    return state, time_step
