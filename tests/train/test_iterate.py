"""Collecting, updating and evaluating: row conventions, device counts, keys, and what counts as an env step."""

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import cases

from seca.algos.seca import SecaConfig, seca
from seca.envs.base import Env
from seca.learning.acting import acting_over, last_actions
from seca.train.evaluate import make_evaluate
from seca.train.iterate import make_iterate
from seca.train.loop import LoopConfig, NonFiniteError, train
from seca.train.rollout import collect
from seca.train.state import init_state, iteration_keys
from seca.types import EnvSpec, TimeStep

pytestmark = pytest.mark.slow

CONFIG = SecaConfig(actor_hidden=8, critic_embed=8, critic_width=16)
LIMIT = 6


def counting_env() -> Env:
    """Battles of random length 1 .. 8 under a limit of 6: some terminate, the others are truncated.

    The observation shows the step number, the reward is the step number too, and action 2 is available on even steps.
    """
    spec = EnvSpec("test/counting", "1", n_agents=2, n_actions=3, obs_size=2, state_size=2, episode_limit=LIMIT)

    def show(length, t, reward) -> TimeStep:
        terminated = t >= length
        features = jnp.stack([t / 10, length / 10], axis=-1).astype(jnp.float32)
        avail = jnp.stack([jnp.ones_like(terminated), jnp.ones_like(terminated), t % 2 == 0], axis=-1)
        return TimeStep(
            obs=jnp.repeat(features[:, None], 2, axis=1),
            state=features,
            avail=jnp.repeat(avail[:, None], 2, axis=1),
            reward=reward.astype(jnp.float32),
            terminated=terminated,
            truncated=~terminated & (t >= LIMIT),
            info={"won": terminated & (length % 2 == 0)},
        )

    def reset(keys):
        length = jax.vmap(lambda key: jax.random.randint(key, (), 1, 9))(keys)
        t = jnp.zeros_like(length)
        return (length, t), show(length, t, t)

    def step(state, actions):
        del actions
        length, t = state
        over = (t >= length) | (t >= LIMIT)
        following = jnp.where(over, t, t + 1)
        return (length, following), show(length, following, jnp.where(over, 0, following))

    return Env(spec, reset, step)


ENV = counting_env()
ALGORITHM = seca("test", ENV.spec, CONFIG)


@pytest.fixture(name="collected", scope="module")
def collected_fixture():
    state = init_state(ALGORITHM, 0)
    keys = jax.random.split(jax.random.key(3), 16)
    played = jax.jit(functools.partial(collect, ENV, ALGORITHM))
    return state, *played(state.learner.actor.params, keys, state.env_steps)


def test_rows_of_collected_episodes(collected) -> None:
    """Row t holds what was seen before step t; row L the final observation and a sampled bootstrap action."""
    _, episodes, played = collected
    length = np.asarray(episodes.length)
    assert len(set(length)) > 3 and length.max() == LIMIT
    for b, steps in enumerate(length):
        np.testing.assert_allclose(episodes.obs[b, : steps + 1, 0, 0], np.arange(steps + 1) / 10, atol=1e-6)
        np.testing.assert_allclose(episodes.reward[b, :steps], np.arange(1, steps + 1))
        ends = (np.asarray(episodes.terminated[b]), np.asarray(episodes.truncated[b]))
        assert ends[0].sum() + ends[1].sum() == 1 and (ends[0] | ends[1])[steps - 1]
        chosen = np.take_along_axis(np.asarray(episodes.avail[b]), np.asarray(episodes.actions[b])[..., None], axis=-1)
        assert chosen[: steps + 1].all()
    assert np.asarray(episodes.truncated).any() and np.asarray(episodes.terminated).any()
    np.testing.assert_array_equal(played.length, length)
    np.testing.assert_allclose(played.episode_return, length * (length + 1) / 2)


def test_record_is_the_forward_pass(collected) -> None:
    """Hidden states and policies kept while acting equal a re-unroll on the real rows."""
    state, episodes, _ = collected
    again = acting_over(state.learner.actor.params, dataclasses.replace(episodes, record=None))
    filled = np.arange(LIMIT + 1) <= np.asarray(episodes.length)[:, None]
    for kept, fresh in zip(jax.tree.leaves(episodes.record), jax.tree.leaves(again), strict=True):
        np.testing.assert_allclose(np.asarray(kept)[filled], np.asarray(fresh)[filled], atol=1e-6)
    assert (last_actions(episodes.actions, 3, jnp.dtype("float32"))[:, 0] == 0).all()


