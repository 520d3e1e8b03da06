"""Environments by name, for the command line."""

import importlib
import inspect
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

from seca.envs import check, jaxmarl, jumanji, matrix, mpe, quadratic
from seca.envs.base import Env, in_units
from seca.envs.hosted import frames, kinds
from seca.envs.hosted.lanes import Recipe
from seca.envs.hosted.pool import Hosting
from seca.envs.hosted.single import Broken, Single


def make(env_id: str, options: Mapping[str, Any] | None = None, hosting: Hosting | None = None) -> Env:
    """The environment `family/name`, with its options.

    Of one's own: `smac:FILE.toml` for a scenario, `python:MODULE.FUNCTION` for whatever `Env` (or `Single`, which
    workers play) that function returns. Of others: `jaxmarl:NAME`, `jumanji:NAME`; and those that are Python, which
    workers play too, as `hosting` says: `pettingzoo:MODULE.FUNCTION`, `gymnasium:ID`, `pymarl:MODULE.CLASS`,
    `starcraft:MAP`. Close its `host` when such a one is not needed any more; with the process they end at the latest.
    Continuous actions are from -1 to 1 in it, whatever bounds it has itself (`base.in_units`): so policies act.

    Raises ValueError in one line that names what is unknown and the choices, `check.ContractError` where there is an
    environment that breaks the contract.
    """
    return in_units(_made(env_id, options, hosting or Hosting(workers=os.cpu_count() or 1)))


def is_hosted(env_id: str) -> bool:
    """Whether workers play an environment of that name; of `python:` whether they may."""
    return ":" in env_id and env_id.partition(":")[0] in (*kinds.KINDS, "python")


def _made(env_id: str, options: Mapping[str, Any] | None, hosting: Hosting) -> Env:
    options = dict(options or {})
    for name, value in options.items():
        if isinstance(value, int) and abs(value) > _MOST:
            raise ValueError(
                f"`env-options` {name} must be a number of 64 bits at most, got one of {value.bit_length()}"
            )
    if env_id.startswith(_FILE):
        from seca.envs import smac  # Reads its data files: only when asked for.

        return smac.make_file(env_id.removeprefix(_FILE), **options)
    if env_id.startswith(jaxmarl.FAMILY):
        return _checked(env_id, jaxmarl.make(env_id.removeprefix(jaxmarl.FAMILY), **options))
    if env_id.startswith(jumanji.FAMILY):
        return _checked(env_id, jumanji.make(env_id.removeprefix(jumanji.FAMILY), **options))
    if env_id.startswith("python:"):
        return _make_python(env_id.removeprefix("python:"), options, hosting)
    kind, _, name = env_id.partition(":")
    if ":" in env_id and kind in kinds.KINDS:
        return _make_hosted(Recipe(kind, name, tuple(sorted(options.items()))), hosting)
    family, _, name = env_id.partition("/")
    if family not in _FAMILIES or not name:
        raise ValueError(f"`env` {env_id!r} does not exist; choose from {', '.join(list_envs())}")
    if name not in _FAMILIES[family][1]():
        raise ValueError(f"`env` {env_id!r} does not exist; choose from {', '.join(list_envs())}")
    return _FAMILIES[family][0](name, options)


_MOST = 2**63
_FILE = "smac:"


def is_battle(env_id: str) -> bool:
    """Whether a name is one of SMAC's battles, whose enemy has a commander, before there is an `Env` to ask.

    An `Env` itself says so by its `simulator`.
    """
    return env_id.startswith((_FILE, "smac/"))


def scenario_file(env_id: str) -> pathlib.Path | None:
    """The file that `smac:FILE.toml` names; None for names of other environments."""
    return pathlib.Path(env_id.removeprefix(_FILE)) if env_id.startswith(_FILE) else None


def of_file(path: pathlib.Path) -> str:
    """The name of the environment of a scenario file: `scenario_file` reads it back."""
    return f"{_FILE}{path}"


def list_envs() -> list[str]:
    """All names that `make` knows."""
    return [f"{family}/{name}" for family, (_, names) in _FAMILIES.items() for name in names()]


