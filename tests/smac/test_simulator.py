"""Batches of battles as two pure functions."""

import dataclasses

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab

from seca.envs import smac
from seca.presets import PRESETS, build
from seca.smac import scenario, simulator, state, tick

NOOP, STOP, NORTH, SOUTH, EAST, WEST, FIRST = range(7)


def test_no_silent_promotion():
    """Dtypes and ranks never mix by themselves, whatever is shown."""
    flags = (
        "obs_last_action",
        "obs_pathing_grid",
        "obs_terrain_height",
        "obs_timestep_number",
        "state_timestep_number",
    )
    env = smac.make("2s3z", reward_only_positive=False, **dict.fromkeys(flags, True))

    def two_steps(keys):
        battle, _ = env.reset(keys)
        return env.step(battle, jnp.zeros((4, 5), jnp.int32))

    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        shown = jax.eval_shape(two_steps, jax.random.split(jax.random.key(0), 4))[1]
    assert shown.obs.shape == (4, 5, env.spec.obs_size) and shown.obs.dtype == jnp.float32


def test_observations_can_be_the_state():
    """With `obs_instead_of_state` the state is all observations in a row: no agent rows lead it, and Qatten says so."""
    env = smac.make("2s3z", obs_instead_of_state=True)
    _, shown = jax.jit(env.reset)(jax.random.split(jax.random.key(0), 2))
    assert shown.obs.any()
    np.testing.assert_array_equal(shown.state, shown.obs.reshape(2, -1))
    assert env.spec.state_size == 5 * env.spec.obs_size
    assert (env.spec.ally_features, smac.make("2s3z").spec.ally_features) == (0, 7)
    with pytest.raises(ValueError, match="Qatten reads each agent's features .* without `obs_instead_of_state`"):
        build("qatten", env.spec, PRESETS["qatten"].config)


def test_the_simulator_refuses_an_empty_scale():
    with pytest.raises(ValueError, match="`reward_scale`"):
        simulator.make("3m", reward_win=-1000.0, reward_death_value=-1000.0)


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


@pytest.fixture(scope="module")
def battles():
    """A marine and a stalker against a zealot that does nothing."""
    return simulator.Simulator(smac_lab.field(["marine", "stalker"], ["zealot"]), smac_lab.CALM, smac_lab.PASSIVE)


def test_sizes(battles):
    """4 moves, 6 numbers of an enemy and of a friend, 2 of oneself; state: 5 an agent, 4 an enemy, 7 actions each."""
    assert battles.sizes == (4 + 6 + 6 + 2, 2 * 5 + 4 + 2 * 7)
    flagged = dataclasses.replace(battles, options=scenario.Options(obs_instead_of_state=True))
    assert flagged.sizes == (18, 36)


@pytest.mark.slow
def test_what_is_told_beside_observations(battles):
    """The dead of each side, whether it was won, and the reward as given."""
    battle = state.spawn(battles.battlefield, jnp.zeros(3, jnp.uint32))
    health = jnp.array([[0.0, 1, 1], [0.0, 0, 1], [1.0, 0, 1]])
    ends = jnp.array([True, True, False]), jnp.array([False, False, True]), jnp.array([False, True, False])
    battle = eqx.tree_at(lambda b: (b.units.health, b.terminated, b.truncated, b.won), battle, (health, *ends))
    shown = battles.show(battle, jnp.array([1.0, 2.0, 3.0]))
    assert shown.info["dead_allies"].tolist() == [2, 1, 0] and shown.info["dead_enemies"].tolist() == [0, 1, 0]
    assert shown.info["won"].tolist() == [False, True, False] and shown.reward.tolist() == [1, 2, 3]
    assert shown.terminated.tolist() == [True, True, False] and shown.truncated.tolist() == [False, False, True]
    assert shown.avail.shape == (3, 2, 7) and shown.avail[1].tolist() == [
        [False] + [True] * 5 + [False],
        [True] + [False] * 6,
    ]


@pytest.mark.slow
def test_other_luck_and_nothing_else(battles):
    """`reseed` changes the seed alone, to what a reset of that key has, whatever JAX's flag for keys in parts is."""
    keys = jax.random.split(jax.random.key(0), 4)
    battle, _ = battles.reset(keys[:2])
    other = battles.reseed(battle, keys[2:])
    again, _ = battles.reset(keys[2:])
    np.testing.assert_array_equal(other.seed, again.seed)
    assert len({*battle.seed.tolist(), *other.seed.tolist()}) == 4
    assert smac_lab.same(dataclasses.replace(other, seed=battle.seed), battle)
    with smac_lab.flags(threefry_partitionable=False):
        np.testing.assert_array_equal(battles.reseed(battle, keys[2:]).seed, other.seed)


def test_a_battle_alone_is_played_as_one_of_two(battles, monkeypatch):
    """What XLA makes of a single lane is not what it makes of one of many; what comes back is a single one."""
    played, real = [], tick.step

    def spy(field, options, battle, requested, commander):
        played.append(requested.shape)
        return real(field, options, battle, requested, commander)

    monkeypatch.setattr(tick, "step", spy)
    for batch in (1, 3):
        first = jax.eval_shape(battles.reset, jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batch)))  # noqa: B023
        after, shown = jax.eval_shape(battles.step, first[0], jax.ShapeDtypeStruct((batch, 2), jnp.int32))
        assert after.units.x.shape == (3, batch) and shown.obs.shape == (batch, 2, 18)
    assert played == [(2, 2), (2, 3)]


def test_an_opponent_prepares_the_scenario():
    """Once, when the simulator is made; the options' opponent commands where no other is given."""
    field = smac_lab.field(["marine"], ["marine"])
    slow = dataclasses.replace(smac_lab.PASSIVE, prepare=lambda field: dataclasses.replace(field, limit=7))
    battles = simulator.Simulator(field, scenario.Options(), slow)
    assert (battles.battlefield.limit, battles.commander, field.limit) == (7, slow, 10_000)
    assert simulator.Simulator(field, scenario.Options(opponent="kite")).commander.name == "kite"
    assert simulator.make("3m", opponent=slow).battlefield.limit == 7
