"""Direct gradients: LICA against the authors' code and against the exact policy gradient."""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from batches import SPEC, in_float64, random_episodes
from reference import Numbers, actor, assert_close, assert_trees_close, critic, episodes, float64_fixture, load

from seca.algos.actor_step import actor_gradient, direct, unroll
from seca.algos.direct_gradient import (
    LicaConfig,
    RiitConfig,
    climb,
    init,
    init_riit,
    lica,
    riit,
    riit_adam,
)
from seca.algos.optim import clipped_adam
from seca.algos.packing import pack
from seca.nets.critics import MixingCritic, MixingWeights, UtilityCritic
from seca.order.simple import entropy
from seca.returns import td_lambda
from seca.types import EnvSpec, Episodes, PyTree

pytestmark = [pytest.mark.usefixtures("quick_programs"), pytest.mark.slow]

_ = float64_fixture
CONFIG = LicaConfig(actor_hidden=8, critic_embed=8, critic_width=16)


def up_of(numbers: Numbers):
    batch = episodes(numbers)
    return climb(critic(numbers), batch, unroll(actor(numbers), batch).probs, pack(batch.valid, 5), 5)


def test_values_of_policies(golden_dir: pathlib.Path, float64: None) -> None:
    numbers = load(golden_dir, "lica_update")
    mask = numbers["mask"] > 0
    assert_close(unroll(actor(numbers), episodes(numbers)).probs[:, :-1], numbers["action_probs"], mask)
    assert_close(up_of(numbers).value[:, :-1], numbers["f_policy"], mask)


@pytest.mark.parametrize("part", ["", "policy_part_"])
def test_actor_gradient(part: str, golden_dir: pathlib.Path, float64: None) -> None:
    numbers = load(golden_dir, "lica_update")
    batch, agent = episodes(numbers), actor(numbers)
    coef = 0.0 if part else float(numbers["entropy_coef"])
    signal = batch.actions.shape[2] * up_of(numbers).slope[:, :-1]
    found = actor_gradient(agent, batch, unroll(agent, batch), signal, coef, "batch_mean", None, direct)
    assert_trees_close(found.gradient, actor(numbers, f"actor_gradient_{part}"))
    assert_close(found.entropy, numbers["entropy_batch_mean"])


def test_whole_update(golden_dir: pathlib.Path, float64: None) -> None:
    """What `update` reports, the critic's own step being too small to see, is what the authors' code has."""
    numbers = load(golden_dir, "lica_update")
    _, rows, n_agents, obs_size = numbers["obs"].shape
    spec = EnvSpec(
        "golden", "1", n_agents, numbers["avail_actions"].shape[-1], obs_size, numbers["state"].shape[-1], rows - 1
    )
    config = LicaConfig(
        critic_lr=1e-30,
        entropy_coef=float(numbers["entropy_coef"]),
        actor_hidden=numbers["actor_gru_weight_hh"].shape[1],
        critic_embed=numbers["critic_b1_bias"].shape[0],
        critic_width=None,
    )
    fresh = in_float64(init(jax.random.key(0), spec, config))
    training = dataclasses.replace(fresh.training, critic=critic(numbers), target=critic(numbers))
    learner = dataclasses.replace(fresh, actor=actor(numbers), training=training)
    update = jax.jit(functools.partial(lica("lica", spec, config).update, axis=None))
    _, metrics = update(learner, episodes(numbers), jax.random.key(0))
    assert_close(metrics["actor_loss"], numbers["actor_loss"])
    assert_close(metrics["actor_policy_loss"], numbers["actor_loss_policy_part"])
    assert_close(metrics["actor_gradient_norm"], numbers["actor_gradient_norm"])


