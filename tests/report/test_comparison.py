"""The study of all methods: what is kept of a run, the table and the figure."""

import dataclasses
import importlib.util
import json
import pathlib
import sys
import types
from typing import Any

import pytest
from report import scored

from seca.config import from_preset
from seca.sweeps.plan import read

PATH = pathlib.Path(__file__).parent.parent.parent / "benchmarks" / "comparison.py"


@pytest.fixture(name="study")
def study_fixture(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """The script as a module, with data of its own and one run folder that has reached its budget."""
    spec = importlib.util.spec_from_file_location("comparison", PATH)
    assert spec is not None and spec.loader is not None
    study = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, "comparison", study)
    spec.loader.exec_module(study)
    monkeypatch.setattr(study, "DATA", tmp_path / "comparison.jsonl")
    monkeypatch.setattr(study, "BUDGETS", {"3m": 1000, "2s3z": 2000})
    return study


def test_runs_become_data_table_and_figure(
    study: types.ModuleType, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run at its budget is kept with its evaluations; one short of it, and one not of the study, are not."""
    done = scored.leave(tmp_path / "runs", scored.config(env="smac/3m", eval_interval=500))
    others = [
        scored.leave(tmp_path / "runs", scored.config(env="smac/2s3z", seed=1)),
        scored.leave(tmp_path / "runs", scored.config(env="smac/3m", runners=16)),
        scored.leave(tmp_path / "runs", scored.config(env="smac/8m")),
    ]
    session = {"commit": "abc", "packages": {"jax": "0.10"}, "processor": "x"}
    for path in (done, *others):
        (path / "environment.json").write_text(json.dumps({"env": {"version": "smac-1"}, "sessions": [session]}))
    cell = study.Cell("3m", "seca", "paper", 0)
    found = study.gather([done, *others])
    assert list(found) == [cell]
    assert study.read_data() == found
    metrics = [json.loads(line) for line in (done / "metrics.jsonl").read_text().splitlines()]
    evaluations = [line for line in metrics if line["kind"] == "eval"]
    assert found[cell]["env_steps"] == [line["env_steps"] for line in evaluations]
    assert found[cell]["win_rate"] == pytest.approx([line["win_rate"] for line in evaluations], abs=1e-5)
    assert found[cell]["episode_length"] == [30.0] * len(evaluations)
    assert found[cell]["gradient_steps"] == metrics[-1]["gradient_steps"]
    # Runs that are not named leave the data as they are.
    assert study.gather([]) == found

    row = next(line for line in study.table(found).splitlines() if line.startswith("| `seca`*"))
    end = 100 * sum(line["win_rate"] for line in evaluations[-3:]) / 3
    assert row.split("|")[3].strip() == f"{end:.0f}" and row.split("|")[7].strip() == "-"
    study.draw(found, tmp_path / "figure")
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"


@pytest.mark.every
def test_the_file_has_every_method(study: types.ModuleType) -> None:
    plan = read(PATH.parent / "studies" / "comparison.toml")
    cells = [study.cell_of(cell.config) for cell in plan.cells]
    assert {cell.method for cell in cells} == set(study.METHODS)
    assert {cell.setting for cell in cells} == {"paper", "updates-8", "terminal"}
    assert len(set(cells)) == len(plan.cells) == 2 * (2 * len(study.METHODS) + 3)
    for path in sorted((PATH.parent / "studies").glob("*.toml")):
        assert read(path).cells


def test_where_a_run_belongs(study: types.ModuleType) -> None:
    def changed(**options: Any) -> Any:
        algorithm: Any = from_preset("qmix").algorithm
        return dataclasses.replace(algorithm, **options)

    def of(preset: str, **changes: Any) -> Any:
        config = dataclasses.replace(from_preset(preset), env="smac/3m", **changes)
        return study.cell_of(config)

    assert of("qmix") == study.Cell("3m", "qmix", "paper", 0)
    assert of("qmix-reference", seed=3) == study.Cell("3m", "qmix", "reference", 3)
    assert of("qmix", algorithm=changed(updates=8)).setting == "updates-8"
    assert of("qmix", loop=dataclasses.replace(from_preset("qmix").loop, runners=8)).setting == "runners-8"
    assert of("qmix", loop=dataclasses.replace(from_preset("qmix").loop, minibatches=2)) is None
    assert of("qmix", env_options={"opponent": "kite"}) is None
    assert of("qmix", algorithm=changed(lr=1.0)) is None


def test_every_preset_has_its_place(study: types.ModuleType) -> None:
    """Methods of the study are each in one column of the figure; `seca` is in all."""
    placed = [name for names in study.COLUMNS.values() for name in names]
    assert sorted([*placed, "seca"]) == sorted(study.METHODS)
    tuned = {study.reference_of(name) for name in study.METHODS if study.reference_of(name)}
    # They have toys of their own: docs/mpe.md.
    particles = {name for name in study.PRESETS if "-mpe" in name or "sqddpg" in name}
    assert set(study.PRESETS) - set(study.METHODS) == tuned | particles
