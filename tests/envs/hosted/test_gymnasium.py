"""Environments of Gymnasium's interface with a joint action: tuples, MultiDiscrete, a Box shared out, one agent."""

import sys
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from seca.envs.hosted import gymnasium
from seca.envs.hosted.single import Broken, Single

library = pytest.importorskip("gymnasium")
kinds = library.spaces


class Walk(library.Env):
    """A line on which two or more agents walk together: 0 stays, 1 steps, 2 leaps; the team has arrived at 9 or more.

    `form` is of actions and observations: `tuple` (the first agent sees 3 numbers and has 3 actions, others 1 and 2),
    `multi` (MultiDiscrete from 4, observations one array) or `box` (numbers of all side by side).
    """

    metadata: dict[str, Any] = {"render_modes": []}

    def __init__(self, form: str = "tuple", team: int = 3, own_limit: int | None = None, **changes: Any) -> None:
        self.form, self.team, self.changes = form, team, changes
        self.sent: list[Any] = []
        if own_limit is not None:
            self.max_steps = own_limit
        if "agent_types" in changes:
            self.agent_types = changes["agent_types"]
        if form == "tuple":
            self.action_space = kinds.Tuple([kinds.Discrete(3)] + [kinds.Discrete(2)] * (team - 1))
            self.observation_space = kinds.Tuple([kinds.Box(-9, 99, (3,))] + [kinds.Discrete(40)] * (team - 1))
        else:
            self.observation_space = kinds.Box(-9, 99, (team, 2))
            multi = kinds.MultiDiscrete([3] + [2] * (team - 1), start=[4] * team)
            self.action_space = multi if form == "multi" else kinds.Box(-1, 2, (team * 2,))

    def _obs(self) -> Any:
        rows = [[self.at, self.t, self.luck]] + [self.at] * (self.team - 1)
        seen = tuple(rows) if self.form == "tuple" else np.array([[self.at, self.t]] * self.team, np.float32)
        return self.changes.get("obs", seen)

    def _info(self) -> dict[str, Any]:
        return dict(self.changes.get("info", {}))

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        super().reset(seed=seed)
        self.at, self.t, self.luck = 0, 0, int(self.np_random.integers(99))
        return self._obs(), self._info()

    def step(self, action: Any) -> Any:
        assert self.action_space.contains(action), action
        self.sent.append(action)
        steps = np.asarray(action) - 4 if self.form == "multi" else np.asarray(action)
        self.at, self.t = self.at + int(np.sum(steps > 0)), self.t + 1
        late = self.t >= getattr(self, "max_steps", 999)
        told = self._obs(), [float(self.at)] * self.team, self.at >= 9 or late, False, self._info()
        return self.changes.get("returns", lambda told: told)(told)


class Plain(Walk):
    """Without options."""

    def __init__(self) -> None:
        super().__init__()


@pytest.fixture(autouse=True)
def _registered() -> Iterator[None]:
    for name, limit in (("Walk-v3", 7), ("EndlessWalk-v0", None)):
        library.register(f"secatest/{name}", entry_point=Walk, max_episode_steps=limit)
    library.register("secatest/Plain-v0", entry_point=Plain, max_episode_steps=5)
    library.register("secatest/Team-v0", entry_point=Walk, max_episode_steps=5, kwargs={"n_agents": 2})
    yield
    for name in ("Walk-v3", "EndlessWalk-v0", "Plain-v0", "Team-v0"):
        del library.registry[f"secatest/{name}"]


def make(name: str = "secatest/Walk-v3", /, **options: Any) -> gymnasium.Joint:
    env = gymnasium.make(name, **options)
    assert isinstance(env, gymnasium.Joint) and isinstance(env, Single)
    return env


def inside(env: gymnasium.Joint) -> Walk:
    return env._env.unwrapped


def act(*actions: int) -> np.ndarray:
    return np.array(actions, np.int64)


