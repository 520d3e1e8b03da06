"""Environments of PettingZoo's parallel interface: unequal agents, agents that leave, masks, ends and limits."""

import sys
import types
from typing import Any

import numpy as np
import pytest

from seca.envs.hosted import pettingzoo
from seca.envs.hosted.single import Broken, Single

kinds = pytest.importorskip("gymnasium").spaces
pytest.importorskip("pettingzoo")


class Walk:
    """A line on which three unlike agents walk; who stands at 3 or beyond has arrived and leaves.

    `far` sees a 2 by 2 picture and has 3 actions, stay, step and leap of 2; `near` sees its place one-hot and has 2
    from 1; `masked` sees a dict, and may leap from an even place only.
    """

    metadata: dict[str, Any] = {}
    possible_agents = ["far", "near", "masked"]

    def __init__(self, max_cycles: int | None = 6, has_state: bool = False, **changes: Any) -> None:
        if max_cycles is not None:
            self.max_cycles = max_cycles
        self.agents: list[str] = []
        self.sent: list[dict[str, Any]] = []
        self.changes, self.closed = changes, False
        if has_state:
            self.state = lambda: np.array([self.at[name] for name in self.possible_agents] + [self.t])

    def observation_space(self, agent: str) -> Any:
        return {
            "far": kinds.Box(-9, 9, (2, 2)),
            "near": kinds.Discrete(6),
            "masked": kinds.Dict({"observation": kinds.Box(0, 9, (1,)), "action_mask": kinds.MultiBinary(3)}),
        }[agent]

    def action_space(self, agent: str) -> Any:
        return kinds.Discrete(2, start=1) if agent == "near" else kinds.Discrete(3)

    def _obs(self, agents: Any) -> dict[str, Any]:
        at = self.at
        seen = {
            "far": np.array([[at["far"], self.t], [self.luck, 1]]),
            "near": at["near"],
            "masked": {"observation": [at["masked"]], "action_mask": np.array([1, 1, at["masked"] % 2 == 0], np.int8)},
        }
        return {name: seen[name] for name in agents} | self.changes.get("obs", {})

    def _infos(self) -> dict[str, Any]:
        return {name: self.changes.get("info", {}) for name in self.possible_agents}

    def reset(self, seed: int | None = None, options: Any = None) -> tuple[dict[str, Any], dict[str, Any]]:
        self.agents, self.at, self.t = list(self.possible_agents), dict.fromkeys(self.possible_agents, 0), 0
        self.luck = np.random.default_rng(seed).integers(9)
        return self._obs(self.agents), self._infos()

    def step(self, actions: dict[str, Any]) -> Any:
        assert set(actions) == set(self.agents)
        assert all(self.action_space(name).contains(action) for name, action in actions.items())
        self.sent.append(actions)
        acted, self.t = self.agents, self.t + 1
        for name, action in actions.items():
            self.at[name] += action - (name == "near")
        arrived = {name: self.at[name] >= 3 for name in acted}
        late = dict.fromkeys(acted, self.t >= getattr(self, "max_cycles", 99))
        self.agents = [name for name in acted if not arrived[name] and not late[name]]
        if "keeps" in self.changes:
            self.agents = acted
        rewards = {name: float(self.at[name]) for name in acted} | self.changes.get("rewards", {})
        told = self._obs(acted), rewards, arrived, late, self._infos()
        return self.changes.get("returns", lambda told: told)(told)

    def close(self) -> None:
        self.closed = True


def adapted(limit: int | None = None, team_reward: str = "mean", **walk: Any) -> pettingzoo.Parallel:
    return pettingzoo.Parallel(Walk(**walk), "pettingzoo:walk", "walk-1", limit, team_reward, walk)


def act(*actions: int) -> np.ndarray:
    return np.array(actions, np.int64)


