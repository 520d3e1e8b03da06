"""Runs of versions in which a preset had a `setting` are evaluated and resumed under the names of now."""

import hashlib
import json
import pathlib
from typing import Any

import pytest
from refusals import assert_refused
from run_files import metric_lines

from seca import config as configs
from seca.errors import UsageError
from seca.runs import load


def made_old(run: pathlib.Path, preset: str, setting: str, **loop: int) -> None:
    """Write run and checkpoints as they were then."""

    def old(config: dict[str, Any]) -> dict[str, Any]:
        return config | {"preset": preset, "setting": setting, "loop": config["loop"] | loop}

    (run / "config.json").write_text(json.dumps(old(json.loads((run / "config.json").read_text()))))
    for path in (run / "checkpoints").iterdir():
        metadata, manifest = (json.loads((path / name).read_text()) for name in ("metadata.json", "manifest.json"))
        text = json.dumps(metadata | {"config": old(metadata["config"])})
        (path / "metadata.json").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        (path / "manifest.json").write_text(json.dumps(manifest | {"metadata.json": digest}))


@pytest.mark.every
def test_a_run_in_the_setting_of_the_comparison_goes_on(
    finished_run: pathlib.Path, copied_run: pathlib.Path, seca, capsys: pytest.CaptureFixture[str]
) -> None:
    made_old(copied_run, "seca", "paper", steps=240)
    then, now = (load.load(run) for run in (copied_run, finished_run))
    assert then.config.preset == now.config.preset and then.state.env_steps == now.state.env_steps
    resumed = seca("resume", copied_run)
    assert resumed.returncode == 0, resumed.stderr
    lines = metric_lines(copied_run)
    assert lines[-1]["env_steps"] == 240 and lines[: len(metric_lines(finished_run))] == metric_lines(finished_run)
    # What no version had is refused in one line, by file and checkpoint alike.
    made_old(copied_run, "seca", "mine")
    (copied_run / "lock").unlink()
    with pytest.raises(UsageError, match="`setting` of .*config.json is 'mine', which is no field any more"):
        load.load(copied_run)
    fragments = ["`setting`", "mine", "no field any more", "leave it out"]
    assert_refused(["evaluate", str(copied_run)], fragments, copied_run, capsys)
    (copied_run / "config.json").write_text((finished_run / "config.json").read_text())
    assert_refused(["evaluate", str(copied_run)], ["checkpoint", *fragments], copied_run, capsys)


@pytest.mark.every
def test_a_run_in_its_reference_setting_goes_on(seca, small_run: list[str], tmp_path: pathlib.Path) -> None:
    """To the numbers of an unbroken run; the files that were there stay as they are."""
    whole, old = tmp_path / "whole", tmp_path / "old"
    options = ["seca-paper", *small_run[1:], "--eval-interval", 40]
    assert seca("train", *options, "--steps", 160, "--out", whole).returncode == 0
    assert seca("train", *options, "--steps", 80, "--out", old).returncode == 0
    made_old(old, "seca", "reference", steps=160)
    before = (old / "config.json").read_text()
    judged = seca("evaluate", old, "--episodes", 8, "--json")
    assert judged.returncode == 0 and json.loads(judged.stdout)["env_steps"] == 80, judged.stderr
    resumed = seca("resume", old)
    assert resumed.returncode == 0, resumed.stderr
    assert metric_lines(old) == metric_lines(whole)
    assert (old / "config.json").read_text() == before
    again = seca("train", "--config", old / "config.json", "--out", tmp_path / "again")
    assert again.returncode == 0, again.stderr
    assert configs.from_json((tmp_path / "again" / "config.json").read_text()).preset == "seca-paper"
    assert metric_lines(tmp_path / "again") == metric_lines(whole)
