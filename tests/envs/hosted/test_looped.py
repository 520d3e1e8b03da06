"""Workers behind the contract of an environment: the compiled loop plays, learns and stops as with any other."""

import functools
import json
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hosted_games import count

import seca
from seca.algos.ia2c import Ia2cConfig
from seca.algos.ia2c import ia2c as built
from seca.envs import trial
from seca.envs.base import Env
from seca.envs.check import check_env, check_pure
from seca.envs.hosted import looped
from seca.envs.hosted.lanes import Recipe
from seca.envs.hosted.pool import Hosting
from seca.errors import RunError
from seca.train import contract
from seca.train.evaluate import make_evaluate
from seca.train.iterate import make_iterate, spread
from seca.train.rollout import collect
from seca.train.state import init_state
from seca.types import TimeStep


def opened(lanes: int = 4, workers: int = 2, restarts: int = 5, **options) -> Env:
    recipe = Recipe("python", "hosted_games.count", tuple(sorted(options.items())))
    return looped.make(recipe, Hosting(lanes, workers, 20.0, restarts))


def natively(length: int, limit: int) -> Env:
    """The same game as pure functions."""
    spec = opened_spec(length, limit)

    def show(seed, t, reward):
        start = (seed % 97).astype(jnp.float32)
        when = t.astype(jnp.float32)
        rows = [jnp.stack([jnp.full_like(when, i), when, start], axis=-1) for i in range(2)]
        state = jnp.stack([when, start, jnp.full_like(when, length), jnp.ones_like(when)], axis=-1)
        over = t >= length
        avail = jnp.ones((len(seed), 2, 3), bool)
        won = {"won": over & (seed % 2 == 0)}
        return TimeStep(jnp.stack(rows, axis=1), state, avail, reward, over, ~over & (t >= limit), won)

    def reset(keys):
        bits = jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32))(keys)
        seed, t = (bits >> 1).astype(jnp.int32), jnp.zeros(len(keys), jnp.int32)
        return (seed, t), show(seed, t, jnp.zeros(len(keys), jnp.float32))

    def step(state, actions):
        seed, t = state
        live = t < min(length, limit)
        reward = jnp.where(live, (actions == 1).mean(axis=1), 0).astype(jnp.float32)
        return (seed, t + live), show(seed, t + live, reward)

    return Env(spec, reset, step)


def opened_spec(length: int, limit: int):
    return looped._env_spec(count(length=length, limit=limit).spec)


def learner(env: Env):
    return built("test", env.spec, Ia2cConfig(actor_hidden=8, critic_hidden=8))  # Quick to compile.


def test_it_keeps_the_contract_and_is_not_pure() -> None:
    env = opened(lanes=5, workers=1)
    check_env(env)
    with pytest.raises(ValueError, match="`env` is count, which is no pure function .*: its episodes cannot be forked"):
        check_pure(env)
    assert env.host is not None
    env.host.close()
    with pytest.raises(RunError, match="was closed"):
        env.host.check()


@pytest.mark.slow
@pytest.mark.parametrize(("devices", "limit"), [pytest.param(1, 7, marks=pytest.mark.every), (2, 3)])
def test_training_is_as_with_the_same_game_in_jax(devices: int, limit: int) -> None:
    """Bit for bit, on one device and on two, which ask for their shares of the batch side by side."""
    chosen, found = jax.devices()[:devices], []
    for env in (opened(lanes=6, workers=2, length=5, limit=limit), natively(5, limit)):
        algorithm = learner(env)
        iterate = make_iterate(env, algorithm, 6, chosen)
        state, lines = spread(init_state(algorithm, 0), chosen), []
        for _ in range(3):
            state, metrics = iterate(state)
            lines.append({name: np.asarray(value).tolist() for name, value in metrics.items()})
        outcomes = make_evaluate(env, algorithm, 15, chosen)(state)
        assert [line.pop(contract.BREACH, contract.NONE) for line in lines] == [contract.NONE] * 3
        assert outcomes.pop("lost", 0) == 0
        found.append((lines, {name: value.tolist() for name, value in outcomes.items()}))
        if env.host is not None:
            assert [line.pop("episodes_lost") for line in lines] == [0, 0, 0]
            env.host.close()
    assert found[0] == found[1]


