"""Environments of others by the kind of their interface."""

import importlib

from seca.envs.hosted.lanes import Recipe
from seca.envs.hosted.single import Single

KINDS = ("pettingzoo", "gymnasium", "pymarl", "starcraft")


def make(recipe: Recipe) -> Single:
    """The environment. Raises ValueError in one line where there is none of that name, or it is not served."""
    if recipe.kind == "python":
        module, _, name = recipe.name.rpartition(".")
        return getattr(importlib.import_module(module), name)(**dict(recipe.options))
    raise ValueError(f"`env` {recipe.kind}:{recipe.name} is of no kind that is known")
