"""RIIT: one update, on policy and replayed, against plain differentiation, and in what its critic rises."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import SIZES, SPEC, in_float64, initial, random_episodes
from learners import plain_acting, stepping
from reference import assert_close, assert_trees_close, float64_fixture
from tiers import cases

from seca.algos.riit import Learner, RiitConfig, init, riit
from seca.learning.buffer import Replay, filled
from seca.learning.trained import Trained, clipped_adam
from seca.nets.critics import UtilityCritic
from seca.policies import entropy
from seca.returns import lambda_returns
from seca.types import EnvSpec, Episodes, PyTree

pytestmark = pytest.mark.slow

_ = float64_fixture
RIIT = RiitConfig(actor_hidden=8, critic_hidden=8, embed=6, off_policy=False, entropy_coef=0.1)


def started(config: RiitConfig, spec: EnvSpec = SPEC) -> tuple[Learner, Replay | None]:
    """Untrained, with a target that is not the critic, and an empty buffer where there is one."""
    learner, algorithm = in_float64(initial(init, jax.random.key(1), spec, config)), riit("riit", spec, config)
    target = jax.tree.map(lambda x: 0.9 * x, learner.critic.params)
    replay = None if algorithm.buffer is None else in_float64(algorithm.buffer.init())
    return dataclasses.replace(learner, critic=dataclasses.replace(learner.critic, target=target)), replay


def adam_state(critic: Trained) -> PyTree:
    """The optimiser's state without that of halving the gradient."""
    return critic.opt[1]


def q_of(critic: UtilityCritic, batch: Episodes, inputs: jax.Array) -> jax.Array:
    """Q_tot of rows of joint inputs, from the published formula."""
    n_agents, rows = batch.obs.shape[-2], batch.obs.shape[:-2]
    index = jnp.broadcast_to(jnp.eye(n_agents), (*rows, n_agents, n_agents))
    q = critic.utility(jnp.concatenate([batch.obs, index, inputs], axis=-1))[..., 0]
    mixer, state = critic.mixer, batch.state
    w1 = jnp.abs(mixer.w1(state)).reshape(*rows, n_agents, -1)
    hidden = jax.nn.elu(jnp.einsum("...n,...ne->...e", q, w1) + mixer.b1(state))
    return (hidden * jnp.abs(mixer.w2(state))).sum(axis=-1) + mixer.b2(state)[..., 0]


def critic_step(critic: UtilityCritic, target: UtilityCritic, opt: PyTree, batch: Episodes, lam: float):
    """One critic step by plain differentiation over the padded batch."""
    taken = jax.nn.one_hot(batch.actions, SPEC.n_actions, dtype=batch.obs.dtype)
    returns = functools.partial(lambda_returns, gamma=0.99, lam=lam)
    goal = jax.vmap(returns)(batch.reward, batch.terminated, batch.valid, q_of(target, batch, taken))

    def loss(params: UtilityCritic) -> jax.Array:
        error = q_of(params, batch, taken)[:, :-1] - goal
        return 0.5 * jnp.where(batch.valid, error**2, 0).sum() / batch.valid.sum()

    gradient: PyTree = jax.grad(loss)(critic)
    moves, opt = clipped_adam(1e-3, 10.0, eps=1e-7).update(gradient, opt)
    return jax.tree.map(jnp.add, critic, moves), opt


