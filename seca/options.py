"""What each command can be told, by field; `seca.parsing` makes options of these, `seca.cli` runs the commands.

`train` is told a whole configuration: `seca.config`.
"""

import dataclasses
import pathlib
from collections.abc import Mapping
from typing import Annotated, Any, Literal

import tyro
from tyro.conf import Positional, arg

from seca.ranges import Batch, Count, Positive, Range, Seed

RunPath = Annotated[pathlib.Path, arg(metavar="RUN")]


Checkpoint = Literal["latest", "best", "highest-return"] | Annotated[int, Range(0, 2**32 - 1)]


@dataclasses.dataclass(frozen=True)
class ResumeOptions:
    """Continue a run from its newest checkpoint, to the numbers an unbroken run would have had."""

    run: Positional[RunPath]
    """Run folder."""
    checkpoint: Literal["latest", "best"] = "latest"
    """Where to go on from. Going on from `best` drops what came after it."""


@dataclasses.dataclass(frozen=True)
class EvaluateOptions:
    """Play greedy episodes with a run's policy."""

    run: Positional[RunPath]
    """Run folder."""
    episodes: Batch = 128
    """Episodes to play."""
    checkpoint: Checkpoint = "latest"
    """Which policy: the last one, the one with the highest test win rate (return, where nobody can win), with the
    highest test return, or the first that training kept at so many env steps or later (`--snapshot-interval`)."""
    seed: Seed = 0
    """Seed of the battles; the same seed gives the same numbers."""
    opponent: str | None = None
    """Who commands the enemy, if not who did in training: a name (see `--env-options opponent=`) or a run folder."""
    absolute: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Measure the absolute metric instead: the policy with the highest test return, over ten times the episodes of an
    evaluation, which nothing else has played. It is kept in the run folder, for `seca compare`."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object, with the outcome of every episode, instead of text."""


@dataclasses.dataclass(frozen=True)
class AuditOptions:
    """Measure what each agent's actions were worth, by forked episodes, and hold the run's credit against it."""

    run: Positional[RunPath]
    """Run folder; its method must tell agents apart."""
    steps: Annotated[int, Range(1, 100_000)] | None = None
    """Steps of the team to draw, from episodes of the policy itself: 64, or as many as there are with --add."""
    forks: Annotated[int, Range(2, 1_000_000)] | None = None
    """Forks of each step, 256 or as there are; a standard error falls with the root of it."""
    checkpoint: Checkpoint | None = None
    """Which policy, and which critic: the latest, or as it was with --add."""
    seed: Seed | None = None
    """Seed of episodes and forks, 0 or as it was; the same seed gives the same numbers."""
    truth: Annotated[tuple[str, ...], arg(metavar="KIND [KIND ...]")] = ()
    """Truths to measure beside the one that the method claims: sequential (Eq. 5), counterfactual (Eq. 3), independent
    (Eq. 4), shapley."""
    credits: Annotated[tuple[str, ...], arg(metavar="CREDIT [CREDIT ...]")] = ()
    """Further credits for the run's critic to judge by, by the names of `seca train seca --credit`."""
    order: str | None = None
    """Who is judged first, if not as in training, or as it was."""
    add: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Add to an audit, up to these steps and forks; what is not said is as it was."""
    out: pathlib.Path | None = None
    """Files to write, without the ending: .json, .npz and .png are added. By default `audit` in the run folder."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object instead of the table."""


@dataclasses.dataclass(frozen=True)
class PlotOptions:
    """Draw learning curves: median and quartiles over the runs of each preset."""

    runs: Positional[tuple[RunPath, ...]]
    """Run folders, or folders of sweeps."""
    out: pathlib.Path = pathlib.Path("curves")
    """Files to write, without the ending: .png, .svg and .csv are added. Files of these names are replaced."""


@dataclasses.dataclass(frozen=True)
class CompareOptions:
    """Hold methods against each other: medians and quartiles over seeds, IQM and more with 95 % bootstrap intervals."""

    runs: Positional[tuple[RunPath, ...]]
    """Run folders, or folders of sweeps. The method of the first is held against each other one."""
    score: Literal["absolute", "final", "last"] | None = None
    """What a run counts with: the absolute metric, the policy at the end of training, or the last evaluation; by
    default the first of these that all runs have."""
    seed: Seed = 0
    """Seed of the bootstrap."""
    out: pathlib.Path | None = None
    """Figure to draw, without the ending: .png and .svg are added. Files of these names are replaced."""
    marl_eval: pathlib.Path | None = None
    """File to write for marl-eval, .json. A file of this name is replaced."""
    elapsed_time: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Put the seconds of training into marl-eval's file, too: its diagnosis asks for them, and counts a metric more."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object instead of tables."""