@pytest.mark.slow
def test_a_break_changes_nothing() -> None:
    """Other workers, started later, go on as those before would have: episodes follow from their own seeds."""
    first, second = jax.random.split(jax.random.key(7), (2, 3))
    found = []
    for workers, batches in ((2, [first, second]), (1, [second])):
        env = opened(lanes=3, workers=workers)
        algorithm = learner(env)
        params = algorithm.policy(init_state(algorithm, 0).learner)
        play = jax.jit(functools.partial(collect, env, algorithm, params, env_steps=jnp.zeros((), jnp.uint32)))
        found.append([jax.device_get(play(keys)) for keys in batches][-1])
        assert env.host is not None
        env.host.close()
    for one, other in zip(*map(jax.tree.leaves, found), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.slow
def test_of_an_episode_that_is_lost_nothing_counts() -> None:
    env = opened(lanes=5, workers=2, at=3, then="raise", every=3)
    algorithm = learner(env)
    params = algorithm.policy(init_state(algorithm, 0).learner)
    play = jax.jit(lambda keys: collect(env, algorithm, params, keys, jnp.zeros((), jnp.uint32)))
    episodes, played = play(jax.random.split(jax.random.key(3), 5))
    assert played.lost is not None and played.won is not None
    lost = np.asarray(played.lost)
    assert 0 < lost.sum() < 5
    assert not np.asarray(episodes.valid)[lost].any() and np.asarray(episodes.valid)[~lost, :5].all()
    for outcome in (played.length, played.episode_return, played.won):
        assert not np.asarray(outcome)[lost].any()
    assert (np.asarray(played.length)[~lost] == 5).all()
    assert env.host is not None
    env.host.close()


@pytest.mark.slow
def test_lost_episodes_are_counted_and_evaluated_again(tmp_path: pathlib.Path) -> None:
    """One fails once: an iteration has one less; an evaluation plays it again, and has all of them."""
    once = tmp_path / "once"
    env = opened(lanes=4, workers=1, at=2, then="raise", once=str(once))
    algorithm = learner(env)
    state, metrics = make_iterate(env, algorithm, 4, jax.devices()[:1])(init_state(algorithm, 0))
    assert int(metrics["episodes_lost"]) == 1 and int(state.episodes) == 3 and int(state.env_steps) == 15
    once.unlink()
    outcomes = make_evaluate(env, algorithm, 6, jax.devices()[:1])(state)
    assert outcomes["length"].tolist() == [5] * 6
    assert env.host is not None and env.host.restarts == 2
    env.host.close()


@pytest.mark.slow
def test_where_all_are_lost_nothing_is_learned() -> None:
    env = opened(lanes=2, workers=1, restarts=50, at=2, then="raise")
    algorithm = learner(env)
    before = init_state(algorithm, 0)
    state, metrics = make_iterate(env, algorithm, 2, jax.devices()[:1])(before)
    assert int(metrics["episodes_lost"]) == 2 and int(state.episodes) == 0 and int(state.env_steps) == 0
    assert all(np.isfinite(np.asarray(value)).all() for value in metrics.values())
    for new, old in zip(jax.tree.leaves(state.learner), jax.tree.leaves(before.learner), strict=True):
        np.testing.assert_array_equal(new, old)
    with pytest.raises(
        RunError,
        match="^`env` count: all 3 episodes of an evaluation were lost 3 times, the last time: RuntimeError: the",
    ):
        make_evaluate(env, algorithm, 3, jax.devices()[:1])(state)
    assert env.host is not None
    env.host.close()


def test_it_is_made_by_name(tmp_path: pathlib.Path) -> None:
    """Of `python:`, which may return what workers play; continuous actions are from -1 to 1 to a learner."""
    env = seca.make("python:hosted_games.count", {"length": 3, "continuous": True}, Hosting(3, 1))
    assert env.spec.box is not None and env.spec.box.low == (-1.0,)
    state, shown = jax.jit(env.reset)(jax.random.split(jax.random.key(0), 3))
    state, shown = jax.jit(env.step)(state, jnp.ones((3, 2, 1), jnp.float32))
    assert shown.reward.tolist() == [3.0, 3.0, 3.0]
    assert env.host is not None
    env.host.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "code", "said"),
    [
        ("at=2 then=break every=5", 2, "does not keep its contract: agent_0 shows NaN at step 3; stopped; go on with:"),
        (
            "at=2 then=die",
            1,
            "episodes of an evaluation were lost 3 times, the last time: its process ended with exit code 3, after",
        ),
    ],
)
def test_a_run_ends_with_a_line_and_a_checkpoint(
    tmp_path: pathlib.Path, seca, options: str, code: int, said: str
) -> None:
    ended = seca(
        *("train", "iql", "--env", "python:hosted_games.count", "--env-options", *options.split()),
        *("--out", tmp_path / "run", "--runners", "4", "--eval-episodes", "4", "--steps", "4000"),
        *("--workers", "1", "--buffer-episodes", "4", "--batch-episodes", "4", "--devices", "1"),
        cwd=pathlib.Path(__file__).parents[2],
    )
    assert ended.returncode == code and ended.stderr.count("\n") == 1 and said in ended.stderr, ended.stderr
    written = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert all(json.loads(line) for line in written.splitlines())


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "found"),
    [
        ({}, []),
        (
            {"at": 3, "then": "raise"},
            ["it failed 4 times in legal play, the last time: RuntimeError: the game is gone"],
        ),
        ({"at": 3, "then": "break"}, ["`env` python:hosted_games.count does not keep its contract: agent_0 shows NaN"]),
    ],
)
def test_it_is_tried_out(options: dict, found: list[str]) -> None:
    """`seca check-env`: workers cannot go back, and what fails in one is no traceback."""
    env = opened(lanes=4, workers=1, **options)
    report = trial.examine(env, 4, seconds=0.01)
    assert len(report.failures) == len(found)
    assert all(finding.line.startswith(line) for finding, line in zip(report.failures, found, strict=True))
    assert ("env_steps_per_s" in report.played) == (not found)
    assert env.host is not None
    env.host.close()