@pytest.mark.parametrize(("size", "latest"), cases([("one block", 16), ("between blocks", None)], "between blocks"))
def test_riit_update_equals_autodiff(size: str, latest: int | None, float64: None) -> None:
    """Critic and actor of the on-policy update against their losses over the padded batch.

    Of the latest 16 episodes, too, while no more than these 8 have been collected.
    """
    config, (spec, lengths, seed) = dataclasses.replace(RIIT, latest_episodes=latest), SIZES[size]
    (learner, replay), batch = started(config, spec), random_episodes(seed, 1.0, lengths, spec)
    stepped, _, metrics = jax.jit(stepping(riit("riit", spec, config)))(learner, replay, batch, jax.random.key(0))
    steps = batch.valid.sum()

    def actor_loss(agent) -> jax.Array:
        probs = plain_acting(agent, batch).probs
        value = q_of(stepped.critic.params, batch, probs)[:, :-1]
        mean = jnp.where(batch.valid[..., None], entropy(probs[:, :-1]), 0).sum() / (steps * spec.n_agents)
        return -jnp.where(batch.valid, value, 0).sum() / steps - 0.1 * mean / jax.lax.stop_gradient(mean)

    plain = jax.jit(critic_step, static_argnames="lam")
    critic, _ = plain(learner.critic.params, learner.critic.target, adam_state(learner.critic), batch, lam=0.6)
    assert_trees_close(stepped.critic.params, critic, 1e-8)
    gradient: PyTree = jax.jit(jax.grad(actor_loss))(learner.actor.params)
    moves, _ = jax.jit(clipped_adam(1e-3, 10.0, eps=1e-7).update)(gradient, learner.actor.opt)
    assert_trees_close(stepped.actor.params, jax.tree.map(jnp.add, learner.actor.params, moves), 1e-8)
    assert_close(metrics["actor_loss"], np.asarray(actor_loss(learner.actor.params)))


def test_riit_critic_rises_with_every_utility(float64: None) -> None:
    """dQ_tot / dq_i >= 0, seen through the last bias of the agents' own values."""
    critic, batch = in_float64(initial(init, jax.random.key(1), SPEC, RIIT)).critic.params, random_episodes()
    taken = jax.nn.one_hot(batch.actions, SPEC.n_actions, dtype=batch.obs.dtype)

    def value(bias: jax.Array) -> jax.Array:
        raised = eqx.tree_at(lambda c: c.utility.layers[-1].bias, critic, bias[None])
        return q_of(raised, batch, taken)

    _, slope = jax.jvp(value, (jnp.asarray(0.1),), (jnp.asarray(1.0),))
    assert (np.asarray(slope) >= 0).all() and (np.asarray(slope) > 0).any()


@pytest.mark.every
def test_riit_replays_once_the_buffer_has_begun_to_fill(float64: None) -> None:
    """Eight episodes per update, 16 to start with: a third step in the second update, a target copied in it.

    All episodes are the same one, so that what is drawn is known: the critic's steps are those of plain
    differentiation, the one on replayed episodes first and with lambda 0.
    """
    config = dataclasses.replace(
        RIIT, off_policy=True, batch_episodes=4, start_episodes=16, buffer_episodes=24, target_interval=16
    )
    learner, replay = started(config)
    batch = jax.tree.map(lambda x: jnp.broadcast_to(x[:1], x.shape), random_episodes())
    update = jax.jit(stepping(riit("riit", SPEC, config)))
    plain = jax.jit(critic_step, static_argnames="lam")
    steps, copied = [], []
    for k in range(3):
        stepped, replay, metrics = update(learner, replay, batch, jax.random.key(k))
        expected = learner.critic.params, adam_state(learner.critic)
        for lam in (0.6,) if k == 0 else (0.0, 0.6):
            expected = plain(expected[0], learner.critic.target, expected[1], batch, lam=lam)
        assert_trees_close((stepped.critic.params, adam_state(stepped.critic)), expected, 1e-10)
        before = stepped.critic.params if k == 1 else learner.critic.target
        assert_trees_close(stepped.critic.target, before, 0.0)
        learner = stepped
        steps.append(int(metrics["gradient_steps"]))
        copied.append(int(learner.episodes.at))
    assert steps == [2, 5, 8] and copied == [0, 16, 16]
    assert replay is not None and int(filled(replay)) == 24


def test_riit_refuses_a_buffer_that_never_starts() -> None:
    with pytest.raises(ValueError, match="`start_episodes` is 128 but the buffer holds 100"):
        riit("riit", SPEC, RiitConfig(buffer_episodes=100))
    with pytest.raises(ValueError, match="`latest_episodes` is 32 but the buffer holds 20"):
        riit("riit-online", SPEC, RiitConfig(off_policy=False, latest_episodes=32, buffer_episodes=20))
