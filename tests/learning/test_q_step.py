"""Targets, losses and gradients of VDN and QMIX against PyMARL's and PyMARL2's."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import pytest
from reference import Numbers, actor, assert_close, episodes, float64_fixture, load, monotone_mixer
from seca.algos.value_config import MonotoneMixing, SumMixing, ValueBasedConfig
from seca.algos.value_step import Mixers, Networks, Regressed, method_of, pass_over, regress

from seca.nets.mixers import SumMixer

pytestmark = [pytest.mark.usefixtures("quick_programs"), pytest.mark.slow]

_ = float64_fixture
VARIANTS: dict[str, dict[str, Any]] = {
    "one_step": {"td_lambda": 0.0, "loss_scale": 1.0},
    "td_lambda": {},
    "q_lambda": {"traces": "corrected"},
}


@pytest.fixture
def numbers(golden_dir) -> Numbers:
    return load(golden_dir, "q_targets")


def networks(numbers: Numbers, mixer: str, prefix: str = "") -> Networks:
    main = SumMixer() if mixer == "vdn" else monotone_mixer(numbers, f"{prefix}mixer_")
    return Networks(actor(numbers, f"{prefix}agent_"), Mixers(main))


def regressed(numbers: Numbers, mixer: str, variant: str) -> Regressed:
    config = ValueBasedConfig(
        mixing=SumMixing() if mixer == "vdn" else MonotoneMixing(),
        gamma=float(numbers["gamma"]),
        td_lambda=float(numbers["td_lambda"]),
    )
    config = dataclasses.replace(config, **VARIANTS[variant])
    nets = networks(numbers, mixer), networks(numbers, mixer, "target_")
    return jax.jit(lambda online, target, batch: regress(online, target, batch, config, None))(*nets, episodes(numbers))


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
    config, filled = ValueBasedConfig(mixing=SumMixing()), numbers["filled"] > 0
    for prefix, name in (("", "agent_qs_online"), ("target_", "agent_qs_target")):
        passed = pass_over(networks(numbers, "vdn", prefix), episodes(numbers), method_of(config))
        assert_close(jnp.asarray(passed.agent.outputs), numbers[name], filled)
