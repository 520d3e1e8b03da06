"""How fast this machine simulates and trains."""

import dataclasses
import platform
import statistics
import time
from typing import Any

import jax

import seca
from seca.config import LoopConfig, divisors, from_preset
from seca.envs import registry, throughput
from seca.errors import refusing
from seca.runs import machine
from seca.runs.run import prepare
from seca.train.iterate import make_iterate, spread
from seca.train.state import init_state

WARM_UP = 2
"""Iterations left out: the first compiles, and the second may still pay for it."""
MIN_ITERATIONS = 30


def bench_simulator(env_id: str, batch: int, seconds: float) -> dict[str, Any]:
    """Env steps per second of the simulator alone, with random actions and immediate resets."""
    with refusing():
        env = registry.make(env_id)
        devices = max(count for count in divisors(batch) if count <= len(machine.choose_devices(0, batch)))
        measured = throughput.measure(env, batch, seconds=seconds, devices=devices)
    return {
        "env": env_id,
        "batch": batch,
        "env_steps_per_s": measured["env_steps_per_second"],
        "devices": devices,
        "timed_calls": measured["timed_calls"],
        "compile_s": measured["compile_seconds"],
    }


def bench_training(env_id: str, preset: str, runners: int, seconds: float) -> dict[str, Any]:
    """Env steps per second of training, everything included: acting, simulating, credit, order, updates, metrics.

    The median over at least 30 iterations after warm-up, and over as many as fit into `seconds`.
    """
    config = dataclasses.replace(from_preset(preset), env=env_id, loop=LoopConfig(runners=runners))
    prepared = prepare(config)
    built, devices = prepared.built, prepared.devices
    iterate = make_iterate(built.env, built.algorithm, runners, devices)
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
        "env_steps_per_s": statistics.median(rates[WARM_UP:]),
        "devices": len(devices),
        "iterations": len(rates) - WARM_UP,
        "iteration_s": statistics.median(durations[WARM_UP:]),
        "first_update_s": durations[0],
    }


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
