"""What forks add to an update: one of `seca-fork` beside one of `seca`, on the same episodes (docs/credit.md).

    python benchmarks/fork_cost.py RUN ... [--repeats 30] [--out docs/data/fork_cost.jsonl]

Each RUN is a run of `seca-fork`, whose policy stands still and plays one batch. On it, in turns, forwards and
backwards: the update that `seca` makes, the forks alone, and the forks with the update that follows them. The
ratio is the median over turns of the ratio in one turn. A line for each run replaces that of the same map
and env steps. Nothing else should run.
"""

import argparse
import functools
import json
import pathlib
from typing import Any

import jax
import numpy as np
from credit_cost import ROOT, Call, Row, everywhere, in_turns, options_of
from order_agreement import played

import seca
from seca.algos.seca import Learner, named
from seca.algos.seca_fork import SecaForkConfig
from seca.config import from_preset
from seca.host import machine
from seca.runs import bench
from seca.runs.load import LoadedRun
from seca.train.forking import credits_of_batch
from seca.types import Episodes

DATA = ROOT / "docs" / "data" / "fork_cost.jsonl"


def measured(run: LoadedRun, runners: int, repeats: int, devices: list[jax.Device]) -> Row:
    """Milliseconds and ratios of one policy."""
    spec, algorithm, forking, config = run.env.spec, run.algorithm, run.algorithm.forking, run.config.algorithm
    assert forking is not None and isinstance(config, SecaForkConfig), f"{run.config.preset} plays no forks"
    plain = named("seca", spec, options_of(from_preset("seca")))
    episodes = played(run.env, algorithm, run.state, runners)
    keys = jax.random.split(jax.random.key(1), runners)  # Those they were played with.

    def updated(learner: Learner, given: tuple[Episodes, jax.Array], axis: str | None) -> Any:
        return plain.update(learner, given[0], None, jax.random.key(0), axis)

    def forked(learner: Learner, given: tuple[Episodes, jax.Array], axis: str | None) -> Any:
        begun = run.env, algorithm, forking, learner, *given
        return credits_of_batch(*begun, run.state.env_steps, jax.random.key(2), axis)

    def both(learner: Learner, given: tuple[Episodes, jax.Array], axis: str | None) -> Any:
        tried = forked(learner, given, axis)
        return forking.update(learner, given[0], tried, jax.random.key(0), axis)

    programs = {"seca": (updated, True), "forks": (forked, False), "seca-fork": (both, True)}
    learner = run.state.learner
    calls: dict[str, Call] = {
        name: functools.partial(everywhere(fn, devices, whole), learner, (episodes, keys))
        for name, (fn, whole) in programs.items()
    }
    known, taken = np.asarray(calls["forks"]()[1]), in_turns(calls, repeats)
    low, ratio, high = np.percentile(taken["seca-fork"] / taken["seca"], [25, 50, 75])
    return {
        "env": spec.id,
        "policy_env_steps": int(run.state.env_steps),
        "steps": int(episodes.valid.sum()),
        "tried_steps": int(known.sum()),
        "fork_every": config.fork_every,
        "fork_lanes": config.fork_lanes,
        "forks": config.forks,
        "fork_steps": config.fork_steps,
        **{f"{name.replace('-', '_')}_ms": float(np.median(times)) for name, times in taken.items()},
        "ratio": float(ratio),
        "ratio_quartiles": [float(low), float(high)],
    }


def main() -> None:
    """Measure each run, print and keep its line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    parser.add_argument("--runners", type=int, default=32)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--out", type=pathlib.Path, default=DATA)
    options = parser.parse_args()
    machine.configure(0, options.runners)
    devices = machine.choose_devices(0, options.runners)
    for path in options.runs:
        line = measured(seca.load(path), options.runners, options.repeats, devices)
        line |= {"runners": options.runners, "repeats": options.repeats, "devices": len(devices)}
        line["hardware"] = bench.hardware()
        kept = [json.loads(text) for text in options.out.read_text().splitlines()] if options.out.exists() else []
        same = ("env", "policy_env_steps")
        kept = [other for other in kept if any(other[name] != line[name] for name in same)]
        options.out.write_text("".join(json.dumps(other) + "\n" for other in [*kept, line]))
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
