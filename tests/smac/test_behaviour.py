"""How units move, see, shoot and give up: the expected numbers of section 12 of the SMAC facts."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab

from seca.envs import smac
from seca.smac import actions, combat, observe, reward, scenario, state, tick
from seca.smac.opponent import Opponent

NOOP, STOP, NORTH, SOUTH, EAST, WEST, FIRST = range(7)


@pytest.fixture(scope="module")
def duel():
    """One stalker against one zealot, without terrain to speak of."""
    return smac_lab.field(["stalker"], ["zealot"])


@pytest.fixture(scope="module")
def marines():
    """Two marines against one zealot."""
    return smac_lab.field(["marine", "marine"], ["zealot"])


def test_one_step_of_movement(duel, marines):
    """12.1: a stalker walks 1.477 in a step and a marine 1.125, in each direction."""
    for field, enemy, length in ((duel, (28, 8), 1.4766), (marines, (28, 8), 1.125)):
        spots = [(15, 16), (15, 10), enemy][-field.n_units :]
        battle = smac_lab.at(field, spots, smac_lab.PASSIVE)
        for action, (dx, dy) in zip((NORTH, SOUTH, EAST, WEST), actions.DIRECTIONS, strict=True):
            end, _ = smac_lab.run(field, smac_lab.PASSIVE, battle, smac_lab.plan([action] * field.n_agents))
            moved = np.array([end.units.x[0, 0] - battle.units.x[0, 0], end.units.y[0, 0] - battle.units.y[0, 0]])
            np.testing.assert_allclose(moved, length * np.array([dx, dy]), atol=0.01)


def test_walls_stop_movement(duel):
    """12.1: a move is unavailable exactly when the cell one ahead is blocked, and then it is a stop."""
    x = np.linspace(27.2, 29.9, 28).astype(np.float32)
    battle = smac_lab.at(duel, [(x, 16.0), (4.0, 8.0)], smac_lab.PASSIVE, seeds=len(x))
    avail = np.asarray(actions.available(duel, battle.units))[0, EAST]
    np.testing.assert_array_equal(avail, x + 1 < 30)
    end, _ = smac_lab.run(duel, smac_lab.PASSIVE, battle, smac_lab.plan([EAST]))
    moved = np.asarray(end.units.x)[0] - x
    assert (moved[~avail] == 0).all()
    # Cells count, not the radius: a unit walks up to the wall and no further.
    assert (moved[avail] > 0.9).all() and (np.asarray(end.units.x)[0] < 30).all()


def test_range_and_sight(marines):
    """12.2: available up to 6.0; fires only at 5 + radii; visible below 9."""
    distance = np.array([5.9, 6.0, 6.01, 8.99, 9.0], np.float32)
    battle = smac_lab.at(marines, [(5, 16), (5, 9), (5 + distance, 16)], smac_lab.PASSIVE, seeds=5)
    avail = np.asarray(actions.available(marines, battle.units))
    assert avail[0, FIRST].tolist() == [True, True, False, False, False]
    assert np.asarray(observe.visibility(marines, battle.units))[:, 0, 2].tolist() == [True, True, True, True, False]

    _, seen = smac_lab.run(marines, smac_lab.PASSIVE, battle, smac_lab.plan([FIRST, STOP]))
    apart = np.asarray(seen.units.x[:, 2] - seen.units.x[:, 0])[:, 0]
    struck = np.flatnonzero(np.diff(smac_lab.body(seen)[:, 2, 0]) < 0)
    reach = 5 + 0.375 + 0.5
    assert struck.size == 1 and apart[struck[0]] <= reach < 5.9
    assert apart.min() > reach - 0.15


def test_stand_and_fight(duel):
    """12.4: a stalker that stands gets 2 free shots at a zealot coming from 6, and loses to one with 55 left."""
    battle = smac_lab.at(duel, [(9, 16), (15, 16)])
    end, seen = smac_lab.run(duel, smac_lab.SCRIPTED, battle, smac_lab.plan([FIRST], repeat=40))
    ours, theirs = smac_lab.body(seen)[:, 0, 0], smac_lab.body(seen)[:, 1, 0]
    shots = np.flatnonzero(np.diff(np.concatenate([[150], theirs])) < 0)
    bitten = int(np.argmax(ours < 160))
    dead = int(np.argmax(ours == 0))
    assert ours[-1] == 0
    assert (shots < bitten).sum() == 2
    assert (shots < dead).sum() == 10
    assert theirs[dead] == 55


@pytest.mark.parametrize(("moves", "change"), [(2, -0.42), (3, -0.07), (4, 0.28)])
def test_kiting(duel, moves, change):
    """12.4: attack and move away in turn; the gap to the zealot changes by these amounts per cycle."""
    battle = smac_lab.at(duel, [(9, 16), (3.5, 16)])
    cycle = [[FIRST]] + [[EAST]] * moves
    repeat = 12 // (moves + 1)
    _, seen = smac_lab.run(duel, smac_lab.SCRIPTED, battle, smac_lab.plan(*cycle, repeat=repeat))
    apart = np.asarray(seen.units.x[:, 0] - seen.units.x[:, 1])[:, 0]
    ends = apart[8 * (moves + 1) - 1 :: 8 * (moves + 1)]
    np.testing.assert_allclose(np.diff(ends), change, atol=0.005)
    shots = (np.diff(smac_lab.body(seen)[:, 1, 0]) < 0).sum()
    assert shots in (repeat - 1, repeat)  # One shot per cycle; the last missile may still be flying.
    assert smac_lab.body(seen)[-1, 0, 0] == 160


def test_free_shots_of_a_kiting_stalker(duel):
    """12.4: of attack and two moves in turn, from 6 apart, about 11 shots are free; here 10 land before the first bite.

    The number is a quotient, (6 - 1.225) / 0.42: the bite comes while the stalker stands to shoot, a cycle before the
    gap after the moves is used up. The way is longer than the map, so it is walked in two legs.
    """
    battle, legs = smac_lab.at(duel, [(8.2, 16), (2.2, 16)]), []
    for _ in range(2):
        end, seen = smac_lab.run(duel, smac_lab.SCRIPTED, battle, smac_lab.plan([FIRST], [EAST], [EAST], repeat=7))
        legs.append(smac_lab.body(seen)[..., 0])
        battle = eqx.tree_at(lambda b: b.units.x, end, end.units.x - (end.units.x[1] - 2.2))
    ours, theirs = np.concatenate(legs).T
    bitten = int(np.argmax(ours < 160))
    assert bitten > 0 and (np.diff(theirs)[: bitten - 1] < 0).sum() in (10, 11)


def test_marine_loses_ground_by_shooting(marines):
    """12.4: marine and zealot are equally fast: an attack step costs 1.125, a move step nothing."""
    battle = smac_lab.at(marines, [(9, 16), (3, 8), (5, 16)])
    _, seen = smac_lab.run(marines, smac_lab.SCRIPTED, battle, smac_lab.plan([EAST, STOP], [FIRST, STOP], [EAST, STOP]))
    apart = np.asarray(seen.units.x[:, 0] - seen.units.x[:, 2])[:, 0]
    ends = np.concatenate([[4.0], apart[7::8]])
    np.testing.assert_allclose(np.diff(ends), [0.0, -1.125, 0.0], atol=0.02)


def test_shields_regenerate(duel):
    """12.5: nothing for 160 loops, then 1 per env step, 80 points in 80 steps; a hit restarts the wait."""
    battle = smac_lab.at(duel, [(9, 16), (28, 8)], smac_lab.PASSIVE)
    battle = eqx.tree_at(
        lambda b: (b.units.shield, b.weapons.quiet),
        battle,
        (battle.units.shield.at[0].set(0.0), jnp.zeros_like(battle.weapons.quiet)),
    )
    _, seen = smac_lab.run(duel, smac_lab.PASSIVE, battle, smac_lab.plan([STOP], repeat=104))
    shield = np.asarray(seen.units.shield)[:, 0, 0]
    assert (shield[:160] == 0).all() and shield[160] > 0
    np.testing.assert_allclose(shield[7::8][20:100], np.arange(1, 81), atol=1e-4)
    assert (shield[800:] == 80).all()

    again = eqx.tree_at(lambda b: b.weapons.quiet, battle, jnp.full_like(battle.weapons.quiet, 150.0))
    hit = eqx.tree_at(lambda b: b.units.x, again, again.units.x.at[1].set(10.0))
    hit = eqx.tree_at(lambda b: b.units.y, hit, hit.units.y.at[1].set(16.0))
    hit = eqx.tree_at(lambda b: b.orders.target, hit, hit.orders.target.at[1].set(0))
    _, seen = smac_lab.run(duel, smac_lab.PASSIVE, hit, smac_lab.plan([STOP], repeat=3))
    assert (np.asarray(seen.weapons.quiet)[:, 0] < 8 * 3).all() and (np.asarray(seen.units.shield)[:, 0] == 0).all()


def test_enemy_regeneration_pays(duel):
    """12.5: SMAC's absolute value rewards an enemy that regenerates."""
    before = smac_lab.at(duel, [(9, 16), (28, 8)], smac_lab.PASSIVE).units
    before = eqx.tree_at(lambda u: u.shield, before, before.shield.at[1].add(-10.0))
    after = eqx.tree_at(lambda u: u.shield, before, before.shield.at[1].add(1.0))
    end = reward.outcome(duel, after)
    options = scenario.Options(reward_scale=False)
    assert reward.reward(duel, options, before, after, end)[0] == 1.0
    assert reward.reward(duel, dataclasses.replace(options, reward_abs=False), before, after, end)[0] == 0.0


