"""COMA on particle toys, and other advantages on its critics: against plain loops, and what each reduces to."""

import dataclasses
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from batches import random_episodes

from seca.algos import coma_mpe
from seca.algos.coma_mpe import ComaMpeConfig, Transitions
from seca.envs import registry
from seca.nets.stacked import AgentMLP
from seca.types import EnvSpec, Episodes

SPEC = EnvSpec(id="test", version="1", n_agents=3, n_actions=4, obs_size=5, state_size=7, episode_limit=6)
CONFIG = ComaMpeConfig(hidden=8, batch=7, critic_epochs=3, target_interval=14, init_std=0.5)
N, A, OBS = SPEC.n_agents, SPEC.n_actions, SPEC.obs_size


def episodes_of(seed: int = 0) -> Episodes:
    """Of other lengths than the batch of an update."""
    keys = jax.random.split(jax.random.key(seed), 5)
    batch, time = 4, SPEC.episode_limit
    lengths = jnp.array([6, 2, 5, 3])
    valid = jnp.arange(time) < lengths[:, None]
    last = jnp.arange(time) == lengths[:, None] - 1
    return Episodes(
        reward=jax.random.normal(keys[0], (batch, time)),
        terminated=last & (lengths < time)[:, None],
        truncated=last & (lengths == time)[:, None],
        valid=valid,
        obs=jax.random.normal(keys[1], (batch, time + 1, N, OBS)),
        state=jax.random.normal(keys[2], (batch, time + 1, SPEC.state_size)),
        avail=jnp.ones((batch, time + 1, N, A), bool).at[:, :, 0, 3].set(False),
        actions=jax.random.randint(keys[3], (batch, time + 1, N), 0, A - 1),
    )


def plain_net(net: AgentMLP, agent: int, x: np.ndarray) -> np.ndarray:
    for number, layer in enumerate(net.layers):
        x = np.asarray(layer.weight)[agent] @ x + np.asarray(layer.bias)[agent]
        x = np.maximum(x, 0) if number < 2 else x
    return x


def plain_q(critics: AgentMLP, obs: np.ndarray, agent: int, others: dict[int, np.ndarray]) -> np.ndarray:
    told = [others[j] for j in range(N) if j != agent]
    return plain_net(critics, agent, np.concatenate([*obs, obs[agent], *told]))


@pytest.fixture(scope="module")
def step() -> dict[str, Any]:
    """A few rows of everything that an advantage reads."""
    learner = coma_mpe.init(jax.random.key(3), SPEC, CONFIG)
    random = np.random.default_rng(0)
    probs = random.dirichlet(np.ones(A), (5, N)).astype(np.float32)
    obs, actions = random.normal(size=(5, N, OBS)).astype(np.float32), random.integers(0, A, (5, N))
    return {
        "critics": learner.critics.params,
        "obs": jnp.asarray(obs),
        "probs": jnp.asarray(probs),
        "actions": jnp.asarray(actions, jnp.int32),
        "order": jnp.array([2, 0, 1], jnp.int32),
    }


@pytest.mark.parametrize("kind", list(coma_mpe.KIND))
def test_advantages_are_those_of_plain_loops(step: dict[str, Any], kind: coma_mpe.Advantage) -> None:
    found = coma_mpe.advantages(**step, kind=kind)
    obs, probs, actions = (np.asarray(step[name]) for name in ("obs", "probs", "actions"))
    place = {int(agent): position for position, agent in enumerate(step["order"])}
    onehot = np.eye(A)
    for row, agent in itertools.product(range(len(obs)), range(N)):
        others = [j for j in range(N) if j != agent]
        before = {
            "counterfactual": others,
            "independent": [],
        }.get(kind, [j for j in others if place[j] < place[agent]])
        later = [j for j in others if j not in before]
        known = {j: onehot[actions[row, j]] for j in before}
        if kind == "exact":
            q = np.zeros(A)
            for drawn in itertools.product(range(A), repeat=len(later)):
                chance = np.prod([probs[row, j, a] for j, a in zip(later, drawn, strict=True)])
                told = known | {j: onehot[a] for j, a in zip(later, drawn, strict=True)}
                q += chance * plain_q(step["critics"], obs[row], agent, told)
        else:
            q = plain_q(step["critics"], obs[row], agent, known | {j: probs[row, j] for j in later})
        expected = q[actions[row, agent]] - probs[row, agent] @ q
        assert float(found[row, agent]) == pytest.approx(expected, abs=2e-5)


