"""JaxMARL's own recurrent IPPO and MAPPO on its particle world, and this library's methods beside them, in one run.

    git clone https://github.com/FLAIROx/JaxMARL
    pip install 'jaxmarl[algs]' wandb
    python benchmarks/foreign_baselines.py JaxMARL/baselines [--envs 32] [--repeats 5] [--presets mappo ippo seca]

Each baseline's file is unchanged, with the numbers of its YAML file but for 32 environments; what is timed is
`make_train(config)`, compiled, for `--updates` updates of 128 steps of all environments. Ours is one compiled iteration
of `seca train PRESET --env jaxmarl:MPE_simple_spread_v3 --runners 32` with the preset's defaults, and the same without
its update: what acting takes of it. In turn, medians, on one device. wandb is not asked for anything, and may be
missing; where distrax is missing (it needs TensorFlow Probability), its one class that is used is replaced by one of
the same four functions.

`--count FILE` runs each once more, operation by operation, and counts the multiply-adds of its products of matrices
(minutes); they are kept in FILE, and read from there by the next run. Beside them stands what two plain products reach:
of 1,024 square, and of 96 rows (3 agents of 32 environments) by 64 units and the 192 gates of a recurrent cell, each
after the other.
"""

import argparse
import dataclasses
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
import numpy as np
from jaxmarl_baseline import load

from seca.envs import registry
from seca.learning.buffer import Replay
from seca.presets import PRESETS, build
from seca.train.iterate import make_iterate
from seca.train.state import init_state
from seca.types import Episodes, PyTree

ENV = "MPE_simple_spread_v3"
COUNTED = 16
"""Steps of an update of theirs whose operations are counted: products are as many for each, but for one more row of
values at the end."""
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


@dataclasses.dataclass(frozen=True)
class Program:
    """Something to time."""

    call: Callable[[], Any]
    """Compiled."""
    env_steps: int
    plain: Callable[[], Any]
    """An update, not compiled; of a baseline a shorter one."""
    counted_steps: int
    """Env steps of that."""


def multiply_adds(call: Callable[[], Any]) -> int:
    """Of all products of matrices in it, each loop as often as it is run: every operation is called by itself."""
    product, total = jax.lax.dot_general_p, 0
    own = product.impl

    def counting(left: jax.Array, right: jax.Array, **how: Any) -> jax.Array:
        nonlocal total
        result = own(left, right, **how)
        total += result.size * int(np.prod([left.shape[axis] for axis in how["dimension_numbers"][0][0]]))
        return result

    product.def_impl(counting)
    try:
        with jax.disable_jit():
            jax.block_until_ready(call())
    finally:
        product.def_impl(own)
    return total


