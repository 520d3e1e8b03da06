"""Teams that follow simple rules, on either side."""

import functools
import itertools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab

from seca.envs import smac
from seca.smac import actions, scenario, scripts, simulator, state, tick
from seca.smac.opponent import SCRIPTED, Opponent

STOP, EAST, FIRST = 1, 4, 6


@pytest.mark.slow
def test_unknown_opponents_are_refused():
    """One line with the field, the value and the choices."""
    with pytest.raises(ValueError, match="`opponent` must be one of scripted, random, .*; got 'rush'") as caught:
        smac.make("3m", opponent="rush")
    assert "\n" not in str(caught.value)
    assert smac.make("3m", opponent="random").spec.options == (("opponent", "random"),)
    assert smac.make("3m", opponent=Opponent(SCRIPTED.init, SCRIPTED.act)).spec.options == (("opponent", "custom"),)


@functools.cache
def match(name: str, enemy: str, ally: str, battles: int = 32) -> state.Battle:
    """Battles to the end between scripts."""
    battles_of = simulator.make(name, opponent=enemy)
    field, script = battles_of.battlefield, scripts.SCRIPTS[ally]

    def one(carry, _):
        battle, mind = carry
        mind, taken = script.act(field, battle, mind)
        legal = jnp.take_along_axis(actions.available(field, battle.units), taken[:, None], axis=1)[:, 0]
        battle, _ = tick.step(field, battles_of.options, battle, taken, battles_of.commander)
        return (battle, mind), legal.all()

    @jax.jit
    def play(keys):
        battle, _ = battles_of.reset(keys)
        (battle, _), legal = jax.lax.scan(one, (battle, script.init(field, battles)), None, length=field.limit)
        return battle, legal.all()

    end, legal = play(jax.random.split(jax.random.key(1), battles))
    assert legal
    return end


@pytest.mark.every
@pytest.mark.parametrize("name", ["heuristic", "nearest", "focus_fire", "kite"])
def test_scripts_take_available_actions_and_fight(name):
    """On both sides; who attacks beats who acts at random, on either side."""
    end = match("2s3z", name, "random")
    assert end.won.mean() < 0.1
    assert jax.tree.map(jnp.shape, end.opponent) == ((5, 32) if name == "heuristic" else ())
    assert float(match("2s3z", "random", name).won.mean()) > 0.9


@pytest.mark.every
@pytest.mark.parametrize(
    ("name", "enemy"), list(zip(scenario.map_names(), itertools.cycle(scripts.OPPONENTS), strict=False))
)
def test_every_map_is_played_against_one_of_the_opponents(name, enemy):
    """Forty steps against allies at random, and all is finite."""
    env = smac.make(name, opponent=enemy)
    field = simulator.make(name).battlefield

    def one(carry, _):
        battle, _ = carry
        return env.step(battle, scripts.act_randomly(field, battle, ())[1].T), None

    (battle, _), _ = jax.jit(lambda first: jax.lax.scan(one, first, None, length=40))(
        env.reset(jax.random.split(jax.random.key(0), 4))
    )
    for leaf in jax.tree.leaves((battle.units, battle.orders)):
        assert np.isfinite(np.asarray(leaf)).all()


@pytest.mark.slow
def test_random_actions_are_even():
    """Each available action alike, whatever the agent."""
    field = scenario.load("3m")
    battle = state.spawn(field, jax.random.bits(jax.random.key(0), (6000,), jnp.uint32))
    _, taken = scripts.act_randomly(field, battle, ())
    for agent in range(3):
        share = np.bincount(taken[agent], minlength=9) / 6000
        np.testing.assert_allclose(share[1:6], 0.2, atol=0.03)
        assert share[[0, 6, 7, 8]].sum() == 0
    same = np.mean([np.mean(taken[i] == taken[j]) for i, j in ((0, 1), (0, 2), (1, 2))])
    assert same == pytest.approx(0.2, abs=0.03)


@pytest.mark.every
@pytest.mark.slow
def test_heuristic_keeps_its_target_until_it_is_dead():
    """SMAC's rules: nearest by centre, kept while alive; marauders skip medivacs; medivacs heal the nearest wounded."""
    field = smac_lab.field(["marine", "marauder", "medivac"], ["medivac", "marine"])
    battle = smac_lab.at(field, [(10, 16), (10, 18), (10, 14), (14, 16), (15.5, 16)])
    nobody = scripts.SCRIPTS["heuristic"].init(field, 1)
    target, taken = scripts.heuristic(field, battle, nobody)
    assert target[:, 0].tolist() == [3, 4, state.NOBODY]
    assert taken[:, 0].tolist() == [FIRST, FIRST + 1, STOP]
    moved = eqx.tree_at(lambda b: b.units.x, battle, battle.units.x.at[3].set(25.0))
    target, taken = scripts.heuristic(field, moved, target)
    assert target[0, 0] == 3 and taken[0, 0] == EAST
    dead = eqx.tree_at(lambda b: b.units.health, moved, moved.units.health.at[3].set(0.0).at[1].set(60.0))
    target, taken = scripts.heuristic(field, dead, target)
    assert target[:, 0].tolist() == [4, 4, 1] and taken[2, 0] == FIRST + 1
    # Without `heuristic_rest` the order is the same wherever the target is.
    far = eqx.tree_at(lambda b: b.units.x, dead, dead.units.x.at[4].set(27.0))
    target, ordered = scripts.heuristic_orders(field, far, target)
    assert ordered.orders.target[:3, 0].tolist() == [4, 4, 1] and not ordered.orders.walking[:3].any()
    end, _ = tick.advance(field, smac_lab.CALM, far, ordered)
    assert end.units.x[0, 0] > 11


