"""The credits that the command line knows by name: one contract over all, and the numbers they are made with."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from games import random_weights

from seca.credit.named import CREDITS
from seca.nets.critics import MixingCritic

KEY = jax.random.key(0)
N, A = 4, 5
PROBS = jnp.asarray(np.random.default_rng(0).dirichlet(np.ones(A), size=N), jnp.float32)
ACTION = jnp.array([3, 0, 2, 1], jnp.int32)


@pytest.fixture(name="strict")
def strict_fixture() -> Iterator[None]:
    """Types and ranks never mix by themselves in our own pure functions."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


@pytest.mark.slow
@pytest.mark.parametrize("name", CREDITS)
def test_credits(name: str, strict: None) -> None:
    """One number per agent, in the policies' type; none for who has no choice; and the sums that define them."""
    made = CREDITS[name](8, 8)
    credit = made.fn
    assert made.name == name and made.floats(N, A, 16) >= 0
    made.check(N, A)
    weights = random_weights(3, N, A)
    order = jnp.array([2, 0, 3, 1], jnp.int32)
    certain = PROBS.at[1].set(jax.nn.one_hot(ACTION[1], A, dtype=jnp.float32))
    found = jax.jit(lambda p: credit(weights.value, p, ACTION, order, KEY))(certain)
    assert found.shape == (N,) and found.dtype == jnp.float32 and np.isfinite(found).all()
    assert abs(float(found[1])) < 1e-5
    if name in ("swept", "shapley"):
        taken = jax.nn.one_hot(ACTION, A, dtype=jnp.float32)
        expected = float(weights.value(taken)) - float(weights.value(certain))
        assert float(found.sum()) == pytest.approx(expected, abs=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in CREDITS if CREDITS[name](8, 8).fast is not None])
def test_fast_credits_equal_the_plain_ones(name: str) -> None:
    """Of many steps from the hidden layer, each with its own order and key."""
    made, steps = CREDITS[name](8, 8), 7
    rng, fast = np.random.default_rng(4), made.fast
    assert fast is not None
    states = jnp.asarray(rng.normal(size=(steps, 7)), jnp.float32)
    weights = MixingCritic.init(jax.random.key(5), N, A, 7, 16, 32).weights(states, N)
    probs = jnp.asarray(rng.dirichlet(np.ones(A), size=(steps, N)), jnp.float32)
    actions = jnp.asarray(rng.integers(A, size=(steps, N)), jnp.int32)
    orders, keys = jnp.asarray(rng.permuted(np.tile(np.arange(N), (steps, 1)), axis=1)), jax.random.split(KEY, steps)
    plain = jax.vmap(lambda w, *step: made.fn(w.value, *step))(weights, probs, actions, orders, keys)
    np.testing.assert_allclose(fast(weights.mix(probs, actions), orders, keys), plain, atol=1e-5)


@pytest.mark.parametrize("name", CREDITS)
def test_each_takes_its_own_number(name: str) -> None:
    """Samples are those of `monte_carlo`, orders those of `shapley`; the others are the same whatever they are told.

    Seen in numbers held for one step of four agents, five actions and 16 hidden units.
    """
    held = [CREDITS[name](samples, orders).floats(N, A, 16) for samples, orders in ((3, 10), (7, 10), (3, 6))]
    expected = {"monte_carlo": [780, 1820, 780], "shapley": [480, 480, 288], "exact": [32_500] * 3}
    assert held == expected.get(name, [0, 0, 0])
