"""Runs of versions in which a preset had a `setting`: options go on, checkpoints are refused in one line."""

import hashlib
import json
import pathlib
from typing import Any

import pytest
from refusals import assert_refused

from seca import config as configs


def made_old(run: pathlib.Path, preset: str, setting: str) -> None:
    """Write run and checkpoints as they were then: format 1, and both names in every configuration."""

    def old(config: dict[str, Any]) -> dict[str, Any]:
        return config | {"preset": preset, "setting": setting}

    (run / "config.json").write_text(json.dumps(old(json.loads((run / "config.json").read_text()))))
    for path in (run / "checkpoints").iterdir():
        metadata, manifest = (json.loads((path / name).read_text()) for name in ("metadata.json", "manifest.json"))
        text = json.dumps(metadata | {"format": 1, "config": old(metadata["config"])})
        (path / "metadata.json").write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        (path / "manifest.json").write_text(json.dumps(manifest | {"metadata.json": digest}))


@pytest.mark.parametrize("command", [["evaluate"], ["audit", "--steps", "8"]], ids=lambda words: words[0])
def test_a_run_of_then_is_refused_in_one_line(
    command: list[str], copied_run: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By its checkpoint's format, whatever its options; nothing of it is lost."""
    made_old(copied_run, "seca", "paper")
    fragments = ["has format 1, this version of seca reads format 2"]
    assert_refused([command[0], str(copied_run), *command[1:]], fragments, copied_run, capsys)


def test_a_setting_that_no_version_had_is_refused(copied_run: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    made_old(copied_run, "seca", "mine")
    fragments = ["`setting` of", "config.json is 'mine', which is no field any more", "leave it out"]
    assert_refused(["evaluate", str(copied_run)], fragments, copied_run, capsys)


@pytest.mark.every
def test_its_options_make_a_run_of_now(copied_run: pathlib.Path, seca, tmp_path: pathlib.Path) -> None:
    """`--config` takes the preset that the setting has become."""
    made_old(copied_run, "seca", "reference")
    ended = seca("train", "--config", copied_run / "config.json", "--out", tmp_path / "again")
    assert ended.returncode == 0, ended.stderr
    assert configs.from_json((tmp_path / "again" / "config.json").read_text()).preset == "seca-paper"
