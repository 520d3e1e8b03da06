"""The run folder: names, who may write, and what is read back."""

import os
import pathlib

import pytest


@pytest.mark.slow
def test_two_processes_cannot_write_one_run(copied_run: pathlib.Path, seca) -> None:
    from seca.runs import folder

    with folder.locked(folder.RunFolder(copied_run)):
        ended = seca("resume", copied_run)
    assert ended.returncode == 2
    assert ended.stderr == f"seca: `run` is {copied_run}: run folder in use by process {os.getpid()}\n"
