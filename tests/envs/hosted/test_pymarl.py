"""Environments of SMAC's interface, against SMAC's own frames, our own view, and little ones of EPyMARL's form."""

import sys
import types
from typing import Any

import numpy as np
import pytest

from seca.envs.hosted import pymarl
from seca.envs.hosted.single import Broken, Single


class Hunt:
    """Three agents; 4 is a blow that the prey survives twice. Agent 1 dies in the first step.

    `form` is of `step`: 3 returns as SMAC, 5 as EPyMARL. `changes` replace what a method returns.
    """

    def __init__(
        self, form: int = 3, seed: int | None = None, continuing_episode: bool = False, **changes: Any
    ) -> None:
        self.form, self.luck, self.continuing, self.changes = form, seed, continuing_episode, changes
        self.n_agents, self.t, self.blows, self.closed = 3, 0, 0, False
        self.sent: list[Any] = []

    def get_env_info(self) -> dict[str, Any]:
        sizes = {"state_shape": 2, "obs_shape": (2, 1), "n_actions": 5, "n_agents": 3, "episode_limit": 4}
        return self.changes.get("info", sizes)

    def reset(self) -> Any:
        self.t = self.blows = 0
        return self.get_obs(), self.get_state()

    def step(self, actions: Any) -> Any:
        assert all(type(action) is int and self.get_avail_actions()[i][action] for i, action in enumerate(actions))
        self.sent.append(actions)
        self.t, self.blows = self.t + 1, self.blows + actions.count(4)
        won, late = self.blows > 2, self.t >= 4
        info = {"battle_won": won} | ({"episode_limit": True} if self.continuing and late and not won else {})
        reward = self.changes.get("reward", float(actions.count(4)))
        if self.form == 5:
            return self.get_obs(), reward, won, late, info
        return reward, won or late, info

    def get_obs(self) -> Any:
        return self.changes.get("obs", [np.array([agent, self.t], np.float32) for agent in range(3)])

    def get_state(self) -> Any:
        return self.changes.get("state", np.array([self.t, self.luck or 0], np.float32))

    def get_avail_actions(self) -> Any:
        dead = self.t > 0
        alive = [0, 1, 1, 1, 1]
        return self.changes.get("avail", [alive, [1, 0, 0, 0, 0] if dead else alive, alive])

    def get_stats(self) -> dict[str, Any]:
        return {"battles_won": 0, "win_rate": 0 / 0} if self.changes.get("counts", True) else {}

    def close(self) -> None:
        self.closed = True


def adapted(limit: int | None = None, team_reward: str = "mean", build: Any = Hunt, **options: Any) -> pymarl.Told:
    return pymarl.Told(build, "pymarl:hunt", "hunt-1", limit, team_reward, options)


def act(*actions: int) -> np.ndarray:
    return np.array(actions, np.int64)


def test_sizes_and_frames() -> None:
    env = adapted()
    assert isinstance(env, Single) and env.wins
    spec = env.spec
    assert (spec.n_agents, spec.n_actions, spec.obs_size, spec.state_size, spec.episode_limit) == (3, 5, 2, 2, 4)
    assert (spec.options, spec.box, spec.ally_features) == ((), None, 0)
    frame = env.reset(3)
    assert frame.avail.astype(int).tolist() == [[0, 1, 1, 1, 1]] * 3 and frame.obs[:, 0].tolist() == [0, 1, 2]
    frame = env.step(act(4, 1, 0))
    assert env._env.sent == [[4, 1, 1]]  # Agent 2 lives, so it may not do nothing: it stops.
    assert frame.avail[1].astype(int).tolist() == [1, 0, 0, 0, 0] and frame.reward == 1 and not frame.done
    env.step(act(1, 3, 1))
    assert env._env.sent[-1] == [1, 0, 1]