def test_a_tuple_of_unequal_agents() -> None:
    env = make()
    spec = env.spec
    assert (spec.n_agents, spec.n_actions, spec.obs_size, spec.state_size, spec.episode_limit) == (3, 3, 40, 120, 7)
    assert (spec.ally_features, spec.options, env.wins) == (40, (), False)
    frame = env.reset(1)
    assert frame.avail.astype(int).tolist() == [[1, 1, 1], [1, 1, 0], [1, 1, 0]]
    assert np.flatnonzero(frame.obs[1]).tolist() == [0] and frame.obs[0, 3:].sum() == 0
    frame = env.step(act(2, 0, 1))
    assert inside(env).sent == [(2, 0, 1)] and all(type(action) is int for action in inside(env).sent[0])
    assert frame.reward == 2 and frame.obs[0, :2].tolist() == [2, 1]
    env.step(act(0, 2, 1))
    assert inside(env).sent[-1] == (0, 0, 1)  # Nobody but the first has a third action.
    starts = [env.reset(seed).obs[0, 2] for seed in (1, 2, 3, 1)]
    assert starts[0] == starts[-1] and len(set(starts)) > 1


def test_multi_discrete_and_rows_of_one_array() -> None:
    env = make(form="multi", team=5, team_reward="sum")
    assert (env.spec.n_agents, env.spec.n_actions, env.spec.obs_size, env.spec.state_size) == (5, 3, 2, 10)
    assert env.reset(0).avail[1].tolist() == [True, True, False]
    frame = env.step(act(2, 1, 0, 0, 1))
    assert inside(env).sent[0].tolist() == [6, 5, 4, 4, 5]
    assert frame.obs.tolist() == [[3, 1]] * 5 and frame.reward == 15


def test_a_box_is_shared_out() -> None:
    env = make(form="box", n_agents=3)
    box = env.spec.box
    assert box is not None and box == ((-1, -1), (2, 2))
    assert (env.spec.n_agents, env.spec.n_actions) == (3, 2) and env.reset(0).avail.all()
    env.step(np.array([[0, 1], [2, -1], [0.5, 0]], np.float32))
    assert inside(env).sent[0].tolist() == [0, 1, 2, -1, 0.5, 0] and inside(env).sent[0].dtype == np.float32
    alone = make(form="box", team=1)
    assert (alone.spec.n_agents, alone.spec.n_actions) == (1, 2)
    with pytest.raises(ValueError, match="has a Box of 6 numbers, which 4 agents cannot share alike"):
        make(form="box", n_agents=4)


@pytest.mark.parametrize(
    ("name", "options", "length", "walks", "terminated"),
    [
        ("Walk-v3", {}, 3, True, True),
        ("Walk-v3", {}, 7, False, False),
        ("Walk-v3", {"limit": 4}, 4, False, False),
        ("Walk-v3", {"max_episode_steps": 5}, 5, False, False),
        ("EndlessWalk-v0", {"limit": 6}, 6, False, False),
        ("EndlessWalk-v0", {"own_limit": 6}, 6, False, False),  # Reported as an end, as RWARE does.
        ("EndlessWalk-v0", {"own_limit": 3}, 3, True, False),  # Nobody can tell one end from the other.
        # Arriving takes three steps: in the step of a limit that somebody else keeps, before it, after it.
        ("Walk-v3", {"max_episode_steps": 3}, 3, True, True),
        ("EndlessWalk-v0", {"limit": 3}, 3, True, True),
        ("Walk-v3", {"limit": 3, "own_limit": 4}, 3, True, True),
        ("EndlessWalk-v0", {"limit": 4}, 3, True, True),
        ("EndlessWalk-v0", {"limit": 2}, 2, True, False),
        ("EndlessWalk-v0", {"own_limit": 4}, 3, True, True),
        ("EndlessWalk-v0", {"own_limit": np.int64(3)}, 3, True, False),
        ("Walk-v3", {"max_episode_steps": 3, "own_limit": 3}, 3, True, False),
        ("Walk-v3", {"returns": lambda told: (*told[:3], True, told[4])}, 1, False, False),
        ("Walk-v3", {"returns": lambda told: (*told[:2], [True] * 3, [True] * 3, told[4])}, 1, False, True),
    ],
)
def test_ends_and_limits(name: str, options: dict[str, Any], length: int, walks: bool, terminated: bool) -> None:
    env = make(f"secatest/{name}", **options)
    for _ in range(2):
        frame, steps = env.reset(0), 0
        while not frame.done:
            frame, steps = env.step(act(*([1, 1, 1] if walks else [0, 0, 0]))), steps + 1
        assert (steps, frame.terminated, frame.truncated) == (length, terminated, not terminated)
        assert frame.obs[0, 1] == length


