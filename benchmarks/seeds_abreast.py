"""Several seeds at a time on a CPU: a process per core, one run after the other on all cores, or seeds in one program.

    python benchmarks/seeds_abreast.py [--env smac/2s3z] [--preset seca] [--seconds 20] [--turns 3]

Each way takes its turn, several times, and prints the env steps per second of all seeds together once compiled: how
`seca sweep` shares out a machine rests on it (docs/sweeps.md). Nothing else should run beside it.
"""

import argparse
import functools
import json
import os
import statistics
import subprocess
import sys
import time

WAYS = ("a process per core", "one run on all cores", "seeds in one program")


def measure(way: str, env_id: str, preset: str, seconds: float) -> float:
    """Env steps per second of this process, after two iterations that compile."""
    import jax

    from seca.config import from_preset
    from seca.envs import registry
    from seca.host import machine
    from seca.presets import PRESETS, build
    from seca.train.iterate import make_iterate, spread
    from seca.train.state import init_state

    cores = machine.cpu_cores()
    devices = cores if way == WAYS[1] else 1
    machine.configure(devices, 32)
    env = registry.make(env_id)
    algorithm = build(preset, env.spec, PRESETS[preset].config)
    used = jax.devices()[:devices]
    iterate = make_iterate(env, algorithm, from_preset(preset).loop.runners, used)
    if way == WAYS[2]:
        state = jax.vmap(functools.partial(init_state, algorithm))(jax.numpy.arange(cores, dtype=jax.numpy.uint32))
        step = jax.jit(jax.vmap(lambda state: iterate.program(state, None)))
    else:
        state, step = spread(init_state(algorithm, 0), used), iterate
    for _ in range(2):
        state, _ = jax.block_until_ready(step(state))
    before, begun = int(state.env_steps.sum()), time.perf_counter()
    while time.perf_counter() - begun < seconds:
        state, _ = jax.block_until_ready(step(state))
    return (int(state.env_steps.sum()) - before) / (time.perf_counter() - begun)


def turn(way: str, options: argparse.Namespace) -> float:
    """One turn of a way, in processes of its own; those of the first run at the same time."""
    cores = sorted(os.sched_getaffinity(0))
    shares = [[core] for core in cores] if way == WAYS[0] else [cores]
    command = [sys.executable, __file__, "--one", way, "--env", options.env, "--preset", options.preset]
    command += ["--seconds", str(options.seconds)]
    processes = []
    for share in shares:
        os.sched_setaffinity(0, share)  # What is started has them, too.
        processes.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
    os.sched_setaffinity(0, cores)
    return sum(float(process.communicate()[0]) for process in processes)


def main() -> None:
    """All ways in turns."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--env", default="smac/2s3z")
    parser.add_argument("--preset", default="seca")
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--one", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(measure(options.one, options.env, options.preset, options.seconds))
        return
    rates: dict[str, list[float]] = {way: [] for way in WAYS}
    for _ in range(options.turns):
        for way in WAYS:
            rates[way].append(round(turn(way, options)))
            print(f"{way}: {rates[way][-1]:,} env steps/s", flush=True)
    print(json.dumps({way: {"median": statistics.median(found), "turns": found} for way, found in rates.items()}))


if __name__ == "__main__":
    main()
