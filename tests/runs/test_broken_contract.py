"""A training whose environment breaks its contract: one line, exit code 2, and a checkpoint that goes on."""

import json
import pathlib

import breaching
import pytest
from tiers import cases

import seca as package
from seca import cli
from seca.train import checkpoint


def ended(capsys: pytest.CaptureFixture[str], *arguments: object) -> tuple[int, str]:
    """Exit code and complaint of a command."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(argument) for argument in arguments])
    return int(stopped.value.code or 0), capsys.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("how", cases(breaching.WAYS, "obs"))
def test_a_run_ends_in_a_line_and_can_go_on(
    how: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Before anything else is said of the iteration, such as that its loss is NaN."""
    mended, run = tmp_path / "mended", tmp_path / "run"
    options = ("at=2", "every=17", f"how={how}", f"mended={mended}")
    code, said = ended(
        capsys,
        *("train", "iql", "--env", "python:breaching.env", "--env-options", *options, "--out", run, "--runners", 4),
        *("--eval-episodes", 2, "--steps", 160, "--eval-interval", 1000, "--buffer-episodes", 8, "--agent-hidden", 8),
        *("--batch-episodes", 4, "--devices", 1, "--checkpoint-interval", 0),
    )
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    trained = [line["iteration"] for line in lines if line["kind"] == "train"]
    assert trained == list(range(1, len(trained) + 1)) and trained
    assert code == 2 and said.count("\n") == 1
    assert f"`env` breaching breaks its contract in iteration {len(trained) + 1}, at step 2 of an episode: " in said
    assert f"{breaching.WAYS[how]}; stopped; go on with: seca resume {run}\n" in said
    assert int(package.load(run).state.iteration) == len(trained)
    if how == "obs":
        mended.touch()
        assert ended(capsys, "resume", run) == (0, "")
        assert int(package.load(run).state.env_steps) == 160


@pytest.mark.every
def test_workers_are_looked_at_as_well(tmp_path: pathlib.Path, seca) -> None:
    run = tmp_path / "run"
    stopped = seca(
        *("train", "iql", "--env", "python:breaching.single", "--env-options", "at=2", "every=41", "how=ends"),
        *("--out", run, "--runners", 4, "--eval-episodes", 2, "--steps", 4000, "--eval-interval", 10000),
        *("--buffer-episodes", 8, "--agent-hidden", 8, "--batch-episodes", 4, "--devices", 1, "--workers", 1),
        *("--checkpoint-interval", 0),
        cwd=pathlib.Path(__file__).parents[1],
    )
    assert stopped.returncode == 2 and stopped.stderr.count("\n") == 1
    assert f"at step 2: {breaching.WAYS['ends']}; stopped; go on with: seca resume {run}" in stopped.stderr
    trained = (run / "metrics.jsonl").read_text().count('"kind": "train"')
    saved = checkpoint.read_metadata(checkpoint.find(run / "checkpoints", "latest")[0])
    assert saved["iteration"] == trained > 0
