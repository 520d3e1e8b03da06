"""Which maps can be played with which unit numbers."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.envs import smac
from seca.smac import scenario

SMACLITE = {"10m_vs_11m", "27m_vs_30m", "2c_vs_64zg", "2s3z", "2s_vs_1sc", "3s5z", "3s5z_vs_3s6z", "3s_vs_5z"}
SMACLITE |= {"bane_vs_bane", "corridor", "MMM", "MMM2"}
"""The maps in SMAClite's own list (uoe-agents/smaclite, smaclite/env/maps)."""


def numbers(field: scenario.Scenario) -> list[np.ndarray]:
    """Every array of a scenario that a profile can change."""
    names = ("health_max", "speed", "reach", "scan", "period", "damage", "radius", "separation", "blast", "late_delay")
    return [getattr(field, name) for name in names]


def test_there_are_twelve():
    assert len(SMACLITE) == 12 < len(scenario.map_names()) == 23


@pytest.mark.parametrize("name", scenario.map_names())
def test_profiles(name):
    """The ladder's numbers exist on every map, SMAClite's on those it has; elsewhere they are refused in one line."""
    plain, ladder = scenario.load(name), scenario.load(name, "ladder410")
    assert (plain.profile, ladder.profile, plain.unit_names) == ("smac", "ladder410", ladder.unit_names)
    assert all(np.isfinite(column).all() for column in numbers(ladder))
    if name not in SMACLITE:
        with pytest.raises(ValueError, match="`profile` smaclite exists on the maps SMAClite has .*2s3z") as caught:
            scenario.load(name, "smaclite")
        assert repr(name) in str(caught.value) and "\n" not in str(caught.value)
        return
    theirs = scenario.load(name, "smaclite")
    assert theirs.profile == "smaclite" and theirs.unit_names == plain.unit_names
    assert all(np.isfinite(column).all() for column in numbers(theirs))
    # Everything walks and shoots faster there.
    assert ((theirs.speed > plain.speed) | (plain.speed == 0)).all() or name == "bane_vs_bane"
    assert any((a != b).any() for a, b in zip(numbers(theirs), numbers(plain), strict=True))


# Facts 7a, 7b and 1: speed, radius, separation, range, scan, damage point in normal seconds, missile speed.
REST = {
    "marine": (2.25, 0.375, 0.375, 5, 5, 0.05, None),
    "marauder": (2.25, 0.5625, 0.5, 6, 6, 0, 20),
    "medivac": (2.75, 0.75, 0.75, None, None, None, None),
    "stalker": (2.9531, 0.625, 0.625, 6, 6, 0.167, 18.75),
    "zealot": (2.25, 0.5, 0.375, 0.1, 5, 0, None),
    "colossus": (2.25, 1, 0.75, 6, 6, 0.083, None),
    "hydralisk": (2.25, 0.625, 0.5, 5, 5, 0.208, 40),
    "zergling": (2.9531, 0.375, 0.375, 0.1, 5, 0.167, None),
    "baneling": (2.5, 0.375, 0.375, 0.25, 5, 0, None),
    "spine_crawler": (0, 0.875, 0.875, 7, 7, 0.333, None),
}
FIELDS = ("speed", "radius", "separation", "range", "scan", "damage_point", "missile_speed")


@pytest.mark.parametrize("profile", ["smac", "ladder410"])
def test_units_have_the_numbers_of_their_sources(golden_dir, profile):
    """Every unit against the reference's table: body, weapon, bonus, period; and in `smac` how it moves and reaches."""
    golden = json.loads((golden_dir / "smac_duels.json").read_text())["units"][profile]
    ours = scenario.unit_numbers(profile)
    assert set(ours) == set(golden) == set(REST)
    reaches = {"G": {"ground"}, "G+A": {"ground", "air"}}
    for name, theirs in golden.items():
        unit = ours[name]
        found = {
            "hp": unit["health"], "shield": unit.get("shield", 0), "armor": unit.get("armor", 0),
            "attributes": sorted(unit["attributes"]), "air": unit["layer"] == "air", "damage": unit.get("damage"),
            "bonus": unit.get("bonus", {}), "hits": unit.get("volley", 2 if unit.get("second_hit_delay") else 1),
            "second_hit_delay": unit.get("second_hit_delay", 0),
        }  # fmt: skip
        assert found == {field: theirs[field] for field in found}, name
        if theirs["period"] is not None:  # A baneling's and a medivac's are not numbers of the game.
            assert unit["period"] == pytest.approx(theirs["period"], abs=1e-3), name
        assert set(unit.get("hits", [])) == reaches.get(theirs["targets"], set()), name
        if profile == "smac":
            assert tuple(unit.get(field) for field in FIELDS) == REST[name], name


@pytest.mark.parametrize("name", ["2s3z", "MMM"])
def test_battles_with_smaclites_numbers(name):
    """They start and go on."""
    env = smac.make(name, profile="smaclite")
    battle, _ = jax.jit(env.reset)(jax.random.split(jax.random.key(0), 1))
    after, shown = jax.jit(env.step)(battle, jnp.full((1, env.spec.n_agents), 4, jnp.int32))
    for leaf in jax.tree.leaves((after.units, shown)):
        assert np.isfinite(np.asarray(leaf, np.float32)).all()
    # Faster than anybody here: 8 ticks of 1/16 s at 2.9531 and 2.25 a second.
    moved = np.asarray(after.units.x - battle.units.x)[: env.spec.n_agents].max()
    assert moved > (1.1 * 1.4766 if name == "2s3z" else 1.1 * 1.125)


def test_bad_input_is_refused_in_words():
    """Unknown map, option, and value each give one line with the field, the value and the choices."""
    for arguments, words in (
        (("4m", {}), ("`map_name`", "3m", "2s3z", "'4m'")),
        (("3m", {"obs_conic": True}), ("`env-options`", "obs_last_action", "'obs_conic'")),
        (("3m", {"jitter": 1}), ("`jitter`", "True or False", "1")),
        (("3m", {"reward_win": float("nan")}), ("`reward_win`", "finite", "nan")),
        (("3m", {"reward_win": -1000.0}), ("`reward_scale`", "largest possible return", "above 0")),
        (("3m", {"reward_scale_rate": 0}), ("`reward_scale_rate`", "positive", "0")),
        (("3m", {"reward_win": "much"}), ("`reward_win`", "a number", "'much'")),
    ):
        with pytest.raises(ValueError) as caught:
            smac.make(arguments[0], **arguments[1])
        message = str(caught.value)
        assert "\n" not in message and all(word in message for word in words), message
    assert jax.tree.leaves(smac.make("3m", reward_win=100, jitter=False).spec.options) == [
        "jitter",
        False,
        "reward_win",
        100.0,
    ]