def test_enemy_walks_to_its_order_point():
    """12.12: with all agents out of reach in a corner, enemies walk to the attack point and stop there."""
    field = smac_lab.field(["marine"] * 2, ["zealot"] * 3 + ["stalker"] * 2)
    rest = [(23, 16), (23, 15), (24, 16), (24, 17.2), (25, 15)]
    battle = smac_lab.at(field, [(28.5, 7.5), (28.5, 8.5), *rest])
    end, seen = smac_lab.run(field, smac_lab.SCRIPTED, battle, smac_lab.plan([STOP, STOP], repeat=45))
    distance = np.hypot(np.asarray(end.units.x)[2:] - 9, np.asarray(end.units.y)[2:] - 16)
    assert (distance < 0.75 * np.sqrt(5) + 1.3).all()
    settled = np.asarray(seen.units.x)[-40:, 2:]
    assert np.ptp(settled, axis=0).max() < 0.05
    assert (smac_lab.body(end) == smac_lab.body(battle)).all()


def test_zealot_chases_who_shoots_from_afar(duel):
    """12.12: scan is 5, but a zealot hit from 6 turns on the shooter instead of walking on to its point."""

    def act(field, battle):
        battle = smac_lab.SCRIPTED.act(field, battle)
        return eqx.tree_at(lambda b: b.orders.target, battle, battle.orders.target.at[0].set(1))

    far = [(20, 10), (20, 17.1)]  # 5.975 from edge to edge.
    for opponent in (smac_lab.SCRIPTED, Opponent(smac_lab.SCRIPTED.init, act)):
        battle = smac_lab.at(duel, far)
        _, seen = smac_lab.run(duel, opponent, battle, smac_lab.plan([STOP], repeat=4))
        targets = np.asarray(seen.orders.target)[:, 1, 0]
        if opponent is smac_lab.SCRIPTED:
            assert (targets == -1).all() and seen.units.x[-1, 1, 0] < 17
        else:
            struck = int(np.argmax(smac_lab.body(seen)[:, 1, 0] < 150))
            assert (targets[: struck + 1] == -1).all() and (targets[struck + 1 :] == 0).all()
            assert seen.units.y[-1, 1, 0] < 15.5


