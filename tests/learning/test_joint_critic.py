"""The joint critic: the authors' numbers, targets by their definition, steps against autodiff, copies, sizes."""

import dataclasses
import itertools
import pathlib
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from batches import BOXED, LENGTHS, SPEC, in_float64, random_episodes
from games import random_game
from reference import Numbers, assert_close, assert_trees_close, critic, episodes, float64_fixture, load

from seca.distributions import encoded
from seca.learning.joint_critic import (
    MixingCriticConfig,
    chunk_rows,
    critic_gradient,
    drawn_prefixes,
    fit,
    fresh_mixing_critic,
    is_wide,
    plain_taken_value,
    regression_targets,
    taken_values,
    td_error,
    train_mixing_critic,
    working_floats,
)
from seca.learning.rows import pack
from seca.learning.trained import Trained, clipped_adam
from seca.nets.critics import MixingCritic
from seca.nets.grouped import taken_value
from seca.types import EnvSpec, Episodes, TimeLimit

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
def test_td_errors_are_the_rewards_surprise(float64: None) -> None:
    """y - f(s, u) of a critic that is not its target: r - f(s, u) where the episode ended, 0 on padding."""
    batch = random_episodes(garbage=2.0)
    trained = in_float64(fresh_mixing_critic(jax.random.key(0), SPEC, CONFIG))
    trained = dataclasses.replace(trained, params=jax.tree.map(lambda x: 1.5 * x, trained.params))
    found = np.asarray(td_error(trained, batch, pack(batch.valid, CHUNK), CONFIG, CONFIG.td_lambda))
    both = trained.params, trained.target
    values, target = (np.asarray(one.weights(batch.state, 3).taken_value(batch.actions)) for one in both)
    for b, length in enumerate(LENGTHS):
        reward, ended = np.asarray(batch.reward[b])[:length], bool(batch.terminated[b].any())
        goal = naive.td_lambda(reward, ended, length, target[b], CONFIG.gamma, CONFIG.td_lambda)
        np.testing.assert_allclose(found[b, :length], np.asarray(goal) - values[b, :length], atol=1e-12)
        assert (found[b, length:] == 0).all()
    last = np.asarray(batch.terminated)
    np.testing.assert_allclose(found[last], (np.asarray(batch.reward) - values[:, :-1])[last], atol=1e-12)


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


@pytest.mark.slow
@pytest.mark.parametrize("spec", [SPEC, BOXED], ids=["discrete", "continuous"])
def test_steps_at_prefixes_are_those_of_plain_loops(spec: EnvSpec, float64: None) -> None:
    """The mean error over all n + 1 inputs of each step's own order, in chunks that divide nothing."""
    batch, rng = random_episodes(garbage=2.0, spec=spec), np.random.default_rng(0)
    module = in_float64(MixingCritic.init(jax.random.key(0), 3, 4, 6, 8, 16))
    goal = jnp.asarray(rng.normal(size=batch.valid.shape))
    probs = jnp.asarray(rng.dirichlet(np.ones(4), size=(*batch.obs.shape[:2], 3)))
    told = drawn_prefixes(probs, jax.random.split(jax.random.key(7), len(LENGTHS)))
    assert (np.sort(told.order, axis=-1) == np.arange(3)).all()
    taken = encoded(batch.actions, 4, probs.dtype)

    def loss(params: MixingCritic) -> jax.Array:
        weights = params.weights(batch.state, 3)
        total = 0.0
        for k in range(4):
            judged = jnp.argsort(told.order, axis=-1)[..., None] < k
            total += (weights.value(jnp.where(judged, taken, probs))[:, :-1] - goal) ** 2 / 4
        return jnp.where(batch.valid, total, 0).sum() / batch.valid.sum()

    packed, count = pack(batch.valid, CHUNK), batch.valid.sum().astype(float)
    step = jax.jit(lambda params: critic_gradient(params, goal, batch, packed, count, None, prefixes=told))
    found = step(module)
    assert_trees_close(found.gradient, jax.grad(loss)(module), 1e-10)
    expected = module.weights(batch.state, 3).value(taken)[:, :-1]
    # What is told is the loss at joint actions, as without policies.
    at_actions = np.asarray((expected - goal) ** 2)[np.asarray(batch.valid)].mean()
    np.testing.assert_allclose(found.loss, at_actions, rtol=1e-12)
    np.testing.assert_allclose(found.taken[batch.valid], expected[batch.valid], atol=1e-12)


