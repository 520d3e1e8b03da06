"""The orders that the command line knows by name: each is one, and is called as it is listed."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.order.base import GradientOrder
from seca.order.named import ORDERS
from seca.types import Episodes

KEY = jax.random.key(0)
N, A, TIME = 4, 5, 6


@pytest.mark.slow
@pytest.mark.parametrize("name", ORDERS)
def test_named_orders(name: str) -> None:
    """Each agent once in every step, from the plain function of one episode and the state that it asks for."""
    order = ORDERS[name](GradientOrder())
    rng = np.random.default_rng(1)
    valid = jnp.arange(TIME) < 4
    episode = Episodes(*(jnp.zeros((1, TIME)), *[valid[None]] * 3), *[jnp.zeros((1, TIME + 1, N, 2))] * 1,
        state=jnp.asarray(rng.normal(size=(1, TIME + 1, 3)), jnp.float32), avail=jnp.ones((1, TIME + 1, N, A), bool),
        actions=jnp.asarray(rng.integers(A, size=(1, TIME + 1, N)), jnp.int32))  # fmt: skip
    one = jax.tree.map(lambda x: x[0], episode)
    probs = jnp.asarray(rng.dirichlet(np.ones(A), size=(TIME + 1, N)), jnp.float32)
    critic = lambda s, v: (v * s.sum()).sum() + (v**2).sum()  # noqa: E731
    found = np.asarray(order.fn(critic, one, probs, KEY, order.init(KEY, N)))
    assert order.name == name and found.shape == (TIME, N) and found.dtype.kind == "i"
    np.testing.assert_array_equal(np.sort(found, axis=-1), np.broadcast_to(np.arange(N), found.shape))


@pytest.mark.parametrize("name", ORDERS)
def test_who_follows_a_path_gets_its_options(name: str) -> None:
    """And asks the critic; the others are the same whatever the options."""
    path = GradientOrder(points=3, rule="midpoint")
    found = ORDERS[name](path)
    if name == "gradients":
        assert found.path == path and found.reads_critic
    else:
        assert found.path is None and not found.reads_critic and found is ORDERS[name](GradientOrder())
