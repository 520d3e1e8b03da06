"""What SMAC's absolute value pays a policy for enemies who recover (docs/results.md, Fig. 4).

    python benchmarks/paid_for_healing.py RUN ...

The run's policy, sampled, plays the same 32 battles twice: as SMAC pays, and with `reward_abs` off, which pays nothing
for life that enemies win back. Agents do not see their reward, so both are the same battles step by step.
"""

import argparse
import pathlib

import jax
import numpy as np

from seca import numerics
from seca.envs.registry import make
from seca.runs.load import load
from seca.train.rollout import collect
from seca.types import Episodes

BATTLES = 32
LATE = 60
"""Env steps after which the first clash is over."""


@numerics.own()
def played(run: pathlib.Path, reward_abs: bool) -> Episodes:
    """The battles, paid in one way or the other."""
    loaded = load(run)
    env = make(loaded.config.env, {**loaded.config.env_options, "reward_abs": reward_abs})
    params = loaded.algorithm.policy(loaded.state.learner)
    keys = jax.random.split(numerics.key(123), BATTLES)
    return jax.device_get(
        jax.jit(lambda keys: collect(env, loaded.algorithm, params, keys, loaded.state.env_steps)[0])(keys)
    )


def main() -> None:
    """A row of Markdown for each run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", nargs="+", type=pathlib.Path)
    print(
        f"| run | env steps of a battle | return | of it for recovery | return after step {LATE} | of it for recovery |"
    )
    print("|---|---:|---:|---:|---:|---:|")
    for run in parser.parse_args().runs:
        paid, plain = played(run, True), played(run, False)
        if not np.array_equal(paid.actions, plain.actions):
            raise SystemExit(f"{run}: the battles differ, so rewards cannot be compared")
        late = np.arange(paid.reward.shape[1]) >= LATE
        cells = [paid.valid.sum(axis=1).mean()]
        for when in (np.ones_like(late), late):
            returns, without = ((e.reward * e.valid * when).sum(axis=1).mean() for e in (paid, plain))
            cells += [returns, returns - without]
        print(f"| {run.name} | {cells[0]:.0f} | {' | '.join(f'{x:.2f}' for x in cells[1:])} |", flush=True)


if __name__ == "__main__":
    main()
