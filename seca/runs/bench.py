"""How fast this machine simulates and trains."""

import dataclasses
import json
import platform
import statistics
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

import seca
from seca.config import LoopConfig, divisors, from_preset
from seca.envs import registry
from seca.errors import RunError, UsageError, refusing
from seca.host import machine, signals, smax, throughput
from seca.runs.load import Built
from seca.runs.run import prepare
from seca.train.iterate import make_iterate, spread
from seca.train.minibatches import training_bytes
from seca.train.state import init_state

WARM_UP = 2
"""Iterations left out: the first compiles, and the second may still pay for it."""
MIN_ITERATIONS = 30


def bench_simulator(env_id: str, batch: int, seconds: float) -> dict[str, Any]:
    """Env steps per second of the simulator alone, with random actions and immediate resets.

    For a map that SMAX has too, where jaxmarl is installed, `smax` holds its rates, through its own `step`: on one
    device, as it comes, and on as many as were used here.
    """
    if registry.is_hosted(env_id):
        raise UsageError(
            f"`env` is {env_id}: its rate is its own, outside of JAX; `seca check-env` and `train` tell it"
        )
    with refusing():
        env = registry.make(env_id)
        devices = max(count for count in divisors(batch) if count <= len(machine.choose_devices(0, batch)))
        measured = throughput.measure(env, batch, seconds=seconds, devices=devices)
    result = {
        "env": env_id,
        "batch": batch,
        "env_steps_per_s": measured["env_steps_per_second"],
        "devices": devices,
        "timed_calls": measured["timed_calls"],
        "compile_s": measured["compile_seconds"],
    }
    family, _, name = env_id.partition("/")
    if family == "smac" and name in smax.map_names():
        timed = [throughput.measure(smax.make(name), batch, seconds, count) for count in sorted({1, devices})]
        result["smax"] = [{"devices": x["devices"], "env_steps_per_s": x["env_steps_per_second"]} for x in timed]
    return result


def bench_training(
    env_id: str,
    preset: str,
    runners: int,
    seconds: float,
    minibatches: int = 1,
    env_options: Mapping[str, Any] | None = None,
) -> dict[str, Any]:
    """Env steps per second of training, everything included: acting, simulating, credit, order, updates, metrics.

    The median over at least 30 iterations after warm-up, and over as many as fit into `seconds`. Peak memory is the
    whole process's where devices use the host's memory: libraries and, unless the program is cached, its compilation
    included, and the method's own only in a process of its own. The estimate, of arrays alone, is the one by which
    training beyond free memory is refused, over all devices.
    """
    loop = LoopConfig(runners=runners, minibatches=minibatches)
    config = dataclasses.replace(from_preset(preset), env=env_id, env_options=dict(env_options or {}), loop=loop)
    prepared = prepare(config)
    built, devices = prepared.built, prepared.devices
    iterate = make_iterate(built.env, built.algorithm, runners, devices, minibatches)
    state = spread(init_state(built.algorithm, config.seed), devices)
    durations, rates = [], []
    began = time.perf_counter()
    while len(rates) < WARM_UP + MIN_ITERATIONS or time.perf_counter() - began < seconds:
        started, steps_before = time.perf_counter(), int(state.env_steps)
        state, metrics = iterate(state)
        jax.device_get(metrics)
        durations.append(time.perf_counter() - started)
        rates.append((int(state.env_steps) - steps_before) / durations[-1])
    return {
        "env": env_id,
        "preset": preset,
        "runners": runners,
        "minibatches": minibatches,
        "env_steps_per_s": statistics.median(rates[WARM_UP:]),
        "devices": len(devices),
        "iterations": len(rates) - WARM_UP,
        "iteration_s": statistics.median(durations[WARM_UP:]),
        "first_update_s": durations[0],
        "peak_memory_bytes": machine.peak_memory(devices),
        "estimated_memory_bytes": estimated_memory(built, len(devices)),
    }


def estimated_memory(built: Built, devices: int) -> int:
    """Bytes that training is estimated to take on all devices together: each holds the whole replay buffer."""
    loop = built.config.loop
    each = training_bytes(built.env, built.algorithm, loop.runners, loop.minibatches)
    return each + devices * built.algorithm.buffer_bytes


def bench_each(
    env_id: str, presets: Sequence[str], runners: int, seconds: float, minibatches: int = 1
) -> Iterator[dict[str, Any]]:
    """`bench_training` of each preset in a process of its own, one after the other.

    A preset that does not fit the environment or the machine has the reason in `refused` in place of numbers. Raises
    UsageError when there is no such environment, RunError when a process breaks.
    """
    if not registry.is_hosted(env_id):
        with refusing():
            registry.make(env_id)
    options = ["--env", env_id, "--runners", str(runners), "--minibatches", str(minibatches)]
    options += ["--seconds", str(seconds), "--json"]
    for preset in presets:
        command = [sys.executable, "-m", "seca", "bench", "train", "--preset", preset, *options]
        ended = signals.run_child(command)
        lines = ended.stderr.strip().splitlines()
        if ended.returncode == 0:
            yield json.loads(ended.stdout)["training"]
        elif ended.returncode == 2 and lines:
            yield {
                "env": env_id,
                "preset": preset,
                "runners": runners,
                "minibatches": minibatches,
                "refused": lines[-1].removeprefix("seca: "),
            }
        else:
            why = lines[-1] if lines else "no message"
            raise RunError(f"measuring `preset` {preset} ended with exit code {ended.returncode}: {why}")


def hardware() -> dict[str, Any]:
    """What the rates were measured on."""
    return {
        "processor": machine.processor(),
        "cores": machine.cpu_cores(),
        "devices": [device.device_kind for device in jax.devices()],
        "seca": seca.__version__,
        "commit": machine.commit(),
        "jax": jax.__version__,
        "python": platform.python_version(),
    }
