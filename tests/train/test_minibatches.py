"""Several updates from one batch: who is in which, the plain loop, devices, what each method counts and learns."""

import functools
from typing import Any

import counting
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import Mesh, PartitionSpec
from reference import assert_trees_close
from sizes import small
from tiers import cases

from seca.envs.registry import make
from seca.presets import PRESETS, build
from seca.train.iterate import make_iterate
from seca.train.minibatches import dealt, in_turn, training_bytes
from seca.train.rollout import collect
from seca.train.state import init_state, iteration_keys

KEY = jax.random.key(3)


@pytest.mark.parametrize(("size", "minibatches"), [(12, 1), (12, 2), (12, 3), (12, 12), (7, 7), (1, 1)])
def test_every_episode_is_in_one_minibatch(size: int, minibatches: int) -> None:
    """Of each `minibatches` in a row, one in each."""
    parts = np.asarray(dealt(KEY, size, minibatches, None))
    assert parts.shape == (minibatches, size // minibatches)
    np.testing.assert_array_equal(np.sort(parts.ravel()), np.arange(size))
    np.testing.assert_array_equal(parts // minibatches, np.arange(size // minibatches)[None].repeat(minibatches, 0))


def test_who_is_in_which_is_drawn_anew() -> None:
    parts = [dealt(jax.random.key(seed), 64, 8, None) for seed in range(40)]
    first = np.array([int(np.argwhere(np.asarray(x) == 5)[0, 0]) for x in parts])  # Where episode 5 is.
    assert set(first) == set(range(8))
    # Rows are drawn apart from each other: else all of a row's neighbours would stay together.
    assert len({tuple(np.asarray(parts[0] % 8)[:, row]) for row in range(8)}) > 4


def test_what_does_not_divide_is_refused() -> None:
    with pytest.raises(ValueError, match="`minibatches` is 5; it must divide the 12 episodes of each device"):
        dealt(KEY, 12, 5, None)
    env = make("matrix/additive")
    algorithm = build("seca", env.spec, small("seca"))
    with pytest.raises(ValueError, match="`runners` is 12; .* multiple of the 2 devices in use times 4 minibatches"):
        make_iterate(env, algorithm, 12, jax.devices()[:2], 4)


@pytest.mark.parametrize("devices", [2, 4])
def test_minibatches_are_the_same_on_any_number_of_devices(devices: int) -> None:
    split = PartitionSpec("runners")
    mesh = Mesh(jax.devices()[:devices], ("runners",))

    def numbers(size: int, axis: str | None) -> jax.Array:
        first = 0 if axis is None else jax.lax.axis_index(axis) * size
        return (first + dealt(KEY, size, 3, axis)).T

    shared = jax.jit(jax.shard_map(lambda: numbers(24 // devices, "runners"), mesh=mesh, in_specs=(), out_specs=split))
    np.testing.assert_array_equal(np.asarray(shared()), np.asarray(numbers(24, None)))


def adding(learner: jax.Array, part: Any, key: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
    """A learner that remembers in what order it was told what."""
    episodes, weights = part
    told = (episodes * weights).sum() + jax.random.uniform(key)
    steps = jnp.asarray(learner.round() + 1, jnp.int32)
    return 2 * learner + told, {"told": told, "each": episodes.mean() * jnp.arange(2.0), "gradient_steps": steps}


@pytest.mark.parametrize("minibatches", [1, 2, 5, 10])
def test_updates_are_the_plain_loop(minibatches: int) -> None:
    whole = jnp.arange(10.0), jnp.linspace(0.5, 1.5, 10)
    found, metrics = in_turn(adding, jnp.zeros(()), whole, minibatches, KEY, None)
    share_key, update_key = jax.random.split(KEY)
    keys = jax.random.split(update_key, minibatches) if minibatches > 1 else KEY[None]
    parts = np.asarray(dealt(share_key, 10, minibatches, None)) if minibatches > 1 else np.arange(10)[None]
    learner, lines = jnp.zeros(()), []
    for part, key in zip(parts, keys, strict=True):
        learner, line = adding(learner, tuple(x[part] for x in whole), key)
        lines.append(line)
    np.testing.assert_allclose(found, learner, rtol=1e-6)
    assert int(metrics["gradient_steps"]) == int(lines[-1]["gradient_steps"])
    for name in ("told", "each"):
        np.testing.assert_allclose(metrics[name], np.mean([line[name] for line in lines], axis=0), rtol=1e-6)


@pytest.mark.parametrize(("minibatches", "lost"), [(1, ()), (1, (0,)), (5, (1, 4)), (5, (0, 1, 2)), (5, range(5))])
def test_minibatches_that_were_lost_have_no_say(minibatches: int, lost: tuple[int, ...]) -> None:
    """Nothing is learned from those whose episodes were all lost: what is told is of the others alone."""
    share_key, update_key = jax.random.split(KEY)
    parts = np.asarray(dealt(share_key, 10, minibatches, None)) if minibatches > 1 else np.arange(10)[None]
    keys = jax.random.split(update_key, minibatches) if minibatches > 1 else KEY[None]
    weights = np.ones(10)
    weights[parts[list(lost)]] = 0
    whole = jnp.arange(10.0), jnp.asarray(weights, jnp.float32)
    left = lambda part: part[1].sum().astype(int)  # noqa: E731
    found, metrics = in_turn(adding, jnp.zeros(()), whole, minibatches, KEY, None, left)
    learner, lines = jnp.zeros(()), []
    for number, (part, key) in enumerate(zip(parts, keys, strict=True)):
        if number not in lost:
            learner, line = adding(learner, tuple(x[part] for x in whole), key)
            lines.append(line)
    np.testing.assert_allclose(found, learner, rtol=1e-6)
    assert int(metrics["gradient_steps"]) == (int(lines[-1]["gradient_steps"]) if lines else 0)
    for name in ("told", "each"):
        expected = np.mean([line[name] for line in lines], axis=0) if lines else np.zeros_like(metrics[name])
        np.testing.assert_allclose(metrics[name], expected, rtol=1e-6)


@functools.lru_cache
def iterated(name: str, env_id: str, runners: int, minibatches: int, devices: int = 1) -> tuple[Any, Any]:
    """State and metrics after two iterations."""
    env = counting.env() if env_id == "counting" else make(env_id)
    algorithm = build(name, env.spec, small(name, **({"buffer_episodes": 24} if name in ("qmix", "riit") else {})))
    iterate = make_iterate(env, algorithm, runners, jax.devices()[:devices], minibatches)
    state = init_state(algorithm, 0)
    for _ in range(2):
        state, metrics = iterate(state)
    return state, metrics


@pytest.mark.every
@pytest.mark.parametrize("name", ["seca", "seca-fork", "qmix", "mappo"])
def test_any_number_of_devices_learns_the_same(name: str) -> None:
    one, two = (iterated(name, "counting", 8, 2, devices)[0].learner for devices in (1, 2))
    assert_trees_close(two, one, 1e-5)


@pytest.mark.every
@pytest.mark.parametrize(
    "name", [name for name in PRESETS if PRESETS[name].runners == 32 and not PRESETS[name].published]
)
def test_as_many_updates_as_of_so_many_small_batches(name: str) -> None:
    """Counted where a method counts them, and in no other number of episodes or steps."""
    env_id = "smac/3m" if name == "qatten" else "counting"  # It reads SMAC's features of agents.
    (whole, measured), (shared, metrics) = (iterated(name, env_id, 12, number) for number in (1, 3))
    steps, each = int(metrics["gradient_steps"]), int(measured["gradient_steps"])
    if name == "coma":  # A step of the critic for each env step that any episode of a batch has reached.
        assert each < steps <= 3 * each
    else:
        assert steps == 3 * each
    for counter in ("iteration", "episodes", "env_steps"):
        assert int(getattr(shared, counter)) == int(getattr(whole, counter))
    assert metrics.keys() == measured.keys()
    shapes = lambda tree: [(x.shape, x.dtype) for x in jax.tree.leaves(tree)]  # noqa: E731
    assert shapes(shared) == shapes(whole)  # What resumes the one resumes the other.
    assert all(np.isfinite(np.asarray(value)).all() for value in metrics.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(["seca", "seca-fork"], "seca"))
def test_an_iteration_is_its_updates_one_by_one(name: str) -> None:
    """Episodes of unequal length, put together by hand; of `seca-fork` each with the credits that it got."""
    from seca.train.forking import credits_of_batch

    env = counting.env()
    algorithm = build(name, env.spec, small(name))
    state = init_state(algorithm, 1)
    found, _ = make_iterate(env, algorithm, 6, jax.devices()[:1], 3)(state)
    collect_key, key, _ = iteration_keys(state)
    keys = jax.vmap(functools.partial(jax.random.fold_in, collect_key))(jnp.arange(6))
    params = algorithm.policy(state.learner)
    episodes, _ = jax.jit(functools.partial(collect, env, algorithm))(params, keys, state.env_steps)
    whole, update = (episodes,), lambda learner, part, key: algorithm.update(learner, part[0], None, key, None)
    if (forking := algorithm.forking) is not None:
        fork_key, key = jax.random.split(key)
        try_out = functools.partial(credits_of_batch, env, algorithm, forking, axis=None)
        whole = episodes, jax.jit(try_out)(state.learner, episodes, keys, state.env_steps, key=fork_key)
        update = lambda learner, part, key: forking.update(learner, part[0], part[1], key, None)  # noqa: E731
    share_key, update_key = jax.random.split(key)
    learner, step = state.learner, jax.jit(update)
    for part, own in zip(dealt(share_key, 6, 3, None), jax.random.split(update_key, 3), strict=True):
        learner, _ = step(learner, jax.tree.map(lambda x, part=part: x[part], whole), own)
    assert_trees_close(found.learner, learner, 2e-5)


@pytest.mark.slow
def test_memory_is_of_an_update_and_of_the_episodes_that_wait() -> None:
    env = make("smac/3m")
    algorithm = build("seca", env.spec, PRESETS["seca"].config)
    one, many = (training_bytes(env, algorithm, 256, number) for number in (1, 8))
    assert one == algorithm.memory(256)
    rows = 256 * (env.spec.episode_limit + 1)
    read = 4 * (env.spec.n_agents * env.spec.obs_size + env.spec.state_size)
    assert algorithm.memory(32) + rows * read < many < one
    forked = build("seca-fork", env.spec, PRESETS["seca-fork"].config)
    assert training_bytes(env, forked, 256, 8) == forked.memory(256)  # All forks of a batch at once.
