"""Runs from beginning to end: start, save, stop, resume, and compare with the untrained policy."""

import concurrent.futures
import dataclasses
import datetime
import functools
import json
import pathlib

import jax

import seca
from seca import files
from seca.config import RunConfig
from seca.errors import RunError, UsageError
from seca.host import machine
from seca.host.display import Display
from seca.host.loggers import check_installed, open_loggers
from seca.host.signals import StopRequest, stop_on_signals
from seca.learning.buffer import Buffer
from seca.runs import folder as folders
from seca.runs import sources, stats
from seca.runs.folder import RunFolder
from seca.runs.load import Built, Kind, build_run, newest_valid
from seca.runs.recorder import Position, Recorder
from seca.train import checkpoint
from seca.train.evaluate import make_evaluate
from seca.train.iterate import Iterate
from seca.train.loop import NonFiniteError, start_compiling, train
from seca.train.minibatches import training_bytes
from seca.train.state import TrainState, init_state

FINAL_EPISODES = 128
"""Greedy episodes of the comparison at the end of a training."""


@dataclasses.dataclass(frozen=True)
class Prepared:
    """What a configuration stands for, and the devices it trains on."""

    built: Built
    devices: list[jax.Device]
    needed: int
    """Estimate of the bytes that training takes, on one device where each has its own memory."""
    free: int | None
    """Bytes free when it was prepared, where the system says."""


def prepare(config: RunConfig, home: RunFolder | None = None) -> Prepared:
    """Build environment and algorithm and check that they fit the machine. Raises UsageError; writes nothing.

    `home` is the run's folder, if there is one already.
    """
    check_installed(config.loggers)
    built = build_run(config, home=home)
    buffer = built.algorithm.buffer
    drawn = () if buffer is None else buffer.drawn.values()
    devices = machine.choose_devices(config.devices, config.loop.update_episodes, *drawn)
    if buffer is not None:
        _check_replay(buffer, config, len(devices))
    needed = _needed(built, config.loop.runners, config.loop.minibatches, devices)
    prepared = Prepared(built, devices, needed, machine.free_memory(devices[0]))
    _check_memory(prepared)
    return prepared


def _check_replay(buffer: Buffer, config: RunConfig, devices: int) -> None:
    if buffer.episodes < config.loop.runners:
        raise UsageError(
            f"`runners` is {config.loop.runners}: their episodes of one iteration do not fit in the replay buffer, "
            f"which holds {buffer.episodes} on {config.env}; choose fewer runners, or larger `buffer_episodes` or "
            "`buffer_gib`"
        )
    if "latest_episodes" in buffer.drawn and config.loop.minibatches > 1:
        raise UsageError(
            f"`minibatches` is {config.loop.minibatches} but updates of {config.preset} are on the `latest_episodes` "
            f"({buffer.drawn['latest_episodes']}) of all, whichever a minibatch has: choose 1"
        )
    for option, count in buffer.drawn.items():
        if count % devices:
            raise UsageError(
                f"`{option}` is {count} and `devices` is {devices}: replayed episodes are split evenly, so `devices` "
                f"must divide {count}"
            )


def _needed(built: Built, runners: int, minibatches: int, devices: list[jax.Device]) -> int:
    shared = training_bytes(built.env, built.algorithm, runners, minibatches)
    whole = built.algorithm.buffer_bytes
    # Host devices share one memory; accelerators have one each, and the runners are split.
    return shared + len(devices) * whole if devices[0].platform == "cpu" else shared // len(devices) + whole