def test_unequal_agents_are_padded_and_masked() -> None:
    env = adapted()
    assert isinstance(env, Single) and not env.wins
    spec = env.spec
    assert (spec.n_agents, spec.n_actions, spec.obs_size, spec.state_size, spec.episode_limit) == (3, 3, 6, 18, 6)
    assert (spec.ally_features, spec.options) == (6, ())
    first = env.reset(3)
    assert first.obs.tolist() == [[0, 0, first.obs[0, 2], 1, 0, 0], [1, 0, 0, 0, 0, 0], [0] * 6]
    assert first.avail.astype(int).tolist() == [[1, 1, 1], [1, 1, 0], [1, 1, 1]]
    assert (first.reward, first.done) == (0, False)
    frame = env.step(act(2, 1, 1))
    assert frame.obs.tolist() == [[2, 1, first.obs[0, 2], 1, 0, 0], [0, 1, 0, 0, 0, 0], [1, 0, 0, 0, 0, 0]]
    assert frame.avail.astype(int).tolist() == [[1, 1, 1], [1, 1, 0], [1, 1, 0]]
    assert frame.reward == (2 + 1 + 1) / 3 and frame.state.tolist() == frame.obs.reshape(-1).tolist()
    assert env._env.sent == [{"far": 2, "near": 2, "masked": 1}]  # From 1, not from 0.


def test_the_same_seed_begins_the_same_episode() -> None:
    env = adapted()
    starts = [env.reset(seed).obs[0, 2] for seed in (1, 2, 3, 4, 1)]
    assert starts[0] == starts[-1] and len(set(starts)) > 1


def test_who_has_left_is_dead_and_is_sent_nothing() -> None:
    """`far` arrives in the second step. What the dead choose is not sent, and counts for nothing in the reward."""
    env = adapted()
    env.reset(0)
    env.step(act(2, 0, 0))
    frame = env.step(act(1, 0, 1))
    assert not frame.done and not frame.obs[0].any() and frame.avail[0].tolist() == [True, False, False]
    assert frame.reward == (3 + 0 + 1) / 3  # It was in the game when the step began.
    env._env.changes["rewards"] = {"far": 99.0}  # For who has left, as some environments go on to do.
    frame = env.step(act(2, 1, 1))
    assert env._env.sent[-1] == {"near": 2, "masked": 1} and frame.reward == (1 + 2) / 2


def test_actions_that_may_not_be() -> None:
    """`near` has no third action; `masked` may not leap from 1: both do the first that they may."""
    env = adapted()
    env.reset(0)
    env.step(act(0, 2, 1))
    assert env._env.sent[-1] == {"far": 0, "near": 1, "masked": 1}
    env.step(act(0, 0, 2))
    assert env._env.sent[-1] == {"far": 0, "near": 1, "masked": 0}


@pytest.mark.parametrize(
    ("walk", "limit", "length", "arrives", "terminated"),
    [
        ({}, None, 3, True, True),
        ({"max_cycles": 3}, None, 3, True, True),  # In the very step of the limit, but both flags speak.
        ({}, None, 6, False, False),
        ({}, 4, 4, False, False),
        ({"max_cycles": None}, 5, 5, False, False),
        ({"keeps": True}, None, 3, True, True),  # Everybody is flagged, and `agents` was not emptied.
    ],
)
def test_ends_and_limits(walk: dict[str, Any], limit: int | None, length: int, arrives: bool, terminated: bool) -> None:
    env = adapted(limit=limit, **walk)
    for _ in range(2):
        frame, steps = env.reset(0), 0
        while not frame.done:
            frame, steps = env.step(act(*([1, 1, 1] if arrives else [0, 0, 0]))), steps + 1
        assert (steps, frame.terminated, frame.truncated) == (length, terminated, not terminated)
        assert frame.obs[0, 1] == length  # The last observation is seen.


def test_an_end_is_a_cut_if_anyone_was_cut() -> None:
    """`far` arrives in the step in which time is up for the others: of the last frame it is no part, they are."""
    env = adapted(max_cycles=2)
    env.reset(0)
    env.step(act(2, 0, 1))
    frame = env.step(act(1, 1, 0))
    assert frame.truncated and not frame.terminated
    assert not frame.obs[0].any() and frame.avail[0].tolist() == [True, False, False]
    assert frame.obs[1].tolist() == [0, 1, 0, 0, 0, 0] and frame.obs[2, 0] == 1


def test_a_state_of_its_own_and_the_sum() -> None:
    env = adapted(has_state=True, team_reward="sum")
    assert (env.spec.state_size, env.spec.ally_features) == (4, 0)
    env.reset(0)
    frame = env.step(act(2, 1, 1))
    assert frame.state.tolist() == [2, 1, 1, 1] and frame.reward == 4
    assert ("team_reward", "sum") in env.spec.options


