"""Fig. 2's numbers: against plain NumPy, and what is refused."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest
from report import scored

from seca.config import RunConfig, from_preset
from seca.errors import UsageError
from seca.report import toys
from seca.report.toys import Training

RANDOM = np.random.default_rng(0)


def training(seed: int, method: str = "a", env: str = "mpe/predator-prey", length: int = 230) -> Training:
    return Training(f"r{seed}", method, env, seed, np.random.default_rng(seed).normal(50, 10, length))


def test_running_means() -> None:
    rows = RANDOM.normal(size=(2, 230))
    found = toys.running_mean(rows)
    for at in (0, 5, 98, 99, 100, 101, 229):
        np.testing.assert_allclose(found[:, at], rows[:, max(0, at - 99) : at + 1].mean(axis=1))


def test_a_group_is_what_numpy_says() -> None:
    """As far as its shortest run, 203 episodes, of which a fifth, rounded down, is the end."""
    [group] = toys.measure([training(0), training(1, length=203), training(2)])
    rows = np.stack([training(seed).values[:203] for seed in (0, 1, 2)])
    rows[1] = training(1, length=203).values
    assert group.seeds == 3 and group.episodes[0] == 100 and group.episodes[-1] == 203
    at = np.array(group.episodes) - 1
    smooth = toys.running_mean(rows)[:, at]
    np.testing.assert_allclose(group.median, np.median(smooth, axis=0), rtol=1e-5)
    assert group.spread is not None
    np.testing.assert_allclose(group.spread, smooth.std(axis=0, ddof=1), rtol=1e-5)
    assert group.overall.value == pytest.approx(rows.mean()) and group.overall.low <= rows.mean() <= group.overall.high
    assert group.late.value == pytest.approx(rows[:, -40:].mean())
    assert group.late_spread is not None
    assert group.late_spread.value == pytest.approx(rows[:, -40:].mean(axis=1).std(ddof=1))


def test_one_seed_has_no_spread() -> None:
    [group] = toys.measure([training(0)])
    assert group.spread is None and group.late_spread is None
    assert toys.table([group]).splitlines()[-1].endswith("| - | - |")
    assert "Warning: fewer than 5 seeds." in toys.caption([group], "T")
    with pytest.raises(UsageError, match="twice with one seed"):
        toys.measure([training(0), training(0)])


def test_drawn_by_toy() -> None:
    envs = ["mpe/predator-prey", "mpe/cooperative-navigation limit=9"]
    groups = toys.measure([training(seed, method, env) for env in envs for method in "ab" for seed in range(5)])
    figure = toys.draw(groups, "T", ["N"])
    assert len(figure.axes) == 4
    for column, label in enumerate(("env steps to the capture", "mean reward of a step")):
        above, below = figure.axes[column], figure.axes[2 + column]
        assert above.get_ylabel() == label and len(above.lines) == len(below.lines) == 2
        np.testing.assert_array_equal(above.lines[1].get_ydata(), groups[2 * column + 1].median)
        np.testing.assert_array_equal(below.lines[0].get_ydata(), groups[2 * column].spread)
    told = toys.caption(groups, "T", ["N"])
    assert told.startswith("T. Training episodes (230, one runner") and "Warning: N." in told and "few" not in told
    assert json.loads(toys.as_json(groups, "T"))["groups"][3]["method"] == "b"


def test_what_is_read(tmp_path: pathlib.Path) -> None:
    """Steps to the capture, or reward per step, one number for each episode; other runs are refused."""

    def left(preset: str, env: str, **loop: int) -> pathlib.Path:
        base = from_preset(preset)
        config = dataclasses.replace(base, env=env, loop=dataclasses.replace(base.loop, steps=100, **loop))
        path = scored.leave(tmp_path / f"{preset}{env.split('/')[1]}{loop}", config)
        lines = [
            {"kind": "train", "env_steps": 10 * n, "return_mean": -2.0 * n, "episode_length_mean": 4.0 * n}
            for n in (1, 2, 3)
        ]
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
        return path

    prey = toys.read(left("coma-mpe", "mpe/predator-prey"))
    np.testing.assert_array_equal(prey.values[-3:], [4.0, 8.0, 12.0])
    spread = toys.read(left("seca-mpe-navigation", "mpe/cooperative-navigation"))
    np.testing.assert_array_equal(spread.values[-3:], [-0.5, -0.5, -0.5])
    assert (spread.method, spread.env) == ("seca-mpe-navigation", "mpe/cooperative-navigation")
    with pytest.raises(UsageError, match="it has 2 runners; one alone tells episodes apart"):
        toys.read(left("coma-mpe", "mpe/predator-prey", runners=2))
    with pytest.raises(UsageError, match="on smac/2s3z: this figure is of mpe/predator-prey and"):
        toys.read(scored.leave(tmp_path / "seca", RunConfig()))


@pytest.mark.parametrize(("length", "late"), [(1, 1), (4, 1), (5, 1), (2_499, 499), (2_500, 500), (2_509, 500)])
def test_the_end_is_a_fifth_or_five_hundred(length: int, late: int) -> None:
    """Below, at and above where the fifth stops to grow; no more points than episodes, nor than a hundred."""
    values = training(0, length=length).values
    [group] = toys.measure([training(0, length=length)])
    assert group.late.value == pytest.approx(values[-late:].mean())
    assert group.episodes[-1] == length and len(group.episodes) <= min(100, length)
