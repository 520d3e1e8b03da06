"""Presets with published numbers: every number that the source has, and that each of them builds."""

import dataclasses
from typing import Any

import pytest

from seca.algos.seca import named
from seca.envs.registry import make
from seca.policies import FloorConfig
from seca.presets import PRESETS, build, compared, reference_of
from seca.types import EnvSpec

PYMARL2 = {
    "optimiser": "adam", "lr": 1e-3, "td_lambda": 0.6, "loss_scale": 0.5, "batch_episodes": 128, "double_q": True,
    "buffer_episodes": 5000, "epsilon_start": 1.0, "epsilon_finish": 0.05, "epsilon_steps": 100_000,
    "target_interval": 200, "clip_norm": 10.0, "agent_hidden": 64,
}  # fmt: skip
"""Facts 8.0, 8 and 9."""
ONE_STEP = {"lr": 5e-4, "td_lambda": 0.0}
FLOORED = {"actor_hidden": 64, "clip_norm": 10.0, "td_lambda": 0.8}
PPO = {
    "actor_lr": 5e-4, "critic_lr": 5e-4, "gae_lambda": 0.95, "clip": 0.2, "epochs": 15, "entropy_coef": 0.01,
    "huber_delta": 10.0, "clip_norm": 10.0, "stretch": 10, "actor_hidden": 64, "critic_hidden": 64,
}  # fmt: skip
RIIT = {
    "actor_lr": 1e-3, "critic_lr": 1e-3, "td_lambda": 0.6, "entropy_coef": 0.03, "latest_episodes": 32,
    "clip_norm": 10.0, "critic_hidden": 128, "embed": 32,
}  # fmt: skip

SECA = {
    "actor_lr": 2.5e-3, "critic_lr": 5e-4, "td_lambda": 0.8, "entropy_coef": 0.005, "target_interval": 200,
    "critic_epochs": 1, "actor_epochs": 1, "td_correction": 0.0, "critic_embed": 64, "critic_width": None,
    "clip_norm": 10.0,
}  # fmt: skip

# Preset, runners, options, section of our notes on the public references (facts/algorithms.md).
EXPECTED: list[tuple[str, int, dict[str, Any], str]] = [
    ("seca", 32, {**SECA, "credit": "swept", "order": "gradients", "path.points": 5, "path.stage": None}, "1, 1e"),
    ("seca-fixed", 32, {**SECA, "order": "fixed"}, "1, 1e"),
    ("seca-random", 32, {**SECA, "order": "random"}, "1, 1e"),
    ("seca-prob", 32, {**SECA, "order": "probability"}, "1, 1e"),
    ("seca-entropy", 32, {**SECA, "order": "entropy"}, "1, 1e"),
    ("seca-ig-1", 32, {**SECA, "path.stage": 1}, "1, 1e"),
    ("seca-ig-10", 32, {**SECA, "path.stage": 10}, "1, 1e"),
    ("seca-ig-20", 32, {**SECA, "path.stage": 20}, "1, 1e"),
    ("seca-uncorrected", 32, SECA, "1, 1e"),
    ("coma-newarchi", 32, {**SECA, "credit": "counterfactual"}, "3"),
    ("coma", 8, {
        **FLOORED, "actor_lr": 5e-4, "critic_lr": 5e-4, "floor": FloorConfig(0.5, 0.01, 100_000, masked=False),
        "target_interval": 200, "critic_hidden": 128,
    }, "2 (d), (e)"),
    ("lica", 32, {
        "actor_lr": 2.5e-3, "critic_lr": 5e-4, "td_lambda": 0.8, "entropy_coef": 0.06, "target_interval": 200,
        "critic_epochs": 1, "critic_embed": 64, "critic_width": None, "clip_norm": 10.0,
    }, "4 (b), (d), (e)"),
    ("vmix", 8, {
        **FLOORED, "mixing": "monotone", "lr": 1e-3, "entropy_coef": 0.01, "value_coef": 0.1, "embed": 32,
        "floor": FloorConfig(0.5, 0.0, 100_000, masked=True),
    }, "14, PyMARL2"),
    ("vdac", 8, {
        **FLOORED, "mixing": "sum", "lr": 5e-4, "entropy_coef": 0.0, "value_coef": 0.1,
        "floor": FloorConfig(0.5, 0.01, 100_000, masked=False),
    }, "14, VDACs"),
    ("ia2c", 10, {
        "actor_lr": 5e-4, "critic_lr": 5e-4, "n_step": 5, "entropy_coef": 0.001, "target_share": 0.01,
        "standardise_rewards": True, "actor_hidden": 128, "critic_hidden": 128,
    }, "17"),
    ("mappo", 8, {**PPO, "value_of": "agent"}, "17b"),
    ("ippo", 8, {**PPO, "value_of": "observation"}, "17b"),
    ("riit", 8, {
        **RIIT, "off_policy": True, "batch_episodes": 64, "start_episodes": 128, "buffer_episodes": 5000,
        "target_interval": 200,
    }, "7 (d), (e)"),
    ("riit-online", 8, {**RIIT, "off_policy": False, "target_interval": 1}, "7 (d), (e)"),
    ("scc", 1, {
        "actor_lr": 5e-4, "critic_lr": 5e-4, "sampler": "sizes", "credit_samples": 3, "epsilon_start": 1.0,
        "epsilon_finish": 0.0, "epsilon_steps": 50_000, "batch_episodes": 32, "buffer_episodes": 1000,
        "target_interval": 200, "clip_norm": 5.0, "actor_hidden": 64, "critic_hidden": 128,
    }, "5 (a), (d), (e)"),
    ("iql", 8, {**PYMARL2, **ONE_STEP, "batch_episodes": 32, "loss_scale": 1.0}, "16"),
    ("vdn", 8, PYMARL2, "8"),
    ("qmix", 8, {**PYMARL2, "mixing.embed": 32, "mixing.width": 64}, "9"),
    ("cw-qmix", 8, {**PYMARL2, "mixing.weighting": "central", "mixing.alpha": 0.1, "mixing.central_width": 256}, "10"),
    ("ow-qmix", 8, {**PYMARL2, "mixing.weighting": "optimistic", "mixing.alpha": 0.1}, "10"),
    ("qtran", 8, {**PYMARL2, **ONE_STEP, "mixing.optimum_weight": 1.0, "mixing.bound_weight": 0.1}, "11"),
    ("qplex", 8, {**PYMARL2, "mixing.kernels": 4, "mixing.depth": 2}, "12"),
    ("qatten", 8, {**PYMARL2, "mixing.heads": 4, "mixing.key_size": 32}, "13"),
]  # fmt: skip


