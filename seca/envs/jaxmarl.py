"""JaxMARL's environments, compiled into the loop: `jaxmarl:NAME`.

Whatever the library's form is (Rutherford et al. 2023): a dict for each agent, one episode a call, rewards of agents.
Here they become a batch of teams. The library's own `step` starts a new episode by itself; this asks its `step_env`,
which does not, so that what is seen at the end is the end.
"""

import contextlib
import dataclasses
import functools
import importlib
import importlib.metadata
import inspect
import io
import math
import os
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, Protocol, runtime_checkable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Int, Key

from seca.envs.agents import kind_of, types_of
from seca.envs.base import Env, where_done
from seca.envs.hosted.spaces import action_sizes
from seca.types import Actions, Box, EnvSpec, PyTree, TimeStep

FAMILY = "jaxmarl:"
WORLD = "world_state"
"""The state among the observations, where an environment has one."""
_SMAX = "SMAX"
_AGAINST_ENEMIES = ("HeuristicEnemySMAX", "LearnedPolicyEnemySMAX")
"""Of SMAX those in which one side learns; in `SMAX` itself the agents are both sides, and nobody wins for all."""
_MPE = "jaxmarl.environments.mpe"
_OF_MPE = (
    *("accel", "c_noise", "collide", "contact_force", "contact_margin", "damping", "mass", "max_speed", "moveable"),
    *("rad", "silent", "u_noise"),
)
"""Options that `SimpleMPE` of JaxMARL 0.2 looks for among all that it is given (mpe/simple.py); it ignores the rest."""

Won = Callable[[PyTree], Bool[Array, " batch"]]
"""Of their states, batch first, whether the agents have won."""
TeamReward = Literal["mean", "sum"]


@runtime_checkable
class MultiAgentEnv(Protocol):
    """As much of JaxMARL's class as is asked for."""

    agents: list[str]

    def reset(self, key: Array) -> tuple[dict[str, Array], PyTree]:
        """`reset(key) -> (obs, state)`."""
        ...

    def step_env(
        self, key: Array, state: PyTree, actions: dict[str, Array]
    ) -> tuple[dict[str, Array], PyTree, dict[str, Array], dict[str, Array], dict[str, Any]]:
        """`step_env(key, state, actions) -> (obs, state, rewards, dones, info)`."""
        ...

    def observation_space(self, agent: str) -> Any:
        """With a `shape`."""
        ...

    def action_space(self, agent: str) -> Any:
        """With an `n`, or with `low`, `high` and `shape`."""
        ...


class State(eqx.Module):
    """Where episodes stand, batch first."""

    theirs: PyTree
    shown: TimeStep
    time: Int[Array, " batch"]
    luck: Key[Array, " batch"]


@dataclasses.dataclass(frozen=True)
class Adapted:
    """An environment of theirs, and the sizes that it is padded to."""

    env: MultiAgentEnv
    spec: EnvSpec
    team_reward: TeamReward
    won: Won | None = None
    """None where nobody can win."""


def make(name: str, /, limit: int | None = None, team_reward: str = "mean", **options: Any) -> Env:
    """The environment of that name.

    Args:
        name: as JaxMARL registers it.
        limit: env steps of an episode; by default the library's own `max_steps`.
        team_reward: `mean` or `sum` over the agents' rewards; the mean of one that all share is that reward.
        options: for the environment; `scenario` of SMAX by its name.

    Raises:
        ValueError: JaxMARL is not installed, has no such environment, cannot make it with these options, or makes one
            that is not served.
    """
    library = _library()
    if name not in library.registered_envs:
        raise ValueError(f"`env` '{FAMILY}{name}' does not exist; choose from {', '.join(library.registered_envs)}")
    given = dict(options)
    try:
        if isinstance(given.get("scenario"), str) and _SMAX in name:
            smax = importlib.import_module("jaxmarl.environments.smax")
            given["scenario"] = smax.map_name_to_scenario(given["scenario"])
        with quiet(), warnings.catch_warnings(action="ignore"):
            env = library.make(name, **given)
        _check_options(env, options)
    except Exception as error:
        said = " ".join(f"{type(error).__name__}: {error}".split())[:300]
        raise ValueError(f"`env-options` do not fit {FAMILY}{name}: {said}") from None
    version = importlib.metadata.version("jaxmarl")
    told = {"limit": limit, "team_reward": team_reward if team_reward != "mean" else None}
    kept = tuple(sorted((options | {k: v for k, v in told.items() if v is not None}).items()))
    won = functools.partial(_beaten, env.num_allies) if name in _AGAINST_ENEMIES else None
    return adapt(env, f"{FAMILY}{name}", f"jaxmarl-{version}", limit, team_reward, kept, won)


def names() -> list[str]:
    """All that JaxMARL registers; none where it is not installed."""
    try:
        return list(_library().registered_envs)
    except ValueError:
        return []