@dataclasses.dataclass(frozen=True)
class ReportOptions:
    """Write one HTML file about runs: curves, scores, settings, costs, commands. It needs no network."""

    runs: Positional[tuple[RunPath, ...]]
    """Run folders, or folders of sweeps."""
    out: pathlib.Path = pathlib.Path("report.html")
    """File to write. A file of this name is replaced."""
    title: str | None = None
    """Title of the page; by default its methods and environments."""


@dataclasses.dataclass(frozen=True)
class BenchOptions:
    """Measure simulator and training rates on this machine, in env steps per second."""

    what: Positional[Literal["all", "simulator", "train"]] = "all"
    """What to measure."""
    env: str = "smac/2s3z"
    """Environment; see `seca envs`."""
    preset: Annotated[tuple[str, ...], arg(metavar="PRESET [PRESET ...]|all")] = ("seca",)
    """What to train; see `seca algos`. Of several, or of `all`, each is measured in a process of its own, so
    that the peak memory is its own, and `training` is a list."""
    batch: Batch = 32
    """Environments side by side in the simulator."""
    runners: Batch = 32
    """Environments side by side in training."""
    minibatches: Count = 1
    """Updates that share the episodes of an iteration."""
    seconds: Positive = 10.0
    """How long to measure each at least, compiling left out."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object instead of text."""


@dataclasses.dataclass(frozen=True)
class CheckEnvOptions:
    """Play an environment at random, and say what is wrong with it: `seca check-env ENV`.

    Exit code 1 where something is. What is looked for: docs/environments.md.
    """

    env: Positional[Annotated[str, arg(metavar="ENV")]]
    """Environment, as for `seca train --env`."""
    env_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Options of the environment, as in `--env-options key=value key=value`."""
    runners: Annotated[int, Range(3, 2**20)] = 32
    """Episodes to play side by side."""
    steps: Count = 2_000
    """Env steps of an episode to play at most."""
    seed: Seed = 0
    """Seed of episodes and actions."""
    seconds: Annotated[float, Range(0, 86_400)] = 1.0
    """How long to measure speed, beyond compiling; 0 leaves it out."""
    preset: str | None = None
    """Train with it, too, for as long, and say which share of its time the environment takes; see `seca algos`."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object instead of text."""


@dataclasses.dataclass(frozen=True)
class WatchOptions:
    """Record an episode and draw it: `seca watch --env ENV --policy random`, or `seca watch --policy RUN`.

    `seca watch RECORDING` draws a recorded battle again.
    """

    recording: Positional[Annotated[pathlib.Path | None, arg(metavar="RECORDING")]] = None
    """Recording (.npz) to draw; nothing is played then."""
    policy: str | None = None
    """Who commands the team: `random`, `heuristic`, or a run folder, whose policy acts greedily."""
    env: str | None = None
    """Environment, smac/..., mpe/...; a run's own unless given."""
    env_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Options of the environment, as in `--env-options key=value key=value`."""
    checkpoint: Checkpoint = "latest"
    """Which policy of a run."""
    seed: Seed = 0
    """Seed of the battles."""
    battle: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Which battle of the seed: the number of the episode in `seca evaluate --seed`."""
    out: pathlib.Path | None = None
    """Picture to make, by its ending .gif, .mp4 or .png (a sheet of moments); by default a .gif, in a run's folder of
    recordings if it has one."""
    fps: int = 20
    """Frames per second."""
    every: int = 2
    """Game loops per frame, of which SC2's normal speed has 16 in a second; of other environments env steps."""


@dataclasses.dataclass(frozen=True)
class ViewOptions:
    """Write a page that shows an episode and who was credited with what: `seca view RUN`, or two runs side by side.

    The episode is recorded first; `seca view RECORDING` makes the page of one again. It needs no network.
    """

    runs: Positional[Annotated[tuple[pathlib.Path, ...], arg(metavar="RUN|RECORDING [RUN|RECORDING]")]]
    """A run folder or a recording of `seca view`, or two to stand side by side."""
    checkpoint: Checkpoint = "latest"
    """Which policy, and which critic."""
    seed: Seed = 0
    """Seed of the episodes."""
    battle: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Which episode of the seed: its number in `seca evaluate --seed`."""
    sampled: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Draw actions as in training, instead of taking the best."""
    truth: Annotated[int, Range(0, 100_000)] = 0
    """Steps to be forked, so that the page shows what actions were worth: those of which the method says most."""
    forks: Annotated[int, Range(2, 1_000_000)] = 256
    """Forks of each of them; a standard error falls with the root of it."""
    out: pathlib.Path | None = None
    """Page to write, .html; by default beside the recording, in the run's folder of recordings."""


