"""The joint critic: the authors' numbers, targets by their definition, steps against autodiff, copies, sizes."""

import dataclasses
import pathlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from batches import LENGTHS, SPEC, in_float64, random_episodes
from reference import Numbers, assert_close, assert_trees_close, critic, episodes, float64_fixture, load

from seca.learning.joint_critic import (
    MixingCriticConfig,
    chunk_rows,
    critic_gradient,
    fit,
    fresh_mixing_critic,
    is_wide,
    plain_taken_value,
    regression_targets,
    taken_values,
    train_mixing_critic,
    working_floats,
)
from seca.learning.rows import pack
from seca.learning.trained import clipped_adam
from seca.nets.critics import MixingCritic
from seca.nets.grouped import taken_value
from seca.types import EnvSpec, TimeLimit

_ = float64_fixture
CHUNK = 5  # Smaller than a batch and no divisor of it, so that chunks meet episode ends everywhere.
CONFIG = MixingCriticConfig(critic_embed=8, critic_width=16, critic_lr=0.05, gamma=0.9, td_lambda=0.7)


@pytest.fixture(name="numbers", params=["seca_update_equal", "seca_update_padded"])
def numbers_fixture(request: pytest.FixtureRequest, golden_dir: pathlib.Path) -> Numbers:
    return load(golden_dir, request.param)


@pytest.mark.slow
@pytest.mark.parametrize("values", [plain_taken_value, taken_value])
def test_critic_gradient(numbers: Numbers, values, float64: None) -> None:
    """Values, targets, loss and gradient; by the whole W1 and by the rows that the actions name."""
    batch = episodes(numbers)
    packed = pack(batch.valid, CHUNK)
    gamma, lam = float(numbers["gamma"]), float(numbers["td_lambda"])
    target = critic(numbers, "target_critic_")
    targets = regression_targets(target, batch, packed, gamma, lam, "bootstrap", values)
    count = batch.valid.sum().astype(float)
    found = critic_gradient(critic(numbers), targets, batch, packed, count, None, values)
    mask = numbers["mask"] > 0
    assert_close(taken_values(target, batch, packed, values), numbers["target_critic_values"], numbers["filled"] > 0)
    assert_close(targets, numbers["td_lambda_targets"], mask)
    assert_close(found.taken, numbers["critic_values_taken"], mask)
    assert_close(found.loss, numbers["critic_loss"])
    assert_trees_close(found.gradient, critic(numbers, "critic_gradient_"))


@pytest.mark.slow
@pytest.mark.parametrize("time_limit", ["bootstrap", "terminal"])
def test_targets_by_their_definition(time_limit: TimeLimit, float64: None) -> None:
    """Episode by episode from the critic's values at the taken actions; with `terminal` all episodes end."""
    batch = random_episodes(garbage=2.0)
    module = in_float64(MixingCritic.init(jax.random.key(0), 3, 4, 6, 8, 16))
    found = regression_targets(module, batch, pack(batch.valid, CHUNK), 0.9, 0.7, time_limit)
    values = np.asarray(module.weights(batch.state, 3).taken_value(batch.actions))
    for b, length in enumerate(LENGTHS):
        ended = time_limit == "terminal" or bool(batch.terminated[b].any())
        reward = np.asarray(batch.reward[b])
        expected = naive.td_lambda(reward[:length], ended, length, values[b], 0.9, 0.7)
        np.testing.assert_allclose(found[b, :length], expected, atol=1e-12)
        assert (np.asarray(found[b, length:]) == 0).all()


@pytest.mark.slow
@pytest.mark.parametrize("epochs", [1, 3])
def test_steps_are_those_of_plain_differentiation(epochs: int, float64: None) -> None:
    """All towards the same targets; what is reported is of the first, before it. Garbage in the padding."""
    batch, rng = random_episodes(garbage=2.0), np.random.default_rng(0)
    optimiser = clipped_adam(0.05, 1.0)
    trained = in_float64(fresh_mixing_critic(jax.random.key(0), SPEC, dataclasses.replace(CONFIG, clip_norm=1.0)))
    goal = jnp.asarray(rng.normal(size=batch.valid.shape))

    def loss(module: MixingCritic) -> jax.Array:
        error = module.weights(batch.state, 3).taken_value(batch.actions)[:, :-1] - goal
        return jnp.where(batch.valid, error**2, 0).sum() / batch.valid.sum()

    params, opt = trained.params, trained.opt
    slope_of = jax.jit(jax.value_and_grad(loss))
    first, slope = slope_of(params)
    for _ in range(epochs):
        moves, opt = optimiser.update(slope_of(params)[1], opt)
        params = eqx.apply_updates(params, moves)
    packed, count = pack(batch.valid, CHUNK), batch.valid.sum().astype(float)
    fitted = jax.jit(lambda t: fit(t, goal, batch, packed, optimiser, count, None, plain_taken_value, epochs))
    after, found = fitted(trained)
    assert_trees_close(after.params, params, 1e-9)
    assert_trees_close(after.target, trained.params, 0.0)
    assert int(after.steps) == epochs
    np.testing.assert_allclose(found.loss, first, rtol=1e-12)
    norm = np.sqrt(sum(float((x**2).sum()) for x in jax.tree.leaves(slope)))
    np.testing.assert_allclose(found.gradient_norm, norm, rtol=1e-12)
    before = trained.params.weights(batch.state, 3).taken_value(batch.actions)[:, :-1]
    np.testing.assert_allclose(found.taken[batch.valid], before[batch.valid], atol=1e-12)
    np.testing.assert_array_equal(found.targets, goal)