def _library() -> Any:
    try:
        with quiet():
            return importlib.import_module("jaxmarl")
    except ImportError as missing:
        raise ValueError(f"`env` {FAMILY}... needs jaxmarl: pip install 'seca[jaxmarl]' ({missing})") from None


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Nothing that is printed meanwhile comes out: JaxMARL tells what it imports.

    It also puts `sys.stdout` back to Python's first one (mabrax_env.py), past whatever stands in its place, so that
    the file descriptor is led away, too.
    """
    streams = sys.stdout, sys.stderr
    with contextlib.ExitStack() as restoring:
        restoring.callback(_restore, *streams)
        with contextlib.suppress(OSError, ValueError):  # There is no file descriptor 1, so that nothing comes out.
            _flush()
            kept = os.dup(1)
            restoring.callback(os.close, kept)
            restoring.callback(os.dup2, kept, 1)
            nowhere = os.open(os.devnull, os.O_WRONLY)
            os.dup2(nowhere, 1)
            os.close(nowhere)
            restoring.callback(_flush)  # While what it holds goes nowhere.
        sys.stdout = io.StringIO()
        yield


def _restore(out: Any, error: Any) -> None:
    sys.stdout, sys.stderr = out, error


def _flush() -> None:
    for stream in {id(stream): stream for stream in (sys.stdout, sys.__stdout__) if stream is not None}.values():
        with contextlib.suppress(OSError, ValueError):
            stream.flush()


def _check_options(env: Any, options: Mapping[str, Any]) -> None:
    """Raise ValueError for an option that the particle worlds would ignore; other environments refuse it themselves."""
    if not type(env).__module__.startswith(_MPE):
        return
    made = [kind.__init__ for kind in type(env).__mro__ if kind is not object]
    known = {name for init in made for name in inspect.signature(init).parameters} - {"self", "kwargs"} | set(_OF_MPE)
    for name in options:
        if name not in known:
            own = [parameter for parameter in inspect.signature(type(env)).parameters if parameter != "kwargs"]
            raise ValueError(
                f"{name} is unknown; choose from {', '.join(dict.fromkeys([*own, 'max_steps', *_OF_MPE]))}"
            )


def _beaten(n_allies: int, theirs: PyTree) -> Bool[Array, " batch"]:
    """Whether all enemies are dead, and not all allies, which is a draw: by the units, for a reward may be any."""
    alive = jnp.asarray(theirs.state.unit_alive, bool)
    return alive[:, :n_allies].any(axis=1) & ~alive[:, n_allies:].any(axis=1)


def adapt(
    env: MultiAgentEnv,
    env_id: str,
    version: str,
    limit: int | None = None,
    team_reward: str = "mean",
    options: tuple[tuple[str, Any], ...] = (),
    won: Won | None = None,
) -> Env:
    """An environment in JaxMARL's form as one of ours. Raises ValueError where it is not served; see `make`."""
    longest = getattr(env, "max_steps", None)
    units = _units(env)
    if limit is None and longest is None:
        raise ValueError(f"`env-options` limit is missing: {env_id} says of no length when an episode is cut")
    if limit is not None and (isinstance(limit, bool) or not isinstance(limit, int) or limit < 1):
        raise ValueError(f"`env-options` limit is {limit!r}; it must be a whole number of at least 1")
    if limit is not None and longest is not None and limit > longest:
        raise ValueError(f"`env-options` limit is {limit} but {env_id} ends after {longest} env steps")
    if team_reward not in ("mean", "sum"):
        raise ValueError(f"`env-options` team_reward is {team_reward!r}; choose mean or sum")
    agents, shown = list(env.agents), jax.eval_shape(lambda: env.reset(jax.random.key(0)))[0]
    for agent in agents:
        if agent not in shown:
            raise ValueError(f"`env` {env_id} shows no observation of agent {agent}, but {', '.join(shown)}")
    obs_size = max(_length(env.observation_space(agent)) for agent in agents)
    n_actions, ends = action_sizes(env_id, [env.action_space(agent) for agent in agents])
    state_size = math.prod(shown[WORLD].shape) if WORLD in shown else obs_size * len(agents)
    spec = EnvSpec(
        id=env_id,
        version=version,
        n_agents=len(agents),
        n_actions=n_actions,
        obs_size=obs_size,
        state_size=state_size,
        episode_limit=int(limit or longest or 0),
        options=options,
        ally_features=0 if WORLD in shown else obs_size,
        agent_types=types_of([_kind(env, agent, units.get(agent, kind_of(agent))) for agent in agents]),
        box=None if ends is None else Box(*ends),
    )
    adapted = Adapted(env, spec, team_reward, won)  # pyrefly: ignore
    reset, step = functools.partial(_reset, adapted), functools.partial(_step, adapted)
    return Env(spec, reset, step)


def _length(space: Any) -> int:
    """Numbers of an observation, whatever its shape."""
    shape = np.atleast_1d(getattr(space, "shape", ())).tolist()  # Hanabi's is a number.
    return math.prod(shape) if shape else int(getattr(space, "n", 1))


def _units(env: Any) -> dict[str, str]:
    """Of SMAX, side and unit of each agent; nothing where a type is drawn anew for each episode, or nobody has one."""
    names, of_scenario = getattr(env, "unit_type_names", None), getattr(env, "scenario", None)
    if names is None or of_scenario is None or getattr(env, "smacv2_unit_type_generation", False):
        return {}
    units = [names[int(number)] for number in np.asarray(of_scenario)]
    return {agent: f"{kind_of(agent)} {unit}" for agent, unit in zip(env.agents, units, strict=False)}


