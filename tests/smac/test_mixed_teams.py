"""Any units on either side, whoever commands the enemy: scenarios of one's own have mixes that no map has.

Which loops a program has is decided by the teams when it is traced, so a mix that cannot be played fails there already:
every pair of units is traced. Played are teams that together have every unit against every other.
"""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import cases

from seca.smac import custom, scenario, scripts, simulator, state, tick
from seca.types import PyTree

NUMBERS = scenario.unit_numbers("smac")
UNITS = list(NUMBERS)
COMMANDS: list[dict[str, Any]] = [
    *({"opponent": name} for name in scripts.OPPONENTS),
    {"call_for_help": True},
    {"medivac_follows": False},
    {"call_for_help": True, "medivac_follows": False},
]
"""Whoever can command the enemy: every opponent, and the scripted one with its switches."""
STEPS = 60


def teams(allies: list[str], enemies: list[str], **fields) -> scenario.Scenario:
    """The scenario of a file with these units."""
    sides = {"allies": (allies, [9, 16]), "enemies": (enemies, [23, 16])}
    data = {
        name: [{"unit": unit, "count": side.count(unit), "at": at} for unit in dict.fromkeys(side)]
        for name, (side, at) in sides.items()
    }
    rest = {"limit": STEPS, "attack": {"point": [9, 16]}, "terrain": "simple"}
    return scenario.build("mixed", custom._check(data | rest | fields, NUMBERS))


def _types(tree: PyTree) -> PyTree:
    return jax.tree.map(lambda x: (x.shape, x.dtype), tree)


def _decisions(field: scenario.Scenario, options: scenario.Options) -> None:
    """Trace what the opponent does at the start, in a step and in a game loop."""
    commander = scripts.by_name(options)

    def decide(seed):
        first = commander.init(field, state.spawn(field, seed))
        return first, commander.act(field, commander.decide(field, first))

    first, after = jax.eval_shape(decide, jax.ShapeDtypeStruct((2,), jnp.uint32))
    assert _types(after) == _types(first)


@pytest.mark.every
def test_every_pair_of_units_and_every_opponent():
    """All pairs times all opponents; and all of a step once for each pair."""
    for ally in UNITS:
        for enemy in UNITS:
            field = teams([ally], [enemy])
            for command in COMMANDS:
                _decisions(field, scenario.Options(**command))
            battle = jax.eval_shape(functools.partial(state.spawn, field), jax.ShapeDtypeStruct((2,), jnp.uint32))
            after = jax.eval_shape(functools.partial(tick.play, field, scenario.Options()), battle)
            assert _types(after) == _types(battle)


def play(field: scenario.Scenario, options: scenario.Options, lanes: int = 2) -> tuple[state.Battle, PyTree]:
    """The rows `[STEPS + 1, ...]` of battles in which the agents attack whoever is nearest, and what they showed."""
    battles = simulator.Simulator(field, options)

    def step(battle, _):
        _, actions = scripts.attack_nearest(field, battle, ())
        after, shown = battles.step(battle, actions.T)
        return after, (after, shown)

    def whole(keys):
        first, shown = battles.reset(keys)
        _, rest = jax.lax.scan(step, first, None, length=STEPS)
        return jax.tree.map(lambda one, rows: jnp.concatenate([one[None], rows]), (first, shown), rest)

    return jax.tree.map(np.asarray, jax.jit(whole)(jax.random.split(jax.random.key(0), lanes)))


