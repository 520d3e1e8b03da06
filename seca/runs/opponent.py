"""A run's policy in command of the enemy: self-play against what has been trained before."""

import functools
import hashlib
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from seca import files
from seca.algos.base import Algorithm
from seca.config import RunConfig
from seca.envs import registry
from seca.errors import UsageError
from seca.smac import custom, scenario, scripts
from seca.smac.opponent import Opponent
from seca.smac.policy import policy_opponent
from seca.types import EnvSpec, PyTree, TimeStep


def named_run(env: str, options: Mapping[str, Any]) -> pathlib.Path | None:
    """The folder of the run that the option `opponent` of a SMAC environment names, or None if it names no run.

    Raises UsageError when it names neither an opponent that seca knows nor a folder.
    """
    value = options.get("opponent")
    if not registry.is_battle(env) or not isinstance(value, str) or value in scripts.OPPONENTS:
        return None
    path = files.usable("opponent", value)
    if not path.is_dir():
        choices = ", ".join(scripts.OPPONENTS)
        raise UsageError(f"`opponent` must be one of {choices}, or the folder of a run; got {value!r}")
    return path


def nobody(config: RunConfig) -> str | None:
    """An opponent, as `load` takes it, for a run of which only the policy is wanted."""
    return "scripted" if registry.is_battle(config.env) else None


def of_policy(
    env: str, options: Mapping[str, Any], spec: EnvSpec, algorithm: Algorithm, params: PyTree, env_steps: Array
) -> Opponent:
    """The policy that plays `spec` as the opponent in `env` with these options; it samples its actions.

    Raises:
        ValueError: it was trained elsewhere, or saw something else there, or the teams differ.
    """
    name = str(options["opponent"])
    if not _same(spec, env):
        raise ValueError(f"`opponent` {name} plays {spec.id}; it cannot play {env}")
    seen = {key: value for key, value in spec.options if key.startswith("obs_")}
    plain = scenario.read_options({key: value for key, value in options.items() if key != "opponent"})
    shown = {key: value for key, value in plain.changed() if key.startswith("obs_")}
    if seen != shown:
        raise ValueError(f"`opponent` {name} was trained with obs options {seen}; here they are {shown}")
    file = registry.scenario_file(env)
    if file is not None:
        battlefield = custom.read(file, plain.profile, plain.creep_decay)
    else:
        battlefield = scenario.load(env.partition("/")[2], plain.profile, plain.creep_decay)
    # Plain arrays: constants of whatever program steps the environment, on any device.
    act = functools.partial(_act, algorithm.act, *jax.device_get((params, env_steps)))
    return policy_opponent(battlefield, plain, algorithm.initial_carry, act, name)


def _same(spec: EnvSpec, env: str) -> bool:
    """Whether they are one environment; of scenario files the contents count, not the names."""
    file = registry.scenario_file(env)
    if file is None or registry.scenario_file(spec.id) is None:
        return spec.id == env
    return spec.version.endswith(custom.fingerprint(file))


def fingerprint(params: PyTree, env_steps: Array) -> str:
    """Eight hexadecimal digits that change with the policy.

    Of what acts and not of the checkpoint's files: a finished run that is resumed writes the same policy again.
    """
    digest = hashlib.sha256()
    for leaf in jax.tree.leaves(jax.device_get((params, env_steps))):
        array = np.asarray(leaf)
        digest.update(f"{array.dtype}{array.shape}".encode() + array.tobytes())
    return digest.hexdigest()[:8]


def _act(
    act: Callable[..., Any],
    params: PyTree,
    env_steps: Array | np.ndarray | np.number,
    carry: PyTree,
    time_step: TimeStep,
    keys: Key[Array, " batch"],
) -> tuple[PyTree, Int[Array, "batch agents"]]:
    acted = act(params, carry, time_step, keys, jnp.asarray(env_steps), False)
    return acted.carry, acted.actions
