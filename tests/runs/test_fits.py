"""Which changes of a configuration a checkpoint still fits."""

import dataclasses
import pathlib

import pytest

from seca.config import decisive, from_preset, to_dict
from seca.errors import UsageError
from seca.runs.load import build_run, check_fits

PATH = pathlib.Path("runs/x/checkpoints/latest-000001")
CONFIG = dataclasses.replace(from_preset("seca"), env="smac/3m")


def metadata(config) -> dict:
    return {"env": "smac/3m", "env_version": "smac-1", "config": to_dict(config)}


def test_how_long_and_where_it_runs_may_change() -> None:
    longer = dataclasses.replace(CONFIG, loop=dataclasses.replace(CONFIG.loop, steps=9), devices=1)
    check_fits(PATH, metadata(CONFIG), build_run(longer))
    assert decisive(to_dict(longer)) == decisive(to_dict(CONFIG))


@pytest.mark.parametrize(("before", "now"), [({}, {"jitter": False}), ({"jitter": False}, {})])
def test_options_of_the_environment_may_not(before: dict, now: dict) -> None:
    """Neither added nor taken away: the battles would be others."""
    then, today = (dataclasses.replace(CONFIG, env_options=options) for options in (before, now))
    with pytest.raises(UsageError, match="`env_options.jitter` of config.json is"):
        check_fits(PATH, metadata(then), build_run(today))
