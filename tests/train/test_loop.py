"""The training loop: when it looks, what it says, and when it stops."""

import concurrent.futures
import dataclasses
from typing import Any

import counting
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.errors import RunError
from seca.train.loop import LoopConfig, NonFiniteError, crossed, evaluation_line, start_compiling, train, training_line
from seca.train.state import TrainState, init_state

ENV = counting.env()


ALGORITHM = counting.algorithm()


class Lines:
    """A sink that keeps the lines, and may stop the loop."""

    def __init__(self) -> None:
        self.lines: list[dict] = []

    def metrics(self, line: dict) -> None:
        self.lines.append(line)

    def after_iteration(self, state, evaluated) -> bool:
        return False


def run(seed: int, eval_interval: int, steps: int = 600) -> list[dict]:
    sink = Lines()
    loop = LoopConfig(steps=steps, runners=16, eval_interval=eval_interval, eval_episodes=8)
    train(ENV, ALGORITHM, init_state(ALGORITHM, seed), loop, sink, jax.devices()[:1])
    return [{k: v for k, v in line.items() if not k.startswith("time_")} for line in sink.lines]


@pytest.mark.slow
def test_seeds_and_evaluation_schedule() -> None:
    """Same seed, same numbers; another seed, others; evaluating more often leaves training unchanged bit for bit."""
    often, rarely, other = run(0, 100), run(0, 10_000), run(1, 10_000)
    training = [[line for line in lines if line["kind"] == "train"] for lines in (often, rarely, other)]
    assert training[0] == training[1]
    assert training[1] != training[2]
    assert run(0, 100) == often
    points = [line["env_steps"] for line in often if line["kind"] == "eval"]
    assert points[0] == 0 and len(points) > 4 and points == sorted(set(points))
    assert [line["env_steps"] for line in rarely if line["kind"] == "eval"] == [0, rarely[-1]["env_steps"]]
    assert all(len(line["episode_won"]) == 8 for line in often if line["kind"] == "eval")


@pytest.mark.slow
def test_it_ends_after_so_many_episodes() -> None:
    """Evaluated there; whichever of the two budgets comes first."""

    def ended(steps: int, episodes: int) -> tuple[int, int, int]:
        sink = Lines()
        loop = LoopConfig(steps=steps, episodes=episodes, runners=16, eval_interval=10_000, eval_episodes=8)
        state = train(ENV, ALGORITHM, init_state(ALGORITHM, 0), loop, sink, jax.devices()[:1])
        last = sink.lines[-1]
        assert last["kind"] == "eval" and last["env_steps"] == int(state.env_steps)
        assert loop.over(int(state.env_steps), int(state.episodes))
        return int(state.iteration), int(state.episodes), int(state.env_steps)

    assert ended(100_000, 33)[:2] == (3, 48)
    assert ended(100_000, 32)[:2] == (2, 32)
    iterations, _, env_steps = ended(1, 1_000)
    assert iterations == 1 and env_steps >= 1


@pytest.mark.slow
def test_metrics_hold_what_a_report_needs() -> None:
    line = run(0, 10_000, steps=1)[1]
    scalars = {"critic_loss", "entropy", "actor_gradient_norm", "critic_gradient_norm", "critic_mean", "critic_std"}
    counters = {"env_steps", "episodes", "gradient_steps", "iteration"}
    assert scalars | counters | {"return_mean", "win_rate", "rank_mean", "contribution_mean"} <= set(line)
    assert len(line["rank_mean"]) == len(line["contribution_mean"]) == 2


@pytest.mark.slow
def test_non_finite_losses_stop_the_run() -> None:
    state = init_state(ALGORITHM, 0)
    critic = state.learner.critic
    lost = dataclasses.replace(critic, target=jax.tree.map(lambda x: x * jnp.nan, critic.target))
    broken = dataclasses.replace(state, learner=dataclasses.replace(state.learner, critic=lost))
    sink = Lines()
    loop = LoopConfig(steps=100, runners=16, eval_interval=1000, eval_episodes=8)
    with pytest.raises(NonFiniteError, match="is not finite at env step"):
        train(ENV, ALGORITHM, broken, loop, sink, jax.devices()[:1])
    assert all(line["kind"] == "eval" for line in sink.lines)


