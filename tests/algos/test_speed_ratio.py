"""The packed update against the plain one at the sizes of 2s3z, side by side: a ratio, never an absolute rate."""

import functools
import time

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.algos.seca import SecaConfig, seca
from seca.credit.sequential import swept
from seca.learning.acting import acting_over
from seca.nets.agents import agent_inputs
from seca.order.gradients import by_contribution
from seca.policies import entropy, masked_log_probs
from seca.returns import lambda_returns
from seca.types import EnvSpec, Episodes

SPEC = EnvSpec("2s3z-sizes", "1", n_agents=5, n_actions=11, obs_size=80, state_size=120, episode_limit=120)
CONFIG = SecaConfig()
RUNNERS = 8


def played(seed: int) -> Episodes:
    """Random episodes of 40 to 70 steps under a limit of 120."""
    rng = np.random.default_rng(seed)
    time_ = SPEC.episode_limit
    length = rng.integers(40, 71, size=RUNNERS)
    last = np.arange(time_) == length[:, None] - 1

    def normal(*shape: int) -> jax.Array:
        return jnp.asarray(rng.normal(size=(RUNNERS, *shape)), jnp.float32)

    return Episodes(
        reward=normal(time_),
        terminated=jnp.asarray(last),
        truncated=jnp.zeros((RUNNERS, time_), bool),
        valid=jnp.asarray(np.arange(time_) < length[:, None]),
        obs=normal(time_ + 1, SPEC.n_agents, SPEC.obs_size),
        state=normal(time_ + 1, SPEC.state_size),
        avail=jnp.ones((RUNNERS, time_ + 1, SPEC.n_agents, SPEC.n_actions), bool),
        actions=jnp.asarray(rng.integers(SPEC.n_actions, size=(RUNNERS, time_ + 1, SPEC.n_agents)), jnp.int32),
    )


def plain_gradients(learner, episodes: Episodes):
    """The same update written plainly: whole padded arrays, one-stream functions under `vmap`, autodiff throughout."""
    critic_of = jax.vmap(
        jax.vmap(lambda critic, s, v: critic.weights(s, SPEC.n_agents).value(v), (None, 0, 0)), (None, 0, 0)
    )
    taken = jax.nn.one_hot(episodes.actions, SPEC.n_actions)
    returns = functools.partial(lambda_returns, gamma=CONFIG.gamma, lam=CONFIG.td_lambda)
    y = jax.vmap(returns)(
        episodes.reward, episodes.terminated, episodes.valid, critic_of(learner.critic.target, episodes.state, taken)
    )

    def regression(critic):
        error = critic_of(critic, episodes.state, taken)[:, :-1] - y
        return jnp.where(episodes.valid, error**2, 0).sum() / episodes.valid.sum()

    critic_slope = jax.grad(regression)(learner.critic.params)
    probs = acting_over(learner.actor.params, episodes).probs

    def value(state, inputs):
        return learner.critic.params.weights(state, SPEC.n_agents).value(inputs)

    order, _ = jax.vmap(lambda s, p, m: by_contribution(value, s, p, m, CONFIG.path))(
        episodes.state, probs, episodes.valid
    )
    key = jax.random.key(0)
    advantage = jax.vmap(jax.vmap(lambda s, p, u, o: swept(lambda v: value(s, v), p, u, o, key)))(
        episodes.state[:, :-1], probs[:, :-1], episodes.actions[:, :-1], order
    )

    def policy_loss(agent):
        previous = jnp.concatenate([jnp.zeros_like(taken[:, :1]), taken[:, :-1]], axis=1)
        inputs = jnp.moveaxis(agent_inputs(episodes.obs, previous), 1, 0)
        hidden = jnp.zeros((RUNNERS, SPEC.n_agents, CONFIG.actor_hidden))
        _, logits = jax.lax.scan(lambda h, x: agent(x, h), hidden, inputs)
        log_probs = masked_log_probs(jnp.moveaxis(logits, 0, 1), episodes.avail)[:, :-1]
        chosen = jnp.take_along_axis(log_probs, episodes.actions[:, :-1, :, None], axis=-1)[..., 0]
        mask, samples = episodes.valid[..., None], episodes.valid.sum() * SPEC.n_agents
        mean = jnp.where(mask, entropy(jnp.exp(log_probs)), 0).sum() / samples
        policy = -jnp.where(mask, chosen * advantage, 0).sum() / samples
        return policy - CONFIG.entropy_coef * mean / jax.lax.stop_gradient(mean)

    return critic_slope, jax.grad(policy_loss)(learner.actor.params)


@pytest.mark.every
def test_packed_update_is_several_times_faster_than_the_plain_one(usual_programs: None) -> None:
    """Interleaved in one process, best of several: at least twice as fast."""
    device = jax.devices()[0]
    algorithm = seca("test", SPEC, CONFIG)
    learner, episodes = jax.device_put((algorithm.init(jax.random.key(0)), played(0)), device)
    fast = jax.jit(functools.partial(algorithm.update, axis=None))
    plain = jax.jit(plain_gradients)
    key = jax.random.key(0)
    programs = {"fast": lambda: fast(learner, episodes, None, key), "plain": lambda: plain(learner, episodes)}
    best = dict.fromkeys(programs, np.inf)
    for repeat in range(6):
        for name, program in programs.items():
            began = time.perf_counter()
            jax.block_until_ready(program())
            if repeat:  # The first call compiles.
                best[name] = min(best[name], time.perf_counter() - began)
    assert best["plain"] > 2 * best["fast"], best