def test_agents_never_act_by_themselves(duel):
    """Allied units neither acquire targets nor strike back."""
    battle = smac_lab.at(duel, [(9, 16), (11, 16)])
    end, _ = smac_lab.run(duel, smac_lab.SCRIPTED, battle, smac_lab.plan([STOP], repeat=10))
    assert smac_lab.body(end)[1, 0] == 150 and smac_lab.body(end)[0, 0] < 160


def test_move_before_the_damage_point_cancels_the_shot():
    """A swing broken off costs nothing: no damage, no cooldown."""
    field = smac_lab.field(["stalker"], ["zealot"])
    battle = smac_lab.at(field, [(9, 16), (13, 16)], smac_lab.PASSIVE)
    end, _ = smac_lab.run(field, smac_lab.PASSIVE, battle, smac_lab.plan([FIRST], [WEST]), 3)
    assert smac_lab.body(end)[1, 0] == 150 and end.units.cooldown[0, 0] <= 0 and end.weapons.swing[0, 0] == 0
    end, _ = smac_lab.run(field, smac_lab.PASSIVE, battle, smac_lab.plan([FIRST], [WEST], [WEST], [WEST]), 4)
    assert smac_lab.body(end)[1, 0] == 140 and end.units.cooldown[0, 0] > 0


