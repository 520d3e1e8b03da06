"""The command line. Each command imports what it needs, so that `--help` and `--version` answer at once."""

import contextlib
import dataclasses
import errno
import io
import json
import logging
import os
import pathlib
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any, Literal, TypeVar

import tyro
from tyro.conf import Positional, arg

import seca
from seca.errors import RunError, UsageError, refusing
from seca.ranges import Batch, Positive, Range, Seed

Options = TypeVar("Options")

RunPath = Annotated[pathlib.Path, arg(metavar="RUN")]


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
    checkpoint: Literal["latest", "best"] = "latest"
    """Which policy: the last one, or the one with the highest test win rate (return, where nobody can win)."""
    seed: Seed = 0
    """Seed of the battles; the same seed gives the same numbers."""
    opponent: str | None = None
    """Who commands the enemy, if not who did in training: a name (see `--env-options opponent=`) or a run folder."""
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
    checkpoint: Literal["latest", "best"] = "latest"
    """Which policy, and which critic."""
    seed: Seed = 0
    """Seed of episodes and forks; the same seed gives the same numbers."""
    truth: Annotated[tuple[str, ...], arg(metavar="KIND [KIND ...]")] = ()
    """Truths to measure beside the one that the method claims: sequential (Eq. 5), counterfactual (Eq. 3), independent
    (Eq. 4), shapley."""
    credits: Annotated[tuple[str, ...], arg(metavar="CREDIT [CREDIT ...]")] = ()
    """Further credits for the run's critic to judge by, as in `--algorithm.credit`."""
    order: str | None = None
    """Who is judged first, if not as in training."""
    add: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Add to an audit with the same seed and kinds, up to these steps and forks."""
    out: pathlib.Path | None = None
    """Files to write, without the ending: .json, .npz and .png are added. By default `audit` in the run folder."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object instead of the table."""


@dataclasses.dataclass(frozen=True)
class PlotOptions:
    """Draw learning curves: median and quartiles over the runs of each preset."""

    runs: Positional[tuple[RunPath, ...]]
    """Run folders."""
    out: pathlib.Path = pathlib.Path("curves")
    """Files to write, without the ending: .png, .svg and .csv are added. Files of these names are replaced."""


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
    seconds: Positive = 10.0
    """How long to measure each at least, compiling left out."""
    json: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False
    """Print one JSON object instead of text."""


@dataclasses.dataclass(frozen=True)
class WatchOptions:
    """Record a SMAC battle and draw it: `seca watch --env ENV --policy random`, or `seca watch --policy RUN`.

    `seca watch RECORDING` draws a recorded battle again.
    """

    recording: Positional[Annotated[pathlib.Path | None, arg(metavar="RECORDING")]] = None
    """Recording (.npz) to draw; nothing is played then."""
    policy: str | None = None
    """Who commands the team: `random`, `heuristic`, or a run folder, whose policy acts greedily."""
    env: str | None = None
    """Environment, smac/...; a run's own unless given."""
    env_options: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    """Options of the environment, as in `--env-options key=value key=value`."""
    checkpoint: Literal["latest", "best"] = "latest"
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
    """Game loops per frame; SC2's normal speed has 16 in a second."""


@dataclasses.dataclass(frozen=True)
class NoOptions:
    """This command has no options."""


def train(arguments: list[str]) -> int:
    """Train into a new run folder."""
    preset, config_path, rest = _split_train(arguments)
    from seca import config as configs
    from seca import files
    from seca.runs import sources
    from seca.runs.folder import RunFolder, read_config

    if config_path is None:
        base = configs.from_preset("seca" if preset is None else preset)  # Without it, of the help alone.
    else:
        path = files.usable("config", config_path)
        base = sources.repeated(read_config(path), RunFolder(path.parent))
        if preset is not None and preset != base.preset:
            raise UsageError(
                f"`preset` is '{preset}' but `config` {config_path} holds '{base.preset}'; give one of them"
            )

    @dataclasses.dataclass(frozen=True)
    class TrainOptions:
        """Train a preset on an environment: `seca train PRESET [options]`.

        `seca train --config RUN/config.json [options]` repeats a run instead. `seca algos` lists the presets.
        """

        config: Annotated[configs.RunConfig, arg(name="")] = base
        out: pathlib.Path | None = None
        """Run folder to make; by default a free name under `runs/`."""

    options = _parse(TrainOptions, "train", rest)
    from seca.host import machine
    from seca.host.display import make_display
    from seca.runs import run

    config = options.config
    machine.configure(config.devices, config.loop.runners)
    return run.start(config, options.out, make_display(config.loop.steps))