@pytest.mark.parametrize("kind", list(coma_mpe.KIND))
def test_nothing_in_the_mean_over_the_own_policy(step: dict[str, Any], kind: coma_mpe.Advantage) -> None:
    """sum_a pi_i(a) A_i(a) = 0, exactly, where the others' actions stay."""
    for agent in range(N):
        each = [
            coma_mpe.advantages(**step | {"actions": step["actions"].at[:, agent].set(action)}, kind=kind)[:, agent]
            for action in range(A)
        ]
        mean = (np.stack(each, axis=-1) * np.asarray(step["probs"])[:, agent]).sum(axis=-1)
        np.testing.assert_allclose(mean, 0, atol=1e-5)


def test_the_last_agent_is_judged_by_all_actions(step: dict[str, Any]) -> None:
    """Nobody comes later: sequential, exact and counterfactual are one; for the first, sequential is independent."""
    by_kind = {kind: np.asarray(coma_mpe.advantages(**step, kind=kind)) for kind in coma_mpe.KIND}
    last, first = 1, 2
    for kind in ("sequential", "exact"):
        np.testing.assert_allclose(by_kind[kind][:, last], by_kind["counterfactual"][:, last], atol=1e-5)
    np.testing.assert_allclose(by_kind["sequential"][:, first], by_kind["independent"][:, first], atol=1e-5)
    assert np.abs(by_kind["sequential"] - by_kind["counterfactual"]).max() > 1e-2
    assert np.abs(by_kind["sequential"] - by_kind["exact"])[:, first].max() > 1e-3  # The critic is not linear.


def test_with_decided_policies_all_are_alike(step: dict[str, Any]) -> None:
    """Where later agents have no choice, their policy is their action."""
    decided = step | {"probs": jax.nn.one_hot(step["actions"], A)}
    for kind in ("sequential", "exact", "independent"):
        expected = coma_mpe.advantages(**decided, kind="counterfactual")
        np.testing.assert_allclose(coma_mpe.advantages(**decided, kind=kind), expected, atol=1e-5)


def transitions(many: list[Episodes]) -> Transitions:
    """All real steps, one episode after another, by plain loops."""
    rows = []
    for episodes in many:
        for b, t in itertools.product(*map(range, episodes.valid.shape)):
            if episodes.valid[b, t]:
                now, after = slice(t, t + 1), slice(t + 1, t + 2)
                step = episodes.actions[b, now], episodes.reward[b, now], episodes.terminated[b, now]
                seen, shown = (x[b, now] for x in (episodes.obs, episodes.avail)), (episodes.obs[b, after],)
                rows.append(Transitions(*seen, *step, *shown, episodes.avail[b, after]))
    return jax.tree.map(lambda *x: jnp.concatenate(x), *rows)


