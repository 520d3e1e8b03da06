"""The battle with the teams in each other's places."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab
from tiers import cases

from seca.smac import actions, observe, scenario, state
from seca.smac.exchange import exchange, give_orders, mirrored, swapped

MIRRORED = ("3m", "2s3z", "MMM", "bane_vs_bane", "corridor", "2c_vs_64zg", "MMM2")
"""For `make test`: equal teams of every kind of unit, and teams that are not."""
EQUAL = ("3m", "8m", "25m", "MMM", "2s3z", "3s5z", "1c3s5z", "bane_vs_bane")


def views(name: str):
    """What a battle's start looks like to the agents and, through the mirror, to the enemies."""
    field = scenario.load(name)
    places = mirrored(field)

    @jax.jit
    def show(seed):
        battle = state.spawn(field, seed)
        theirs = exchange(places, battle, battle.last_action)
        avail = [actions.available(field, b.units) for b in (battle, theirs)]
        return [
            (
                b.units,
                legal,
                observe.observe(field, scenario.Options(), b.units, legal, b.last_action, b.steps),
            )
            for b, legal in zip((battle, theirs), avail, strict=True)
        ]

    return field, places, show(jnp.zeros(2, jnp.uint32))


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(scenario.map_names(), *MIRRORED))
def test_maps_with_equal_teams_are_their_own_mirror_image(name):
    """There the enemies, mirrored, start as the agents do; everywhere else a policy is refused in one line."""
    field = scenario.load(name)
    if name not in EQUAL:
        with pytest.raises(ValueError, match=f"`opponent` is a policy.*{name}"):
            mirrored(field)
        return
    field, places, (ours, theirs) = views(name)
    assert tuple(field.unit_names[k] for k in places.rows) == field.unit_names
    np.testing.assert_array_equal(places.rows[places.rows], np.arange(field.n_units))
    for left, right in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        np.testing.assert_array_equal(left, right)


@pytest.mark.slow
@pytest.mark.parametrize("change", [mirrored, swapped])
def test_exchanging_twice_changes_nothing(change):
    """Rows, positions and who aims at whom; and orders given on one side arrive on the other."""
    field = scenario.load("2s3z")
    battle = state.spawn(field, jnp.arange(3, dtype=jnp.uint32))
    rng = np.random.default_rng(0)
    draw = lambda: jnp.asarray(rng.uniform(10, 20, battle.units.x.shape), jnp.float32)  # noqa: E731
    aims = lambda: jnp.asarray(rng.integers(-1, 10, battle.units.x.shape), jnp.int32)  # noqa: E731
    battle = eqx.tree_at(
        lambda b: (b.units.x, b.units.y, b.orders.target, b.orders.goal_x, b.weapons.victim, b.intent.vx),
        battle,
        (draw(), draw(), aims(), draw(), aims(), draw()),
    )
    places = change(field)
    there = exchange(places, battle, battle.last_action)
    back = exchange(change(places.scenario), there, battle.last_action)
    for before, after in zip(jax.tree.leaves(battle), jax.tree.leaves(back), strict=True):
        np.testing.assert_allclose(before, after, atol=1e-5)
    sums = [
        np.hypot(b.units.x[:, None] - b.units.x[None], b.units.y[:, None] - b.units.y[None]) for b in (battle, there)
    ]
    np.testing.assert_allclose(sums[0][places.rows][:, places.rows], sums[1], atol=1e-5)


def test_teams_that_change_places():
    """A stalker (0) against two zealots (1, 2): the zealots are agents 0 and 1 of the other battle, it is their foe."""
    field = smac_lab.field(["stalker"], ["zealot", "zealot"])
    places = swapped(field)
    there = places.scenario
    assert places.rows.tolist() == [1, 2, 0] and places.numbers.tolist() == [2, 0, 1]
    assert (there.n_agents, there.n_enemies) == (2, 1) and there.unit_names == ("zealot", "zealot", "stalker")
    assert there.max_cooldown.tolist() == [[22], [22]] and there.attack.kind == "none"
    assert there.damage.tolist() == [[8, 8, 8], [8, 8, 8], [10, 10, 14]]
    battle = smac_lab.at(field, [(9, 16), (20, 15), (21, 17)], smac_lab.PASSIVE)
    battle = eqx.tree_at(
        lambda b: (b.orders.target, b.weapons.victim, b.weapons.struck_by, b.intent.vx, b.intent.side),
        battle,
        (
            jnp.array([[2], [0], [-1]]),
            jnp.array([[1], [-1], [0]]),
            jnp.array([[-1], [0], [1]]),
            jnp.array([[0.1], [0.2], [0.3]]),
            jnp.array([[1.0], [-1.0], [1.0]]),
        ),
    )
    theirs = exchange(places, battle, jnp.array([[3], [4]]))
    assert theirs.units.x[:, 0].tolist() == [20, 21, 9] and theirs.units.y[:, 0].tolist() == [15, 17, 16]
    assert theirs.orders.target[:, 0].tolist() == [2, -1, 1]
    assert theirs.weapons.victim[:, 0].tolist() == [-1, 2, 0] and theirs.weapons.struck_by[:, 0].tolist() == [2, 0, -1]
    np.testing.assert_array_equal(theirs.intent.vx[:, 0], np.array([0.2, 0.3, 0.1], np.float32))
    assert theirs.intent.side[:, 0].tolist() == [-1, 1, 1]
    assert theirs.last_action.tolist() == [[3], [4]] and int(theirs.seed[0]) == 0x5BD1E995


