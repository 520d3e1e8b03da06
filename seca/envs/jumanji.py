"""Jumanji's environments for teams, compiled into the loop: `jumanji:NAME`.

The library (Bonnet et al. 2024) has one form for games of one and of many: one episode a call, an observation that is
a named tuple, a joint action. Served are those whose joint action has one number for each agent. A bare environment,
as here, does not reset by itself: the library has a wrapper for that, which is not used.
"""

import dataclasses
import functools
import importlib
import importlib.metadata
import inspect
import math
import warnings
from typing import Any, Literal, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from seca.envs.base import Env, where_done
from seca.types import Actions, EnvSpec, PyTree, TimeStep

FAMILY = "jumanji:"
SERVED = ("Cleaner-v0", "Connector-v2", "LevelBasedForaging-v0", "MMST-v0", "RobotWarehouse-v0")
"""Those that are games of a team, of the ones that Jumanji 1.1 registers."""
INSTALL = "pip install 'seca[jumanji]' and then pip install --no-deps jumanji"
"""Jumanji itself asks for an older matplotlib than `seca` can draw with, for viewers that are not made here."""
_VIEW, _MASK, _CLOCK = "agents_view", "action_mask", "step_count"
_PLACES = ("agents_locations", "positions")
"""Fields with a row for each agent that everybody sees."""
_LAST = 2
"""`step_type` at the end of an episode, as in dm_env."""

TeamReward = Literal["mean", "sum"]


@runtime_checkable
class Environment(Protocol):
    """As much of Jumanji's class as is asked for."""

    action_spec: Any
    """With `num_values`, one for each agent."""

    def reset(self, key: Array) -> tuple[PyTree, Any]:
        """`reset(key) -> (state, timestep)`."""
        ...

    def step(self, state: PyTree, action: Array) -> tuple[PyTree, Any]:
        """`step(state, action) -> (state, timestep)`; a timestep has step_type, reward, discount, observation."""
        ...


class State(eqx.Module):
    """Where episodes stand, batch first."""

    theirs: PyTree
    shown: TimeStep
    time: Int[Array, " batch"]


@dataclasses.dataclass(frozen=True)
class Adapted:
    """An environment of theirs, and what it is to be here."""

    env: Environment
    spec: EnvSpec
    team_reward: TeamReward
    wires: bool
    """Whether its grid says by numbers which agent's wire, head or target is where, as Connector's does."""


def make(name: str, /, limit: int | None = None, team_reward: str = "mean", **options: Any) -> Env:
    """The environment of that name.

    Args:
        name: as Jumanji registers it.
        limit: env steps of an episode; by default the library's own `time_limit`.
        team_reward: `mean` or `sum` over the agents' rewards, where there is one for each.
        options: for the environment, or for its generator, such as `num_agents`.

    Raises:
        ValueError: Jumanji is not installed, has no such environment, cannot make it with these options, or makes one
            that is not served.
    """
    library = _library()
    known = sorted(library.registered_environments())
    if name not in known:
        raise ValueError(f"`env` '{FAMILY}{name}' does not exist; choose from {', '.join(SERVED)}")
    if name not in SERVED:
        raise ValueError(f"`env` '{FAMILY}{name}' is no game of a team; choose from {', '.join(SERVED)}")
    try:
        env = _made(library, name, options)
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(f"`env-options` do not fit {FAMILY}{name}: {said}") from None
    version = importlib.metadata.version("jumanji")
    told = {"limit": limit, "team_reward": team_reward if team_reward != "mean" else None}
    kept = tuple(sorted((options | {k: v for k, v in told.items() if v is not None}).items()))
    wires = name.startswith("Connector")
    return adapt(env, f"{FAMILY}{name}", f"jumanji-{version}", limit, team_reward, kept, wires)


def names() -> list[str]:
    """All that are served; none where Jumanji is not installed."""
    try:
        known = _library().registered_environments()
    except ValueError:
        return []
    return [name for name in SERVED if name in known]


def _library() -> Any:
    try:
        with warnings.catch_warnings(action="ignore"):
            return importlib.import_module("jumanji")
    except ImportError as missing:
        raise ValueError(f"`env` {FAMILY}... needs jumanji: {INSTALL} ({missing})") from None