def test_masks_and_state_in_info() -> None:
    """A row for each agent, of its own length or of the longest; the state that is told; a win."""
    rows = [[1, 0, 1], [0, 1], [0, 1, 0]]
    env = make(info={"action_mask": rows, "state": [[3, 4], [5, 6]], "battle_won": True})
    assert (env.spec.state_size, env.spec.ally_features, env.wins) == (4, 0, True)
    frame = env.reset(0)
    assert frame.avail.astype(int).tolist() == [[1, 0, 1], [0, 1, 0], [0, 1, 0]]
    assert frame.state.tolist() == [3, 4, 5, 6] and frame.won
    frame = env.step(act(1, 0, 0))
    assert inside(env).sent[0] == (0, 1, 1)
    inside(env).changes["info"] = {"action_mask": rows}
    with pytest.raises(Broken, match="at step 2: `state` is missing in info, where `reset` had it"):
        env.step(act(0, 1, 1))


def test_masks_and_state_by_pymarls_names() -> None:
    """As SMAClite tells them."""

    class Asked(Walk):
        def get_state(self) -> np.ndarray:
            return np.array([self.at, 5.0, self.t])

        def get_avail_actions(self) -> list[np.ndarray]:
            return [np.array([1, self.at == 0, 0])] * 3

    env = gymnasium.Joint(Asked(), "gymnasium:asked", "asked-1", limit=4)
    env.reset(0)
    frame = env.step(act(1, 1, 1))
    assert frame.state.tolist() == [3, 5, 1] and frame.avail.astype(int).tolist() == [[1, 0, 0]] * 3


def test_one_agent() -> None:
    """Its reward may be a number, its mask flat."""

    class Alone(library.Env):
        observation_space, action_space = kinds.Box(0, 9, (2, 2)), kinds.Discrete(3, start=2)

        def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
            return np.ones((2, 2)), {"action_mask": np.array([1, 0, 1])}

        def step(self, action: Any) -> Any:
            assert action == 4 and type(action) is int
            return np.ones((2, 2)), np.float64(2.5), np.bool_(False), False, {"action_mask": np.array([1, 0, 1])}

    env = gymnasium.Joint(Alone(), "gymnasium:alone", "alone-1", limit=2)
    assert (env.spec.n_agents, env.spec.obs_size, env.spec.state_size) == (1, 4, 4)
    assert env.reset(0).avail.tolist() == [[True, False, True]]
    assert env.step(act(2)).reward == 2.5 and env.step(act(2)).truncated


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"obs": ([1, 2, float("nan")], 0, 0)}, "at reset: observation of agent 0 holds nan as number 2"),
        ({"obs": ([1, 2, 3], 0)}, "at reset: it shows tuple, not one observation for each agent"),
        ({"obs": ([1, 2, 3], 0, 77)}, "at reset: observation of agent 2 does not fit its space"),
        ({"info": {"avail_actions": [[0, 0, 0], [1, 1], [1, 1]]}}, "at reset: agent 0 has no available action"),
        ({"info": {"avail_actions": [[1, 1, 1]]}}, "at reset: avail_actions in info has 1 rows, not one for each"),
        ({"returns": lambda told: (told[0], told[1], told[2], told[4])}, "at step 1: it returns no obs, reward"),
        ({"returns": lambda told: (told[0], [1.0, 2.0], *told[2:])}, "at step 1: it gives 2 rewards to 3 agents"),
        ({"returns": lambda told: (told[0], float("nan"), *told[2:])}, "at step 1: the reward is nan"),
    ],
)
def test_breaches_are_named(options: dict[str, Any], words: str) -> None:
    with pytest.raises(Broken) as caught:
        env = gymnasium.Joint(Walk(**options), "gymnasium:walk", "walk-1", limit=5)
        env.reset(0)
        env.step(act(0, 0, 0))
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("name", "options", "words"),
    [
        ("secatest/Nothing-v0", {}, "is not registered .*: write gymnasium:PACKAGE:ID"),
        ("nowhere_at_all:Nothing-v0", {}, "cannot be imported"),
        ("functools:Nothing-v0", {}, "cannot be made with these `env-options`: NameNotFound"),
        ("secatest/Walk-v3", {"sise": 3, "team": "x"}, "cannot be made with these `env-options`: TypeError"),
        ("secatest/Walk-v3", {"limit": 8}, "`env-options` limit is 8 but .* ends after 7 env steps"),
        ("secatest/EndlessWalk-v0", {}, "`env-options` limit is missing"),
        ("secatest/Walk-v3", {"team_reward": "max"}, "`env-options` team_reward is 'max'"),
        ("secatest/Walk-v3", {"n_agents": 2}, "`env-options` n_agents is 2 but .* takes actions of 3"),
        ("secatest/Walk-v3", {"n_agents": 0}, "`env-options` n_agents is 0; it must be a whole number"),
        ("secatest/Walk-v3", {"id": "x"}, "cannot be made with these `env-options`: TypeError.* 'id'"),
        ("secatest/Plain-v0", {"name": "x"}, "cannot be made with these `env-options`: TypeError.* 'name'"),
        ("secatest/Walk-v3", {"agent_types": ["a", "b"]}, "agent_types .* must hold 3 names, one for each agent"),
    ],
)
def test_what_cannot_be_made(name: str, options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words) as caught:
        make(name, **options)
    assert "\n" not in str(caught.value)


