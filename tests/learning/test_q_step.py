"""Targets, losses and gradients of VDN and QMIX against PyMARL's and PyMARL2's."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import SPEC, in_float64, plain_outputs, random_episodes
from reference import (
    Numbers,
    actor,
    assert_close,
    assert_trees_close,
    episodes,
    float64_fixture,
    load,
    monotone_mixer,
)

from seca.algos.q_learning import QLearningConfig, init, regression
from seca.learning.acting import n_agent_inputs
from seca.learning.q_step import (
    Method,
    Mixers,
    Networks,
    Regressed,
    Returns,
    mixed_value,
    pass_over,
    regress,
    squared_error,
    valued,
)
from seca.nets.agents import RecurrentAgent
from seca.nets.mixers import SumMixer
from seca.policies import mode
from seca.presets import PRESETS

pytestmark = pytest.mark.slow

_ = float64_fixture
VARIANTS: dict[str, dict[str, Any]] = {
    "one_step": {"td_lambda": 0.0, "scale": 1.0},
    "td_lambda": {},
    "q_lambda": {"corrected": True},
}


def method_of(scale: float = 0.5) -> Method:
    return Method(mixed_value, functools.partial(squared_error, scale=scale))


@pytest.fixture
def numbers(golden_dir) -> Numbers:
    return load(golden_dir, "q_targets")


def networks(numbers: Numbers, mixer: str, prefix: str = "") -> Networks:
    main = SumMixer() if mixer == "vdn" else monotone_mixer(numbers, f"{prefix}mixer_")
    return Networks(actor(numbers, f"{prefix}agent_"), Mixers(main))


def regressed(numbers: Numbers, mixer: str, variant: str) -> Regressed:
    options: dict[str, Any] = {"td_lambda": float(numbers["td_lambda"]), "corrected": False, "scale": 0.5}
    options |= VARIANTS[variant]
    method = method_of(options.pop("scale"))
    returns = Returns(gamma=float(numbers["gamma"]), double_q=True, time_limit="bootstrap", **options)
    nets = networks(numbers, mixer), networks(numbers, mixer, "target_")
    step = jax.jit(lambda online, target, batch: regress(online, target, batch, method, returns, None))
    return step(*nets, episodes(numbers))


def check_gradient(found: Networks, numbers: Numbers, prefix: str, mixer: str) -> None:
    """Agent and mixer, layer by layer."""
    expected: dict[str, Any] = {"agent": actor(numbers, f"{prefix}_agent_")}
    ours: dict[str, Any] = {"agent": found.agent}
    if mixer == "qmix":
        expected["mixer"], ours["mixer"] = monotone_mixer(numbers, f"{prefix}_mixer_"), found.mixers.main
    for left, right in zip(jax.tree.leaves(ours), jax.tree.leaves(expected), strict=True):
        assert_close(left, right)


@pytest.mark.parametrize("mixer", ["qmix", "vdn"])
@pytest.mark.parametrize("variant", ["one_step", "td_lambda"])
def test_targets_loss_and_gradient(variant: str, mixer: str, numbers: Numbers, float64: None) -> None:
    found = regressed(numbers, mixer, variant)
    name, mask = f"{mixer}_{variant}", numbers["mask"] > 0
    assert_close(found.goal.y[..., 0], numbers[f"{name}_targets"], mask)
    assert_close(found.taken[..., 0], numbers[f"{name}_chosen_qtot"], mask)
    assert_close(found.loss, numbers[f"{name}_loss"])
    check_gradient(found.gradient, numbers, f"{name}_gradient", mixer)
    if variant == "td_lambda":
        assert_close(found.goal.best[..., 0], numbers[f"{name}_target_max_qtot"][:, :-1], mask)


@pytest.mark.parametrize("mixer", ["qmix", "vdn"])
def test_corrected_targets(mixer: str, numbers: Numbers, float64: None) -> None:
    """By the definition of Q*(lambda); PyMARL2's own add the correction of the step itself once too often."""
    found, mask = regressed(numbers, mixer, "q_lambda"), numbers["mask"] > 0
    name = f"{mixer}_q_lambda"
    assert_close(found.goal.y[..., 0], numbers[f"{name}_targets_by_definition"], mask)
    extra = (numbers[f"{name}_target_max_qtot"] - numbers[f"{name}_target_taken_qtot"])[:, :-1]
    assert_close(found.goal.y[..., 0] + extra, numbers[f"{name}_targets"], mask)


