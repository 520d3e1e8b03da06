"""Rounds: the steps that are drawn, what is said of them, and that they can be forked."""

import dataclasses
from typing import Any

import counting
import forking
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca import numerics
from seca.algos.base import Claim, Claims
from seca.envs.registry import make
from seca.train.rollout import collect
from seca.truth.audit import audit, claims_of
from seca.truth.rounds import DRAWN, EPISODES, Plan, Rounds, round_keys


@pytest.mark.slow
def test_the_order_is_the_claims() -> None:
    found = forking.audited(kinds=("sequential", "independent"))
    assert (found.order == [2, 0, 1]).all()
    # Who is judged first is judged alone.
    np.testing.assert_array_equal(found.sums.total[:, 0, 2], found.sums.total[:, 1, 2])
    assert not np.array_equal(found.sums.total[:, 0, 1], found.sums.total[:, 1, 1])


@pytest.mark.slow
def test_it_repeats_bit_for_bit_and_follows_its_seed() -> None:
    once, again, other = forking.audited(), forking.audited(), forking.audited(seed=1)
    for field in ("forks", "total", "squares", "counts"):
        np.testing.assert_array_equal(getattr(once.sums, field), getattr(again.sums, field))
    assert not np.array_equal(once.sums.total, other.sums.total)


@pytest.mark.slow
def test_an_environment_that_does_not_repeat_is_refused() -> None:
    """Two passes over the same keys must show the same: here one has a state of its own outside of JAX."""
    run, calls = forking.run(), [0]

    def step(state: Any, actions: Any) -> Any:
        after, shown = forking.env().step(state, actions)
        calls[0] += 1  # At tracing: each program has another.
        return after, dataclasses.replace(shown, obs=shown.obs + calls[0])

    run.env = dataclasses.replace(run.env, step=step)
    with pytest.raises(ValueError, match=r"`env` does not repeat its episodes on this device \(`obs`\)"):
        audit(run, Plan(20, 2))


def test_no_round_has_the_keys_of_another() -> None:
    """Three for each round and seed: of a stream that neither training nor evaluations draw from."""
    key = jax.random.fold_in(jax.random.fold_in(numerics.key(5), 0xA0D17), 3)
    expected = jax.random.key_data(jax.random.split(key, 3)).tolist()
    assert [jax.random.key_data(one).tolist() for one in round_keys(5, 3)] == expected
    keys = [
        tuple(jax.random.key_data(key).tolist()) for seed in (0, 1) for n in (0, 1, 2) for key in round_keys(seed, n)
    ]
    assert len(set(keys)) == len(keys) == 2 * 3 * 3


@pytest.mark.slow
def test_steps_are_drawn_from_the_episodes_of_the_round() -> None:
    """None twice, as many as are left to draw, and told as they were played."""
    run = forking.run()
    rounds = Rounds(run, Plan(DRAWN + 10, 2), claims_of(run), ())
    for number, wanted in ((0, DRAWN), (1, 10)):
        drawn = rounds.play(number)
        keys = jax.random.split(round_keys(0, number)[0], EPISODES)
        episodes, _ = jax.jit(lambda keys: collect(run.env, run.algorithm, jnp.zeros(1), keys, jnp.uint32(0)))(keys)
        episode = drawn.battle - number * EPISODES
        assert ((0 <= episode) & (episode < EPISODES)).all()
        assert len({*zip(episode.tolist(), drawn.time.tolist(), strict=True)}) == wanted == len(drawn.battle)
        at = episode, drawn.time
        assert np.asarray(episodes.valid)[at].all()
        np.testing.assert_array_equal(drawn.length, np.asarray(episodes.length)[episode])
        np.testing.assert_array_equal(drawn.action, np.asarray(episodes.actions)[at])
        np.testing.assert_array_equal(drawn.credits["credit"], drawn.action - 0.5)
        assert drawn.choice.all() and set(drawn.credits) == {"credit"}
        np.testing.assert_array_equal(drawn.standing.time[:wanted], drawn.time)


def test_short_episodes_are_drawn_again() -> None:
    """Of 32 games of one step 64 are asked for: each once, then again; without an order by the agents' numbers."""
    env = make("matrix/focus-fire")
    judged = Claims("independent", lambda learner, episodes, now, key: Claim(jnp.zeros(episodes.actions[:, :-1].shape)))
    algorithm = dataclasses.replace(counting.watcher([]), claims=judged)
    run = forking.Run(env, algorithm, forking.run().state, forking.run().config)
    drawn = Rounds(run, Plan(DRAWN, 2), claims_of(run), ()).play(0)
    assert sorted(drawn.battle[:EPISODES].tolist()) == list(range(EPISODES))
    np.testing.assert_array_equal(drawn.battle[EPISODES:], drawn.battle[:EPISODES])
    assert not drawn.time.any() and (drawn.length == 1).all() and (drawn.order == [0, 1]).all()
