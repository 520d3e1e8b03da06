"""Rates of the simulator on many maps and batch sizes: the table of docs/smac.md.

    python benchmarks/simulator_rates.py [--maps 2s3z MMM2 ...] [--batches 32] [--seconds 3] [--out rates.json]

Random legal actions; observations, states, availability and resets included; both host devices. Each line is printed
and written as soon as it is measured. Nothing else should run.
"""

import argparse
import json
import os
import pathlib

os.environ.setdefault("XLA_FLAGS", f"--xla_force_host_platform_device_count={os.cpu_count()}")

import jax  # noqa: E402  (the number of devices comes first)

from seca.envs import smac  # noqa: E402
from seca.host.throughput import measure  # noqa: E402


def main() -> None:
    """Measure and print one line per map and batch."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--maps", nargs="*", default=smac.list_maps())
    parser.add_argument("--batches", nargs="*", type=int, default=[32])
    parser.add_argument("--seconds", type=float, default=3.0)
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    print("| map | environments | devices | env steps/s, median | best | compile, s |\n|---|---|---|---|---|---|")
    rows = []
    for name in options.maps:
        for batch in options.batches:
            devices = jax.device_count() if batch % jax.device_count() == 0 else 1
            row = measure(smac.make(name), batch, options.seconds, devices)
            rate, best = row["env_steps_per_second"], row["best_env_steps_per_second"]
            cells = f"{name} | {batch} | {devices} | {rate:,.0f} | {best:,.0f} | {row['compile_seconds']:.1f}"
            print(f"| {cells} |", flush=True)
            rows.append(row)
            if options.out is not None:
                options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
