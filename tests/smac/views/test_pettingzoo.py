"""The PettingZoo view passes PettingZoo's own tests and keeps SMAC's meaning."""

import builtins
import importlib
import sys

import numpy as np
import pytest
from pettingzoo.test import parallel_api_test, parallel_seed_test
from views_lab import LIMIT, shorten

from seca.smac.views import pettingzoo as view
from seca.smac.views.battle import SingleBattle


@pytest.mark.slow
def test_pettingzoos_own_tests(capsys):
    parallel_api_test(view.SmacParallelEnv("3m"), num_cycles=200)
    assert "Passed" in capsys.readouterr().out
    parallel_seed_test(lambda: view.SmacParallelEnv("3m"), num_cycles=100)


def _masked(env: view.SmacParallelEnv, obs: dict) -> dict:
    return {agent: env.action_space(agent).sample(obs[agent]["action_mask"]) for agent in env.agents}


def test_the_dead_stay_until_all_leave():
    env = view.SmacParallelEnv("3m")
    for i, agent in enumerate(env.possible_agents):
        env.action_space(agent).seed(i)
    obs, _ = env.reset(seed=2)
    seen_dead = False
    terminated = truncated = dict.fromkeys(env.agents, False)
    infos: dict = {}
    while env.agents:
        assert env.agents == env.possible_agents
        for agent in env.agents:
            assert env.observation_space(agent).contains(obs[agent])
            assert env.state_space.contains(env.state())
            if obs[agent]["action_mask"][0]:
                seen_dead = True
                assert obs[agent]["action_mask"].sum() == 1 and not obs[agent]["observation"].any()
        obs, reward, terminated, truncated, infos = env.step(_masked(env, obs))
        assert len(set(reward.values())) == len(set(terminated.values())) == len(set(truncated.values())) == 1
    assert seen_dead and terminated["agent_0"] and not truncated["agent_0"]
    assert infos["agent_0"].keys() == {"battle_won", "dead_allies", "dead_enemies"}
    assert infos["agent_0"]["battle_won"] == (infos["agent_0"]["dead_enemies"] == 3)
    assert env.step({}) == ({}, {}, {}, {}, {})


def test_time_limit(monkeypatch):
    shorten(monkeypatch)
    env = view.SmacParallelEnv("3m")
    env.reset(seed=0)
    for _ in range(LIMIT - 1):
        env.step(dict.fromkeys(env.agents, 1))
    assert env.agents == env.possible_agents
    _, _, terminated, truncated, _ = env.step(dict.fromkeys(env.agents, 1))
    assert all(truncated.values()) and not any(terminated.values()) and env.agents == []


def test_same_numbers_as_the_battle():
    env, single = view.SmacParallelEnv("3m"), SingleBattle("3m", {})
    obs, _ = env.reset(seed=5)
    frame = single.reset(seed=5)
    for _ in range(10):
        np.testing.assert_array_equal([obs[agent]["observation"] for agent in env.agents], frame.obs)
        np.testing.assert_array_equal([obs[agent]["action_mask"] for agent in env.agents], frame.avail)
        np.testing.assert_array_equal(env.state(), frame.state)
        actions = _masked(env, obs)
        obs, reward, *_ = env.step(actions)
        frame = single.step(np.array([actions[agent] for agent in env.possible_agents]))
        assert reward["agent_0"] == frame.reward


def test_bad_input():
    env = view.SmacParallelEnv("3m")
    with pytest.raises(ValueError, match="`state` needs a battle"):
        env.state()
    with pytest.raises(ValueError, match="`step` needs a battle"):
        env.step({})
    env.reset(seed=0)
    with pytest.raises(ValueError, match="agent_1, agent_2 missing"):
        env.step({"agent_0": 1})


@pytest.mark.parametrize("extra", ["pettingzoo", "gymnasium"])
def test_a_missing_extra_is_named(extra, monkeypatch):
    module = f"seca.smac.views.{extra}"
    importlib.import_module(module)
    monkeypatch.delitem(sys.modules, module)
    real = builtins.__import__

    def without(name, *arguments, **named):
        if name.split(".")[0] == extra:
            raise ImportError(name)
        return real(name, *arguments, **named)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(ImportError, match=rf"pip install 'seca\[{extra}\]'"):
        importlib.import_module(module)
