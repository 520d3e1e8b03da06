"""The machine a run is on: devices, compilation cache, versions."""

import importlib.metadata
import math
import os
import pathlib
import platform
import resource
import subprocess
import sys
import tempfile
from typing import Any

import jax

import seca
from seca import numerics
from seca.config import divisors
from seca.errors import UsageError

VERSIONED = ("jax", "jaxlib", "equinox", "optax", "orbax-checkpoint", "numpy")
"""Packages whose version can change a number."""


def cpu_cores() -> int:
    """Cores this process may use."""
    if sys.platform == "linux":
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def configure(devices: int, runners: int) -> None:
    """Prepare JAX for a run: our numeric settings, one host device per core used, and the compilation cache.

    Belongs to entry points only, before the backend starts; where it has started already its device count stays.
    """
    numerics.pin()
    host_devices = devices or max(count for count in divisors(runners) if count <= cpu_cores())
    try:
        jax.config.update("jax_num_cpu_devices", host_devices)
    except RuntimeError:  # The backend is running, as in tests; `choose_devices` checks that it has enough devices.
        pass
    enable_cache()
    try:
        jax.devices()
    except (RuntimeError, AssertionError) as error:  # The latter for a platform whose plugin is not installed.
        why = [*str(error).splitlines(), "its plugin is not installed"][0]
        raise UsageError(
            f"`JAX_PLATFORMS` is {jax.config.values['jax_platforms']!r}: no such device can be used ({why}); `unset "
            "JAX_PLATFORMS` takes what there is"
        ) from None


def cache_dir() -> pathlib.Path | None:
    """Folder of the compilation cache; the environment variable SECA_CACHE_DIR moves it, or turns it off if empty.

    None, too, for who has no home folder.
    """
    chosen = os.environ.get("SECA_CACHE_DIR")
    if chosen is None:
        try:
            return pathlib.Path.home() / ".cache" / "seca"
        except RuntimeError:
            return None
    return pathlib.Path(chosen) if chosen else None


def cache_problem() -> str | None:
    """Why there is no compilation cache although none was declined, in words, or None."""
    folder = cache_dir()
    if folder is None:
        return None if "SECA_CACHE_DIR" in os.environ else "there is no home folder"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(2**16))  # A full disk still takes an empty file.
        return None
    except OSError as error:
        return f"{folder} takes no files ({error.strerror})"


def enable_cache() -> None:
    """Keep compiled programs on disk, so that the second start of the same run is quick.

    Where that is not possible a line on stderr says so.
    """
    folder, problem = cache_dir(), cache_problem()
    if problem is not None:
        print(f"seca: warning: no compilation cache: {problem}; SECA_CACHE_DIR=FOLDER makes one", file=sys.stderr)
    if folder is None or problem is not None:
        jax.config.update("jax_enable_compilation_cache", False)
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
    jax.config.update("jax_persistent_cache_min_entry_size_bytes", -1)


def choose_devices(devices: int, runners: int, *drawn: int) -> list[jax.Device]:
    """The devices to split `runners` and batches of `drawn` episodes over: as many as asked for, or (0) as divide all.

    Raises UsageError when there are fewer than asked for.
    """
    available = jax.devices()
    if devices > len(available):
        raise UsageError(
            f"`devices` is {devices}: JAX offers {len(available)} ({available[0].platform}); choose at most that many"
        )
    most = min(len(available), cpu_cores()) if available[0].platform == "cpu" else len(available)
    return available[: devices or max(count for count in divisors(math.gcd(runners, *drawn)) if count <= most)]


def free_memory(device: jax.Device) -> int | None:
    """Bytes a run may still take on `device`, or None where the system does not say."""
    if device.platform != "cpu":
        stats = device.memory_stats() or {}
        return stats["bytes_limit"] - stats["bytes_in_use"] if "bytes_limit" in stats else None
    meminfo = pathlib.Path("/proc/meminfo")
    if not meminfo.is_file():
        return None
    fields = dict(line.split(":", 1) for line in meminfo.read_text().splitlines())
    return int(fields["MemAvailable"].split()[0]) * 1024


def peak_memory(devices: list[jax.Device]) -> int:
    """Most bytes in use at once so far: on `devices` together, or of this process where they use the host's memory."""
    stats = [device.memory_stats() or {} for device in devices]
    if all("peak_bytes_in_use" in known for known in stats):
        return sum(known["peak_bytes_in_use"] for known in stats)
    status = pathlib.Path("/proc/self/status")
    if status.is_file():
        # Not getrusage, whose peak is handed down: a process started by a larger one would report that one's.
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        if "VmHWM" in fields:
            return int(fields["VmHWM"].split()[0]) * 1024
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def session(devices: list[jax.Device]) -> dict[str, Any]:
    """What `environment.json` says about one process: enough to tell whether two sessions give the same numbers."""
    return {
        "seca": seca.__version__,
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in VERSIONED},
        "platform": platform.platform(),
        "processor": processor(),
        "cores": cpu_cores(),
        "xla_flags": os.environ.get("XLA_FLAGS", ""),
        "jax_options": numerics.free(),
        "devices": [device.device_kind for device in devices],
        "pid": os.getpid(),
    }


def processor() -> str:
    """Model name of the CPU."""
    cpuinfo = pathlib.Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def commit() -> str | None:
    """Git commit of the source tree seca runs from (`+` when it has changes), or None outside one."""
    source = pathlib.Path(seca.__file__).parent
    if not (source.parent / ".git").exists():
        return None
    try:
        head = _git(source, "rev-parse", "HEAD")
        return head + ("+" if _git(source, "status", "--porcelain", "--", ".") else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def _git(folder: pathlib.Path, *arguments: str) -> str:
    command = ["git", "-C", str(folder), *arguments]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
