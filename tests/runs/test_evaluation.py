"""A trained policy evaluated: the same numbers again, and those of the run's end."""

import json
import pathlib
import re
from typing import Any

import numpy as np
import pytest
from commands import printed

from seca.runs import evaluation, stats
from seca.runs.evaluation import credit_share, evaluate_run
from seca.runs.folder import RunFolder


@pytest.mark.slow
def test_evaluate_is_repeatable(finished_run: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    text = printed(capsys, "evaluate", finished_run, "--episodes", 16)
    assert re.search(r"16 greedy episodes, seed 0: win rate +[\d.]+ % \(95 % interval [\d.]+ to [\d.]+\), return", text)
    assert "latest checkpoint at 160 env steps" in text
    first = json.loads(printed(capsys, "evaluate", finished_run, "--episodes", 16, "--json"))
    lines = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    assert first["credit_share"] == [line["credit_share"] for line in lines if line["kind"] == "train"][-1]
    assert f"size of the credit: {100 * first['credit_share']:.1f} % of that of all the policy follows" in text
    assert first == json.loads(printed(capsys, "evaluate", finished_run, "--episodes", 16, "--json"))
    assert len(first["episode_won"]) == 16
    best = json.loads(printed(capsys, "evaluate", finished_run, "--episodes", 16, "--checkpoint", "best", "--json"))
    assert best["checkpoint"] == "best"


def test_evaluate_agrees_with_the_result_of_the_run(
    finished_run: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    evaluated = json.loads(printed(capsys, "evaluate", finished_run, "--episodes", 128, "--json"))
    trained = json.loads((finished_run / "result.json").read_text())["trained"]
    assert {name: evaluated[name] for name in trained} == trained


def test_evaluate_says_how_many_were_played(
    finished_run: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Not how many it was asked for: some may have been lost."""
    results = {"return": np.ones(13), "length": np.ones(13, np.int32), "lost": np.array(3)}
    monkeypatch.setattr(evaluation, "make_evaluate", lambda *arguments: lambda *given: results)
    text = printed(capsys, "evaluate", finished_run, "--episodes", 16)
    assert "13 greedy episodes, seed 0: return 1.00, length 1.0, 3 more episodes lost" in text
    found = json.loads(printed(capsys, "evaluate", finished_run, "--episodes", 16, "--json"))
    assert (found["episodes"], found["episodes_lost"]) == (13, 3)


def share(tmp_path: pathlib.Path, env_steps: int, *lines: dict[str, Any] | str) -> dict[str, float]:
    text = "".join(f"{line if isinstance(line, str) else json.dumps(line)}\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text(text)
    return credit_share(RunFolder(tmp_path), env_steps)


def test_the_share_of_the_credit_is_the_last_before_the_checkpoint(tmp_path: pathlib.Path) -> None:
    """Of training lines that have one; a checkpoint of the best policy is older than the last line."""
    lines: list[dict[str, Any]] = [
        {"kind": "train", "env_steps": 40, "credit_share": 0.5},
        {"kind": "train", "env_steps": 80, "credit_share": 0.25},
        {"kind": "eval", "env_steps": 80, "credit_share": 0.75},
        {"kind": "train", "env_steps": 120, "credit_share": 1},
        {"kind": "train", "env_steps": 160},
    ]
    found = [share(tmp_path, steps, *lines).get("credit_share") for steps in (39, 40, 79, 80, 119, 120, 500)]
    assert found == [None, 0.5, 0.5, 0.25, 0.25, 1.0, 1.0]


@pytest.mark.parametrize(
    "line",
    [
        {"kind": "train", "env_steps": 40},
        {"kind": "train", "credit_share": 0.5},
        {"kind": "train", "env_steps": "40", "credit_share": 0.5},
        {"kind": "train", "env_steps": 40, "credit_share": "0.5"},
        "{",
    ],
)
def test_without_a_share_there_is_none(line: dict[str, Any] | str, tmp_path: pathlib.Path) -> None:
    """The policy can be evaluated all the same."""
    assert share(tmp_path, 100, line) == {}
    (tmp_path / "metrics.jsonl").unlink()
    assert credit_share(RunFolder(tmp_path), 100) == {}


def test_numbers_are_those_of_the_episodes(finished_run: pathlib.Path) -> None:
    """Means over every episode told; the same seed gives the same battles, and what was asked for is said."""
    found = evaluate_run(finished_run, 7, "best", 3)
    asked = {"run": str(finished_run), "checkpoint": "best", "env": "matrix/focus-fire", "seed": 3, "greedy": True}
    assert {name: found[name] for name in asked} == asked and "opponent" not in found
    assert found["episodes"] == 7 == len(found["episode_won"]) == len(found["episode_return"])
    assert found["win_rate"] == sum(found["episode_won"]) / 7
    assert found["return_mean"] == pytest.approx(sum(found["episode_return"]) / 7)
    low, high = stats.wilson(sum(found["episode_won"]), 7)
    assert (found["win_rate_low"], found["win_rate_high"]) == (low, high)
    assert found["length_mean"] == 1 and evaluate_run(finished_run, 7, "best", 3) == found