def test_the_actor_climbs_the_critic_just_stepped(float64: None) -> None:
    """With a step of the critic that shows, and a target that is not the critic."""
    config = dataclasses.replace(CONFIG, critic_lr=0.05)
    fresh = in_float64(init(jax.random.key(1), SPEC, config))
    target = jax.tree.map(lambda x: 0.5 * x, fresh.training.critic)
    learner = dataclasses.replace(fresh, training=dataclasses.replace(fresh.training, target=target))
    batch = random_episodes()
    stepped, _ = jax.jit(functools.partial(lica("lica", SPEC, config).update, axis=None))(
        learner, batch, jax.random.key(0)
    )

    def climbed(critic) -> PyTree:
        def loss(agent) -> jax.Array:
            probs = unroll(agent, batch).probs[:, :-1]
            value = critic.weights(batch.state[:, :-1], SPEC.n_agents).value(probs)
            mask, steps = batch.valid[..., None], batch.valid.sum()
            mean = jnp.where(mask, entropy(probs), 0).sum() / (steps * SPEC.n_agents)
            bonus = config.entropy_coef * mean / jax.lax.stop_gradient(mean)
            return -jnp.where(batch.valid, value, 0).sum() / steps - bonus

        moves, _ = clipped_adam(config.actor_lr, config.clip_norm).update(
            jax.jit(jax.grad(loss))(learner.actor), learner.actor_opt
        )
        return eqx.apply_updates(learner.actor, moves)

    assert_trees_close(stepped.actor, climbed(stepped.training.critic), 1e-9)
    apart = jax.tree.map(lambda a, b: jnp.abs(a - b).max(), stepped.actor, climbed(learner.training.critic))
    assert max(map(float, jax.tree.leaves(apart))) > 1e-5


def test_gradient_equals_autodiff_through_the_critic(float64: None) -> None:
    """The packed, linearised form against -mean f(s, pi) differentiated end to end."""
    learner, batch = in_float64(init(jax.random.key(1), SPEC, CONFIG)), random_episodes(garbage=1.0)
    online = learner.training.critic

    def loss(agent) -> jax.Array:
        probs = unroll(agent, batch).probs[:, :-1]
        value = online.weights(batch.state[:, :-1], SPEC.n_agents).value(probs)
        return -jnp.where(batch.valid, value, 0).sum() / batch.valid.sum()

    acting = unroll(learner.actor, batch)
    up = climb(online, batch, acting.probs, pack(batch.valid, 4), 4)
    found = actor_gradient(
        learner.actor, batch, acting, SPEC.n_agents * up.slope[:, :-1], 0.0, "batch_mean", None, direct
    )
    assert_trees_close(found.gradient, jax.grad(loss)(learner.actor), 1e-10)
    mask = np.asarray(batch.valid)
    np.testing.assert_allclose(loss(learner.actor), -np.asarray(up.value)[:, :-1][mask].mean(), atol=1e-12)


def test_with_a_linear_critic_the_slope_is_the_exact_policy_gradient(float64: None) -> None:
    """Where f is multilinear, d f(pi) / d pi_i(a) = E[Q(a, u_-i)], by enumeration of the joint actions."""
    rng = np.random.default_rng(0)
    # Far from the kink of its ReLU, the mixing critic is linear in the joint action.
    weights = MixingWeights(
        w1=jnp.asarray(rng.normal(size=(3, 2, 4))),
        b1=jnp.full(4, 50.0),
        w2=jnp.asarray(rng.normal(size=4)),
        b2=jnp.asarray(0.3),
    )
    probs = rng.dirichlet(np.ones(2), size=3)
    slope = np.asarray(weights.input_gradient(jnp.asarray(probs)))
    expected = np.zeros((3, 2))
    for joint in itertools.product(range(2), repeat=3):
        value = float(weights.taken_value(jnp.asarray(joint)))
        for i in range(3):
            others = np.prod([probs[j, joint[j]] for j in range(3) if j != i])
            expected[i, joint[i]] += others * value
    np.testing.assert_allclose(slope[:, 1] - slope[:, 0], expected[:, 1] - expected[:, 0], atol=1e-10)


RIIT = RiitConfig(actor_hidden=8, critic_hidden=8, embed=6, off_policy=False, entropy_coef=0.1)


