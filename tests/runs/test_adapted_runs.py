"""A run without winners, in running units and with networks of its agents' own: what all commands make of it."""

import json
import pathlib
import shutil
from collections.abc import Iterator

import numpy as np
import pytest
from commands import printed
from run_files import metric_lines

from seca.runs.load import load

pytestmark = pytest.mark.slow
OPTIONS = ["--env", "mpe/cooperative-navigation", "--env-options", "limit=6", "--runners", 4, "--eval-episodes", 4] + [
    "--eval-interval", 96, "--actor-hidden", 8, "--critic-hidden", 8, "--devices", 1, "--checkpoint-interval", 0,
    "--normalise", "obs", "state", "reward", "--dead", "mask-obs", "--share", "none",
]  # fmt: skip


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[list[pathlib.Path]]:
    """Two seeds of COMA."""
    from seca import cli

    folder = tmp_path_factory.mktemp("adapted")
    for seed in (0, 1):
        words = ["train", "coma", *OPTIONS, "--steps", 192, "--seed", seed, "--out", folder / f"run{seed}"]
        with pytest.raises(SystemExit) as stopped:
            cli.main([str(word) for word in words])
        assert stopped.value.code == 0
    yield [folder / "run0", folder / "run1"]


@pytest.mark.every
def test_options_are_kept_and_moments_with_them(runs: list[pathlib.Path]) -> None:
    written = json.loads((runs[0] / "config.json").read_text())["adaptation"]
    assert written == {"normalise": ["obs", "state", "reward"], "dead": "mask-obs", "share": "none"}
    run = load(runs[0])
    assert float(run.state.learner.sofar.state.count[0]) == 192
    assert load(runs[0], "best").state.learner.sofar.reward.deviation > 0
    result = json.loads((runs[0] / "result.json").read_text())
    assert set(result["trained"]) == set(result["untrained"]) and "win_rate" not in result["trained"]


def test_resumed_it_is_the_unbroken_run(
    runs: list[pathlib.Path], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Half of it, then the rest: the same metrics bit for bit, and the same moments."""
    printed(capsys, "train", "coma", *OPTIONS, "--steps", 96, "--seed", 0, "--out", tmp_path / "run")
    config = json.loads((tmp_path / "run" / "config.json").read_text())
    config["loop"]["steps"] = 192
    (tmp_path / "run" / "config.json").write_text(json.dumps(config))
    printed(capsys, "resume", tmp_path / "run")
    assert metric_lines(tmp_path / "run") == metric_lines(runs[0])
    one, two = (load(path).state.learner.sofar for path in (tmp_path / "run", runs[0]))
    np.testing.assert_array_equal(one.obs.squares, two.obs.squares)


def test_another_choice_is_refused(
    runs: list[pathlib.Path], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A checkpoint made in running units is none without them; one from before there were options is as without."""
    from seca import cli

    copy = pathlib.Path(shutil.copytree(runs[0], tmp_path / "copy"))
    config = json.loads((copy / "config.json").read_text())
    config["adaptation"]["normalise"] = ["obs"]
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["evaluate", str(copy)])
    [line] = capsys.readouterr().err.strip().splitlines()
    assert stopped.value.code == 2 and "`adaptation.normalise`" in line and '["obs"]' in line


def test_every_command_copes_without_winners(
    runs: list[pathlib.Path], tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = printed(capsys, "evaluate", runs[0], "--episodes", 4)
    assert "return " in told and "win" not in told
    told = printed(capsys, "compare", *runs)
    assert "return" in told and "win" not in told
    printed(capsys, "plot", *runs, "--out", tmp_path / "curves")
    assert "win_rate" not in (tmp_path / "curves.csv").read_text()
    printed(capsys, "report", *runs, "--out", tmp_path / "report.html")
    assert "test return" in (tmp_path / "report.html").read_text()
    told = printed(capsys, "audit", runs[0], "--steps", 3, "--forks", 4)
    assert "audit" in told or "steps" in told
    printed(capsys, "view", runs[0], "--out", tmp_path / "view.html")
    assert (tmp_path / "view.html").stat().st_size > 1000


@pytest.mark.every
def test_a_sweep_copes_without_winners(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = "runners=4 eval_episodes=4 eval_interval=12 steps=24 actor_hidden=8 normalise=obs share=none".split()
    sweep = ["--methods", "coma", "--envs", "mpe/cooperative-navigation", "--seeds", 0, "--jobs", 1]
    printed(capsys, "sweep", *sweep, "--options", *options, "--out", tmp_path / "sweep")
    told = printed(capsys, "sweep", "status", tmp_path / "sweep")
    assert "1 of 1 runs done" in told and "win rate (or return)" in told
