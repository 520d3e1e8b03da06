"""Shared set-up of the tests: shapes are checked in every signature, and there are four host devices."""

import fcntl
import functools
import gc
import os
import pathlib
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator

import jax
import pytest
from jaxtyping import install_import_hook

QUICK = {
    "xla_backend_optimization_level": 0,
    "xla_llvm_disable_expensive_passes": True,
    "xla_cpu_use_fusion_emitters": False,  # The older emitters take a third of the time.
    "xla_cpu_parallel_codegen_split_count": 1,
}
"""Options of XLA with which a program compiles in a fraction of the time, hardly optimised."""
USUAL = {
    "xla_backend_optimization_level": 3,
    "xla_llvm_disable_expensive_passes": False,
    "xla_cpu_use_fusion_emitters": True,
    "xla_cpu_parallel_codegen_split_count": 32,
}
"""XLA's own choices of the same."""


def quick_flags() -> str:
    """Those of `QUICK` that this version of XLA has, for XLA_FLAGS: at one it does not know a process aborts."""

    def known(flags: list[str]) -> bool:
        changes = {"XLA_FLAGS": " ".join(flags), "JAX_PLATFORMS": "cpu"}
        command = [sys.executable, "-c", "import jax; jax.devices()"]
        return subprocess.run(command, env=os.environ | changes, capture_output=True).returncode == 0

    flags = [f"--{name}={str(value).lower()}" for name, value in QUICK.items()]
    return " ".join(flags if known(flags) else [flag for flag in flags if known([flag])])


ON_CPU = os.environ.get("SECA_TEST_PLATFORM", "cpu") == "cpu"
"""Else the devices are those that JAX finds, and programs as for users (benchmarks/accelerator.sh)."""

# Nearly all of a test's time is compiling. In the environment, for processes of tests to have the same programs, and
# xdist's workers. Who sets a level compiles as that says: `XLA_FLAGS=--xla_backend_optimization_level=3 make test`.
if ON_CPU and "xla_backend_optimization_level" not in os.environ.get("XLA_FLAGS", ""):
    os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {quick_flags()}".strip()
QUICKLY = [name for name, value in QUICK.items() if f"--{name}={str(value).lower()}" in os.environ.get("XLA_FLAGS", "")]
"""Options that are in force."""

# Both before the first `import seca` and before JAX's backend starts, hence at import of this file.
install_import_hook("seca", "beartype.beartype")
if ON_CPU:
    jax.config.update("jax_platforms", "cpu")
    jax.config.update("jax_num_cpu_devices", 4)
# Starts the backend, so that no command called in this process can change the number.
assert jax.device_count() == 4 or not ON_CPU


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--golden DIR`: another folder of reference numbers of the same form."""
    parser.addoption(
        "--golden",
        type=pathlib.Path,
        default=pathlib.Path(__file__).parent / "golden",
        help="folder with the reference numbers (default: tests/golden)",
    )


@pytest.fixture(scope="session")
def golden_dir(request: pytest.FixtureRequest) -> pathlib.Path:
    """The folder of reference numbers."""
    return request.config.getoption("--golden")


@pytest.fixture(scope="session", autouse=True)
def cache_dir(tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Iterator[pathlib.Path]:
    """A compilation cache of the session's own, shared by its processes: the user's is left alone."""
    folder = tmp_path_factory.getbasetemp()
    if hasattr(request.config, "workerinput"):  # Each worker's base is a folder in the session's.
        folder = folder.parent
    folder = folder / "cache"
    folder.mkdir(exist_ok=True)
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.3)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SECA_CACHE_DIR", str(folder))
        yield folder


@pytest.fixture(scope="module", autouse=True)
def forget_programs() -> Iterator[None]:
    """Compiled programs go with their module: thousands at once exhaust a process's memory maps, and XLA aborts."""
    yield
    jax.clear_caches()
    gc.collect()


@pytest.fixture
def usual_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is compiled by `jax.jit` within the test, and in processes it starts, is optimised as for users."""
    options = {name: USUAL[name] for name in QUICKLY}
    monkeypatch.setattr(jax, "jit", functools.partial(jax.jit, compiler_options=options))
    flags = os.environ.get("XLA_FLAGS", "").split()
    monkeypatch.setenv("XLA_FLAGS", " ".join(flag for flag in flags if flag[2:].split("=")[0] not in options))


@pytest.fixture(autouse=True)
def played_programs(request: pytest.FixtureRequest) -> None:
    """Who plays battles by the thousand says so, or is left to `make test-all`: there optimising pays.

    Unless they choose by a fixture `programs` of their own.
    """
    asked = request.node.get_closest_marker("optimised")
    asked = asked or ("smac" in request.path.parts and request.node.get_closest_marker("every"))
    if asked and "programs" not in request.fixturenames:
        request.getfixturevalue("usual_programs")


Seca = Callable[..., subprocess.CompletedProcess[str]]

SMALL_RUN = ["seca", "--env", "matrix/focus-fire", "--runners", "4", "--eval-episodes", "8"]
"""Arguments of `seca train` that compile once for all tests that use them; an iteration is 4 env steps."""


@pytest.fixture(scope="session")
def seca(cache_dir: pathlib.Path) -> Seca:
    """`seca("train", ..., cwd=folder)`: the command in a process of its own, output captured as text."""
    del cache_dir  # Set in the environment, which the process inherits.

    def call(*arguments: object, cwd: pathlib.Path | None = None) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "seca", *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300)

    return call


@pytest.fixture(scope="session")
def small_run() -> list[str]:
    """What to add to `seca train` for a run in seconds, beside `--steps` and `--eval-interval`."""
    return SMALL_RUN


@pytest.fixture(scope="session")
def finished_run(seca: Seca, cache_dir: pathlib.Path) -> pathlib.Path:
    """A finished small run, one for all workers. For reading only; `copied_run` may be changed."""
    path = cache_dir.parent / "finished"
    with (cache_dir.parent / "finished.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (path / "result.json").exists():
            ended = seca("train", *SMALL_RUN, "--steps", 160, "--eval-interval", 40, "--out", path)
            assert ended.returncode == 0, ended.stderr
    return path


@pytest.fixture
def copied_run(finished_run: pathlib.Path, tmp_path: pathlib.Path) -> pathlib.Path:
    """A copy of the finished small run, to damage."""
    return pathlib.Path(shutil.copytree(finished_run, tmp_path / "copied"))


@pytest.fixture
def desk(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A working directory with a folder in it that must survive, a pipe that must not be read, and a loop of links."""
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "file.txt").write_text("somebody's notes")
    (tmp_path / "occupied" / "noise.bin").write_bytes(bytes(range(128, 256)))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "loop").symlink_to("loop")
    monkeypatch.chdir(tmp_path)
    return tmp_path
