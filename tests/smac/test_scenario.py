"""Maps, units and options as data, and which maps can be played with which unit numbers."""

import itertools
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab
from tiers import cases

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


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(["2s3z", "MMM"]))
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


def test_options_that_differ():
    """Sorted by name; whole numbers do for fractions."""
    options = scenario.read_options({"reward_win": 100, "jitter": False, "reward_scale": True})
    assert options.changed() == (("jitter", False), ("reward_win", 100.0)) and type(options.reward_win) is float
    assert scenario.Options().changed() == ()


PACKED = {
    (1, 0): [(9, 16), (9, 15.25), (9, 16.75), (8.25, 16), (9.75, 16)],
    (-1, 0): [(9, 16), (9, 15.25), (9, 16.75), (9.75, 16), (8.25, 16)],
    (0, 1): [(9, 16), (8.25, 16), (9.75, 16), (9, 15.25), (9, 16.75)],
}
"""Marines, 0.75 apart: at the point, to both sides, behind, ahead."""


@pytest.mark.parametrize("ahead", PACKED)
def test_spawns_are_packed(ahead):
    """The nearest free spots of a grid of 1/8; who is of another layer takes no room, and nobody stands in a wall."""
    units = scenario.unit_numbers("smac")
    free = {layer: np.ones((32, 32), bool) for layer in scenario.LAYERS}
    five = [{"unit": "marine", "count": 5, "at": [9, 16]}, {"unit": "medivac", "count": 1, "at": [9, 16]}]
    expected = [("marine", *place) for place in PACKED[ahead]]
    assert scenario.pack_spawns(five, units, free, ahead) == [*expected, ("medivac", 9, 16)]
    walled = free | {"ground": free["ground"].copy()}
    walled["ground"][:, 15] = False
    found = scenario.pack_spawns([five[0]], units, walled, (1, 0))
    assert found[:3] == [("marine", 9, 16), ("marine", 9, 16.75), ("marine", 8.25, 16)]
    only = free | {"ground": np.zeros((32, 32), bool)}
    only["ground"][9, 16] = True
    with pytest.raises(ValueError, match=r"no free spot for marine around \(9, 16\)"):
        scenario.pack_spawns([five[0]], units, only, (1, 0))


def plain_spawns(groups, units, standing, ahead):
    """`pack_spawns` spot by spot: of all offsets up to 6, nearest first, the first where nobody is in the way."""
    steps = [k / 8 for k in range(-48, 49)]
    offsets = sorted(
        itertools.product(steps, steps), key=lambda offset: (offset[0] ** 2 + offset[1] ** 2, abs(offset[0]), offset)
    )
    placed = []
    for unit, (at_x, at_y) in [(group["unit"], group["at"]) for group in groups for _ in range(group["count"])]:
        for along, across in offsets:
            x, y = (at_x + ahead[0] * along, at_y + across) if ahead[0] else (at_x + across, at_y + ahead[1] * along)
            inside = 0 <= x < scenario.MAP_SIZE and 0 <= y < scenario.MAP_SIZE
            layer, room = units[unit]["layer"], units[unit]["separation"]
            near = [(px, py, room + units[u]["separation"]) for u, px, py in placed if units[u]["layer"] == layer]
            if inside and standing[layer][int(x), int(y)]:
                if all((x - px) ** 2 + (y - py) ** 2 >= apart**2 for px, py, apart in near):
                    placed.append((unit, x, y))
                    break
    return placed


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(scenario.map_names(), "MMM2", "bane_vs_bane", "corridor", "2c_vs_64zg"))
def test_spawns_equal_the_plain_search(name, monkeypatch):
    """Of both teams of a map, to the last bit, between its walls and at its borders."""
    packed, checked = scenario.pack_spawns, []

    def both(*args):
        checked.append(plain_spawns(*args))
        assert packed(*args) == checked[-1]
        return checked[-1]

    monkeypatch.setattr(scenario, "pack_spawns", both)
    scenario.load(name)
    assert len(checked) == 2


