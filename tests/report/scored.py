"""Runs as folders, without a training: what figures and comparisons read."""

import dataclasses
import json
import pathlib
from collections.abc import Sequence
from typing import Any

from seca.config import RunConfig, from_preset, to_json
from seca.report import scores
from seca.report.scores import Scored

EPISODES = 8


def config(preset: str = "seca", env: str = "smac/3m", seed: int = 0, **loop: Any) -> RunConfig:
    made = dataclasses.replace(from_preset(preset), env=env, seed=seed)
    return dataclasses.replace(
        made, loop=dataclasses.replace(made.loop, **{"steps": 1000, "eval_episodes": EPISODES} | loop)
    )


def leave(
    parent: pathlib.Path,
    config: RunConfig,
    rates: Sequence[float] = (0.0, 0.5, 1.0),
    final: float | None = 0.75,
    absolute: float | None = 0.875,
    version: str = "smac-1",
    wins: bool = True,
) -> pathlib.Path:
    """A run folder with these win rates at evaluations 500 env steps apart, and scores; returns its path."""
    path = parent / f"{config.env.replace('/', '-')}-{config.preset}-s{config.seed}-{len(list(parent.glob('*')))}"
    path.mkdir(parents=True)
    (path / "config.json").write_text(to_json(config))
    (path / "environment.json").write_text(json.dumps({"env": {"version": version}, "sessions": []}))

    def measured(rate: float, episodes: int) -> dict[str, Any]:
        won = [int(index < round(rate * episodes)) for index in range(episodes)]
        told = {"win_rate": rate, "win_rate_low": 0.0, "win_rate_high": 1.0, "episode_won": won} if wins else {}
        each = {"episode_return": [20.0 * x for x in won], "episode_length": [30] * episodes}
        return {"episodes": episodes, **told, "return_mean": 20 * rate, **each}

    lines: list[dict[str, Any]] = []
    for index, rate in enumerate(rates):
        at = 500 * index
        lines.append({"kind": "eval", "env_steps": at, "time_elapsed": float(at), **measured(rate, EPISODES)})
        lines.append({"kind": "train", "env_steps": at + 250, "gradient_steps": at + 250, "return_mean": 1.0})
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    if final is not None:
        result = {"env_steps": 500 * (len(rates) - 1), "trained": measured(final, 128), "untrained": measured(0.0, 128)}
        (path / "result.json").write_text(json.dumps(result))
    if absolute is not None:
        at = max(range(len(rates)), key=lambda index: (rates[index], index))
        best = {"env_steps": 500 * at, **measured(absolute, 10 * EPISODES)}
        (path / "absolute.json").write_text(json.dumps(best))
    return path


def read(*paths: pathlib.Path) -> list[Scored]:
    return scores.read(paths)[0]
