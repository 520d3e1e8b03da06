"""Marginal contributions by networks: against plain loops, and what their mean is."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from particles import plain_net

from seca.learning import shapley_critics
from seca.nets.stacked import AgentMLP

ROWS, N, OBS, A = 5, 3, 4, 2


@pytest.fixture(scope="module")
def critics() -> AgentMLP:
    return AgentMLP.init(jax.random.key(0), N, (N * (OBS + A), 8, 1), 0.5, shared=False)


@pytest.fixture(scope="module")
def step() -> tuple[jax.Array, jax.Array]:
    random = np.random.default_rng(0)
    obs, actions = random.normal(size=(ROWS, N, OBS)), random.dirichlet(np.ones(A), (ROWS, N))
    return jnp.asarray(obs, jnp.float32), jnp.asarray(actions, jnp.float32)


def plain(critics: AgentMLP, obs: np.ndarray, actions: np.ndarray, order: tuple[int, ...], agent: int) -> float:
    """Of one agent in one order: those before it and itself in their places, then nobody."""
    there = list(order[: order.index(agent) + 1])
    slots = [actions[j] for j in there] + [np.zeros(A)] * (N - len(there))
    return float(plain_net(critics, agent, np.concatenate([obs.reshape(-1), *slots]))[0])


def test_shares_are_means_over_orders(critics: AgentMLP, step: tuple[jax.Array, jax.Array]) -> None:
    """Of other orders for each step."""
    obs, actions = step
    orders = shapley_critics.drawn_orders(jax.random.key(1), 4, ROWS, N)
    found = shapley_critics.shares(critics, obs, shapley_critics.told_alike(actions), orders)
    for row, agent in itertools.product(range(ROWS), range(N)):
        each = [
            plain(critics, np.asarray(obs)[row], np.asarray(actions)[row], tuple(map(int, orders[m, row])), agent)
            for m in range(4)
        ]
        assert float(found[row, agent]) == pytest.approx(np.mean(each), abs=1e-5)


def test_orders_are_all_alike_in_number() -> None:
    orders = np.asarray(shapley_critics.drawn_orders(jax.random.key(0), 10, 1_200, N)).reshape(-1, N)
    found, counts = np.unique(orders, axis=0, return_counts=True)
    np.testing.assert_array_equal(found, sorted(itertools.permutations(range(N))))
    assert np.abs(counts - 2_000).max() < 5 * np.sqrt(2_000)


def test_gradients_reach_the_own_action_alone(critics: AgentMLP, step: tuple[jax.Array, jax.Array]) -> None:
    obs, actions = step
    orders = shapley_critics.drawn_orders(jax.random.key(1), 4, ROWS, N)

    def share(actions: jax.Array, agent: int, told: object) -> jax.Array:
        return shapley_critics.shares(critics, obs, told(actions), orders)[:, agent].sum()  # type: ignore[operator]

    for agent in range(N):
        own = jax.grad(share)(actions, agent, shapley_critics.told_of_own)
        full = jax.grad(share)(actions, agent, shapley_critics.told_alike)
        np.testing.assert_allclose(own[:, agent], full[:, agent], atol=1e-6)
        others = np.delete(np.asarray(own), agent, axis=1)
        assert (others == 0).all() and np.abs(np.delete(np.asarray(full), agent, axis=1)).max() > 1e-3
