"""An algorithm shown its environment in running units: against a twin by hand, and against itself without."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import mortal
import numpy as np
import pytest
from sizes import small
from tiers import cases

from seca import numerics
from seca.algos import adapted
from seca.algos.base import Algorithm
from seca.learning import buffer
from seca.learning.acting import acting_over
from seca.learning.options import Adaptation, Part
from seca.presets import PRESETS, build, compared
from seca.train.evaluate import make_evaluate
from seca.train.iterate import device_keys, make_iterate
from seca.train.rollout import collect
from seca.train.state import TrainState, init_state, iteration_keys
from seca.types import Episodes

ENV = mortal.env()
ALL: tuple[Part, ...] = ("obs", "state", "reward")
RUNNERS = 3
NAMES = [name for name in PRESETS if compared(name)] + ["coma-mpe", "sqddpg", "iac-mpe"]


def made(name: str = "ia2c", parts: tuple[Part, ...] = ALL, **changes: Any) -> Algorithm:
    return build(name, mortal.SPEC, small(name, **changes), Adaptation(parts))


@functools.lru_cache
def run(minibatches: int = 1, devices: int = 1, runners: int = RUNNERS, iterations: int = 3) -> list[TrainState]:
    """States of a training run, the untrained one first."""
    algorithm = made()
    iterate = make_iterate(ENV, algorithm, runners, jax.devices()[:devices], minibatches)
    states = [init_state(algorithm, 0)]
    for _ in range(iterations):
        states.append(iterate(states[-1])[0])
    return states


def played(state: TrainState, runners: int = RUNNERS) -> Episodes:
    """The batch that the iteration after `state` collects."""
    algorithm = made()
    keys = device_keys(iteration_keys(state)[0], runners, None)
    play = jax.jit(functools.partial(collect, ENV, algorithm))
    return play(algorithm.policy(state.learner), keys, state.env_steps)[0]


def units(every: list[Episodes], gamma: float) -> dict[str, np.ndarray]:
    """Means and deviations over all batches, by loops over steps."""
    seen: dict[str, list] = {"state": [], "reward": [], **{f"obs {i}": [] for i in range(mortal.N_AGENTS)}}
    for episodes in every:
        for b in range(episodes.valid.shape[0]):
            total = 0.0
            for t in range(int(episodes.length[b])):
                total = gamma * total + float(episodes.reward[b, t])
                seen["reward"].append(total)
                seen["state"].append(np.asarray(episodes.state[b, t], np.float64))
                for agent in range(mortal.N_AGENTS):
                    if np.any(episodes.obs[b, t, agent]):
                        seen[f"obs {agent}"].append(np.asarray(episodes.obs[b, t, agent], np.float64))
    return {name: np.stack([np.mean(rows, axis=0), np.std(rows, axis=0)]) for name, rows in seen.items()}


@pytest.mark.slow
def test_moments_of_a_run_are_those_of_all_that_was_played() -> None:
    """Three iterations of three runners with episodes of 2 to 5 steps; features that do not vary among them."""
    states = run()
    every = [played(state) for state in states[:-1]]
    assert len({int(length) for episodes in every for length in episodes.length}) > 2
    twin, found = units(every, PRESETS["ia2c"].config.gamma), states[-1].learner.sofar
    for i in range(mortal.N_AGENTS):
        np.testing.assert_allclose(found.obs.mean[i], twin[f"obs {i}"][0], rtol=1e-5)
        deviation = np.where(twin[f"obs {i}"][1] > 1e-4, twin[f"obs {i}"][1], 1)
        np.testing.assert_allclose(found.obs.deviation[i], deviation, rtol=1e-4)
    np.testing.assert_allclose(found.state.mean, twin["state"][0], rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(found.reward.deviation, twin["reward"][1], rtol=1e-4)
    assert float(found.reward.deviation) > 50


@pytest.mark.slow
@pytest.mark.parametrize("minibatches", cases([1, 3], 3))
def test_an_update_sees_what_acting_saw(minibatches: int) -> None:
    """Observations and states in the units that the batch was played in, though later updates follow others: policies
    that acting recorded are those of the networks on what the update sees. Rewards count the batch itself."""
    states = run(minibatches)
    before, after = states[1].learner, states[2].learner
    episodes = played(states[1])
    for name in ("obs", "state"):
        for one, two in zip(*(jax.tree.leaves(getattr(x, name)) for x in (after.batch, before.sofar)), strict=True):
            np.testing.assert_array_equal(one, two)
    np.testing.assert_array_equal(after.batch.reward.squares, after.sofar.reward.squares)
    assert float(after.sofar.reward.count) == float(before.sofar.reward.count) + int(episodes.valid.sum())
    shown = after.batch.episodes(episodes)
    again = acting_over(before.inner.actor.params, dataclasses.replace(shown, record=None))
    valid = np.asarray(episodes.valid)
    found, expected = (np.asarray(acting.probs)[:, :-1][valid] for acting in (again, episodes.record))
    np.testing.assert_allclose(found, expected, atol=1e-5)
    raw = acting_over(before.inner.actor.params, dataclasses.replace(episodes, record=None))
    assert np.abs(np.asarray(raw.probs)[:, :-1][valid] - expected).max() > 1e-2


@pytest.mark.slow
def test_an_update_is_the_algorithms_own_on_what_is_shown() -> None:
    plain, algorithm = made(parts=()), made()
    learner = init_state(algorithm, 0).learner
    episodes = played(init_state(algorithm, 0))
    assert algorithm.begin is not None
    learner = algorithm.begin(learner, episodes, None)
    found, metrics = algorithm.update(learner, episodes, None, jax.random.key(1), None)
    expected, known = plain.update(learner.inner, learner.batch.episodes(episodes), None, jax.random.key(1), None)
    for one, two in zip(jax.tree.leaves((found.inner, metrics)), jax.tree.leaves((expected, known)), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
def test_two_devices_give_the_same_run() -> None:
    alone, shared = (run(devices=devices, runners=4, iterations=2)[-1] for devices in (1, 2))
    for one, two in zip(jax.tree.leaves(alone), jax.tree.leaves(shared), strict=True):
        np.testing.assert_allclose(two, one, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_evaluation_reads_and_does_not_count() -> None:
    """Its episodes are those of the networks on frozen units: the same twice over."""
    state, algorithm = run()[-1], made()
    evaluate = make_evaluate(ENV, algorithm, 8, jax.devices()[:1])
    one, two = evaluate(state), evaluate(state)
    np.testing.assert_array_equal(one["return"], two["return"])
    doubled = jax.tree.map(lambda x: 2 * x, state.learner.sofar)
    params = algorithm.policy(dataclasses.replace(state.learner, sofar=doubled))
    assert jax.tree.leaves(params)[-1] is not None
    now = ENV.reset(jax.random.split(jax.random.key(0), 5))[1]
    keys = jax.random.split(jax.random.key(1), 5)
    acted = [
        algorithm.act(chosen, algorithm.initial_carry(5), now, keys, state.env_steps, False).record.probs
        for chosen in (params, algorithm.policy(state.learner))
    ]
    assert float(jnp.abs(acted[0] - acted[1]).max()) > 1e-4


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(NAMES, "qmix"))
def test_every_method_trains_in_running_units(name: str) -> None:
    """All is finite, though rewards are of size 300 and observations of 1,000; buffers keep raw numbers."""
    algorithm = made(name)
    plain = made(name, ())
    iterate = make_iterate(ENV, algorithm, 8, jax.devices()[:1])
    state = init_state(algorithm, 0)
    for _ in range(2):
        state, metrics = iterate(state)
        assert all(np.isfinite(np.asarray(x)).all() for x in metrics.values())
    if algorithm.buffer is not None:
        assert state.replay is not None
        kept = state.replay.state.experience
        assert float(jnp.abs(kept.obs).max()) > 500 and float(kept.reward.max()) >= 100
    assert algorithm.memory(8) > plain.memory(8)


@pytest.mark.slow
def test_replayed_episodes_are_shown_in_the_units_of_now() -> None:
    """A buffer holds rewards of up to 300 and observations of 1,000; what is drawn is as updates see the rest."""
    algorithm = made("qmix")
    episodes, state = met(algorithm)
    assert state.replay is not None
    replay = buffer.add(state.replay, episodes, None)
    told = buffer.shown_as(replay, state.learner.batch.episodes)
    assert told is not None
    found, raw = (buffer.sample(x, 8, jax.random.key(2), None) for x in (told, replay))
    expected = state.learner.batch.episodes(raw)
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, two)
    assert float(raw.reward.max()) >= 100 > 10 >= float(found.reward.max()) > 0.1
    twice = buffer.shown_as(told, lambda x: dataclasses.replace(x, reward=x.reward + 1))
    assert twice is not None
    again = buffer.sample(twice, 8, jax.random.key(2), None)
    np.testing.assert_array_equal(again.reward, found.reward + 1)


def met(algorithm: Algorithm) -> tuple[Episodes, TrainState]:
    """Episodes, and the untrained learner that has counted them."""
    state = init_state(algorithm, 0)
    play = jax.jit(functools.partial(collect, ENV, algorithm))
    keys = jax.random.split(jax.random.key(5), RUNNERS)
    episodes = play(algorithm.policy(state.learner), keys, state.env_steps)[0]
    assert algorithm.begin is not None
    return episodes, dataclasses.replace(state, learner=algorithm.begin(state.learner, episodes, None))


@pytest.mark.slow
def test_claims_are_in_the_environments_units() -> None:
    """Told what the plain algorithm claims of normalised episodes, times the unit of rewards; orders stay."""
    algorithm, plain = made("seca"), made("seca", ())
    episodes, state = met(algorithm)
    assert algorithm.claims is not None and plain.claims is not None and algorithm.claims.under is not None
    key, now = jax.random.key(3), jnp.uint32(7)
    found = algorithm.claims.fn(state.learner, episodes, now, key)
    shown = state.learner.sofar.episodes(episodes)
    expected = plain.claims.fn(state.learner.inner, shown, now, key)
    unit = float(state.learner.sofar.reward_unit)
    for name in ("credit", "signal", "team", "contribution", "value"):
        np.testing.assert_allclose(getattr(found, name), unit * getattr(expected, name), rtol=1e-5, atol=1e-3)
    np.testing.assert_array_equal(found.order, expected.order)
    np.testing.assert_array_equal(found.policy, expected.policy)
    same = algorithm.claims.under(None, None).fn(state.learner, episodes, now, key)
    np.testing.assert_allclose(same.credit, found.credit, rtol=1e-6)


@pytest.mark.slow
def test_forks_are_told_in_both_units() -> None:
    """What is tried out in the environment's units reaches the update in the learner's, and values the other way."""
    algorithm, plain = made("seca-fork"), made("seca-fork", ())
    episodes, state = met(algorithm)
    learner = state.learner
    tried = jnp.ones((*episodes.valid.shape, mortal.N_AGENTS)), episodes.valid
    forking, own = algorithm.forking, plain.forking
    assert forking is not None and own is not None
    unit, key = learner.batch.reward_unit, jax.random.key(1)
    found, _ = forking.update(learner, episodes, tried, key, None)
    told = tried[0] / unit, tried[1]
    expected, _ = own.update(learner.inner, learner.batch.episodes(episodes), told, key, None)
    for one, two in zip(jax.tree.leaves(found.inner), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, two)
    now = ENV.reset(jax.random.split(jax.random.key(0), 5))[1]
    record = jax.tree.map(lambda x: jnp.repeat(x[:1, 0], 5, axis=0), episodes.record)
    value = own.value(learner.inner, learner.sofar.time_step(now), record)
    np.testing.assert_allclose(forking.value(learner, now, record), value * learner.sofar.reward_unit, rtol=1e-6)


def test_with_nothing_named_it_is_the_algorithm_itself() -> None:
    plain = PRESETS["seca"].make("seca", mortal.SPEC, small("seca"))
    assert adapted.normalised(plain, mortal.SPEC, 0.9, ()) is plain
    assert made(parts=()).begin is None


def test_what_is_named_twice_is_refused() -> None:
    with pytest.raises(ValueError, match="`normalise` holds obs twice"):
        made(parts=("obs", "state", "obs"))


@numerics.own()
def test_memory_counts_episodes_once_more() -> None:
    """And those drawn from a buffer."""
    for name, episodes in (("seca", 8), ("qmix", 8 + 8)):
        more = made(name).memory(8) - made(name, ()).memory(8)
        least = episodes * buffer.episode_bytes(mortal.SPEC)
        assert least < more < least + 1000
