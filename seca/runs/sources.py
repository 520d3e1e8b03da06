"""What a run is made from beside its options: a scenario file, the policy of another run. The run keeps copies of both.

So a run folder can be moved or sent away alone, and what it was made from can be edited, trained on or deleted.
"""

import dataclasses
import pathlib

from seca import files
from seca.algos.replay import take_out
from seca.config import RunConfig
from seca.runs import folder as folders
from seca.runs import opponent as opponents
from seca.runs.folder import RunFolder
from seca.runs.load import load, newest_kind
from seca.smac import custom
from seca.train import checkpoint


def keep(folder: RunFolder, config: RunConfig) -> None:
    """Put copies of what `config` names into the run folder. Raises RunError when the disk does not take them."""
    copy = folder.scenario(config.env)
    if copy is not None:
        files.write(copy, pathlib.Path(config.env.removeprefix("smac:")).read_text(encoding="utf-8"))
    enemy = opponents.named_run(config.env, config.env_options)
    if enemy is not None:
        _keep_policy(folders.existing(enemy), folder.opponent)


def _keep_policy(enemy: RunFolder, copy: RunFolder) -> None:
    """What it takes to play as another run does, without its replay buffer, by the names of a run folder."""
    config, kind = folders.read_config(enemy.config), newest_kind(enemy)
    state = load(enemy.path, kind, opponent=opponents.nobody(config)).state
    metadata = checkpoint.read_metadata(checkpoint.find(enemy.checkpoints, kind)[0])
    with files.writing(copy.path):
        copy.path.mkdir(parents=True, exist_ok=True)
    # The best checkpoint is the one without a buffer.
    checkpoint.save(copy.checkpoints, "best", take_out(state)[0], metadata)
    scenario, theirs = copy.scenario(config.env), enemy.found_scenario(config.env)
    if scenario is not None and theirs is not None:
        files.write(scenario, theirs.read_text(encoding="utf-8"))
    files.write(copy.config, enemy.config.read_text(encoding="utf-8"))


def repeated(config: RunConfig, folder: RunFolder) -> RunConfig:
    """The configuration of a run, with its own copies in place of what is gone or has changed since."""
    copy = folder.scenario(config.env)
    if copy is not None and copy.is_file():
        original = pathlib.Path(config.env.removeprefix("smac:"))
        if not original.is_file() or custom.fingerprint(original) != custom.fingerprint(copy):
            config = dataclasses.replace(config, env=f"smac:{copy}")
    enemy = config.env_options.get("opponent")
    if folder.opponent.config.is_file() and isinstance(enemy, str) and not pathlib.Path(enemy).is_dir():
        options = {**config.env_options, "opponent": str(folder.opponent.path)}
        config = dataclasses.replace(config, env_options=options)
    return config