def _split_train(arguments: list[str]) -> tuple[str | None, str | None, list[str]]:
    """Preset, path of a config, and the other arguments: the first two decide which options there are."""
    preset, rest = None, list(arguments)
    if rest and not rest[0].startswith("-"):
        preset = rest.pop(0)
    config = _take(rest, "config", "give the path of a config.json")
    setting = _take(rest, "setting", "it is no option any more; see `seca algos`")
    if setting is not None:
        from seca.presets import reference_of

        name = preset and (reference_of(preset) if setting == "reference" else preset)
        advice = f"write `seca train {name}`" if name else "`seca algos` lists them"
        raise UsageError(
            f"`setting` is '{setting}', which is no option any more: each setting is a preset of its own; {advice}"
        )
    if preset is None and config is None and not {"-h", "--help"} & set(rest):
        from seca.presets import PRESETS

        raise UsageError(f"`preset` is missing: seca train PRESET [options], with one of {', '.join(PRESETS)}")
    return preset, config, rest


def _take(arguments: list[str], name: str, advice: str) -> str | None:
    """Remove the first `--name value` or `--name=value` from the arguments and return its value.

    By hand: with tyro's `return_unknown_args` it takes nine lines more.
    """
    for index, argument in enumerate(arguments):
        option, separator, value = argument.partition("=")
        if option == f"--{name}":
            taken = arguments[index : index + (1 if separator else 2)]
            if not separator and len(taken) < 2:
                raise UsageError(f"`{name}` has no value: {advice}")
            del arguments[index : index + len(taken)]
            return value if separator else taken[1]
    return None


def resume(arguments: list[str]) -> int:
    """Continue a run."""
    options = _parse(ResumeOptions, "resume", arguments)
    from seca.host import machine
    from seca.host.display import make_display
    from seca.runs import folder, run

    config = folder.read_config(folder.existing(options.run).config)
    machine.configure(config.devices, config.loop.runners)
    return run.resume(options.run, options.checkpoint, make_display(config.loop.steps))


def evaluate(arguments: list[str]) -> int:
    """Measure a run's policy."""
    options = _parse(EvaluateOptions, "evaluate", arguments)
    from seca.host import machine
    from seca.runs import stats
    from seca.runs.evaluation import evaluate_run

    machine.configure(0, options.episodes)
    result = evaluate_run(options.run, options.episodes, options.checkpoint, options.seed, options.opponent)
    if options.json:
        print(json.dumps(result))
    else:
        enemy = f" against {options.opponent}" if options.opponent is not None else ""
        print(f"{result['env']}{enemy}, {options.checkpoint} checkpoint at {result['env_steps']:,} env steps")
        print(f"{options.episodes} greedy episodes, seed {options.seed}: {stats.sentence(result)}")
        if "credit_share" in result:
            share = f"{100 * result['credit_share']:.1f} %"
            print(f"mean size of the credit: {share} of that of all the policy follows; is it right? seca audit RUN")
    return 0


def audit(arguments: list[str]) -> int:
    """Hold a run's credit against the truth."""
    options = _parse(AuditOptions, "audit", arguments)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from seca.credit.base import KINDS, Kind
    from seca.host import machine

    for kind in options.truth:
        if kind not in KINDS:
            raise UsageError(f"`truth` holds '{kind}': choose among {', '.join(KINDS)}")
    machine.configure(0, machine.cpu_cores())
    import jax

    from seca.truth import findings
    from seca.truth.command import audit_run, shown

    with shown() as tell:
        found, paths = audit_run(
            options.run,
            options.steps,
            options.forks,
            options.seed,
            typing.cast(tuple[Kind, ...], options.truth),
            options.checkpoint,
            options.credits,
            options.order,
            options.out,
            options.add,
            jax.devices(),
            tell,
        )
    print(json.dumps(findings.result(found)) if options.json else findings.table(found))
    for path in () if options.json else paths:
        print(path)
    return 0


def plot(arguments: list[str]) -> int:
    """Draw learning curves."""
    options = _parse(PlotOptions, "plot", arguments)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # Without a home it says where it keeps its fonts instead.
    from seca.report import curves

    if not options.runs:
        raise UsageError("`runs` is empty: give at least one run folder")
    for path in curves.plot(options.runs, options.out):
        print(path)
    print(curves.caption(*curves.read_curves(options.runs)))
    return 0


