"""What `seca watch` plays: from what was asked for to a recorded episode."""

import dataclasses
import pathlib
from collections.abc import Mapping

from seca import files
from seca.battles.play import Policy, at_random, of_run, record, record_scene, scripted, simulator_of
from seca.battles.recording import Recording
from seca.battles.scene import Scene
from seca.config import EnvOption
from seca.envs import registry
from seca.envs.base import Env
from seca.errors import UsageError, refusing
from seca.runs import folder as folders
from seca.runs.folder import RunFolder
from seca.runs.load import Kind, kind_name, load, make_env
from seca.smac import custom
from seca.smac.scripts import SCRIPTS


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be played, and where a recording of it belongs."""

    env: Env
    policy: Policy
    home: pathlib.Path | None
    """Folder for recordings inside the run, or None where there is no run."""
    name: str
    """Short name of environment and policy, for files."""


def plan(policy: str, env: str | None, env_options: Mapping[str, EnvOption], kind: Kind) -> Plan:
    """Read what a user asks for: a script in a named environment, or a run in its own.

    Raises:
        UsageError: no such policy, run, checkpoint or environment; not a SMAC environment; a run in another one.
    """
    if policy not in SCRIPTS:
        return _plan_run(files.usable("policy", policy), env, env_options, kind)
    if env is None:
        raise UsageError(f"`env` is missing: with `policy` '{policy}' give one, such as --env smac/2s3z")
    if kind != "latest":
        raise UsageError(
            f"`checkpoint` is '{kind}' but `policy` '{policy}' has none: leave it out, or give a run folder"
        )
    with refusing():
        made = make_env(env, env_options)
        _check_watchable(made)
        if made.simulator is not None:
            simulator = simulator_of(made)
            return Plan(made, scripted(policy, simulator), None, f"{simulator.battlefield.name}-{policy}")
    if policy != "random":
        raise UsageError(f"`policy` is '{policy}', a script of SMAC's battles: on {env} choose random or a run folder")
    return Plan(made, at_random(made.spec), None, f"{made.spec.id.split('/')[-1]}-{policy}")


def _plan_run(path: pathlib.Path, env: str | None, env_options: Mapping[str, EnvOption], kind: Kind) -> Plan:
    if not path.is_dir():
        raise UsageError(f"`policy` is '{path}': choose {', '.join(SCRIPTS)}, or an existing run folder")
    folder = folders.existing(path)
    config = folders.read_config(folder.config)
    if env is not None and not _same(env, config.env, folder):
        raise UsageError(f"`env` is {env} but run {path} was trained on {config.env}: leave `env` out")
    enemy = env_options.get("opponent")
    for name, value in env_options.items():
        if name == "opponent":
            continue
        if name not in config.env_options or config.env_options[name] != value:
            raise UsageError(f"`env-options` {name}={value} is not what run {path} was trained with: leave it out")
    run = load(path, kind, opponent=None if enemy is None else str(enemy))
    with refusing():
        _check_watchable(run.env)
    steps = int(run.state.env_steps)
    policy = of_run(run, f"{path.resolve().name}, {kind_name(kind)} checkpoint at {steps:,} env steps")
    against_whom = "" if enemy is None else f"-against-{pathlib.Path(str(enemy)).name}"
    return Plan(run.env, policy, folder.recordings, f"{kind_name(kind)}-{steps}{against_whom}")


def _same(env: str, trained: str, folder: RunFolder) -> bool:
    """Whether they are one environment; of scenario files the contents count, not the names."""
    file, theirs = registry.scenario_file(env), folder.found_scenario(trained)
    if file is None or theirs is None or not file.is_file():
        return env == trained
    return custom.fingerprint(file) == custom.fingerprint(theirs)


def _check_watchable(env: Env) -> None:
    """Raise ValueError when nothing of the environment can be drawn."""
    if env.simulator is None and env.drawing is None:
        raise ValueError(
            f"`env` is {env.spec.id}, which offers nothing to draw: watch smac/..., smac:FILE.toml, mpe/... or an "
            "environment of your own with `Env.drawing`"
        )


def recorded(plan: Plan, seed: int, number: int) -> Recording | Scene:
    """The episode of that number, as `record`, or step by step where it is no battle of SMAC's."""
    if plan.env.simulator is None:
        return record_scene(plan.env, plan.policy, seed, number)
    [battle] = record(plan.env, plan.policy, seed, [number])
    return battle
