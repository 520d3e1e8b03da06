"""Credits of all joint actions of table games at once, their variances, and the reference games."""

import functools

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from reference import Numbers, load

KEY = jax.random.key(0)


@functools.partial(jax.jit, static_argnums=(0, 1))
def over_joints(credit, game, table, probs, joints, order):
    """Credits of all joint actions at once; `game` makes a QFn of the table."""
    return jax.vmap(lambda u: credit(game(table), probs, u, order, KEY))(joints)


def multilinear(table):
    def q_fn(inputs):
        result = table
        for agent in reversed(range(table.ndim)):
            result = result @ inputs[agent]
        return result

    return q_fn


def all_credits(credit, table, probs, order) -> tuple[np.ndarray, np.ndarray, list]:
    """Credit of every joint action, its probability, and the joint actions."""
    joints = naive.joint_actions(table)
    values = over_joints(
        credit, multilinear, jnp.asarray(table), jnp.asarray(probs), jnp.asarray(joints), jnp.asarray(order)
    )
    weights = np.array([naive.joint_probability(probs, joint) for joint in joints])
    return np.asarray(values), weights, joints


def variances(credit, table, probs, order) -> np.ndarray:
    values, weights, _joints = all_credits(credit, table, probs, order)
    mean = weights @ values
    return weights @ values**2 - mean**2


GAMES = [
    "agents2_actions2",
    "agents2_actions3",
    "agents3_actions2",
    "agents3_actions3",
    "agents4_actions2",
    "agents4_actions3",
]


@pytest.fixture(name="game", params=GAMES)
def game_fixture(request: pytest.FixtureRequest, golden_dir) -> Numbers:
    numbers = load(golden_dir, "exact_games")
    prefix = f"{request.param}_"
    return {key.removeprefix(prefix): value for key, value in numbers.items() if key.startswith(prefix)}
