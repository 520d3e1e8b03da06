"""Joint values and their losses: equal to plain twins, blind to padding, and what they reduce to."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from batches import SIZES, SPEC, in_float64, initial, random_episodes, widened
from reference import assert_close, assert_trees_close, float64_fixture
from tiers import cases

from seca.algos.mixing import (
    AttentionMixing,
    DuplexMixing,
    MonotoneMixing,
    NamedMixing,
    NoMixing,
    SumMixing,
    TransformedMixing,
    WeightedMixing,
    regressed,
)
from seca.algos.q_learning import QLearningConfig, init
from seca.learning.q_step import Method, Networks, Returns, regress
from seca.nets.agents import agent_inputs
from seca.nets.mixers import Choice
from seca.types import EnvSpec, Episodes

pytestmark = pytest.mark.slow

_ = float64_fixture
ENV = dataclasses.replace(SPEC, ally_features=2)
MIXINGS: dict[str, NamedMixing] = {
    "iql": NoMixing(),
    "vdn": SumMixing(),
    "qmix": MonotoneMixing(5, 6),
    "cw-qmix": WeightedMixing("central", 0.3, 5, 6, 7),
    "ow-qmix": WeightedMixing("optimistic", 0.3, 5, 6, 7),
    "qtran": TransformedMixing(5, 0.7, 0.2),
    "qplex": DuplexMixing(6, 3, 2),
    "qatten": AttentionMixing(2, 5, 6, 7),
}
TWINS = [(name, "peng") for name in ("cw-qmix", "qtran", "qplex")]
"""Those whose twin `make test` computes: with weights, with networks of its own, and with a duplex mixer."""
CONFIG = QLearningConfig(agent_hidden=8, batch_episodes=8, buffer_episodes=24)


def config_of(name: str, **changes: Any) -> QLearningConfig:
    return dataclasses.replace(CONFIG, mixing=MIXINGS[name], **changes)


def untrained(config: QLearningConfig, seed: int, spec: EnvSpec = ENV) -> Networks:
    return in_float64(initial(init, jax.random.key(seed), spec, config).networks.params)


def networks_of(config: QLearningConfig, seed: int = 0, spec: EnvSpec = ENV) -> Networks:
    """Networks whose outputs are large enough for greedy actions to differ."""
    return jax.tree.map(lambda x: 2 * x, untrained(config, seed, spec))


@functools.lru_cache
def compiled(config: QLearningConfig):
    method = config.mixing.method(config.loss_scale)
    corrected = config.traces == "corrected"
    returns = Returns(config.gamma, config.td_lambda, corrected, config.double_q, config.time_limit)
    return jax.jit(lambda online, target, batch: regress(online, target, batch, method, returns, None))


@jax.jit
def said(agent, episodes: Episodes) -> tuple[jax.Array, jax.Array]:
    """Utilities and new recurrent states `[batch, time+1, agents, ...]`, all rows of all episodes."""
    taken = jax.nn.one_hot(episodes.actions, SPEC.n_actions)
    last = jnp.concatenate([jnp.zeros_like(taken[:, :1]), taken[:, :-1]], axis=1)

    def step(hidden: jax.Array, inputs: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
        hidden, row = agent(inputs, hidden)
        return hidden, (row, hidden)

    start = jnp.zeros((*episodes.actions.shape[::2], CONFIG.agent_hidden))
    _, found = jax.lax.scan(step, start, jnp.moveaxis(agent_inputs(episodes.obs, last), 1, 0))
    return jnp.moveaxis(found[0], 0, 1), jnp.moveaxis(found[1], 0, 1)


def pick(q: jax.Array, actions: np.ndarray) -> jax.Array:
    return jnp.take_along_axis(q, actions[..., None], axis=-1)[..., 0]


def mixed(mixer, q: jax.Array, episodes: Episodes, actions: np.ndarray) -> jax.Array:
    best = jnp.where(episodes.avail, q, -1e9).max(axis=-1)
    return mixer(episodes.state, Choice(pick(q, actions), best, jnp.eye(SPEC.n_actions)[actions]))


@functools.partial(jax.jit, static_argnames="name")
def value(networks: Networks, name: str, episodes: Episodes, actions: np.ndarray) -> jax.Array:
    """What targets are made of."""
    q, hidden = said(networks.agent, episodes)
    if name == "qtran":
        return networks.mixers.main.joint(episodes.state, hidden, jnp.eye(SPEC.n_actions)[actions])
    if networks.central is not None:
        return mixed(networks.mixers.central, said(networks.central, episodes)[0], episodes, actions)
    return mixed(networks.mixers.main, q, episodes, actions)


def plain_targets(online: Networks, target: Networks, name: str, episodes: Episodes, config: QLearningConfig):
    """y and values of the greedy actions, `[batch, time, columns]`, by the slow functions."""
    q = np.asarray(said(online.agent, episodes)[0])
    greedy = np.where(np.asarray(episodes.avail), q, -np.inf).argmax(axis=-1)
    found = {key: np.asarray(value(target, name, episodes, u)) for key, u in (("v", greedy), ("q", episodes.actions))}
    best, taken = (found[key].reshape(*greedy.shape[:2], -1) for key in "vq")
    y = np.zeros_like(best[:, :-1])
    for b, length in enumerate(np.asarray(episodes.length).tolist()):
        given = np.asarray(episodes.reward[b]), bool(episodes.terminated[b].any()), length
        for c in range(y.shape[-1]):
            if config.traces == "peng":
                y[b, :, c] = naive.td_lambda(*given, best[b, :, c], config.gamma, config.td_lambda)
            else:
                columns = best[b, :, c], taken[b, :, c]
                y[b, :, c] = naive.q_lambda(*given, *columns, config.gamma, config.td_lambda)
    return y, best[:, :-1], greedy


def plain_loss(online: Networks, episodes: Episodes, config: QLearningConfig, y, greedy) -> jax.Array:
    """The loss of each method over the whole padded batch, written out."""
    mixing, actions = config.mixing, np.asarray(episodes.actions)
    q, hidden = said(online.agent, episodes)
    if isinstance(mixing, TransformedMixing):
        one_hot, stop = jnp.eye(SPEC.n_actions), jax.lax.stop_gradient
        joint, joint_best = (online.mixers.main.joint(episodes.state, hidden, one_hot[u]) for u in (actions, greedy))
        offset = online.mixers.main.value(episodes.state)
        regression = (joint[:, :-1] - y[..., 0]) ** 2
        optimum = (pick(q, greedy).sum(axis=-1) - stop(joint_best) + offset) ** 2
        bound = jnp.minimum(pick(q, actions).sum(axis=-1) - stop(joint) + offset, 0) ** 2
        losses = (regression + mixing.optimum_weight * optimum[:, :-1] + mixing.bound_weight * bound[:, :-1])[..., None]
        losses = 2 * config.loss_scale * losses
    else:
        total = mixed(online.mixers.main, q, episodes, actions).reshape(*actions.shape[:2], -1)[:, :-1]
        losses = config.loss_scale * (total - y) ** 2
    mask = np.asarray(episodes.valid)[..., None]
    return (losses * mask).sum() / mask.sum() / losses.shape[-1]


@pytest.mark.parametrize(
    ("name", "traces"), cases([*((name, "peng") for name in MIXINGS), ("qmix", "corrected")], *TWINS)
)
@pytest.mark.parametrize("size", cases(SIZES, "between blocks"))
def test_equals_the_plain_twin(size: str, name: str, traces: Any, float64: None) -> None:
    """Targets, loss and gradient of all networks, by packed rows and known hidden states, and written out."""
    config, (spec, lengths, seed) = config_of(name, traces=traces), SIZES[size]
    spec = dataclasses.replace(spec, ally_features=2)
    online, target = networks_of(config, 0, spec), networks_of(config, 1, spec)
    episodes = random_episodes(seed, 0.0, lengths, spec)
    found = compiled(config)(online, target, episodes)
    y, best, greedy = plain_targets(online, target, name, episodes, config)
    mask = np.asarray(episodes.valid)
    assert_close(found.goal.y, y, mask, 1e-10)
    assert_close(found.goal.best, best, mask, 1e-10)
    if traces == "corrected":  # The loss does not know where y comes from.
        return
    static = plain_function(online, name, episodes, config, y, best, greedy)
    loss, gradient = jax.jit(jax.value_and_grad(static))(online)
    assert_close(found.loss, np.asarray(loss), tolerance=1e-10)
    assert_trees_close(found.gradient, gradient, 1e-10)


def plain_function(online: Networks, name: str, episodes: Episodes, config: QLearningConfig, y, best, greedy):
    """`plain_loss` as a function of the networks, with the weights of weighted QMIX fixed beforehand."""
    if not isinstance(config.mixing, WeightedMixing):
        return lambda n: plain_loss(n, episodes, config, y, greedy)
    actions = np.asarray(episodes.actions)
    total = np.asarray(mixed(online.mixers.main, said(online.agent, episodes)[0], episodes, actions))[:, :-1, None]
    is_best = (actions == greedy).all(axis=-1)[:, :-1, None]
    full = total < y if config.mixing.weighting == "optimistic" else is_best | (y > best)
    weight = np.where(full, 1, config.mixing.alpha)
    assert 0 < full[np.asarray(episodes.valid)].mean() < 1

    def loss(networks: Networks) -> jax.Array:
        here = mixed(networks.mixers.main, said(networks.agent, episodes)[0], episodes, actions)[:, :-1, None]
        central = value(networks, name, episodes, actions)[:, :-1, None]
        losses = config.loss_scale * (central - y) ** 2 + weight * (here - y) ** 2
        mask = np.asarray(episodes.valid)[..., None]
        return (losses * mask).sum() / mask.sum()

    return loss


@pytest.mark.parametrize("name", cases(["iql", "qplex", "qtran", "cw-qmix"], "qplex"))
def test_padding_does_not_matter(name: str, float64: None) -> None:
    """Neither what it holds nor how long it is."""
    config = config_of(name)
    networks = networks_of(config), networks_of(config, 1)
    clean = compiled(config)(*networks, random_episodes())
    for other in (random_episodes(garbage=50.0), widened(random_episodes(), 3)):
        found = compiled(config)(*networks, other)
        assert_trees_close((found.gradient, found.loss), (clean.gradient, clean.loss), 1e-12)


def test_one_agent_alone_is_vdn(float64: None) -> None:
    """With a single agent, IQL's loss and gradient are VDN's."""
    episodes = random_episodes()
    one = dataclasses.replace(
        episodes, obs=episodes.obs[:, :, :1], avail=episodes.avail[:, :, :1], actions=episodes.actions[:, :, :1]
    )
    spec = dataclasses.replace(ENV, n_agents=1)
    found = []
    for name in ("iql", "vdn"):
        config = config_of(name)
        nets = [untrained(config, seed, spec) for seed in (0, 1)]
        result = compiled(config)(*nets, one)
        found.append((result.loss, result.gradient.agent))
    assert_trees_close(found[0], found[1], 1e-12)


@pytest.mark.every
def test_alpha_one_gives_every_joint_action_full_weight(float64: None) -> None:
    """Then the gradient of agents and mixer is QMIX's own at the same targets, whichever weighting is named."""
    found, episodes = [], random_episodes()
    for weighting in ("central", "optimistic"):
        config = dataclasses.replace(CONFIG, mixing=WeightedMixing(weighting, 1.0, 5, 6, 7))
        found.append(compiled(config)(networks_of(config), networks_of(config, 1), random_episodes()))
    assert_trees_close(found[0].gradient, found[1].gradient, 1e-12)
    residual = np.asarray(found[0].taken - found[0].goal.y)[np.asarray(episodes.valid)]
    assert float(found[0].loss) > (residual**2).mean()

    def squared_error(agent, mixer) -> jax.Array:
        total = mixed(mixer, said(agent, episodes)[0], episodes, np.asarray(episodes.actions))[:, :-1]
        return jnp.where(episodes.valid, (total - found[0].goal.y[..., 0]) ** 2, 0).sum() / episodes.valid.sum()

    online = networks_of(dataclasses.replace(CONFIG, mixing=WeightedMixing("central", 1.0, 5, 6, 7)))
    expected = jax.jit(jax.grad(squared_error, argnums=(0, 1)))(online.agent, online.mixers.main)
    assert_trees_close((found[0].gradient.agent, found[0].gradient.mixers.main), expected, 1e-10)


@pytest.mark.every
def test_a_mixer_of_options_of_its_own_needs_no_line_of_the_learner(float64: None) -> None:
    """A class of options is all: with QMIX's networks and twice its loss, twice its gradient."""

    @dataclasses.dataclass(frozen=True)
    class Twice(MonotoneMixing):  # Of a class of the union, which the configuration is checked against.
        def method(self, scale: float) -> Method:
            return regressed(2 * scale)

    episodes, found = random_episodes(), {}
    mixings: tuple[Any, ...] = (MonotoneMixing(5, 6), Twice(5, 6))
    for mixing in mixings:
        config = dataclasses.replace(CONFIG, mixing=mixing)
        found[type(mixing)] = compiled(config)(networks_of(config), networks_of(config, 1), episodes)
    one, twice = found[MonotoneMixing], found[Twice]
    np.testing.assert_allclose(twice.loss, 2 * one.loss, rtol=1e-12)
    assert_trees_close(twice.gradient, jax.tree.map(lambda x: 2 * x, one.gradient), 1e-12)