def test_masks_in_info_and_wins() -> None:
    """`near` has no mask in its observation: the one in its info holds. One has won where anybody's info says so."""
    env = adapted(info={"action_mask": [0, 1, 0], "battle_won": True})
    assert env.wins
    with pytest.raises(Broken, match="the action mask of agent near has 3 numbers instead of 2"):
        env.reset(0)
    env = adapted(info={"battle_won": True})
    assert env.reset(0).won and env.step(act(0, 0, 0)).won


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"obs": {"far": np.full((2, 2), np.nan)}}, "at reset: observation of agent far holds nan as number 0"),
        ({"obs": {"far": np.zeros((2, 3))}}, "at reset: observation of agent far has 6 numbers instead of 4"),
        ({"obs": {"near": 6}}, "at reset: observation of agent near does not fit its space"),
        (
            {"obs": {"masked": {"observation": [1], "action_mask": [0, 0, 0]}}},
            "at reset: agent masked has no available action",
        ),
        ({"rewards": {"near": float("inf")}}, "at step 1: the reward is inf"),
        ({"rewards": {"near": "much"}}, "at step 1: the reward is"),
        ({"returns": lambda told: told[:4]}, "at step 1: it returns no five dicts"),
        ({"returns": lambda told: (told[0], {"far": 1.0}, *told[2:])}, "at step 1: there is no reward of agent near"),
        ({"returns": lambda told: ({}, *told[1:])}, "at step 1: there is no observation of agent far, who is in"),
    ],
)
def test_breaches_are_named(changes: dict[str, Any], words: str) -> None:
    with pytest.raises(Broken) as caught:
        env = adapted(**changes)
        env.reset(0)
        env.step(act(0, 0, 0))
    assert words in str(caught.value) and "\n" not in str(caught.value)


def test_agents_that_vanish_or_appear() -> None:
    env = adapted()
    env.reset(0)

    def vanish(told: Any) -> Any:
        env._env.agents = []
        return told

    env._env.changes["returns"] = vanish
    with pytest.raises(Broken, match="nobody is left, and neither terminations nor truncations says why"):
        env.step(act(0, 0, 0))
    env.reset(0)
    env._env.changes["returns"] = lambda told: (env._env.agents.append("fourth"), told)[1]
    with pytest.raises(Broken, match="agent fourth is not in possible_agents"):
        env.step(act(0, 0, 0))


def test_failures_of_the_environment_are_let_through() -> None:
    env = adapted()
    env.reset(0)

    def crash(told: Any) -> Any:
        raise OSError("the game is gone")

    env._env.changes["returns"] = crash
    with pytest.raises(OSError, match="the game is gone"):
        env.step(act(0, 0, 0))
    env.close()
    assert env._env.closed


class Drive(Walk):
    """The same with continuous actions: whose first number is positive makes a step."""

    def action_space(self, agent: str) -> Any:
        return kinds.Box(-2, 1, (2,))

    def step(self, actions: dict[str, Any]) -> Any:
        super_space, self.action_space = self.action_space, super().action_space
        assert all(super_space(name).contains(action) for name, action in actions.items())
        told = super().step({name: int(action[0] > 0) + (name == "near") for name, action in actions.items()})
        self.action_space = super_space
        return told


def test_boxes() -> None:
    """In their own bounds; who has left does not act, which in a box is that no number is available."""
    env = pettingzoo.Parallel(Drive(), "pettingzoo:drive", "drive-1")
    box = env.spec.box
    assert box is not None and (*box, env.spec.n_actions) == ((-2, -2), (1, 1), 2)
    assert env.reset(0).avail.all()
    for _ in range(3):
        frame = env.step(np.array([[1, 1], [0.5, -2], [-0.5, 0]], np.float32))
    assert frame.terminated is False and frame.avail.any(axis=1).tolist() == [False, False, True]
    assert frame.obs[:, 0].tolist() == [0, 0, 0] and frame.reward == 2


def module(monkeypatch: pytest.MonkeyPatch, **names: Any) -> str:
    """The name of a module that has these."""
    made = types.ModuleType("a_module_of_walks")
    made.__dict__.update(names)
    monkeypatch.setitem(sys.modules, "a_module_of_walks", made)
    return "a_module_of_walks"


