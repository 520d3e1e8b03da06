"""Batches of battles as two pure functions."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.envs import smac
from seca.presets import PRESETS, build
from seca.smac import scenario, simulator

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
