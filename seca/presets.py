"""Presets: one name, one configuration.

    NAME              a method in the setting of the paper's comparison: 32 runners, one update for 32 whole episodes
    NAME-paper        SeCA or an ablation of it with the numbers of the SeCA paper's release
    NAME-reference    another method with the numbers, and runners, of its own reference code

`seca` itself and its ablations are tuned by us; all others have their authors' step sizes in both forms.
"""

import dataclasses
from collections.abc import Callable
from typing import Any, Literal

from seca import numerics
from seca.algos import seca
from seca.algos.adapted import normalised
from seca.algos.base import Algorithm
from seca.algos.coma import ComaConfig, coma
from seca.algos.coma_mpe import ComaMpeConfig, coma_mpe
from seca.algos.ia2c import Ia2cConfig, ia2c
from seca.algos.iac_mpe import IacMpeConfig, iac_mpe
from seca.algos.lica import LicaConfig, lica
from seca.algos.mappo import MappoConfig, mappo
from seca.algos.mixing import (
    AttentionMixing,
    DuplexMixing,
    MonotoneMixing,
    NamedMixing,
    NoMixing,
    SumMixing,
    TransformedMixing,
    WeightedMixing,
)
from seca.algos.q_learning import QLearningConfig, q_learning
from seca.algos.riit import RiitConfig, riit
from seca.algos.scc import SccConfig, scc
from seca.algos.seca import SecaConfig
from seca.algos.seca_fork import SecaForkConfig, seca_fork
from seca.algos.sqddpg import SqddpgConfig, sqddpg
from seca.algos.the_dead import with_the_dead
from seca.algos.vdac import VdacConfig, vdac
from seca.envs.base import unit_box
from seca.learning.by_transitions import TransitionOptions
from seca.learning.options import UNADAPTED, Adaptation, Dead, Share
from seca.order.base import GradientOrder
from seca.policies import FloorConfig
from seca.types import EnvSpec

AlgorithmConfig = (
    SecaConfig
    | SecaForkConfig
    | LicaConfig
    | RiitConfig
    | ComaConfig
    | ComaMpeConfig
    | SqddpgConfig
    | IacMpeConfig
    | VdacConfig
    | Ia2cConfig
    | MappoConfig
    | SccConfig
    | QLearningConfig
)


@dataclasses.dataclass(frozen=True)
class Preset:
    """All that a name stands for."""

    summary: str
    """One line for `seca algos`."""
    paper: str
    """Where it comes from."""
    group: Literal["explicit credit", "implicit credit", "value-based", "no credit"]
    """What it stands under in `seca algos`."""
    config: AlgorithmConfig
    """Every option of the algorithm, until another is given."""
    make: Callable[[str, EnvSpec, Any], Algorithm]
    """Builds the record of functions from name, env and options."""
    runners: int = 32
    """Environments side by side, and episodes per update."""
    eval_interval: int = 100_000
    """Env steps between evaluations."""
    reference: str | None = None
    """The preset of the same method with published numbers; None where nobody published any."""
    published: bool = False
    """Whether its numbers are those of a release or of reference code: such are no part of the comparison."""


def compared(name: str) -> bool:
    """Whether a preset is one of the comparison, and not one with the numbers of a release or a reference."""
    return not PRESETS[name].published


def reference_of(name: str) -> str | None:
    """`Preset.reference` of a preset; None of what is none."""
    return PRESETS[name].reference if name in PRESETS else None


def continuous(name: str) -> bool:
    """Whether a preset serves environments with continuous actions."""
    return type(PRESETS[name].config) in (SecaConfig, LicaConfig, MappoConfig, Ia2cConfig, SqddpgConfig)


@numerics.own()
def build(name: str, spec: EnvSpec, config: AlgorithmConfig, adaptation: Adaptation = UNADAPTED) -> Algorithm:
    """The algorithm of a preset, fitted to one environment. Raises ValueError when the two do not fit."""
    if spec.box is not None and not continuous(name):
        others = ", ".join(other for other in PRESETS if continuous(other) and "-" not in other)
        raise ValueError(
            f"`preset` {name} serves discrete actions alone, and those of {spec.id} are continuous: choose one of "
            f"{others}, or an ablation of seca"
        )
    if spec.box not in (None, unit_box(spec.n_actions)):
        raise ValueError(
            f"`spec.box` of {spec.id} is not from -1 to 1, as policies act: take the environment by seca.make, or "
            "seca.envs.base.in_units of it"
        )
    adaptation.check()
    config = _with_networks(name, config, adaptation.share)
    spec = dataclasses.replace(spec, networks=networks(spec, adaptation.share))
    _check_dead(name, config, adaptation.dead)
    algorithm = with_the_dead(PRESETS[name].make(name, spec, config), spec, adaptation.dead)
    return normalised(algorithm, spec, config.gamma, adaptation.normalise)