def watch(arguments: list[str]) -> int:
    """Record a battle and draw it, or draw a recording."""
    options = _parse(WatchOptions, "watch", arguments)
    from seca.battles import recording, render

    if options.recording is not None:
        _refuse_playing(options)
        battle = recording.load(options.recording)
        out = options.out or options.recording.with_suffix(".gif")
        render.check(out, options.fps, options.every)
    else:
        path, out, battle = _play(options)
        print(path)
    render.render(battle, out, options.fps, options.every)
    print(out)
    print(battle.sentence())
    return 0


def _refuse_playing(options: WatchOptions) -> None:
    """Raise UsageError when an option of playing is given together with a recording."""
    for field in ("policy", "env", "env_options", "checkpoint", "seed", "battle"):
        value, default = (getattr(source, field) for source in (options, WatchOptions()))
        if value != default:
            raise UsageError(
                f"`{field.replace('_', '-')}` is {value} but `recording` {options.recording} is played already: "
                "leave one of them out"
            )


def _play(options: WatchOptions) -> tuple[pathlib.Path, pathlib.Path, Any]:
    """Record the battle asked for: path of the recording, of the picture to make, and the recording."""
    from seca.battles import recording, render
    from seca.battles import watch as watching
    from seca.host import machine

    if options.policy is None:
        raise UsageError(
            f"`policy` is missing: choose {', '.join(watching.SCRIPTS)} or a run folder, or give a recording (.npz)"
        )
    if options.out is not None:
        render.check(options.out, options.fps, options.every)
    machine.configure(1, 1)
    plan = watching.plan(options.policy, options.env, options.env_options, options.checkpoint)
    name = f"{plan.name}-seed{options.seed}-battle{options.battle}"
    out = options.out or (plan.home or pathlib.Path()) / f"{name}.gif"
    path = out.with_suffix(".npz") if plan.home is None else plan.home / f"{name}.npz"
    render.check(out, options.fps, options.every)
    recording.check_free(path, "recording")
    [battle] = watching.record(plan.env, plan.policy, options.seed, [options.battle])
    recording.save(battle, path)
    return path, out, battle


def envs(arguments: list[str]) -> int:
    """List environments."""
    _parse(NoOptions, "envs", arguments)
    from seca.envs import registry

    print(f"{'environment':<28}{'agents':>7}{'actions':>9}{'obs':>6}{'state':>7}{'steps':>7}  version")
    for env_id in registry.list_envs():
        spec = registry.make(env_id, {}).spec
        sizes = f"{spec.n_agents:>7}{spec.n_actions:>9}{spec.obs_size:>6}{spec.state_size:>7}{spec.episode_limit:>7}"
        print(f"{env_id:<28}{sizes}  {spec.version}")
    return 0


def algos(arguments: list[str]) -> int:
    """List presets, group by group."""
    _parse(NoOptions, "algos", arguments)
    from seca.presets import PRESETS

    for group in dict.fromkeys(preset.group for preset in PRESETS.values()):
        print(group)
        for name, preset in PRESETS.items():
            if preset.group == group:
                print(f"  {name:<22}{preset.summary} [{preset.paper}]")
    return 0


def bench(arguments: list[str]) -> int:
    """Measure speed."""
    options = _parse(BenchOptions, "bench", arguments)
    from seca import config as configs
    from seca.host import machine
    from seca.runs import bench as benches

    presets = _bench_presets(options.preset, configs.PRESETS)
    machine.configure(0, options.batch if options.what == "simulator" else options.runners)
    result: dict[str, Any] = {}
    if options.what in ("all", "train") and len(presets) == 1:
        result["training"] = benches.bench_training(options.env, presets[0], options.runners, options.seconds)
    elif options.what in ("all", "train"):
        result["training"] = []
        for measured in benches.bench_each(options.env, presets, options.runners, options.seconds):
            result["training"].append(measured)
            if not options.json:
                print(_bench_line(measured), flush=True)
    if options.what in ("all", "simulator"):
        result["simulator"] = benches.bench_simulator(options.env, options.batch, options.seconds)
    result["hardware"] = benches.hardware()
    if options.json:
        print(json.dumps(result))
        return 0
    for name, numbers in result.items():
        if isinstance(numbers, list):  # Printed one by one.
            continue
        print(name)
        for key, value in numbers.items():
            print(f"  {key:<22} {f'{value:,.4g}' if isinstance(value, float) and value < 100 else _readable(value)}")
    return 0


