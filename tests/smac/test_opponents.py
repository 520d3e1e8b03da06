"""Who commands the enemy: the scripted enemy's rules, scripts by name, policies on the other side."""

import dataclasses
import functools
import itertools
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab
from tiers import cases

from seca.envs import smac
from seca.errors import UsageError
from seca.presets import PRESETS, build
from seca.runs import opponent as run_opponent
from seca.smac import actions, combat, observe, opponent, reward, scenario, scripts, simulator, state, tick
from seca.smac.exchange import exchange, mirrored, swapped
from seca.smac.opponent import SCRIPTED, Opponent
from seca.smac.policy import fair, policy_opponent
from seca.types import EnvSpec

pytestmark = pytest.mark.slow

STOP, EAST, FIRST = 1, 4, 6


def targets(seen: state.Battle, unit: int) -> np.ndarray:
    """Whom a unit's order is about, loop by loop."""
    return np.asarray(seen.orders.target)[:, unit, 0]


# The scripted enemy (section 6).


def test_only_what_the_weapon_reaches_is_a_target():
    """A zealot passes the medivac over its head by and goes for the marine behind; a marine takes the medivac."""
    for enemy, expected in (("zealot", 1), ("marauder", 1), ("marine", 0)):
        field = smac_lab.field(["medivac", "marine"], [enemy])
        battle = SCRIPTED.act(field, smac_lab.at(field, [(15, 16), (12, 16), (16, 16)]))
        assert battle.orders.target[2, 0] == expected


def test_threats_come_first():
    """A unit that cannot hurt me, however close, waits for one that can; a threat that comes takes over."""
    field = smac_lab.field(["medivac", "marine"], ["marine"])
    gentle = dataclasses.replace(field, threatens=np.repeat([[False, True, True]], 3, axis=0))
    near, away = [(15, 16), (12, 16), (16, 16)], [(15, 16), (9, 16), (16, 16)]
    for places, expected in ((near, 1), (away, 0)):
        battle = SCRIPTED.act(gentle, smac_lab.at(gentle, places))
        assert battle.orders.target[2, 0] == expected
    old = smac_lab.at(gentle, near)
    old = eqx.tree_at(lambda b: b.orders.target, old, old.orders.target.at[2].set(0))
    assert SCRIPTED.act(gentle, old).orders.target[2, 0] == 1
    assert SCRIPTED.act(field, old).orders.target[2, 0] == 0
    ladder = scenario.load("MMM", "ladder410")
    assert not ladder.threatens[:, [name == "medivac" for name in ladder.unit_names]].any()


def test_a_group_order_is_followed_to_the_last():
    """2c_vs_64zg: each zergling goes for the closest colossus wherever it is, keeps it, and takes the next when it is
    dead."""
    field = smac_lab.field(["colossus", "colossus"], ["zergling", "zergling"])
    field = dataclasses.replace(field, attack=scenario.Attack("units"))
    battle = smac_lab.at(field, [(4, 10), (28, 22), (10, 16), (20, 16)])
    assert scenario.load("2c_vs_64zg").attack.kind == "units"
    first = SCRIPTED.act(field, battle)
    assert first.orders.target[2:, 0].tolist() == [0, 1]
    swapped_places = eqx.tree_at(lambda b: b.units.x, first, first.units.x.at[2:].set(jnp.asarray([[25.0], [6.0]])))
    assert SCRIPTED.act(field, swapped_places).orders.target[2:, 0].tolist() == [0, 1]
    dead = eqx.tree_at(lambda b: b.units.health, first, first.units.health.at[0].set(0.0))
    assert SCRIPTED.act(field, dead).orders.target[2:, 0].tolist() == [1, 1]