@pytest.mark.slow
def test_the_target_is_copied_when_steps_pass_a_multiple() -> None:
    """Three steps per batch, an interval of five: copies after the 6th, 12th and 15th step."""
    config = dataclasses.replace(CONFIG, critic_epochs=3, target_interval=5)
    batch = jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype == jnp.float64 else x, random_episodes())
    packed, count = pack(batch.valid, CHUNK), batch.valid.sum().astype(jnp.float32)
    train = jax.jit(lambda c: train_mixing_critic(c, batch, packed, config, count, None))
    trained = fresh_mixing_critic(jax.random.key(0), SPEC, config)
    assert_trees_close(trained.target, trained.params, 0.0)
    copied = []
    for _ in range(6):
        after, _ = train(trained)
        expected = [np.asarray(x) for x in jax.tree.leaves(after.params)]
        is_copy = all((x == y).all() for x, y in zip(jax.tree.leaves(after.target), expected, strict=True))
        if is_copy:
            copied.append(int(after.steps))
        else:
            assert_trees_close(after.target, trained.target, 0.0)
        trained = after
    assert copied == [6, 12, 15]


def sized(n_agents: int, n_actions: int) -> EnvSpec:
    return dataclasses.replace(SPEC, n_agents=n_agents, n_actions=n_actions)


@pytest.mark.parametrize(("width", "wide"), [(64, False), (512, False), (513, True), (None, True)])
def test_which_hypernetworks_are_wide(width: int | None, wide: bool) -> None:
    """And their layers are as wide as that; None is embed * agents * actions."""
    config = dataclasses.replace(CONFIG, critic_width=width)
    assert is_wide(config) == wide
    shapes = jax.eval_shape(lambda key: fresh_mixing_critic(key, SPEC, config).params, jax.random.key(0))
    assert shapes.w1.hidden.bias.shape == (8 * 3 * 4 if width is None else width,)


@pytest.mark.parametrize(
    ("spec", "changes", "on_cpu", "on_gpu"),
    [
        (sized(5, 11), {"critic_embed": 64}, 128, 2**14),  # 14,080 bytes per row: 148 of them in 2 MiB.
        (sized(5, 11), {"critic_embed": 64, "critic_width": None}, 512, 2**14),
        (sized(27, 36), {"critic_embed": 64}, 16, 1024),  # 248,832 bytes: 8 rows in 2 MiB, 1,078 in 256 MiB.
        (sized(1, 2), {"critic_embed": 1}, 2**14, 2**14),
    ],
)
def test_rows_per_chunk(
    spec: EnvSpec, changes: dict[str, Any], on_cpu: int, on_gpu: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = dataclasses.replace(CONFIG, **changes)
    assert chunk_rows(spec, config) == on_cpu
    monkeypatch.setattr(jax, "default_backend", lambda: "gpu")
    assert chunk_rows(spec, config) == on_gpu


@pytest.mark.parametrize(
    ("embed", "width", "expected"),
    [(64, 64, 8 * 128 * 3520), (64, None, 8 * 512 * 3520), (1, 600, 8 * 2**13 * 600)],
)
def test_numbers_held(embed: int, width: int | None, expected: int) -> None:
    """Eight times the wider of the hypernetwork's layers for each row of a chunk, of five agents and eleven actions."""
    config = dataclasses.replace(CONFIG, critic_embed=embed, critic_width=width)
    assert working_floats(sized(5, 11), config, 1024) == expected
    # No more than all rows that there can be.
    few = 3 * (sized(5, 11).episode_limit + 1)
    assert few < 128 and working_floats(sized(5, 11), config, 3) == expected * few // chunk_rows(sized(5, 11), config)