def check(field: scenario.Scenario, battle: state.Battle, shown: PyTree) -> None:
    """No NaN, nothing out of its bounds, nobody comes back, nothing comes from nowhere, and every battle ends."""
    for leaf in jax.tree.leaves((battle, shown)):
        assert np.isfinite(leaf).all()
    units = battle.units
    full = (field.health_max, field.shield_max, np.maximum(field.energy_max, field.energy))
    for value, most in zip((units.health, units.shield, units.energy), full, strict=True):
        assert (value >= 0).all() and (value <= most).all()
    alive = units.health > 0
    assert (alive[1:] <= alive[:-1]).all()
    for place in (units.x, units.y):
        assert (place >= 0).all() and (place < scenario.MAP_SIZE).all()
        assert (place[1:] == place[:-1])[~alive[:-1] & ~alive[1:]].all()
    standing = np.stack([field.walkable, field.level > 0, np.ones_like(field.walkable)])
    assert standing[field.layer, units.x.astype(int), units.y.astype(int)].all()
    ours = np.arange(field.n_units) < field.n_agents
    for mine in (ours, ~ours):
        grows = field.life_rate[:, 0] > 0
        if not field.heals[mine].any():
            assert (np.diff(units.health[:, mine & ~grows], axis=0) <= 0).all()
    done = battle.terminated | battle.truncated
    assert not (battle.terminated & battle.truncated).any() and done[-1].all() and (done[1:] >= done[:-1]).all()
    assert (shown.reward[1:][done[:-1]] == 0).all()


@pytest.mark.slow
def test_all_units_against_all_units():
    """One team of every unit against another: every unit meets every other."""
    field = teams(UNITS, UNITS)
    battle, shown = play(field, scenario.Options())
    check(field, battle, shown)
    dead = battle.units.health[-1] == 0
    assert dead[: field.n_agents].any() and dead[field.n_agents :].any()


BARE: dict[str, tuple[list[str], list[str], dict[str, Any]]] = {
    "medivacs alone against marines": (["marine"] * 3, ["medivac"] * 2, {"call_for_help": True}),
    "healers on both sides": (["medivac"], ["medivac"], {}),
    "nobody can hit anybody": (["medivac"], ["zealot", "baneling"], {"opponent": "focus_fire"}),
}


@pytest.mark.every
@pytest.mark.parametrize("name", BARE)
def test_bare_teams(name):
    """Empty sets of patients, friends and foes; who cannot be beaten is not, and the time limit is no defeat."""
    allies, enemies, command = BARE[name]
    field = teams(allies, enemies)
    battle, shown = play(field, scenario.Options(**command))
    check(field, battle, shown)
    if name in ("healers on both sides", "nobody can hit anybody"):
        assert battle.truncated[-1].all() and not battle.terminated.any() and (battle.steps[-1] == STEPS).all()
        assert not shown.info["won"].any() and (battle.units.health == field.health_max).all()
    if name == "medivacs alone against marines":
        assert battle.won[-1].all() and (battle.units.health[-1, 3:] == 0).all()


@pytest.mark.every
@pytest.mark.slow
@pytest.mark.parametrize("following", [True, False])
def test_a_healer_without_a_patient_follows_or_waits(following):
    """Machines cannot be healed: their medivac comes along with them, or stays where it starts."""
    field = teams(["marine"], ["stalker", "colossus", "medivac"])
    battle, shown = play(field, scenario.Options(medivac_follows=following))
    check(field, battle, shown)
    medivac, stalker = battle.units.x[:, 3], battle.units.x[:, 1]
    assert (stalker[-1] < stalker[0] - 3).all()
    assert (np.abs(medivac[-1] - stalker[-1]) < 5).all() if following else (medivac == medivac[0]).all()


@pytest.mark.parametrize("command", cases(COMMANDS), ids=str)
def test_all_units_against_all_units_under_every_command(command):
    field = teams(UNITS, UNITS)
    check(field, *play(field, scenario.Options(**command)))


@pytest.mark.parametrize("unit", cases(UNITS))
def test_one_unit_against_all(unit):
    """Two of a kind against every unit, on either side, opponents in turn."""
    command = scenario.Options(**COMMANDS[UNITS.index(unit) % len(COMMANDS)])
    for allies, enemies in (([unit] * 2, UNITS), (UNITS, [unit] * 2)):
        field = teams(allies, enemies)
        check(field, *play(field, command))


def test_the_medivac_rule_needs_somebody_to_fight():
    """A team of nothing but healers would be beaten before it begins."""
    assert teams(["marine", "medivac"], ["marine"]).medivac_rule
    assert not teams(["marine"], ["medivac"]).medivac_rule
    with pytest.raises(ValueError, match="`medivac_rule` must be false where a team has nothing but healers, got true"):
        teams(["marine"], ["medivac"], medivac_rule=True)
