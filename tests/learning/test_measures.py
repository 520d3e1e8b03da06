"""What updates report, against plain loops over the real steps; on two devices the same."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import BOXED, LENGTHS, SPEC, random_episodes
from jax.sharding import Mesh, PartitionSpec
from reference import assert_trees_close, float64_fixture

from seca.learning.acting import Acting
from seca.learning.measures import (
    count_steps,
    mean_of_choices,
    mean_over_steps,
    measure_actor,
    measure_advantage,
    measure_critic,
    measure_tried,
    share_of,
)
from seca.learning.policy_gradient import ActorGradient
from seca.types import Episodes

_ = float64_fixture
STEPS = sum(LENGTHS)
BY_HAND = {"rtol": 1e-12, "atol": 1e-12}


@pytest.fixture(autouse=True)
def _double(float64: None) -> None:
    """Means are compared with sums in another sequence."""


def drawn(*shape: int, seed: int = 0) -> jax.Array:
    """Random numbers for every step, those of padding too."""
    return jnp.asarray(np.random.default_rng(seed).normal(size=(len(LENGTHS), SPEC.episode_limit, *shape)))


def real(values: Any) -> np.ndarray:
    """The values of the 35 real steps, one after the other."""
    return np.stack([np.asarray(values)[b, t] for b, length in enumerate(LENGTHS) for t in range(length)])


def on_two_devices(fn, *split: Any) -> Any:
    """`fn(axis, *shares)` with half of the episodes on each of two devices, whose lengths differ."""
    everywhere, runners = PartitionSpec(), PartitionSpec("runners")
    mapped = jax.shard_map(
        functools.partial(fn, "runners"),
        mesh=Mesh(jax.devices()[:2], ("runners",)),
        in_specs=(runners,) * len(split),
        out_specs=everywhere,
        check_vma=False,
    )
    return jax.jit(mapped)(*split)


def test_steps_are_counted() -> None:
    """As a number of the rewards' type, to divide by."""
    batch = random_episodes(garbage=3.0)
    found = count_steps(batch, None)
    assert float(found) == STEPS and found.dtype == batch.reward.dtype


@pytest.mark.parametrize("later", [(), (3,), (3, 2)])
def test_means_are_over_real_steps(later: tuple[int, ...]) -> None:
    """Later axes stay; NaN on padding does not count."""
    batch, values = random_episodes(), drawn(*later)
    mask = np.asarray(batch.valid).reshape(*batch.valid.shape, *(1,) * len(later))
    values = jnp.where(mask, values, jnp.nan)
    found = mean_over_steps(values, batch, None)
    assert found.shape == later
    np.testing.assert_allclose(found, real(values).sum(axis=0) / STEPS, **BY_HAND)


@pytest.mark.parametrize("later", [(), (3,)])
def test_scales_of_a_critic(later: tuple[int, ...]) -> None:
    batch, taken, targets = random_episodes(), drawn(*later, seed=1) + 2, 3 * drawn(*later, seed=2) - 1
    found = measure_critic(batch, taken, targets, jnp.asarray(1.5), jnp.asarray(7.0), None)
    q, y = real(taken), real(targets)
    expected = {
        "critic_loss": 1.5,
        "critic_gradient_norm": 7,
        "critic_mean": q.mean(),
        "critic_std": q.std(),
        "target_mean": y.mean(),
        "target_std": y.std(),
        "critic_explained": 1 - 1.5 / y.var(),
    }
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, err_msg=name, **BY_HAND)


def test_a_critic_of_constant_targets_explains_nothing_infinite() -> None:
    batch, ones = random_episodes(), jnp.ones((len(LENGTHS), SPEC.episode_limit))
    perfect = measure_critic(batch, ones, ones, jnp.asarray(0.0), jnp.asarray(0.0), None)
    assert float(perfect["critic_explained"]) == 1 and float(perfect["target_std"]) == 0
    wrong = measure_critic(batch, 2 * ones, ones, jnp.asarray(1.0), jnp.asarray(0.0), None)
    assert float(wrong["critic_explained"]) == pytest.approx(-1e12)


def acted(batch: Episodes) -> Acting:
    """Random policies in every row."""
    probs = np.random.default_rng(3).dirichlet(np.ones(SPEC.n_actions), size=(*batch.actions.shape,))
    return Acting(jnp.zeros((*batch.actions.shape, 2)), jnp.asarray(probs))


def test_how_decided_an_actor_is() -> None:
    """Its own numbers go through; the shares are over agents and real steps."""
    batch = random_episodes()
    gradient = {"a": jnp.asarray([3.0]), "b": jnp.asarray([0.0, 4.0])}
    slope = ActorGradient(gradient, *(jnp.asarray(x) for x in (0.5, 0.25, 0.125)))
    numbers = {name: float(getattr(slope, name)) for name in ("loss", "policy_part", "entropy")}
    acting = acted(batch)
    found = measure_actor(batch, acting, slope, None)
    taken, choices = [], []
    for b, length in enumerate(LENGTHS):
        for t in range(length):
            for i in range(SPEC.n_agents):
                taken.append(float(acting.probs[b, t, i, batch.actions[b, t, i]]))
                choices.append(int(batch.avail[b, t, i].sum()) > 1)
    expected = {
        "actor_loss": numbers["loss"],
        "actor_policy_loss": numbers["policy_part"],
        "actor_gradient_norm": 5,
        "entropy": numbers["entropy"],
        "probability_taken": np.mean(taken),
        "alive_share": np.mean(choices),
    }
    assert found.keys() == expected.keys() and 0 < expected["alive_share"] < 1
    for name, value in expected.items():
        np.testing.assert_allclose(found[name], value, err_msg=name, **BY_HAND)