def test_the_crawler_sits():
    """12.12: on 2s_vs_1sc it fires only within 7, edge to edge, never moves, and a stalker outside takes nothing."""
    field = scenario.load("2s_vs_1sc")
    x, y = float(field.spawn_x[2, 0]), float(field.spawn_y[2, 0])
    edges = float(field.radius[0, 0] + field.radius[2, 0])
    far = [(x, y - 7.05 - edges), (x + 1.0, y - 7.1 - edges), (x, y)]
    near = [(x, y - 6.95 - edges), (x + 1.0, y - 7.1 - edges), (x, y)]
    for places, hits in ((far, False), (near, True)):
        battle = smac_lab.at(field, places)
        end, _ = smac_lab.run(field, SCRIPTED, battle, smac_lab.plan([STOP, STOP], repeat=12))
        body = smac_lab.body(end)[:, 0]
        assert (body[0] < 160) == hits and body[1] == 160
        assert (end.units.x[2, 0], end.units.y[2, 0]) == (x, y)


def test_attack_points_are_drawn_between_the_marines():
    """2m_vs_1z: one point per battle, evenly between the two marines, by the battle's own seed; the middle without
    chance."""
    field = scenario.load("2m_vs_1z")
    seed = jax.random.bits(jax.random.key(3), (4000,), jnp.uint32)
    battle = SCRIPTED.init(field, state.spawn(field, seed))
    x, y = np.asarray(battle.orders.goal_x)[2], np.asarray(battle.orders.goal_y)[2]
    assert (y == 12).all() and x.min() >= 13 and x.max() <= 19
    counts, _ = np.histogram(x, bins=6, range=(13, 19))
    np.testing.assert_allclose(counts / 4000, 1 / 6, atol=0.02)
    again = SCRIPTED.init(field, state.spawn(field, seed[:8]))
    np.testing.assert_array_equal(again.orders.goal_x[2], x[:8])
    calm = opponent.scripted(smac_lab.CALM).init(field, state.spawn(field, seed[:8]))
    assert (calm.orders.goal_x[2] == 16).all()


def medic(places: list, **changes) -> tuple[scenario.Scenario, state.Battle]:
    """An enemy medivac (unit 4) with three of its marines (1 to 3) at the other end of the map from ours (0)."""
    field = smac_lab.field(["marine"], ["marine", "marine", "marine", "medivac"])
    battle = smac_lab.at(field, [(3, 8), *places], smac_lab.PASSIVE)
    return field, eqx.tree_at(lambda b: b.orders.goal_x, battle, battle.orders.goal_x.at[1:].set(16.0))


def test_enemy_medivacs_heal_the_neediest():
    """Within 6, edge to edge: the least part of life first, then the closest; kept until whole; 5 energy to begin."""
    field, battle = medic([(20, 16), (22, 16), (29.5, 16), (21, 17)])
    hurt = eqx.tree_at(lambda b: b.units.health, battle, battle.units.health.at[1:4, 0].set(jnp.array([30.0, 20, 1])))
    act = jax.jit(functools.partial(SCRIPTED.act, field))
    assert act(hurt).orders.target[4, 0] == 2
    equal = eqx.tree_at(lambda b: b.units.health, hurt, hurt.units.health.at[1, 0].set(20.0))
    nearer = eqx.tree_at(lambda b: b.units.x, equal, equal.units.x.at[1, 0].set(20.9))
    assert act(nearer).orders.target[4, 0] == 1

    chosen = act(hurt)
    worse = eqx.tree_at(lambda b: b.units.health, chosen, chosen.units.health.at[1, 0].set(5.0))
    assert act(worse).orders.target[4, 0] == 2
    whole = eqx.tree_at(lambda b: b.units.health, worse, worse.units.health.at[2, 0].set(45.0))
    assert act(whole).orders.target[4, 0] == 1
    tired = eqx.tree_at(lambda b: b.units.energy, hurt, hurt.units.energy.at[4].set(4.9))
    assert act(tired).orders.target[4, 0] == state.NOBODY
    goes_on = eqx.tree_at(lambda b: b.units.energy, chosen, chosen.units.energy.at[4].set(4.9))
    assert act(goes_on).orders.target[4, 0] == 2
    empty = eqx.tree_at(lambda b: b.units.energy, chosen, chosen.units.energy.at[4].set(0.1))
    assert act(empty).orders.target[4, 0] == state.NOBODY

    end, _ = smac_lab.run(field, SCRIPTED, hurt, smac_lab.plan([STOP], repeat=12))
    assert end.units.health[2, 0] == 45 and end.units.energy[4, 0] < 45