def test_observations_that_cannot_be_shared_out() -> None:
    env = Walk(form="multi", team=3)
    env.observation_space = kinds.Box(0, 1, (4,))
    with pytest.raises(ValueError, match="to 3 agents: served are a Tuple of one for each, or an array whose first"):
        gymnasium.Joint(env, "gymnasium:walk", "walk-1", limit=5)
    env.action_space = kinds.MultiDiscrete([[2, 2], [2, 2]])
    with pytest.raises(ValueError, match="has MultiDiscrete actions of 2 axes"):
        gymnasium.Joint(env, "gymnasium:walk", "walk-1", limit=5)


def test_an_environment_that_is_registered_with_a_number_of_agents_gets_it() -> None:
    made = []

    def entry(n_agents: int) -> Walk:
        made.append(n_agents)
        return Walk(team=n_agents)

    library.registry["secatest/Team-v0"].entry_point = entry
    assert make("secatest/Team-v0").spec.n_agents == 2
    env = make("secatest/Team-v0", n_agents=4)
    assert env.spec.n_agents == 4 and made == [2, 4] and env.spec.options == (("n_agents", 4),)


def test_types_that_are_told() -> None:
    """Beside sizes of observations and numbers of actions, which tell the first from the others."""
    assert make().spec.agent_types == (0, 1, 1)
    assert make(agent_types=["mule", "mule", "ox"]).spec.agent_types == (0, 1, 2)
    assert make(form="multi", agent_types=("ox", "ox", "ox")).spec.agent_types == (0, 1, 1)


def test_without_gymnasium(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "gymnasium", None)
    with pytest.raises(ValueError, match=r"`env` gymnasium:... needs gymnasium: pip install 'seca\[gymnasium\]'"):
        gymnasium.make("CartPole-v1")


@pytest.mark.parametrize(("name", "box"), [("CartPole-v1", False), ("Pendulum-v1", True)])
def test_gymnasiums_own(name: str, box: bool) -> None:
    env = make(name, limit=9)
    frame, steps = env.reset(0), 0
    first = frame
    while not frame.done:
        frame, steps = env.step(np.full((1, 1), 0.5, np.float32) if box else act(steps % 2)), steps + 1
    assert steps == 9 and frame.truncated
    np.testing.assert_array_equal(env.reset(0).obs, first.obs)
    env.close()


@pytest.mark.parametrize(
    ("name", "package", "options", "sizes"),
    [
        ("rware:rware-tiny-2ag-v2", "rware", {"max_steps": 11}, (2, 5, 71, 142, 11)),
        ("lbforaging:Foraging-8x8-3p-2f-v3", "lbforaging", {}, (3, 6, 15, 45, 50)),
        ("smaclite:smaclite/2s3z-v0", "smaclite", {"limit": 40}, (5, 11, 80, 120, 40)),
    ],
)
def test_real_ones(name: str, package: str, options: dict[str, Any], sizes: tuple[int, ...]) -> None:
    """Random play to the end, where these are installed."""
    pytest.importorskip(package)
    env, rng = make(name, **options), np.random.default_rng(0)
    spec = env.spec
    assert (spec.n_agents, spec.n_actions, spec.obs_size, spec.state_size, spec.episode_limit) == sizes
    frame, steps = env.reset(0), 0
    while not frame.done:
        frame = env.step(np.array([rng.choice(np.flatnonzero(row)) for row in frame.avail]))
        steps += 1
    assert steps <= spec.episode_limit and frame.truncated == (steps == spec.episode_limit)
