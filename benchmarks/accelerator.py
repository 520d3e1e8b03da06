"""The parts of benchmarks/accelerator.sh, each in a process of its own.

    python benchmarks/accelerator.py --out FOLDER [--minutes 8] [--quick] [--parts PART ...] [--list]

Each part has a limit, and all together the minutes given: what is left over is said to be left out. `results.jsonl` has
a line for every number as soon as it is measured, `summary.md` tables of them. Programs of one part are compiled side
by side, then timed one after the other with nothing beside them.
"""

import argparse
import concurrent.futures
import dataclasses
import functools
import importlib.util
import json
import os
import pathlib
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

ROOT = pathlib.Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
if os.environ.get("SECA_WHEELS"):
    sys.path.append(os.environ["SECA_WHEELS"])  # Last: what the machine brings goes first.

NEEDED = (
    "jax equinox jaxtyping optax flashbax orbax.checkpoint msgspec tyro rich numpy matplotlib PIL pytest beartype "
    "hypothesis tensorboardX jaxmarl"
).split()
GRAPHS = "--xla_gpu_enable_command_buffer=FUSION,CUBLAS,CUBLASLT,CUSTOM_CALL,CUDNN,WHILE,CONDITIONAL"
"""XLA_FLAGS with which loops, too, are recorded once and launched as one graph."""
TESTS = """
tests/algos/test_golden_update.py tests/nets tests/credit tests/learning/test_rows.py
tests/smac/test_frames.py tests/train/test_checkpoint.py
""".split()
DEVICE_TESTS = """
tests/devices/test_on_device.py tests/algos/test_golden_update.py::test_consecutive_updates_float32
""".split()
TARGET = 0.95


@dataclasses.dataclass(frozen=True)
class Sizes:
    """How much is measured."""

    maps: tuple[str, ...]
    batches: tuple[int, ...]
    runners: tuple[int, ...]
    seconds: float
    """How long each program is timed at least."""
    learn: tuple[tuple[int, int], ...]
    """Runners and minibatches with which 2s3z is learned from nothing."""
    learn_steps: int
    forks: tuple[int, int]
    """Steps and forks of an audit."""
    patience: float
    """Seconds until what is compiled is timed though others still compile beside it."""


FULL = Sizes(
    maps=("2s3z", "3m", "MMM2", "27m_vs_30m"),
    batches=(32, 512, 4096, 32_768, 262_144),
    runners=(32, 256, 2048),
    seconds=1.0,
    learn=((2048, 64), (512, 16)),
    learn_steps=4_000_000,
    forks=(64, 1024),
    patience=40.0,
)
QUICK = Sizes(
    maps=("2s3z", "3m"),
    batches=(32, 512),
    runners=(32, 64),
    seconds=0.5,
    learn=((64, 2),),
    learn_steps=20_000,
    forks=(16, 256),
    patience=300.0,
)

Tell = Callable[..., None]


def with_failures(tell: Tell, rows: Iterable[Callable[[], dict[str, Any]]], **about: Any) -> None:
    """Tell each row, or why there is none: memory that runs out must not take the smaller sizes with it."""
    for row in rows:
        try:
            tell(**about, **row())
        except Exception as error:  # Whatever the device says.
            tell(**about, failed=f"{type(error).__name__}: {str(error)[:300]}")


def side_by_side(makers: dict[Any, Callable[[], Any]], patience: float) -> Iterator[tuple[Any, Callable[[], Any]]]:
    """What the makers make, by their names, all begun at once: compiling takes other cores, not the device.

    Once all are done, or `patience` seconds have passed: those that are done first, then each as it comes, so that a
    program that compiles for long holds up no other.
    """
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
    making = {pool.submit(make): name for name, make in makers.items()}
    pool.shutdown(wait=False)
    done = concurrent.futures.wait(making, patience).done
    yield from ((name, future.result) for future, name in making.items() if future in done)
    for future in concurrent.futures.as_completed(future for future in making if future not in done):
        yield making[future], future.result


