"""MAPPO: the packed update against a plain one in its own order, and what it reduces to."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from batches import ALONE, BOXED, SIZES, SPEC, alone, in_float64, initial, random_episodes
from learners import plain_acting
from reference import assert_close, assert_trees_close, float64_fixture
from tiers import cases

from seca.algos.mappo import Learner, MappoConfig, init, mappo, optimiser, values_of
from seca.learning.acting import acting_over, last_actions
from seca.learning.ppo import Networks, huber
from seca.learning.trained import Trained
from seca.nets.agents import NormalisedAgent, agent_inputs
from seca.policies import entropy, masked_log_probs
from seca.types import EnvSpec, Episodes

pytestmark = pytest.mark.slow

_ = float64_fixture
CONFIG = MappoConfig(actor_hidden=8, critic_hidden=8, epochs=1, stretch=3, norm_decay=0.9)
KEEP, CLIP, DELTA = 0.9, 0.2, 10.0


def learner_of(config: MappoConfig, spec: EnvSpec = SPEC) -> Learner:
    """Untrained but for a policy that is not uniform and returns that have been seen before."""
    learner = in_float64(initial(init, jax.random.key(0), spec, config))
    agent, head = learner.actor.params, learner.actor.params.head
    agent = dataclasses.replace(agent, head=dataclasses.replace(head, weight=50 * head.weight))
    scale = dataclasses.replace(learner.scale, mean=jnp.asarray(0.2), square=jnp.asarray(1.3), weight=jnp.asarray(0.7))
    return dataclasses.replace(learner, actor=dataclasses.replace(learner.actor, params=agent), scale=scale)


def gae(reward, ended: bool, length: int, value, gamma: float, lam: float) -> np.ndarray:
    """sum_k (gamma lam)^k delta_{t+k}. Schulman et al. 2016, Eq. 16."""
    delta = [reward[t] + gamma * (0 if ended and t == length - 1 else value[t + 1]) - value[t] for t in range(length)]
    return np.array([sum((gamma * lam) ** (k - t) * delta[k] for k in range(t, length)) for t in range(length)])


def restarted(agent: NormalisedAgent, inputs, hidden, every: int) -> jax.Array:
    """Outputs of all rows but the last, the recurrent state set to the given one at each `every`-th."""

    def step(h: jax.Array, row: tuple[jax.Array, jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        t, seen, given = row
        return agent(seen, jnp.where(t % every == 0, given, h))

    seen, given = (jnp.moveaxis(x[:, :-1], 1, 0) for x in (inputs, hidden))
    _, outputs = jax.lax.scan(step, hidden[:, 0], (jnp.arange(seen.shape[0]), seen, given))
    return jnp.moveaxis(outputs, 0, 1)


def battles(garbage: float = 0.0, size: str = "one block") -> Episodes:
    """Episodes whose dead see nothing but zeros, as in SMAC; in one nobody has a choice for three steps."""
    spec, lengths, seed = SIZES[size]
    episodes = random_episodes(seed, garbage, lengths, spec)
    alone = jnp.zeros(SPEC.n_actions, bool).at[1].set(True)
    avail = episodes.avail.at[0, 3:6].set(alone)
    actions = episodes.actions.at[0, 3:6].set(1)
    obs = jnp.where(avail[..., :1], 0, episodes.obs)  # Action 0 is that of the dead.
    return dataclasses.replace(episodes, avail=avail, actions=actions, obs=obs)


def critic_rows(episodes: Episodes, value_of: str) -> jax.Array:
    """What values are of, row by row; of the dead nothing but who it was."""
    if value_of == "state":
        return episodes.state[:, :, None]
    state, obs, avail = (np.asarray(x) for x in (episodes.state, episodes.obs, episodes.avail))
    n_agents = obs.shape[2]
    width = obs.shape[-1] + n_agents + (state.shape[-1] if value_of == "agent" else 0)
    rows = np.zeros((*obs.shape[:3], width))
    for b, t, i in np.ndindex(*obs.shape[:3]):
        dead = avail[b, t, i].tolist() == [True, False, False, False]
        seen = np.concatenate([state[b, t], obs[b, t, i]]) if value_of == "agent" else obs[b, t, i]
        rows[b, t, i] = np.concatenate([0 * seen if dead else seen, np.eye(n_agents)[i]])
    return jnp.asarray(rows)


def valued(old: Learner, episodes: Episodes, config: MappoConfig) -> tuple[np.ndarray, np.ndarray]:
    """Values in the scale of returns, and their advantages by the definition of GAE; 0 on padding."""
    mean, var = 0.2 / 0.7, 1.3 / 0.7 - (0.2 / 0.7) ** 2
    own = np.asarray(values_of(old.critic.params, critic_rows(episodes, config.value_of))[1]) * np.sqrt(var) + mean
    advantage = np.zeros(own[:, :-1].shape)
    for b, length in enumerate(np.asarray(episodes.length).tolist()):
        for j in range(own.shape[2]):
            ended = bool(np.asarray(episodes.terminated)[b].any())
            found = gae(np.asarray(episodes.reward)[b], ended, length, own[b, :, j], config.gamma, config.gae_lambda)
            advantage[b, :length, j] = found
    return own[:, :-1], advantage


def judged(old: Learner, episodes: Episodes, config: MappoConfig) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Normalised advantages of the active, targets of the values, and who is active."""
    own, advantage = valued(old, episodes, config)
    targets = np.where(np.asarray(episodes.valid)[..., None], advantage + own, 0)
    active = np.asarray(episodes.valid)[..., None] & (np.asarray(episodes.avail)[:, :-1].sum(axis=-1) > 1)
    advantage = np.broadcast_to(advantage, active.shape)
    return (advantage - advantage[active].mean()) / (advantage[active].std() + 1e-5), targets, active


