"""Critics with a row for each agent: what they may read, targets by their definition, regression against autodiff."""

import functools

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from batches import LENGTHS, SPEC, in_float64, random_episodes
from reference import assert_trees_close, float64_fixture

from seca.learning.agent_critic import (
    Seen,
    first_output,
    outputs_of,
    regress_all,
    rows_at_once,
    seen_in,
    targets_of,
)
from seca.learning.rows import pack
from seca.nets.mixers import Deep
from seca.policies import of_taken
from seca.returns import lambda_returns, n_step
from seca.types import TimeLimit

_ = float64_fixture
CHUNK = 5
"""No divisor of the 43 real rows."""
FILLED = np.arange(SPEC.episode_limit + 1) <= np.array(LENGTHS)[:, None]


def reads(seen: Seen) -> jax.Array:
    """State, own observation and last action of each agent."""
    state = jnp.broadcast_to(seen.state[..., None, :], (*seen.obs.shape[:-1], seen.state.shape[-1]))
    return jnp.concatenate([state, seen.obs, seen.last_action], axis=-1)


def critic_of(outputs: int) -> Deep:
    return in_float64(Deep.init(jax.random.key(0), (6 + 5 + 4, 7, outputs)))


def test_what_a_critic_may_read() -> None:
    """The action before each row, of nobody at t = 0."""
    batch = random_episodes()
    seen = seen_in(batch)
    np.testing.assert_array_equal(seen.state, batch.state)
    np.testing.assert_array_equal(seen.obs, batch.obs)
    np.testing.assert_array_equal(seen.actions, batch.actions)
    assert seen.last_action.shape == (8, 8, 3, 4) and (seen.last_action[:, 0] == 0).all()
    np.testing.assert_array_equal(seen.last_action[:, 1:], np.eye(4)[np.asarray(batch.actions)[:, :-1]])


def test_the_value_is_the_first_output() -> None:
    outputs = jnp.arange(12.0).reshape(2, 3, 2)
    np.testing.assert_array_equal(first_output(outputs, jnp.ones((2, 3), jnp.int32)), [[0, 2, 4], [6, 8, 10]])


@pytest.mark.slow
def test_outputs_of_every_real_row(float64: None) -> None:
    batch, critic = random_episodes(garbage=2.0), critic_of(4)
    seen = seen_in(batch)
    found = outputs_of(critic, reads, seen, pack(batch.valid, CHUNK))
    np.testing.assert_allclose(found[FILLED], critic(reads(seen))[FILLED], atol=1e-12)


@pytest.mark.parametrize("time_limit", ["bootstrap", "terminal"])
@pytest.mark.parametrize("kind", ["lambda", "n_step"])
def test_targets_by_their_definition(kind: str, time_limit: TimeLimit, float64: None) -> None:
    """The team's reward, each agent's own values; with `terminal` all episodes end."""
    batch = random_episodes(garbage=2.0)
    values = jnp.asarray(np.random.default_rng(1).normal(size=(*FILLED.shape, 3)))
    by_lambda = functools.partial(lambda_returns, gamma=0.9, lam=0.7)
    of_stream = by_lambda if kind == "lambda" else functools.partial(n_step, gamma=0.9, n=2)
    found = np.asarray(targets_of(values, batch, time_limit, of_stream))
    for b, length in enumerate(LENGTHS):
        ended = time_limit == "terminal" or bool(batch.terminated[b].any())
        reward = np.asarray(batch.reward[b])[:length]
        for i in range(3):
            stream = reward, ended, length, np.asarray(values[b, :, i]), 0.9
            expected = naive.td_lambda(*stream, 0.7) if kind == "lambda" else naive.n_step(*stream, 2)
            np.testing.assert_allclose(found[b, :length, i], expected, atol=1e-12)
    assert (found[~np.asarray(batch.valid)] == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize(("outputs", "readout"), [(2, first_output), (4, of_taken)])
@pytest.mark.parametrize("devices", [1, 3])
def test_regression_equals_autodiff(outputs: int, readout, devices: int, float64: None) -> None:
    """The mean over steps and agents; on each of three devices with as many steps, their part of it."""
    batch, critic = random_episodes(garbage=2.0), critic_of(outputs)
    seen = seen_in(batch)
    goal = jnp.asarray(np.random.default_rng(2).normal(size=(*batch.valid.shape, 3)))
    mask, count = batch.valid[..., None], devices * batch.valid.sum()

    def loss(module: Deep) -> jax.Array:
        found = module(reads(seen))[:, :-1]
        values = jnp.take_along_axis(found, batch.actions[:, :-1, :, None] * (outputs == 4), axis=-1)[..., 0]
        return jnp.where(mask, (values - goal) ** 2, 0).sum() / (count * 3)

    found = regress_all(critic, reads, seen, goal, pack(batch.valid, CHUNK), count.astype(float), None, readout)
    value, gradient = jax.value_and_grad(loss)(critic)
    np.testing.assert_allclose(found.loss, value, rtol=1e-12)
    assert_trees_close(found.gradient, gradient, 1e-12)
    assert found.outputs.shape == (8, 7, 3, outputs)
    np.testing.assert_allclose(found.outputs[batch.valid], critic(reads(seen))[:, :-1][batch.valid], atol=1e-12)


@pytest.mark.parametrize(
    ("n_agents", "n_inputs", "rows"),
    [(1, 1, 1024), (4, 256, 1024), (4, 257, 512), (10, 400, 256), (27, 2000, 16), (27, 10_000, 16)],
)
def test_rows_per_chunk(n_agents: int, n_inputs: int, rows: int) -> None:
    """A power of two: 2^20 numbers at most, but between 16 and 1,024 rows."""
    assert rows_at_once(n_agents, n_inputs) == rows
