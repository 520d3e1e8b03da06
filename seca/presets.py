"""Named training settings: `seca` and everything that differs from it in one way."""

import dataclasses
from collections.abc import Callable
from typing import Any

from seca import numerics
from seca.algos import seca
from seca.algos.base import Algorithm
from seca.algos.coma import ComaConfig, coma
from seca.algos.ia2c import Ia2cConfig, ia2c
from seca.algos.lica import LicaConfig, lica
from seca.algos.mappo import MappoConfig, mappo
from seca.algos.mixing import (
    AttentionMixing,
    DuplexMixing,
    Mixing,
    MonotoneMixing,
    NoMixing,
    SumMixing,
    TransformedMixing,
    WeightedMixing,
)
from seca.algos.q_learning import QLearningConfig, q_learning
from seca.algos.riit import RiitConfig, riit
from seca.algos.scc import SccConfig, scc
from seca.algos.seca import SecaConfig
from seca.algos.vdac import VdacConfig, vdac
from seca.order.base import GradientOrder
from seca.policies import FloorConfig
from seca.types import EnvSpec

AlgorithmConfig = (
    SecaConfig
    | LicaConfig
    | RiitConfig
    | ComaConfig
    | VdacConfig
    | Ia2cConfig
    | MappoConfig
    | SccConfig
    | QLearningConfig
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """A named setting of an algorithm: in the paper's comparison, and as its own reference tunes it."""

    summary: str
    """One line for `seca algos`."""
    paper: str
    """Where it comes from."""
    config: AlgorithmConfig
    """Defaults of every option in the paper's comparison; `build` turns it into the record of functions."""
    kind: str = "explicit credit"
    """Family, for `seca algos`."""
    make: Callable[[str, EnvSpec, Any], Algorithm] = seca.named
    """Builds the record of functions from name, env and options."""
    eval_interval: int = 100_000
    """Env steps between evaluations where the setting prescribes one."""
    runners: int = 32
    """Environments side by side, and episodes per update."""
    reference: "Setting | None" = None
    """The tuned setting of the method's own reference, where that differs: `--setting reference`."""


@dataclasses.dataclass(frozen=True)
class Setting:
    """What `--setting reference` changes."""

    config: AlgorithmConfig
    runners: int


def settings(name: str, setting: str) -> tuple[AlgorithmConfig, int]:
    """Options of the algorithm and number of runners of a preset in one of its settings.

    Raises:
        ValueError: the preset has no setting of its own reference.
    """
    preset = PRESETS[name]
    if setting == "paper":
        return preset.config, preset.runners
    if preset.reference is None:
        having = ", ".join(other for other, known in PRESETS.items() if known.reference is not None) or "no preset"
        raise ValueError(f"`setting` reference exists for {having}; '{name}' has only paper")
    return preset.reference.config, preset.reference.runners


@numerics.own()
def build(name: str, spec: EnvSpec, config: AlgorithmConfig) -> Algorithm:
    """The algorithm of a preset, for one environment. Raises ValueError when the two do not fit."""
    return PRESETS[name].make(name, spec, config)


_SECA = "Zang et al. 2023 (AAMAS)"
_published = SecaConfig()
# As published, 32 episodes move the actor once and its critic once, with a target up to 200 batches old: a step for
# 1,500 env steps, which suits 65M of them. Ours learns within 2M. The entropy term keeps its size when advantages
# shrink: at the published 0.005 it outgrows them, and what was learned is lost. So it may be where nothing cancels the
# critic's errors, which are larger than the advantages too. docs/results.md has the curves of all.
_seca = dataclasses.replace(
    _published,
    actor_lr=5e-4,
    actor_epochs=4,
    critic_lr=2e-3,
    critic_epochs=2,
    target_interval=20,
    entropy_coef=0.001,
    td_correction=1.0,
)


# The authors' release: its critic, and the time limit as an end.
_released = dataclasses.replace(_published, critic_width=None, time_limit="terminal")


def _variant(summary: str, paper: str = _SECA, **changes: Any) -> Preset:
    """`seca` but for one option; what the paper itself runs has the numbers of its release for a reference."""
    reference = Setting(dataclasses.replace(_released, **changes), 32) if paper == _SECA else None
    return Preset(summary, paper, dataclasses.replace(_seca, **changes), reference=reference)


def _value_based(summary: str, paper: str, mixing: Mixing, batch: int = 128, **changes: Any) -> Preset:
    """PyMARL2's numbers; in the paper's comparison with 32 runners and 32 replayed episodes, else 8 and `batch`."""
    config = dataclasses.replace(QLearningConfig(mixing), **changes)
    reference = Setting(dataclasses.replace(config, batch_episodes=batch, time_limit="terminal"), 8)
    return Preset(summary, paper, config, kind="value-based", make=q_learning, reference=reference)


_ONE_STEP: dict[str, Any] = {"lr": 5e-4, "td_lambda": 0.0}


PRESETS: dict[str, Preset] = {
    "seca": _variant("Sequential advantage and the critic's TD error, order by integrated gradients per episode"),
    "seca-paper": Preset(
        "SeCA as published: wide critic, the authors' learning rates, time limit as an end",
        _SECA,
        _released,
        eval_interval=320_000,
    ),
    "seca-fixed": _variant("SeCA with one random order for the whole run", order="fixed"),
    "seca-random": _variant("SeCA with a random order per episode", order="random"),
    "seca-prob": _variant("SeCA, agents sure of their action first, per step", order="probability"),
    "seca-entropy": _variant("SeCA, agents of low policy entropy first, per step", order="entropy"),
    "seca-ig-1": _variant("SeCA with the order made anew each step", path=GradientOrder(stage=1)),
    "seca-ig-10": _variant("SeCA with the order made anew each 10 steps", path=GradientOrder(stage=10)),
    "seca-ig-20": _variant("SeCA with the order made anew each 20 steps", path=GradientOrder(stage=20)),
    "coma-newarchi": _variant("COMA's counterfactual advantage (Eq. 3) on SeCA's critic", credit="counterfactual"),
    "indadv": _variant(
        "Independent advantage (Eq. 4) on SeCA's critic", "Eq. 4 of the paper; not run there", credit="independent"
    ),
    "seca-shapley": _variant(
        "Mean of the sequential advantage over random orders: Shapley values on SeCA's critic",
        "Shapley 1953; not in the paper",
        credit="shapley",
    ),
    "seca-uncorrected": _variant(
        "SeCA without the critic's TD error: the published advantage alone", td_correction=0.0
    ),
    "coma": Preset(
        "COMA with its own critic, stepped once for each time step",
        "Foerster et al. 2018 (AAAI)",
        ComaConfig(),
        make=coma,
        reference=Setting(ComaConfig(time_limit="terminal"), 8),
    ),
    "lica": Preset(
        "LICA: the actor climbs the mixing critic's value of its own policies",
        "Zhou et al. 2020 (NeurIPS)",
        LicaConfig(),
        kind="implicit credit",
        make=lica,
        reference=Setting(LicaConfig(critic_width=None, time_limit="terminal"), 32),
    ),
    "vmix": Preset(
        "VDAC with QMIX's network: the team value is monotone in the agents' values",
        "Su et al. 2021 (AAAI)",
        VdacConfig(),
        kind="implicit credit",
        make=vdac,
        reference=Setting(
            VdacConfig(lr=1e-3, entropy_coef=0.01, floor=FloorConfig(finish=0.0, masked=True), time_limit="terminal"),
            8,
        ),
    ),
    "vdac": Preset(
        "VDAC-sum: the team value is the sum of the agents' values",
        "Su et al. 2021 (AAAI)",
        VdacConfig(mixing="sum"),
        kind="implicit credit",
        make=vdac,
        reference=Setting(VdacConfig(mixing="sum", time_limit="terminal"), 8),
    ),
    "ia2c": Preset(
        "Independent advantage actor-critics, rewarded as the team is",
        "Papoudakis et al. 2021 (EPyMARL)",
        Ia2cConfig(),
        kind="no credit",
        make=ia2c,
        reference=Setting(Ia2cConfig(standardise_rewards=True, actor_hidden=128, time_limit="terminal"), 10),
    ),
    "mappo": Preset(
        "PPO with a central value of the state",
        "Yu et al. 2022 (NeurIPS)",
        MappoConfig(),
        kind="no credit",
        make=mappo,
        reference=Setting(MappoConfig(value_of="agent", epochs=15, time_limit="terminal"), 8),
    ),
    "ippo": Preset(
        "PPO with a value of each agent's own observation",
        "de Witt et al. 2020; Yu et al. 2022 (NeurIPS)",
        MappoConfig(value_of="observation"),
        kind="no credit",
        make=mappo,
        reference=Setting(MappoConfig(value_of="observation", epochs=15, time_limit="terminal"), 8),
    ),
    "riit": Preset(
        "The actor climbs a critic monotone in the agents' own values, on new and replayed episodes",
        "Hu et al. 2021 (arXiv 2102.03479)",
        RiitConfig(),
        kind="implicit credit",
        make=riit,
        reference=Setting(RiitConfig(batch_episodes=64, latest_episodes=32, time_limit="terminal"), 8),
    ),
    "riit-online": Preset(
        "RIIT without replay",
        "Hu et al. 2021 (arXiv 2102.03479)",
        RiitConfig(off_policy=False, target_interval=1),
        kind="implicit credit",
        make=riit,
        reference=Setting(
            RiitConfig(off_policy=False, latest_episodes=32, target_interval=1, time_limit="terminal"), 8
        ),
    ),
    "scc": Preset(
        "Q-networks regressed to their Shapley shares of a joint value",
        "Li et al. 2021 (KDD)",
        SccConfig(),
        make=scc,
        reference=Setting(
            SccConfig(sampler="sizes", epsilon_finish=0.0, epsilon_steps=50_000, time_limit="terminal"), 1
        ),
    ),
    "iql": _value_based(
        "Independent Q-learning: every agent alone",
        "Tan 1993; Tampuu et al. 2017",
        NoMixing(),
        32,
        loss_scale=1.0,
        **_ONE_STEP,
    ),
    "vdn": _value_based("The joint value is the sum of the utilities", "Sunehag et al. 2018 (AAMAS)", SumMixing()),
    "qmix": _value_based("The joint value is monotone in the utilities", "Rashid et al. 2018 (ICML)", MonotoneMixing()),
    "cw-qmix": _value_based(
        "QMIX, weighted towards joint actions that may be best by a free central value",
        "Rashid et al. 2020 (NeurIPS)",
        WeightedMixing("central"),
    ),
    "ow-qmix": _value_based(
        "QMIX, weighted towards joint actions that it underestimates",
        "Rashid et al. 2020 (NeurIPS)",
        WeightedMixing("optimistic"),
    ),
    "qtran": _value_based(
        "A free joint value, and utilities tied to it", "Son et al. 2019 (ICML)", TransformedMixing(), **_ONE_STEP
    ),
    "qplex": _value_based(
        "Duplex duelling: all joint values of which agents' greedy actions are best",
        "Wang et al. 2021 (ICLR)",
        DuplexMixing(),
    ),
    "qatten": _value_based("Utilities weighed by attention to each agent", "Yang et al. 2020", AttentionMixing()),
}
