"""Matrix games: payoffs, the env contract, and names that do not exist."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.envs import matrix

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