def q_of(critic: UtilityCritic, batch: Episodes, inputs: jax.Array) -> jax.Array:
    """Q_tot of rows of joint inputs, from the published formula."""
    n_agents, rows = SPEC.n_agents, batch.obs.shape[:-2]
    index = jnp.broadcast_to(jnp.eye(n_agents), (*rows, n_agents, n_agents))
    q = critic.utility(jnp.concatenate([batch.obs, index, inputs], axis=-1))[..., 0]
    mixer, state = critic.mixer, batch.state
    w1 = jnp.abs(mixer.w1(state)).reshape(*rows, n_agents, -1)
    hidden = jax.nn.elu(jnp.einsum("...n,...ne->...e", q, w1) + mixer.b1(state))
    return (hidden * jnp.abs(mixer.w2(state))).sum(axis=-1) + mixer.b2(state)[..., 0]


def critic_step(critic: UtilityCritic, target: UtilityCritic, opt: PyTree, batch: Episodes, lam: float):
    """One critic step by plain differentiation over the padded batch."""
    taken = jax.nn.one_hot(batch.actions, SPEC.n_actions, dtype=batch.obs.dtype)
    returns = functools.partial(td_lambda, gamma=0.99, lam=lam)
    goal = jax.vmap(returns)(batch.reward, batch.terminated, batch.valid, q_of(target, batch, taken))

    def loss(params: UtilityCritic) -> jax.Array:
        error = q_of(params, batch, taken)[:, :-1] - goal
        return 0.5 * jnp.where(batch.valid, error**2, 0).sum() / batch.valid.sum()

    gradient: PyTree = jax.grad(loss)(critic)
    moves, opt = riit_adam(1e-3, 10.0).update(gradient, opt)
    return jax.tree.map(jnp.add, critic, moves), opt


@pytest.mark.parametrize("latest", [None, 16])
def test_riit_update_equals_autodiff(latest: int | None, float64: None) -> None:
    """Critic and actor of the on-policy update against their losses over the padded batch.

    Of the latest 16 episodes, too, while no more than these 8 have been collected.
    """
    config = dataclasses.replace(RIIT, latest_episodes=latest)
    learner, batch = in_float64(init_riit(jax.random.key(1), SPEC, config)), random_episodes(garbage=1.0)
    learner = dataclasses.replace(learner, target=jax.tree.map(lambda x: 0.9 * x, learner.critic))
    stepped, metrics = jax.jit(functools.partial(riit("riit", SPEC, config).update, axis=None))(
        learner, batch, jax.random.key(0)
    )
    steps = batch.valid.sum()

    def actor_loss(agent) -> jax.Array:
        probs = unroll(agent, batch).probs
        value = q_of(stepped.critic, batch, probs)[:, :-1]
        mean = jnp.where(batch.valid[..., None], entropy(probs[:, :-1]), 0).sum() / (steps * SPEC.n_agents)
        return -jnp.where(batch.valid, value, 0).sum() / steps - 0.1 * mean / jax.lax.stop_gradient(mean)

    plain = jax.jit(critic_step, static_argnames="lam")
    critic, _ = plain(learner.critic, learner.target, learner.critic_opt, batch, lam=0.6)
    assert_trees_close(stepped.critic, critic, 1e-8)
    gradient: PyTree = jax.jit(jax.grad(actor_loss))(learner.actor)
    moves, _ = riit_adam(1e-3, 10.0).update(gradient, learner.actor_opt)
    assert_trees_close(stepped.actor, jax.tree.map(jnp.add, learner.actor, moves), 1e-8)
    assert_close(metrics["actor_loss"], np.asarray(actor_loss(learner.actor)))


def test_riit_critic_rises_with_every_utility(float64: None) -> None:
    """dQ_tot / dq_i >= 0, seen through the last bias of the agents' own values."""
    critic, batch = in_float64(init_riit(jax.random.key(1), SPEC, RIIT)).critic, random_episodes()
    taken = jax.nn.one_hot(batch.actions, SPEC.n_actions, dtype=batch.obs.dtype)

    def value(bias: jax.Array) -> jax.Array:
        raised = eqx.tree_at(lambda c: c.utility.layers[-1].bias, critic, bias[None])
        return q_of(raised, batch, taken)

    _, slope = jax.jvp(value, (jnp.asarray(0.1),), (jnp.asarray(1.0),))
    assert (np.asarray(slope) >= 0).all() and (np.asarray(slope) > 0).any()