def _made(library: Any, name: str, options: dict[str, Any]) -> Any:
    """With a generator of the same kind where options are its own."""
    viewer = object()  # Theirs need matplotlib 3.8 or older, and nothing is drawn.
    with warnings.catch_warnings(action="ignore"):
        env = library.make(name, viewer=viewer)
        own = {key: value for key, value in options.items() if key in inspect.signature(type(env)).parameters}
        rest = {key: value for key, value in options.items() if key not in own}
        if rest:
            own["generator"] = _generator(vars(env).get("_generator", vars(env).get("generator")), rest)
        return library.make(name, viewer=viewer, **own)


def _generator(generator: Any, changes: dict[str, Any]) -> Any:
    """The generator of instances with some of its parameters changed; the others it holds by their names."""
    given, held = inspect.signature(type(generator)).parameters, vars(generator)
    unknown = [name for name in changes if name not in given]
    if unknown:
        raise ValueError(f"{unknown[0]} is unknown; the generator has {', '.join(given)}")
    kept = {name: held.get(name, held.get(f"_{name}")) for name in given if name in held or f"_{name}" in held}
    return type(generator)(**(kept | changes))


def adapt(
    env: Environment,
    env_id: str,
    version: str,
    limit: int | None = None,
    team_reward: str = "mean",
    options: tuple[tuple[str, Any], ...] = (),
    wires: bool = False,
) -> Env:
    """An environment in Jumanji's form as one of ours. Raises ValueError where it is not served; see `make`."""
    longest = getattr(env, "time_limit", None)
    if limit is None and longest is None:
        raise ValueError(f"`env-options` limit is missing: {env_id} says of no length when an episode is cut")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ValueError(f"`env-options` limit is {limit!r}; it must be a whole number of at least 1")
    if limit is not None and longest is not None and limit > longest:
        raise ValueError(f"`env-options` limit is {limit} but {env_id} ends after {longest} env steps")
    if team_reward not in ("mean", "sum"):
        raise ValueError(f"`env-options` team_reward is {team_reward!r}; choose mean or sum")
    counts = np.asarray(getattr(env.action_spec, "num_values", ()))
    shown = jax.eval_shape(lambda: env.reset(jax.random.key(0)))[1]
    fields = shown.observation._asdict() if hasattr(shown.observation, "_asdict") else {}
    mask = fields[_MASK].shape if _MASK in fields else None
    if counts.ndim != 1 or not counts.size or (mask is not None and mask != (counts.size, counts.max())) or not fields:
        raise ValueError(
            f"`env` {env_id} has no action for each agent: served are MultiDiscrete actions, one number each"
        )
    if wires and "grid" not in fields:
        raise ValueError(f"`env` {env_id} shows no grid, but {', '.join(fields)}")
    agents = int(counts.size)
    seen = jax.eval_shape(
        functools.partial(_views, agents, wires, 1),
        jax.tree.map(lambda x: jax.ShapeDtypeStruct((2, *x.shape), x.dtype), fields),
    )
    spec = EnvSpec(
        id=env_id,
        version=version,
        n_agents=agents,
        n_actions=int(counts.max()),
        obs_size=seen[0].shape[-1],
        state_size=seen[1].shape[-1],
        episode_limit=int(limit or longest or 0),
        options=options,
    )
    adapted = Adapted(env, spec, team_reward, wires)  # pyrefly: ignore
    return Env(spec, functools.partial(_reset, adapted), functools.partial(_step, adapted))


def _reset(adapted: Adapted, keys: Key[Array, " batch"]) -> tuple[State, TimeStep]:
    theirs, told = jax.vmap(adapted.env.reset)(keys)
    batch = keys.shape[0]
    none = jnp.zeros(batch, bool)
    shown = _shown(adapted, told, jnp.zeros(batch, jnp.float32), none, none)
    return State(theirs, shown, jnp.zeros(batch, jnp.int32)), shown


