"""What the training loop asks of an algorithm: one made by hand of as little as there can be, and what it has free."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import SPEC

from seca.algos.base import Act, Algorithm, Claim, Claims, Update
from seca.envs.registry import make
from seca.learning import acting
from seca.learning.buffer import Buffer, filled
from seca.train.iterate import make_iterate
from seca.train.state import init_state
from seca.types import Acted, Episodes


def act(params, carry, time_step, keys, env_steps, greedy) -> Acted:
    """Agent i takes action i, and the carry counts the steps."""
    actions = jnp.broadcast_to(jnp.arange(2, dtype=jnp.int32), time_step.avail.shape[:2])
    return Acted(carry + 1, actions, {"before": carry, "told": jnp.broadcast_to(params, carry.shape)})


def update(learner, episodes: Episodes, replay, key, axis):
    """Adds up rewards; says what there was to learn from."""
    held = jnp.zeros((), jnp.int32) if replay is None else filled(replay)
    reward = episodes.reward.sum()
    carried = episodes.record["before"][:, 0].sum() + 10 * episodes.record["told"][:, 0].sum()
    return {"sum": learner["sum"] + reward}, {"reward": reward, "held": held, "carried": carried}


def made(**parts: Any) -> Algorithm:
    least: dict[str, Any] = {
        "name": "by hand",
        "init": lambda key: {"sum": jnp.zeros(())},
        "policy": lambda learner: learner["sum"],
        "initial_carry": lambda batch: jnp.zeros(batch),
        "act": act,
        "update": update,
        "memory": lambda batch: 100 * batch,
    }
    return Algorithm(**(least | parts))


@pytest.mark.slow
@pytest.mark.parametrize("buffered", [False, True])
def test_the_loop_asks_for_no_more(buffered: bool) -> None:
    """Six games of one step, in which different actions pay 1; acting is told what `policy` takes from the learner.

    With a buffer for nine episodes it holds the new ones already when `update` is called.
    """
    env = make("matrix/anti-coordination")
    algorithm = made(buffer=Buffer(env.spec, 9) if buffered else None)
    iterate = make_iterate(env, algorithm, 6, jax.devices()[:1])
    state = init_state(algorithm, 0)
    for number, held in ((1, 6), (2, 9)):
        state, metrics = iterate(state)
        assert float(state.learner["sum"]) == 6 * number and float(metrics["reward"]) == 6
        assert int(metrics["held"]) == (held if buffered else 0)
        assert float(metrics["carried"]) == 10 * 6 * 6 * (number - 1)
        assert float(metrics["return_mean"]) == 1


def test_what_an_algorithm_need_not_say() -> None:
    """No buffer and no bytes of one, nothing about single agents, no forks; carries are those of `learning.acting`."""
    algorithm = made()
    assert algorithm.buffer is None and algorithm.buffer_bytes == 0
    assert algorithm.claims is None and algorithm.forking is None
    carry = acting.initial_carry(2, SPEC, 5)
    after = algorithm.told(carry, jnp.asarray([[1, 0, 3], [2, 2, 0]]))
    np.testing.assert_array_equal(after.last_action, np.eye(4)[[[1, 0, 3], [2, 2, 0]]])
    np.testing.assert_array_equal(after.hidden, carry.hidden)


def test_bytes_of_the_buffer() -> None:
    """841 for an episode of this size, whatever else the algorithm needs."""
    assert made(buffer=Buffer(SPEC, 6)).buffer_bytes == 6 * 841
    assert made(buffer=Buffer(SPEC, 6)).memory(3) == 300


def test_a_record_does_not_change() -> None:
    algorithm = made()
    with pytest.raises(dataclasses.FrozenInstanceError):
        algorithm.name = "another"  # pyrefly: ignore
    assert isinstance(algorithm.act, Act) and isinstance(algorithm.update, Update)


def test_claims_say_the_least_by_default() -> None:
    """A credit alone: no order, no other signal, no error of the team, and no other credit of the same critic."""
    claim = Claim(jnp.ones((2, 7, 3)))
    assert (claim.order, claim.signal, claim.team) == (None, None, None)
    assert Claims("shapley", lambda learner, episodes, env_steps, key: claim).under is None