def fitted(critic: PyTree, value: Callable[[PyTree], jax.Array], payoff: jax.Array) -> float:
    """Least mean squared error that 3,000 steps of Adam find."""
    adam = optax.adam(1e-2)

    def step(carry: tuple[PyTree, PyTree], _: None) -> tuple[tuple[PyTree, PyTree], jax.Array]:
        params, opt = carry
        loss, gradient = jax.value_and_grad(lambda c: ((value(c) - payoff) ** 2).mean())(params)
        moves, opt = adam.update(gradient, opt)
        return (jax.tree.map(jnp.add, params, moves), opt), loss

    return float(jax.jit(lambda c: jax.lax.scan(step, (c, adam.init(c)), None, 3000)[1].min())(critic))


def test_riit_critic_cannot_hold_a_game_that_is_not_monotone() -> None:
    """[[8, -12, -12], [-12, 0, 0], [-12, 0, 0]]: LICA's critic fits it, RIIT's is off by 32 at least.

    Whatever actions a monotone critic ranks above others it does so alike for all actions of the other agent. The best
    such fit has 8 and else the mean of four -12 and four 0: squared errors of 8 * 36 over nine joint actions.
    """
    payoff = jnp.array([8.0, -12, -12, -12, 0, 0, -12, 0, 0])
    joints = jnp.eye(3)[jnp.asarray(list(np.ndindex(3, 3)))]
    ones, key = jnp.ones((9, 3)), jax.random.key(0)
    monotone = UtilityCritic.init(key, 2, 3, obs_size=1, state_size=1, width=32, embed=16)
    free = MixingCritic.init(key, 2, 3, 1, 32, 32)
    assert fitted(monotone, lambda c: c.value(ones, joints), payoff) > 31.99
    assert fitted(free, lambda c: c.weights(ones[:, :1], 2).value(joints), payoff) < 0.1


def test_riit_replays_once_the_buffer_has_begun_to_fill(float64: None) -> None:
    """Eight episodes per update, 16 to start with: a third step in the second update, a target copied in it.

    All episodes are the same one, so that what is drawn is known: the critic's steps are those of plain
    differentiation, the one on replayed episodes first and with lambda 0.
    """
    config = dataclasses.replace(
        RIIT, off_policy=True, batch_episodes=4, start_episodes=16, buffer_episodes=24, target_interval=16
    )
    learner = in_float64(init_riit(jax.random.key(1), SPEC, config))
    learner = dataclasses.replace(learner, target=jax.tree.map(lambda x: 0.9 * x, learner.critic))
    batch = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), random_episodes())
    update = jax.jit(functools.partial(riit("riit", SPEC, config).update, axis=None))
    plain = jax.jit(critic_step, static_argnames="lam")
    steps, copied = [], []
    for k in range(3):
        stepped, metrics = update(learner, batch, jax.random.key(k))
        expected = learner.critic, learner.critic_opt
        for lam in (0.6,) if k == 0 else (0.0, 0.6):
            expected = plain(expected[0], learner.target, expected[1], batch, lam=lam)
        assert_trees_close((stepped.critic, stepped.critic_opt), expected, 1e-10)
        assert_trees_close(stepped.target, stepped.critic if k == 1 else learner.target, 0.0)
        learner = stepped
        steps.append(int(metrics["gradient_steps"]))
        copied.append(int(learner.copied_at))
    assert steps == [2, 5, 8] and copied == [0, 16, 16]
    assert int(metrics["buffer_episodes"]) == 24


def test_riit_refuses_a_buffer_that_never_starts() -> None:
    with pytest.raises(ValueError, match="`start_episodes` is 128 but the buffer holds 100"):
        riit("riit", SPEC, RiitConfig(buffer_episodes=100))
    with pytest.raises(ValueError, match="`latest_episodes` is 32 but the buffer holds 20"):
        riit("riit-online", SPEC, RiitConfig(off_policy=False, latest_episodes=32, buffer_episodes=20))
