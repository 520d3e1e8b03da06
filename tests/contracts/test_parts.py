"""One contract over each kind of part: environments, credits, orders, returns."""

from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from games import random_weights

from seca.credit.named import CREDITS
from seca.envs.registry import list_envs, make
from seca.nets.critics import MixingCritic
from seca.order.base import GradientOrder
from seca.order.gradients import by_contribution
from seca.order.named import ORDERS as NAMED_ORDERS
from seca.order.simple import by_entropy, by_probability, descending, shuffled
from seca.returns import lambda_returns, n_step
from seca.types import Episodes

KEY = jax.random.key(0)
N, A, TIME = 4, 5, 6
PROBS = jnp.asarray(np.random.default_rng(0).dirichlet(np.ones(A), size=N), jnp.float32)
ACTION = jnp.array([3, 0, 2, 1], jnp.int32)


@pytest.fixture(name="strict")
def strict_fixture() -> Iterator[None]:
    """Types and ranks never mix by themselves in our own pure functions."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


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
    "entropy": lambda state, probs, valid: by_entropy(probs[0]),
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


@pytest.mark.parametrize("name", NAMED_ORDERS)
def test_named_orders(name: str) -> None:
    """Each agent once in every step, from the plain function of one episode and the state that it asks for."""
    order = NAMED_ORDERS[name](GradientOrder())
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


@pytest.mark.parametrize("name", ["lambda", "corrected", "n_step"])
def test_returns(name: str, strict: None) -> None:
    """One target per step in the rewards' type, 0 on padding, whatever stands there."""
    rng = np.random.default_rng(2)
    reward, value, best = (jnp.asarray(rng.normal(size=size), jnp.float32) for size in (TIME, TIME + 1, TIME + 1))
    valid, ended = jnp.arange(TIME) < 4, jnp.zeros(TIME, bool)

    def targets(reward: jax.Array, value: jax.Array, best: jax.Array) -> jax.Array:
        match name:
            case "lambda":
                return lambda_returns(reward, ended, valid, value, gamma=0.9, lam=0.8)
            case "corrected":
                return lambda_returns(reward, ended, valid, best, value, gamma=0.9, lam=0.8)
            case _:
                return n_step(reward, ended, valid, value, 0.9, 3)

    found = jax.jit(targets)(reward, value, best)
    assert found.shape == (TIME,) and found.dtype == jnp.float32
    assert (np.asarray(found)[4:] == 0).all() and (np.asarray(found)[:4] != 0).all()
    garbage = [x.at[start:].set(1e9) for x, start in ((reward, 4), (value, 5), (best, 5))]
    np.testing.assert_array_equal(found, jax.jit(targets)(*garbage))


ENVS = [name for name in list_envs() if name.startswith("matrix/")] + ["smac/3m", "smac/2s3z"]


@pytest.mark.parametrize("env_id", ENVS)
def test_environments(env_id: str) -> None:
    """Sizes and types of the spec; `step` never resets; what is over stays as it is and earns nothing."""
    env, keys = make(env_id), jax.random.split(jax.random.key(1), 3)
    spec, step = env.spec, jax.jit(env.step)
    state, shown = jax.jit(env.reset)(keys)
    assert not np.asarray(shown.done).any() and (np.asarray(shown.reward) == 0).all()
    over = np.zeros(3, bool)
    for turn in range(spec.episode_limit + 3):
        assert shown.obs.shape == (3, spec.n_agents, spec.obs_size) and shown.state.shape == (3, spec.state_size)
        assert shown.avail.shape == (3, spec.n_agents, spec.n_actions) and shown.avail.dtype == bool
        assert shown.obs.dtype == shown.state.dtype == shown.reward.dtype == jnp.float32
        assert shown.terminated.dtype == shown.truncated.dtype == shown.info["won"].dtype == bool
        assert np.asarray(shown.avail).any(axis=-1).all()
        logits = jnp.where(shown.avail, 0.0, -1e9)
        actions = jax.random.categorical(jax.random.fold_in(KEY, turn), logits).astype(jnp.int32)
        before = shown
        state, shown = step(state, actions)
        for old, new in zip(jax.tree.leaves(before), jax.tree.leaves(shown), strict=True):
            if old is not before.reward:
                np.testing.assert_array_equal(np.asarray(new)[over], np.asarray(old)[over])
        assert (np.asarray(shown.reward)[over] == 0).all()
        assert not np.asarray(shown.terminated & shown.truncated).any()
        over = np.asarray(shown.done)
    assert over.all()
