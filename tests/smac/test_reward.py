"""Who has won, and what a step pays."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
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
