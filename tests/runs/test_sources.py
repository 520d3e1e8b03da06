"""A run folder needs nothing but itself: it can be moved, and what it was made from can be edited or deleted."""

import dataclasses
import json
import pathlib
import shutil

import jax
import numpy as np
import pytest
from run_files import metric_lines

import seca as package
from seca.battles import watch
from seca.config import RunConfig
from seca.errors import RunError, UsageError
from seca.runs import sources
from seca.runs.folder import RunFolder
from seca.runs.load import build_run

SCENARIO = """
limit = 20
allies = [{ unit = "marine", count = 2, at = [9, 16] }]
enemies = [{ unit = "marine", count = 2, at = [23, 16] }]
attack = { units = "allies" }
terrain = "simple"
"""
SMALL = ["--runners", 2, "--eval-episodes", 2, "--devices", 1]


def _kept(tmp_path: pathlib.Path) -> tuple[RunConfig, RunFolder]:
    """A configuration that plays `tmp_path/here/my.toml`, and a folder that keeps it."""
    path = tmp_path / "here" / "my.toml"
    path.parent.mkdir()
    path.write_text(SCENARIO)
    config, folder = RunConfig(env=f"smac:{path}"), RunFolder(tmp_path / "run")
    sources.keep(folder, config)
    return config, folder


def test_the_copy_serves_when_the_file_is_gone_or_another(tmp_path: pathlib.Path) -> None:
    config, folder = _kept(tmp_path)
    copy = folder.scenario(config.env)
    assert copy is not None
    assert copy == folder.path / "scenario" / "my.toml"
    assert copy.read_text() == SCENARIO == (tmp_path / "here" / "my.toml").read_text()
    assert sources.repeated(config, folder) == config, "the file itself, as long as it is what it was"
    (tmp_path / "here" / "my.toml").write_text(SCENARIO.replace("20", "21"))
    assert sources.repeated(config, folder) == dataclasses.replace(config, env=f"smac:{copy}")
    shutil.rmtree(tmp_path / "here")
    assert sources.repeated(config, folder) == dataclasses.replace(config, env=f"smac:{copy}")
    assert folder.found_scenario(config.env) == copy


def test_runs_without_copies_are_as_before(tmp_path: pathlib.Path) -> None:
    folder = RunFolder(tmp_path)
    for env, found in (("smac/3m", None), ("matrix/peak", None), ("smac:a/b.toml", pathlib.Path("a/b.toml"))):
        config = RunConfig(env=env)
        assert folder.found_scenario(env) == found
        assert sources.repeated(config, folder) == config
    sources.keep(folder, RunConfig(env="smac/3m"))
    assert list(tmp_path.iterdir()) == []


def _policy(path: pathlib.Path) -> list[np.ndarray]:
    """What a run acts with, and the environment it acts in."""
    loaded = package.load(path)
    leaves = jax.tree.leaves(loaded.algorithm.policy(loaded.state.learner))
    return [np.asarray(loaded.env.spec.version), *(np.asarray(leaf) for leaf in leaves)]


def _assert_same(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(mine, other)


@pytest.mark.every
def test_a_run_of_a_scenario_moves(seca, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Trained against a run, both on a file: what it needs is in it when file and opponent are gone."""
    home, away = tmp_path / "home", tmp_path / "away"
    home.mkdir()
    away.mkdir()
    (home / "my.toml").write_text(SCENARIO)
    train = ["train", "coma-newarchi", "--env", "smac:my.toml", *SMALL]
    ended = seca(*train, "--steps", 1, "--out", "enemy", cwd=home)
    assert ended.returncode == 0, ended.stderr
    ended = seca(*train, "--steps", 100, "--env-options", "opponent=enemy", "--out", "run", cwd=home)
    assert ended.returncode == 0, ended.stderr
    monkeypatch.chdir(home)
    before = _policy(pathlib.Path("run"))
    (home / "run").rename(away / "run")
    shutil.rmtree(home)
    monkeypatch.chdir(away)
    _assert_same(_policy(pathlib.Path("run")), before)
    lines = metric_lines(away / "run")
    ended = seca("resume", "run", cwd=away)
    assert ended.returncode == 0, ended.stderr
    assert metric_lines(away / "run") == lines
    # Another path to the same file is the same scenario; another file is not.
    config = json.loads((away / "run" / "config.json").read_text())
    (away / "named.toml").write_text(SCENARIO)
    shutil.rmtree(away / "run" / "scenario")
    (away / "run" / "config.json").write_text(json.dumps(config | {"env": "smac:named.toml"}))
    _assert_same(_policy(pathlib.Path("run")), before)
    planned = watch.plan("run", "smac:named.toml", {}, "latest")
    assert planned.env.spec.version == package.load("run").env.spec.version
    (away / "other.toml").write_text(SCENARIO.replace("20", "21"))
    with pytest.raises(UsageError, match="`env` is smac:other.toml but run run was trained on"):
        watch.plan("run", "smac:other.toml", {}, "latest")
    (away / "named.toml").write_text(SCENARIO.replace("20", "21"))
    with pytest.raises(UsageError, match="cannot play smac:named.toml"):
        package.load("run")


def _damage_a_newer_checkpoint(run: pathlib.Path) -> None:
    """As a kill amid deleting leaves it: the newest is damaged, the one before is whole."""
    [latest] = (run / "checkpoints").glob("latest-*")
    newer = pathlib.Path(shutil.copytree(latest, latest.with_name("latest-999999")))
    (newer / "metadata.json").write_text("{}")


@pytest.mark.every
def test_an_opponent_is_kept_as_it_was(seca, tmp_path: pathlib.Path) -> None:
    """The copy acts as the run did, holds no replay buffer, and can be an opponent itself."""
    play = ["--env", "smac/3m", *SMALL]
    ended = seca("train", "vdn", *play, "--steps", 1, "--batch-episodes", 2, "--out", tmp_path / "enemy")
    assert ended.returncode == 0, ended.stderr
    folder = RunFolder(tmp_path / "run")
    folder.path.mkdir()
    config = RunConfig(env="smac/3m", env_options={"opponent": str(tmp_path / "enemy")})
    sources.keep(folder, config)
    version = build_run(config).env.spec.version
    assert [path.name for path in folder.opponent.checkpoints.iterdir()] == ["best-000001"]
    assert sources.repeated(config, folder).env_options == {"opponent": str(folder.opponent.path)}, "it may change yet"
    sources.check(folder, build_run(config))
    with pytest.raises(RunError, match="was changed while it was kept"):
        sources.check(folder, build_run(config, opponent="nearest"))
    _damage_a_newer_checkpoint(tmp_path / "enemy")
    other = RunFolder(tmp_path / "other")
    other.path.mkdir()
    sources.keep(other, config)
    assert build_run(config, home=other).env.spec.version == version
    shutil.rmtree(tmp_path / "enemy")
    assert build_run(config, home=folder).env.spec.version == version
    again = sources.repeated(config, folder)
    assert again.env_options == {"opponent": str(folder.opponent.path)}
    assert build_run(again).env.spec.version == version
    second = RunFolder(tmp_path / "second")
    second.path.mkdir()
    sources.keep(second, again)
    assert build_run(again, home=second).env.spec.version == version
