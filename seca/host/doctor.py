"""What seca finds on this machine, and what is wrong with it."""

import importlib.metadata
import importlib.util
import pathlib
import platform
import shutil

import jax

import seca
from seca.host import loggers, machine

MODULES = loggers.MODULES | {
    "video": "imageio_ffmpeg",
    "pettingzoo": "pettingzoo",
    "gymnasium": "gymnasium",
    "jaxmarl": "jaxmarl",
}
"""Module that each extra brings."""


def diagnose() -> list[str]:
    """Findings, one line each; problems start with `problem:`."""
    devices = jax.devices()
    lines = [
        f"seca        {seca.__version__} ({machine.commit() or 'not in a git checkout'})",
        f"python      {platform.python_version()} on {platform.platform()}",
        *(f"{name:<11} {importlib.metadata.version(name)}" for name in machine.VERSIONED),
        f"processor   {machine.processor()}, {machine.cpu_cores()} cores",
        f"memory      {_free()}",
        f"devices     {', '.join(f'{device.platform}: {device.device_kind}' for device in devices)}",
        f"cache       {_cache()}",
        *(f"extra       {extra}: {_extra(extra)}" for extra in MODULES),
    ]
    return lines + gpu_problems(gpu_seen(), devices[0].platform)


def gpu_seen() -> bool:
    """Whether the system shows an NVIDIA GPU, whatever JAX thinks."""
    return pathlib.Path("/proc/driver/nvidia/version").exists() or shutil.which("nvidia-smi") is not None


def gpu_problems(seen: bool, platform_in_use: str) -> list[str]:
    """The most common silent mistake: a GPU is there, and the installed jaxlib is the one for CPUs."""
    if seen and platform_in_use == "cpu":
        return ["problem: GPU seen but CPU jaxlib installed or GPU not usable; run pip install 'jax[cuda12]'"]
    return []


def _free() -> str:
    free = machine.free_memory(jax.devices()[0])
    return "unknown" if free is None else f"{free / 2**30:.1f} GiB free"


def _cache() -> str:
    folder, problem = machine.cache_dir(), machine.cache_problem()
    if problem is not None:
        return f"off ({problem})"
    if folder is None:
        return "off (SECA_CACHE_DIR is empty)"
    files = [path for path in folder.iterdir() if path.is_file()]
    return f"{folder} ({len(files)} files, {sum(path.stat().st_size for path in files) / 2**20:.0f} MiB)"


def _extra(extra: str) -> str:
    if importlib.util.find_spec(MODULES[extra]) is None:
        return f"not installed (pip install 'seca[{extra}]')"
    return importlib.metadata.version(MODULES[extra].replace("_", "-"))