def others() -> list[str]:
    """Of every other way to name an environment a line: what there is, or what an extra would add."""
    theirs = jaxmarl.names()
    told = ", ".join(theirs) if theirs else "JaxMARL's environments, with pip install 'seca[jaxmarl]'"
    boards = ", ".join(jumanji.names()) or f"Jumanji's games of teams, with {jumanji.INSTALL}"
    return [
        f"{jaxmarl.FAMILY}NAME                {told}",
        *kinds.offers(),
        f"{jumanji.FAMILY}NAME                {boards}",
        f"{_FILE}FILE.toml              a SMAC scenario of your own",
        "python:MODULE.FUNCTION      an environment of your own",
    ]


def _make_hosted(recipe: Recipe, hosting: Hosting) -> Env:
    """An environment that workers play, or a ValueError in one line."""
    from seca.envs.hosted import looped, processes  # Pools and processes: only when asked for.

    if recipe.kind == "starcraft" and hosting.launch is processes.Process:
        from seca.envs.hosted import starcraft

        starcraft.check(recipe.name, hosting.lanes, dict(recipe.options).get("game_version"))
    try:
        return looped.make(recipe, hosting)
    except Broken as error:
        raise check.ContractError(f"`env` '{recipe.kind}:{recipe.name}' {frames.breach(str(error))}") from None


def _make_python(path: str, options: dict[str, Any], hosting: Hosting) -> Env:
    """What a function of somebody's own returns: whatever their code does, it is a ValueError in one line."""
    module, _, name = path.rpartition(".")
    try:
        make_env = getattr(importlib.import_module(module), name)
    except (Exception, SystemExit) as error:
        raise ValueError(
            f"`env` 'python:{path}' cannot be imported ({check.told(error)}): write python:MODULE.FUNCTION, with the "
            "module where Python finds it, as in PYTHONPATH=."
        ) from None
    if not callable(make_env):
        raise ValueError(f"`env` 'python:{path}' is {type(make_env).__name__}; expected a function that returns an Env")
    try:
        inspect.signature(make_env).bind(**options)
    except (TypeError, ValueError) as error:
        raise ValueError(f"`env-options` do not fit {path}: {error}") from None
    try:
        env = make_env(**options)
    except (Exception, SystemExit) as error:
        raise ValueError(f"`env` 'python:{path}' cannot be made: {check.told(error)}") from None
    if isinstance(env, Single):
        env.close()
        return _make_hosted(Recipe("python", path, tuple(sorted(options.items()))), hosting)
    if not isinstance(env, Env):
        raise ValueError(
            f"`env` 'python:{path}' returns {type(env).__name__}; expected seca.envs.base.Env, or a Single"
        )
    return _checked(f"python:{path}", env)


def _checked(env_id: str, env: Env) -> Env:
    """The environment. Raises `check.ContractError` where it breaks the contract."""
    try:
        check.check_env(env)
    except ValueError as error:
        raise check.ContractError(f"`env` '{env_id}' does not keep the contract: {error}") from None
    return env


def _make_matrix(name: str, options: dict[str, Any]) -> Env:
    if options:
        raise ValueError(f"`env-options` {sorted(options)[0]} is unknown; matrix games have no options")
    return matrix.make(name)


def _make_quadratic(name: str, options: dict[str, Any]) -> Env:
    if options:
        raise ValueError(f"`env-options` {sorted(options)[0]} is unknown; quadratic games have no options")
    return quadratic.make(name)


def _make_mpe(name: str, options: dict[str, Any]) -> Env:
    known = list(inspect.signature(mpe.make).parameters)[1:]
    for option in options:
        if option not in known:
            raise ValueError(f"`env-options` {option} is unknown; choose from {', '.join(known)}")
    return mpe.make(name, **options)


def _make_smac(name: str, options: dict[str, Any]) -> Env:
    from seca.envs import smac  # Reads its data files: only when asked for.

    return smac.make(name, **options)


def _smac_maps() -> list[str]:
    from seca.envs import smac

    return smac.list_maps()


_FAMILIES: dict[str, tuple[Callable[[str, dict[str, Any]], Env], Callable[[], list[str]]]] = {
    "matrix": (_make_matrix, lambda: sorted(matrix.GAMES)),
    "mpe": (_make_mpe, lambda: list(mpe.SCENES)),
    "quadratic": (_make_quadratic, lambda: list(quadratic.GAMES)),
    "smac": (_make_smac, _smac_maps),
}
