"""Acting: which actions are explored, and how often; what is carried on; the pass over whole episodes again."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import BOXED, LENGTHS, SPEC, agent_of, plain_outputs, random_episodes
from reference import float64_fixture

from seca.learning.acting import (
    act_in,
    act_on_values,
    acting_over,
    initial_carry,
    last_actions,
    n_agent_inputs,
    told,
    unroll,
    utility_gain,
)
from seca.nets.agents import RecurrentAgent, agent_inputs
from seca.policies import Exploration, masked_log_probs
from seca.types import TimeStep

_ = float64_fixture


@pytest.mark.slow
@pytest.mark.parametrize(("share", "greedy"), [(1.0, False), (0.3, False), (1.0, True)])
def test_exploration_is_uniform_over_available_actions(share: float, greedy: bool) -> None:
    """4,000 teams in one situation: agents act best or at random, never the unavailable, each for itself."""
    batch, hidden = 4000, 8
    agent = RecurrentAgent.init(jax.random.key(0), n_agent_inputs(SPEC), hidden, SPEC.n_actions)
    avail = np.array([[True, True, False, True], [False, True, False, False], [True, True, True, True]])
    step = TimeStep(
        obs=jnp.ones((batch, 3, SPEC.obs_size)),
        state=jnp.ones((batch, SPEC.state_size)),
        avail=jnp.broadcast_to(jnp.asarray(avail), (batch, 3, 4)),
        reward=jnp.zeros(batch),
        terminated=jnp.zeros(batch, bool),
        truncated=jnp.zeros(batch, bool),
        info={},
    )
    keys = jax.random.split(jax.random.key(1), batch)
    options = Exploration(share, share, 100)
    play = jax.jit(functools.partial(act_on_values, exploration=options), static_argnames="greedy")
    acted = play(agent, initial_carry(batch, SPEC, hidden), step, keys, jnp.uint32(0), greedy=greedy)
    _, q = agent(agent_inputs(step.obs[:1], jnp.zeros((1, 3, 4))), jnp.zeros((1, 3, hidden)))
    best = np.where(avail, np.asarray(q)[0], -np.inf).argmax(axis=-1)
    often = np.stack([(np.asarray(acted.actions) == action).mean(axis=0) for action in range(4)], axis=1)
    share = 0.0 if greedy else share
    expected = share * avail / avail.sum(axis=1, keepdims=True) + (1 - share) * np.eye(4)[best]
    np.testing.assert_allclose(often, expected, atol=0.04)
    assert (often[~avail] == 0).all()


@pytest.mark.slow
def test_the_greedy_actor_takes_what_is_most_probable() -> None:
    """Among the available actions; the carry has the new state and the action taken, and nothing is recorded."""
    agent = RecurrentAgent.init(jax.random.key(0), n_agent_inputs(SPEC), 8, SPEC.n_actions)
    rng = np.random.default_rng(0)
    avail = rng.random((5, 3, 4)) < 0.5
    avail[..., 2] = True
    flags = jnp.zeros(5, bool)
    obs = jnp.asarray(rng.normal(size=(5, 3, SPEC.obs_size)), jnp.float32)
    step = TimeStep(obs, jnp.ones((5, 6)), jnp.asarray(avail), jnp.zeros(5), flags, flags, {})
    carry = told(initial_carry(5, SPEC, 8), jnp.asarray(rng.integers(4, size=(5, 3)), jnp.int32))
    hidden, logits = agent(agent_inputs(obs, carry.last_action), carry.hidden)
    best = np.where(avail, np.asarray(logits), -np.inf).argmax(axis=-1)
    keys = jax.random.split(jax.random.key(1), 5)
    found = act_in(SPEC)(agent, carry, step, keys, jnp.uint32(0), True)
    np.testing.assert_array_equal(found.actions, best)
    np.testing.assert_allclose(found.carry.hidden, hidden, atol=1e-6)
    np.testing.assert_array_equal(found.carry.last_action, np.eye(4)[best])
    assert found.record is None
    drawn = act_in(SPEC)(agent, carry, step, keys, jnp.uint32(0), False)
    assert np.take_along_axis(avail, np.asarray(drawn.actions)[..., None], axis=-1).all()
    np.testing.assert_array_equal(drawn.record.hidden, carry.hidden)  # Of before the row.
    np.testing.assert_allclose(drawn.record.probs.sum(axis=-1), 1, atol=1e-6)
    assert (np.asarray(drawn.record.probs)[~avail] == 0).all()


def test_what_would_be_carried_had_others_been_taken() -> None:
    carry = initial_carry(2, SPEC, 3)
    assert (carry.last_action == 0).all() and (carry.hidden == 0).all()
    after = told(told(carry, jnp.asarray([[3, 3, 3], [0, 1, 2]])), jnp.asarray([[1, 0, 3], [2, 2, 0]]))
    np.testing.assert_array_equal(after.last_action, np.eye(4)[[[1, 0, 3], [2, 2, 0]]])


def test_the_action_before_each_row() -> None:
    episodes = random_episodes()
    found, taken = last_actions(episodes), np.asarray(episodes.actions)
    assert (found[:, 0] == 0).all()
    np.testing.assert_array_equal(found[:, 1:], np.eye(SPEC.n_actions)[taken[:, :-1]])


def test_a_continuous_action_before_each_row() -> None:
    episodes = random_episodes(spec=BOXED)
    found, taken = last_actions(episodes), np.asarray(episodes.actions)
    assert (found[:, 0] == 0).all() and found.shape[-1] == BOXED.action_width == 2 * taken.shape[-1]
    np.testing.assert_array_equal(found[:, 1:, :, : taken.shape[-1]], taken[:, :-1])
    assert (found[..., taken.shape[-1] :] == 0).all()


@pytest.mark.slow
def test_unrolled_as_far_as_the_longest_episode(float64: None) -> None:
    """Hidden states are those before each row; rows beyond the longest episode are zeros."""
    lengths = (3, 5, 1)
    batch, agent = random_episodes(2, 1.0, lengths), agent_of(6)
    found, expected = unroll(agent, batch), plain_outputs(agent, batch)
    for b, length in enumerate(lengths):
        np.testing.assert_allclose(found.outputs[b, : length + 1], expected[b, : length + 1], atol=1e-12)
        assert (found.hidden[b, 0] == 0).all()
        for t in range(length):
            last = np.zeros((3, 4)) if t == 0 else np.eye(4)[np.asarray(batch.actions[b, t - 1])]
            after, _ = agent(agent_inputs(batch.obs[b, t], jnp.asarray(last)), found.hidden[b, t])
            np.testing.assert_allclose(found.hidden[b, t + 1], after, atol=1e-12)
    assert (found.outputs[:, 6:] == 0).all() and (found.hidden[:, 6:] == 0).all()


@pytest.mark.slow
def test_policies_and_values_of_a_pass(float64: None) -> None:
    """An output more than there are actions is a value; what acting recorded is taken as it is."""
    batch = random_episodes()
    for outputs in (4, 5):
        agent = agent_of(6, outputs=outputs)
        found, whole = acting_over(agent, batch), unroll(agent, batch).outputs
        probs = jnp.exp(masked_log_probs(whole[..., :4], batch.avail))
        np.testing.assert_allclose(found.probs, probs, atol=1e-12)
        assert (found.value is None) == (outputs == 4)
        if found.value is not None:
            np.testing.assert_array_equal(found.value, whole[..., 4])
        assert acting_over(agent, dataclasses.replace(batch, record=found)) is found


@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_gain_of_the_taken_action_over_the_policy(share: float, float64: None) -> None:
    """q(u) - (1 - eps) max q - eps mean q over the available actions, step by step; 0 on padding. And who chose."""
    batch = random_episodes()
    q = jnp.asarray(np.random.default_rng(1).normal(size=(*batch.valid.shape, 3, 4)))
    found, probs = map(np.asarray, utility_gain(q, batch, jnp.asarray(share)))
    for b, length in enumerate(LENGTHS):
        for t in range(length):
            for i in range(3):
                values = np.asarray(q[b, t, i])
                avail = np.asarray(batch.avail[b, t, i])
                possible = values[avail]
                best = avail & (values == possible.max())
                np.testing.assert_allclose(probs[b, t, i], (1 - share) * best + share * avail / avail.sum(), atol=1e-12)
                expected = values[batch.actions[b, t, i]] - (1 - share) * possible.max() - share * possible.mean()
                np.testing.assert_allclose(found[b, t, i], expected, atol=1e-12)
        assert (found[b, length:] == 0).all()
