"""The value-based learner: equal to its plain twin, blind to padding, the same on any number of devices."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from batches import LENGTHS, SPEC, in_float64, random_episodes
from jax.sharding import Mesh, PartitionSpec
from reference import assert_close, assert_trees_close, float64_fixture
from seca.algos.value_based import (
    Learner,
    act,
    epsilon,
    init,
    make_networks,
    make_optimiser,
    memory,
    update,
    value_based,
)
from seca.algos.value_config import (
    AttentionMixing,
    DuplexMixing,
    Mixing,
    MonotoneMixing,
    NoMixing,
    SumMixing,
    TransformedMixing,
    ValueBasedConfig,
    WeightedMixing,
)
from seca.algos.value_step import Networks, regress

from seca.algos import replay as replays
from seca.nets.agents import agent_inputs
from seca.nets.mixers import Choice
from seca.types import Episodes, TimeStep

pytestmark = [pytest.mark.usefixtures("quick_programs"), pytest.mark.slow]

_ = float64_fixture
ENV = dataclasses.replace(SPEC, ally_features=2)
MIXINGS: dict[str, Mixing] = {
    "iql": NoMixing(),
    "vdn": SumMixing(),
    "qmix": MonotoneMixing(5, 6),
    "cw-qmix": WeightedMixing("central", 0.3, 5, 6, 7),
    "ow-qmix": WeightedMixing("optimistic", 0.3, 5, 6, 7),
    "qtran": TransformedMixing(5, 0.7, 0.2),
    "qplex": DuplexMixing(6, 3, 2),
    "qatten": AttentionMixing(2, 5, 6, 7),
}
CONFIG = ValueBasedConfig(agent_hidden=8, batch_episodes=8, buffer_episodes=24)


def config_of(name: str, **changes: Any) -> ValueBasedConfig:
    return dataclasses.replace(CONFIG, mixing=MIXINGS[name], **changes)


def networks_of(config: ValueBasedConfig, seed: int = 0) -> Networks:
    """Networks whose outputs are large enough for greedy actions to differ."""
    made = in_float64(make_networks(jax.random.key(seed), ENV, config))
    return jax.tree.map(lambda x: 2 * x, made)


@functools.lru_cache
def compiled(config: ValueBasedConfig):
    return jax.jit(lambda online, target, batch: regress(online, target, batch, config, None))


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


def plain_targets(online: Networks, target: Networks, name: str, episodes: Episodes, config: ValueBasedConfig):
    """y and values of the greedy actions, `[batch, time, columns]`, by the slow functions."""
    q = np.asarray(said(online.agent, episodes)[0])
    greedy = np.where(np.asarray(episodes.avail), q, -np.inf).argmax(axis=-1)
    found = {key: np.asarray(value(target, name, episodes, u)) for key, u in (("v", greedy), ("q", episodes.actions))}
    best, taken = (found[key].reshape(*greedy.shape[:2], -1) for key in "vq")
    y = np.zeros_like(best[:, :-1])
    for b, length in enumerate(LENGTHS):
        given = np.asarray(episodes.reward[b]), bool(episodes.terminated[b].any()), length
        for c in range(y.shape[-1]):
            if config.traces == "peng":
                y[b, :, c] = naive.td_lambda(*given, best[b, :, c], config.gamma, config.td_lambda)
            else:
                columns = best[b, :, c], taken[b, :, c]
                y[b, :, c] = naive.q_lambda(*given, *columns, config.gamma, config.td_lambda)
    return y, best[:, :-1], greedy


def plain_loss(online: Networks, episodes: Episodes, config: ValueBasedConfig, y, greedy) -> jax.Array:
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


@pytest.mark.parametrize(("name", "traces"), [(name, "peng") for name in MIXINGS] + [("qmix", "corrected")])
def test_equals_the_plain_twin(name: str, traces: Any, float64: None) -> None:
    """Targets, loss and gradient of all networks, by packed rows and known hidden states, and written out."""
    config = config_of(name, traces=traces)
    online, target, episodes = networks_of(config), networks_of(config, 1), random_episodes()
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


def plain_function(online: Networks, name: str, episodes: Episodes, config: ValueBasedConfig, y, best, greedy):
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


def widened(episodes: Episodes, extra: int) -> Episodes:
    """The same episodes with more rows of padding."""

    def pad(array: jax.Array) -> jax.Array:
        return jnp.pad(array, ((0, 0), (0, extra)) + ((0, 0),) * (array.ndim - 2))

    return jax.tree.map(pad, episodes)


@pytest.mark.parametrize("name", ["iql", "qplex", "qtran", "cw-qmix"])
def test_padding_does_not_matter(name: str, float64: None) -> None:
    """Neither what it holds nor how long it is."""
    config = config_of(name)
    networks = networks_of(config), networks_of(config, 1)
    clean = compiled(config)(*networks, random_episodes())
    for other in (random_episodes(garbage=50.0), widened(random_episodes(), 3)):
        found = compiled(config)(*networks, other)
        assert_trees_close((found.gradient, found.loss), (clean.gradient, clean.loss), 1e-12)


def learner_of(config: ValueBasedConfig) -> Learner:
    return in_float64(init(jax.random.key(1), ENV, config))


@functools.lru_cache
def updating(config: ValueBasedConfig):
    return jax.jit(functools.partial(update, config=config, axis=None))


@pytest.mark.parametrize("n_devices", [2, 4])
def test_any_number_of_devices_gives_the_same_update(n_devices: int) -> None:
    """The same episodes are stored and drawn; losses and norms are global."""
    config = config_of("ow-qmix", clip_norm=0.1)
    learner = init(jax.random.key(1), ENV, config)
    episodes = jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype == jnp.float64 else x, random_episodes())
    split, everywhere = PartitionSpec("runners"), PartitionSpec()
    shared = jax.jit(
        jax.shard_map(
            functools.partial(update, config=config, axis="runners"),
            mesh=Mesh(jax.devices()[:n_devices], ("runners",)),
            in_specs=(everywhere, split, everywhere),
            out_specs=everywhere,
            check_vma=False,
        )
    )
    found = shared(learner, episodes, jax.random.key(0))
    alone = updating(config)(learner, episodes, jax.random.key(0))
    assert_trees_close(found, alone, 1e-5)
    assert_trees_close(found[0].replay, alone[0].replay, 0)


def test_targets_are_copied_every_so_many_episodes() -> None:
    """Batches of 8, copies every 20: after the 3rd and the 6th step, and nothing moves in between."""
    config = config_of("qmix", target_interval=20)
    learner = init(jax.random.key(1), ENV, config)
    for number in range(1, 8):
        stepped, metrics = updating(config)(learner, random_episodes(number), jax.random.key(number))
        due = number in (3, 6)
        expected = stepped.online if due else learner.target
        assert_trees_close(stepped.target, expected, 0)
        assert int(metrics["gradient_steps"]) == number and int(stepped.copied_at) == 24 * (number // 3)
        learner = stepped


def test_no_step_before_the_buffer_holds_a_batch() -> None:
    config = config_of("vdn", batch_episodes=16)
    learner = init(jax.random.key(1), ENV, config)
    waiting, metrics = updating(config)(learner, random_episodes(), jax.random.key(0))
    assert_trees_close(waiting.online, learner.online, 0)
    assert int(metrics["gradient_steps"]) == 0 and int(metrics["buffer_episodes"]) == 8
    stepped, metrics = updating(config)(waiting, random_episodes(1), jax.random.key(0))
    assert int(metrics["gradient_steps"]) == 1 and float(metrics["loss"]) > 0
    assert (np.asarray(stepped.online.agent.head.bias) != np.asarray(learner.online.agent.head.bias)).any()


def test_several_gradient_steps_in_one_iteration() -> None:
    """`updates` steps, each on episodes drawn anew, against the same by hand; the targets stay until the end."""
    config = config_of("vdn", updates=3, target_interval=1000)
    learner, episodes = init(jax.random.key(1), ENV, config), random_episodes()
    stepped, metrics = updating(config)(learner, episodes, jax.random.key(0))
    online, opt, drawn, losses = learner.online, learner.opt, [], []
    buffer = replays.add(learner.replay, episodes, None)
    for key in jax.random.split(jax.random.key(0), 3):
        batch = replays.sample(buffer, 8, key, None)
        found = compiled(config)(online, learner.target, batch)
        moves, opt = make_optimiser(config).update(found.gradient, opt)
        online = eqx.apply_updates(online, moves)
        drawn.append(np.asarray(batch.reward))
        losses.append(found.loss)
    assert_trees_close(stepped.online, online, 1e-5)
    assert_trees_close(stepped.target, learner.target, 0)
    assert int(metrics["gradient_steps"]) == 3 and (drawn[0] != drawn[1]).any()
    np.testing.assert_allclose(metrics["loss"], losses[-1], rtol=1e-4)


def test_buffer_keeps_the_latest_and_draws_only_what_it_holds() -> None:
    """Room for 24: of 4 batches of 8, marked by their reward, the last three stay."""
    buffer = replays.init(ENV, 24)
    for number in range(4):
        marked = dataclasses.replace(random_episodes(), reward=jnp.full((8, SPEC.episode_limit), 10.0 + number))
        buffer = replays.add(buffer, marked, None)
        drawn = replays.sample(buffer, 24, jax.random.key(number), None)
        held = set(range(10, 11 + number)) if number < 3 else {11, 12, 13}
        assert set(np.asarray(drawn.reward[:, 0]).tolist()) == held
        assert int(replays.filled(buffer)) == min(24, 8 * (number + 1))
        latest = replays.latest(buffer, 12, None)
        assert np.asarray(latest.reward[:8, 0]).tolist() == [10.0 + number] * 8
        assert np.asarray(latest.valid[8:].any(axis=1)).tolist() == [number > 0] * 4
        assert number == 0 or np.asarray(latest.reward[8:, 0]).tolist() == [9.0 + number] * 4
    assert (np.asarray(drawn.length)[:, None] == np.asarray(drawn.valid).sum(axis=1)[:, None]).all()
    assert drawn.actions.dtype == jnp.int32 and drawn.record is None


def test_buffer_is_written_in_place() -> None:
    """Donated, the program's memory is the buffer's once, not twice."""
    buffer = replays.init(ENV, 4096)
    size = sum(leaf.nbytes for leaf in jax.tree.leaves(buffer))
    episodes = jax.tree.map(lambda x: x.astype(jnp.float32) if x.dtype == jnp.float64 else x, random_episodes())
    program = jax.jit(lambda b, e: replays.add(b, e, None), donate_argnums=0).lower(buffer, episodes).compile()
    analysis = program.memory_analysis()
    assert analysis is not None
    assert analysis.alias_size_in_bytes >= size and analysis.temp_size_in_bytes < size / 50


def test_buffer_and_memory_follow_the_map() -> None:
    """5,000 episodes where they fit; on MMM2's sizes as many as 2 GiB hold; a batch must fit."""
    small = dataclasses.replace(SPEC, n_agents=5, n_actions=11, obs_size=80, state_size=120, episode_limit=120)
    large = dataclasses.replace(SPEC, n_agents=10, n_actions=18, obs_size=176, state_size=322, episode_limit=180)
    config = ValueBasedConfig()
    assert replays.capacity(small, 5000, 2.0) == 5000
    assert 1000 < replays.capacity(large, 5000, 2.0) < 2000
    assert 1.2 < value_based("qmix", small, config).buffer / 2**30 < 1.3
    assert 1.25 < memory(32, small, config) / 2**30 < 1.6
    with pytest.raises(ValueError, match=r"`batch_episodes` is 32 but the buffer holds 6: .*`buffer_gib` 0.01"):
        value_based("qmix", large, dataclasses.replace(config, buffer_gib=0.01))