def _kind(env: MultiAgentEnv, agent: str, called: str) -> tuple[str, int, int]:
    """What tells an agent from those of other types: what it is called, and what it sees and may do."""
    choices = getattr(env.action_space(agent), "n", 0)  # Boxes are alike for all.
    return called, _length(env.observation_space(agent)), int(choices)


def _reset(adapted: Adapted, keys: Key[Array, " batch"]) -> tuple[State, TimeStep]:
    reset_keys, luck = jax.vmap(jax.random.split, out_axes=1)(keys)
    obs, theirs = jax.vmap(adapted.env.reset)(reset_keys)
    batch = keys.shape[0]
    none, zero = jnp.zeros(batch, bool), jnp.zeros(batch, jnp.float32)
    info = {} if adapted.won is None else {"won": none}
    shown = _shown(adapted, obs, theirs, zero, none, none, info)
    return State(theirs, shown, jnp.zeros(batch, jnp.int32), luck), shown


def _step(adapted: Adapted, before: State, actions: Actions) -> tuple[State, TimeStep]:
    """A finished episode stays as it is; an action that an agent does not have counts as its last one."""
    env, spec = adapted.env, adapted.spec
    keys = jax.vmap(jax.random.fold_in)(before.luck, before.time)
    told = {agent: _own(env.action_space(agent), actions[:, i]) for i, agent in enumerate(env.agents)}
    obs, theirs, rewards, dones, _ = jax.vmap(env.step_env)(keys, before.theirs, told)
    each = jnp.stack([jnp.asarray(rewards[agent], jnp.float32).reshape(-1) for agent in env.agents], axis=1)
    reward = each.mean(axis=1) if adapted.team_reward == "mean" else each.sum(axis=1)
    time = before.time + 1
    cut = time >= spec.episode_limit
    over = jnp.asarray(dones["__all__"], bool).reshape(-1)
    # The library ends an episode at its own limit, too: in that step nobody can tell one end from the other.
    info = {} if adapted.won is None else {"won": over & adapted.won(theirs)}
    shown = _shown(adapted, obs, theirs, reward, over & ~cut, cut, info)
    after = State(theirs, shown, time, before.luck)
    same = dataclasses.replace(before.shown, reward=jnp.zeros_like(reward))
    stays = dataclasses.replace(before, shown=same)
    ours = Env(spec, functools.partial(_reset, adapted), functools.partial(_step, adapted))
    return where_done(ours, before.shown.done, (stays, same), (after, shown))


def _own(space: Any, action: Array) -> Array:
    """One agent's actions as its space has them."""
    if hasattr(space, "n"):
        return jnp.minimum(action, int(space.n) - 1).astype(getattr(space, "dtype", jnp.int32))
    return action.astype(jnp.float32)


def _shown(
    adapted: Adapted,
    obs: dict[str, Array],
    theirs: PyTree,
    reward: Float[Array, " batch"],
    terminated: Bool[Array, " batch"],
    truncated: Bool[Array, " batch"],
    info: dict[str, Array],
) -> TimeStep:
    """What they show, padded: observations with zeros, actions that an agent does not have as not available."""
    env, spec, batch = adapted.env, adapted.spec, reward.shape[0]
    flat = {name: jnp.asarray(array, jnp.float32).reshape(batch, -1) for name, array in obs.items()}
    rows = [jnp.pad(flat[agent], ((0, 0), (0, spec.obs_size - flat[agent].shape[1]))) for agent in env.agents]
    seen = jnp.stack(rows, axis=1)
    state = flat[WORLD] if WORLD in flat else seen.reshape(batch, -1)
    return TimeStep(seen, state, _avail(adapted, theirs, batch), reward, terminated, truncated, info)


def _avail(adapted: Adapted, theirs: PyTree, batch: int) -> Bool[Array, "batch agents actions"]:
    """As the environment says, where it says so; of the actions that an agent has, all, else."""
    env, spec = adapted.env, adapted.spec
    if spec.box is not None:
        return jnp.ones((batch, spec.n_agents, spec.n_actions), bool)
    has = np.array(
        [[action < int(env.action_space(agent).n) for action in range(spec.n_actions)] for agent in env.agents]
    )
    try:
        said = jax.vmap(env.get_avail_actions)(theirs)  # pyrefly: ignore
    except (AttributeError, NotImplementedError):
        said = None
    if said is None:
        return jnp.broadcast_to(has, (batch, *has.shape))
    rows = [jnp.asarray(said[agent], bool).reshape(batch, -1) for agent in env.agents]
    padded = jnp.stack([jnp.pad(row, ((0, 0), (0, spec.n_actions - row.shape[1]))) for row in rows], axis=1)
    # Of whom nothing is allowed something must be, as no policy is none at all: the first, so that it counts as dead.
    first = np.arange(spec.n_actions) == 0
    return jnp.where(padded.any(axis=-1, keepdims=True), padded & has, first)