@pytest.mark.slow
def test_focus_fire_agrees_on_the_weakest():
    """All who can shoot the weakest foe in range; the others shoot the weakest they can, or walk to it."""
    field = smac_lab.field(["marine"] * 3, ["marine"] * 2)
    battle = smac_lab.at(field, [(10, 16), (10, 17), (6, 16), (14, 16), (15, 17)])
    weak = eqx.tree_at(lambda b: b.units.health, battle, battle.units.health.at[4].set(20.0))
    _, taken = scripts.focus_fire(field, weak, ())
    assert taken[:, 0].tolist() == [FIRST + 1, FIRST + 1, EAST]


@pytest.mark.every
@pytest.mark.slow
def test_kiting_units_step_back_while_they_reload():
    """Away from who is outranged and close, not from who shoots as far; and not with a weapon that is ready."""
    field = smac_lab.field(["stalker"], ["zealot"])
    battle = smac_lab.at(field, [(14, 16), (16, 16)])
    assert scripts.kite(field, battle, ())[1][0, 0] == FIRST
    busy = eqx.tree_at(lambda b: b.units.cooldown, battle, battle.units.cooldown.at[0].set(15.0))
    assert scripts.kite(field, busy, ())[1][0, 0] == 5
    equal = smac_lab.field(["stalker"], ["stalker"])
    assert scripts.kite(equal, busy, ())[1][0, 0] == FIRST


@pytest.mark.slow
def test_pursuit(duel):
    """Attack if that is offered, else a step along the larger distance, round a wall along the other.

    Nothing to pursue is a stop, and the dead do nothing.
    """
    lanes = [  # Agent, foe, action.
        ((10, 16), (20, 18), EAST),
        ((10, 16), (3, 17), 5),
        ((10, 16), (11, 24), 2),
        ((10, 16), (10, 9), 3),
        ((10, 16), (14, 16), FIRST),
        ((10, 24.5), (12, 31), EAST),  # The wall is at 25.
        ((10, 16), (20, 18), STOP),
        ((10, 16), (20, 18), 0),
    ]
    mine, foes, expected = zip(*lanes, strict=True)
    places = [tuple(np.array(side, np.float32).T) for side in (mine, foes)]
    battle = smac_lab.at(duel, places, smac_lab.PASSIVE, seeds=len(lanes))
    battle = eqx.tree_at(lambda b: b.units.health, battle, battle.units.health.at[0, 7].set(0.0))
    target = jnp.array([[1] * 6 + [state.NOBODY, 1]])
    assert scripts.pursue(duel, battle, target)[0].tolist() == list(expected)


@pytest.mark.slow
def test_random_actions_against_the_slow_twin():
    """The same hash in Python's whole numbers picks one of those available."""
    field = smac_lab.field(["marine"] * 3, ["marine"])
    seeds, steps = [0, 1, 12345, 2**32 - 1], [0, 1, 7, 59]
    battle = smac_lab.at(field, [(10, 16), (29.5, 16), (12, 24.5), (14, 18)], smac_lab.PASSIVE, seeds=4)
    battle = eqx.tree_at(
        lambda b: (b.seed, b.steps), battle, (jnp.array(seeds, jnp.uint32), jnp.array(steps, jnp.int32))
    )
    legal = np.asarray(actions.available(field, battle.units))
    _, taken = scripts.act_randomly(field, battle, ())
    for agent in range(3):
        for lane, (seed, step) in enumerate(zip(seeds, steps, strict=True)):
            z = seed ^ step * 0x27D4EB2F % 2**32
            for multiplier in (0x7FEB352D, 0x846CA68B):
                z = ((z ^ z >> 16) * multiplier + agent * 0x9E3779B1) % 2**32
            choices = np.flatnonzero(legal[agent, :, lane])
            assert taken[agent, lane] == choices[int(((z ^ z >> 15) >> 8) / 2**24 * len(choices))]


def test_opponents_by_name_and_of_ones_own():
    """By name one object for all, so that programs are shared; of one's own, the options have its name."""
    options = scenario.Options(opponent="kite")
    assert scripts.by_name(options) is scripts.by_name(scenario.Options(opponent="kite"))
    assert [scripts.by_name(scenario.Options(opponent=name)).name for name in scripts.OPPONENTS] == [
        *("scripted", "random", "nearest", "heuristic", "focus_fire", "kite")
    ]
    assert scripts.read({"opponent": "kite", "jitter": False}) == (
        scenario.Options(opponent="kite", jitter=False),
        None,
    )
    own = Opponent(SCRIPTED.init, name="mine")
    assert scripts.read({"opponent": own, "reward_win": 1}) == (scenario.Options(opponent="mine", reward_win=1.0), own)
