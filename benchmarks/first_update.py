"""Seconds from process start to the first finished update of `seca train`, with a cold and with a warm cache.

python benchmarks/first_update.py [PRESET] [ENV]
"""

import os
import pathlib
import subprocess
import sys
import tempfile
import time


def first_update(preset: str, env: str, folder: pathlib.Path, cache: pathlib.Path) -> tuple[float, float]:
    """Start a run, wait for its first evaluation line and its first training line, and end it."""
    command = [sys.executable, "-m", "seca", "train", preset, "--env", env, "--steps", "1e7", "--out", str(folder)]
    began = time.monotonic()
    environment = os.environ | {"SECA_CACHE_DIR": str(cache)}
    with subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        evaluated = _wait_for('"kind": "eval"', folder / "metrics.jsonl", process) - began
        updated = _wait_for('"kind": "train"', folder / "metrics.jsonl", process) - began
        process.kill()
    return evaluated, updated


def _wait_for(text: str, path: pathlib.Path, process: subprocess.Popen) -> float:
    while process.poll() is None:
        if path.is_file() and text in path.read_text():
            return time.monotonic()
        time.sleep(0.02)
    raise SystemExit(f"the run ended with code {process.returncode} before its first update")


def main() -> None:
    """Print both times for both caches."""
    preset, env = [*sys.argv[1:], *["seca", "smac/2s3z"][len(sys.argv) - 1 :]]
    with tempfile.TemporaryDirectory() as scratch:
        for name in ("cold", "warm"):
            evaluated, updated = first_update(
                preset, env, pathlib.Path(scratch) / f"run-{name}", pathlib.Path(scratch) / "cache"
            )
            print(
                f"{name} cache: untrained policy evaluated after {evaluated:.1f} s, first update after {updated:.1f} s"
            )


if __name__ == "__main__":
    main()