@pytest.mark.parametrize(
    ("options", "limit", "blows", "length", "end"),
    [
        ({}, None, (1, 1, 1), 3, "won"),
        ({}, None, (1, 1, 0, 1), 4, "won"),  # In the very step of the limit.
        ({}, None, (), 4, "cut"),
        ({"continuing_episode": False}, None, (), 4, "cut"),
        ({"continuing_episode": False}, None, (1, 1, 0, 1), 4, "won"),
        ({"form": 5}, None, (1, 1, 1), 3, "won"),
        ({"form": 5}, None, (), 4, "cut"),
        ({}, 2, (), 2, "cut"),
        ({"form": 5}, 3, (1, 1, 1), 3, "won"),
    ],
)
def test_ends(options: dict[str, Any], limit: int | None, blows: tuple[int, ...], length: int, end: str) -> None:
    env = adapted(limit=limit, **options)
    for _ in range(2):
        frame, steps = env.reset(0), 0
        while not frame.done:
            blow = steps < len(blows) and blows[steps]
            frame, steps = env.step(act(4 if blow else 1, 0 if steps else 1, 1)), steps + 1
        assert steps == length
        assert (frame.terminated, frame.truncated, frame.won) == (end == "won", end == "cut", end == "won")


def test_a_defeat_in_the_step_of_the_limit() -> None:
    """SMAC then has no key `episode_limit`: an end, where it was asked for the key, which it is unless told not to."""

    class Defeat(Hunt):
        def step(self, actions: Any) -> Any:
            _, ended, info = super().step(actions)
            return 0.0, ended, {"battle_won": info["battle_won"]}

    for continuing, terminated in ((True, True), (False, False)):
        env = adapted(build=Defeat, continuing_episode=continuing)
        env.reset(0)
        for step in range(4):
            frame = env.step(act(1, 0 if step else 1, 1))
        assert (frame.terminated, frame.truncated) == (terminated, not terminated)


def test_luck_of_the_class() -> None:
    """The first reset makes it anew with its seed, so that it depends on that alone; a seed that is given stays."""
    env = adapted()
    probe = env._env
    assert env.reset(7).state[1] == 7 and env._env is not probe and probe.closed
    kept = env._env
    assert env.reset(8).state[1] == 7 and env._env is kept
    env = adapted(seed=5)
    assert env.reset(7).state[1] == 5 and ("seed", 5) in env.spec.options


def test_luck_of_reset() -> None:
    class Seeded(Hunt):
        def reset(self, seed: int | None = None, options: Any = None) -> Any:
            self.luck = seed
            return super().reset(), {}

    env = adapted(build=Seeded)
    probe = env._env
    assert [env.reset(seed).state[1] for seed in (7, 8, 7)] == [7, 8, 7] and env._env is probe

    class Refusing(Hunt):
        """As EPyMARL's wrapper of SMACv2, which hands the seed on to who takes none."""

        def reset(self, seed: int | None = None) -> Any:
            if seed is not None:
                raise TypeError("seed() takes 1 positional argument but 2 were given")
            return super().reset()

    env = adapted(build=Refusing)
    assert env.reset(7).obs.shape == env.reset(8).obs.shape == (3, 2)


def test_rewards_of_agents() -> None:
    for form in (3, 5):
        assert adapted_reward(form, [1.0, 2.0, 6.0], "mean") == 3
        assert adapted_reward(form, [1.0, 2.0, 6.0], "sum") == 9
        assert adapted_reward(form, np.float32(1.5), "sum") == 1.5


def adapted_reward(form: int, reward: Any, team_reward: str) -> float:
    env = adapted(form=form, reward=reward, team_reward=team_reward)
    env.reset(0)
    return env.step(act(1, 1, 1)).reward


