"""Train one of JaxMARL's own baselines on this simulator, its file unchanged.

    git clone https://github.com/FLAIROx/JaxMARL
    pip install 'jaxmarl[algs]'
    python benchmarks/jaxmarl_baseline.py JaxMARL/baselines/IPPO/ippo_rnn_smax.py --map 3m --steps 1e6

Any script under JaxMARL/baselines will do that builds its environment with `HeuristicEnemySMAX` in a function
`make_train(config)`, as IPPO and MAPPO for SMAX do; `--config` names its YAML file where that is not called like the
script. Three names in it are replaced: the environment, the look-up of its scenario, and the wrapper that logs (SMAX's
takes every reward of 1 for a win). Rewards are scaled to 2 for a perfect battle, as SMAX pays. Prints one line per so
many updates: env steps, mean return, win rate of the battles that ended in them.
"""

import argparse
import contextlib
import importlib
import importlib.util
import pathlib
import sys
import time
from types import ModuleType
from typing import Any

import jax
import numpy as np

from seca.smac.views.jaxmarl import SmacJaxEnv

SMAX_RETURN = 2.0


def load(path: pathlib.Path) -> ModuleType:
    """A Python file as a module."""
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        raise SystemExit(f"`script` {path} is not a Python file")
    module = importlib.util.module_from_spec(spec)
    with contextlib.redirect_stdout(sys.stderr):  # JaxMARL prints when it is imported.
        spec.loader.exec_module(module)
    return module


def logging(wrappers: ModuleType) -> Any:
    """JaxMARL's `LogWrapper`, with the key under which its SMAX scripts look for wins."""

    def wrap(env: Any) -> Any:
        logged = wrappers.LogWrapper(env)
        step = logged.step

        def with_wins(key: Any, state: Any, actions: Any) -> Any:
            obs, state, reward, done, info = step(key, state, actions)
            return obs, state, reward, done, info | {"returned_won_episode": info["won"].astype(np.float32)}

        logged.step = with_wins
        return logged

    return wrap


def report(every: int) -> Any:
    """A stand-in for `wandb.log` that prints means over so many updates."""
    rows: list[dict[str, Any]] = []
    began = time.monotonic()

    def log(row: dict[str, Any]) -> None:
        rows.append(row)
        if len(rows) % every == 0:
            means = {name: np.nanmean([float(row[name]) for row in rows[-every:]]) for name in ("returns", "win_rate")}
            print(
                f"{int(row['env_step']):>10,} env steps  return {means['returns']:.3f}  "
                f"win rate {means['win_rate']:.2f}  {time.monotonic() - began:.0f} s",
                flush=True,
            )

    return log


def main() -> None:
    """Train and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("script", type=pathlib.Path, help="a baseline in a checkout of JaxMARL")
    parser.add_argument("--config", type=pathlib.Path, help="its YAML file (default: config/NAME.yaml beside it)")
    parser.add_argument("--map", default="3m")
    parser.add_argument("--steps", type=float, default=1e6, help="env steps")
    parser.add_argument("--envs", type=int, default=32)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--every", type=int, default=10, help="updates per printed line")
    arguments = parser.parse_args()

    baseline = load(arguments.script)
    yaml = arguments.config or arguments.script.parent / "config" / f"{arguments.script.stem}.yaml"
    omegaconf = importlib.import_module("omegaconf").OmegaConf
    config = omegaconf.to_container(omegaconf.load(yaml), resolve=False)
    config |= {"MAP_NAME": arguments.map, "TOTAL_TIMESTEPS": arguments.steps, "NUM_ENVS": arguments.envs}

    def environment(scenario: str, **options: Any) -> SmacJaxEnv:
        del options  # SMAX's own.
        return SmacJaxEnv(scenario, reward_scale_rate=SMAX_RETURN)

    replaced = {
        "HeuristicEnemySMAX": environment,
        "map_name_to_scenario": lambda name: name,
        "SMAXLogWrapper": logging(importlib.import_module("jaxmarl.wrappers.baselines")),
    }
    for name, ours in replaced.items():
        if not hasattr(baseline, name):
            raise SystemExit(f"`script` {arguments.script} has no `{name}`: it is not one of the baselines for SMAX")
        setattr(baseline, name, ours)
    baseline.wandb.log = report(arguments.every)
    jax.block_until_ready(jax.jit(baseline.make_train(config))(jax.random.PRNGKey(arguments.seed)))


if __name__ == "__main__":
    main()