def _check_memory(prepared: Prepared) -> None:
    algorithm, config, free = prepared.built.algorithm, prepared.built.config, prepared.free
    if free is None or prepared.needed <= free:
        return
    needs = (
        f"training {config.preset} on {config.env} needs about {prepared.needed / 2**30:.1f} GiB and "
        f"{free / 2**30:.1f} GiB are free"
    )
    buffer = algorithm.buffer_bytes
    smaller = f", or `buffer_gib` below {buffer / 2**30:.1f}" if buffer else ""
    if buffer and len(prepared.devices) > 1 and prepared.devices[0].platform == "cpu":
        smaller += f", or fewer `devices` than {len(prepared.devices)}, each of which holds the buffer"
    least = _needed(prepared.built, len(prepared.devices), 1, prepared.devices)
    if least > free:
        raise UsageError(
            f"`algorithm` is too large: {needs}; {least / 2**30:.1f} GiB of it would stay with a single runner on each "
            f"device, so choose smaller networks{smaller}"
        )
    raise UsageError(f"`runners` is {config.loop.runners}: {needs}; choose fewer runners{smaller}")


def start(config: RunConfig, out: pathlib.Path | None, display: Display) -> int:
    """Train from the beginning into a new run folder; returns the exit code."""
    if out is not None:
        folders.check_free(out)
    prepared = prepare(config)
    path = out or folders.free_path(config)  # Named after the environment: now it is known that there is one.
    with folders.created(path, config) as folder:
        sources.keep(folder, config)
        sources.check(folder, prepared.built)
        _introduce(prepared, folder, display)  # First: compiling and the untrained state take memory already.
        with stop_on_signals(lambda: _how_to_resume(folder)) as stop:
            built, devices = prepared.built, prepared.devices
            compiling = start_compiling(
                built.env, built.algorithm, config.loop.runners, devices, config.loop.minibatches
            )
            return _train(prepared, folder, untrained(prepared), Position(), display, stop, compiling)


def untrained(prepared: Prepared) -> TrainState:
    """State of the run before its first iteration, made by one program instead of one per array: it starts sooner."""
    return jax.jit(functools.partial(init_state, prepared.built.algorithm))(prepared.built.config.seed)


def resume(path: pathlib.Path, kind: Kind, display: Display) -> int:
    """Go on with a run from its newest checkpoint; returns the exit code."""
    folder = folders.existing(path)
    config = folders.read_config(folder.config)
    with folders.locked(folder):
        prepared = prepare(config, folder)
        found = newest_valid(folder, kind, prepared.built)
        if found is None and folder.metrics.is_file() and len(folders.read_metrics(folder)) > 1:
            raise UsageError(f"`run` is {path}: it has metrics but no {kind} checkpoint to go on from")
        position = Position() if found is None else found[1]
        warnings = session_changes(folder, prepared)
        folders.check_metrics(folder, position.metrics_lines, position.metrics_bytes)
        # Nothing on disk is touched before everything has been read and found good.
        state = untrained(prepared) if found is None else found[0]
        if kind == "best" and found is not None:
            # It has no replay buffer, which starts empty again. It becomes `latest` before the metrics are cut to it:
            # whenever a kill comes, the two belong together.
            state = dataclasses.replace(state, replay=untrained(prepared).replay)
            metadata = checkpoint.read_metadata(checkpoint.find(folder.checkpoints, kind)[0])
            checkpoint.save(folder.checkpoints, "latest", state, metadata)
        folders.cut_metrics(folder, position.metrics_bytes)
        checkpoint.clean(folder.checkpoints)
        checkpoint.drop_snapshots(folder.checkpoints, after=int(state.env_steps))
        for warning in warnings:
            display.note(warning)
        display.note(f"resuming {path} at env step {int(state.env_steps):,}")
        _introduce(prepared, folder, display)
        with stop_on_signals(lambda: _how_to_resume(folder)) as stop:
            return _train(prepared, folder, state, position, display, stop)


def session_changes(folder: RunFolder, prepared: Prepared) -> list[str]:
    """Warnings, one line each, when this process may not give the numbers of the one before bit for bit."""
    environment = folders.read_environment(folder)
    if not environment or not environment["sessions"]:
        return []
    before, now = {"jax_options": {}} | environment["sessions"][-1], machine.session(prepared.devices)
    compared = ("seca", "commit", "packages", "processor", "cores", "xla_flags", "jax_options", "devices")
    changed = [
        f"{name} {json.dumps(before.get(name))} -> {json.dumps(now[name])}"
        for name in compared
        if before.get(name) != now[name]
    ]
    return [f"warning: not bit for bit the same as without the break: {'; '.join(changed)}"] if changed else []


