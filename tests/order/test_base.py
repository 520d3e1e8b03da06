"""What an order is: one contract over all functions that make one, and what the record of one says by default."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.learning.options import check_numbers
from seca.order.base import GradientOrder, Order, stateless
from seca.order.gradients import by_contribution
from seca.order.simple import by_entropy, by_probability, descending, shuffled

KEY = jax.random.key(0)
N, A, TIME = 4, 5, 6
ACTION = jnp.array([3, 0, 2, 1], jnp.int32)


@pytest.fixture(name="strict")
def strict_fixture() -> Iterator[None]:
    """Types and ranks never mix by themselves in our own pure functions."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


def probability(state: Any, probs: Any, valid: Any) -> jax.Array:
    return by_probability(probs[0], ACTION)


def path(**options: Any) -> Callable:
    def order(state: jax.Array, probs: jax.Array, valid: jax.Array) -> jax.Array:
        scale = jnp.arange(1, N + 1, dtype=jnp.float32)[:, None]
        critic = lambda s, v: (v * scale * s.sum()).sum() + (v**2).sum()  # noqa: E731
        return by_contribution(critic, state, probs, valid, GradientOrder(**options))[0]

    return order


ORDERS = {
    "descending": lambda state, probs, valid: descending(probs[0, :, 0]),
    "probability": probability,
    "entropy": lambda state, probs, valid: by_entropy(probs[0], jnp.zeros(N, jnp.int32)),
    "shuffled": lambda state, probs, valid: shuffled(KEY, N),
    "gradients": path(),
    "midpoints": path(points=2, rule="midpoint"),
    "each step": path(stage=1),
    "blocks": path(stage=2),
    "sliding": path(stage=2, window="sliding"),
    "eq18": path(sign="eq18"),
}


@pytest.mark.parametrize("name", ORDERS)
def test_orders(name: str, strict: None) -> None:
    """Whole numbers, and each agent once in every step."""
    rng = np.random.default_rng(1)
    state = jnp.asarray(rng.normal(size=(TIME + 1, 3)), jnp.float32)
    probs = jnp.asarray(rng.dirichlet(np.ones(A), size=(TIME + 1, N)), jnp.float32)
    order = np.asarray(jax.jit(ORDERS[name])(state, probs, jnp.arange(TIME) < 4))
    assert order.dtype.kind == "i" and order.shape in ((N,), (TIME, N))
    np.testing.assert_array_equal(np.sort(order, axis=-1), np.broadcast_to(np.arange(N), order.shape))


def test_an_order_asks_for_nothing_by_default() -> None:
    """No state, no path to follow, no critic: then episodes are judged side by side, and runs keep nothing for it."""
    order = Order("any", lambda critic, episode, probs, key, state: probs.argsort(axis=1)[..., 0])
    assert order.init(KEY, N) == stateless(KEY, N) == ()
    assert order.path is None and not order.reads_critic


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"points": 0}, "`points` is 0; it must be a whole number from 1 to 1000"),
        ({"points": 1001}, "`points` is 1001; it must be a whole number from 1 to 1000"),
        ({"stage": 0}, "`stage` is 0; it must be a whole number from 1 to 1000000"),
    ],
)
def test_paths_out_of_range(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as refused:
        check_numbers(GradientOrder(**options))
    assert str(refused.value) == words


@pytest.mark.parametrize("options", [{"points": 1, "stage": 1}, {"points": 1000, "stage": 1_000_000}, {"stage": None}])
def test_ends_of_the_ranges_are_in_them(options: dict[str, Any]) -> None:
    check_numbers(GradientOrder(**options))