@pytest.mark.slow
def test_every_set_of_agents_is_somewhere_a_prefix() -> None:
    """Orders differ from step to step and from episode to episode, and are no other episode's elsewhere."""
    probs = jnp.ones((40, 30, 3, 4)) / 4
    keys = jax.random.split(jax.random.key(0), 40)
    order = np.asarray(drawn_prefixes(probs, keys).order).reshape(-1, 3)
    _, counts = np.unique(order, axis=0, return_counts=True)
    assert len(counts) == 6 and counts.min() > 150  # 200 each.
    alone = np.asarray(drawn_prefixes(probs[7:8], keys[7:8]).order)
    np.testing.assert_array_equal(alone[0], order.reshape(40, 30, 3)[7])


@pytest.mark.every
@pytest.mark.slow
def test_a_critic_told_of_prefixes_learns_the_means_of_eq_5() -> None:
    """A random game of 3 agents and 3 actions: f(s, v) of every set of known actions nears E[Q | these].

    Told of actions alone the critic is off by its Jensen gap wherever somebody's action is open.
    """
    table, policy = random_game(3)
    off = [off_by(table, policy, with_policies) for with_policies in (True, False)]
    assert off[0] < 0.1 and off[1] > 2 * off[0], off


def off_by(table: np.ndarray, policy: np.ndarray, with_policies: bool) -> float:
    """Error of a trained critic at inputs with open actions, root mean square over joint actions and sets."""
    spec, size = dataclasses.replace(SPEC, n_actions=3, state_size=1, episode_limit=1), 300
    config = MixingCriticConfig(critic_embed=64, critic_width=16, critic_lr=4e-3)
    probs = jnp.broadcast_to(jnp.asarray(policy, jnp.float32), (size, 2, 3, 3))
    optimiser = clipped_adam(config.critic_lr, 10.0)

    def step(critic: Trained, key: jax.Array) -> tuple[Trained, None]:
        draw_key, order_key = jax.random.split(key)
        actions = jax.random.categorical(draw_key, jnp.log(probs[:, 0])).astype(jnp.int32)
        pay = jnp.asarray(table, jnp.float32)[tuple(actions.T)]
        batch = one_step(pay, jnp.stack([actions, actions], axis=1), spec)
        told = drawn_prefixes(probs, jax.random.split(order_key, size)) if with_policies else None
        packed, count = pack(batch.valid, 2 * size), jnp.float32(size)
        return fit(critic, pay[:, None], batch, packed, optimiser, count, None, plain_taken_value, 1, told)[0], None

    start = fresh_mixing_critic(jax.random.key(0), spec, config)
    trained, _ = jax.jit(lambda critic: jax.lax.scan(step, critic, jax.random.split(jax.random.key(1), 500)))(start)
    weights, squares = trained.params.weights(jnp.ones(1), 3), []
    for members in itertools.chain.from_iterable(itertools.combinations(range(3), k) for k in range(3)):
        for joint in naive.joint_actions(table):
            known = np.isin(np.arange(3), members)[:, None]
            row = np.where(known, np.eye(3)[list(joint)], policy)
            error = float(weights.value(jnp.asarray(row, jnp.float32)))
            error -= naive.conditional_value(table, policy, joint, set(members))
            squares.append(naive.joint_probability(policy, joint) * error**2)
    return float(np.sqrt(np.sum(squares) / 7))


def one_step(pay: jax.Array, actions: jax.Array, spec: EnvSpec) -> Episodes:
    """Games of a single step, with these actions in both rows."""
    batch = len(pay)
    ended = jnp.ones((batch, 1), bool)
    ones = jnp.ones((batch, 2, 1), jnp.float32)
    may = jnp.ones((batch, 2, spec.n_agents, spec.n_actions), bool)
    obs = jnp.ones((batch, 2, spec.n_agents, 1), jnp.float32)
    return Episodes(pay[:, None], ended, ~ended, ended, obs, ones, may, actions)
