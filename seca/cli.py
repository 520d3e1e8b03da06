"""The command line. Each command imports what it needs, so that `--help` and `--version` answer at once."""

import contextlib
import dataclasses
import errno
import json
import logging
import os
import pathlib
import sys
import typing
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Annotated, Any

from tyro.conf import arg

import seca
from seca.errors import RunError, UsageError
from seca.options import (
    AuditOptions,
    BenchOptions,
    CheckEnvOptions,
    CompareOptions,
    EvaluateOptions,
    NoOptions,
    PlotOptions,
    ReportOptions,
    ReproduceOptions,
    ResumeOptions,
    SweepOptions,
    SweepRunOptions,
    SweepStatusOptions,
    ViewOptions,
    WatchOptions,
)
from seca.parsing import parse


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

    options = parse(TrainOptions, "train", rest)
    from seca.host import machine
    from seca.host.display import make_display
    from seca.runs import run

    config = options.config
    machine.configure(config.devices, config.loop.update_episodes)
    return run.start(config, options.out, make_display(config.loop.steps, config.loop.episodes))


def _split_train(arguments: list[str]) -> tuple[str | None, str | None, list[str]]:
    """Preset, path of a config, and the other arguments: the first two decide which options there are."""
    from seca.presets import PRESETS, reference_of

    preset, rest = None, list(arguments)
    if rest and not rest[0].startswith("-"):
        preset = rest.pop(0)
    config = _take(rest, "config", "give the path of a config.json")
    setting = _take(rest, "setting", "it is no option any more; see `seca algos`")
    if setting is not None:
        names = {"paper": preset, "reference": preset and reference_of(preset)}
        name = names.get(setting)
        advice = f"write `seca train {name}`" if name in PRESETS else "`seca algos` lists them"
        raise UsageError(
            f"`setting` is '{setting}', which is no option any more: each setting is a preset of its own; {advice}"
        )
    if preset is None and config is None and not {"-h", "--help"} & set(rest):
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
    options = parse(ResumeOptions, "resume", arguments)
    from seca.host import machine
    from seca.host.display import make_display
    from seca.runs import folder, run

    config = folder.read_config(folder.existing(options.run).config)
    machine.configure(config.devices, config.loop.update_episodes)
    return run.resume(options.run, options.checkpoint, make_display(config.loop.steps, config.loop.episodes))


def evaluate(arguments: list[str]) -> int:
    """Measure a run's policy."""
    options = parse(EvaluateOptions, "evaluate", arguments)
    from seca.host import machine, progress
    from seca.runs import absolute, stats
    from seca.runs.evaluation import evaluate_run

    if options.absolute:
        from seca.runs.folder import existing, read_config

        for field in ("episodes", "checkpoint", "seed", "opponent"):
            if getattr(options, field) != getattr(EvaluateOptions(options.run), field):
                raise UsageError(f"`{field}` is given beside `absolute`, which says what is played: leave one out")
        config = read_config(existing(options.run).config)
        machine.configure(0, absolute.TIMES * config.loop.eval_episodes)
        with progress.shown("evaluation", "episodes") as tell:
            measured = absolute.measure(options.run, tell)
        told = f"{config.env}, {measured['checkpoint']} checkpoint at {measured['env_steps']:,} env steps\n"
        told += f"{measured['episodes']} greedy episodes: {stats.sentence(measured)}"
        print(json.dumps(measured) if options.json else told)
        return 0
    machine.configure(0, options.episodes)
    with progress.shown("evaluation", "episodes") as tell:
        result = evaluate_run(options.run, options.episodes, options.checkpoint, options.seed, options.opponent, tell)
    if options.json:
        print(json.dumps(result))
    else:
        enemy = f" against {options.opponent}" if options.opponent is not None else ""
        print(f"{result['env']}{enemy}, {result['checkpoint']} checkpoint at {result['env_steps']:,} env steps")
        print(f"{result['episodes']} greedy episodes, seed {options.seed}: {stats.sentence(result)}")
        if "credit_share" in result:
            share = f"{100 * result['credit_share']:.1f} %"
            print(f"mean size of the credit: {share} of that of all the policy follows; is it right? seca audit RUN")
    return 0


def audit(arguments: list[str]) -> int:
    """Hold a run's credit against the truth."""
    options = parse(AuditOptions, "audit", arguments)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from seca.credit.base import KINDS, Kind
    from seca.host import machine

    for kind in options.truth:
        if kind not in KINDS:
            raise UsageError(f"`truth` holds '{kind}': choose among {', '.join(KINDS)}")
    machine.configure(0, machine.cpu_cores())
    import jax

    from seca.host import progress
    from seca.truth import findings
    from seca.truth.command import audit_run

    with progress.shown("audit", "forked env steps") as tell:
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
    options = parse(PlotOptions, "plot", arguments)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)  # Without a home it says where it keeps its fonts instead.
    from seca.report import curves

    runs, missing = _runs(options.runs)
    for path in curves.plot(runs, options.out, missing):
        print(path)
    found, notes = curves.read_curves(runs)
    print(curves.caption(found, [*missing, *notes]))
    return 0