def test_by_name(monkeypatch: pytest.MonkeyPatch) -> None:
    name = module(monkeypatch, parallel_env=Walk, other=lambda max_cycles=3: Walk(max_cycles), number=3)
    assert pettingzoo.make(name).spec.id == f"pettingzoo:{name}"
    env = pettingzoo.make(f"{name}.other", limit=2, max_cycles=4)
    assert env.spec.options == (("limit", 2), ("max_cycles", 4)) and env.spec.version == name
    refused: list[tuple[str, dict[str, Any], str]] = [
        (f"{name}.number", {}, "is int; expected a function that returns an environment"),
        (f"{name}.other", {"cycles": 3}, "`env-options` do not fit pettingzoo:a_module_of_walks.other"),
        (f"{name}.other", {"limit": 4}, "`env-options` limit is 4 but .* ends after 3 env steps"),
        (f"{name}.parallel_env", {"max_cycles": None}, "`env-options` limit is missing"),
        (f"{name}.nothing", {}, "cannot be imported"),
        ("functools", {}, "is a module without parallel_env: write pettingzoo:MODULE.FUNCTION"),
        ("builtins.dict", {}, "is dict, which has no `possible_agents`"),
    ]
    for path, options, words in refused:
        with pytest.raises(ValueError, match=words) as caught:
            pettingzoo.make(path, **options)
        assert "\n" not in str(caught.value)


def test_what_cannot_be_reset_and_what_is_of_another_kind(monkeypatch: pytest.MonkeyPatch) -> None:
    class Failing(Walk):
        def reset(self, seed: int | None = None, options: Any = None) -> Any:
            raise OSError("no display")

    class Turns:
        def last(self) -> None: ...

    name = module(monkeypatch, fails=Failing, turns=Turns)
    with pytest.raises(ValueError, match="cannot be reset: OSError: no display"):
        pettingzoo.make(f"{name}.fails")
    with pytest.raises(ValueError, match="an AEC environment needs pettingzoo.utils.aec_to_parallel"):
        pettingzoo.make(f"{name}.turns")


def test_without_pettingzoo(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pettingzoo", None)
    with pytest.raises(ValueError, match=r"`env` pettingzoo:... needs pettingzoo: pip install 'seca\[pettingzoo\]'"):
        pettingzoo.make("mpe2.simple_spread_v3")


@pytest.mark.parametrize(
    ("path", "options", "sizes"),
    [
        ("mpe2.simple_spread_v3.parallel_env", {"max_cycles": 7}, (3, 5, 18, 54, 7)),
        ("mpe2.simple_speaker_listener_v4", {"limit": 5}, (2, 5, 11, 14, 5)),
        ("mpe2.simple_spread_v3", {"continuous_actions": True, "N": 4}, (4, 5, 24, 96, 25)),
    ],
)
def test_mpe2(path: str, options: dict[str, Any], sizes: tuple[int, ...]) -> None:
    pytest.importorskip("mpe2")
    env = pettingzoo.make(path, **options)
    spec = env.spec
    assert (spec.n_agents, spec.n_actions, spec.obs_size, spec.state_size, spec.episode_limit) == sizes
    assert spec.version.startswith("mpe2-")
    frame, steps = env.reset(5), 0
    first = frame
    while not frame.done:
        whole = np.zeros(spec.n_agents, np.int64)
        frame = env.step(whole if spec.box is None else np.full((spec.n_agents, spec.n_actions), 0.5, np.float32))
        steps += 1
    assert steps == spec.episode_limit and frame.truncated
    np.testing.assert_array_equal(env.reset(5).obs, first.obs)
    env.close()


@pytest.mark.slow
def test_our_own_view_is_our_own_game() -> None:
    """What the view shows is what comes out: masks of the dead, wins, the limit told by an option."""
    from seca.smac.views.pettingzoo import SmacParallelEnv

    env = pettingzoo.make("seca.smac.views.pettingzoo.SmacParallelEnv", map_name="3m", limit=60)
    theirs, rng = SmacParallelEnv("3m"), np.random.default_rng(0)
    frame, (obs, _) = env.reset(7), theirs.reset(seed=7)
    assert env.wins
    while not frame.done:
        np.testing.assert_array_equal(frame.obs, [obs[name]["observation"] for name in theirs.possible_agents])
        np.testing.assert_array_equal(frame.avail, [obs[name]["action_mask"] for name in theirs.possible_agents])
        np.testing.assert_array_equal(frame.state, theirs.state())
        actions = np.array([rng.choice(np.flatnonzero(row)) for row in frame.avail])
        frame = env.step(actions)
        obs, rewards, ended, cut, infos = theirs.step(dict(zip(theirs.possible_agents, actions, strict=True)))
        assert frame.reward == pytest.approx(rewards["agent_0"])
        assert (frame.terminated, frame.truncated) == (ended["agent_0"], cut["agent_0"])
        assert frame.won == infos["agent_0"]["battle_won"]
