"""A trained policy evaluated: the same numbers again, and those of the run's end."""

import json
import pathlib
import re

import pytest
from commands import printed


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