def test_utilities(numbers: Numbers, float64: None) -> None:
    filled = numbers["filled"] > 0
    for prefix, name in (("", "agent_qs_online"), ("target_", "agent_qs_target")):
        passed = pass_over(networks(numbers, "vdn", prefix), episodes(numbers), method_of())
        assert_close(jnp.asarray(passed.agent.outputs), numbers[name], filled)


@pytest.mark.parametrize("mixer", ["iql", "vdn", "qmix", "ow-qmix", "qtran"])
def test_values_and_td_errors_are_those_of_the_regression(mixer: str, float64: None) -> None:
    """Of the greedy joint action in first steps, where it changes no output, and of the taken ones in all."""
    config = PRESETS[mixer].config
    assert isinstance(config, QLearningConfig)
    online, target = (
        in_float64(init(jax.random.key(seed), SPEC, dataclasses.replace(config, agent_hidden=8)).networks.params)
        for seed in (0, 1)
    )
    method, returns = regression(config)
    batch = random_episodes(garbage=5.0)
    found = jax.jit(lambda batch: regress(online, target, batch, method, returns, None))
    said = jax.jit(lambda batch: valued(online, target, batch, method, returns))(batch)
    plain, mask = found(batch), np.asarray(batch.valid)
    error = np.asarray(plain.goal.y - plain.taken).mean(axis=-1)
    np.testing.assert_allclose(said.error, np.where(mask, error, 0), atol=1e-10)
    q = plain_outputs(online.agent, batch)[:, :-1]
    np.testing.assert_allclose(np.asarray(said.utilities)[mask], np.asarray(q)[mask], atol=1e-10)
    best = mode(q, batch.avail[:, :-1])
    first = found(dataclasses.replace(batch, actions=batch.actions.at[:, 0].set(best[:, 0]))).taken.mean(axis=-1)
    np.testing.assert_allclose(said.greedy[:, 0], first[:, 0], atol=1e-10)
    if mixer in ("iql", "vdn"):
        most = np.where(batch.avail[:, :-1], q, -np.inf).max(axis=-1)
        together = most.sum(axis=-1) if mixer == "vdn" else most.mean(axis=-1)
        np.testing.assert_allclose(np.asarray(said.greedy)[mask], together[mask], atol=1e-10)


def test_target_network_may_choose_for_itself(float64: None) -> None:
    """Without double Q the targets are the target network's own maxima: where both agree, nothing changes."""

    def random_networks(seed: int) -> Networks:
        agent = RecurrentAgent.init(jax.random.key(seed), n_agent_inputs(SPEC), 8, SPEC.n_actions)
        return Networks(jax.tree.map(lambda x: 2 * x, in_float64(agent)), Mixers(SumMixer()))

    def step(double_q: bool):
        returns = Returns(0.99, 0.6, corrected=False, double_q=double_q, time_limit="bootstrap")
        return jax.jit(lambda online, target, batch: regress(online, target, batch, method_of(), returns, None))

    steps = [step(flag) for flag in (False, True)]
    online, target = random_networks(0), random_networks(1)
    same = [step(target, target, random_episodes()).goal.y for step in steps]
    assert_trees_close(same[0], same[1], 1e-12)
    goals = [np.asarray(step(online, target, random_episodes()).goal.best) for step in steps]
    mask = np.asarray(random_episodes().valid)
    assert (goals[0] >= goals[1] - 1e-12)[mask].all() and (goals[0] > goals[1])[mask].any()
