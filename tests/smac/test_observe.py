"""What agents and the critic see, by hand for two agents and one enemy; `test_frames.py` has SMAC's own numbers."""

import dataclasses

import equinox as eqx
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab

from seca.smac import actions, observe, scenario

STOP = 1
LANES = ("all in sight", "the zealot just out of sight", "the stalker dead", "all in sight, later")


@pytest.fixture(scope="module")
def field():
    """A marine and a stalker against a zealot: nothing to tell units apart by, shields on both sides."""
    return smac_lab.field(["marine", "stalker"], ["zealot"])


@pytest.fixture(scope="module")
def battle(field):
    """`LANES`: marine at (10, 16), half its health, stalker at (13, 16), half its shield, zealot wounded, 4 below."""
    battle = smac_lab.at(field, [(10, 16), (13, 16), (10, np.array([12, 7, 12, 12]))], smac_lab.PASSIVE, seeds=4)
    units = (
        jnp.array([[22.5] * 4, [80, 80, 0, 80], [25.0] * 4]),
        jnp.array([[0.0] * 4, [40.0] * 4, [50.0] * 4]),
        jnp.array([[5.0, 5.0, 5.0, -0.5], [7.0] * 4, [3.0] * 4]),
    )
    battle = eqx.tree_at(lambda b: (b.units.health, b.units.shield, b.units.cooldown), battle, units)
    past = jnp.array([[-1, 1, 1, 6], [-1, 1, 0, 2]])
    return eqx.tree_at(lambda b: (b.last_action, b.steps), battle, (past, jnp.array([0, 1, 1, 2500])))


def shown(field, battle, **flags):
    """Observations under these flags."""
    legal = actions.available(field, battle.units)
    options = scenario.Options(**flags)
    return np.asarray(observe.observe(field, options, battle.units, legal, battle.last_action, battle.steps))


MOVES = [1, 1, 1, 1]
MARINE_OF_ZEALOT = [1, 4 / 9, 0, -4 / 9, 0.25, 1]
STALKER_OF_ZEALOT = [1, 5 / 9, -3 / 9, -4 / 9, 0.25, 1]
MARINE_OF_STALKER = [1, 3 / 9, 3 / 9, 0, 1, 0.5]
STALKER_OF_MARINE = [1, 3 / 9, -3 / 9, 0, 0.5, 0]
NOT_SEEN = [0] * 6


@pytest.mark.slow
def test_observations(field, battle):
    """Moves; of each enemy and friend in sight: attackable (there), distance, dx, dy, health, shield; oneself."""
    obs = shown(field, battle)
    assert obs.shape == (4, 2, 18)
    seen = [
        MOVES + MARINE_OF_ZEALOT + MARINE_OF_STALKER + [0.5, 0],
        MOVES + STALKER_OF_ZEALOT + STALKER_OF_MARINE + [1, 0.5],
    ]
    alone = [MOVES + NOT_SEEN + MARINE_OF_STALKER + [0.5, 0], MOVES + NOT_SEEN + STALKER_OF_MARINE + [1, 0.5]]
    widow = [MOVES + MARINE_OF_ZEALOT + NOT_SEEN + [0.5, 0], [0] * 18]
    np.testing.assert_allclose(obs, [seen, alone, widow, seen], atol=1e-6)


@pytest.mark.slow
def test_observations_without_health(field, battle):
    """`obs_all_health` takes it off all others, and off oneself unless `obs_own_health`."""
    blind = [
        MOVES + MARINE_OF_ZEALOT[:4] + MARINE_OF_STALKER[:4],
        MOVES + STALKER_OF_ZEALOT[:4] + STALKER_OF_MARINE[:4],
    ]
    own = [row + body for row, body in zip(blind, ([0.5, 0], [1, 0.5]), strict=True)]
    np.testing.assert_allclose(shown(field, battle, obs_all_health=False)[0], own, atol=1e-6)
    for flags in ({"obs_own_health": False}, {"obs_own_health": True}):
        both = shown(field, battle, obs_all_health=False, **flags)[0]
        np.testing.assert_allclose(both, own if flags["obs_own_health"] else blind, atol=1e-6)
    np.testing.assert_array_equal(shown(field, battle, obs_own_health=False), shown(field, battle))


