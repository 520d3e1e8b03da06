"""The Gymnasium view passes Gymnasium's own checker and shows what SMAC shows."""

import subprocess
import sys

import gymnasium
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env
from views_lab import LIMIT, legal, shorten

from seca.smac.views.battle import SingleBattle
from seca.smac.views.gymnasium import SmacEnv


@pytest.mark.slow
def test_gymnasiums_own_checker():
    check_env(gymnasium.make("seca/Smac-v1", map_name="3m").unwrapped)


def test_same_numbers_as_the_battle():
    env, single = SmacEnv("3m"), SingleBattle("3m", {})
    rng = np.random.default_rng(0)
    obs, info = env.reset(seed=5)
    frame = single.reset(seed=5)
    for _ in range(10):
        np.testing.assert_array_equal(obs, frame.obs)
        np.testing.assert_array_equal(info["avail_actions"], frame.avail)
        np.testing.assert_array_equal(info["state"], frame.state)
        assert env.observation_space.contains(obs)
        actions = legal(frame.avail, rng)
        obs, reward, _, _, info = env.step(actions)
        frame = single.step(actions)
        assert reward == frame.reward


def test_a_battle_to_its_end():
    env = SmacEnv("3m")
    env.action_space.seed(0)
    _, info = env.reset(seed=0)
    terminated = truncated = False
    while not (terminated or truncated):
        assert not info["battle_won"]
        _, _, terminated, truncated, info = env.step(env.action_space.sample(mask=tuple(info["avail_actions"])))
    assert terminated and not truncated
    assert info["battle_won"] or info["dead_allies"] == 3


def test_time_limit(monkeypatch):
    shorten(monkeypatch)
    env = SmacEnv("3m")
    env.reset(seed=0)
    for _ in range(LIMIT - 1):
        env.step(np.ones(3, int))
    _, _, terminated, truncated, _ = env.step(np.ones(3, int))
    assert truncated and not terminated


def test_many_at_once():
    envs = gymnasium.make_vec("seca/Smac-v1", num_envs=2, vectorization_mode="sync", map_name="3m")
    obs, _ = envs.reset(seed=0)
    assert obs.shape == (2, 3, 30)
    obs, reward, *_ = envs.step(np.ones((2, 3), int))
    assert obs.shape == (2, 3, 30) and reward.shape == (2,)


@pytest.mark.slow
def test_by_name_in_a_process_that_never_imported_seca():
    """As in a spawned worker. Importing Gymnasium loads neither seca nor JAX; importing the view twice is fine."""
    code = (
        "import importlib, sys, gymnasium\n"
        "assert not {'seca', 'jax'} & sys.modules.keys()\n"
        "env = gymnasium.make('seca.smac.views.gymnasium:seca/Smac-v1', map_name='3m')\n"
        "print(env.observation_space.shape, env.spec.id)\n"
        "importlib.reload(sys.modules['seca.smac.views.gymnasium'])"
    )
    ended = subprocess.run([sys.executable, "-W", "error", "-c", code], check=True, capture_output=True, text=True)
    assert ended.stdout == "(3, 30) seca/Smac-v1\n"


def test_it_refuses_to_render():
    with pytest.raises(ValueError, match="`render_mode` must be None, got 'human'"):
        SmacEnv("3m", render_mode="human")