def test_enemy_medivacs_follow_or_wait():
    """With its army it stays within 2 and a loop's way of a friend; with medivac_follows=False it stays."""
    field, battle = medic([(23, 16), (22, 16), (23, 17), (24, 16)])
    end, _ = smac_lab.run(field, SCRIPTED, battle, smac_lab.plan([STOP], repeat=20))
    assert end.units.x[1, 0] < 18
    gap = np.hypot(end.units.x[1:4] - end.units.x[4], end.units.y[1:4] - end.units.y[4]).min()
    assert gap < opponent.BESIDE + 0.5
    waits = opponent.scripted(scenario.Options(medivac_follows=False))
    end, _ = smac_lab.run(field, waits, battle, smac_lab.plan([STOP], repeat=20))
    assert end.units.x[4, 0] == 24 and end.units.x[1, 0] < 18


@pytest.mark.parametrize("helps", [False, True])
def test_who_is_hit_from_afar_calls_for_help_only_if_asked_to(helps):
    """The zealot that a stalker hits from 7 turns on it; of its friends those within 4 join it if they may.

    The next lane has the attacker dead, the last the hit three seconds ago: nobody turns on anybody.
    """
    field = smac_lab.field(["stalker"], ["zealot"] * 3)
    enemy = opponent.scripted(scenario.Options(call_for_help=helps))
    battle = smac_lab.at(field, [(20, 10), (20, 17.0), (22, 18.0), (24.1, 17.0)], seeds=3)
    battle = eqx.tree_at(
        lambda b: (b.weapons.struck_by, b.weapons.quiet, b.units.health),
        battle,
        (
            battle.weapons.struck_by.at[1].set(0),
            battle.weapons.quiet.at[1].set(jnp.array([1.0, 1.0, 48.0])),
            battle.units.health.at[0, 1].set(0.0),
        ),
    )
    target = enemy.act(field, battle).orders.target
    assert target[:, 0].tolist() == [-1, 0, 0 if helps else -1, -1]
    assert (target[:, 1:] == -1).all()
    assert smac.make("3m", call_for_help=helps).spec.options == ((("call_for_help", True),) if helps else ())


# Scripts.


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


@pytest.mark.parametrize("name", cases(["heuristic", "nearest", "focus_fire", "kite"], "kite"))
def test_scripts_take_available_actions_and_fight(name):
    """On both sides; who attacks beats who acts at random, on either side."""
    end = match("2s3z", name, "random")
    assert end.won.mean() < 0.1
    assert jax.tree.map(jnp.shape, end.opponent) == ((5, 32) if name == "heuristic" else ())
    assert float(match("2s3z", "random", name).won.mean()) > 0.9