def test_terrain_from_its_rows():
    """The first row is the northernmost; without levels what is walkable is level 1."""
    rows = ["X" * 32] * 32
    rows[0], rows[31] = "_" + "X" * 31, "X" * 30 + "__"
    walkable, level = scenario.read_terrain({"rows": rows})
    assert np.argwhere(walkable).tolist() == [[0, 31], [30, 0], [31, 0]]
    np.testing.assert_array_equal(level, walkable)
    levels = ["." * 32] * 32
    levels[0], levels[31] = "2" + "." * 31, "." * 29 + "1ab"
    again, level = scenario.read_terrain({"rows": rows, "levels": levels})
    np.testing.assert_array_equal(again, walkable)
    assert (level[0, 31], *level[29:, 0].tolist()) == (2, 1, 1.25, 1.5) and np.count_nonzero(level) == 4


def test_orders_to_attack():
    """A point, one of those between two, the allies, or nothing."""
    assert scenario.read_attack({"point": [9, 16]}) == scenario.Attack("point", (9.0, 16.0), (9.0, 16.0))
    assert scenario.read_attack({"between": [[9, 16], [10, 17]]}) == scenario.Attack("point", (9.0, 16.0), (10.0, 17.0))
    assert scenario.read_attack({"units": "allies"}) == scenario.Attack("units")
    assert scenario.read_attack({}) == scenario.Attack("none")


def test_who_hits_whom_and_how_hard():
    """The colossus, on cliffs, stands on the ground and in the air; a bonus for each attribute it is against."""
    units = scenario.unit_numbers("smac")
    hits = [("zealot", "marine"), ("marine", "medivac"), ("zealot", "colossus"), ("colossus", "zealot")]
    misses = [("zealot", "medivac"), ("medivac", "marine"), ("marauder", "medivac"), ("colossus", "medivac")]
    for pairs, reached in ((hits, True), (misses, False)):
        assert all(scenario.reaches(units[a], units[b]) == reached for a, b in pairs)
    for attacker, defender, damage in (
        *(("marine", "zealot", 6), ("marauder", "zealot", 10), ("marauder", "stalker", 20), ("stalker", "stalker", 14)),
        *(("baneling", "zealot", 35), ("baneling", "stalker", 20), ("medivac", "marine", 0)),
    ):
        assert scenario.damage_per_hit(units[attacker], units[defender]) == damage, (attacker, defender)


def test_numbers_of_a_scenario():
    """In game loops (16 a second), allies first and in the order of their types."""
    field = smac_lab.field(["stalker", "medivac"], ["zealot", "colossus"])
    assert field.unit_names == ("stalker", "medivac", "zealot", "colossus")
    assert (field.n_units, field.n_actions, field.terrain) == (4, 8, "simple")
    np.testing.assert_allclose(field.speed[:, 0] * 16, [2.9531, 2.75, 2.25, 2.25], rtol=1e-6)
    np.testing.assert_allclose(field.acceleration[:, 0], [np.inf, 2.3125 / 256, np.inf, np.inf], rtol=1e-6)
    assert field.windup[:, 0].tolist() == [3, 0, 0, 1]  # 0.167 s and 0.083 s, to the nearest loop.
    assert field.volley[:, 0].tolist() == [1, 0, 1, 2] and field.heals[:, 0].tolist() == [0, 1, 0, 0]
    assert field.hits_at_once[:, 0].tolist() == [0, 1, 1, 0] and field.flies_on[:, 0].tolist() == [1, 0, 0, 1]
    np.testing.assert_allclose(field.flight_per_unit[:, 0], [16 / 18.75, 0, 0, 0], rtol=1e-6)
    np.testing.assert_allclose(field.late_delay[[0, 1, 2], 0], [0, 0, 0.28 * 16], rtol=1e-6)
    assert field.layer[:, 0].tolist() == [0, 2, 0, 1]
    assert field.damage.tolist() == [[14, 14, 10, 14], [0] * 4, [8, 0, 8, 8], [20, 0, 20, 20]]
    assert field.can_target.astype(int).tolist() == [[1, 1, 1, 1], [0, 0, 0, 0], [1, 0, 1, 1], [1, 0, 1, 1]]
    assert field.largest_return(scenario.Options()) == 2 * 10 + 200 + 150 + 350
    assert field.largest_return(scenario.Options(reward_death_value=1.0, reward_win=0.0)) == 2 + 150 + 350


def test_unknown_maps_and_profiles_are_refused():
    with pytest.raises(ValueError, match="`map_name` must be one of 3m, .*; got '4m'"):
        scenario.load("4m")
    with pytest.raises(ValueError, match="`profile` must be one of smac, ladder410, smaclite; got 'ladder'"):
        scenario.load("3m", "ladder")
