"""Where runs of a sweep can be made side by side on this machine: a core each, or an accelerator each."""

import dataclasses
import os
import subprocess
import sys

from seca.errors import UsageError
from seca.host.machine import cpu_cores

PROBE_SECONDS = 120.0


@dataclasses.dataclass(frozen=True)
class Slot:
    """Room for one run."""

    cores: tuple[int, ...] = ()
    """CPU cores of its process; none where it may use all."""
    environment: tuple[tuple[str, str], ...] = ()
    """Added to its environment."""


def slots(jobs: int, devices: int) -> list[Slot]:
    """Room for `jobs` runs of `devices` each (0: as many as fit).

    Runs are small programs of many short steps: on a CPU one process per core makes more of it than all cores for one
    run after the other (`benchmarks/seeds_abreast.py`), and no result depends on how many there are. Raises UsageError
    for more jobs than there is room for.
    """
    kind, count = accelerators()
    if kind != "cpu":
        most = max(1, count // devices)
        _check(jobs, most, f"{count} x {kind}", devices)
        if kind not in _VISIBLE:  # One process has all of them.
            return [Slot()]
        # Where some are hidden already, the others have names of their own: numbers, or UUIDs.
        shown = os.environ.get(_VISIBLE[kind])
        names = shown.split(",") if shown else [str(number) for number in range(count)]
        parts = [names[first * devices : (first + 1) * devices] for first in range(jobs or most)]
        return [Slot(environment=((_VISIBLE[kind], ",".join(part)),)) for part in parts]
    cores = sorted(os.sched_getaffinity(0)) if sys.platform == "linux" else list(range(cpu_cores()))
    most = max(1, len(cores) // devices)
    _check(jobs, most, f"{len(cores)} CPU cores", devices)
    each = len(cores) // (jobs or most)
    return [Slot(tuple(cores[first * each : (first + 1) * each])) for first in range(jobs or most)]


_VISIBLE = {"gpu": "CUDA_VISIBLE_DEVICES", "cuda": "CUDA_VISIBLE_DEVICES", "rocm": "ROCR_VISIBLE_DEVICES"}
"""What tells a process which accelerators it may use."""


def _check(jobs: int, most: int, there: str, devices: int) -> None:
    if jobs > most:
        raise UsageError(f"`jobs` is {jobs}: with {devices} for each run there is room for {most} ({there})")


def accelerators() -> tuple[str, int]:
    """Platform and number of the devices that JAX finds here, asked in a process of its own: it would keep them."""
    platforms = os.environ.get("JAX_PLATFORMS", "").split(",")
    if platforms == ["cpu"]:
        return "cpu", cpu_cores()
    code = "import jax; print(jax.default_backend(), jax.local_device_count())"
    try:
        ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=PROBE_SECONDS)
    except subprocess.TimeoutExpired:
        raise UsageError(
            f"JAX does not find its devices here within {PROBE_SECONDS:.0f} s; see `seca doctor`"
        ) from None
    words = ended.stdout.split()
    if ended.returncode or len(words) != 2:
        raise UsageError(f"JAX finds no devices here; `seca doctor` says more ({ended.stderr.strip()[-200:]})")
    return words[0], int(words[1])