def test_zealots_surround():
    """Melee units do not queue: eight zealots on a standing one get to at least five places around it in 5 seconds."""
    field = smac_lab.field(["zealot"], ["zealot"] * 8)
    field = dataclasses.replace(field, health_max=field.health_max * 50)
    starts = [(16.0 + 0.8 * (k % 2), 13.2 + 0.8 * (k // 2)) for k in range(8)]
    battle = smac_lab.at(field, [(9, 16), *starts])
    _, seen = smac_lab.run(field, smac_lab.SCRIPTED, battle, smac_lab.plan([STOP], repeat=20))
    dx, dy = seen.units.x[:, 1:, 0] - seen.units.x[:, :1, 0], seen.units.y[:, 1:, 0] - seen.units.y[:, :1, 0]
    biting = (np.hypot(dx, dy) - 1.0 <= 0.1 + 1e-4).sum(axis=1)
    contact = int(np.argmax(biting > 0))
    assert biting[contact + 80] >= 5


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


def test_a_win_on_the_last_step_is_no_timeout(duel):
    """The end of a battle is read before the limit: a win on the last step allowed is terminated, not truncated."""
    battle = smac_lab.at(duel, [(9, 16), (14, 16)], smac_lab.PASSIVE, seeds=3)
    health = battle.units.health.at[1].set(jnp.array([1.0, 100.0, 1.0]))
    steps = jnp.array([9_999, 9_999, 5], jnp.int32)
    shield = battle.units.shield.at[1].set(0.0)
    battle = eqx.tree_at(lambda b: (b.units.health, b.units.shield, b.steps), battle, (health, shield, steps))
    shoot = jnp.full((1, 3), FIRST, jnp.int32)
    after, gain = tick.step(duel, smac_lab.CALM, battle, shoot, smac_lab.PASSIVE)
    assert np.asarray(after.terminated).tolist() == [True, False, True]
    assert np.asarray(after.truncated).tolist() == [False, True, False]
    assert np.asarray(after.won).tolist() == [True, False, True]
    assert (np.asarray(gain)[[0, 2]] > 10).all() and gain[1] < 2
    again, gain = tick.step(duel, smac_lab.CALM, after, shoot, smac_lab.PASSIVE)
    assert np.asarray(gain)[[0, 1, 2]].tolist() == [0, 0, 0]
    assert np.asarray(again.steps).tolist() == np.asarray(after.steps).tolist()


@pytest.mark.slow
@pytest.mark.parametrize("start", [((22, 16), (28, 16)), ((26, 8), (20, 8))])
def test_sustained_kiting(start):
    """12.4: a stalker that runs in a circle and shoots when it has room wins in 17 shots without a scratch."""
    field = smac_lab.field(["stalker"], ["zealot"], "open")
    step = jax.jit(lambda battle, act: tick.step(field, smac_lab.CALM, battle, act, smac_lab.SCRIPTED)[0])
    battle, shots, reloading = smac_lab.at(field, list(start)), 0, False
    for _ in range(100):
        (x, foe_x), (y, foe_y) = np.asarray(battle.units.x)[:, 0], np.asarray(battle.units.y)[:, 0]
        apart = np.hypot(x - foe_x, y - foe_y)
        dx, dy = x - 16, y - 16
        onward = (NORTH if dx > 0 else SOUTH) if abs(dx) >= abs(dy) else (WEST if dy > 0 else EAST)
        ready = float(battle.units.cooldown[0, 0]) <= 0
        shots += reloading is False and not ready
        reloading = not ready
        # Room: after half a second of standing the zealot is still out of reach.
        action = FIRST if ready and 1.5 + 0.625 + 0.5 < apart <= 6 else onward
        battle = step(battle, jnp.full((1, 1), action, jnp.int32))
        if battle.terminated[0]:
            break
    assert bool(battle.won[0]) and smac_lab.body(battle)[0, 0] == 160
    assert shots + (not reloading) == 17


def test_jitter_of_shots():
    """Each shot's cooldown varies by U(-1, 2) game loops, on average half a loop, from battle to battle."""
    field = scenario.load("3m")
    battle = state.spawn(field, jnp.arange(20_000, dtype=jnp.uint32))
    jitter = np.asarray(combat.draw(scenario.Options(), battle).weapons.jitter)
    assert jitter.min() >= -1.0 and jitter.max() <= 2.0
    assert jitter.mean() == pytest.approx(0.5, abs=0.01) and jitter.std() == pytest.approx(3 / np.sqrt(12), abs=0.01)
    assert np.abs(np.corrcoef(jitter) - np.eye(field.n_units)).max() < 0.05
    following = combat.draw(scenario.Options(), eqx.tree_at(lambda b: b.steps, battle, battle.steps + 1))
    assert abs(np.corrcoef(jitter[0], np.asarray(following.weapons.jitter)[0])[0, 1]) < 0.05


@pytest.mark.slow
@pytest.mark.parametrize("jitter", [True, False])
def test_without_jitter_a_battle_has_no_chance(jitter):
    """The same actions lead to the same battle whatever its key; with jitter they do not."""
    env = smac.make("3m", jitter=jitter)
    battle, shown = env.reset(jax.random.split(jax.random.key(0), 6))
    step = jax.jit(env.step)
    for _ in range(30):
        wanted = jnp.where(shown.avail[..., FIRST], FIRST, jnp.where(shown.avail[..., EAST], EAST, STOP))
        battle, shown = step(battle, jnp.where(shown.avail[..., STOP], wanted, NOOP))
    assert (np.asarray(battle.units.health) < scenario.load("3m").health_max).any()
    same = all((np.asarray(leaf) == np.asarray(leaf)[..., :1]).all() for leaf in jax.tree.leaves(battle.units))
    assert same is not jitter