def test_last_actions_and_the_step_number(field, battle):
    """Of friends in sight the last action, one of seven; at the end a place left empty and steps / limit (10,000)."""
    obs = shown(field, battle, obs_last_action=True, obs_timestep_number=True)
    assert obs.shape == (4, 2, 18 + 7 + 2)
    past = obs[:, :, 16:23]
    assert past[0].tolist() == [[0] * 7] * 2  # Nothing done yet.
    assert past[3].tolist() == [np.eye(7)[2].tolist(), np.eye(7)[6].tolist()]
    assert past[2].tolist() == [[0] * 7] * 2  # The dead are not seen and see nothing.
    assert (obs[:, :, 25] == 0).all()
    np.testing.assert_allclose(obs[:, :, 26], [[0] * 2, [1e-4] * 2, [1e-4] * 2, [0.25] * 2], rtol=1e-6)


@pytest.mark.slow
def test_pathing_and_height_around(field):
    """Eight points about the corner of one's own cell, and for heights that corner; off the map both are 1."""
    rng = np.random.default_rng(3)
    ground = dataclasses.replace(
        field, walkable=rng.random((32, 32)) < 0.5, height=rng.random((32, 32)).astype(np.float32)
    )
    x, y = rng.uniform(0, 32, (2, 3, 50)).astype(np.float32)
    battle = smac_lab.at(ground, [(x[k], y[k]) for k in range(3)], smac_lab.PASSIVE, seeds=50)
    obs = shown(ground, battle, obs_pathing_grid=True, obs_terrain_height=True)
    assert obs.shape == (50, 2, 18 + 8 + 9)
    around = [(0, 4), (0, -4), (4, 0), (-4, 0), (2, 2), (-2, -2), (2, -2), (-2, 2)]
    outside = 0
    for agent in range(2):
        for lane in range(50):
            corner = int(x[agent, lane]), int(y[agent, lane])
            cells = [(corner[0] + dx, corner[1] + dy) for dx, dy in around] + [corner]
            on_map = [0 <= a < 32 and 0 <= b < 32 for a, b in cells]
            outside += on_map.count(False)
            path = [ground.walkable[cell] if inside else 1 for cell, inside in zip(cells[:8], on_map, strict=False)]
            height = [ground.height[cell] if inside else 1 for cell, inside in zip(cells, on_map, strict=True)]
            np.testing.assert_array_equal(obs[lane, agent, 4:21], np.array(path + height, np.float32))
    assert outside > 20


def test_the_state(field, battle):
    """Of agents health, cooldown over SMAC's divisor (15, 35), place about the middle over 32, shield; of enemies no
    cooldown; then the last actions."""
    state = np.asarray(observe.observe_state(field, scenario.Options(), battle.units, battle.last_action, battle.steps))
    assert state.shape == (4, 2 * 5 + 4 + 2 * 7)
    marine, stalker = [0.5, 5 / 15, -6 / 32, 0, 0], [1, 7 / 35, -3 / 32, 0, 0.5]
    zealot = [0.25, -6 / 32, -4 / 32, 1]
    first = [*marine, *stalker, *zealot, *[0] * 14]
    one, two, six = np.eye(7)[[1, 2, 6]].tolist()
    lower = [*marine, *stalker, 0.25, -6 / 32, -9 / 32, 1, *one, *one]
    widow = [*marine, *[0] * 5, *zealot, *one, *np.eye(7)[0]]
    ready = [0.5, 0, *marine[2:], *stalker, *zealot, *six, *two]  # What is ready early is ready.
    np.testing.assert_allclose(state, [first, lower, widow, ready], atol=1e-6)
    options = scenario.Options(state_last_action=False, state_timestep_number=True)
    short = np.asarray(observe.observe_state(field, options, battle.units, battle.last_action, battle.steps))
    np.testing.assert_array_equal(short[:, :14], state[:, :14])
    np.testing.assert_allclose(short[:, 14:], [[0], [1e-4], [1e-4], [0.25]], rtol=1e-6)


def test_healers_show_their_energy():
    """In the cooldown's place, over 200."""
    field = smac_lab.field(["medivac"], ["marine"])
    battle = smac_lab.at(field, [(10, 16), (20, 16)], smac_lab.PASSIVE)
    battle = eqx.tree_at(
        lambda b: (b.units.energy, b.units.cooldown), battle, (jnp.array([[30.0], [0]]), jnp.array([[9.0], [9]]))
    )
    state = observe.observe_state(field, scenario.Options(), battle.units, battle.last_action, battle.steps)
    np.testing.assert_allclose(state[0, :4], [1, 30 / 200, -6 / 32, 0], rtol=1e-6)


def test_visibility(field, battle):
    """Nearer than 9, both alive, nobody itself."""
    seen = np.asarray(observe.visibility(field, battle.units)).astype(int)
    both, apart = [[0, 1, 1], [1, 0, 1]], [[0, 1, 0], [1, 0, 0]]
    assert seen.tolist() == [both, apart, [[0, 0, 1], [0, 0, 0]], both]
