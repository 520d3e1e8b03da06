"""The JaxMARL view: every `vmap` around it is one flat batch of the simulator, and JaxMARL's wrappers run on it."""

import functools
import importlib.util
import pathlib
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.envs import smac
from seca.envs.base import where_done
from seca.host import throughput
from seca.smac import tick
from seca.smac.views.jaxmarl import SmacJaxEnv, flat_batch

ENV = SmacJaxEnv("3m")


def _stay(*shape: int) -> dict[str, jax.Array]:
    return {agent: jnp.ones(shape, jnp.int32) for agent in ENV.agents}


def _stack(by_agent: dict[str, jax.Array]) -> np.ndarray:
    return np.stack([by_agent[agent] for agent in ENV.agents], axis=-2)


@pytest.mark.slow
def test_forms():
    key = jax.random.PRNGKey(0)
    obs, state = ENV.reset(key)
    assert obs.keys() == {"agent_0", "agent_1", "agent_2", "world_state"}
    assert obs["agent_0"].shape == (ENV.obs_size,) and obs["world_state"].shape == (ENV.state_size,)
    assert ENV.get_avail_actions(state)["agent_2"].shape == (9,)
    np.testing.assert_array_equal(ENV.get_world_state(state), obs["world_state"])
    obs, state, reward, done, info = ENV.step(key, state, _stay())
    assert reward.keys() == set(ENV.agents) and done.keys() == {*ENV.agents, "__all__"}
    assert all(value.shape == (3,) for value in info.values())
    assert info.keys() == {"won", "truncated", "dead_allies", "dead_enemies"}
    assert ENV.agent_classes == {"marine": ENV.agents}
    assert "smax" in ENV.name


@pytest.mark.slow
def test_lanes_equal_the_environment_to_the_bit_with_resets():
    """Batched by vmap, with resets, against `seca.envs.smac` on the same keys and actions."""
    batch, steps = 6, 80
    env = smac.make("3m")
    keys = jax.random.split(jax.random.key(0), batch)
    step, reset = jax.jit(jax.vmap(ENV.step)), jax.jit(jax.vmap(ENV.reset))
    reference = jax.jit(env.step), jax.jit(env.reset)
    _, ours = reset(keys)
    theirs, shown = reference[1](keys)
    ended = 0
    for t in range(steps):
        np.testing.assert_array_equal(_stack(ENV.get_avail_actions(ours)), shown.avail)
        noise = jax.random.bits(jax.random.key(t), (batch, 3), jnp.uint32)
        actions = throughput.random_actions(shown.avail, noise)
        next_keys = jax.vmap(jax.random.fold_in, (0, None))(keys, t)
        obs, ours, reward, done, info = step(next_keys, ours, dict(zip(ENV.agents, actions.T, strict=True)))
        theirs, played = reference[0](theirs, actions)
        np.testing.assert_array_equal(reward["agent_1"], played.reward)
        np.testing.assert_array_equal(done["__all__"], played.done)
        np.testing.assert_array_equal(info["won"][:, 0], played.info["won"])
        theirs, shown = where_done(env, played.done, reference[1](next_keys), (theirs, played))
        np.testing.assert_array_equal(_stack(obs), shown.obs)
        np.testing.assert_array_equal(obs["world_state"], shown.state)
        ended += int(played.done.sum())
    assert ended >= batch


@pytest.mark.every
def test_all_batches_are_one(monkeypatch):
    """A battle alone, in a `vmap` and in two nested ones is the same; the simulator gets the flat batch."""
    keys = jax.random.split(jax.random.key(1), 6).reshape(2, 3)
    _, nested = jax.vmap(jax.vmap(ENV.reset))(keys)
    _, flat = jax.vmap(ENV.reset)(keys.reshape(6))
    _, alone = ENV.reset(keys[1, 2])
    for _ in range(8):
        _, nested, *_ = jax.vmap(jax.vmap(ENV.step))(keys, nested, _stay(2, 3))
        _, flat, *_ = jax.vmap(ENV.step)(keys.reshape(6), flat, _stay(6))
        _, alone, *_ = ENV.step(keys[1, 2], alone, _stay())
    jax.tree.map(lambda n, f: np.testing.assert_array_equal(n.reshape(f.shape), f), nested, flat)
    jax.tree.map(lambda n, a: np.testing.assert_array_equal(n[1, 2], a), nested, alone)

    seen: list[tuple[int, ...]] = []
    played = tick.step

    def spy(field, options, battle, requested, opponent):
        seen.append(requested.shape)
        return played(field, options, battle, requested, opponent)

    monkeypatch.setattr(tick, "step", spy)
    fresh = SmacJaxEnv("3m")
    jax.eval_shape(jax.vmap(jax.vmap(fresh.step)), keys, nested, _stay(2, 3))
    assert max(seen) == (3, 6)