def test_every_step_is_learned_from_once_and_in_order() -> None:
    """16 steps a batch, 7 an update: 2 and 2 and 2 updates of three batches, and 6 steps that wait."""
    many = [episodes_of(seed) for seed in range(3)]
    learner = expected = coma_mpe.init(jax.random.key(0), SPEC, CONFIG)
    rows = transitions(many)
    update = jax.jit(lambda learner, episodes, key: coma_mpe.update(learner, episodes, None, key, None, SPEC, CONFIG))
    keys = []
    for number, episodes in enumerate(many):
        key, before = jax.random.key(10 + number), int(learner.updates)
        learner, measures = update(learner, episodes, key)
        keys += [jax.random.fold_in(key, n) for n in range(int(learner.updates) - before)]
        assert int(learner.updates) * 7 + int(learner.count) == 16 * (number + 1)
        assert int(measures["gradient_steps"]) == 4 * int(learner.updates)
    learn = jax.jit(lambda learner, part, key: coma_mpe.learn(learner, part, key, CONFIG))
    for number, key in enumerate(keys):
        part = jax.tree.map(lambda x, n=number: x[7 * n : 7 * n + 7], rows)
        expected = learn(expected, part, key)
    assert len(keys) == 6
    for nets in ("actors", "critics"):
        for ours, theirs in zip(*(jax.tree.leaves(getattr(x, nets)) for x in (learner, expected)), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
    waits = jax.tree.map(lambda x: x[: int(learner.count)], learner.waiting)
    for ours, theirs in zip(jax.tree.leaves(waits), jax.tree.leaves(rows), strict=True):
        np.testing.assert_array_equal(ours, theirs[42:])


def one_batch() -> Transitions:
    return jax.tree.map(lambda x: x[3:10], transitions([episodes_of()]))


@pytest.mark.parametrize("shared", [False, True])
def test_gradient_steps_are_those_of_one_adam_for_each_agent(shared: bool) -> None:
    """Each with its own loss, its gradient clipped entry by entry; on one network where they share it."""
    config = dataclasses.replace(CONFIG, shared=shared, critic_epochs=1, critic_lr=1e-2, actor_lr=1e-2, clip=0.05)
    learner, batch, key = coma_mpe.init(jax.random.key(1), SPEC, config), one_batch(), jax.random.key(5)
    _, target_key = jax.random.split(key)
    [draw] = jax.random.split(target_key, 1)
    targets = coma_mpe.targets_of(learner.actors.target, learner.critics.target, batch, draw, config.gamma)
    after = coma_mpe.learn(learner, batch, key, config)

    def alone(net: AgentMLP, agent: int) -> AgentMLP:
        return jax.tree.map(lambda x: x[agent], net)

    def together(nets: list[AgentMLP]) -> AgentMLP:
        return jax.tree.map(lambda *x: jnp.stack(x), *nets)

    def plain(before: AgentMLP, loss_of: Any, lr: float) -> AgentMLP:
        parts = [alone(before, agent) for agent in range(N)]
        gradients = [jax.grad(lambda own, i=i: loss_of(together([*parts[:i], own, *parts[i + 1 :]]), i))(parts[i])
                     for i in range(N)]  # fmt: skip
        for agent, gradient in enumerate(gradients):
            adam = optax.adam(lr)
            clipped = jax.tree.map(lambda g: jnp.clip(g, -config.clip, config.clip), gradient)
            moves, _ = adam.update(clipped, adam.init(parts[agent]))
            for who in range(N) if shared else (agent,):
                parts[who] = optax.apply_updates(parts[who], moves)
        return together(parts)

    def critic_loss(net: AgentMLP, agent: int) -> jax.Array:
        q = coma_mpe.values_of(net, batch.obs, batch.actions)[:, agent]
        return ((q[jnp.arange(7), batch.actions[:, agent]] - targets[:, agent]) ** 2).mean()

    critics = plain(learner.critics.params, critic_loss, config.critic_lr)
    for ours, theirs in zip(jax.tree.leaves(after.critics.params), jax.tree.leaves(critics), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
    logits = jnp.where(batch.avail, learner.actors.params(batch.obs), -1e9)
    probs, order = jax.nn.softmax(logits), jnp.arange(N)
    advantage = coma_mpe.advantages(after.critics.params, batch.obs, probs, batch.actions, order, "counterfactual")

    def actor_loss(net: AgentMLP, agent: int) -> jax.Array:
        log = jax.nn.log_softmax(jnp.where(batch.avail, net(batch.obs), -1e9))[:, agent]
        gain = (advantage[:, agent] * log[jnp.arange(7), batch.actions[:, agent]]).mean()
        return -gain + config.entropy_coef * (jnp.exp(log) * jnp.where(log > -1e8, log, 0)).sum()

    actors = plain(learner.actors.params, actor_loss, config.actor_lr)
    for ours, theirs in zip(jax.tree.leaves(after.actors.params), jax.tree.leaves(actors), strict=True):
        np.testing.assert_allclose(ours, theirs, atol=1e-5)
        if shared:
            assert (np.asarray(ours) == np.asarray(ours)[:1]).all()


def test_targets_are_mixed_when_due() -> None:
    """Every 14 env steps, so with every second update of 7."""
    learner, batch = coma_mpe.init(jax.random.key(1), SPEC, CONFIG), one_batch()
    first = coma_mpe.learn(learner, batch, jax.random.key(0), CONFIG)
    second = coma_mpe.learn(first, batch, jax.random.key(1), CONFIG)
    for nets in ("actors", "critics"):
        start, once, twice = (getattr(x, nets) for x in (learner, first, second))
        for old, kept, mixed, new in zip(
            *map(jax.tree.leaves, (start.target, once.target, twice.target, twice.params)), strict=True
        ):
            np.testing.assert_array_equal(old, kept)
            np.testing.assert_allclose(mixed, 0.9 * old + 0.1 * new, atol=1e-6)


def test_ends_and_next_actions() -> None:
    """r where the episode ended, else with the target's value of actions that the target actors draw."""
    learner, batch = coma_mpe.init(jax.random.key(1), SPEC, CONFIG), one_batch()
    forced = dataclasses.replace(batch, next_avail=jax.nn.one_hot(jnp.ones((7, N), jnp.int32), A).astype(bool))
    found = coma_mpe.targets_of(learner.actors.target, learner.critics.target, forced, jax.random.key(0), 0.9)
    assert bool(batch.ended.any()) and not bool(batch.ended.all())
    onehot = np.eye(A)[1]
    for row, agent in itertools.product(range(7), range(N)):
        obs = np.asarray(batch.next_obs)[row]
        q = plain_q(learner.critics.target, obs, agent, dict.fromkeys(range(N), onehot))[1]
        expected = float(batch.reward[row]) + (0.0 if batch.ended[row] else 0.9 * q)
        assert float(found[row, agent]) == pytest.approx(expected, abs=2e-5)


def test_policies_have_no_memory_and_keep_to_the_mask() -> None:
    env = registry.make("mpe/predator-prey")
    algorithm = coma_mpe.coma_mpe("coma-mpe", env.spec, CONFIG)
    learner = algorithm.init(jax.random.key(0))
    _, shown = env.reset(jax.random.split(jax.random.key(1), 64))
    shown = dataclasses.replace(shown, avail=shown.avail.at[:, 1, 2:].set(False))
    keys, params = jax.random.split(jax.random.key(2), 64), algorithm.policy(learner)
    sampled = algorithm.act(params, algorithm.initial_carry(64), shown, keys, jnp.uint32(0), False)
    assert sampled.carry == () and algorithm.told((), sampled.actions) == ()
    assert np.asarray(sampled.actions)[:, 1].max() == 1 and len(np.unique(sampled.actions)) == 5
    greedy = algorithm.act(params, (), shown, keys, jnp.uint32(0), True).actions
    logits = jnp.where(shown.avail, params(shown.obs), -jnp.inf)
    np.testing.assert_array_equal(greedy, logits.argmax(axis=-1))


def test_an_exact_advantage_is_for_small_teams() -> None:
    spec = dataclasses.replace(SPEC, n_agents=7)
    with pytest.raises(ValueError, match="`advantage` is exact but `env` test has 7 agents"):
        coma_mpe.coma_mpe("x", spec, dataclasses.replace(CONFIG, advantage="exact"))


def test_claims_are_the_advantages_of_the_steps() -> None:
    episodes = random_episodes(garbage=5.0)
    spec = dataclasses.replace(
        SPEC, n_agents=episodes.obs.shape[2], n_actions=episodes.avail.shape[3], obs_size=episodes.obs.shape[3]
    )
    algorithm = coma_mpe.coma_mpe("x", spec, dataclasses.replace(CONFIG, advantage="sequential"))
    learner = algorithm.init(jax.random.key(0))
    assert algorithm.claims is not None and algorithm.claims.kind == "sequential"
    claim = algorithm.claims.fn(learner, episodes, jnp.uint32(0), jax.random.key(1))
    assert claim.order is not None
    valid = np.asarray(episodes.valid)
    assert (np.asarray(claim.credit)[~valid] == 0).all() and np.isfinite(claim.credit).all()
    [b, t] = np.argwhere(valid)[3]
    logits = learner.actors.params(episodes.obs[b, t])
    probs = jax.nn.softmax(jnp.where(episodes.avail[b, t], logits, -1e9))
    rows = (x[None] for x in (episodes.obs[b, t], probs, episodes.actions[b, t].astype(jnp.int32)))
    alone = coma_mpe.advantages(learner.critics.params, *rows, jnp.arange(spec.n_agents), "sequential")
    np.testing.assert_allclose(claim.credit[b, t], alone[0], atol=1e-5)
