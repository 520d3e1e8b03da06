"""What the name of an environment says before there is one."""

import pathlib

import pytest

from seca.envs import registry


@pytest.mark.parametrize("name", ["mine.toml", "folder/mine.toml", "/somewhere/a:b.toml"])
def test_names_of_scenario_files_go_there_and_back(name: str) -> None:
    path = pathlib.Path(name)
    assert registry.scenario_file(f"smac:{name}") == path
    assert registry.scenario_file(registry.of_file(path)) == path
    assert registry.is_battle(registry.of_file(path))


def test_names_agree_with_what_is_made() -> None:
    for env_id in ("smac/3m", "matrix/focus-fire"):
        assert registry.is_battle(env_id) == (registry.make(env_id).simulator is not None)
    assert not registry.is_battle("python:smac.make") and not registry.is_battle("smacked/3m")
    assert registry.scenario_file("smac/3m") is registry.scenario_file("python:mine.make") is None


def test_environments_are_compared_by_what_they_do() -> None:
    env = registry.make("smac/3m")
    assert env == env and hash(env) == hash(env) and env != registry.make("smac/3m")
