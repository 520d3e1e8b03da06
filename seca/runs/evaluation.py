"""Evaluation of a trained policy, after training."""

import pathlib
from typing import Any

from seca.errors import UsageError
from seca.host import machine
from seca.runs import folder as folders
from seca.runs import stats
from seca.runs.folder import RunFolder
from seca.runs.load import Kind, build_run, kind_name, load_state
from seca.train.evaluate import Tell, make_evaluate


def credit_share(folder: RunFolder, env_steps: int) -> dict[str, float]:
    """`credit_share` as training last wrote it before so many env steps; nothing where the policy follows credit alone.

    Nothing either where the metrics are gone or damaged: the policy can be evaluated without.
    """
    try:
        lines = folders.read_metrics(folder, "train")
        shares = [line["credit_share"] for line in lines if "credit_share" in line and line["env_steps"] <= env_steps]
    except (UsageError, KeyError, TypeError):
        return {}
    return {"credit_share": float(shares[-1])} if shares and isinstance(shares[-1], int | float) else {}


def evaluate_run(
    path: pathlib.Path, episodes: int, kind: Kind, seed: int, opponent: str | None = None, tell: Tell | None = None
) -> dict[str, Any]:
    """Greedy episodes of a run's policy: win rate with interval, where one can win, return, length, and every outcome.

    The same `seed` gives the same battles. `opponent` replaces the one it was trained against: a name or a run folder.
    `tell` hears how far it is.
    Raises UsageError when the run cannot be read or the opponent does not fit.
    """
    folder = folders.existing(path)
    built = build_run(folders.read_config(folder.config), opponent, folder)
    state = load_state(folder, kind, built)[0]
    evaluate = make_evaluate(built.env, built.algorithm, episodes, machine.choose_devices(0, episodes))
    return {
        "run": str(path),
        "checkpoint": kind_name(kind),
        "env": built.env.spec.id,
        "env_steps": int(state.env_steps),
        "seed": seed,
        "greedy": True,
        **({} if opponent is None else {"opponent": opponent}),
        **credit_share(folder, int(state.env_steps)),
    } | stats.summary(evaluate(state, stats.evaluation_key(seed), tell))
