"""Environments of others by the kind of their interface; an adapter is imported when it is asked for."""

import importlib
import importlib.metadata
import importlib.util
from collections.abc import Callable
from typing import Any

from seca.envs.hosted import frames
from seca.envs.hosted.lanes import Recipe
from seca.envs.hosted.single import Single


def make(recipe: Recipe) -> Single:
    """The environment. Raises ValueError in one line where there is none of that name, or it is not served.

    Whatever its kind, its frames are held against its spec: by the adapter, or here where it is somebody's own.
    """
    if recipe.kind == "python":
        module, _, name = recipe.name.rpartition(".")
        return frames.Checked(getattr(importlib.import_module(module), name)(**dict(recipe.options)))
    return KINDS[recipe.kind](recipe.name, **dict(recipe.options))


def _made_by(kind: str) -> Callable[..., Single]:
    """The `make` of an adapter, whose module is imported at the first call."""

    def make(name: str, /, **options: Any) -> Single:
        return importlib.import_module(f"seca.envs.hosted.{kind}").make(name, **options)

    return make


KINDS: dict[str, Callable[..., Single]] = {
    kind: _made_by(kind) for kind in ("pettingzoo", "gymnasium", "pymarl", "starcraft")
}
"""Kind -> `make(name, **options)`; an unknown name, or a package that is missing, is a ValueError in one line."""

_NAMES = {
    "pettingzoo": "MODULE.FUNCTION",
    "gymnasium": "[PACKAGE:]ID",
    "pymarl": "MODULE.CLASS",
    "starcraft": "MAP",
}


def offers() -> list[str]:
    """Of each kind the line of `seca envs`: how it is named, and what is installed or would have to be."""
    return [f"{kind}:{_NAMES[kind]}".ljust(28) + told() for kind, told in _TOLD.items()]


def _of_package(package: str, what: str) -> str:
    """Whether a package that is an extra of ours is there, without importing it."""
    if importlib.util.find_spec(package) is None:
        return f"{what}, with pip install 'seca[{package}]'"
    return f"{what} ({package} {importlib.metadata.version(package)})"


def _of_starcraft() -> str:
    found = importlib.import_module("seca.envs.hosted.starcraft").installed()
    if "missing" in found:
        return f"SMAC in StarCraft II itself: {found['missing'].removeprefix('`env` starcraft:... ')}"
    return f"SMAC in StarCraft II itself ({found['version']}): {', '.join(found['maps']) or 'no maps'}"


_TOLD: dict[str, Callable[[], str]] = {
    "pettingzoo": lambda: _of_package("pettingzoo", "any environment of its parallel interface"),
    "gymnasium": lambda: _of_package("gymnasium", "any environment with a joint action, as RWARE and LBF"),
    "pymarl": lambda: "any class with the interface of SMAC's StarCraft2Env",
    "starcraft": _of_starcraft,
}