def test_how_decided_gaussian_policies_are() -> None:
    """By their mean deviation; who does not act has no choice."""
    batch = random_episodes(spec=BOXED)
    probs = np.random.default_rng(3).random((*batch.actions.shape[:3], 4))
    slope = ActorGradient({"a": jnp.ones(1)}, *(jnp.asarray(x) for x in (0.5, 0.25, 0.125)))
    found = measure_actor(batch, Acting(jnp.zeros((*probs.shape[:3], 2)), jnp.asarray(probs)), slope, None)
    real = np.asarray(batch.valid)
    acts = np.asarray(batch.avail)[:, :-1][real].all(axis=-1)
    np.testing.assert_allclose(found["policy_std"], np.sqrt(probs[:, :-1][real][..., 2:])[acts].mean(), **BY_HAND)
    np.testing.assert_allclose(found["alive_share"], acts.mean(), **BY_HAND)
    assert "probability_taken" not in found


def test_sizes_of_advantages() -> None:
    batch, advantage = random_episodes(), drawn(SPEC.n_agents) * jnp.asarray([1.0, -5.0, 0.1])
    found, steps = measure_advantage(batch, advantage, None), real(advantage)
    np.testing.assert_allclose(found["advantage_mean"], steps.mean(), **BY_HAND)
    np.testing.assert_allclose(found["advantage_abs"], np.abs(steps).mean(), **BY_HAND)
    np.testing.assert_allclose(found["advantage_agent_abs"], np.abs(steps).mean(axis=0), **BY_HAND)


@pytest.mark.parametrize(("part", "whole", "share"), [(1.0, 4.0, 0.25), (0.0, 4.0, 0.0), (3.0, 0.0, 0.0)])
def test_a_share_of_nothing_is_nothing(part: float, whole: float, share: float) -> None:
    assert float(share_of(jnp.asarray(part), jnp.asarray(whole))) == share


def test_credits_that_were_tried() -> None:
    """Sizes where a credit is known, of both kinds of credit, of agents with a choice; nowhere known they are 0."""
    batch, credit, advantage = random_episodes(), drawn(3, seed=4), 2 * drawn(3, seed=5)
    known = batch.valid & (jnp.arange(SPEC.episode_limit) % 3 == 1)
    found, where = measure_tried(batch, advantage, credit, known, None), np.asarray(known)
    np.testing.assert_allclose(found["fork_share"], where.sum() / STEPS, **BY_HAND)
    where = where[..., None] & (np.asarray(batch.avail[:, :-1]).sum(axis=-1) > 1)
    assert 0 < where.sum() < np.asarray(known).sum() * SPEC.n_agents  # Some have none.
    np.testing.assert_allclose(found["fork_abs"], np.abs(np.asarray(credit)[where]).mean(), **BY_HAND)
    np.testing.assert_allclose(found["fork_critic_abs"], np.abs(np.asarray(advantage)[where]).mean(), **BY_HAND)
    nothing = measure_tried(batch, advantage, credit, jnp.zeros_like(known), None)
    assert {name: float(value) for name, value in nothing.items()} == dict.fromkeys(found, 0.0)


def test_means_leave_out_who_has_no_choice() -> None:
    """By plain loops; padding and agents without a choice may hold anything. Of nobody the mean is 0."""
    batch, values = random_episodes(garbage=3.0), drawn(3, seed=8)
    chosen = np.asarray(batch.avail[:, :-1]).sum(axis=-1) > 1
    told = [
        float(values[e, t, i])
        for e, length in enumerate(LENGTHS)
        for t in range(length)
        for i in range(SPEC.n_agents)
        if chosen[e, t, i]
    ]
    assert 0 < len(told) < STEPS * SPEC.n_agents
    np.testing.assert_allclose(mean_of_choices(values, batch, None), np.mean(told), **BY_HAND)
    other = jnp.where(jnp.asarray(chosen) & batch.valid[..., None], values, 1e6)
    np.testing.assert_allclose(mean_of_choices(other, batch, None), np.mean(told), **BY_HAND)
    assert float(mean_of_choices(values, batch, None, jnp.zeros_like(batch.valid))) == 0


def test_two_devices_report_what_one_does() -> None:
    batch, many, few = random_episodes(garbage=3.0), drawn(3, seed=6), drawn(seed=7)
    gradient = ActorGradient({"a": jnp.ones(4)}, *(jnp.asarray(x) for x in (0.5, 0.25, 0.125)))
    assert sum(LENGTHS[:4]) != sum(LENGTHS[4:])

    def everything(axis: str | None, batch: Episodes, many: jax.Array, few: jax.Array, acting: Acting) -> Any:
        one = jnp.asarray(1.0)
        return {
            "steps": count_steps(batch, axis),
            "critic": measure_critic(batch, few, few**2, one, one, axis),
            "actor": measure_actor(batch, acting, gradient, axis),
            "advantage": measure_advantage(batch, many, axis),
            "tried": measure_tried(batch, many, many**2, batch.valid & (few > 0), axis),
            "choices": mean_of_choices(many, batch, axis),
        }

    given = batch, many, few, acted(batch)
    assert_trees_close(on_two_devices(everything, *given), everything(None, *given), 1e-12)
