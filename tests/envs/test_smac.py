"""SMAC battles as an environment: names, spec, and what a fork of them keeps."""

import pathlib

import jax
import numpy as np
import pytest

from seca.envs import smac
from seca.envs.registry import make
from seca.smac import scenario
from seca.types import EnvSpec


@pytest.mark.slow
def test_a_forked_battle_keeps_all_but_its_luck() -> None:
    env = make("smac/3m", {})
    state, _ = env.reset(jax.random.split(jax.random.key(0), 4))
    other = env.reseed(state, jax.random.split(jax.random.key(1), 4))
    for path, leaf in jax.tree.leaves_with_path(state):
        name = jax.tree_util.keystr(path)
        same = np.array_equal(leaf, dict(jax.tree.leaves_with_path(other))[path])
        assert same == (name != ".seed"), name


def test_the_spec_is_that_of_smac() -> None:
    """Sizes as in SMAC's table of maps: 3m has three marines, 2s3z two types with shields."""
    env = smac.make("3m")
    assert env.spec == EnvSpec("smac/3m", "smac-1", 3, 9, 30, 48, 60, ally_features=4)
    assert smac.make("2s3z").spec == EnvSpec(
        "smac/2s3z", "smac-1", 5, 11, 80, 120, 120, ally_features=4 + 1 + 2, agent_types=(0, 0, 1, 1, 1)
    )
    assert env.simulator is not None and env.state_batch_axis == -1


def test_options_are_in_the_spec() -> None:
    """But for those that are the defaults; a state of observations has no features of agents in front."""
    spec = smac.make("3m", obs_instead_of_state=True, jitter=True).spec
    assert (spec.options, spec.ally_features, spec.state_size) == ((("obs_instead_of_state", True),), 0, 3 * 30)


def test_an_opponent_by_name_is_an_option() -> None:
    assert smac.make("3m", opponent="kite").spec.options == (("opponent", "kite"),)
    assert smac.make("3m", opponent="scripted").spec.options == ()


def test_every_map_of_the_benchmark() -> None:
    assert smac.list_maps() == list(scenario.map_names()) and len(smac.list_maps()) == 23


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("4m", {}, "one of 3m, 8m, .*; got '4m'"),
        ("3m", {"speed": 2}, "speed"),
        ("3m", {"map_name": "8m"}, "map_name"),
        ("3m", {"opponent": "nobody"}, "nobody"),
    ],
)
def test_what_there_is_not(name: str, options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        smac.make(name, **options)


SCENARIO = """
limit = 60
allies = [{ unit = "stalker", count = 2, at = [9, 16] }]
enemies = [{ unit = "zergling", count = 5, at = [23, 16] }]
attack = { point = [9, 16] }
terrain = "simple"
"""


def test_a_scenario_file_is_what_it_says(tmp_path: pathlib.Path) -> None:
    """Its version follows the contents; not its name, nor where it lies."""
    (tmp_path / "there").mkdir()
    paths = [tmp_path / "mine.toml", tmp_path / "there" / "yours.toml", tmp_path / "longer.toml"]
    for path, limit in zip(paths, (60, 60, 61), strict=True):
        path.write_text(SCENARIO.replace("60", str(limit)))
    mine, yours, longer = (smac.make_file(str(path)).spec for path in paths)
    assert (mine.id, yours.id) == ("smac:mine.toml", "smac:yours.toml")
    assert mine.version == yours.version != longer.version
    assert mine.version.startswith("smac-1-") and len(mine.version) == len("smac-1-") + 8
    assert (mine.n_agents, mine.n_actions, mine.episode_limit, longer.episode_limit) == (2, 6 + 5, 60, 61)
