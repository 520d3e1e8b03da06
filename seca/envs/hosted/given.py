"""What users say of an environment of their own: where it is, how long an episode, what the team earns."""

import importlib
import importlib.metadata
import inspect
from collections.abc import Callable, Hashable, Iterable, Mapping
from numbers import Integral
from typing import Any

from seca.errors import told

LIMITS = ("max_cycles", "max_steps", "max_episode_steps", "_max_episode_steps", "episode_limit")
"""What environments call their time limit, where they have one."""
TYPES = "agent_types"
"""Where an environment says of what types its agents are."""


def imported(env_id: str, path: str) -> Any:
    """What `MODULE.NAME`, or `MODULE`, names. Raises ValueError in one line where it cannot be imported."""
    module, _, name = path.rpartition(".")
    try:
        if not module:
            return importlib.import_module(path)
        parent = importlib.import_module(module)
        found = getattr(parent, name, None)
        return importlib.import_module(path) if found is None else found
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"`env` '{env_id}' cannot be imported ({told(error)}): the module must be where Python finds it, "
            "installed or in PYTHONPATH"
        ) from None


def made(env_id: str, function: Callable[..., Any], options: Mapping[str, Any]) -> Any:
    """What a function or class of theirs returns. Raises ValueError in one line where options do not fit, or it fails.

    A ValueError of its own about them is passed on as `told` tells it.
    """
    try:
        inspect.signature(function).bind(**options)
    except TypeError as error:
        raise ValueError(f"`env-options` do not fit {env_id}: {error}") from None
    except ValueError:
        pass  # Written in C: it has no signature to look at.
    try:
        return function(**options)
    except (Exception, SystemExit) as error:
        raise ValueError(f"`env` '{env_id}' cannot be made: {told(error)}") from None


def takes(function: Callable[..., Any], name: str) -> bool:
    """Whether a parameter of that name is in its signature."""
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):
        return False


def limit_of(env_id: str, limit: Any, known: Iterable[Any]) -> int:
    """Env steps of an episode: what the user says, else the least of what is known of the environment.

    Raises:
        ValueError: nobody says one; it is no whole number of at least 1; or the environment ends before it.
    """
    longest = least(known)
    if limit is None and longest is None:
        raise ValueError(f"`env-options` limit is missing: {env_id} says of no length when an episode is cut")
    if limit is None:
        return int(longest or 0)
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise ValueError(f"`env-options` limit is {limit!r}; it must be a whole number of at least 1")
    if longest is not None and limit > longest:
        raise ValueError(f"`env-options` limit is {limit} but {env_id} ends after {longest} env steps")
    return limit


def least(known: Iterable[Any]) -> int | None:
    """The least of the limits that are any: whole numbers above 0, NumPy's too; None where there is none."""
    lengths = [int(length) for length in known if isinstance(length, Integral) and not isinstance(length, bool)]
    return min((length for length in lengths if length > 0), default=None)


def limits_in(env: Any) -> list[Any]:
    """Time limits that an environment, or the one inside its wrappers, has under a usual name."""
    metadata = getattr(env, "metadata", None) or {}
    inside = getattr(env, "unwrapped", env)
    return [metadata.get("max_cycles"), *(getattr(where, name, None) for where in (env, inside) for name in LIMITS)]


def types_in(env_id: str, env: Any, n_agents: int) -> list[Hashable] | None:
    """What an environment, or the one inside its wrappers, says in `agent_types`: a name for each agent, in order.

    Raises:
        ValueError: it says so many names, or something else.
    """
    said = getattr(env, TYPES, None)
    said = getattr(getattr(env, "unwrapped", env), TYPES, None) if said is None else said
    if said is None:
        return None
    names = [] if isinstance(said, str | Mapping) or not isinstance(said, Iterable) else list(said)
    if len(names) != n_agents or not all(isinstance(name, str) for name in names):
        raise ValueError(
            f"`env` '{env_id}' has {TYPES} {said!r:.100}; it must hold {n_agents} names, one for each agent"
        )
    return names


def team_reward_of(team_reward: Any) -> str:
    """`mean` or `sum`; ValueError otherwise."""
    if team_reward not in ("mean", "sum"):
        raise ValueError(f"`env-options` team_reward is {team_reward!r}; choose mean or sum")
    return team_reward


def kept(options: Mapping[str, Any], **told: Any) -> tuple[tuple[str, Any], ...]:
    """Options as a spec has them: sorted by name, of `told` those that are not None, and no team_reward of `mean`."""
    both = dict(options) | {name: value for name, value in told.items() if value is not None}
    return tuple(sorted((name, value) for name, value in both.items() if (name, value) != ("team_reward", "mean")))


def version_of(module: str) -> str:
    """`mpe2-1.1.1` of the package that a module is in; its name alone where it is not installed as one."""
    package = module.partition(".")[0]
    try:
        return f"{package}-{importlib.metadata.version(package)}"
    except importlib.metadata.PackageNotFoundError:
        return package
