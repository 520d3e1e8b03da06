"""Advantages by critics that are told actions or policies: against plain loops, and what each reduces to."""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from particles import CONFIG, OBS, SPEC, A, N, plain_q

from seca.algos import coma_mpe
from seca.learning import told_critics


@pytest.fixture(scope="module")
def step() -> dict[str, Any]:
    """A few rows of everything that an advantage reads."""
    learner = coma_mpe.init(jax.random.key(3), SPEC, CONFIG)
    random = np.random.default_rng(0)
    probs = random.dirichlet(np.ones(A), (5, N)).astype(np.float32)
    obs, actions = random.normal(size=(5, N, OBS)).astype(np.float32), random.integers(0, A, (5, N))
    return {
        "critics": learner.critics.params,
        "obs": jnp.asarray(obs),
        "probs": jnp.asarray(probs),
        "actions": jnp.asarray(actions, jnp.int32),
        "order": jnp.array([2, 0, 1], jnp.int32),
    }


@pytest.mark.parametrize("kind", list(told_critics.KIND))
def test_advantages_are_those_of_plain_loops(step: dict[str, Any], kind: told_critics.Advantage) -> None:
    found = told_critics.advantages(**step, kind=kind)
    obs, probs, actions = (np.asarray(step[name]) for name in ("obs", "probs", "actions"))
    place = {int(agent): position for position, agent in enumerate(step["order"])}
    onehot = np.eye(A)
    for row, agent in itertools.product(range(len(obs)), range(N)):
        others = [j for j in range(N) if j != agent]
        before = {
            "counterfactual": others,
            "independent": [],
        }.get(kind, [j for j in others if place[j] < place[agent]])
        later = [j for j in others if j not in before]
        known = {j: onehot[actions[row, j]] for j in before}
        if kind == "exact":
            q = np.zeros(A)
            for drawn in itertools.product(range(A), repeat=len(later)):
                chance = np.prod([probs[row, j, a] for j, a in zip(later, drawn, strict=True)])
                told = known | {j: onehot[a] for j, a in zip(later, drawn, strict=True)}
                q += chance * plain_q(step["critics"], obs[row], agent, told)
        else:
            q = plain_q(step["critics"], obs[row], agent, known | {j: probs[row, j] for j in later})
        expected = q[actions[row, agent]] - probs[row, agent] @ q
        assert float(found[row, agent]) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("kind", list(told_critics.KIND))
def test_nothing_in_the_mean_over_the_own_policy(step: dict[str, Any], kind: told_critics.Advantage) -> None:
    """sum_a pi_i(a) A_i(a) = 0, exactly, where the others' actions stay."""
    for agent in range(N):
        each = [
            told_critics.advantages(**step | {"actions": step["actions"].at[:, agent].set(action)}, kind=kind)[:, agent]
            for action in range(A)
        ]
        mean = (np.stack(each, axis=-1) * np.asarray(step["probs"])[:, agent]).sum(axis=-1)
        np.testing.assert_allclose(mean, 0, atol=1e-5)


def test_the_last_agent_is_judged_by_all_actions(step: dict[str, Any]) -> None:
    """Nobody comes later: sequential, exact and counterfactual are one; for the first, sequential is independent."""
    by_kind = {kind: np.asarray(told_critics.advantages(**step, kind=kind)) for kind in told_critics.KIND}
    last, first = 1, 2
    for kind in ("sequential", "exact"):
        np.testing.assert_allclose(by_kind[kind][:, last], by_kind["counterfactual"][:, last], atol=1e-5)
    np.testing.assert_allclose(by_kind["sequential"][:, first], by_kind["independent"][:, first], atol=1e-5)
    assert np.abs(by_kind["sequential"] - by_kind["counterfactual"]).max() > 1e-2
    assert np.abs(by_kind["sequential"] - by_kind["exact"])[:, first].max() > 1e-3  # The critic is not linear.


def test_with_decided_policies_all_are_alike(step: dict[str, Any]) -> None:
    """Where later agents have no choice, their policy is their action."""
    decided = step | {"probs": jax.nn.one_hot(step["actions"], A)}
    for kind in ("sequential", "exact", "independent"):
        expected = told_critics.advantages(**decided, kind="counterfactual")
        np.testing.assert_allclose(told_critics.advantages(**decided, kind=kind), expected, atol=1e-5)


def test_alone_there_is_nobody_to_wait_for(step: dict[str, Any]) -> None:
    spec = dataclasses.replace(SPEC, n_agents=1)
    critics = coma_mpe.init(jax.random.key(3), spec, CONFIG).critics.params
    own = {name: step[name][:, :1] for name in ("obs", "probs", "actions")}
    found = [
        told_critics.advantages(critics, **own, order=jnp.zeros(1, jnp.int32), kind=kind) for kind in told_critics.KIND
    ]
    for other in found[1:]:
        np.testing.assert_allclose(other, found[0], atol=1e-6)
    assert np.abs(found[0]).max() > 0