@functools.partial(jax.jit, static_argnames="config")
def slope_of(
    networks: Networks, old: Networks, episodes: Episodes, features, advantage, goal, active, config: MappoConfig
) -> Networks:
    """Gradient of one epoch's loss over the padded batch, `old` the networks before the first."""
    previous = last_actions(episodes)
    inputs, acting = agent_inputs(episodes.obs, previous), acting_over(old.actor, episodes)
    critic_hidden, old_values = values_of(old.critic, features)

    def pick(log_probs) -> jax.Array:
        return jnp.take_along_axis(log_probs, episodes.actions[:, :-1, :, None], axis=-1)[..., 0]

    def loss(networks: Networks) -> jax.Array:
        logits = restarted(networks.actor, inputs, acting.hidden, config.stretch)
        log_probs = masked_log_probs(logits, episodes.avail[:, :-1])
        ratio = jnp.exp(pick(log_probs) - pick(jnp.log(jnp.maximum(acting.probs[:, :-1], 1e-30))))
        gain = jnp.minimum(ratio * advantage, jnp.clip(ratio, 1 - CLIP, 1 + CLIP) * advantage)
        value = restarted(networks.critic, features, critic_hidden, config.stretch)[..., 0]
        kept = old_values[:, :-1] + jnp.clip(value - old_values[:, :-1], -CLIP, CLIP)
        error = jnp.maximum(huber(goal - value, DELTA), huber(goal - kept, DELTA))
        policy = jnp.where(active, gain + config.entropy_coef * entropy(jnp.exp(log_probs)), 0).sum() / active.sum()
        # Of every judge in every real step, dead or not.
        of_values = jnp.where(episodes.valid[..., None], error, 0).sum()
        return of_values / (episodes.valid.sum() * error.shape[2]) - policy

    return jax.grad(loss)(networks)


def both(learner: Learner) -> Networks:
    return Networks(learner.actor.params, learner.critic.params)


STEP = jax.jit(optimiser(5e-4, 10.0).update)


