"""Table games and critics for credit tests, and learners that play games until they are solved."""

import itertools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

from seca.algos.base import Algorithm
from seca.credit.base import QFn
from seca.nets.critics import MixingCritic, MixingWeights
from seca.train.state import TrainState, init_state


def table_q(table: np.ndarray) -> QFn:
    """The table as a function linear in each agent's row: one-hot rows read an entry, policies average."""
    values = jnp.asarray(table)

    def q_fn(inputs: Array) -> Array:
        result = values
        for agent in reversed(range(table.ndim)):
            result = result @ inputs[agent].astype(result.dtype)
        return result

    return q_fn


def random_game(seed: int, n_agents: int = 3, n_actions: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """A random table and random policies."""
    rng = np.random.default_rng(seed)
    table = rng.normal(size=(n_actions,) * n_agents)
    return table, rng.dirichlet(np.ones(n_actions), size=n_agents)


def random_weights(seed: int, n_agents: int = 4, n_actions: int = 5, embed: int = 16) -> MixingWeights:
    """A random nonlinear critic at one state."""
    critic = MixingCritic.init(jax.random.key(seed), n_agents, n_actions, 7, embed, 32)
    scaled = jax.tree.map(lambda x: 3 * x, critic)
    return scaled.weights(jax.random.normal(jax.random.key(seed + 1), (7,), jnp.float32), n_agents)


def orders(n_agents: int) -> list[np.ndarray]:
    """All n! orders."""
    return [np.array(order) for order in itertools.permutations(range(n_agents))]


def unsolved_seed(evaluate: Callable, algorithm: Algorithm, optimum: float) -> int:
    """The first seed whose untrained policy does not get the optimum in any greedy game: some happen to."""
    for seed in range(20):
        if np.asarray(evaluate(init_state(algorithm, seed))["return"]).max() < optimum - 1e-3:
            return seed
    raise AssertionError("twenty untrained policies solve the game")


def solved(evaluate: Callable, optimum: float, updates: int, start: tuple[Callable, TrainState]) -> None:
    """Train until all greedy games pay the optimum, twice in a row; fail when they do not after so many updates.

    `start` is an `iterate` of 32 runners on one device, and the state from which it goes on. Looks every 25 updates.
    """
    iterate, state = start
    returns, before = np.empty(0), False
    for done in range(1, updates + 1):
        state, metrics = iterate(state)
        if done % 25 == 0 or done == updates:
            assert all(np.isfinite(np.asarray(value)).all() for value in metrics.values())
            returns = np.asarray(evaluate(state)["return"])
            now = np.allclose(returns, optimum, rtol=1e-6)
            if now and before:
                return
            before = now
    raise AssertionError(f"greedy returns after {updates} more updates: {returns}")