def networks(spec: EnvSpec, share: Share) -> tuple[int, ...]:
    """Of each agent the number of its network; () where all share one."""
    return {"all": (), "type": spec.agent_types, "none": tuple(range(spec.n_agents))}[share]


def _with_networks(name: str, config: AlgorithmConfig, share: Share) -> AlgorithmConfig:
    """The options, where those of a method say by themselves who shares: the methods of the particle toys."""
    if not isinstance(config, TransitionOptions) or share == "all":
        return config
    if share == "type":
        raise ValueError(f"`share` is type but {name} has one network for all or for each: choose all or none")
    return dataclasses.replace(config, shared=False)


def _check_dead(name: str, config: AlgorithmConfig, mode: Dead) -> None:
    """Raise ValueError where there is no loss of single agents to be masked."""
    if mode != "mask-loss":
        return
    if isinstance(config, QLearningConfig) and not isinstance(config.mixing, NoMixing):
        raise ValueError(
            f"`dead` is mask-loss but {name} has one loss for the whole team and none of single agents: choose none or "
            "mask-obs, or preset iql"
        )
    if isinstance(config, TransitionOptions):
        raise ValueError(
            f"`dead` is mask-loss but {name}, of the particle toys, counts all agents alike: choose none or mask-obs"
        )


_SECA = "Zang et al. 2023 (AAMAS)"
_AUTHORS = "its authors"
_published = SecaConfig()
# As published, 32 episodes move the actor once and its critic once, with a target up to 200 batches old: a step for
# 1,500 env steps, which suits 65M of them. Ours learns within 2M. The entropy term keeps its size when advantages
# shrink: at the published 0.005 it outgrows them, and what was learned is lost. So it may be where nothing cancels the
# critic's errors, which are larger than the advantages too. docs/history.md has the curves of all.
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


# The authors' release: its critic, the time limit as an end, and how often it looks.
_released = dataclasses.replace(_published, critic_width=None, time_limit="terminal")
_RELEASE_INTERVAL = 320_000


def _all(config: SecaConfig) -> dict[str, Any]:
    """Every option by name."""
    return {field.name: getattr(config, field.name) for field in dataclasses.fields(config)}


_NAVIGATION: dict[str, Any] = {"gamma": 0.9, "actor_lr": 1e-2, "entropy_coef": 1e-2, "hidden": 32, "shared": True}


_IAC_NAVIGATION: dict[str, Any] = {"gamma": 0.9, "entropy_coef": 1e-2, "hidden": 32}
_SQDDPG_NAVIGATION = _IAC_NAVIGATION | {"critic_lr": 1e-3, "batch": 32, "orders": 5}


def _particles(
    name: str, summary: str, paper: str, method: AlgorithmConfig, navigation: dict[str, Any], **changes: Any
) -> dict[str, Preset]:
    """A method of the particle toys, for each of them: one environment, an update for every 100 env steps."""
    make, group = _OF_PARTICLES[type(method)]
    found = {}
    for ending, toy, numbers in (("", "predator-prey", {}), ("-navigation", "cooperative-navigation", navigation)):
        config, said = dataclasses.replace(method, **numbers, **changes), f"{summary}, for mpe/{toy}"
        rest = {"runners": 1, "eval_interval": 20_000, "published": True}
        found[name + ending] = Preset(said, paper, group, config, make, **rest)
    return found


_OF_PARTICLES: dict[type, Any] = {
    ComaMpeConfig: (coma_mpe, "explicit credit"),
    SqddpgConfig: (sqddpg, "explicit credit"),
    IacMpeConfig: (iac_mpe, "no credit"),
}


def _ours(summary: str, paper: str = _SECA, reference: str | None = None, **changes: Any) -> Preset:
    """`seca` but for one option."""
    config = dataclasses.replace(_seca, **changes)
    return Preset(summary, paper, "explicit credit", config, seca.named, reference=reference)


def _ablation(name: str, summary: str, **changes: Any) -> dict[str, Preset]:
    """What the paper runs beside SeCA: ours, and with the numbers of its release."""
    ours = _ours(summary, reference=f"{name}-paper", **changes)
    published = dataclasses.replace(
        ours,
        reference=None,
        published=True,
        summary=f"{name} as published: all else as seca-paper",
        config=dataclasses.replace(_released, **changes),
        eval_interval=_RELEASE_INTERVAL,
    )
    return {name: ours, f"{name}-paper": published}


