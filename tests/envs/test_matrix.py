"""Matrix games: payoffs, the env contract, and names that do not exist."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.envs import matrix
from seca.envs.base import where_done
from seca.envs.registry import list_envs, make

KEYS = jax.random.split(jax.random.key(0), 4)
OPTIMA = {"focus-fire": 1.0, "anti-coordination": 1.0, "qtran": 8.0, "additive": 3.0, "peak": 12.0}


@pytest.mark.parametrize("name", sorted(matrix.GAMES))
def test_every_joint_action_pays_its_entry(name: str) -> None:
    env = matrix.make(name)
    payoff = matrix.GAMES[name].payoff
    assert payoff.max() == OPTIMA[name]
    joints = np.indices(payoff.shape).reshape(payoff.ndim, -1).T
    state, first = env.reset(jax.random.split(jax.random.key(0), len(joints)))
    assert not first.done.any() and first.avail.all()
    _, after = env.step(state, jnp.asarray(joints))
    np.testing.assert_allclose(after.reward, payoff.reshape(-1), rtol=1e-6)
    np.testing.assert_array_equal(after.info["won"], payoff.reshape(-1) == payoff.max())
    assert after.terminated.all() and not after.truncated.any()


def test_a_finished_game_stays_as_it_is() -> None:
    env = matrix.make("qtran")
    state, _ = env.reset(KEYS)
    state, won = env.step(state, jnp.zeros((4, 2), jnp.int32))
    state, again = env.step(state, jnp.ones((4, 2), jnp.int32))
    assert (again.reward == 0).all() and again.terminated.all() and (again.info["won"] == won.info["won"]).all()


def test_resetting_is_the_callers_choice() -> None:
    env = matrix.make("additive")
    fresh = env.reset(KEYS)
    done = env.step(fresh[0], jnp.ones((4, 3), jnp.int32))
    mixed_state, mixed = where_done(env, jnp.array([True, False, True, False]), fresh, done)
    np.testing.assert_array_equal(mixed.terminated, [False, True, False, True])
    np.testing.assert_array_equal(mixed_state[0], [False, True, False, True])


def test_registry_knows_both_families() -> None:
    names = list_envs()
    assert {"matrix/focus-fire", "matrix/anti-coordination", "matrix/qtran", "matrix/additive"} <= set(names)
    assert {"smac/3m", "smac/2s3z", "smac/27m_vs_30m"} <= set(names)


@pytest.mark.parametrize("name", ["matrix/chess", "atari/pong", "2s3z", "smac/", "", "smac/99m"])
def test_unknown_names_are_refused_with_the_choices(name: str) -> None:
    with pytest.raises(ValueError, match=f"`env` '{name}' does not exist; choose from .*matrix/qtran"):
        make(name)


def test_unknown_options_are_refused() -> None:
    with pytest.raises(ValueError, match="`env-options` size is unknown"):
        make("matrix/qtran", {"size": 3})