def _step(adapted: Adapted, before: State, actions: Actions) -> tuple[State, TimeStep]:
    """A finished episode stays as it is; an action that an agent does not have counts as its last one."""
    env, spec = adapted.env, adapted.spec
    least = jnp.asarray(env.action_spec.num_values) - 1
    given = jnp.minimum(actions, least).astype(getattr(env.action_spec, "dtype", jnp.int32))
    theirs, told = jax.vmap(env.step)(before.theirs, given)
    rewards = jnp.asarray(told.reward, jnp.float32).reshape(given.shape[0], -1)
    reward = rewards.mean(axis=1) if adapted.team_reward == "mean" else rewards.sum(axis=1)
    time = before.time + 1
    # The library ends an episode at its own limit, too, mostly with a discount of 0: nobody can tell the two apart.
    last = told.step_type == _LAST
    bootstrapped = jnp.asarray(told.discount).reshape(last.shape[0], -1).max(axis=1) > 0
    cut = (time >= spec.episode_limit) | (last & bootstrapped)
    shown = _shown(adapted, told, reward, last & ~cut, cut)
    after = State(theirs, shown, time)
    same = dataclasses.replace(before.shown, reward=jnp.zeros_like(reward))
    stays = dataclasses.replace(before, shown=same)
    ours = Env(spec, functools.partial(_reset, adapted), functools.partial(_step, adapted))
    return where_done(ours, before.shown.done, (stays, same), (after, shown))


def _shown(
    adapted: Adapted,
    told: Any,
    reward: Float[Array, " batch"],
    terminated: Bool[Array, " batch"],
    truncated: Bool[Array, " batch"],
) -> TimeStep:
    """What they show; actions that an agent does not have are not available."""
    env, spec = adapted.env, adapted.spec
    fields = told.observation._asdict()
    limit = getattr(env, "time_limit", spec.episode_limit)
    seen, state = _views(spec.n_agents, adapted.wires, limit, fields)
    has = np.arange(spec.n_actions) < np.asarray(env.action_spec.num_values)[:, None]
    avail = jnp.broadcast_to(has, (reward.shape[0], *has.shape))
    if _MASK in fields:
        allowed = jnp.asarray(fields[_MASK], bool) & has
        # Of whom nothing is allowed something must be: no policy is none at all.
        avail = jnp.where(allowed.any(axis=-1, keepdims=True), allowed, has)
    return TimeStep(seen, state, avail, reward, terminated, truncated, {})


def _views(
    agents: int, wires: bool, limit: int, fields: dict[str, Array]
) -> tuple[Float[Array, "batch agents obs"], Float[Array, "batch state"]]:
    """What each agent sees, and the state, laid flat; both end with the share of the time that is over, if told.

    Agents with views of their own see these; the others all that is shown, and their own place once more. The state is
    what is shown to nobody in particular; if there is nothing of the kind, all views side by side.
    """
    flat = {name: jnp.asarray(array, jnp.float32) for name, array in fields.items() if name != _MASK}
    batch = next(iter(flat.values())).shape[0]
    clock = flat[_CLOCK].reshape(batch, 1) / limit if _CLOCK in flat else jnp.zeros((batch, 0), jnp.float32)
    shared = [array.reshape(batch, -1) for name, array in flat.items() if name not in (_VIEW, _CLOCK)]
    if wires:
        views = _wires(agents, fields["grid"])
        shared = [(flat["grid"] / (3 * agents)).reshape(batch, -1)]
    elif _VIEW in flat:
        views = flat[_VIEW].reshape(batch, agents, -1)
    else:
        everything = jnp.concatenate(shared, axis=1)[:, None]
        own = [flat[name].reshape(batch, agents, -1) for name in _PLACES if name in flat]
        views = jnp.concatenate([jnp.broadcast_to(everything, (batch, agents, everything.shape[-1])), *own], axis=-1)
    seen = jnp.concatenate([views, jnp.broadcast_to(clock[:, None], (batch, agents, clock.shape[1]))], axis=-1)
    state = jnp.concatenate([*(shared or [views.reshape(batch, -1)]), clock], axis=1)
    return seen, state


def _wires(agents: int, grid: Int[Array, "batch rows columns"]) -> Float[Array, "batch agents flat"]:
    """Connector's grid as each agent sees it: where its wire, head and target are, and those of others.

    A cell holds 0, or 1 + 3 i for the wire of agent i, 2 + 3 i for its head, 3 + 3 i for its target.
    """
    batch = grid.shape[0]
    kind = jnp.where(grid > 0, (grid - 1) % 3, -1)[:, None, None]
    owner = jnp.where(grid > 0, (grid - 1) // 3, -1)[:, None, None]
    agent = jnp.arange(agents)[None, :, None, None, None]
    planes = (kind == jnp.arange(3)[None, None, :, None, None]) & (owner >= 0)
    mine, theirs = planes & (owner == agent), planes & (owner != agent)
    return (
        jnp.concatenate([mine, theirs], axis=2)
        .reshape(batch, agents, 6 * math.prod(grid.shape[1:]))
        .astype(jnp.float32)
    )
