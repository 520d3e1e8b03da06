"""One contract over each kind of part: environments and returns. Credits and orders have theirs in their rooms."""

from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.envs.registry import list_envs, make
from seca.returns import lambda_returns, n_step

KEY = jax.random.key(0)
TIME = 6


@pytest.fixture(name="strict")
def strict_fixture() -> Iterator[None]:
    """Types and ranks never mix by themselves in our own pure functions."""
    with jax.numpy_dtype_promotion("strict"), jax.numpy_rank_promotion("raise"):
        yield


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


@pytest.mark.slow
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