def test_who_counts_no_wins_has_none_unless_told() -> None:
    assert not adapted(counts=False).wins
    env = pymarl.Told(Hunt, "pymarl:hunt", "hunt-1", options={"counts": False}, wins=True)
    env.reset(0)
    for step in range(3):
        frame = env.step(act(4, 0 if step else 1, 1))
    assert env.wins and frame.won and ("wins", True) in env.spec.options
    with pytest.raises(ValueError, match="`env-options` wins is 'x'; choose True or False"):
        pymarl.Told(Hunt, "pymarl:hunt", "hunt-1", wins="x")


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"obs": [np.ones(2)] * 2}, "at reset: `get_obs` has 2 rows for 3 agents"),
        ({"obs": [np.ones(2), np.ones(3), np.ones(2)]}, "at reset: observation of agent 1 has 3 numbers instead of 2"),
        ({"obs": [np.ones(2), np.ones(2), np.array([np.nan, 0])]}, "at reset: observation of agent 2 holds nan"),
        ({"state": np.ones(3)}, "at reset: the state has 3 numbers instead of 2"),
        ({"avail": [[1] * 5, [0] * 5, [1] * 5]}, "at reset: agent 1 has no available action"),
        ({"avail": [[1] * 5, [1] * 4, [1] * 5]}, "at reset: the action mask of agent 1 has 4 numbers instead of 5"),
        ({"reward": [1.0, 2.0]}, "at step 1: it gives 2 rewards to 3 agents"),
        ({"reward": None}, "at step 1: the reward is nan"),
        ({"form": 5, "reward": "much"}, "at step 1: it gives 0 rewards to 3 agents"),
    ],
)
def test_breaches_are_named(changes: dict[str, Any], words: str) -> None:
    env = adapted(**changes)
    with pytest.raises(Broken) as caught:
        env.reset(0)
        env.step(act(1, 1, 1))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_steps_of_another_form() -> None:
    class Old(Hunt):
        def step(self, actions: Any) -> Any:
            return self.get_obs(), 1.0, False, {}

    env = adapted(build=Old)
    env.reset(0)
    with pytest.raises(Broken, match="at step 1: it returns neither reward, terminated, info nor EPyMARL's five"):
        env.step(act(1, 1, 1))


def test_a_game_that_was_lost_is_no_end() -> None:
    """SMAC starts another one and says that it ended, with an empty info; who counts no wins may mean just that."""

    class Lost(Hunt):
        def step(self, actions: Any) -> Any:
            return 0, True, {}

    env = adapted(build=Lost)
    env.reset(0)
    with pytest.raises(RuntimeError, match="the game was lost and started anew in step 1: an end with an empty info"):
        env.step(act(1, 1, 1))
    env = adapted(build=Lost, counts=False)
    env.reset(0)
    assert env.step(act(1, 1, 1)).terminated


def test_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    made = types.ModuleType("a_module_of_hunts")
    made.__dict__.update(Hunt=Hunt, Typed=Typed, number=3)
    monkeypatch.setitem(sys.modules, "a_module_of_hunts", made)
    env = pymarl.make("a_module_of_hunts.Hunt", form=5, limit=3)
    assert env.spec.options == (("form", 5), ("limit", 3)) and env.spec.version == "a_module_of_hunts"
    env.close()
    assert env.spec.agent_types == () and pymarl.make("a_module_of_hunts.Typed").spec.agent_types == (0, 1, 0)
    sizes = {"state_shape": 2, "obs_shape": 2, "n_actions": 5, "n_agents": 3}
    refused: list[tuple[str, dict[str, Any], str]] = [
        ("number", {}, "is int; expected a class: pymarl:MODULE.CLASS"),
        ("nothing", {}, "cannot be imported"),
        ("Hunt", {"limit": 5}, "`env-options` limit is 5 but .* ends after 4 env steps"),
        ("Hunt", {"info": sizes}, "says no episode_limit in `get_env_info`, only state_shape, obs_shape"),
        ("Hunt", {"info": sizes | {"episode_limit": 0}}, "says that episode_limit is 0; it must be at least 1"),
        ("Hunt", {"team_reward": "max"}, "`env-options` team_reward is 'max'"),
        ("Typed", {"path": "x"}, "`env-options` do not fit pymarl:.*'path'"),
        ("Typed", {"name": "x"}, "`env-options` do not fit pymarl:.*'name'"),
        ("Typed", {"agent_types": ["ox"]}, "agent_types .'ox'.; it must hold 3 names, one for each agent"),
    ]
    for path, options, words in refused:
        with pytest.raises(ValueError, match=words) as caught:
            pymarl.make(f"a_module_of_hunts.{path}", **options)
        assert "\n" not in str(caught.value)
    with pytest.raises(ValueError, match="is dict, which has no `get_env_info`"):
        pymarl.make("builtins.dict")
    with pytest.raises(ValueError, match="`env-options` do not fit pymarl:seca.smac.views.pymarl.SmacMultiAgentEnv"):
        pymarl.make("seca.smac.views.pymarl.SmacMultiAgentEnv")
    with pytest.raises(ValueError, match="cannot be made: ValueError: .*nowhere"):
        pymarl.make("seca.smac.views.pymarl.SmacMultiAgentEnv", map_name="nowhere")


class Typed(Hunt):
    """Says of what types its agents are."""

    def __init__(self, agent_types: Any = ("ox", "mule", "ox")) -> None:
        super().__init__()
        self.agent_types = agent_types