def _bench_presets(given: Sequence[str], known: Iterable[str]) -> list[str]:
    """The presets to measure. Raises UsageError for unknown names, names given twice, and none."""
    choices = list(known)
    if list(given) == ["all"]:
        return choices
    if not given:
        raise UsageError(f"`preset` is empty: choose among {', '.join(choices)}, or all")
    for number, name in enumerate(given):
        if name == "all":
            raise UsageError("`preset` holds 'all' beside other names: give all, or names")
        if name not in choices:
            raise UsageError(f"`preset` is '{name}': choose one of {', '.join(choices)}, or all")
        if name in given[:number]:
            raise UsageError(f"`preset` holds '{name}' twice")
    return list(given)


def _bench_line(measured: Mapping[str, Any]) -> str:
    """One preset of several, in one line."""
    if "refused" in measured:
        return f"{measured['preset']:<22}refused: {measured['refused']}"
    peak, estimate = (measured[name] / 2**30 for name in ("peak_memory_bytes", "estimated_memory_bytes"))
    rate = f"{measured['env_steps_per_s']:>9,.0f} env steps/s"
    return f"{measured['preset']:<22}{rate}   peak memory {peak:.2f} GiB (estimated {estimate:.2f})"


def _readable(value: object) -> str:
    if isinstance(value, float):
        return f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and value > 9999 else str(value)


def doctor(arguments: list[str]) -> int:
    """Check the installation."""
    _parse(NoOptions, "doctor", arguments)
    from seca.host import machine
    from seca.host.doctor import diagnose

    machine.configure(0, machine.cpu_cores())
    print("\n".join(diagnose()))
    return 0


COMMANDS: dict[str, tuple[str, Callable[[list[str]], int]]] = {
    "train": ("PRESET --env ENV ... : train into a new run folder", train),
    "resume": ("RUN : continue a run where it was stopped or killed", resume),
    "evaluate": ("RUN : win rate, return and length of a run's policy", evaluate),
    "audit": ("RUN : what actions were worth, and whether the run's credit says so", audit),
    "watch": ("--env ENV --policy POLICY : record a battle and draw it as GIF, MP4 or PNG", watch),
    "plot": ("RUN ... : learning curves", plot),
    "envs": ("list environments", envs),
    "algos": ("list presets", algos),
    "bench": ("[simulator|train] : measure speed on this machine", bench),
    "doctor": ("check versions, devices, cache and extras", doctor),
}


