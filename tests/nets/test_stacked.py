"""Networks side by side: each agent's own, or copies of one."""

import jax
import numpy as np
import pytest

from seca.nets.stacked import AgentLinear, AgentMLP

N, SIZES = 3, (5, 8, 4)


@pytest.mark.parametrize("rows", [(), (2,), (2, 7)])
def test_each_agent_goes_through_its_own(rows: tuple[int, ...]) -> None:
    net = AgentMLP.init(jax.random.key(0), N, SIZES, 0.5, shared=False)
    x = np.random.default_rng(0).normal(size=(*rows, N, 5)).astype(np.float32)
    found = np.asarray(net(jax.numpy.asarray(x)))
    for agent in range(N):
        values = x[..., agent, :]
        for number, layer in enumerate(net.layers):
            values = values @ np.asarray(layer.weight)[agent].T + np.asarray(layer.bias)[agent]
            values = np.maximum(values, 0) if number < 2 else values
        np.testing.assert_allclose(found[..., agent, :], values, atol=1e-5)


def test_copies_are_alike() -> None:
    shared = AgentMLP.init(jax.random.key(0), N, SIZES, 0.5, shared=True)
    for leaf in jax.tree.leaves(shared):
        assert leaf.shape[0] == N and (leaf == leaf[:1]).all()
    apart = AgentMLP.init(jax.random.key(0), N, SIZES, 0.5, shared=False)
    assert all((leaf != leaf[:1])[1:].any() for leaf in jax.tree.leaves(apart))


def test_initial_weights() -> None:
    """Normal weights of the deviation asked for, biases within +-1/sqrt(inputs), as PyTorch leaves them."""
    layer = AgentLinear.init(jax.random.key(0), 4, 100, 200, 0.1, shared=False)
    assert float(layer.weight.std()) == pytest.approx(0.1, rel=0.02)
    assert float(abs(layer.bias).max()) == pytest.approx(0.1, rel=0.02) and abs(float(layer.bias.mean())) < 0.01