@dataclasses.dataclass(frozen=True)
class SweepOptions:
    """Make many runs: `seca sweep FILE.toml`, or `seca sweep --methods seca qmix --envs smac/2s3z --seeds 0 1 2`.

    `seca sweep FOLDER` goes on with one, `seca sweep status FOLDER` shows how far it is, from any terminal, and
    `seca sweep run FOLDER NAME` makes a single run of it, for schedulers of one's own. What a file can say:
    docs/sweeps.md.
    """

    sweep: Positional[Annotated[pathlib.Path | None, arg(metavar="FILE.toml|FOLDER")]] = None
    """What to run, or the folder of a sweep to go on with."""
    methods: Annotated[tuple[str, ...], arg(metavar="PRESET [PRESET ...]")] = ()
    """Presets, where there is no file; see `seca algos`."""
    envs: Annotated[tuple[str, ...], arg(metavar="ENV [ENV ...]")] = ()
    """Environments, where there is no file; see `seca envs`."""
    seeds: tuple[Seed, ...] = ()
    """Seeds, where there is no file: 0 to 4 unless given."""
    options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Options of every run by their names in `seca train`, where there is no file: `--options steps=2e6 lr=1e-3`."""
    out: pathlib.Path | None = None
    """Folder of the sweep; by default `sweeps/` and the name of the file."""
    jobs: Annotated[int, Range(0, 10_000)] = 0
    """Runs side by side; 0 takes as many as there are CPU cores, or accelerators."""
    on: str = "local"
    """Where: this machine (local), a Ray cluster (`ray` for the one this machine is in, or one of its own; `ray://...`
    for one elsewhere), or a SLURM array (`slurm`, with options as in `slurm:partition=gpu,timeout_min=600`)."""
    changed: Literal["ask", "keep", "again"] = "ask"
    """What becomes of runs that the file now gives other settings: keep them as they were, or make them again."""


@dataclasses.dataclass(frozen=True)
class ReproduceOptions:
    """Make a figure of the paper: its runs, in its protocol or less of it, then the figure. Goes on where it was."""

    figure: Positional[Literal["fig2", "fig4a", "fig4b", "fig4c", "fig5", "fig6"]]
    """Which figure of Zang et al. 2023."""
    scale: Annotated[float, Range(0, 1, above=True)] = 1.0
    """Share of the paper's 65.6M env steps a run; 0.03 makes 2M, in minutes to an hour each."""
    seeds: Annotated[int, Range(1, 1_000)] | None = None
    """How many seeds, if not the paper's five."""
    settings: Literal["tuned", "paper"] = "tuned"
    """Options of SeCA and its ablations: this project's, or the published ones, with the authors' wide critic."""
    out: pathlib.Path | None = None
    """Folder of the sweep, where the figure is put, too; by default `sweeps/` and the figure's name."""
    jobs: Annotated[int, Range(0, 10_000)] = 0
    """Runs side by side; 0 takes as many as there are CPU cores, or accelerators."""
    on: str = "local"
    """Where, as for `seca sweep`."""
    changed: Literal["ask", "keep", "again"] = "ask"
    """What becomes of runs that have other settings now."""
    draw: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Only draw what there is."""


@dataclasses.dataclass(frozen=True)
class SweepStatusOptions:
    """How far the runs of a sweep are."""

    sweep: Positional[Annotated[pathlib.Path, arg(metavar="FOLDER")]]
    """Folder of the sweep."""
    watch: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Look again every few seconds, until all is done."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object instead of the table."""


@dataclasses.dataclass(frozen=True)
class SweepRunOptions:
    """Make one run of a sweep, from wherever it is to its end."""

    sweep: Positional[Annotated[pathlib.Path, arg(metavar="FOLDER")]]
    """Folder of the sweep."""
    name: Positional[Annotated[str, arg(metavar="NAME")]]
    """The run, as `seca sweep status --json` names it."""


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """This command has no options."""