def plain_step(learner: Learner, old: Learner, episodes: Episodes, config: MappoConfig) -> Learner:
    """One epoch over the padded batch: everything by its definition, `old` the networks before the first."""
    features = critic_rows(episodes, config.value_of)
    advantage, targets, active = judged(old, episodes, config)
    valid = np.asarray(episodes.valid)
    seen = targets[valid]
    scale = learner.scale
    scale = dataclasses.replace(
        scale,
        mean=KEEP * scale.mean + (1 - KEEP) * seen.mean(),
        square=KEEP * scale.square + (1 - KEEP) * (seen**2).mean(),
        weight=KEEP * scale.weight + (1 - KEEP),
    )
    mean, deviation = (
        scale.mean / scale.weight,
        jnp.sqrt(scale.square / scale.weight - (scale.mean / scale.weight) ** 2),
    )
    goal = (jnp.asarray(targets) - mean) / deviation
    slope = slope_of(both(learner), both(old), episodes, features, advantage, goal, active, config)

    def moved(part: Trained, gradient: Any) -> Trained:
        moves, opt = STEP(gradient, part.opt)
        return dataclasses.replace(part, params=jax.tree.map(jnp.add, part.params, moves), opt=opt)

    return Learner(moved(learner.actor, slope.actor), moved(learner.critic, slope.critic), scale)


@pytest.mark.parametrize(
    ("value_of", "epochs"),
    cases([("state", 1), ("state", 3), ("agent", 2), ("observation", 2)], ("state", 3)),
)
@pytest.mark.parametrize("size", cases(SIZES, "between blocks"))
def test_update_equals_the_plain_one(size: str, value_of: Any, epochs: int, float64: None) -> None:
    """Cut into stretches of 3 steps and visited in groups, over several epochs, on unequal padded episodes."""
    config, spec = dataclasses.replace(CONFIG, value_of=value_of, epochs=epochs), SIZES[size][0]
    learner, batch = learner_of(config, spec), battles(1.0, size)
    found, _ = jax.jit(functools.partial(mappo("mappo", spec, config).update, axis=None))(
        learner, batch, None, jax.random.key(0)
    )
    expected = learner
    step = functools.partial(plain_step, old=learner, episodes=batch, config=config)
    for _ in range(epochs):
        expected = step(expected)
    assert_close(found.scale.moments()[0], np.asarray(expected.scale.mean / expected.scale.weight))
    assert_trees_close(found.actor.params, expected.actor.params, 1e-8)
    assert_trees_close(found.critic.params, expected.critic.params, 1e-8)


@pytest.mark.parametrize("value_of", cases(["state", "agent", "observation"], "agent"))
def test_the_claim_is_the_advantage_before_it_is_normalised(value_of: Any, float64: None) -> None:
    """Of every agent, with a choice or without; the same for all where the value is one."""
    config = dataclasses.replace(CONFIG, value_of=value_of)
    learner, batch, algorithm = learner_of(config), battles(1.0), mappo("mappo", SPEC, config)
    assert algorithm.claims is not None and algorithm.claims.kind is None
    assert algorithm.claims.says.startswith("no credit") == (value_of == "state")
    claim = jax.jit(algorithm.claims.fn)(learner, batch, jnp.uint32(0), jax.random.key(0))
    own, advantage = valued(learner, batch, config)
    valid, credit = np.asarray(batch.valid), np.asarray(claim.credit)
    np.testing.assert_allclose(credit, np.broadcast_to(advantage, credit.shape), atol=1e-10)
    np.testing.assert_allclose(claim.team, advantage.mean(axis=-1), atol=1e-10)
    np.testing.assert_allclose(np.asarray(claim.value)[valid], own.mean(axis=-1)[valid], atol=1e-10)
    followed, _, active = judged(learner, batch, config)
    apart = (credit - credit[active].mean()) / (credit[active].std() + 1e-5)
    np.testing.assert_allclose(apart[active], followed[active], atol=1e-10)


@pytest.mark.every
def test_first_epoch_is_the_policy_gradient(float64: None) -> None:
    """At ratio 1 the loss is minus the mean advantage, which is 0 once normalised, and its gradient is A2C's."""
    config = dataclasses.replace(CONFIG, stretch=100, entropy_coef=0.0)
    learner, batch = learner_of(config), battles()
    found, metrics = jax.jit(functools.partial(mappo("mappo", SPEC, config).update, axis=None))(
        learner, batch, None, jax.random.key(0)
    )
    assert abs(float(metrics["actor_policy_loss"])) < 1e-10
    advantage, _, active = judged(learner, batch, config)

    def a2c(actor: NormalisedAgent) -> jax.Array:
        probs = plain_acting(actor, batch).probs[:, :-1]
        taken = jnp.take_along_axis(probs, batch.actions[:, :-1, :, None], axis=-1)[..., 0]
        return -jnp.where(active, jnp.log(taken) * advantage, 0).sum() / active.sum()

    slope: Any = jax.jit(jax.grad(a2c))(learner.actor.params)
    # Adam's first moment is linear in the gradient, which is too small to be clipped.
    _, expected = jax.jit(optimiser(config.actor_lr, config.clip_norm).update)(slope, learner.actor.opt)
    assert_trees_close(found.actor.opt, expected, 1e-10)
    assert 1e-3 < float(metrics["actor_gradient_norm"]) < 10.0
    assert_close(metrics["actor_gradient_norm"], np.asarray(optax.tree.norm(slope)))


