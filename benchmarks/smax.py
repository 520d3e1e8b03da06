"""This simulator and JaxMARL's SMAX in one run, timed by the same loop.

    python benchmarks/smax.py [--maps 2s3z 3s5z] [--batch 32] [--seconds 5] [--json]

Both play random legal actions and start battles anew at once; observations, states and masks are computed and used in
every step. Each is timed on one device, as SMAX runs unless told otherwise, and on one device per core. SMAX is
measured twice: `smax` through its own `step`, as everybody calls it, which makes a new battle beside every step;
`smax_best` through `step_env`, resetting only where a battle has ended, which is not how it comes. One env step is
eight game ticks in all; what a tick does differs. Needs `pip install 'seca[jaxmarl]'`.
"""

import argparse
import functools
import json
import platform
import sys
from typing import Any

import jax

from seca.config import divisors
from seca.envs import smac
from seca.envs.base import Env
from seca.host import machine, smax, throughput


def timed(env: Env, batch: int, seconds: float, cores: int) -> list[dict[str, Any]]:
    """Its rate on one device, and on one device per core."""
    counts = {1, max(count for count in divisors(batch) if count <= cores)}
    return [throughput.measure(env, batch, seconds, count) for count in sorted(counts)]


def main() -> int:
    """Print one row per map, simulator and number of devices."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", nargs="+", default=["2s3z", "3s5z"], help="maps both simulators know")
    parser.add_argument("--batch", type=int, default=32, help="environments")
    parser.add_argument("--seconds", type=float, default=5.0, help="how long to time each on each number of devices")
    parser.add_argument("--json", action="store_true", help="print JSON instead of a table")
    arguments = parser.parse_args()
    cores = machine.cpu_cores()
    jax.config.update("jax_num_cpu_devices", cores)
    if not smax.map_names():
        print("benchmarks/smax.py: SMAX needs jaxmarl: pip install 'seca[jaxmarl]'", file=sys.stderr)
        return 2
    try:
        makers = (smac.make, smax.make, functools.partial(smax.make, own_step=False))
        envs = [make(name) for name in arguments.maps for make in makers]
        rows = [row for env in envs for row in timed(env, arguments.batch, arguments.seconds, cores)]
    except ValueError as error:
        print(f"benchmarks/smax.py: {error}", file=sys.stderr)
        return 2
    if arguments.json:
        about = {"processor": machine.processor(), "cores": cores, "jax": jax.__version__}
        print(json.dumps({"hardware": about | {"python": platform.python_version()}, "rates": rows}, indent=1))
        return 0
    print(f"{machine.processor()}, {cores} cores, {arguments.batch} environments")
    print(f"{'env':16} {'env steps/s':>12} {'best':>12} {'devices':>8}")
    for row in rows:
        rates = f"{row['env_steps_per_second']:12,.0f} {row['best_env_steps_per_second']:12,.0f}"
        print(f"{row['env']:16} {rates} {row['devices']:8}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