TOYS = {"critic_epochs": 10, "target_interval": 200, "target_share": 0.1, "clip": 1.0, "init_std": 0.1,
        "time_limit": "bootstrap"}  # fmt: skip
COMA_MPE = {**TOYS, "batch": 100, "critic_lr": 1e-4, "order": "index"}
HUNT = {"actor_lr": 1e-3, "gamma": 0.99, "entropy_coef": 1e-3, "hidden": 128, "shared": False}
NAVIGATION = {"actor_lr": 1e-2, "gamma": 0.9, "entropy_coef": 1e-2, "hidden": 32, "shared": True}
APART = {**NAVIGATION, "shared": False}
SQDDPG = {**TOYS, "interval": 100, "kept": 10_000}
IAC_MPE = {**TOYS, "batch": 100, "critic_lr": 1e-4, "advantage": "centred"}
PARTICLES: dict[str, dict[str, Any]] = {
    "coma-mpe": {**COMA_MPE, **HUNT, "advantage": "counterfactual"},
    "seca-mpe": {**COMA_MPE, **HUNT, "advantage": "sequential"},
    "coma-mpe-navigation": {**COMA_MPE, **NAVIGATION, "advantage": "counterfactual"},
    "seca-mpe-navigation": {**COMA_MPE, **NAVIGATION, "advantage": "sequential"},
    "sqddpg": {**SQDDPG, **HUNT, "actor_lr": 1e-4, "critic_lr": 5e-4, "batch": 128, "orders": 1},
    "sqddpg-navigation": {**SQDDPG, **APART, "actor_lr": 1e-4, "critic_lr": 1e-3, "batch": 32, "orders": 5},
    "iac-mpe": {**IAC_MPE, **HUNT},
    # Its source has 1e-6 and 1e-5 here, with which nothing is learned: those of the other toy instead.
    "iac-mpe-navigation": {**IAC_MPE, **APART, "actor_lr": 1e-3},
}
"""Sections 6, 17 and 19: presets of the toys, which have numbers of their source alone; every option of them."""


@pytest.mark.parametrize("name", list(PARTICLES))
def test_toys_have_their_sources_numbers(name: str) -> None:
    config = PRESETS[name].config
    assert dataclasses.asdict(config) == PARTICLES[name]
    toy = make("mpe/cooperative-navigation" if name.endswith("-navigation") else "mpe/predator-prey").spec
    built = build(name, toy, config)
    assert built.name == name and 2**18 < built.memory(1) < 2**28


@pytest.fixture(scope="module")
def battle() -> EnvSpec:
    return make("smac/2s3z").spec


def test_all_methods_that_somebody_published_have_a_reference() -> None:
    """Of three variants of SeCA there is none; without its correction, `seca` as published is `seca-paper` again."""
    having = {name: found for name in PRESETS if compared(name) and (found := reference_of(name))}
    assert [name for name in PRESETS if compared(name) and name not in having] == [
        "seca-fork",
        "indadv",
        "seca-shapley",
    ]
    assert sorted(having) == sorted(name for name, *_ in EXPECTED)
    assert {name for name in PRESETS if not compared(name)} == set(having.values()) | PARTICLES.keys()
    assert having["seca"] == having["seca-uncorrected"] == "seca-paper"
    assert not any(reference_of(name) for name in PRESETS if not compared(name))


def test_names_say_whose_numbers_they_are() -> None:
    """`-paper` is SeCA's, with its release's evaluations; the others have their runners of their own references."""
    for name, preset in PRESETS.items():
        if name in PARTICLES:
            assert (preset.runners, preset.eval_interval) == (1, 20_000)
            continue
        base = PRESETS.get(name.removesuffix("-reference").removesuffix("-paper"))
        assert base is not None and (preset.make, preset.group) == (base.make, base.group)
        assert preset.eval_interval == (320_000 if name.endswith("-paper") else 100_000)
        assert name.endswith("-paper") <= (preset.make is named)
        assert preset.runners == 32 or name.endswith("-reference")


@pytest.mark.parametrize(("name", "runners", "options", "section"), EXPECTED, ids=[row[0] for row in EXPECTED])
def test_references_have_their_sources_numbers(
    name: str, runners: int, options: dict[str, Any], section: str, battle: EnvSpec
) -> None:
    preset = reference_of(name)
    assert preset is not None
    config, found_runners = PRESETS[preset].config, PRESETS[preset].runners
    found: dict[str, Any] = {}
    for option in ("gamma", "time_limit", *options):
        value: Any = config
        for part in option.split("."):
            value = getattr(value, part)
        found[option] = value
    assert found == {"gamma": 0.99, "time_limit": "terminal"} | options, f"section {section}"
    assert found_runners == runners, f"section {section}"
    built = build(preset, battle, config)
    assert built.name == preset and 2**20 < built.memory(runners) < 2**33
