"""Where the simulator's time goes: random play with one stage of the game loop left out, or without observations.

    python benchmarks/simulator_profile.py [--map 2s3z] [--batch 32] [--seconds 3]

Each line is compiled anew without that part. What it saves is what the part costs inside the whole, which is one fused
program; its battles are none then, but the work per step does not depend on what happens in them. One device, the best
of all timed calls in three turns, since a shared machine only ever adds. Healing on a map without medivacs shows the
noise: it is no code there. Nothing else should run.
"""

import argparse
import dataclasses
import functools
import math
from collections.abc import Callable
from unittest import mock

import jax.numpy as jnp

from seca.envs import smac
from seca.envs.base import Env
from seca.host import throughput
from seca.smac import tick
from seca.smac.scenario import map_names
from seca.types import PyTree, TimeStep

TURNS = 3


def blind(env: Env) -> Env:
    """The same battles without observations and states; masks, which random play needs, stay."""

    def without(made: tuple[PyTree, TimeStep]) -> tuple[PyTree, TimeStep]:
        nothing = jnp.zeros((made[1].reward.shape[0], 1))
        return made[0], dataclasses.replace(made[1], obs=nothing, state=nothing)

    return dataclasses.replace(env, reset=lambda keys: without(env.reset(keys)), step=lambda *x: without(env.step(*x)))


def main() -> None:
    """One line for the whole, one for each part left out."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--map", default="2s3z", choices=map_names())
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--seconds", type=float, default=3.0)
    asked = parser.parse_args()

    def time(form: Callable[[Env], Env] = lambda env: env) -> float:
        measured = throughput.measure(form(smac.make(asked.map)), asked.batch, asked.seconds)
        return 1e6 / measured["best_env_steps_per_second"]

    parts: dict[str, Callable[[], float]] = {"everything": time}
    for stage in tick.STAGES:
        rest = tuple(other for other in tick.STAGES if other is not stage)
        name = f"{stage.__module__.rpartition('.')[2]}.{stage.__name__}"
        parts[name] = mock.patch.object(tick, "STAGES", rest)(time)
    parts["seven of eight game loops"] = mock.patch.object(tick, "LOOPS_PER_STEP", 1)(time)
    parts["observations and states"] = functools.partial(time, blind)
    best = dict.fromkeys(parts, math.inf)
    for _ in range(TURNS):
        for name, measure in parts.items():
            best[name] = min(best[name], measure())
    whole = best.pop("everything")
    print(f"{'everything':28} {whole:6.2f} us per env step")
    for name, left in best.items():
        print(f"{name:28} {whole - left:6.2f} ({1 - left / whole:.0%})")


if __name__ == "__main__":
    main()
