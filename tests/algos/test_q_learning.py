"""The value-based learner: the same on any number of devices, targets on schedule, options refused in words."""

import dataclasses
import functools
from typing import Any

import equinox as eqx
import jax
import numpy as np
import pytest
from batches import SPEC, in_float32, random_episodes
from jax.sharding import Mesh, PartitionSpec
from learners import stepping
from reference import assert_trees_close

from seca.algos.mixing import AttentionMixing, MonotoneMixing, NamedMixing, SumMixing, WeightedMixing
from seca.algos.q_learning import Learner, QLearningConfig, optimiser, q_learning
from seca.learning import buffer as buffers
from seca.learning.buffer import Replay
from seca.learning.q_step import Returns, regress

pytestmark = pytest.mark.slow

ENV = dataclasses.replace(SPEC, ally_features=2)
MIXINGS: dict[str, NamedMixing] = {
    "vdn": SumMixing(),
    "qmix": MonotoneMixing(5, 6),
    "ow-qmix": WeightedMixing("optimistic", 0.3, 5, 6, 7),
    "qatten": AttentionMixing(2, 5, 6, 7),
}
CONFIG = QLearningConfig(agent_hidden=8, batch_episodes=8, buffer_episodes=24)


def config_of(name: str, **changes: Any) -> QLearningConfig:
    return dataclasses.replace(CONFIG, mixing=MIXINGS[name], **changes)


def started(config: QLearningConfig, key: int = 1) -> tuple[Learner, Replay]:
    """Untrained, and an empty buffer."""
    algorithm = q_learning("test", ENV, config)
    assert algorithm.buffer is not None
    return algorithm.init(jax.random.key(key)), algorithm.buffer.init()


@functools.lru_cache
def updating(config: QLearningConfig):
    return jax.jit(stepping(q_learning("test", ENV, config)))


@pytest.mark.every
@pytest.mark.parametrize("n_devices", [2, 4])
def test_any_number_of_devices_gives_the_same_update(n_devices: int) -> None:
    """The same episodes are stored and drawn; losses and norms are global."""
    config = config_of("ow-qmix", clip_norm=0.1)
    learner, replay = started(config)
    episodes = in_float32(random_episodes())
    split, everywhere = PartitionSpec("runners"), PartitionSpec()
    shared = jax.jit(
        jax.shard_map(
            stepping(q_learning("test", ENV, config), "runners"),
            mesh=Mesh(jax.devices()[:n_devices], ("runners",)),
            in_specs=(everywhere, everywhere, split, everywhere),
            out_specs=everywhere,
            check_vma=False,
        )
    )
    found = shared(learner, replay, episodes, jax.random.key(0))
    alone = updating(config)(learner, replay, episodes, jax.random.key(0))
    assert_trees_close(found, alone, 1e-5)
    assert_trees_close(found[1], alone[1], 0)


def test_targets_are_copied_every_so_many_episodes() -> None:
    """Batches of 8, copies every 20: after the 3rd and the 6th step, and nothing moves in between."""
    config = config_of("qmix", target_interval=20)
    learner, replay = started(config)
    for number in range(1, 8):
        stepped, replay, metrics = updating(config)(learner, replay, random_episodes(number), jax.random.key(number))
        due = number in (3, 6)
        expected = stepped.networks.params if due else learner.networks.target
        assert_trees_close(stepped.networks.target, expected, 0)
        assert int(metrics["gradient_steps"]) == number and int(stepped.episodes.at) == 24 * (number // 3)
        learner = stepped


def test_no_step_before_the_buffer_holds_a_batch() -> None:
    config = config_of("vdn", batch_episodes=16)
    learner, replay = started(config)
    waiting, replay, metrics = updating(config)(learner, replay, random_episodes(), jax.random.key(0))
    assert_trees_close(waiting.networks.params, learner.networks.params, 0)
    assert int(metrics["gradient_steps"]) == 0 and int(buffers.filled(replay)) == 8
    stepped, _, metrics = updating(config)(waiting, replay, random_episodes(1), jax.random.key(0))
    assert int(metrics["gradient_steps"]) == 1 and float(metrics["loss"]) > 0
    after, before = (networks.params.agent.head.bias for networks in (stepped.networks, learner.networks))
    assert (np.asarray(after) != np.asarray(before)).any()


def test_several_gradient_steps_in_one_iteration() -> None:
    """`updates` steps, each on episodes drawn anew, against the same by hand; the targets stay until the end."""
    config = config_of("vdn", updates=3, target_interval=1000)
    (learner, replay), episodes = started(config), random_episodes()
    stepped, replay, metrics = updating(config)(learner, replay, episodes, jax.random.key(0))
    before, drawn, losses = learner.networks, [], []
    online, opt = before.params, before.opt
    method = config.mixing.method(config.loss_scale)
    returns = Returns(config.gamma, config.td_lambda, False, config.double_q, config.time_limit)
    gradient_of = jax.jit(lambda params, batch: regress(params, before.target, batch, method, returns, None))
    step = jax.jit(optimiser(config).update)
    for key in jax.random.split(jax.random.key(0), 3):
        batch = buffers.sample(replay, 8, key, None)
        found = gradient_of(online, batch)
        moves, opt = step(found.gradient, opt)
        online = eqx.apply_updates(online, moves)
        drawn.append(np.asarray(batch.reward))
        losses.append(found.loss)
    assert_trees_close(stepped.networks.params, online, 1e-5)
    assert_trees_close(stepped.networks.target, before.target, 0)
    assert int(metrics["gradient_steps"]) == 3 and (drawn[0] != drawn[1]).any()
    np.testing.assert_allclose(metrics["loss"], losses[-1], rtol=1e-4)


def test_buffer_and_memory_follow_the_map() -> None:
    """5,000 episodes where they fit; on MMM2's sizes as many as 2 GiB hold; a batch must fit."""
    small = dataclasses.replace(SPEC, n_agents=5, n_actions=11, obs_size=80, state_size=120, episode_limit=120)
    large = dataclasses.replace(SPEC, n_agents=10, n_actions=18, obs_size=176, state_size=322, episode_limit=180)
    config = QLearningConfig()
    assert config.capacity(small) == 5000
    assert 1000 < config.capacity(large) < 2000
    algorithm = q_learning("qmix", small, config)
    assert 1.2 < algorithm.buffer_bytes / 2**30 < 1.3
    assert 1.25 < (algorithm.memory(32) + algorithm.buffer_bytes) / 2**30 < 1.6
    with pytest.raises(ValueError, match=r"`batch_episodes` is 32 but the buffer holds 6: .*`buffer_gib` 0.01"):
        q_learning("qmix", large, dataclasses.replace(config, buffer_gib=0.01))


def test_attention_needs_states_in_smacs_order() -> None:
    with pytest.raises(ValueError, match="`env` is test: Qatten reads"):
        q_learning("qatten", SPEC, config_of("qatten"))


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
        q_learning("qmix", SPEC, dataclasses.replace(CONFIG, **change))