def _tuned(name: str, preset: Preset, source: str, runners: int, **changes: Any) -> dict[str, Preset]:
    """A method in the comparison, and as its reference code tunes it, where the time limit counts as an end."""
    reference = dataclasses.replace(
        preset,
        summary=f"{name} as {source} tuned it, for {runners} runner{'s' if runners > 1 else ''}",
        config=dataclasses.replace(preset.config, time_limit="terminal", **changes),
        runners=runners,
        published=True,
    )
    return {name: dataclasses.replace(preset, reference=f"{name}-reference"), f"{name}-reference": reference}


def _value_based(
    name: str, summary: str, paper: str, mixing: NamedMixing, batch: int = 128, **changes: Any
) -> dict[str, Preset]:
    """PyMARL2's numbers; in the comparison with 32 runners and 32 replayed episodes, else 8 and `batch`."""
    config = dataclasses.replace(QLearningConfig(mixing=mixing), **changes)
    preset = Preset(summary, paper, "value-based", config, q_learning)
    return _tuned(name, preset, "PyMARL2", 8, batch_episodes=batch)


_ONE_STEP: dict[str, Any] = {"lr": 5e-4, "td_lambda": 0.0}


PRESETS: dict[str, Preset] = {
    "seca": _ours(
        "Sequential advantage and the critic's TD error, order by integrated gradients per episode",
        reference="seca-paper",
    ),
    "seca-paper": Preset(
        "SeCA as published: wide critic, the authors' learning rates, time limit as an end",
        _SECA,
        "explicit credit",
        _released,
        seca.named,
        eval_interval=_RELEASE_INTERVAL,
        published=True,
    ),
    "seca-uncorrected": _ours(
        "SeCA without the critic's TD error: the published advantage alone",
        reference="seca-paper",  # As published the two are one.
        td_correction=0.0,
    ),
    "seca-fork": Preset(
        "SeCA whose credit is tried out by the environment itself, in forks of some of its episodes",
        "not published",
        "explicit credit",
        SecaForkConfig(**_all(_seca)),
        seca_fork,
    ),
    **_ablation("seca-fixed", "SeCA with one random order for the whole run", order="fixed"),
    **_ablation("seca-random", "SeCA with a random order per episode", order="random"),
    **_ablation("seca-prob", "SeCA, agents sure of their action first, per step", order="probability"),
    **_ablation("seca-entropy", "SeCA, agents of low policy entropy first, per step", order="entropy"),
    **_ablation("seca-ig-1", "SeCA with the order made anew each step", path=GradientOrder(stage=1)),
    **_ablation("seca-ig-10", "SeCA with the order made anew each 10 steps", path=GradientOrder(stage=10)),
    **_ablation("seca-ig-20", "SeCA with the order made anew each 20 steps", path=GradientOrder(stage=20)),
    **_ablation("coma-newarchi", "COMA's counterfactual advantage (Eq. 3) on SeCA's critic", credit="counterfactual"),
    "indadv": _ours(
        "Independent advantage (Eq. 4) on SeCA's critic", "Eq. 4 of the paper; not run there", credit="independent"
    ),
    "seca-shapley": _ours(
        "Mean of the sequential advantage over random orders: Shapley values on SeCA's critic",
        "Shapley 1953; not in the paper",
        credit="shapley",
    ),
    **_tuned(
        "coma",
        Preset(
            "COMA with its own critic, stepped once for each time step",
            "Foerster et al. 2018 (AAAI)",
            "explicit credit",
            ComaConfig(),
            coma,
        ),
        "PyMARL",
        8,
    ),
    **_particles(
        "coma-mpe", "COMA as SQDDPG's authors run it", "Wang et al. 2020 (AAAI)", ComaMpeConfig(), _NAVIGATION
    ),
    **_particles(
        "seca-mpe",
        "coma-mpe with the sequential advantage (Fig. 2)",
        _SECA,
        ComaMpeConfig(),
        _NAVIGATION,
        advantage="sequential",
    ),
    **_particles(
        "sqddpg",
        "Shapley Q-values: each policy climbs its share of the joint value",
        "Wang et al. 2020 (AAAI)",
        SqddpgConfig(),
        _SQDDPG_NAVIGATION,
    ),
    **_tuned(
        "scc",
        Preset(
            "Q-networks regressed to their Shapley shares of a joint value",
            "Li et al. 2021 (KDD)",
            "explicit credit",
            SccConfig(),
            scc,
        ),
        _AUTHORS,
        1,
        sampler="sizes",
        epsilon_finish=0.0,
        epsilon_steps=50_000,
    ),
    **_tuned(
        "lica",
        Preset(
            "LICA: the actor climbs the mixing critic's value of its own policies",
            "Zhou et al. 2020 (NeurIPS)",
            "implicit credit",
            LicaConfig(),
            lica,
        ),
        _AUTHORS,
        32,
        critic_width=None,
    ),
    **_tuned(
        "riit",
        Preset(
            "The actor climbs a critic monotone in the agents' own values, on new and replayed episodes",
            "Hu et al. 2021 (arXiv 2102.03479)",
            "implicit credit",
            RiitConfig(),
            riit,
        ),
        _AUTHORS,
        8,
        batch_episodes=64,
        latest_episodes=32,
    ),
    **_tuned(
        "riit-online",
        Preset(
            "RIIT without replay",
            "Hu et al. 2021 (arXiv 2102.03479)",
            "implicit credit",
            RiitConfig(off_policy=False, target_interval=1),
            riit,
        ),
        _AUTHORS,
        8,
        latest_episodes=32,
    ),
    **_tuned(
        "vmix",
        Preset(
            "VDAC with QMIX's network: the team value is monotone in the agents' values",
            "Su et al. 2021 (AAAI)",
            "implicit credit",
            VdacConfig(),
            vdac,
        ),
        "PyMARL2",
        8,
        lr=1e-3,
        entropy_coef=0.01,
        floor=FloorConfig(finish=0.0, masked=True),
    ),
    **_tuned(
        "vdac",
        Preset(
            "VDAC-sum: the team value is the sum of the agents' values",
            "Su et al. 2021 (AAAI)",
            "implicit credit",
            VdacConfig(mixing="sum"),
            vdac,
        ),
        _AUTHORS,
        8,
    ),
    **_tuned(
        "ia2c",
        Preset(
            "Independent advantage actor-critics, rewarded as the team is",
            "Papoudakis et al. 2021 (EPyMARL)",
            "no credit",
            Ia2cConfig(),
            ia2c,
        ),
        "EPyMARL",
        10,
        standardise_rewards=True,
        actor_hidden=128,
    ),
    **_particles("iac-mpe", "Independent actor-critics", "Wang et al. 2020 (AAAI)", IacMpeConfig(), _IAC_NAVIGATION),
    **_tuned(
        "mappo",
        Preset("PPO with a central value of the state", "Yu et al. 2022 (NeurIPS)", "no credit", MappoConfig(), mappo),
        _AUTHORS,
        8,
        value_of="agent",
        epochs=15,
    ),
    **_tuned(
        "ippo",
        Preset(
            "PPO with a value of each agent's own observation",
            "de Witt et al. 2020; Yu et al. 2022 (NeurIPS)",
            "no credit",
            MappoConfig(value_of="observation"),
            mappo,
        ),
        "MAPPO's authors",
        8,
        epochs=15,
    ),
    **_value_based(
        "iql",
        "Independent Q-learning: every agent alone",
        "Tan 1993; Tampuu et al. 2017",
        NoMixing(),
        32,
        loss_scale=1.0,
        **_ONE_STEP,
    ),
    **_value_based("vdn", "The joint value is the sum of the utilities", "Sunehag et al. 2018 (AAMAS)", SumMixing()),
    **_value_based(
        "qmix", "The joint value is monotone in the utilities", "Rashid et al. 2018 (ICML)", MonotoneMixing()
    ),
    **_value_based(
        "cw-qmix",
        "QMIX, weighted towards joint actions that may be best by a free central value",
        "Rashid et al. 2020 (NeurIPS)",
        WeightedMixing("central"),
    ),
    **_value_based(
        "ow-qmix",
        "QMIX, weighted towards joint actions that it underestimates",
        "Rashid et al. 2020 (NeurIPS)",
        WeightedMixing("optimistic"),
    ),
    **_value_based(
        "qtran",
        "A free joint value, and utilities tied to it",
        "Son et al. 2019 (ICML)",
        TransformedMixing(),
        **_ONE_STEP,
    ),
    **_value_based(
        "qplex",
        "Duplex duelling: all joint values of which agents' greedy actions are best",
        "Wang et al. 2021 (ICLR)",
        DuplexMixing(),
    ),
    **_value_based("qatten", "Utilities weighed by attention to each agent", "Yang et al. 2020", AttentionMixing()),
}
"""Group by group, as `seca algos` prints them."""