@pytest.mark.parametrize("change", [swapped, mirrored])
def test_orders_come_back(change):
    """What the other battle's agents were ordered is what the enemies do here; ours keep their orders."""
    field = smac_lab.field(["marine"], ["marine"])
    places = change(field)
    battle = smac_lab.at(field, [(9, 15), (23, 17)], smac_lab.PASSIVE)
    battle = eqx.tree_at(lambda b: b.orders.goal_x, battle, jnp.array([[11.0], [23.0]]))
    theirs = exchange(places, battle, battle.last_action)
    ordered = eqx.tree_at(
        lambda b: (b.orders.target, b.orders.walking, b.orders.goal_x, b.orders.goal_y, b.weapons.swing),
        theirs,
        (
            jnp.array([[1], [0]]),
            jnp.array([[True], [True]]),
            jnp.array([[7.0], [8.0]]),
            jnp.array([[14.0], [13.0]]),
            jnp.array([[2.0], [1.0]]),
        ),
    )
    back = give_orders(places, battle, ordered)
    turned = change is mirrored
    assert back.orders.target[:, 0].tolist() == [-1, 0] and back.orders.walking[:, 0].tolist() == [False, True]
    assert back.orders.goal_x[:, 0].tolist() == [11, 25 if turned else 7]
    assert back.orders.goal_y[:, 0].tolist() == [16, 14]
    assert back.weapons.swing[:, 0].tolist() == [0, 2]
    nobody = eqx.tree_at(lambda b: b.orders.target, ordered, jnp.array([[-1], [0]]))
    assert give_orders(places, battle, nobody).orders.target[:, 0].tolist() == [-1, -1]


def test_a_map_turned_over():
    """Two marines on either side, who trade places with their images: x to 32 - x, and left is right."""
    field = smac_lab.field(["marine"] * 2, ["marine"] * 2)
    starts = list(zip(field.spawn_x[:, 0].tolist(), field.spawn_y[:, 0].tolist(), strict=True))
    assert starts == [(9, 15.25), (9, 16), (23, 16), (23, 15.25)]
    places = mirrored(field)
    assert (places.flip_x, places.flip_y, places.rows.tolist()) == (True, False, [3, 2, 1, 0])
    battle = smac_lab.at(field, [(5, 10), (6, 11), (20, 12), (21, 13)], smac_lab.PASSIVE)
    battle = eqx.tree_at(
        lambda b: (b.intent.vx, b.intent.vy, b.intent.side, b.intent.push_x),
        battle,
        (
            *[jnp.array([[1.0], [2.0], [3.0], [4.0]])] * 2,
            jnp.array([[1.0], [1.0], [-1.0], [1.0]]),
            jnp.full((4, 1), 0.5),
        ),
    )
    theirs = exchange(places, battle, battle.last_action)
    assert theirs.units.x[:, 0].tolist() == [11, 12, 26, 27] and theirs.units.y[:, 0].tolist() == [13, 12, 11, 10]
    assert theirs.intent.vx[:, 0].tolist() == [-4, -3, -2, -1] and theirs.intent.vy[:, 0].tolist() == [4, 3, 2, 1]
    assert theirs.intent.side[:, 0].tolist() == [-1, 1, -1, -1] and (theirs.intent.push_x == -0.5).all()


def test_a_map_without_a_mirror_image_is_refused():
    field = smac_lab.field(["marine"], ["marine"])
    aside = dataclasses.replace(field, spawn_y=np.array([[16], [13]], np.float32))
    with pytest.raises(ValueError, match="`opponent` is a policy, which needs a map that is its own .*: lab is not"):
        mirrored(aside)
