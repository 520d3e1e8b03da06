"""The view with SMAC's own method names does what PyMARL reads off SMAC."""

import numpy as np
import pytest
from views_lab import LIMIT, shorten

from seca.smac.views.pymarl import SmacMultiAgentEnv


def _episode(env: SmacMultiAgentEnv, rng: np.random.Generator) -> tuple[float, int, dict]:
    """PyMARL's episode runner in short."""
    env.reset()
    total, steps, terminated, info = 0.0, 0, False, {}
    while not terminated:
        actions = [int(rng.choice(np.flatnonzero(row))) for row in env.get_avail_actions()]
        reward, terminated, info = env.step(actions)
        total, steps = total + reward, steps + 1
    return total, steps, info


def test_sizes():
    env = SmacMultiAgentEnv("3m", seed=0)
    obs, state = env.reset()
    sizes = env.get_env_info()
    assert sizes == {"state_shape": 48, "obs_shape": 30, "n_actions": 9, "n_agents": 3, "episode_limit": 60}
    assert np.shape(obs) == np.shape(env.get_obs()) == (sizes["n_agents"], sizes["obs_shape"])
    assert state.shape == env.get_state().shape == (sizes["state_shape"],)
    assert np.shape(env.get_avail_actions()) == (sizes["n_agents"], sizes["n_actions"])
    assert (sizes["obs_shape"], sizes["state_shape"]) == (env.get_obs_size(), env.get_state_size())
    assert sizes["n_actions"] == env.get_total_actions()
    for agent in range(3):
        np.testing.assert_array_equal(env.get_obs_agent(agent), env.get_obs()[agent])
        assert env.get_avail_agent_actions(agent) == env.get_avail_actions()[agent]


def test_episodes_and_their_count():
    env = SmacMultiAgentEnv("3m", seed=0)
    rng = np.random.default_rng(0)
    first = _episode(env, rng)
    assert set(first[2]) == {"battle_won", "dead_allies", "dead_enemies"}
    wins = first[2]["battle_won"] + _episode(env, rng)[2]["battle_won"]
    stats = env.get_stats()
    assert (stats["battles_game"], stats["battles_won"], stats["win_rate"]) == (2, wins, wins / 2)
    again = SmacMultiAgentEnv("3m", seed=0)
    assert _episode(again, np.random.default_rng(0)) == first


@pytest.mark.parametrize("continuing", [False, True])
def test_the_time_limit_is_reported_only_if_asked(continuing, monkeypatch):
    shorten(monkeypatch)
    env = SmacMultiAgentEnv("3m", seed=0, continuing_episode=continuing)
    env.reset()
    for _ in range(LIMIT - 1):
        assert not env.step([1, 1, 1])[1]
    _, terminated, info = env.step([1, 1, 1])
    assert terminated and info.get("episode_limit", "absent") == (True if continuing else "absent")
    assert (env.get_stats()["timeouts"], env.get_stats()["battles_draw"], env.get_stats()["battles_won"]) == (1, 1, 0)
    env.step([1, 1, 1])
    assert env.get_stats()["battles_game"] == 1


def test_an_end_is_no_time_limit():
    env = SmacMultiAgentEnv("3m", seed=0, continuing_episode=True)
    assert "episode_limit" not in _episode(env, np.random.default_rng(0))[2]


def test_it_takes_pymarls_configuration():
    """The arguments of PyMARL's `sc2.yaml`, which say what this simulator does anyway."""
    flags = dict.fromkeys(("obs_all_health", "obs_own_health", "state_last_action", "reward_only_positive"), True)
    game = {"difficulty": "7", "game_version": None, "move_amount": 2, "step_mul": 8, "replay_dir": "", "debug": False}
    env = SmacMultiAgentEnv(map_name="3m", seed=None, reward_death_value=10, reward_scale_rate=20, **flags, **game)
    assert env.get_env_info() == SmacMultiAgentEnv("3m").get_env_info()
    with pytest.raises(ValueError, match="`difficulty` can only be '7' in this simulator, got 'A'"):
        SmacMultiAgentEnv("3m", difficulty="A")


def test_bad_input():
    env = SmacMultiAgentEnv("3m")
    with pytest.raises(ValueError, match="`reset` first"):
        env.get_obs()
    env.reset()
    for wrong in (0, 6, 9, -1):  # No-op of the living, a target out of range, no actions at all.
        with pytest.raises(ValueError, match=rf"`actions` of agent 1 must be among \[1, .*\], got {wrong}"):
            env.step([1, wrong, 1])
    with pytest.raises(ValueError, match="one action per agent"):
        env.step([1, 1])
    assert env.seed() is None
