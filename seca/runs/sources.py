"""What a run is made from beside its options: a scenario file, the policy of another run. The run keeps copies of both.

So a run folder can be moved or sent away alone, and what it was made from can be edited, trained on or deleted.
"""

import contextlib
import dataclasses
from typing import Any

from seca import files
from seca.config import RunConfig
from seca.envs import registry
from seca.errors import RunError
from seca.runs import folder as folders
from seca.runs import opponent as opponents
from seca.runs.folder import RunFolder
from seca.runs.load import Built, Newest, build_run, load, newest_kind
from seca.smac import custom
from seca.train import checkpoint


def keep(folder: RunFolder, config: RunConfig) -> None:
    """Put copies of what `config` names into the run folder. Raises RunError when the disk does not take them."""
    original, copy = registry.scenario_file(config.env), folder.scenario(config.env)
    if original is not None and copy is not None:
        files.write(copy, original.read_text(encoding="utf-8"))
    enemy = opponents.named_run(config.env, config.env_options)
    if enemy is not None:
        _keep_policy(folders.existing(enemy), folder.opponent)


def _keep_policy(enemy: RunFolder, copy: RunFolder) -> None:
    """What it takes to play as another run does, without its replay buffer, by the names of a run folder."""
    config, kind = folders.read_config(enemy.config), newest_kind(enemy)
    state = load(enemy.path, kind, opponent=opponents.nobody(config)).state
    metadata = _newest_metadata(enemy, kind)
    with files.writing(copy.path):
        copy.path.mkdir(parents=True, exist_ok=True)
    # The best checkpoint is the one without a buffer.
    checkpoint.save(copy.checkpoints, "best", state.without_replay(), metadata)
    scenario, theirs = copy.scenario(config.env), enemy.found_scenario(config.env)
    if scenario is not None and theirs is not None:
        files.write(scenario, theirs.read_text(encoding="utf-8"))
    files.write(copy.config, enemy.config.read_text(encoding="utf-8"))


def _newest_metadata(enemy: RunFolder, kind: Newest) -> dict[str, Any]:
    """Of the newest checkpoint that is whole, as `load` takes it."""
    for path in checkpoint.find(enemy.checkpoints, kind):
        with contextlib.suppress(checkpoint.CheckpointError, FileNotFoundError):
            return checkpoint.read_metadata(path)
    raise RunError(f"`opponent` {enemy.path} has no whole {kind} checkpoint any more: start again")


def check(folder: RunFolder, built: Built) -> None:
    """Raise RunError when the copies are not what `built` was made from, which was changed in between."""
    if not folder.opponent.path.exists() and folder.scenario(built.config.env) is None:
        return
    kept = build_run(built.config, home=folder).env.spec.version
    if kept != built.env.spec.version:
        raise RunError(f"what {folder.path} is made from was changed while it was kept: start again in a new folder")


def repeated(config: RunConfig, folder: RunFolder) -> RunConfig:
    """The configuration of a run, with its own copies: of the opponent always, of a scenario that is gone or changed.

    (A scenario is told from its copy at a glance, a policy is not.)
    """
    original, copy = registry.scenario_file(config.env), folder.scenario(config.env)
    if original is not None and copy is not None and copy.is_file():
        if not original.is_file() or custom.fingerprint(original) != custom.fingerprint(copy):
            config = dataclasses.replace(config, env=registry.of_file(copy))
    if folder.opponent.config.is_file():
        options = {**config.env_options, "opponent": str(folder.opponent.path)}
        config = dataclasses.replace(config, env_options=options)
    return config