def about(tell: Tell, sizes: Sizes) -> None:
    """What is there."""
    missing = [name for name in NEEDED if not _importable(name)]
    tell(missing=missing)
    import jax

    from seca.host import machine

    devices = jax.devices()
    memory = [(device.memory_stats() or {}).get("bytes_limit") for device in devices]
    tell(**machine.session(devices), jax=jax.__version__, backend=jax.default_backend(), memory_bytes=memory)
    for command in (["nvidia-smi"], ["nvidia-smi", "topo", "-m"]):
        try:
            print(subprocess.run(command, capture_output=True, text=True, timeout=30).stdout, flush=True)
        except (OSError, subprocess.TimeoutExpired) as error:
            print(f"{' '.join(command)}: {error}")


def _importable(name: str) -> bool:
    try:
        return importlib.util.find_spec(name) is not None
    except ImportError:
        return False


def simulator(tell: Tell, sizes: Sizes) -> None:
    """Random legal play with immediate resets, everything computed: env steps per second of our simulator."""
    from seca.envs import smac

    _rates(tell, sizes, smac.make, sizes.maps)


def smax(tell: Tell, sizes: Sizes) -> None:
    """The same of SMAX, by the same loop."""
    from seca.host import smax as their

    if not their.map_names():
        tell(failed="jaxmarl is not installed")
        return
    # One map: its programs take about a minute of a core each to compile.
    maps, fewer = sizes.maps[:1], dataclasses.replace(sizes, batches=sizes.batches[-3:])
    _rates(tell, fewer, their.make, maps)
    # Not as it comes: reset only where a battle has ended.
    _rates(tell, fewer, functools.partial(their.make, own_step=False), maps)


