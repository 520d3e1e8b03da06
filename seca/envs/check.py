"""Whether an environment does what its spec says, found out without running it."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seca import numerics
from seca.envs.base import Env, action_shapes
from seca.errors import told
from seca.types import Box, EnvSpec, PyTree, TimeStep

Shapes = dict[str, tuple[tuple[int, ...], Any]]


class ContractError(ValueError):
    """An environment that could be made does not do what its spec says; `str` is one line."""


@numerics.own()
def check_env(env: Env) -> None:
    """Raise ValueError, in one line, unless `reset` and `step` of an environment return what its spec promises.

    Both are traced for a batch whose size is no other size of the spec, and nothing is computed: the line names the
    field, the shape and type it has and those it should have.
    """
    _check_spec(env.spec)
    spec, sizes = env.spec, {env.spec.n_agents, env.spec.n_actions, env.spec.obs_size, env.spec.state_size}
    batch = next(size for size in range(2, 7) if size not in sizes)
    keys = jax.eval_shape(lambda: jax.random.split(numerics.key(0), batch))
    actions = action_shapes(spec, batch)
    before, shown = _traced("reset", env.reset, keys)
    _check_time_step("reset", shown, spec, batch)
    for where, leaf in jax.tree_util.tree_leaves_with_path(before):
        axis = env.state_batch_axis
        if not -leaf.ndim <= axis < leaf.ndim or leaf.shape[axis] != batch:
            name = f"state{jax.tree_util.keystr(where)}"
            raise ValueError(
                f"`{name}` of `reset` is {_words(leaf)} for {batch} keys; its axis {axis} must be the batch"
            )
    after, following = _traced("step", env.step, before, actions)
    _check_time_step("step", following, spec, batch)
    _check_same("state", before, after)
    _check_same("info", shown.info, following.info)


def check_pure(env: Env) -> None:
    """Raise ValueError where episodes cannot be forked.

    Either `reset` or `step` do more than return something, so that their state is not all there is, or their states
    have luck that nobody knows how to draw anew.
    """
    reset = jax.make_jaxpr(env.reset, return_shape=True)
    keys = jax.eval_shape(lambda: jax.random.split(numerics.key(0), 2))
    played, (state, _) = reset(keys)
    actions = action_shapes(env.spec, 2)
    effects = played.effects | jax.make_jaxpr(env.step)(state, actions).effects
    if effects:
        raise ValueError(
            f"`env` is {env.spec.id}, which is no pure function ({', '.join(sorted(map(str, effects)))}): its episodes "
            "cannot be forked"
        )
    jax.eval_shape(env.reseed, state, keys)


def _check_spec(spec: EnvSpec) -> None:
    for name in ("id", "version"):
        if not isinstance(getattr(spec, name), str) or not getattr(spec, name):
            raise ValueError(f"`spec.{name}` is {getattr(spec, name)!r}; it must be a text")
    for name in ("n_agents", "n_actions", "obs_size", "state_size", "episode_limit"):
        value = getattr(spec, name)
        if type(value) is not int or value < 1:
            raise ValueError(f"`spec.{name}` is {value!r}; it must be a whole number of at least 1")
    if spec.box is not None:
        _check_box(spec.box, spec.n_actions)


def _check_box(box: Box, numbers: int) -> None:
    if not isinstance(box, Box):
        raise ValueError(f"`spec.box` is {type(box).__name__}; it must be a seca.types.Box")
    for name, values in {"low": box.low, "high": box.high}.items():
        if not isinstance(values, tuple) or len(values) != numbers:
            raise ValueError(f"`spec.box.{name}` is {values!r}; it must be a tuple of `n_actions` = {numbers} numbers")
        for value in values:
            if isinstance(value, bool) or not isinstance(value, int | float | np.floating | np.integer):
                raise ValueError(f"`spec.box.{name}` holds {value!r}; it must hold numbers")
            if not abs(value) <= _MOST:
                raise ValueError(
                    f"`spec.box.{name}` holds {value!r}; every end of a box must be finite, and {_MOST:g} at most: "
                    "policies act relative to it, so a box without bounds cannot be served"
                )
    for low, high in zip(box.low, box.high, strict=True):
        if not np.float32(low) < np.float32(high):
            raise ValueError(
                f"`spec.box` goes from {low} to {high}; each low end must be below its high end, in float32"
            )


_MOST = 1e30
"""Beyond it a box has no bounds that float32 can act in: Gymnasium writes 3.4e38 for none."""


def _traced(name: str, function: Callable[..., Any], *arguments: PyTree) -> tuple[PyTree, TimeStep]:
    """Shapes of what a function of the environment returns."""
    try:
        returned = jax.eval_shape(function, *arguments)
    except Exception as error:
        raise ValueError(f"`{name}` raises {told(error)}") from None
    if not isinstance(returned, tuple) or len(returned) != 2 or not isinstance(returned[1], TimeStep):
        kind = [type(part).__name__ for part in returned] if isinstance(returned, tuple) else type(returned).__name__
        raise ValueError(f"`{name}` returns {kind}; it must be a pair of the state and a TimeStep")
    return returned


def _check_time_step(function: str, shown: TimeStep, spec: EnvSpec, batch: int) -> None:
    team = (batch, spec.n_agents)
    wanted: Shapes = {
        "obs": ((*team, spec.obs_size), jnp.float32),
        "state": ((batch, spec.state_size), jnp.float32),
        "avail": ((*team, spec.n_actions), jnp.bool_),
        "reward": ((batch,), jnp.float32),
        "terminated": ((batch,), jnp.bool_),
        "truncated": ((batch,), jnp.bool_),
    }
    for name, (shape, dtype) in wanted.items():
        _check_array(f"`{name}` of `{function}`", getattr(shown, name), shape, dtype, batch)
    if not isinstance(shown.info, dict):
        raise ValueError(f"`info` of `{function}` is {type(shown.info).__name__}; it must be a dict of arrays")
    if "won" in shown.info:
        _check_array(f"`info['won']` of `{function}`", shown.info["won"], (batch,), jnp.bool_, batch)


def _check_array(name: str, array: Any, shape: tuple[int, ...], dtype: Any, batch: int) -> None:
    wanted = jax.ShapeDtypeStruct(shape, dtype)
    if not isinstance(array, jax.ShapeDtypeStruct):
        raise ValueError(f"{name} is {type(array).__name__}; it must be {_words(wanted)} for a batch of {batch}")
    if (array.shape, array.dtype) != (wanted.shape, wanted.dtype):
        each = name.startswith("`reward`") and array.ndim == 2 and array.shape[0] == batch
        advice = ": one for the team, such as the mean over its agents" if each else ""
        raise ValueError(
            f"{name} is {_words(array)}; by the spec it must be {_words(wanted)} for a batch of {batch}{advice}"
        )


def _check_same(name: str, before: PyTree, after: PyTree) -> None:
    """Raise ValueError unless `step` returns what `reset` does, in the same form."""
    first, then = jax.tree.structure(before), jax.tree.structure(after)
    if first != then:
        raise ValueError(f"`{name}` of `step` has the form {then}; it must be that of `reset`, {first}")
    for (where, old), new in zip(jax.tree_util.tree_leaves_with_path(before), jax.tree.leaves(after), strict=True):
        if (old.shape, old.dtype) != (new.shape, new.dtype):
            place = f"{name}{jax.tree_util.keystr(where)}"
            raise ValueError(f"`{place}` of `step` is {_words(new)}; it must be that of `reset`, {_words(old)}")


def _words(array: Any) -> str:
    """`float32[5, 2]`."""
    return f"{array.dtype}{list(array.shape)}"