def _runs(paths: Sequence[pathlib.Path]) -> tuple[list[pathlib.Path], list[str]]:
    """Run folders, those of sweeps among them, and what sweeps lack. Raises UsageError when there is none."""
    from seca.sweeps import folder as sweeps

    found: list[pathlib.Path] = []
    notes: list[str] = []
    for path in paths:
        begun = sweeps.begun(path) if sweeps.is_sweep(path) else [path]
        if not begun:
            raise UsageError(f"`runs` holds the sweep {path}, of which no run has begun")
        found += begun
        notes += sweeps.missing(path) if sweeps.is_sweep(path) else []
    if not found:
        raise UsageError("`runs` is empty: give at least one run folder")
    places = [os.path.realpath(path) for path in found]
    for index, place in enumerate(places):
        if place in places[:index]:
            raise UsageError(f"`runs` holds {found[index]} twice: it would count as two runs")
    return found, notes


def compare(arguments: list[str]) -> int:
    """Hold methods against each other."""
    options = parse(CompareOptions, "compare", arguments)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from seca import files
    from seca.host import progress
    from seca.report import compare, curves, marl_eval, scores

    if options.elapsed_time and options.marl_eval is None:
        raise UsageError("`elapsed-time` is given without `marl-eval`, of whose file it is a part")
    if options.out is not None:
        curves.check_out(files.usable("out", options.out))
    if options.marl_eval is not None and options.marl_eval.suffix != ".json":
        raise UsageError(f"`marl-eval` is {options.marl_eval}: its ending must be .json")
    paths, missing = _runs(options.runs)
    with progress.shown("reading", "runs") as tell:
        runs, notes = scores.read(paths, tell)
    found = compare.compare(runs, options.score, options.seed, [*missing, *notes])
    # Whatever may be refused comes before anything is written.
    drawn = None if options.out is None else compare.draw(runs, found)
    exported = {} if options.marl_eval is None else compare.exported(runs, options.elapsed_time)
    text = marl_eval.written(exported)
    written = []
    if options.marl_eval is not None:
        files.write(options.marl_eval, text)
        written.append(options.marl_eval)
    if options.out is not None and drawn is not None:
        written += curves.save(drawn, options.out, {})
    print(json.dumps(compare.as_json(found)) if options.json else compare.table(found))
    for path in () if options.json else written:
        print(path)
    for line in () if options.json else marl_eval.told(exported):
        print(line)
    return 0


def report(arguments: list[str]) -> int:
    """Write one HTML file about runs."""
    options = parse(ReportOptions, "report", arguments)
    from seca.host import progress
    from seca.report import page

    runs, missing = _runs(options.runs)
    with progress.shown("reading", "runs") as tell:
        written = page.write(runs, options.out, options.title, missing, tell)
    print(written)
    return 0


def sweep(arguments: list[str]) -> int:
    """Make many runs, or say how far they are."""
    if arguments[:1] == ["status"]:
        asked = parse(SweepStatusOptions, "sweep status", arguments[1:])
        from seca.sweeps import command

        return command.show(asked.sweep, asked.watch, asked.json)
    if arguments[:1] == ["run"]:
        one = parse(SweepRunOptions, "sweep run", arguments[1:])
        from seca.sweeps import folder, work

        return work.work(folder.existing(one.sweep), one.name)
    options = parse(SweepOptions, "sweep", arguments)
    from seca.sweeps import command

    asked_for = (options.methods, options.envs, options.seeds, options.options)
    path, plan = command.planned(options.sweep, options.out, *asked_for)
    return command.run(path, plan, options.jobs, options.on, options.changed)


def reproduce(arguments: list[str]) -> int:
    """Make a figure of the paper."""
    options = parse(ReproduceOptions, "reproduce", arguments)
    logging.getLogger("matplotlib").setLevel(logging.ERROR)
    from seca.sweeps import reproduce

    return reproduce.reproduce(
        options.figure,
        options.scale,
        options.seeds,
        options.settings,
        options.out,
        options.jobs,
        options.on,
        options.changed,
        options.draw,
    )


def watch(arguments: list[str]) -> int:
    """Record a battle and draw it, or draw a recording."""
    options = parse(WatchOptions, "watch", arguments)
    from seca.battles import render, scene

    if options.recording is not None:
        _refuse_playing(options)
        battle = scene.load(options.recording)
        out = options.out or options.recording.with_suffix(".gif")
        render.check(out, options.fps, options.every)
    else:
        path, out, battle = _play(options)
        print(path)
    from seca.host import progress

    with progress.shown("drawing", "frames") as tell:
        render.render(battle, out, options.fps, options.every, tell)
    print(out)
    print(battle.sentence())
    return 0