@pytest.mark.parametrize(
    ("before", "after", "interval", "expected"),
    [(0, 99, 100, False), (0, 100, 100, True), (100, 199, 100, False), (99, 100, 100, True), (50, 450, 100, True)],
)
def test_a_multiple_of_the_interval_is_crossed(before: int, after: int, interval: int, expected: bool) -> None:
    """In (before, after]: at the multiple itself, once, and once for several of them."""
    assert crossed(before, after, interval) == expected


def at(env_steps: int, iteration: int) -> TrainState:
    """A state after so much, that nobody has trained."""
    state = init_state(counting.watcher([]), 0)
    return dataclasses.replace(
        state, env_steps=jnp.uint32(env_steps), iteration=jnp.int32(iteration), episodes=jnp.int32(4 * iteration)
    )


def test_a_line_of_training() -> None:
    metrics = {"loss": np.float32(0.5), "ranks": np.array([0.25, 0.75], np.float32), "count": np.int32(3)}
    assert training_line(at(140, 7), metrics, 2.0, 100) == {
        "kind": "train",
        "env_steps": 140,
        "iteration": 7,
        "episodes": 28,
        "time_iteration": 2.0,
        "time_env_steps_per_s": 20.0,
        "loss": 0.5,
        "ranks": [0.25, 0.75],
        "count": 3,
    }


def test_a_line_of_an_iteration_of_which_all_was_lost() -> None:
    """Counts alone: 0 for a return or a loss would be a number that nobody measured. With a step it is told whole."""
    metrics = {"return_mean": np.float32(0), "gradient_steps": np.int32(0), "buffer_episodes": np.int32(9)}
    metrics["episodes_lost"] = np.int32(4)
    line = training_line(at(140, 7), metrics, 2.0, 140)
    assert line == {
        "kind": "train",
        "env_steps": 140,
        "iteration": 7,
        "episodes": 28,
        "time_iteration": 2.0,
        "time_env_steps_per_s": 0.0,
        "episodes_lost": 4,
        "buffer_episodes": 9,
    }
    assert training_line(at(140, 7), metrics, 2.0, 139).keys() == line.keys() | metrics.keys()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_line_with_a_number_that_is_none(value: float) -> None:
    """One of several is enough; the first of them is named."""
    metrics = {"loss": np.float32(0.5), "ranks": np.array([0.25, value], np.float32), "norm": np.float32(value)}
    with pytest.raises(NonFiniteError, match=r"`ranks` is not finite at env step 140 \(iteration 7\)"):
        training_line(at(140, 7), metrics, 2.0, 100)


def test_a_line_of_an_evaluation() -> None:
    results = {"won": np.array([True, False, False, True]), "return": np.array([1.0, 0.1, 2.25, 0.0], np.float32)}
    results["length"] = np.array([3, 4, 5, 6], np.int32)
    line = evaluation_line(at(140, 7), results)
    assert line == {
        "kind": "eval",
        "env_steps": 140,
        "iteration": 7,
        "greedy": True,
        "win_rate": 0.5,
        "return_mean": pytest.approx(0.8375),
        "episode_won": [1, 0, 0, 1],
        "episode_return": [1.0, 0.1, 2.25, 0.0],
        "episode_length": [3, 4, 5, 6],
    }
    del results["won"]
    without = {name: value for name, value in line.items() if name not in ("win_rate", "episode_won")}
    assert evaluation_line(at(140, 7), results) == without
    assert evaluation_line(at(140, 7), results | {"lost": np.array(2)}) == without | {"episodes_lost": 2}


class Script:
    """Stands for a compiled iteration and for the sinks: 40 env steps each time; asks to stop where told to."""

    def __init__(self, stop_after: int | None = None) -> None:
        self.told: list[tuple[str, int]] = []
        self.lines: list[dict[str, Any]] = []
        self.stop_after = stop_after

    def __call__(self, state: TrainState) -> tuple[TrainState, dict[str, Any]]:
        return at(int(state.env_steps) + 40, int(state.iteration) + 1), {"loss": np.float32(1.5)}

    def metrics(self, line: dict[str, Any]) -> None:
        self.lines.append(line)
        self.told.append((line["kind"], line["env_steps"]))

    def after_iteration(self, state: TrainState, evaluated: dict[str, Any] | None) -> bool:
        self.told.append(("saved" if evaluated is None else "judged", int(state.env_steps)))
        return self.stop_after is not None and int(state.env_steps) >= self.stop_after


