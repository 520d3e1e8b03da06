"""The absolute metric: the policy with the highest return, over ten times the episodes, in battles of its own."""

import json
import pathlib
import shutil

import pytest
from commands import printed

from seca.errors import UsageError
from seca.runs import absolute, stats
from seca.runs.folder import RunFolder, existing
from seca.runs.load import load
from seca.train import checkpoint
from seca.train.evaluate import make_evaluate


@pytest.mark.slow
def test_it_is_that_policy_over_ten_times_the_episodes(copied_run: pathlib.Path, capsys) -> None:
    measured = json.loads(printed(capsys, "evaluate", copied_run, "--absolute", "--json"))
    folder = existing(copied_run)
    assert absolute.read(folder) == measured
    assert measured["episodes"] == 80 == len(measured["episode_won"])
    assert measured["env_steps"] == absolute.highest(folder)
    run = load(copied_run, measured["checkpoint"])
    assert int(run.state.env_steps) == measured["env_steps"]
    evaluate = make_evaluate(run.env, run.algorithm, 80, [next(iter(run.state.env_steps.devices()))])
    again = stats.summary(evaluate(run.state, absolute._key(0)))
    assert {name: measured[name] for name in again} == again
    # Not the battles of `seca evaluate`, nor those of another seed.
    others = [stats.evaluation_key(0), absolute._key(1)]
    assert all((absolute._key(0) != other).all() for other in others)


def lines(path: pathlib.Path, *returns: float) -> RunFolder:
    told = [{"kind": "eval", "env_steps": 10 * index, "return_mean": mean} for index, mean in enumerate(returns)]
    (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told))
    return RunFolder(path)


def test_of_equal_returns_the_later_counts(tmp_path: pathlib.Path) -> None:
    assert absolute.highest(lines(tmp_path, 1.0, 3.0, 2.0, 3.0, 2.5)) == 30
    assert absolute.highest(lines(tmp_path, -1.0)) == 0
    with pytest.raises(UsageError, match="no evaluation yet"):
        absolute.highest(lines(tmp_path))


def test_which_checkpoint_holds_it(copied_run: pathlib.Path) -> None:
    folder = existing(copied_run)
    at = {
        kind: checkpoint.read_metadata(checkpoint.find(folder.checkpoints, kind)[0])["env_steps"]
        for kind in absolute.KINDS
    }
    assert absolute.kept(folder, at["highest-return"]) == "highest-return"
    assert absolute.kept(folder, 999) is None
    for path in checkpoint.find(folder.checkpoints, "highest-return"):
        shutil.rmtree(path)
    assert absolute.kept(folder, at["best"]) == "best"


def test_a_policy_that_was_not_kept_is_said(copied_run: pathlib.Path, capsys) -> None:
    """Of runs made before it was: `seca evaluate` refuses, a sweep notes it and goes on."""
    folder = existing(copied_run)
    shutil.rmtree(folder.checkpoints)
    folder.checkpoints.mkdir()
    with pytest.raises(UsageError, match="no checkpoint of that policy was kept"):
        absolute.measure(copied_run)
    assert not folder.absolute.exists()
    absolute.measure_if_kept(copied_run)
    assert absolute.read(folder) is None
    assert "no checkpoint of that policy" in json.loads(folder.absolute.read_text())["missing"]
