"""The training loop: collect whole episodes, update, now and then evaluate and save.

It knows no folders: what it produces goes to the `Sinks` it is handed.
"""

import concurrent.futures
import dataclasses
import functools
import time
from collections.abc import Callable
from typing import Annotated, Any, Protocol, runtime_checkable

import jax
import numpy as np

from seca import numerics
from seca.algos.base import Algorithm
from seca.envs.base import Env
from seca.ranges import Batch, Range, Steps
from seca.train.contract import check_kept
from seca.train.evaluate import make_evaluate
from seca.train.iterate import Iterate, make_iterate, placement, spread
from seca.train.state import TrainState, init_state


@runtime_checkable
class Sinks(Protocol):
    """Where the loop's products go; the run folder implements it."""

    def metrics(self, line: dict[str, Any]) -> None:
        """One line of metrics: `kind` is `train` or `eval`."""

    def after_iteration(self, state: TrainState, evaluated: dict[str, Any] | None) -> bool:
        """Called after each iteration (and its evaluation, if there was one): save when due; return True to stop."""


@dataclasses.dataclass(frozen=True)
class LoopConfig:
    """How long to train and how often to look."""

    steps: Steps = 2_000_000
    """Env steps to train for; the loop ends with the first iteration that reaches them."""
    episodes: Annotated[int, Range(0, 2**31 - 1)] = 0
    """Training episodes after which the loop ends, if it has not done `steps` by then; 0 for as many as it takes."""
    runners: Batch = 32
    """Environments played side by side; each iteration learns from one whole episode of each."""
    minibatches: Annotated[int, Range(1, 1_000_000)] = 1
    """Updates that share the episodes of an iteration, each episode in one of them. With many runners one for each 32
    of them learns about as much per env step as 32 runners do."""
    eval_interval: Steps = 100_000
    """Env steps between two evaluations of the current policy; the untrained policy is evaluated as well."""
    eval_episodes: Batch = 32
    """Greedy episodes per evaluation."""

    def over(self, env_steps: int, episodes: int) -> bool:
        """Whether training has gone on for as long as it should."""
        return env_steps >= self.steps or 0 < self.episodes <= episodes

    @property
    def update_episodes(self) -> int:
        """Episodes that an update learns from: what is split over the devices."""
        return self.runners // self.minibatches


class NonFiniteError(RuntimeError):
    """A loss or a gradient norm became NaN or infinite; the state before this iteration is still good."""


@numerics.own()
def train(
    env: Env,
    algorithm: Algorithm,
    state: TrainState,
    config: LoopConfig,
    sinks: Sinks,
    devices: list[jax.Device],
    clock: Callable[[], float] = time.perf_counter,
    compiling: "concurrent.futures.Future[Iterate] | None" = None,
) -> TrainState:
    """Train from `state` until `config.steps` env steps (or its episodes) and return the last state.

    `compiling` is what `start_compiling` gave, if it was called already.

    Raises `NonFiniteError` when a loss or a gradient norm is not finite, UsageError when the environment breaks its
    contract, and what `Host.check` raises; nothing is handed to the sinks then.
    """
    state = spread(state, devices)
    evaluate = make_evaluate(env, algorithm, config.eval_episodes, devices)
    # The iteration compiles while the untrained policy is being evaluated: the first update comes seconds earlier.
    compiling = compiling or start_compiling(env, algorithm, config.runners, devices, config.minibatches)
    if int(state.iteration) == 0:
        evaluated = evaluation_line(state, evaluate(state))
        sinks.metrics(evaluated)
        if sinks.after_iteration(state, evaluated):
            return state
    iterate = compiling.result()
    while not config.over(int(state.env_steps), int(state.episodes)):
        started = clock()
        steps_before = int(state.env_steps)
        new_state, metrics = iterate(state)
        metrics = jax.device_get(metrics)  # Until then it may not even have begun, on several devices.
        if env.host is not None:
            env.host.check()
        measured = check_kept(env, metrics, f"iteration {int(new_state.iteration)}")
        line = training_line(new_state, measured, clock() - started, steps_before)
        state = new_state
        sinks.metrics(line)
        evaluated = None
        over = config.over(int(state.env_steps), int(state.episodes))
        if over or crossed(steps_before, int(state.env_steps), config.eval_interval):
            evaluated = evaluation_line(state, evaluate(state))
            sinks.metrics(evaluated)
        if sinks.after_iteration(state, evaluated):
            break
    return state


def start_compiling(
    env: Env, algorithm: Algorithm, runners: int, devices: list[jax.Device], minibatches: int = 1
) -> "concurrent.futures.Future[Iterate]":
    """Begin to compile the iteration in a thread of its own; needs no state yet, only what `init_state` would make."""
    background = concurrent.futures.ThreadPoolExecutor(1)
    compiling = background.submit(compile_iterate, env, algorithm, runners, devices, minibatches)
    background.shutdown(wait=False)
    return compiling


@numerics.own()
def compile_iterate(
    env: Env, algorithm: Algorithm, runners: int, devices: list[jax.Device], minibatches: int = 1
) -> Iterate:
    """The iteration compiled for states as `init_state` makes them, spread over the devices."""
    place = placement(devices)
    shapes = jax.eval_shape(functools.partial(init_state, algorithm), 0)
    state = jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), shapes)
    return make_iterate(env, algorithm, runners, devices, minibatches).compile(state)


def crossed(before: int, after: int, interval: int) -> bool:
    """Whether a multiple of `interval` lies in (before, after]."""
    return after // interval > before // interval


def training_line(state: TrainState, metrics: dict[str, Any], seconds: float, steps_before: int) -> dict[str, Any]:
    """One JSON-ready line about an iteration; time fields start with `time_`.

    Where all its episodes were lost there is nothing that anybody measured: what remains are counts.
    """
    line: dict[str, Any] = {
        "kind": "train",
        "env_steps": int(state.env_steps),
        "iteration": int(state.iteration),
        "episodes": int(state.episodes),
        "time_iteration": seconds,
        "time_env_steps_per_s": (int(state.env_steps) - steps_before) / max(seconds, 1e-9),
    }
    if "episodes_lost" in metrics and line["env_steps"] == steps_before:
        metrics = {name: value for name, value in metrics.items() if name in ("episodes_lost", "buffer_episodes")}
    for name, value in metrics.items():
        array = np.asarray(value)
        line[name] = array.item() if array.ndim == 0 else array.tolist()
    broken = [name for name in metrics if not np.all(np.isfinite(np.asarray(line[name], dtype=np.float64)))]
    if broken:
        raise NonFiniteError(
            f"`{broken[0]}` is not finite at env step {line['env_steps']} (iteration {line['iteration']}): "
            "the run stopped; the last checkpoint is intact"
        )
    return line


def evaluation_line(state: TrainState, results: dict[str, np.ndarray]) -> dict[str, Any]:
    """One JSON-ready line about an evaluation: per-episode results and their means; of wins where there are any."""
    won = results.get("won")
    return {
        "kind": "eval",
        "env_steps": int(state.env_steps),
        "iteration": int(state.iteration),
        "greedy": True,
        **({} if won is None else {"win_rate": float(np.mean(won))}),
        "return_mean": float(np.mean(results["return"])),
        **({} if won is None else {"episode_won": np.asarray(won).astype(int).tolist()}),
        "episode_return": np.asarray(results["return"], dtype=np.float64).round(6).tolist(),
        "episode_length": np.asarray(results["length"]).astype(int).tolist(),
        **({"episodes_lost": int(results["lost"])} if "lost" in results else {}),
    }
