"""The study of all methods: what is kept of a run, the table and the figure."""

import importlib.util
import json
import pathlib
import shutil
import sys
import types

import pytest

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
    monkeypatch.setattr(study, "BUDGETS", {"3m": 160, "2s3z": 320})
    return study


@pytest.mark.slow
def test_runs_become_data_table_and_figure(
    study: types.ModuleType, finished_run: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run at its budget is kept with its evaluations; one short of it is not; what is kept is not trained again."""
    done, short = study.Cell("3m", "seca", "paper", 0), study.Cell("2s3z", "seca", "paper", 1)
    for cell in (done, short):
        shutil.copytree(finished_run, cell.path(tmp_path))
    found = study.gather(tmp_path)
    assert list(found) == [done]
    assert study.read_data() == found
    metrics = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    evaluations = [line for line in metrics if line["kind"] == "eval"]
    assert found[done]["env_steps"] == [line["env_steps"] for line in evaluations]
    assert found[done]["win_rate"] == pytest.approx([line["win_rate"] for line in evaluations], abs=1e-5)
    lengths = [sum(line["episode_length"]) / len(line["episode_length"]) for line in evaluations]
    assert found[done]["episode_length"] == pytest.approx(lengths, abs=1e-2)
    assert found[done]["gradient_steps"] == metrics[-2]["gradient_steps"]
    # A folder that is gone leaves the data as it is.
    shutil.rmtree(done.path(tmp_path))
    assert study.gather(tmp_path) == found

    row = next(line for line in study.table(found).splitlines() if line.startswith("| `seca`*"))
    end = 100 * sum(line["win_rate"] for line in evaluations[-3:]) / 3
    assert row.split("|")[3].strip() == f"{end:.0f}" and row.split("|")[7].strip() == "-"
    study.draw(found, tmp_path / "figure")
    assert (tmp_path / "figure.png").read_bytes()[:4] == b"\x89PNG"
    monkeypatch.setattr(study, "run", lambda cell, out, cores: False)
    with pytest.raises(SystemExit, match="not at their budget: 2s3z-seca-paper-s1"):
        options = types.SimpleNamespace(
            maps=["2s3z"], seeds=[1], methods=["seca"], setting="paper", out=tmp_path, jobs=1
        )
        study.train(options)


def test_every_preset_has_its_place(study: types.ModuleType) -> None:
    """Methods of the study are each in one column of the figure; `seca` is in all."""
    placed = [name for names in study.COLUMNS.values() for name in names]
    assert sorted([*placed, "seca"]) == sorted(study.METHODS)
    tuned = {study.Cell("3m", name, "reference", 0).preset() for name in study.METHODS if study.reference_of(name)}
    assert set(study.PRESETS) - set(study.METHODS) == tuned
    with pytest.raises(SystemExit, match="there is none of indadv"):
        study.Cell("3m", "indadv", "reference", 0).preset()