def _rates(tell: Tell, sizes: Sizes, make: Callable[[str], Any], maps: Iterable[str]) -> None:
    cases = [(name, batch) for batch in sizes.batches for name in maps]
    # As many steps that a call takes some tenths of a second at least.
    steps = {batch: max(10, min(200, 2**20 // batch)) for batch in sizes.batches}
    makers = {c: functools.partial(_play, make, c[0], c[1], steps[c[1]]) for c in cases}
    for (name, batch), made in side_by_side(makers, sizes.patience):
        with_failures(tell, [lambda made=made: made().time(sizes.seconds)], map=name, runners=batch)


def _play(make: Callable[[str], Any], name: str, batch: int, steps: int) -> Any:
    from seca.host import throughput

    return throughput.compile_play(make(name), batch, 1, steps)


def training(tell: Tell, sizes: Sizes, preset: str, **options: Any) -> None:
    """Iterations of a method on 2s3z with an update for each 32 runners, and what memory they take."""
    from seca.config import LoopConfig, from_preset
    from seca.host import machine
    from seca.runs import bench, run
    from seca.train.loop import compile_iterate

    def made(runners: int) -> Any:
        loop = LoopConfig(runners=runners, minibatches=runners // 32)
        config = dataclasses.replace(from_preset(preset), env="smac/2s3z", loop=loop, devices=1)
        prepared = run.prepare(config)
        built, began = prepared.built, time.perf_counter()
        iterate = compile_iterate(built.env, built.algorithm, runners, prepared.devices, loop.minibatches)
        return prepared, iterate, time.perf_counter() - began

    def timed(result: Callable[[], Any]) -> dict[str, Any]:
        prepared, iterate, compile_s = result()
        estimate = bench.estimated_memory(prepared.built, 1)
        return {"compile_seconds": compile_s, **_iterations(prepared, iterate, sizes.seconds)} | {
            # Of the process so far, what compiling tried out on the device included: sizes grow from row to row.
            "peak_memory_bytes": machine.peak_memory(prepared.devices),
            "estimated_memory_bytes": estimate,
        }

    with_runners = options.get("runners", sizes.runners)
    makers = {runners: functools.partial(made, runners) for runners in with_runners}
    for runners, result in side_by_side(makers, sizes.patience):
        with_failures(
            tell, [functools.partial(timed, result)], method=preset, runners=runners, **options.get("say", {})
        )


def _iterations(prepared: Any, iterate: Any, seconds: float) -> dict[str, Any]:
    """Rates over at least three iterations after the first."""
    import statistics

    import jax

    from seca.runs.run import untrained
    from seca.train.iterate import spread

    state = spread(untrained(prepared), prepared.devices)
    rates, durations, began = [], [], time.perf_counter()
    while len(rates) < 4 or time.perf_counter() - began < seconds:
        started, before = time.perf_counter(), int(state.env_steps)
        state, metrics = iterate(state)
        jax.device_get(metrics)
        durations.append(time.perf_counter() - started)
        rates.append((int(state.env_steps) - before) / durations[-1])
    return {"env_steps_per_second": statistics.median(rates[1:]), "iteration_seconds": statistics.median(durations[1:])}


def learn(tell: Tell, sizes: Sizes) -> None:
    """From nothing to 95 % of 2s3z: seconds from the start of the process, all compiling included."""
    with tempfile.TemporaryDirectory() as folder:
        for runners, minibatches in sizes.learn:
            run = pathlib.Path(folder) / f"{runners}"
            command = [sys.executable, "-m", "seca", "train", "seca", "--env", "smac/2s3z", "--out", str(run)]
            command += ["--runners", str(runners), "--minibatches", str(minibatches), "--devices", "1"]
            command += ["--steps", str(sizes.learn_steps), "--eval-episodes", "128", "--eval-interval", "100000"]
            began = time.perf_counter()
            process = subprocess.Popen(command, env=os.environ | {"PYTHONPATH": _python_path()})
            try:
                _watch(tell, run / "metrics.jsonl", process, began, runners=runners, minibatches=minibatches)
            finally:
                process.send_signal(signal.SIGTERM)
                process.wait()
            tell(runners=runners, minibatches=minibatches, exit_code=process.returncode)
        # Last: from here on this process holds memory of the device.
        _forks(tell, sizes, pathlib.Path(folder) / f"{sizes.learn[0][0]}")


def _watch(tell: Tell, path: pathlib.Path, process: subprocess.Popen, began: float, **about: Any) -> None:
    """Tell of each evaluation as it comes, until two in a row are good enough or the process ends."""
    told, good, goes_on = 0, 0, True
    while goes_on and good < 2:
        time.sleep(0.1)
        goes_on = process.poll() is None  # Asked before reading: what it wrote at its end is read once more.
        lines = path.read_text().splitlines(keepends=True) if path.exists() else []
        for line in [line for line in lines if line.endswith("\n")][told:]:
            told, row = told + 1, json.loads(line)
            if row["kind"] == "eval":
                tell(**about, seconds=time.perf_counter() - began, env_steps=row["env_steps"], win_rate=row["win_rate"])
                good = good + 1 if row["win_rate"] >= TARGET else 0


def _forks(tell: Tell, sizes: Sizes, run: pathlib.Path) -> None:
    """Forked env steps per second of an audit of what was learned, without the first block of forks, which compiles."""
    from seca.runs.load import load
    from seca.truth.audit import audit
    from seca.truth.rounds import Plan

    seen: list[tuple[float, float]] = []
    steps, forks = sizes.forks
    try:
        audit(load(run), Plan(steps, forks), tell=lambda share, done: seen.append((time.perf_counter(), done)))
    except Exception as error:
        tell(failed=f"audit: {type(error).__name__}: {str(error)[:300]}")
        return
    (first, at_first), (last, at_last) = seen[0], seen[-1]
    rate = (at_last - at_first) / max(last - first, 1e-9)
    tell(audit_steps=steps, forks=forks, forked_env_steps=at_last, forked_env_steps_per_second=rate)


def variants(tell: Tell, sizes: Sizes) -> None:
    """Sizes of the platform against others: what is visited at once, and what is written out."""
    from seca.envs import smac
    from seca.host import throughput
    from seca.sizes import ACCELERATOR, CPU, using

    def play(unrolled: int) -> Any:
        with using(dataclasses.replace(ACCELERATOR, unrolled=unrolled)):
            return throughput.compile_play(smac.make("2s3z"), sizes.batches[min(2, len(sizes.batches) - 1)])

    makers = {unrolled: functools.partial(play, unrolled) for unrolled in (1, 8, 32)}
    for unrolled, made in side_by_side(makers, sizes.patience):
        with_failures(tell, [lambda made=made: made().time(sizes.seconds)], unrolled=unrolled)
    # Threads have sizes of their own: a process's choice would not reach those that compile.
    for name, chosen in (("cpu", CPU), ("accelerator", ACCELERATOR)):
        with_failures(tell, [functools.partial(_trained_with, chosen, sizes)], sizes=name, runners=sizes.runners[-1])


def _trained_with(chosen: Any, sizes: Sizes) -> dict[str, Any]:
    from seca.config import LoopConfig, from_preset
    from seca.runs import run
    from seca.sizes import using
    from seca.train.loop import compile_iterate

    loop = LoopConfig(runners=sizes.runners[-1], minibatches=sizes.runners[-1] // 32)
    with using(chosen):
        prepared = run.prepare(dataclasses.replace(from_preset("seca"), env="smac/2s3z", loop=loop, devices=1))
        built = prepared.built
        iterate = compile_iterate(built.env, built.algorithm, loop.runners, prepared.devices, loop.minibatches)
        return _iterations(prepared, iterate, sizes.seconds)


def profile(tell: Tell, sizes: Sizes) -> None:
    """Where the device's time goes in an iteration of seca: the kernels that take most."""
    import collections

    import jax

    from seca.config import LoopConfig, from_preset
    from seca.runs import run
    from seca.train.iterate import spread
    from seca.train.loop import compile_iterate

    loop = LoopConfig(runners=sizes.runners[1], minibatches=sizes.runners[1] // 32)
    prepared = run.prepare(dataclasses.replace(from_preset("seca"), env="smac/2s3z", loop=loop, devices=1))
    built = prepared.built
    iterate = compile_iterate(built.env, built.algorithm, loop.runners, prepared.devices, loop.minibatches)
    state, _ = iterate(spread(run.untrained(prepared), prepared.devices))
    jax.block_until_ready(state)
    with tempfile.TemporaryDirectory() as folder:
        began = time.perf_counter()
        with jax.profiler.trace(folder):
            jax.block_until_ready(iterate(state))
        spent = time.perf_counter() - began
        (trace,) = pathlib.Path(folder).rglob("*.xplane.pb")
        data = jax.profiler.ProfileData.from_file(str(trace))
        for plane in data.planes:
            if "GPU" not in plane.name and "/device" not in plane.name.lower():
                continue
            for line in plane.lines:
                total, count = collections.Counter(), collections.Counter()
                for event in line.events:
                    total[event.name] += event.duration_ns
                    count[event.name] += 1
                about = {"plane": plane.name, "line": line.name, "runners": loop.runners, "wall_seconds": spent}
                tell(**about, events=sum(count.values()), busy_seconds=sum(total.values()) / 1e9)
                for name, nanoseconds in total.most_common(25):
                    tell(**about, kernel=name[:120], seconds=nanoseconds / 1e9, times=count[name])


def scaling(tell: Tell, sizes: Sizes) -> None:
    """Weak scaling: as many environments, and as many runners, for each device as for one."""
    import jax

    from seca.config import LoopConfig, from_preset
    from seca.envs import smac
    from seca.host import throughput
    from seca.runs import run
    from seca.train.loop import compile_iterate

    counts = [count for count in (1, 2, 4, 8) if count <= jax.device_count()]
    if counts == [1]:
        tell(failed="one device; XLA_FLAGS=--xla_force_host_platform_device_count=4 makes four of a CPU")
        return
    batch, runners = sizes.batches[1] * 8, sizes.runners[1]
    for count in counts:
        measured = functools.partial(throughput.measure, smac.make("2s3z"), batch * count, sizes.seconds, count)
        with_failures(tell, [measured], what="simulator")

    def train(count: int) -> dict[str, Any]:
        loop = LoopConfig(runners=runners * count, minibatches=runners // 32)
        config = dataclasses.replace(from_preset("seca"), env="smac/2s3z", loop=loop, devices=count)
        prepared = run.prepare(config)
        built = prepared.built
        iterate = compile_iterate(built.env, built.algorithm, loop.runners, prepared.devices, loop.minibatches)
        return {"devices": count, "runners": loop.runners, **_iterations(prepared, iterate, sizes.seconds)}

    with_failures(tell, [functools.partial(train, count) for count in counts], what="training")


def tests(tell: Tell, sizes: Sizes) -> None:
    """Tests that say most about a device, on it: `tests.txt` has what they print."""
    out = pathlib.Path(os.environ["SECA_OUT"]) / "tests.txt"
    environment = os.environ | {"SECA_TEST_PLATFORM": "default", "PYTHONPATH": _python_path()}
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-rfEs", "-W", "default"]
    if _importable("xdist"):  # Compiling takes nearly all of the time; the processes share the device.
        command += ["-n", str(min(8, os.cpu_count() or 1))]
        environment["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    # By default products may have 10 bits, for which tolerances are wide; golden numbers in full are held to 1e-5.
    for precision, chosen in ((None, DEVICE_TESTS), ("highest", ["-m", "not every", *TESTS])):
        changes = {} if precision is None else {"JAX_DEFAULT_MATMUL_PRECISION": precision}
        ended = subprocess.run(
            [*command, *chosen], cwd=ROOT, env=environment | changes, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        text = ended.stdout.decode(errors="replace")
        with out.open("a") as file:
            file.write(text)
        lines = text.splitlines()
        tell(exit_code=ended.returncode, last_line=lines[-1] if lines else "")
        for line in lines:
            if line.startswith(("FAILED", "ERROR", "SKIPPED")):
                tell(test=line[:300])


def _python_path() -> str:
    return os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"), os.environ.get("SECA_WHEELS"))))


PARTS: dict[str, tuple[float, Callable[[Tell, Sizes], None], dict[str, str]]] = {
    "about": (15, about, {}),
    "simulator": (85, simulator, {}),
    "train-seca": (60, functools.partial(training, preset="seca"), {}),
    "learn": (75, learn, {}),
    "smax": (45, smax, {}),
    "tests": (70, tests, {}),
    "train-mappo": (35, functools.partial(training, preset="mappo"), {}),
    "train-qmix": (35, functools.partial(training, preset="qmix"), {}),
    "profile": (25, profile, {}),
    "variants": (60, variants, {}),
    "scaling": (60, scaling, {}),
    "graphs": (60, functools.partial(training, preset="seca", say={"xla": GRAPHS}), {"XLA_FLAGS": GRAPHS}),
}
"""Seconds at most, what is done, and changes of the environment; the most telling first. All but the last three fit
into eight minutes even if each takes its whole limit."""
OPTIONAL = ("variants", "scaling", "graphs")


def run_part(name: str, out: pathlib.Path, sizes: Sizes) -> None:
    """Within the process of a part: its rows are appended as they come."""
    with (out / "results.jsonl").open("a") as file:

        def tell(**row: Any) -> None:
            file.write(json.dumps({"part": name} | row, default=str) + "\n")
            file.flush()

        if name != "about":  # Which has to say what is missing for the rest.
            from seca import numerics

            numerics.pin()
        PARTS[name][1](tell, sizes)


def run_all(
    names: Iterable[str], out: pathlib.Path, deadline: float, arguments: list[str], patience: float = 1.0
) -> bool:
    """One part after the other, none beyond the deadline, or `patience` times its own limit; whether all went well."""
    well = True
    for name in names:
        limit, _, changes = PARTS[name]
        left = deadline - time.monotonic()
        row: dict[str, Any] = {"part": name}
        if left < 15:
            row["left_out"] = "no time left"
        else:
            # No cache: what was compiled before would seem to compile at once.
            environment = os.environ | {"SECA_OUT": str(out), "SECA_CACHE_DIR": ""}
            for key, value in changes.items():
                environment[key] = f"{environment.get(key, '')} {value}".strip()
            began = time.monotonic()
            row["ended"] = _child(
                [*arguments, "--part", name], environment, out / "log.txt", min(patience * limit, left)
            )
            row["seconds"] = round(time.monotonic() - began, 1)
        well &= row.get("ended", "well") == "well"
        print(" ".join(f"{key}={value}" for key, value in row.items()), flush=True)
        with (out / "results.jsonl").open("a") as file:
            file.write(json.dumps(row) + "\n")
        (out / "summary.md").write_text(summary(out / "results.jsonl"))
    return well


def _child(arguments: list[str], environment: dict[str, str], log: pathlib.Path, seconds: float) -> str:
    """Run a part with all that it starts; how it ended, in a word."""
    with log.open("a") as file:
        file.write(f"\n== {arguments[-1]}\n")
        file.flush()
        command = [sys.executable, str(pathlib.Path(__file__).resolve()), *arguments]
        process = subprocess.Popen(
            command, env=environment, stdout=file, stderr=subprocess.STDOUT, start_new_session=True
        )
        try:
            code = process.wait(seconds)
            return "well" if code == 0 else f"exit code {code}"
        except subprocess.TimeoutExpired:
            return "at its time limit"
        finally:
            try:
                os.killpg(process.pid, signal.SIGKILL)  # Whatever it started, too.
            except ProcessLookupError:
                pass
            process.wait()


COLUMNS = {
    "map": "map", "what": "what", "method": "method", "env": "env", "runners": "environments", "minibatches": "updates",
    "devices": "devices", "unrolled": "written out", "sizes": "sizes", "env_steps_per_second": "env steps/s",
    "iteration_seconds": "iteration, s", "compile_seconds": "compile, s", "peak_memory_bytes": "peak, GiB",
    "estimated_memory_bytes": "estimate, GiB", "seconds": "seconds", "env_steps": "env steps", "win_rate": "win rate",
    "jax": "jax", "backend": "backend", "memory_bytes": "memory, bytes",
    "forked_env_steps_per_second": "forked env steps/s", "kernel": "kernel", "times": "times", "exit_code": "exit code",
    "last_line": "last line", "test": "test", "missing": "missing", "failed": "failed",
}  # fmt: skip


def summary(path: pathlib.Path) -> str:
    """Tables of what was measured, a part each, in Markdown."""
    parts: dict[str, list[dict[str, Any]]] = {}
    for line in path.read_text().splitlines():
        try:
            row = json.loads(line)
        except json.JSONDecodeError:  # Of a part that was killed while it wrote.
            continue
        parts.setdefault(row.pop("part"), []).append(row)
    text = []
    for name, rows in parts.items():
        ends = [row for row in rows if "ended" in row or "left_out" in row]
        measured = [row for row in rows if row not in ends and any(key in COLUMNS for key in row)]
        text.append(f"## {name}\n")
        text += [f"{row.get('ended') or row['left_out']}, {row.get('seconds', 0)} s\n" for row in ends]
        keys = [key for key in COLUMNS if any(key in row for row in measured)]
        if measured:
            text.append("| " + " | ".join(COLUMNS[key] for key in keys) + " |\n" + "|---" * len(keys) + "|")
            text += ["| " + " | ".join(_cell(key, row.get(key, "")) for key in keys) + " |" for row in measured]
            text.append("")
    return "\n".join(text) + "\n"


def _cell(key: str, value: Any) -> str:
    if value == "" or isinstance(value, bool | str):
        return " ".join(str(value).replace("|", "/").split())
    if key.endswith("_bytes") and not isinstance(value, list):
        return f"{value / 2**30:.2f}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def main() -> int:
    """Run all parts, or one."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("accelerator"))
    parser.add_argument("--minutes", type=float, default=8.0, help="for all parts together")
    parser.add_argument("--parts", nargs="+", choices=list(PARTS), default=list(PARTS), metavar="PART")
    parser.add_argument("--part", choices=list(PARTS), help=argparse.SUPPRESS)
    parser.add_argument("--quick", action="store_true", help="small sizes, as for a CPU")
    parser.add_argument("--list", action="store_true", help="say what the parts are, and stop")
    options = parser.parse_args()
    if options.list:
        for name, (limit, fn, _) in PARTS.items():
            what = (fn.func if isinstance(fn, functools.partial) else fn).__doc__ or ""
            print(f"{name:<14}{limit:>4.0f} s  {what.splitlines()[0]}")
        return 0
    out = options.out.resolve()
    if options.part:
        run_part(options.part, out, QUICK if options.quick else FULL)
        return 0
    deadline = time.monotonic() + 60 * options.minutes
    if (out / "results.jsonl").exists():
        print(f"accelerator.py: `out` is {out}: it has results already; choose an empty folder", file=sys.stderr)
        return 2
    out.mkdir(parents=True, exist_ok=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # So that the part that runs is ended, too.
    quick = options.quick or _has_only_cpus()
    print(f"{'small' if quick else 'full'} sizes", flush=True)
    arguments = ["--out", str(out), *(["--quick"] if quick else [])]
    return 0 if run_all(options.parts, out, deadline, arguments, patience=6.0 if quick else 1.0) else 1


def _has_only_cpus() -> bool:
    """Asked in a process of its own: this one must not hold a device."""
    command = [sys.executable, "-c", "import jax; print(jax.default_backend())"]
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=60)
    except subprocess.TimeoutExpired:
        return False
    return found.stdout.split()[-1:] == ["cpu"]


if __name__ == "__main__":
    sys.exit(main())
