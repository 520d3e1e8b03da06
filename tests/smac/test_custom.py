"""Scenarios of one's own."""

import jax
import jax.numpy as jnp
import pytest

from seca.envs import registry
from seca.smac import custom, scenario

GOOD = """
limit = 60
allies = [{ unit = "stalker", count = 2, at = [9, 16] }, { unit = "medivac", count = 1, at = [8.5, 16] }]
enemies = [{ unit = "zergling", count = 5, at = [23, 16] }]
attack = { point = [9, 16] }
terrain = "simple"
"""
ROWS = ["X" * 32] + ["X" + "_" * 30 + "X"] * 30 + ["X" * 32]


def write(tmp_path, text: str):
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.slow
def test_a_scenario_of_ones_own_is_an_environment(tmp_path):
    """It loads by path and plays; what is shown follows from its units."""
    path = write(tmp_path, GOOD)
    env = registry.make(f"smac:{path}", {"profile": "ladder410"})
    assert (env.spec.n_agents, env.spec.n_actions, env.spec.episode_limit) == (3, 11, 60)
    field = custom.read(path)
    assert field.unit_names == ("stalker", "stalker", "medivac", *["zergling"] * 5)
    assert field.type_bits.shape == (8, 3) and field.medivac_rule
    assert field.ally_has_shield and not field.enemy_has_shield
    state, shown = env.reset(jax.random.split(jax.random.key(0), 2))
    _, shown = env.step(state, jnp.ones((2, 3), jnp.int32))
    assert shown.obs.shape == (2, 3, env.spec.obs_size) and not shown.done.any()


def test_its_version_follows_the_file(tmp_path):
    """A checkpoint of a scenario that was edited since is another environment's."""
    first = registry.make(f"smac:{write(tmp_path, GOOD)}").spec.version
    assert first == registry.make(f"smac:{write(tmp_path, GOOD)}").spec.version
    assert first != registry.make(f"smac:{write(tmp_path, GOOD.replace('60', '61'))}").spec.version


def test_its_own_terrain(tmp_path):
    rows = "[" + ", ".join(f'"{row}"' for row in ROWS) + "]"
    field = custom.read(write(tmp_path, GOOD.replace('"simple"', f"{{ rows = {rows} }}")))
    assert field.walkable.sum() == 900 and field.terrain == "mine"


@pytest.mark.slow
def test_shipped_maps_pass_the_same_checks():
    """Every entry of maps.toml would do as a file of one's own."""
    for name, data in scenario.read_data("maps")["maps"].items():
        fields = {key: data[key] for key in ("limit", "allies", "enemies", "attack", "terrain")}
        checked = custom._check(fields, scenario.unit_numbers("smac"))
        assert scenario.build(name, checked).n_units == scenario.load(name).n_units


BAD = {
    "limit = 60": ("limit = 0", "`limit`"),
    "limit = 60\n": ("", "`limit` is missing"),
    "limit = 60\nallies": ("limit = 60\nspeed = 2\nallies", "`speed` is unknown"),
    'unit = "stalker"': ('unit = "archon"', "`unit` must be one of marine"),
    "count = 2": ("count = -2", "`count` of stalker"),
    "count = 5": ("count = 500", "200 units at most"),
    "at = [9, 16]": ("at = [9, 99]", "`at` of stalker"),
    "at = [23, 16]": ("at = [23, 3]", "stands in a wall"),
    "{ point = [9, 16] }": ("{ point = [9] }", "`attack` must be"),
    'terrain = "simple"': ('terrain = "moon"', "`terrain` must be one of simple"),
    '"simple"': ('{ rows = ["_X"] }', "`rows` of the terrain must be 32 strings"),
    "limit = 60\nallies = ": ("limit = 60\nallies = [] #", "`allies` must be a list"),
    "attack =": ("attack = = ", "not a TOML file"),
}


WRONG_KINDS = {
    'unit = "stalker"': ('unit = ["stalker"]', "`unit` must be one of marine"),
    'unit = "medivac"': ("unit = { name = 'medivac' }", "`unit` must be one of marine"),
    'unit = "zergling"': ("unit = 3", "`unit` must be one of marine"),
    "count = 2": ('count = "2"', "`count` of stalker"),
    "count = 1": ("count = true", "`count` of medivac"),
    "count = 5": ("count = [5]", "`count` of zergling"),
    "at = [9, 16]": ('at = ["9", 16]', "`at` of stalker"),
    "at = [8.5, 16]": ("at = [nan, 16]", "`at` of medivac"),
    "at = [23, 16]": ("at = { x = 23, y = 16 }", "`at` of zergling"),
    "limit = 60": ("limit = 60.0", "`limit` must be a whole number"),
    "limit = 60\n": ("limit = 10000000000\n", "`limit` must be a whole number"),
    "{ point = [9, 16] }": ("{ point = [[9], [16]] }", "`attack` must be"),
    "= { point = [9, 16] }": ("= [{ point = [9, 16] }]", "`attack` must be"),
    "attack = { point = [9, 16] }": ('attack = { units = ["allies"] }', "`attack` must be"),
    'terrain = "simple"': ("terrain = 3", "`terrain` must be the name"),
    '"simple"': ("{ rows = { a = 1 } }", "`rows` of the terrain must be 32 strings"),
    'terrain = "simple"\n': ('terrain = "simple"\nmedivac_rule = "yes"\n', "`medivac_rule` must be true or false"),
}
"""Values of another kind than the field's: lists and tables cannot even be looked up."""
MISTAKES = [(old, *mistake) for table in (BAD, WRONG_KINDS) for old, mistake in table.items()]


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES)
def test_mistakes_are_named(tmp_path, old, new, message):
    """One line: the file, the field, the value, the choices."""
    assert old in GOOD
    path = write(tmp_path, GOOD.replace(old, new, 1))
    with pytest.raises(ValueError) as error:
        registry.make(f"smac:{path}")
    assert message in str(error.value) and str(path) in str(error.value) and "\n" not in str(error.value)


def test_smaclites_numbers_are_for_its_maps(tmp_path):
    with pytest.raises(ValueError, match="`profile` of a scenario of one's own must be smac or ladder410; got 'smacl"):
        registry.make(f"smac:{write(tmp_path, GOOD)}", {"profile": "smaclite"})


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(ValueError, match="cannot be read"):
        registry.make(f"smac:{tmp_path / 'none.toml'}")