class Down:
    """Workers of which it shows that they cannot go on when an iteration is waited for, and not before."""

    lanes, restarts, said = 4, 0, ""

    def __init__(self) -> None:
        self.failed = False

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        self.failed = True
        return np.zeros(())

    def check(self) -> None:
        if self.failed:
            raise RunError("they are gone")

    def close(self) -> None:
        pass


def test_an_iteration_whose_workers_fail_is_handed_to_nobody() -> None:
    """A call returns before its program has ended: that is waited for first."""
    host, script = Down(), Script()
    compiled: concurrent.futures.Future = concurrent.futures.Future()
    compiled.set_result(lambda state: (at(80, 2), {"loss": host}))
    loop = LoopConfig(steps=200, runners=4, eval_interval=150, eval_episodes=2)
    env = dataclasses.replace(ENV, host=host)
    with pytest.raises(RunError, match="they are gone"):
        train(env, counting.watcher([]), at(40, 1), loop, script, jax.devices()[:1], compiling=compiled)
    assert script.told == [] and script.lines == []


def followed(script: Script, state: TrainState, clock: list[float] | None = None) -> TrainState:
    """The loop to 200 env steps, with an evaluation each 150."""
    compiled: concurrent.futures.Future = concurrent.futures.Future()
    compiled.set_result(script)
    ticks = iter(clock or [0.0] * 20)
    loop = LoopConfig(steps=200, runners=4, eval_interval=150, eval_episodes=2)
    return train(ENV, counting.watcher([]), state, loop, script, jax.devices()[:1], lambda: next(ticks), compiled)


def test_what_happens_in_what_order() -> None:
    """The untrained policy is judged, then each whose iteration crosses 150, then the last; all are handed on."""
    script = Script()
    last = followed(
        script, init_state(counting.watcher([]), 0), [0.0, 2.0, 10.0, 14.0, 20.0, 21.0, 30.0, 38.0, 40.0, 45.0]
    )
    assert script.told == [
        ("eval", 0), ("judged", 0),
        ("train", 40), ("saved", 40),
        ("train", 80), ("saved", 80),
        ("train", 120), ("saved", 120),
        ("train", 160), ("eval", 160), ("judged", 160),
        ("train", 200), ("eval", 200), ("judged", 200),
    ]  # fmt: skip
    assert int(last.env_steps) == 200
    training = [line for line in script.lines if line["kind"] == "train"]
    assert [line["time_iteration"] for line in training] == [2, 4, 1, 8, 5]
    assert [line["time_env_steps_per_s"] for line in training] == [20, 10, 40, 5, 8]


def test_a_run_that_goes_on_does_not_judge_again() -> None:
    script = Script()
    assert int(followed(script, at(120, 3)).env_steps) == 200
    assert script.told[0] == ("train", 160)
    followed(done := Script(), at(200, 5))
    assert done.told == []


@pytest.mark.parametrize(("stop_after", "last"), [(0, 0), (1, 40), (120, 120)])
def test_who_is_handed_a_state_may_stop_the_loop(stop_after: int, last: int) -> None:
    script = Script(stop_after)
    assert int(followed(script, init_state(counting.watcher([]), 0)).env_steps) == last
    assert script.told[-1][1] == last


def test_the_iteration_compiles_aside() -> None:
    """Without a state; and runners that do not divide are told where the result is asked for."""
    algorithm = counting.watcher([])
    iterate = start_compiling(ENV, algorithm, 4, jax.devices()[:1]).result(timeout=300)
    state, metrics = iterate(init_state(algorithm, 0))
    assert int(state.iteration) == 1 and int(state.env_steps) == round(4 * float(metrics["episode_length_mean"]))
    with pytest.raises(ValueError, match="`runners` is 3"):
        start_compiling(ENV, algorithm, 3, jax.devices()[:2]).result(timeout=300)
