"""Shared set-up of the tests: shapes are checked in every signature, and there are four host devices."""

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

# Both before the first `import seca` and before JAX's backend starts, hence at import of this file.
install_import_hook("seca", "beartype.beartype")
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)
assert jax.device_count() == 4  # Starts the backend, so that no command called in this process can change the number.


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
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
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


@functools.cache
def quick_options() -> dict[str, bool]:
    """Options of XLA, of those it has, that shorten compiling: its older emitters take a third of the time."""
    known: dict[str, bool] = {}
    for name, value in {"xla_cpu_use_fusion_emitters": False}.items():
        try:
            jax.jit(lambda x: x + 1, compiler_options={name: value})(0)
            known[name] = value
        except Exception:  # Another version of XLA, without the option: tests are slower, nothing else.
            continue
    return known


@pytest.fixture
def quick_programs(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Programs compiled in a fraction of the time, hardly optimised: for tests that compile much and run little."""
    monkeypatch.setattr(jax, "jit", functools.partial(jax.jit, compiler_options=quick_options()))
    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)


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
def finished_run(seca: Seca, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A finished small run. For reading only; `copied_run` may be changed."""
    path = tmp_path_factory.mktemp("runs") / "finished"
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