class Replay:
    """SMAC's interface over frames of SMAC's own code, episode after episode."""

    def __init__(self, frames: dict[str, np.ndarray], continuing_episode: bool = False) -> None:
        self._frames, self._episode, self._t = frames, -1, 0
        self._key = "info_episode_limit_continuing" if continuing_episode else "info_episode_limit"

    def _now(self, name: str) -> Any:
        return self._frames[name][self._episode, self._t]

    def get_env_info(self) -> dict[str, int]:
        frames = self._frames
        sizes = {"state_shape": frames["state_size"], "obs_shape": frames["obs_size"], "episode_limit": frames["limit"]}
        return {name: int(size) for name, size in (sizes | {n: frames[n] for n in ("n_agents", "n_actions")}).items()}

    def reset(self) -> None:
        self._episode, self._t = self._episode + 1, 0

    def step(self, actions: list[int]) -> tuple[float, bool, dict[str, Any]]:
        assert actions == self._now("actions").tolist()
        info: dict[str, Any] = {name: self._now(name) for name in ("battle_won", "dead_allies", "dead_enemies")}
        info |= {"episode_limit": True} if self._now(self._key) else {}
        told = float(self._now("reward")), bool(self._now("terminated")), info
        self._t += 1
        return told

    def get_obs(self) -> list[np.ndarray]:
        return list(self._now("obs"))

    def get_state(self) -> np.ndarray:
        return self._now("state")

    def get_avail_actions(self) -> list[list[int]]:
        return self._now("avail").astype(int).tolist()

    def get_stats(self) -> dict[str, Any]:
        return {"battles_won": 0}


@pytest.mark.parametrize("name", ["3m", "2s3z", "MMM", "corridor"])
def test_frames_of_smacs_own_code(golden_dir: Any, name: str) -> None:
    """All episodes: what SMAC shows is what comes out, ends told apart as its counters tell them."""
    with np.load(golden_dir / "smac_frames" / f"{name}.npz", allow_pickle=False) as file:
        frames = dict(file)
    env = adapted(build=lambda continuing_episode=False: Replay(frames, continuing_episode))
    assert env.wins
    ends = {"terminated": 0, "truncated": 0}
    for episode, valid in enumerate(frames["step_valid"]):
        frame = env.reset(0)
        for step in np.flatnonzero(valid):
            here, now = (episode, step), (episode, step + 1)
            assert not frame.done
            frame = env.step(frames["actions"][here].astype(np.int64))
            for field in ("obs", "state", "avail"):
                np.testing.assert_array_equal(getattr(frame, field), frames[field][now])
            assert frame.reward == frames["reward"][here] and frame.won == frames["battle_won"][here]
            assert frame.done == frames["terminated"][here]
            assert frame.truncated == frames["info_episode_limit_continuing"][here]
        ends["terminated"] += frame.terminated
        ends["truncated"] += frame.truncated
    assert min(ends.values()) > 0


@pytest.mark.slow
def test_our_own_view_is_our_own_game() -> None:
    """The same battles as the view alone, from the seed of the first reset on; wins, and the limit as a cut."""
    from seca.smac.views.pymarl import SmacMultiAgentEnv

    env = pymarl.make("seca.smac.views.pymarl.SmacMultiAgentEnv", map_name="3m")
    theirs, rng = SmacMultiAgentEnv("3m", seed=4, continuing_episode=True), np.random.default_rng(0)
    assert env.wins and env.spec.episode_limit == theirs.episode_limit
    cut = 0
    for episode in range(3):
        frame = env.reset(4 + episode)
        theirs.reset()
        while not frame.done:
            np.testing.assert_array_equal(frame.obs, theirs.get_obs())
            np.testing.assert_array_equal(frame.state, theirs.get_state())
            np.testing.assert_array_equal(frame.avail, theirs.get_avail_actions())
            # In the last battle they run away to the west.
            actions = [5 if episode == 2 and row[5] else int(rng.choice(np.flatnonzero(row))) for row in frame.avail]
            frame = env.step(act(*actions))
            reward, ended, info = theirs.step(actions)
            assert (frame.reward, frame.done, frame.won) == (reward, ended, info["battle_won"])
            assert frame.truncated == ("episode_limit" in info)
        cut += frame.truncated
    env.close()
