"""The view with SMAC's own method names does what PyMARL reads off SMAC."""

import json

import numpy as np
import pytest
from tiers import cases
from views_lab import LIMIT, shorten

from seca.smac.views.battle import Frame
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


@pytest.mark.slow
def test_visibility():
    """Both alive, nearer than 9, agents before enemies, nobody itself; against distances in the observations."""
    env = SmacMultiAgentEnv("3m", seed=0)
    with pytest.raises(ValueError, match="`reset` first"):
        env.get_visibility_matrix()
    obs, _ = env.reset()
    for _ in range(8):
        seen = env.get_visibility_matrix()
        assert seen.shape == (3, 6) and seen.dtype == bool and not seen[:, :3].diagonal().any()
        rows = np.stack(obs)[:, 4:29].reshape(3, 5, 5)  # Three enemies, then the two others: [.., distance, ..].
        np.testing.assert_array_equal(seen[:, 3:], rows[:, :3, 1] > 0)
        others = np.array([[j for j in range(3) if j != i] for i in range(3)])
        np.testing.assert_array_equal(np.take_along_axis(seen[:, :3], others, axis=1), rows[:, 3:, 0] == 1)
        env.step([4 if mask[4] else mask.index(1) for mask in env.get_avail_actions()])
        obs = env.get_obs()
    assert seen[:, 3:].any()


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(["2s3z", "MMM", "6h_vs_8z", "corridor"], "2s3z", "MMM"))
def test_sizes_against_smac(golden_dir, name):
    """SMAC's own `get_obs_size` and `get_state_size` under all flags; one less with the number of the time step."""
    for kind, size in (("obs", "get_obs_size"), ("state", "get_state_size")):
        with np.load(golden_dir / "smac_frames" / "variants" / f"{name}_{kind}.npz", allow_pickle=False) as data:
            for variant, flags, reported in zip(data["variants"], data["flags"], data["reported_size"], strict=True):
                options = json.loads(str(flags))
                ours = getattr(SmacMultiAgentEnv(name, **options), size)()
                assert ours == data[f"{kind}__{variant}"].shape[-1]
                assert ours == reported + options.get("obs_timestep_number", False), variant


class Replayed:
    """Stands for the battles of a view: the frames of SMAC's own code, episode after episode."""

    def __init__(self, frames: dict[str, np.ndarray]) -> None:
        self._frames, self._episode, self._step = frames, -1, 0
        self.frame: Frame | None = None

    def reset(self, seed: int | None = None) -> None:
        self._episode, self._step = self._episode + 1, 0
        self.frame = self._shown(None)

    def step(self, taken: np.ndarray) -> Frame:
        np.testing.assert_array_equal(taken, self._frames["actions"][self._episode, self._step])
        before, self._step = (self._episode, self._step), self._step + 1
        frame = self.frame = self._shown(before)
        return frame

    def _shown(self, before: tuple[int, int] | None) -> Frame:
        here, past = (self._episode, self._step), {}
        if before is not None:
            names = (
                "terminated",
                "info_episode_limit_continuing",
                "battle_won",
                "dead_allies",
                "dead_enemies",
                "reward",
            )
            past = {name: self._frames[name][before] for name in names}
        limit = bool(past.get("info_episode_limit_continuing", False))
        return Frame(
            obs=self._frames["obs"][here],
            state=self._frames["state"][here],
            avail=self._frames["avail"][here],
            reward=float(past.get("reward", 0)),
            terminated=bool(past.get("terminated", False)) and not limit,
            truncated=limit,
            won=bool(past.get("battle_won", False)),
            dead_allies=int(past.get("dead_allies", 0)),
            dead_enemies=int(past.get("dead_enemies", 0)),
        )


@pytest.mark.parametrize("continuing", [False, True])
@pytest.mark.parametrize("name", ["3m", "2s3z", "MMM", "corridor"])
def test_ends_and_counts_of_smac(golden_dir, name, continuing, monkeypatch):
    """Over all episodes of SMAC's frames: the ends, `episode_limit` in `info`, and `get_stats` are SMAC's."""
    with np.load(golden_dir / "smac_frames" / f"{name}.npz", allow_pickle=False) as file:
        frames = dict(file)
    assert not frames["info_episode_limit"].any()
    env = SmacMultiAgentEnv(name, continuing_episode=continuing)
    monkeypatch.setattr(env, "_battle", Replayed(frames))
    key = "info_episode_limit_continuing" if continuing else "info_episode_limit"
    for episode, valid in enumerate(frames["step_valid"]):
        env.reset()
        for step in np.flatnonzero(valid):
            reward, terminated, info = env.step(frames["actions"][episode, step])
            here = (episode, step)
            assert (reward, terminated) == (frames["reward"][here], frames["terminated"][here])
            assert info.get("episode_limit", "absent") == (True if frames[key][here] else "absent")
            for told in ("battle_won", "dead_allies", "dead_enemies"):
                assert info[told] == frames[told][here]
        stats = env.get_stats()
        told = [stats["battles_won"], stats["battles_game"], stats["timeouts"]]
        assert told == frames["stats_after_episode"][episode].tolist()


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