def plain_products(seconds: float = 1.0) -> dict[str, float]:
    """Multiply-adds per second of products of matrices by themselves, one after another."""
    found = {}
    for rows, inner, columns in ((1024, 1024, 1024), (96, 64, 192)):
        weights, start = jnp.full((inner, columns), 1 / inner), jnp.ones((rows, inner))
        times = max(1, 2**31 // (rows * inner * columns))

        def again(x: jax.Array, _: None, weights: jax.Array = weights) -> tuple[jax.Array, None]:
            return (x @ weights)[:, : x.shape[1]], None

        many = jax.jit(lambda x, again=again, times=times: jax.lax.scan(again, x, None, times)[0])
        jax.block_until_ready(many(start))
        rates, until = [], time.perf_counter() + seconds
        while time.perf_counter() < until:
            began = time.perf_counter()
            jax.block_until_ready(many(start))
            rates.append(times * rows * inner * columns / (time.perf_counter() - began))
        found[f"{rows} x {inner} x {columns}"] = statistics.median(rates)
    return found


def theirs(folder: pathlib.Path, script: str, yaml: str, envs: int, updates: int) -> Program:
    """A training of so many updates."""
    baseline = load(folder / script)
    omegaconf = importlib.import_module("omegaconf").OmegaConf
    config = omegaconf.to_container(omegaconf.load(folder / yaml), resolve=False)
    baseline.wandb.log = lambda *_, **__: None

    def train(length: int, env_steps: int) -> Callable[[jax.Array], Any]:
        sizes = {"NUM_ENVS": envs, "NUM_STEPS": length, "TOTAL_TIMESTEPS": env_steps}
        return baseline.make_train(config | {"ENV_NAME": ENV} | sizes)

    key, steps = jax.random.PRNGKey(0), envs * int(config["NUM_STEPS"]) * updates
    compiled = jax.jit(train(int(config["NUM_STEPS"]), steps)).lower(key).compile()
    short = envs * COUNTED
    return Program(lambda: compiled(key), steps, lambda: train(COUNTED, short)(key), short)


def no_update(
    learner: PyTree, episodes: Episodes, replay: Replay | None, key: jax.Array, axis: str | None
) -> tuple[PyTree, dict[str, jax.Array]]:
    """Nothing is learned, and all is looked at, so that nothing of the episodes is left out."""
    del replay, key, axis
    return learner, {"seen": jnp.stack([jnp.sum(array, dtype=float) for array in jax.tree.leaves(episodes)])}


def ours(preset: str, envs: int, update: bool = True) -> Program:
    """An iteration, or all but the update of it."""
    env = registry.make(f"jaxmarl:{ENV}")
    algorithm = build(preset, env.spec, PRESETS[preset].config)
    if not update:
        algorithm = dataclasses.replace(algorithm, update=no_update)
    iterate, state = make_iterate(env, algorithm, envs, jax.devices()[:1]), init_state(algorithm, 0)
    jax.block_until_ready(iterate(state))
    steps = envs * env.spec.episode_limit
    return Program(lambda: iterate(state), steps, lambda: iterate(state), steps)


def counts(calls: dict[str, Program], file: pathlib.Path | None) -> dict[str, float]:
    """Multiply-adds per env step, from the file or, where it is missing, counted and written there."""
    if file is None:
        return {}
    if not file.exists():
        found = {}
        for name, program in calls.items():
            found[name] = multiply_adds(program.plain) / program.counted_steps
            print(f"{name}: {found[name]:,.0f} multiply-adds per env step", file=sys.stderr, flush=True)
        file.write_text(json.dumps(found, indent=1) + "\n")
    return json.loads(file.read_text())


def main() -> None:
    """Print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("baselines", type=pathlib.Path, help="the folder of that name in a checkout of JaxMARL")
    parser.add_argument("--envs", type=int, default=32)
    parser.add_argument("--updates", type=int, default=4, help="of a baseline, in one timing")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--presets", nargs="+", default=["mappo", "ippo", "seca"], choices=list(PRESETS))
    parser.add_argument("--count", type=pathlib.Path, help="where multiply-adds are kept")
    options = parser.parse_args()
    missing = stand_in()
    calls = {
        f"JaxMARL's {name}": theirs(options.baselines, *files, options.envs, options.updates)
        for name, files in BASELINES.items()
    }
    calls |= {f"`{preset}`": ours(preset, options.envs) for preset in options.presets}
    counted = counts(calls, options.count)
    calls |= {f"`{preset}`, acting": ours(preset, options.envs, update=False) for preset in options.presets}
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(options.repeats):
        for name, program in calls.items():
            times = max(1, 1600 // program.env_steps)  # Short ones several times, so that a clock can tell.
            began = time.perf_counter()
            for _ in range(times):
                jax.block_until_ready(program.call())
            found[name].append(times * program.env_steps / (time.perf_counter() - began))
    products = plain_products()
    print("| training | env steps/s | multiply-adds per env step | thousand million of them per second |")
    print("|---|---|---|---|")
    for name, rates in found.items():
        middle = statistics.median(rates)
        work = f"{counted[name] / 1e6:.2f}M | {middle * counted[name] / 1e9:.1f}" if name in counted else "- | -"
        print(f"| {name} | {middle:,.0f} ({min(rates):,.0f} to {max(rates):,.0f}) | {work} |")
    print(", ".join(f"{name}: {rate / 1e9:.1f} thousand million" for name, rate in products.items()))
    told = {"stood in for": missing, "rates": found, "multiply-adds per env step": counted, "products": products}
    print(json.dumps({"env": ENV, "envs": options.envs, **told}))


if __name__ == "__main__":
    main()