@pytest.mark.every
def test_one_agent_alone_is_ppo(float64: None) -> None:
    """With one agent whose observation is the state there is nothing central about the value: MAPPO is IPPO is PPO."""
    batch = alone(battles())
    dead = np.asarray(batch.avail)[..., :1]  # Action 0 is that of the dead, of whom the index alone is read.
    own = jnp.where(jnp.asarray(dead), 0, batch.obs)
    batch = dataclasses.replace(batch, state=jnp.concatenate([own, jnp.ones_like(own[..., :1])], axis=-1)[:, :, 0])
    spec = dataclasses.replace(ALONE, state_size=SPEC.obs_size + 1)
    found = []
    for value_of in ("state", "observation"):
        config = dataclasses.replace(CONFIG, value_of=value_of, epochs=3)
        learner = in_float64(initial(init, jax.random.key(0), spec, config))
        stepped, metrics = jax.jit(functools.partial(mappo("mappo", spec, config).update, axis=None))(
            learner, batch, None, jax.random.key(0)
        )
        found.append(
            (stepped.actor.params, stepped.critic.params, metrics["actor_policy_loss"], metrics["critic_loss"])
        )
        assert float(metrics["actor_gradient_norm"]) > 1e-3
    assert_trees_close(found[0], found[1], 1e-10)


def test_untrained_policies_are_nearly_uniform() -> None:
    agent = init(jax.random.key(0), SPEC, CONFIG).actor.params
    episodes = random_episodes()
    probs = np.asarray(acting_over(agent, episodes).probs)
    open_actions = np.asarray(episodes.avail)
    np.testing.assert_allclose(
        probs[open_actions], (open_actions / open_actions.sum(-1, keepdims=True))[open_actions], atol=0.02
    )
    weight = np.asarray(agent.layers[1].weight)
    np.testing.assert_allclose(weight @ weight.T, 2 * np.eye(8), atol=1e-5)


def test_a_stretch_longer_than_an_episode_takes_no_more_memory() -> None:
    """Nor is a run refused for it: 100,000 steps at once would be 46 GiB."""
    sizes = [mappo("mappo", SPEC, MappoConfig(stretch=n)).memory(32) for n in (SPEC.episode_limit, 100_000)]
    assert sizes[0] == sizes[1]
    assert mappo("mappo", SPEC, MappoConfig(stretch=SPEC.episode_limit - 1)).memory(32) < sizes[0]


def test_ratios_of_gaussian_policies_start_at_one(float64: None) -> None:
    """So the first policy loss is minus the mean of advantages that are 0 in the mean; the dead do not count."""
    algorithm = mappo("mappo", BOXED, MappoConfig(actor_hidden=8, critic_hidden=8))
    learner, batch = in_float64(algorithm.init(jax.random.key(0))), random_episodes(spec=BOXED)
    _, metrics = jax.jit(lambda before: algorithm.update(before, batch, None, jax.random.key(1), None))(learner)
    assert abs(float(metrics["actor_policy_loss"])) < 1e-9
    acting = acting_over(learner.actor.params, batch)
    valid, choice = np.asarray(batch.valid), np.asarray(batch.avail)[:, :-1].all(axis=-1)
    spread = 0.5 * np.log(2 * np.pi * np.e * np.asarray(acting.probs)[:, :-1, :, 2:]).sum(axis=-1)
    np.testing.assert_allclose(metrics["entropy"], spread[valid[..., None] & choice].mean(), atol=1e-9)