def _train(
    prepared: Prepared,
    folder: RunFolder,
    state: TrainState,
    position: Position,
    display: Display,
    stop: StopRequest,
    compiling: "concurrent.futures.Future[Iterate] | None" = None,
) -> int:
    """Train from `state` to the end of the budget, a signal or a broken number; returns the exit code."""
    config, devices = prepared.built.config, prepared.devices
    if stop:  # While the untrained state was made.
        return _ended(folder, stop, display)
    folders.add_session(
        folder,
        prepared.built.env.spec,
        {"started": _now(), "env_steps": int(state.env_steps)} | machine.session(devices),
    )
    folder.absolute.unlink(missing_ok=True)  # Measured before, it may be of another policy than at the end.
    loggers = open_loggers(config, folder.path, int(state.env_steps), display.note)
    with Recorder(folder, config, prepared.built.env, position, display, loggers, stop) as recorder:
        try:
            with display.running():
                built = prepared.built
                state = train(built.env, built.algorithm, state, config.loop, recorder, devices, compiling=compiling)
        except NonFiniteError as error:
            recorder.save_best()
            raise RunError(f"{error}, see {folder.checkpoints}") from None
        except (RunError, UsageError) as error:  # Of workers that play outside of the loop.
            recorder.save_last()
            raise type(error)(f"{error}; {_how_to_resume(folder)}") from None
        recorder.save(state)
    if not stop:
        state = state.without_replay()  # Room for the untrained policy's.
        report_result(prepared, folder, state, display)
    return _ended(folder, stop, display)


def _introduce(prepared: Prepared, folder: RunFolder, display: Display) -> None:
    """What runs where, and what it will take."""
    config, devices = prepared.built.config, prepared.devices
    display.note(
        f"seca {seca.__version__}, jax {jax.__version__}, {len(devices)} x {devices[0].device_kind} "
        f"({devices[0].platform}); {config.preset} on {config.env}, seed {config.seed}, run folder {folder.path}"
    )
    buffer = prepared.built.algorithm.buffer_bytes
    free = "" if prepared.free is None else f" of {prepared.free / 2**30:.1f} GiB free"
    replay = f", {buffer / 2**30:.2f} GiB of it for replayed episodes" if buffer else ""
    display.note(f"memory: about {prepared.needed / 2**30:.2f} GiB{free}{replay}")
    if config.adaptation.share == "type" and not prepared.built.env.spec.agent_types:
        display.note(f"`share` is type, but {config.env} tells of one type only: one network acts, as with all")


def _ended(folder: RunFolder, stop: StopRequest, display: Display) -> int:
    display.note(_how_to_resume(folder) if stop else f"run folder: {folder.path}")
    return stop.exit_code


def _how_to_resume(folder: RunFolder) -> str:
    return f"stopped; go on with: seca resume {folder.path}"


def report_result(prepared: Prepared, folder: RunFolder, state: TrainState, display: Display) -> None:
    """Play the trained and the untrained policy greedily in the same battles; print both and write `result.json`."""
    evaluate = make_evaluate(prepared.built.env, prepared.built.algorithm, FINAL_EPISODES, prepared.devices)
    key = stats.evaluation_key(prepared.built.config.seed)
    trained = stats.summary(evaluate(state, key))
    before = stats.summary(evaluate(untrained(prepared), key))
    result = {"env_steps": int(state.env_steps), "greedy": True, "trained": trained, "untrained": before}
    files.write(folder.result, json.dumps(result, indent=1) + "\n")
    over = " and ".join(map(str, dict.fromkeys((trained["episodes"], before["episodes"]))))
    display.note(f"greedy {'win rate' if 'win_rate' in trained else 'return'} over {over} episodes:")
    display.note(f"  trained    {stats.sentence(trained)}")
    display.note(f"  untrained  {stats.sentence(before)}")


def _now() -> str:
    return datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
