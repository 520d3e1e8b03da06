"""The battle with the teams in each other's places."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.smac import actions, observe, scenario, state
from seca.smac.exchange import exchange, mirrored, swapped

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
@pytest.mark.parametrize("name", scenario.map_names())
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
