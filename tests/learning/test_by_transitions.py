"""What methods of the particle toys share: every env step learned from once and in order, targets, policies."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from particles import CONFIG, SPEC, episodes_of, transitions
from tiers import cases

from seca.algos import coma_mpe
from seca.envs import registry
from seca.learning import by_transitions


@pytest.mark.slow
@pytest.mark.parametrize("size", cases([7, 8, 16, 17], 7, 16))
def test_every_step_is_learned_from_once_and_in_order(size: int) -> None:
    """16 steps a batch, and updates of fewer that do not divide them, of half, of as many, and of one more."""
    many, config = [episodes_of(seed) for seed in range(3)], dataclasses.replace(CONFIG, batch=size)
    learner = expected = coma_mpe.init(jax.random.key(0), SPEC, config)
    rows = transitions(many)
    update = jax.jit(lambda learner, episodes, key: coma_mpe.update(learner, episodes, None, key, None, config))
    keys = []
    for number, episodes in enumerate(many):
        key, before = jax.random.key(10 + number), int(learner.updates)
        learner, measures = update(learner, episodes, key)
        keys += [jax.random.fold_in(key, n) for n in range(int(learner.updates) - before)]
        assert int(learner.updates) * size + int(learner.count) == 16 * (number + 1) and int(learner.count) < size
        assert int(measures["gradient_steps"]) == 4 * int(learner.updates)
    learn = jax.jit(lambda learner, part, key: coma_mpe.learn(learner, part, key, config))
    for number, key in enumerate(keys):
        part = jax.tree.map(lambda x, n=number: x[size * n : size * (n + 1)], rows)
        expected = learn(expected, part, key)
        due = (number + 1) * size // 14 > number * size // 14
        actors, critics = (nets.mix(jnp.asarray(due), 0.1) for nets in (expected.actors, expected.critics))
        expected = dataclasses.replace(expected, actors=actors, critics=critics)
    assert len(keys) == 48 // size
    for nets in ("actors", "critics"):
        for ours, theirs in zip(*(jax.tree.leaves(getattr(x, nets)) for x in (learner, expected)), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
    waits = jax.tree.map(lambda x: x[: int(learner.count)], learner.waiting)
    for ours, theirs in zip(jax.tree.leaves(waits), jax.tree.leaves(rows), strict=True):
        np.testing.assert_array_equal(ours, theirs[48 // size * size :])


def test_targets_are_mixed_when_due() -> None:
    """Every 14 env steps, so with every second update of 7."""
    learner = coma_mpe.init(jax.random.key(1), SPEC, CONFIG)
    first, second = (jax.tree.map(lambda x, b=b: x[b : b + 1], episodes_of()) for b in (0, 2))  # 6 steps, and 5.
    update = functools.partial(coma_mpe.update, replay=None, key=jax.random.key(0), axis=None, config=CONFIG)
    once, _ = update(update(learner, first)[0], second)
    twice, _ = update(once, second)
    assert (int(once.updates), int(twice.updates)) == (1, 2)
    for nets in ("actors", "critics"):
        start, one, two = (getattr(x, nets) for x in (learner, once, twice))
        for old, kept, mixed, new in zip(
            *map(jax.tree.leaves, (start.target, one.target, two.target, two.params)), strict=True
        ):
            np.testing.assert_array_equal(old, kept)
            np.testing.assert_allclose(mixed, 0.9 * old + 0.1 * new, atol=1e-6)


def test_policies_have_no_memory_and_keep_to_the_mask() -> None:
    env = registry.make("mpe/predator-prey")
    algorithm = coma_mpe.coma_mpe("coma-mpe", env.spec, CONFIG)
    learner = algorithm.init(jax.random.key(0))
    _, shown = env.reset(jax.random.split(jax.random.key(1), 64))
    shown = dataclasses.replace(shown, avail=shown.avail.at[:, 1, 2:].set(False))
    keys, params = jax.random.split(jax.random.key(2), 64), algorithm.policy(learner)
    sampled = algorithm.act(params, algorithm.initial_carry(64), shown, keys, jnp.uint32(0), False)
    assert sampled.carry == () and algorithm.told((), sampled.actions) == ()
    assert np.asarray(sampled.actions)[:, 1].max() == 1 and len(np.unique(sampled.actions)) == 5
    greedy = algorithm.act(params, (), shown, keys, jnp.uint32(0), True).actions
    logits = jnp.where(shown.avail, params(shown.obs), -jnp.inf)
    np.testing.assert_array_equal(greedy, logits.argmax(axis=-1))


def test_what_is_measured_of_advantages() -> None:
    """Sizes of all, and size and spread of each agent."""
    advantage = jnp.array([[1.0, -2.0], [3.0, 0.0], [-4.0, 2.0]])
    found = by_transitions.sizes_of(advantage)
    assert float(found["advantage_mean"]) == 0.0 and float(found["advantage_abs"]) == 2.0
    np.testing.assert_allclose(found["advantage_agent_abs"], [8 / 3, 4 / 3], rtol=1e-6)
    np.testing.assert_allclose(found["advantage_agent_std"], np.std(np.asarray(advantage), axis=0), rtol=1e-6)