@pytest.mark.parametrize(
    ("name", "enemy"),
    cases(
        zip(scenario.map_names(), itertools.cycle(scripts.OPPONENTS), strict=False),
        *("2s_vs_1sc", "3s5z_vs_3s6z"),
    ),
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


def test_what_the_opponent_remembers_is_frozen_with_the_battle():
    """A finished battle's carry stays; a battle of its own key is the same in any batch."""
    env = smac.make("3m", opponent="heuristic")
    battle, _ = jax.jit(env.reset)(jax.random.split(jax.random.key(0), 4))
    step = jax.jit(env.step)
    first, _ = step(battle, jnp.ones((4, 3), jnp.int32))
    assert (first.opponent >= 0).all()
    over = dataclasses.replace(battle, terminated=jnp.array([True, False, True, False]))
    after, _ = step(over, jnp.ones((4, 3), jnp.int32))
    np.testing.assert_array_equal(after.opponent[:, ::2], battle.opponent[:, ::2])
    np.testing.assert_array_equal(after.opponent[:, 1::2], first.opponent[:, 1::2])
    alone = jax.tree.map(lambda x: x[..., 1:2], battle)
    single, _ = step(alone, jnp.ones((1, 3), jnp.int32))
    np.testing.assert_array_equal(single.opponent, first.opponent[:, 1:2])


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


def test_focus_fire_agrees_on_the_weakest():
    """All who can shoot the weakest foe in range; the others shoot the weakest they can, or walk to it."""
    field = smac_lab.field(["marine"] * 3, ["marine"] * 2)
    battle = smac_lab.at(field, [(10, 16), (10, 17), (6, 16), (14, 16), (15, 17)])
    weak = eqx.tree_at(lambda b: b.units.health, battle, battle.units.health.at[4].set(20.0))
    _, taken = scripts.focus_fire(field, weak, ())
    assert taken[:, 0].tolist() == [FIRST + 1, FIRST + 1, EAST]


def test_kiting_units_step_back_while_they_reload():
    """Away from who is outranged and close, not from who shoots as far; and not with a weapon that is ready."""
    field = smac_lab.field(["stalker"], ["zealot"])
    battle = smac_lab.at(field, [(14, 16), (16, 16)])
    assert scripts.kite(field, battle, ())[1][0, 0] == FIRST
    busy = eqx.tree_at(lambda b: b.units.cooldown, battle, battle.units.cooldown.at[0].set(15.0))
    assert scripts.kite(field, busy, ())[1][0, 0] == 5
    equal = smac_lab.field(["stalker"], ["stalker"])
    assert scripts.kite(equal, busy, ())[1][0, 0] == FIRST


# The other side.

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


def chance(field: scenario.Scenario, name: str = "chance") -> Opponent:
    """A policy without parameters that likes to attack and to walk ahead, and remembers how often it acted."""
    return policy_opponent(field, scenario.Options(), _start, _prefer, name)


def _start(batch: int) -> jax.Array:
    return jnp.zeros((batch, 2), jnp.int32)


def _prefer(carry, shown, keys):
    liking = jnp.where(jnp.arange(shown.avail.shape[-1]) >= 6, 4.0, 0.0).at[EAST].set(2.0)
    logits = jnp.where(shown.avail, liking, -1e9)
    return carry + 1, jax.vmap(lambda key, row: jax.random.categorical(key, row))(keys, logits).astype(jnp.int32)


@dataclasses.dataclass(frozen=True)
class Player:
    """A policy for the agents, and the same in command of the enemy."""

    init: Callable[[int], Any]
    act: Callable[..., Any]
    opponent: Opponent


def by_chance(name: str) -> Player:
    return Player(_start, _prefer, chance(scenario.load(name)))


@functools.cache
def by_network(name: str) -> Player:
    """An untrained actor of `seca`, which reads its observations, remembers, and likes to attack and to walk ahead."""
    spec = smac.make(name).spec
    algorithm = build("seca", spec, PRESETS["seca"].config)
    params = algorithm.policy(algorithm.init(jax.random.key(0)))
    liking = jnp.where(jnp.arange(spec.n_actions) >= 6, 4.0, 0.0).at[EAST].set(2.0)
    head = (5 * params.head.weight, params.head.bias + liking)  # Its own logits are some 0.1 apart.
    params = eqx.tree_at(lambda p: (p.head.weight, p.head.bias), params, head)
    steps = jnp.zeros((), jnp.int32)
    enemy = run_opponent.of_policy(spec.id, {"opponent": "runs/x"}, spec, algorithm, params, steps)
    act = functools.partial(run_opponent._act, algorithm.act, params, steps)
    return Player(algorithm.initial_carry, act, enemy)


def duel_of_equals(name: str, player: Player):
    """A jitted function that plays battles of the policy against itself to their end."""
    field = scenario.load(name)
    battles = simulator.Simulator(field, scenario.Options(), player.opponent)

    def one(carry):
        battle, shown, mind, keys, step = carry
        mind, taken = player.act(mind, shown, jax.vmap(lambda key: jax.random.fold_in(key, step))(keys))
        battle, shown = battles.step(battle, taken)
        return battle, shown, mind, keys, step + 1

    @jax.jit
    def play(keys):
        own_keys = jax.vmap(lambda key: jax.random.fold_in(key, 10**6))(keys)
        first = (*battles.reset(keys), player.init(keys.shape[0]), own_keys, 0)
        goes_on = lambda carry: ~(carry[0].terminated | carry[0].truncated).all()  # noqa: E731
        return jax.lax.while_loop(goes_on, one, first)[0]

    return field, play


SELF_PLAY = [("2s3z", by_chance), ("2s3z", by_network)]
SELF_PLAY += [(name, by_chance) for name in ("3m", "8m", "MMM", "3s5z", "1c3s5z", "25m")]


@pytest.mark.parametrize(("name", "make"), cases(SELF_PLAY, "3m"))
def test_a_policy_against_itself_wins_half(name, make):
    """12.13 for policies: 50 +- 3 % of the decided battles of 2,500 (standard error 1 %).

    On 25m, where a battle costs ten times as much, of 750, within three standard errors; 2,500 end 942 : 992.
    """
    player = make(name)
    field, play = duel_of_equals(name, player)
    parts = 3 if name == "25m" else 10
    won = lost = 0
    for part in range(parts):
        battle = play(jax.random.split(jax.random.key(part), 250))
        end = reward.outcome(field, battle.units)
        won, lost = won + int(end.won.sum()), lost + int(end.lost.sum())
        if make is by_chance:
            assert battle.opponent.carry.shape == (2, 250)
            # It acted in every step of its battle, and not after.
            np.testing.assert_array_equal(battle.opponent.carry[0], battle.steps)
    assert won + lost > 150 * parts
    assert won / (won + lost) == pytest.approx(0.5, abs=0.06 if name == "25m" else 0.03)


def test_the_network_of_self_play_reads_its_observations():
    """Other observations, other actions, with the same luck."""
    player, battles = by_network("2s3z"), simulator.make("2s3z")
    _, shown = jax.jit(battles.reset)(jax.random.split(jax.random.key(0), 100))
    keys = jax.random.split(jax.random.key(1), 100)
    blind = dataclasses.replace(shown, obs=jnp.zeros_like(shown.obs))
    act = jax.jit(player.act)
    (_, seeing), (_, guessing) = (act(player.init(100), view, keys) for view in (shown, blind))
    assert (seeing != guessing).mean() > 0.05


def both_attack_move(name: str):
    """Battles from the map's own places with the enemy's rules on both sides, and what is whose mirror image."""
    field = fair(scenario.load(name))
    places, a = mirrored(field), field.n_agents
    (x, y), turn = field.attack.start, lambda at, flip: 32 - at if flip else at
    goal = turn(x, places.flip_x), turn(y, places.flip_y)

    def init(field, battle):
        return opponent.order_to_point(field, SCRIPTED.init(field, battle), 0, a, goal)

    def act(field, battle):
        return opponent.attack_move(field, SCRIPTED.act(field, battle), 0, a)

    return simulator.Simulator(field, scenario.Options(), Opponent(init, act)), places


EVEN = ["3m", "8m", "25m", "MMM", "2s3z", "3s5z", "1c3s5z", "bane_vs_bane"]


@pytest.mark.parametrize("name", cases(EVEN, "3m", "2s3z"))
def test_attack_move_against_itself_wins_half(name):
    """12.13: from the maps' own places, with the enemy's rules on both sides, each wins half of 2,000 fights.

    On bane_vs_bane nearly half of the fights end with nobody left and a fight takes long, so it is 1,000 and a wider
    bound here (three standard errors); docs/smac.md has 4,000.
    """
    battles, _ = both_attack_move(name)
    goes_on = lambda b: (b.terminated | b.truncated).mean() < 0.98  # noqa: E731 A few last ever so long.
    one = lambda b: tick.advance(battles.battlefield, battles.options, b, b, battles.commander)[0]  # noqa: E731
    play = jax.jit(lambda keys: jax.lax.while_loop(goes_on, one, battles.reset(keys)[0]))
    bombs = name == "bane_vs_bane"
    battle = play(jax.random.split(jax.random.key(5), 1000 if bombs else 2000))
    end = reward.outcome(battles.battlefield, battle.units)
    assert (end.won | end.lost).mean() > (0.45 if bombs else 0.9)
    assert float(end.won.sum() / (end.won | end.lost).sum()) == pytest.approx(0.5, abs=0.07 if bombs else 0.03)


@pytest.mark.parametrize("name", cases(EVEN, "MMM"))
def test_mirror_images_stay_mirror_images(name):
    """With the enemy's rules on both sides and luck that is mirrored too, so is all that happens until they meet.

    For two env steps, before rounding has grown into differences. What looks at one side only, or turns all one way
    round, shows here at once, and may decide every battle of a map, since all of them start alike.
    """
    battles, places = both_attack_move(name)
    field, a = battles.battlefield, battles.battlefield.n_agents
    theirs, (sign_x, sign_y) = places.rows[:a], (-1.0 if flip else 1.0 for flip in (places.flip_x, places.flip_y))

    def mirror_luck(battle):
        battle = combat.draw(battles.options, battle)
        jitter, side = battle.weapons.jitter, battle.intent.side
        return eqx.tree_at(
            lambda b: (b.weapons.jitter, b.intent.side),
            battle,
            (jitter.at[theirs].set(jitter[:a]), side.at[theirs].set(side[:a] * sign_x * sign_y)),
        )

    @jax.jit
    def step(battle):
        battle = jax.lax.fori_loop(0, 8, lambda _, b: tick.tick(field, battles.commander, b), mirror_luck(battle))
        return eqx.tree_at(lambda b: b.steps, battle, battle.steps + 1)

    battle, _ = battles.reset(jax.random.split(jax.random.key(5), 8))
    before, before_y = battle.units.x, battle.units.y
    for _ in range(2):
        battle = step(battle)
        seen = exchange(places, battle, battle.last_action)
        np.testing.assert_allclose(seen.units.x, battle.units.x, atol=1e-3)
        np.testing.assert_allclose(seen.units.y, battle.units.y, atol=1e-3)
        np.testing.assert_array_equal(seen.intent.side, battle.intent.side)
        np.testing.assert_array_equal(seen.intent.passing, battle.intent.passing)
    assert np.hypot(battle.units.x - before, battle.units.y - before_y).max() > 1.0


def test_policies_are_refused_where_they_do_not_fit():
    """Unequal teams, another map, other observations, no folder: one line each."""
    with pytest.raises(ValueError, match="needs equal teams: 5m_vs_6m has 5 marine against 6 marine"):
        chance(scenario.load("5m_vs_6m"))
    spec = EnvSpec("smac/3m", "smac-1", 3, 9, 30, 48, 60)
    algorithm = build("seca", spec, PRESETS["seca"].config)
    of_policy = functools.partial(run_opponent.of_policy, algorithm=algorithm, params=(), env_steps=jnp.zeros(()))
    with pytest.raises(ValueError, match="runs/a plays smac/3m; it cannot play smac/8m"):
        of_policy("smac/8m", {"opponent": "runs/a"}, spec)
    with pytest.raises(ValueError, match="trained with obs options {}; here they are {'obs_last_action': True}"):
        of_policy("smac/3m", {"opponent": "runs/a", "obs_last_action": True}, spec)
    with pytest.raises(UsageError, match="`opponent` must be one of scripted, .*, or the folder of a run; got 'runs/"):
        run_opponent.named_run("smac/3m", {"opponent": "runs/none"})
    assert run_opponent.named_run("smac/3m", {"opponent": "focus_fire"}) is None