def view(arguments: list[str]) -> int:
    """Show an episode and who was credited with what."""
    options = parse(ViewOptions, "view", arguments)
    from seca.host import machine, progress

    machine.configure(0, machine.cpu_cores() if options.truth else 1)
    import jax

    from seca.view import command
    from seca.view.testify import Asked

    asked = Asked(**{field.name: getattr(options, field.name) for field in dataclasses.fields(Asked)})
    with progress.shown("forks", "env steps") if options.truth else contextlib.nullcontext() as tell:
        paths = command.view_all(options.runs, asked, options.out, jax.devices(), tell)
    print("\n".join(map(str, paths)))
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
    from seca.battles import recording, render, scene
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
    battle = watching.recorded(plan, options.seed, options.battle)
    if isinstance(battle, scene.Scene):
        scene.save(battle, path)
    else:
        recording.save(battle, path)
    return path, out, battle


def envs(arguments: list[str]) -> int:
    """List environments."""
    parse(NoOptions, "envs", arguments)
    from seca.envs import registry

    print(f"{'environment':<28}{'agents':>7}{'actions':>9}{'obs':>6}{'state':>7}{'steps':>7}  version")
    for env_id in registry.list_envs():
        spec = registry.make(env_id, {}).spec
        actions = str(spec.n_actions) if spec.box is None else f"box {spec.n_actions}"
        sizes = f"{spec.n_agents:>7}{actions:>9}{spec.obs_size:>6}{spec.state_size:>7}{spec.episode_limit:>7}"
        print(f"{env_id:<28}{sizes}  {spec.version}")
    print()
    print("\n".join(registry.others()))
    return 0


def check_env(arguments: list[str]) -> int:
    """Try out an environment."""
    options = parse(CheckEnvOptions, "check-env", arguments)
    from seca.errors import refusing
    from seca.host import machine

    machine.configure(1, 1)
    from seca.envs import registry, trial
    from seca.envs.check import ContractError
    from seca.envs.hosted.pool import Hosting
    from seca.presets import PRESETS

    if options.preset is not None:
        _bench_presets([options.preset], PRESETS)
    sizes = options.runners, options.seed, options.steps, options.seconds
    try:
        with refusing():
            env = registry.make(options.env, options.env_options, Hosting(options.runners, machine.cpu_cores()))
        try:
            report = trial.examine(env, *sizes)
        finally:
            if env.host is not None:
                env.host.close()  # Games of a training to measure come after these, not beside them.
    except UsageError as error:
        if not isinstance(error.__cause__, ContractError):
            raise
        report = trial.refused(options.env, str(error))
    if options.preset is not None and report.spec is not None:
        from seca.runs import bench as benches

        measured = benches.bench_training(
            options.env, options.preset, options.runners, options.seconds, env_options=options.env_options
        )
        report = trial.with_training(report, options.preset, measured["env_steps_per_s"])
    print(json.dumps(report.as_json()) if options.json else trial.text(report))
    return 1 if report.failures else 0


def algos(arguments: list[str]) -> int:
    """List presets, group by group."""
    parse(NoOptions, "algos", arguments)
    from seca.presets import PRESETS

    for group in dict.fromkeys(preset.group for preset in PRESETS.values()):
        print(group)
        for name, preset in PRESETS.items():
            if preset.group == group:
                print(f"  {name:<22}{preset.summary} [{preset.paper}]")
    return 0


def bench(arguments: list[str]) -> int:
    """Measure speed."""
    options = parse(BenchOptions, "bench", arguments)
    from seca import config as configs
    from seca.host import machine
    from seca.runs import bench as benches

    presets = _bench_presets(options.preset, configs.PRESETS)
    if options.runners % options.minibatches:
        raise UsageError(f"`minibatches` is {options.minibatches}: it must divide the {options.runners} runners")
    machine.configure(0, options.batch if options.what == "simulator" else options.runners // options.minibatches)
    size = options.runners, options.seconds, options.minibatches
    result: dict[str, Any] = {}
    if options.what in ("all", "train") and len(presets) == 1:
        result["training"] = benches.bench_training(options.env, presets[0], *size)
    elif options.what in ("all", "train"):
        result["training"] = []
        for measured in benches.bench_each(options.env, presets, *size):
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
    parse(NoOptions, "doctor", arguments)
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
    "watch": ("--env ENV --policy POLICY : record an episode and draw it as GIF, MP4 or PNG", watch),
    "view": ("RUN [RUN] : a page with an episode, who was credited with what, and whether that is right", view),
    "plot": ("RUN ... : learning curves", plot),
    "compare": ("RUN ... : methods held against each other, with intervals", compare),
    "report": ("RUN ... : one HTML file with curves, scores, settings and costs", report),
    "sweep": ("FILE.toml : methods x environments x seeds, side by side; status FOLDER shows how far", sweep),
    "reproduce": ("fig2|fig4a|fig4b|fig4c|fig5|fig6 : a figure of the paper, runs and all", reproduce),
    "envs": ("list environments", envs),
    "check-env": ("ENV : play an environment at random, and say what is wrong with it", check_env),
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
