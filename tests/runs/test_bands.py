"""Where a run stands beside finished ones of its method."""

import dataclasses
import json
import pathlib
from typing import Any

import pytest

from seca.config import RunConfig, from_preset
from seca.envs import registry
from seca.learning.options import Adaptation
from seca.presets import PRESETS
from seca.runs import bands
from seca.runs.bands import Reference

SECA: Any = PRESETS["seca"].config
TWO = Reference(
    env="smac/3m",
    version="smac-1",
    preset="seca",
    runners=32,
    minibatches=1,
    env_steps=((0, 100, 200, 300), (0, 110, 210, 310)),
    returns=((1.0, 2.0, 4.0, 8.0), (1.5, 2.5, 3.0, 9.0)),
)


def config(env: str = "smac/3m", preset: str = "seca", **changes: Any) -> RunConfig:
    return dataclasses.replace(from_preset(preset), env=env, **changes)


@pytest.mark.parametrize(
    ("at", "expected"),
    [
        (0, (1.0, 1.5)),
        (50, None),
        (67, (2.0, 2.0)),  # Up to 100.5.
        (74, (2.0, 2.5)),
        (150, (2.0, 4.0)),  # From 100 to 225.
        (200, (3.0, 8.0)),  # From 133 to 300.
        (310, (3.0, 9.0)),
        (900, None),
    ],
)
def test_evaluations_near_by_count(at: int, expected: tuple[float, float] | None) -> None:
    assert TWO.between(at) == expected


def test_below_inside_and_above(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bands, "references", lambda: (TWO,))
    told = {mean: bands.standing(config(), "smac-1", 200, mean) for mean in (2.99, 3.0, 8.0, 8.01)}
    assert [found.where for found in told.values() if found] == ["below", "inside", "inside", "above"]
    below = told[2.99]
    assert below is not None and below.words == (
        "test return 2.99 at 200 env steps: below what 2 runs of seca had about there on smac/3m (3.00 to 8.00)"
    )
    assert bands.standing(config(), "smac-1", 900, 5.0) is None


@pytest.mark.parametrize(
    "other",
    [
        config("smac/2s3z"),
        config(preset="qmix"),
        config(env_options={"opponent": "kite"}),
        config(loop=dataclasses.replace(from_preset("seca").loop, runners=64)),
        config(loop=dataclasses.replace(from_preset("seca").loop, minibatches=2)),
        config(algorithm=dataclasses.replace(SECA, actor_lr=1.0)),
        config(adaptation=Adaptation(dead="mask-obs")),
    ],
)
def test_unlike_runs_are_held_against_nothing(monkeypatch: pytest.MonkeyPatch, other: RunConfig) -> None:
    monkeypatch.setattr(bands, "references", lambda: (TWO,))
    assert bands.reference(config(), "smac-1") == TWO
    assert bands.reference(config(), "smac-2") is None
    assert bands.reference(other, "smac-1") is None


def test_once_after_a_tenth_of_the_budget() -> None:
    longer = config(loop=dataclasses.replace(from_preset("seca").loop, steps=1000))
    assert [bands.due(longer, before, now) for before, now in ((0, 99), (99, 100), (0, 100), (100, 200))] == [
        *(False, True, True, False),
    ]


def test_what_is_shipped() -> None:
    """Of maps and methods that there are, in the version that is played, each run from the untrained policy on."""
    found = bands.references()
    assert len(found) >= 49
    assert len({(x.env, x.preset) for x in found}) == len(found)
    assert {(x.env, x.version) for x in found} == {
        (env, registry.make(env, {}).spec.version) for env in {x.env for x in found}
    }
    for reference in found:
        assert reference.preset in PRESETS and not PRESETS[reference.preset].published
        for steps, returns in zip(reference.env_steps, reference.returns, strict=True):
            assert len(steps) == len(returns) > 5 and steps[0] == 0 and list(steps) == sorted(steps)
            assert all(0 <= value <= 20.5 for value in returns)


def test_they_are_made_of_the_data_of_the_comparison() -> None:
    root = pathlib.Path(__file__).parents[2]
    data = [json.loads(line) for line in (root / "docs" / "data" / "comparison.jsonl").read_text().splitlines()]
    counted = sum(line["setting"] == "paper" for line in data)
    assert sum(len(x.returns) for x in bands.references()) == counted
