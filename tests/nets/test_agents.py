"""The agents' networks: what they read, their cell, initial weights, and all steps at once."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from reference import actor, assert_close, assert_trees_close, float64_fixture, load

from seca.nets.agents import GRUCell, Norm, NormalisedAgent, RecurrentAgent, agent_inputs

_ = float64_fixture


@pytest.mark.slow
def test_all_steps_at_once_equal_one_after_the_other(float64: None) -> None:
    """States and outputs of the normalised network from a given state, and their gradient in all it depends on."""
    rng = np.random.default_rng(0)
    agent = jax.tree.map(lambda x: x.astype(jnp.float64), NormalisedAgent.init(jax.random.key(0), 6, 5, 4, 1.0))
    inputs, start = jnp.asarray(rng.normal(size=(2, 7, 3, 6))), jnp.asarray(rng.normal(size=(2, 3, 5)))
    weights = [jnp.asarray(rng.normal(size=(2, 7, 3, size))) for size in (5, 4)]

    def one_by_one(agent: NormalisedAgent, inputs: jax.Array, h: jax.Array) -> tuple[jax.Array, jax.Array]:
        states, outputs = [], []
        for t in range(7):
            h, out = agent(inputs[:, t], h)
            states.append(h)
            outputs.append(out)
        return jnp.stack(states, axis=1), jnp.stack(outputs, axis=1)

    def slope(forward):
        weighed = lambda *x: sum((jnp.sin(y) * w).sum() for y, w in zip(forward(*x), weights, strict=True))  # noqa: E731
        return jax.grad(weighed, argnums=(0, 1, 2))(agent, inputs, start)

    assert_trees_close(agent.through_time(inputs, start), one_by_one(agent, inputs, start), 1e-12)
    assert_trees_close(slope(NormalisedAgent.through_time), slope(one_by_one), 1e-10)


def test_agent_inputs_layout() -> None:
    """[observation, last action, agent index], as the reference controller builds it."""
    inputs = agent_inputs(jnp.full((2, 3), 7.0), jnp.array([[0.0, 1], [1, 0]]))
    np.testing.assert_array_equal(inputs, [[7, 7, 7, 0, 1, 1, 0], [7, 7, 7, 1, 0, 0, 1]])


def test_agent_inputs_golden(golden_dir) -> None:
    numbers = load(golden_dir, "seca_update_equal")
    taken = np.zeros_like(numbers["actions_onehot"])
    taken[:, 1:] = numbers["actions_onehot"][:, :-1]
    filled = numbers["filled"] > 0
    found = np.asarray(agent_inputs(jnp.asarray(numbers["obs"]), jnp.asarray(taken)))
    assert_close(found, numbers["agent_inputs"], filled, 1e-6)
    assert actor(numbers).encoder.weight.shape[1] == found.shape[-1]


def test_initial_weights_are_bounded_by_fan_in() -> None:
    agent = RecurrentAgent.init(jax.random.key(0), 96, 64, 11)
    for layer in (agent.encoder, agent.head):
        bound = layer.weight.shape[1] ** -0.5
        assert 0.95 * bound < float(jnp.abs(layer.weight).max()) <= bound
    assert 0.95 / 8 < float(jnp.abs(agent.cell.weight_ih).max()) <= 1 / 8


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


@pytest.mark.slow
def test_recurrent_agent_equals_its_slow_twin(float64: None) -> None:
    """Unit by unit in PyTorch's parametrisation: gates r, z, n, both biases, r before the recurrent part of n."""
    size, agent = 4, RecurrentAgent.init(jax.random.key(0), 3, 4, 2)
    agent = jax.tree.map(lambda x: 2 * x.astype(jnp.float64), agent)
    rng = np.random.default_rng(0)
    x, h = rng.normal(size=3), rng.normal(size=size)
    read = np.maximum(np.asarray(agent.encoder.weight) @ x + np.asarray(agent.encoder.bias), 0)
    w, u, b, c = (np.asarray(getattr(agent.cell, name)) for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh"))
    expected = np.zeros(size)
    for k in range(size):
        r, z = (sigmoid(w[g] @ read + b[g] + u[g] @ h + c[g]) for g in (k, size + k))
        n = np.tanh(w[2 * size + k] @ read + b[2 * size + k] + r * (u[2 * size + k] @ h + c[2 * size + k]))
        expected[k] = (1 - z) * n + z * h[k]
    after, logits = agent(jnp.asarray(x), jnp.asarray(h))
    np.testing.assert_allclose(after, expected, atol=1e-12)
    np.testing.assert_allclose(
        logits, np.asarray(agent.head.weight) @ expected + np.asarray(agent.head.bias), atol=1e-12
    )


def test_a_closed_gate_keeps_the_state(float64: None) -> None:
    """z = 1 keeps h; z = 0 forgets it but for n, of which r = 0 leaves the input's part."""
    zeros = jnp.zeros((6, 2))
    h, x = jnp.asarray([0.3, -0.8]), jnp.zeros(2)
    biases = {"kept": [0, 0, 99, 99, 5, 5], "new": [-99, -99, -99, -99, 0.5, -0.5]}
    cells = {name: GRUCell(zeros, zeros, jnp.asarray(b, jnp.float64), jnp.zeros(6)) for name, b in biases.items()}
    np.testing.assert_allclose(cells["kept"](x, h), h, atol=1e-12)
    np.testing.assert_allclose(cells["new"](x, h), np.tanh([0.5, -0.5]), atol=1e-12)


def test_norm_by_hand(float64: None) -> None:
    """[1, 3] has mean 2 and variance 1; scale and shift come after."""
    norm = Norm(jnp.asarray([2.0, 10.0]), jnp.asarray([0.5, -1.0]))
    root = np.sqrt(1 + 1e-5)
    np.testing.assert_allclose(
        norm(jnp.asarray([[1.0, 3.0], [4.0, 4.0]])), [[0.5 - 2 / root, -1 + 10 / root], [0.5, -1]]
    )


@pytest.mark.slow
def test_initial_weights_of_the_normalised_network_are_orthogonal() -> None:
    """Gains sqrt(2) before a ReLU, 1 in the cell, a small one in the head; biases 0."""
    agent = NormalisedAgent.init(jax.random.key(0), 3, 5, 4, 0.01)
    wide, square = agent.layers
    np.testing.assert_allclose(wide.weight.T @ wide.weight, 2 * np.eye(3), atol=1e-5)
    np.testing.assert_allclose(square.weight.T @ square.weight, 2 * np.eye(5), atol=1e-5)
    for weight in (agent.cell.weight_ih, agent.cell.weight_hh):
        np.testing.assert_allclose(weight.T @ weight, np.eye(5), atol=1e-5)
    np.testing.assert_allclose(agent.head.weight @ agent.head.weight.T, 1e-4 * np.eye(4), atol=1e-9)
    biases = [wide.bias, square.bias, agent.cell.bias_ih, agent.cell.bias_hh, agent.head.bias]
    assert all((bias == 0).all() for bias in biases)
