"""Names of environments: what they say before there is one, and which are none."""

import pathlib

import pytest

from seca.envs import registry
from seca.envs.registry import list_envs, make


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


def test_registry_knows_both_families() -> None:
    names = list_envs()
    assert {"matrix/focus-fire", "matrix/anti-coordination", "matrix/qtran", "matrix/additive"} <= set(names)
    assert {"smac/3m", "smac/2s3z", "smac/27m_vs_30m"} <= set(names)


@pytest.mark.parametrize("name", ["matrix/chess", "atari/pong", "2s3z", "smac/", "", "smac/99m"])
def test_unknown_names_are_refused_with_the_choices(name: str) -> None:
    with pytest.raises(ValueError, match=f"`env` '{name}' does not exist; choose from .*matrix/qtran"):
        make(name)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ValueError, match="`env-options` size is unknown"):
        make("matrix/qtran", {"size": 3})