def usage() -> str:
    """The text of `seca --help`."""
    width = max(map(len, COMMANDS)) + 2
    lines = [f"  {name:<{width}}{summary}" for name, (summary, _) in COMMANDS.items()]
    return (
        "usage: seca COMMAND [options]\n\n"
        + "\n".join(lines)
        + "\n\nseca COMMAND --help lists the options of a command."
    )


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one command and exit with the code of `run`."""
    sys.exit(run(list(sys.argv[1:] if arguments is None else arguments)))


def run(arguments: list[str]) -> int:
    """Run one command: 0 done, 2 bad input, 1 a run or a machine that broke, 130 or 143 stopped by a signal."""
    try:
        code = _run(arguments)
        sys.stdout.flush()  # What cannot be printed is to be found out here.
        return code
    except SystemExit as ended:  # `--help` of a command.
        return ended.code if isinstance(ended.code, int) else 0
    except UsageError as error:
        return _complain(error, 2)
    except RunError as error:
        return _complain(error, 1)
    except BrokenPipeError:  # The reader went away, as in `seca envs | head`.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:  # A path that cannot be used, or a device that failed.
        where = "the output" if error.filename is None else error.filename
        return _complain(f"{where}: {error.strerror or error}", 2 if error.errno in _OF_PATHS else 1)
    except ValueError as error:
        if not any(words in str(error) for words in _OF_JAX):
            raise
        return _complain(error, 2)
    except KeyboardInterrupt:  # Where the process is not ours, `seca.host.signals.stop_at_once` was not called.
        return _complain("stopped by SIGINT", 130)


_OF_PATHS = {
    *(errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM),
    *(errno.ENAMETOOLONG, errno.ELOOP),
}
"""What the system says about a path that was given, and not about a device that failed."""


_OF_JAX = ("for environment 'JAX_", "for JAX flag jax_")
"""What JAX says, when it is imported, of a value in the environment that it cannot read."""


def _run(arguments: list[str]) -> int:
    name = arguments[0] if arguments else "--help"
    if name in ("-h", "--help"):
        print(usage())
    elif name == "--version":
        print(f"seca {seca.__version__}")
    elif name not in COMMANDS:
        raise UsageError(f"`command` is '{name}': choose one of {', '.join(COMMANDS)}")
    else:
        return COMMANDS[name][1](arguments[1:])
    return 0


def _complain(words: object, code: int) -> int:
    """One line, in which what was given is shortened where somebody gave a book."""
    shown = [word if len(word) <= _LONG_WORD else f"{word[: _LONG_WORD // 2]}..." for word in str(words).split()]
    line = " ".join(shown)
    print(f"seca: {line if len(line) <= _LONG_LINE else f'{line[:_LONG_LINE]} ...'}", file=sys.stderr)
    return code


_LONG_WORD, _LONG_LINE = 400, 4_000


def _parse(kind: type[Options], command: str, arguments: Sequence[str]) -> Options:
    """Options of a command. Raises UsageError with what tyro says in a box, as one line."""
    for before, argument in zip([command, *arguments], arguments, strict=False):
        option, separator, value = argument.partition("=") if argument.startswith("--") else (before, "=", argument)
        if separator and not value:  # As a path it would be the folder we are in.
            field = option.removeprefix("--") if option.startswith("--") else command
            raise UsageError(f"`{field}` is given '': leave it out, or give a value. See `seca {command} --help`")
    complaint = io.StringIO()
    try:
        with contextlib.redirect_stderr(complaint):
            options = tyro.cli(kind, prog=f"seca {command}", args=list(arguments), registry=_registry())
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise UsageError(_one_line(complaint.getvalue(), command)) from None
    from seca.learning.options import check_numbers

    with refusing():
        check_numbers(options)
    return options


def _one_line(box: str, command: str) -> str:
    """First paragraph of tyro's box, and the spelling it suggests, without frame and title.

    The box is all that tyro promises: `console_outputs=False` drops the words too, and the events of `tyro._errors` are
    for those who pin an exact version.
    """
    lines = [line.strip("│╰─╯ ") for line in box.splitlines()[1:]]
    paragraphs = [" ".join(part).split(" Got errors:")[0].rstrip(". ") for part in _split_at_rules(lines)]
    message = [part for part in paragraphs if part][:1]
    suggestions = [part.split(" (default")[0].rstrip(". ") for part in paragraphs if part.startswith("Perhaps")]
    return ". ".join([*message, *suggestions, f"See `seca {command} --help`"])


def _split_at_rules(lines: list[str]) -> list[list[str]]:
    """Paragraphs of a box; what is left of a rule, of dashes where the terminal has no better, is nearly nothing."""
    parts: list[list[str]] = [[]]
    for line in lines:
        if line.strip("-"):
            parts[-1].append(line)
        else:
            parts.append([])
    return parts


def _registry() -> tyro.constructors.ConstructorRegistry:
    """How to read whole numbers (`2e6` among them) and `key=value` options."""
    registry = tyro.constructors.ConstructorRegistry()
    registry.primitive_rule(_whole_number_rule)
    registry.primitive_rule(_named_values_rule)
    return registry


def _whole_number_rule(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[int | None] | None:
    # A union keeps its members' annotations: `Annotated[int, Range(..)] | None`.
    members = {
        typing.get_args(part)[0] if hasattr(part, "__metadata__") else part for part in typing.get_args(info.type)
    }
    optional = members == {int, type(None)}
    if info.type is not int and not optional:
        return None
    return tyro.constructors.PrimitiveConstructorSpec(
        nargs=1,
        metavar="INT|None" if optional else "INT",
        instance_from_str=lambda texts: _number_or_none(texts[0]) if optional else parse_whole_number(texts[0]),
        is_instance=lambda value: (
            isinstance(value, int) and not isinstance(value, bool) or (optional and value is None)
        ),
        str_from_instance=lambda value: [str(value)],
    )


def _number_or_none(text: str) -> int | None:
    try:
        return None if text == "None" else parse_whole_number(text)
    except ValueError as error:
        raise ValueError(f"{error}, nor None") from None


def parse_whole_number(text: str) -> int:
    """A whole number, `2e6` among its spellings. Raises ValueError."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        number = float(text)
        if number.is_integer():
            return int(number)
    except ValueError:
        pass
    raise ValueError(f"'{text}' is not a whole number")


def _named_values_rule(
    info: tyro.constructors.PrimitiveTypeInfo,
) -> tyro.constructors.PrimitiveConstructorSpec[Mapping[str, Any]] | None:
    if typing.get_origin(info.type) is not Mapping:
        return None
    from seca.config import parse_env_options

    return tyro.constructors.PrimitiveConstructorSpec(
        nargs="*",
        metavar="KEY=VALUE ...",
        instance_from_str=parse_env_options,
        is_instance=lambda value: isinstance(value, Mapping),
        str_from_instance=lambda value: [f"{key}={item}" for key, item in value.items()],
    )