def test_flat_batch_takes_what_is_not_batched():
    scaled = flat_batch(lambda x, y: x * y)
    x = jnp.arange(6.0).reshape(6, 1)
    np.testing.assert_array_equal(jax.vmap(scaled, (0, None))(x, jnp.full(1, 2.0)), 2 * x)
    nested = jax.vmap(jax.vmap(scaled, (0, None)), (None, 0))(x, jnp.arange(3.0).reshape(3, 1))
    np.testing.assert_array_equal(nested, jnp.arange(3.0)[:, None, None] * x)


@pytest.mark.slow
def test_step_env_never_resets_and_reset_state_is_taken():
    key = jax.random.key(2)
    _, state = ENV.reset(key)
    before, done, steps = state, {"__all__": False}, 0
    while not bool(done["__all__"]):
        before = state
        _, state, _, done, info = ENV.step_env(key, state, _stay())
        assert not bool(info["won"].any())
        steps += 1
    assert steps > 1
    assert all(bool(done[agent]) for agent in ENV.agents)
    _, still, reward, done, _ = ENV.step_env(key, state, _stay())
    assert float(reward["agent_0"]) == 0 and bool(done["__all__"])
    jax.tree.map(np.testing.assert_array_equal, still.battle, state.battle)
    _, other = ENV.reset(jax.random.key(3))
    obs, taken, _, done, _ = ENV.step(key, before, _stay(), other)
    assert bool(done["__all__"])
    jax.tree.map(np.testing.assert_array_equal, taken, other)
    np.testing.assert_array_equal(obs["world_state"], other.shown.state)


@pytest.mark.slow
def test_raw_and_typed_keys_agree():
    raw, typed = ENV.reset(jax.random.PRNGKey(5)), ENV.reset(jax.random.key(5))
    jax.tree.map(np.testing.assert_array_equal, raw, typed)
    with jax.default_prng_impl("rbg"):  # A key of two words is still the usual generator's, one of four is not.
        jax.tree.map(
            np.testing.assert_array_equal, ENV.reset(jax.random.key_data(jax.random.key(5, impl="threefry2x32"))), typed
        )
        raw, typed = ENV.reset(jax.random.PRNGKey(5)), ENV.reset(jax.random.key(5))
    jax.tree.map(np.testing.assert_array_equal, raw, typed)


@pytest.mark.slow
def test_an_agent_is_done_when_dead():
    key = jax.random.key(2)
    _, state = ENV.reset(key)
    seen = False
    for _ in range(60):
        _, state, _, done, info = ENV.step_env(key, state, _stay())
        if not bool(done["__all__"]):
            dead = sum(bool(done[agent]) for agent in ENV.agents)
            assert dead == int(info["dead_allies"][0])
            seen |= dead > 0
    assert seen


def test_without_jaxmarl_only_the_spaces_are_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "jaxmarl", None)
    env = SmacJaxEnv("3m")
    for space in (env.observation_space, env.action_space):
        with pytest.raises(ImportError, match=r"pip install 'seca\[jaxmarl\]'"):
            space("agent_0")


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("jaxmarl") is not None, reason="needs JaxMARL to be missing")
def test_the_comparison_with_smax_names_the_extra():
    script = pathlib.Path(__file__).parents[3] / "benchmarks" / "smax.py"
    ended = subprocess.run([sys.executable, script], capture_output=True, text=True, cwd=script.parents[1])
    assert ended.returncode == 2
    assert ended.stderr == "benchmarks/smax.py: SMAX needs jaxmarl: pip install 'seca[jaxmarl]'\n"


def test_jaxmarls_own_wrappers():
    """Runs where JaxMARL is installed, which the lock leaves out."""
    baselines = pytest.importorskip("jaxmarl.wrappers.baselines")
    manager = baselines.CTRolloutManager(baselines.LogWrapper(ENV), batch_size=4)
    obs, state = manager.batch_reset(jax.random.PRNGKey(0))
    assert obs["agent_0"].shape == (4, ENV.obs_size + 3) and obs["__all__"].shape == (4, ENV.state_size)
    masks = manager.get_valid_actions(state.env_state)
    assert masks["agent_0"].shape == (4, 9)
    assert not bool(masks["agent_0"][:, 0].any())
    step = jax.jit(functools.partial(manager.batch_step))
    for t in range(40):
        obs, state, reward, _, info = step(jax.random.PRNGKey(t), state, _stay(4))
    assert reward["__all__"].shape == (4,)
    assert float(info["returned_episode_lengths"].min()) > 0
    space = ENV.observation_space("agent_0")
    assert space.shape == (ENV.obs_size,) and ENV.action_space("agent_0").n == 9