def test_attention_needs_states_in_smacs_order() -> None:
    with pytest.raises(ValueError, match="`env` is test: Qatten reads"):
        value_based("qatten", SPEC, config_of("qatten"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lr": 0.0}, "`lr` is 0.0"),
        ({"epsilon_start": 1.5}, "`epsilon_start` is 1.5"),
        ({"buffer_gib": 0.0}, "`buffer_gib` is 0.0"),
        ({"mixing": MonotoneMixing(embed=0)}, "`mixing.embed` is 0"),
        ({"mixing": WeightedMixing(alpha=2.0)}, "`mixing.alpha` is 2.0"),
    ],
)
def test_bad_options_are_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        value_based("qmix", SPEC, dataclasses.replace(CONFIG, **change))


def test_epsilon_falls_in_a_line() -> None:
    config = ValueBasedConfig(epsilon_start=1.0, epsilon_finish=0.2, epsilon_steps=100)
    found = [float(epsilon(jnp.uint32(steps), config)) for steps in (0, 25, 50, 100, 4_000_000_000)]
    np.testing.assert_allclose(found, [1.0, 0.8, 0.6, 0.2, 0.2], rtol=1e-6)


@pytest.mark.parametrize(("share", "greedy"), [(1.0, False), (0.3, False), (1.0, True)])
def test_exploration_is_uniform_over_available_actions(share: float, greedy: bool) -> None:
    """4,000 teams in one situation: agents act best or at random, never the unavailable, each for itself."""
    batch, config = 4000, dataclasses.replace(CONFIG, epsilon_start=share, epsilon_finish=share)
    algorithm = value_based("vdn", ENV, config_of("vdn"))
    agent = init(jax.random.key(0), ENV, config_of("vdn")).online.agent
    avail = np.array([[True, True, False, True], [False, True, False, False], [True, True, True, True]])
    step = TimeStep(
        obs=jnp.ones((batch, 3, SPEC.obs_size)),
        state=jnp.ones((batch, SPEC.state_size)),
        avail=jnp.broadcast_to(jnp.asarray(avail), (batch, 3, 4)),
        reward=jnp.zeros(batch),
        terminated=jnp.zeros(batch, bool),
        truncated=jnp.zeros(batch, bool),
        info={},
    )
    keys = jax.random.split(jax.random.key(1), batch)
    play = jax.jit(functools.partial(act, config=config), static_argnames="greedy")
    acted = play(agent, algorithm.initial_carry(batch), step, keys, jnp.uint32(0), greedy=greedy)
    _, q = agent(agent_inputs(step.obs[:1], jnp.zeros((1, 3, 4))), jnp.zeros((1, 3, CONFIG.agent_hidden)))
    best = np.where(avail, np.asarray(q)[0], -np.inf).argmax(axis=-1)
    often = np.stack([(np.asarray(acted.actions) == action).mean(axis=0) for action in range(4)], axis=1)
    share = 0.0 if greedy else share
    expected = share * avail / avail.sum(axis=1, keepdims=True) + (1 - share) * np.eye(4)[best]
    np.testing.assert_allclose(often, expected, atol=0.04)
    assert (often[~avail] == 0).all()


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
        nets = [in_float64(make_networks(jax.random.key(seed), spec, config)) for seed in (0, 1)]
        result = jax.jit(lambda a, b, e, c=config: regress(a, b, e, c, None))(*nets, one)
        found.append((result.loss, result.gradient.agent))
    assert_trees_close(found[0], found[1], 1e-12)


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


def test_target_network_may_choose_for_itself(float64: None) -> None:
    """Without double Q the targets are the target network's own maxima: where both agree, nothing changes."""
    single, double = (config_of("vdn", double_q=flag) for flag in (False, True))
    online, target = networks_of(single), networks_of(single, 1)
    same = [compiled(config)(target, target, random_episodes()).goal.y for config in (single, double)]
    assert_trees_close(same[0], same[1], 1e-12)
    goals = [np.asarray(compiled(config)(online, target, random_episodes()).goal.best) for config in (single, double)]
    mask = np.asarray(random_episodes().valid)
    assert (goals[0] >= goals[1] - 1e-12)[mask].all() and (goals[0] > goals[1])[mask].any()
