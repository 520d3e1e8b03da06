"""The absolute metric: ten times the episodes, of the policy that had the highest mean return at an evaluation.

Gorsane et al. 2022 (arXiv 2209.10485), as marl-eval and Mava compute it: of equal returns the later one counts, and the
episodes are others than any seen in training, in evaluations, or in the comparison at the end.
"""

import json
import pathlib
from typing import Any

import jax

from seca import files, numerics
from seca.errors import UsageError
from seca.host import machine
from seca.runs import folder as folders
from seca.runs import stats
from seca.runs.folder import RunFolder
from seca.runs.load import Newest, build_run, load_state
from seca.train import checkpoint
from seca.train.evaluate import Tell, make_evaluate

TIMES = 10
"""How many times the episodes of an evaluation."""
KINDS: tuple[Newest, ...] = ("highest-return", "best", "latest")
_STREAM = 0xAB50


def measure(path: pathlib.Path, tell: Tell | None = None) -> dict[str, Any]:
    """Play the episodes and write `absolute.json` into the run folder; returns what is in it.

    `tell` hears how far it is.

    Raises UsageError when the run cannot be read, is in use, has no evaluation, or no checkpoint of the policy.
    """
    folder = folders.existing(path)
    with folders.locked(folder):
        return _measure(folder, tell)


def _measure(folder: RunFolder, tell: Tell | None) -> dict[str, Any]:
    config = folders.read_config(folder.config)
    env_steps = highest(folder)
    kind = kept(folder, env_steps)
    if kind is None:
        raise UsageError(f"`run` is {folder.path}: {_gone(env_steps)}")
    built = build_run(config, home=folder)
    state = load_state(folder, kind, built)[0]
    episodes = TIMES * config.loop.eval_episodes
    evaluate = make_evaluate(built.env, built.algorithm, episodes, machine.choose_devices(0, episodes))
    key = _key(config.seed)
    played = stats.summary(evaluate(state, key, tell))
    measured = {"checkpoint": kind, "env_steps": env_steps, "greedy": True, **played}
    _write(folder, measured)
    return measured


def measure_if_kept(path: pathlib.Path) -> None:
    """`measure`, of a run from before the policy was kept a note in its place why it cannot be."""
    folder = folders.existing(path)
    env_steps = highest(folder)
    if kept(folder, env_steps) is None:
        _write(folder, {"missing": _gone(env_steps)})
    else:
        measure(path)


def _gone(env_steps: int) -> str:
    return (
        f"its highest mean return was at {env_steps:,} env steps, and no checkpoint of that policy was kept; runs made "
        "from now on keep it"
    )


def _write(folder: RunFolder, content: dict[str, Any]) -> None:
    files.write(folder.absolute, json.dumps(content, indent=1) + "\n")


@numerics.own()
def _key(seed: int) -> Any:
    """Key of the episodes: of a stream of their own."""
    return jax.random.fold_in(stats.evaluation_key(seed), _STREAM)


def highest(folder: RunFolder) -> int:
    """Env steps of the evaluation with the highest mean return, the later of equals. Raises UsageError without any."""
    lines = folders.read_metrics(folder, "eval")
    if not lines:
        raise UsageError(f"`run` is {folder.path}: it has no evaluation yet")
    return max(lines, key=lambda line: (line["return_mean"], line["env_steps"]))["env_steps"]


def kept(folder: RunFolder, env_steps: int) -> Newest | None:
    """Which checkpoint holds the policy of that evaluation, if one does."""
    for kind in KINDS:
        for path in checkpoint.find(folder.checkpoints, kind)[:1]:
            if checkpoint.read_metadata(path)["env_steps"] == env_steps:
                return kind
    return None


def read(folder: RunFolder) -> dict[str, Any] | None:
    """What `measure` wrote; None where it did not, or could not. Raises UsageError when it cannot be read."""
    if not folder.absolute.is_file():
        return None
    try:
        found = files.parse_json(files.read_text(folder.absolute))
        if isinstance(found, dict) and "missing" in found:
            return None
        if not isinstance(found, dict) or not isinstance(found.get("episode_return"), list):
            raise ValueError("no episodes in it")
        # Of a run that was gone on with since, it may be another policy's.
        return found if found.get("env_steps") == highest(folder) else None
    except ValueError as error:
        raise UsageError(f"`run` is {folder.path}: absolute.json cannot be read ({error})") from None
