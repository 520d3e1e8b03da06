"""JaxMARL's own recurrent IPPO and MAPPO on its particle world, and this library's methods beside them, in one run.

    git clone https://github.com/FLAIROx/JaxMARL
    pip install 'jaxmarl[algs]' wandb
    python benchmarks/foreign_baselines.py JaxMARL/baselines [--envs 32] [--repeats 5] [--presets mappo ippo seca]

Each baseline's file is unchanged, with the numbers of its YAML file but for 32 environments; what is timed is
`make_train(config)`, compiled, for `--updates` updates of 128 steps of all environments. Ours is one compiled iteration
of `seca train PRESET --env jaxmarl:MPE_simple_spread_v3 --runners 32` with the preset's defaults. In turn, medians, on
one device. wandb is not asked for anything, and may be missing; where distrax is missing (it needs TensorFlow
Probability), its one class that is used is replaced by one of the same four functions.
"""

import argparse
import importlib
import json
import pathlib
import statistics
import sys
import time
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from jaxmarl_baseline import load

from seca.envs import registry
from seca.presets import PRESETS, build
from seca.train.iterate import make_iterate
from seca.train.state import init_state

ENV = "MPE_simple_spread_v3"
BASELINES = {
    "IPPO, recurrent": ("IPPO/ippo_rnn_mpe.py", "IPPO/config/ippo_rnn_mpe.yaml"),
    "MAPPO, recurrent": ("MAPPO/mappo_rnn_mpe.py", "MAPPO/config/mappo_homogenous_rnn_mpe.yaml"),
}


class Categorical:
    """As much of distrax's as the baselines use."""

    def __init__(self, logits: jax.Array) -> None:
        self.logits = jax.nn.log_softmax(logits)

    def sample(self, seed: jax.Array) -> jax.Array:
        """One draw."""
        return jax.random.categorical(seed, self.logits)

    def log_prob(self, value: jax.Array) -> jax.Array:
        """Of an action."""
        return jnp.take_along_axis(self.logits, value[..., None], axis=-1)[..., 0]

    def entropy(self) -> jax.Array:
        """In nats."""
        return -(jnp.exp(self.logits) * self.logits).sum(axis=-1)


def stand_in() -> list[str]:
    """Replace what is missing; returns the names."""
    given = {
        "wandb": types.SimpleNamespace(log=lambda *_, **__: None),
        "distrax": types.SimpleNamespace(Categorical=Categorical),
    }
    missing = []
    for name, module in given.items():
        try:
            importlib.import_module(name)
        except ImportError:
            sys.modules[name] = module  # pyrefly: ignore
            missing.append(name)
    return missing


def theirs(folder: pathlib.Path, script: str, yaml: str, envs: int, updates: int) -> tuple[Callable[[], Any], int]:
    """A training of so many updates, compiled; and its env steps."""
    baseline = load(folder / script)
    omegaconf = importlib.import_module("omegaconf").OmegaConf
    config = omegaconf.to_container(omegaconf.load(folder / yaml), resolve=False)
    steps = envs * int(config["NUM_STEPS"]) * updates
    config |= {"ENV_NAME": ENV, "NUM_ENVS": envs, "TOTAL_TIMESTEPS": steps}
    baseline.wandb.log = lambda *_, **__: None
    compiled = jax.jit(baseline.make_train(config)).lower(jax.random.PRNGKey(0)).compile()
    return lambda: compiled(jax.random.PRNGKey(0)), steps


def ours(preset: str, envs: int) -> tuple[Callable[[], Any], int]:
    """An iteration, compiled; and its env steps."""
    env = registry.make(f"jaxmarl:{ENV}")
    algorithm = build(preset, env.spec, PRESETS[preset].config)
    iterate, state = make_iterate(env, algorithm, envs, jax.devices()[:1]), init_state(algorithm, 0)
    jax.block_until_ready(iterate(state))
    return lambda: iterate(state), envs * env.spec.episode_limit


def main() -> None:
    """Print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("baselines", type=pathlib.Path, help="the folder of that name in a checkout of JaxMARL")
    parser.add_argument("--envs", type=int, default=32)
    parser.add_argument("--updates", type=int, default=4, help="of a baseline, in one timing")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--presets", nargs="+", default=["mappo", "ippo", "seca"], choices=list(PRESETS))
    options = parser.parse_args()
    missing = stand_in()
    calls = {
        f"JaxMARL's {name}": theirs(options.baselines, *files, options.envs, options.updates)
        for name, files in BASELINES.items()
    }
    calls |= {f"`{preset}`": ours(preset, options.envs) for preset in options.presets}
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(options.repeats):
        for name, (call, steps) in calls.items():
            times = max(1, 1600 // steps)  # Short ones several times, so that a clock can tell.
            began = time.perf_counter()
            for _ in range(times):
                jax.block_until_ready(call())
            found[name].append(times * steps / (time.perf_counter() - began))
    print("| training | env steps/s |")
    print("|---|---|")
    for name, rates in found.items():
        print(f"| {name} | {statistics.median(rates):,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) |")
    print(json.dumps({"env": ENV, "envs": options.envs, "stood in for": missing, "rates": found}))


if __name__ == "__main__":
    main()
