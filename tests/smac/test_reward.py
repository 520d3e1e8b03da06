"""Who has won, and what a step pays."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab

from seca.smac import reward, scenario


def test_medivacs_alone_decide_nothing(patrol):
    """12.6: a team of nothing but its medivac has lost, we first."""
    alive = np.ones((6, 4), np.float32)
    field = smac_lab.field(["marine", "marauder", "medivac"], ["marine", "marauder", "medivac"], medivac_rule=True)
    alive[:2, 0] = 0  # Only our medivac.
    alive[3:5, 1] = 0  # Only theirs.
    alive[[0, 1, 3, 4], 2] = 0  # Both.
    alive[[0, 3], 3] = 0  # A fighter on each side: goes on.
    battle = smac_lab.at(field, [(9 + k, 16) for k in range(6)], smac_lab.PASSIVE, seeds=4)
    units = eqx.tree_at(lambda u: u.health, battle.units, jnp.asarray(alive))
    end = reward.outcome(field, units)
    assert np.asarray(end.won).tolist() == [False, True, False, False]
    assert np.asarray(end.lost).tolist() == [True, False, True, False]
    assert np.asarray(end.over).tolist() == [True, True, True, False]


def test_enemy_regeneration_pays(duel):
    """12.5: SMAC's absolute value rewards an enemy that regenerates."""
    before = smac_lab.at(duel, [(9, 16), (28, 8)], smac_lab.PASSIVE).units
    before = eqx.tree_at(lambda u: u.shield, before, before.shield.at[1].add(-10.0))
    after = eqx.tree_at(lambda u: u.shield, before, before.shield.at[1].add(1.0))
    end = reward.outcome(duel, after)
    options = scenario.Options(reward_scale=False)
    assert reward.reward(duel, options, before, after, end)[0] == 1.0
    assert reward.reward(duel, dataclasses.replace(options, reward_abs=False), before, after, end)[0] == 0.0


def test_outcomes():
    """Won, lost, over: while both live nothing is decided, and nobody left is a draw."""
    field = smac_lab.field(["marine"] * 2, ["zealot"])
    battle = smac_lab.at(field, [(9, 16), (10, 16), (20, 16)], smac_lab.PASSIVE, seeds=5)
    alive = jnp.array([[1.0, 0, 1, 0, 0], [1.0, 1, 0, 0, 0], [1.0, 1, 0, 1, 0]])
    end = reward.outcome(field, eqx.tree_at(lambda u: u.health, battle.units, alive))
    assert end.won.tolist() == [False, False, True, False, False]
    assert end.lost.tolist() == [False, False, False, True, False]
    assert end.over.tolist() == [False, False, True, True, True]


SCALE = 415 / 20
"""Two enemies of 45 and 150, 10 for each and 200 for the victory, make 415, which is scaled to 20."""


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({}, [75 / SCALE, 360 / SCALE, 20 / SCALE, 0]),
        ({"reward_scale_rate": 1.0}, [75 / 415, 360 / 415, 20 / 415, 0]),
        ({"reward_scale": False}, [75, 160 + 200, 20, 0]),
        ({"reward_scale": False, "reward_win": 7.0, "reward_death_value": 1.0}, [66, 151 + 7, 20, 0]),
        ({"reward_scale": False, "reward_defeat": -5.0}, [75, 360, 15, 0]),
        ({"reward_scale": False, "reward_only_positive": False}, [75 - 40, 360, 20 - 27.5, 0]),
        ({"reward_scale": False, "reward_only_positive": False, "reward_negative_scale": 1.0}, [-5, 360, -35, 0]),
        ({"reward_scale": False, "reward_sparse": True}, [0, 1, -1, 0]),
        ({"reward_sparse": True}, [0, 1 / SCALE, -1 / SCALE, 0]),
    ],
    ids=str,
)
def test_what_a_step_pays(options, expected):
    """Two marines against a zealot and a marine, lane by lane:

    the zealot loses 20, the marine dies, of ours one loses 25 and one dies; the zealot, alone, dies with 150;
    the zealot loses 20 and our last marine dies; nothing happens to who was dead before.
    """
    field = smac_lab.field(["marine"] * 2, ["zealot", "marine"])
    battle = smac_lab.at(field, [(9, 16), (10, 16), (20, 16), (21, 16)], smac_lab.PASSIVE, seeds=4)
    put = lambda health, shield: eqx.tree_at(  # noqa: E731
        lambda u: (u.health, u.shield),
        battle.units,
        (jnp.array(health), battle.units.shield.at[2].set(jnp.array(shield))),
    )
    before = put([[45.0, 45, 0, 0], [45.0, 0, 45, 45], [100.0, 100, 100, 0], [45.0, 0, 0, 45]], [50.0, 50, 50, 0])
    after = put([[20.0, 45, 0, 0], [0.0, 0, 0, 45], [100.0, 0, 100, 0], [0.0, 0, 0, 45]], [30.0, 0, 30, 0])
    end = reward.outcome(field, after)
    gain = reward.reward(field, scenario.Options(**options), before, after, end)
    np.testing.assert_allclose(gain, expected, rtol=1e-6)