def test_episodes_depend_on_their_own_key_only(collected) -> None:
    """A runner plays the same episode whoever plays beside it."""
    state, episodes, _ = collected
    keys = jax.random.split(jax.random.key(3), 16)[4:8]
    few, _ = jax.jit(functools.partial(collect, ENV, ALGORITHM))(state.learner.actor.params, keys, state.env_steps)
    for b, steps in enumerate(np.asarray(few.length)):
        np.testing.assert_array_equal(few.actions[b, :steps], episodes.actions[4 + b, :steps])


@pytest.mark.parametrize("n_devices", cases([2, 4], 2))
def test_device_counts_agree(n_devices: int) -> None:
    """1, 2 and 4 devices: same episodes, and the same update to 1e-6."""
    alone = make_iterate(ENV, ALGORITHM, 16, jax.devices()[:1])(init_state(ALGORITHM, 0))
    shared = make_iterate(ENV, ALGORITHM, 16, jax.devices()[:n_devices])(init_state(ALGORITHM, 0))
    assert int(alone[0].env_steps) == int(shared[0].env_steps) > 0
    assert int(shared[0].episodes) == 16 and int(shared[0].iteration) == 1
    for one, many in zip(jax.tree.leaves(alone[1]), jax.tree.leaves(shared[1]), strict=True):
        np.testing.assert_allclose(many, one, rtol=1e-6, atol=1e-6)  # Some metrics are of size 100.
    for one, many in zip(jax.tree.leaves(alone[0].learner), jax.tree.leaves(shared[0].learner), strict=True):
        np.testing.assert_allclose(many, one, rtol=0, atol=1e-6)


def test_env_steps_are_steps_of_unfinished_episodes() -> None:
    iterate = make_iterate(ENV, ALGORITHM, 16, jax.devices()[:1])
    state = init_state(ALGORITHM, 1)
    expected = 0
    for _ in range(3):
        collect_key = iteration_keys(state)[0]
        keys = jax.vmap(functools.partial(jax.random.fold_in, collect_key))(jnp.arange(16))
        _, played = collect(ENV, ALGORITHM, state.learner.actor.params, keys, state.env_steps)
        expected += int(played.length.sum())
        state, metrics = iterate(state)
        assert int(state.env_steps) == expected
        assert float(metrics["episode_length_mean"]) * 16 == pytest.approx(int(played.length.sum()))


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


def test_metrics_hold_what_a_report_needs() -> None:
    line = run(0, 10_000, steps=1)[1]
    scalars = {"critic_loss", "entropy", "actor_gradient_norm", "critic_gradient_norm", "critic_mean", "critic_std"}
    counters = {"env_steps", "episodes", "gradient_steps", "iteration"}
    assert scalars | counters | {"return_mean", "win_rate", "rank_mean", "contribution_mean"} <= set(line)
    assert len(line["rank_mean"]) == len(line["contribution_mean"]) == 2


def test_evaluation_is_greedy_and_repeatable() -> None:
    state = init_state(ALGORITHM, 0)
    evaluate = make_evaluate(ENV, ALGORITHM, 12, jax.devices())  # 12 episodes on four devices, three each.
    first, second = evaluate(state), evaluate(state)
    assert set(first) == {"won", "return", "length"} and len(first["won"]) == 12
    for name, values in first.items():
        np.testing.assert_array_equal(values, second[name])
    other = evaluate(state, jax.random.key(9))
    assert (other["length"] != first["length"]).any()


def test_evaluation_on_fewer_devices_than_training() -> None:
    """Six episodes do not divide over four devices: three take part, wherever the state lives."""
    state, _ = make_iterate(ENV, ALGORITHM, 16, jax.devices())(init_state(ALGORITHM, 0))
    assert len(make_evaluate(ENV, ALGORITHM, 6, jax.devices())(state)["won"]) == 6
    assert len(make_evaluate(ENV, ALGORITHM, 1, jax.devices())(state)["won"]) == 1


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


def test_runners_must_divide_over_devices() -> None:
    with pytest.raises(ValueError, match="`runners` is 15; it must be a positive multiple of the 2 devices"):
        make_iterate(ENV, ALGORITHM, 15, jax.devices()[:2])
