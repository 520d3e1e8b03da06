"""Mistakes that authors make in PettingZoo's and Gymnasium's forms, each named in a line; and the docs' own examples.

The games are played in this process, by what `seca check-env` asks of those that workers play.
"""

import dataclasses
import os
import pathlib
import re
import subprocess
import sys
import types
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from tiers import cases

from seca.envs import findings, trial
from seca.envs.hosted import declared, gymnasium, pettingzoo
from seca.envs.hosted.single import Broken, Single
from seca.envs.play import Played, Player, legal
from seca.types import Box, EnvSpec

library = pytest.importorskip("gymnasium")
pytest.importorskip("pettingzoo")
kinds = library.spaces
RUNNERS, STEPS = 7, 12


class Pairs:
    """Two agents on a line of five cells, the left of whom sees a clock, too: 0 is left, 1 stays, 2 is right.

    Who stands at the left end cannot go left. To meet ends the game and pays 1, a step costs 0.1; the limit is 6.
    """

    shared = [0.0]

    def __init__(self, **mistakes: Any) -> None:
        self.mistakes = mistakes

    def begin(self, seed: int | None) -> None:
        self.rng = np.random.default_rng(None if "own_luck" in self.mistakes else seed)
        self.at, self.t = self.rng.choice(5, 2, replace=False), 0
        if "still" in self.mistakes:
            self.at = np.array([1, 4])

    def move(self, actions: Any) -> tuple[bool, bool]:
        """Whether they have met, and whether time is up."""
        here = self.at if "deaf" not in self.mistakes else self.at * 1
        moved = np.clip(here + np.asarray(actions) - 1, 0, 4)
        self.at = self.at if "deaf" in self.mistakes else moved
        self.t += 1
        Pairs.shared[0] += 0.01
        return bool(self.at[0] == self.at[1]), self.t >= self.mistakes.get("limit", 6)

    def look(self) -> list[np.ndarray]:
        at = np.array([1, 2]) if "stale" in self.mistakes else self.at
        place = at / (1 if "raw" in self.mistakes else 4) * (1 - 1e-7)
        clock = Pairs.shared[0] if "shared" in self.mistakes else 0 if "stale" in self.mistakes else self.t / 6
        left = np.array([*place, clock], np.float32)[: 2 if "short" in self.mistakes else 3]
        if "nan" in self.mistakes:
            left = left / np.float32(self.at[0] != 2) if self.at[0] != 2 else np.full_like(left, np.nan)
        dtype = np.float64 if "double" in self.mistakes else np.float32
        return [left.astype(dtype), place[::-1].astype(np.float32)]

    def masks(self) -> list[np.ndarray]:
        rows = [np.array([at > 0, True, True], np.int8) for at in self.at]
        if "nobody" in self.mistakes:
            rows[1] = rows[1] * (self.at[1] != 2)
        return [row[: 2 if "short_mask" in self.mistakes else 3] for row in rows]

    def spaces(self) -> list[Any]:
        return [kinds.Box(0, 2 if "shared" in self.mistakes else 1, (3,)), kinds.Box(0, 1, (2,))]

    def actions(self) -> list[Any]:
        return [kinds.Discrete(3), kinds.Box(0, 1, (3,)) if "mixed" in self.mistakes else kinds.Discrete(3)]


class Zoo(Pairs):
    """As PettingZoo has it."""

    metadata: dict[str, Any] = {}

    def __init__(self, **mistakes: Any) -> None:
        super().__init__(**mistakes)
        self.agents: list[str] = []
        if "nameless" not in mistakes:
            self.possible_agents = ["left", "right"]
        if "endless" not in mistakes:
            self.max_cycles = 6

    def observation_space(self, agent: str) -> Any:
        return dict(zip(self.possible_agents, self.spaces(), strict=True))[agent]

    def action_space(self, agent: str) -> Any:
        return dict(zip(self.possible_agents, self.actions(), strict=True))[agent]

    def _all(self, values: Any) -> dict[str, Any]:
        return dict(zip(self.possible_agents, values, strict=True))

    def _infos(self) -> dict[str, Any]:
        return self._all({"legal" if "mask_lost" in self.mistakes else "action_mask": row} for row in self.masks())

    def reset(self, seed: int | None = None, options: Any = None) -> Any:
        self.begin(seed)
        self.agents = list(self.possible_agents)
        return self._all(self.look()) if "old_reset" in self.mistakes else (self._all(self.look()), self._infos())

    def step(self, actions: dict[str, int]) -> Any:
        met, late = self.move([actions[agent] for agent in self.agents])
        rewards = self._all([1.0 if met else -0.1] * 2)
        if "unpaid_one" in self.mistakes:
            del rewards["right"]
        ends = self._all([met or (late and "late_is_end" in self.mistakes)] * 2)
        cuts = self._all([late and not met and "late_is_end" not in self.mistakes] * 2)
        if "silent" in self.mistakes:
            ends = self._all([False] * 2)
        self.agents = [] if met or late else self.agents
        if "restarts" in self.mistakes and (met or late):
            self.begin(self.t)
        told = self._all(self.look()), rewards, ends, cuts, self._infos()
        return (*told[:2], self._all([met or late] * 2), told[4]) if "old_step" in self.mistakes else told


class Gym(Pairs, library.Env):
    """As Gymnasium has it."""

    def __init__(self, **mistakes: Any) -> None:
        super().__init__(**mistakes)
        self.observation_space = kinds.Tuple(self.spaces())
        self.action_space = kinds.Tuple(self.actions())
        if "nameless" in mistakes:  # Without a joint action.
            self.action_space = kinds.Text(3)

    def _info(self) -> dict[str, Any]:
        return {"legal" if "mask_lost" in self.mistakes else "action_mask": self.masks()}

    def reset(self, *, seed: int | None = None, options: Any = None) -> Any:
        self.begin(seed)
        shown = tuple(self.look())
        return shown if "old_reset" in self.mistakes else (shown, self._info())

    def step(self, action: Any) -> Any:
        met, late = self.move(action)
        end = met or (late and "late_is_end" in self.mistakes)
        if "restarts" in self.mistakes and (met or late):
            self.begin(self.t)
        reward = [1.0] * 3 if "unpaid_one" in self.mistakes else 1.0 if met else -0.1
        told = tuple(self.look()), reward, end and "silent" not in self.mistakes, False, self._info()
        return (*told[:3], told[4]) if "old_step" in self.mistakes else told


class SeedlessZoo(Zoo):
    def reset(self, options: Any = None) -> Any:  # pyrefly: ignore
        return super().reset(None, options)


class SeedlessGym(Gym):
    def reset(self, options: Any = None) -> Any:  # pyrefly: ignore
        return super().reset(seed=None)


def zoo(build: Callable[..., Any] = Zoo, **mistakes: Any) -> Single:
    return pettingzoo.Parallel(build(**mistakes), "pettingzoo:pairs", "pairs-1")


def gym(build: Callable[..., Any] = Gym, **mistakes: Any) -> Single:
    limit = None if "endless" in mistakes else 6
    return gymnasium.Joint(build(**mistakes), "gymnasium:pairs", "pairs-1", limit)


class Beside(Player):
    """A batch of environments in this process, one after another; a key's last word is the seed."""

    def __init__(self, make: Callable[[], Single]) -> None:
        self.env: Any = types.SimpleNamespace(host="workers")
        self._lanes = [make() for _ in range(RUNNERS)]

    def play(self, keys: Any, luck: Any, choose: Any = None, most: int = STEPS, beyond: int = 0) -> Played:
        """An episode that is over stays as it is, as in a pool."""
        del choose, beyond
        seeds, of_actions = (np.asarray(jax.random.key_data(some))[:, -1].tolist() for some in (keys, luck))
        rows = []
        for env, seed, own in zip(self._lanes, seeds, of_actions, strict=False):
            rng, frames, actions = np.random.default_rng(own), [env.reset(seed)], []
            for _ in range(most):
                actions.append(declared.choice(env.spec, frames[-1], rng))
                frames.append(self._next(env, frames, actions[-1]))
            rows.append((frames, actions))

        def stacked(name: str) -> np.ndarray:
            return np.stack([np.stack([np.asarray(getattr(frame, name)) for frame in frames]) for frames, _ in rows], 1)

        shown: dict[str, Any] = {
            name: stacked(name) for name in ("obs", "state", "avail", "reward", "terminated", "truncated")
        }
        return Played(**shown, info={}, actions=np.stack([np.stack(actions) for _, actions in rows], 1))

    @staticmethod
    def _next(env: Single, frames: list[Any], actions: np.ndarray) -> Any:
        if frames[-1].done:
            return dataclasses.replace(frames[-1], reward=0.0)
        frame = env.step(actions)
        cut = len(frames) >= env.spec.episode_limit and not frame.terminated
        return dataclasses.replace(frame, truncated=frame.truncated or cut)


def said(make: Callable[[], Single]) -> dict[str, str]:
    """Name -> line of all that is found, notes too."""
    try:
        looked = declared.look(make())
        found = {name: line for name, line, _ in looked.found}
        if "contract" in found or "raises" in found:
            return found
        player, keys = Beside(make), tuple(jax.random.split(jax.random.key(i), RUNNERS) for i in range(3))
        main = player.play(keys[0], keys[1])
    except (ValueError, Broken) as error:
        return {"contract": str(error)}
    told = vars(player._lanes[0].spec)
    spec = EnvSpec(**told | {"box": None if told["box"] is None else Box(*told["box"])})
    again = trial._again(player, main, (keys[0], keys[1], keys[2]), legal(spec), STEPS, looked.reseeds)
    judged = [*findings.found(spec, main), *again]
    return found | {finding.name: finding.line for finding in judged}


@pytest.mark.parametrize("make", [zoo, gym])
def test_what_is_right_passes(make: Callable[..., Single]) -> None:
    assert said(make) == {}


@pytest.mark.parametrize("make", [zoo, gym])
def test_a_game_without_luck_is_no_mistake(make: Callable[..., Single]) -> None:
    """Though the program that asks workers for it makes seeds of keys, whatever the game does with them."""
    found = said(lambda: make(still=True))
    assert list(found) == ["no-luck"] and "else draw from the seed given to `reset`" in found["no-luck"]


SEEDLESS = {zoo: SeedlessZoo, gym: SeedlessGym}
MISTAKES: list[tuple[str, dict[Callable[..., Single], tuple[str, str]]]] = [
    (
        "nameless",
        {
            zoo: ("contract", "is Zoo, which has no `possible_agents`"),
            gym: ("contract", "has action spaces Text: served are Discrete, or one Box for all agents"),
        },
    ),
    (
        "seedless",
        {
            zoo: ("contract", "cannot be reset: TypeError: SeedlessZoo.reset() got an unexpected keyword"),
            gym: ("contract", "cannot be reset: TypeError: SeedlessGym.reset() got an unexpected keyword"),
        },
    ),
    (
        "old_reset",
        {
            zoo: ("contract", "at reset: it returns no pair of observations and infos"),
            gym: ("contract", "at reset: it returns no pair of an observation and a dict"),
        },
    ),
    (
        "old_step",
        {
            zoo: ("contract", "at step 1: it returns no five dicts"),
            gym: ("contract", "at step 1: it returns no obs, reward, terminated, truncated and dict"),
        },
    ),
    ("own_luck", dict.fromkeys((zoo, gym), ("not-repeatable", "a generator made of `reset`'s seed"))),
    (
        "short",
        {
            zoo: ("contract", "at reset: observation of agent left has 2 numbers instead of 3"),
            gym: ("contract", "at reset: observation of agent 0 has 2 numbers instead of 3"),
        },
    ),
    ("mixed", dict.fromkeys((zoo, gym), ("contract", "has action spaces Discrete, Box: served are Discrete, or one"))),
    ("mask_lost", dict.fromkeys((zoo, gym), ("never-masked", "a mask that got lost on the way looks like this"))),
    (
        "short_mask",
        {
            zoo: ("contract", "at reset: the action mask of agent left has 2 numbers instead of 3"),
            gym: ("contract", "at reset: the action mask of agent 0 has 2 numbers instead of 3"),
        },
    ),
    (
        "nobody",
        {
            zoo: ("contract", "agent right has no available action; who may do nothing has one that does so"),
            gym: ("contract", "agent 1 has no available action; who may do nothing has one that does so"),
        },
    ),
    (
        "raw",
        {
            zoo: ("outside-space", "agent left sees 3 as number 0 at reset, and its space goes from 0 to 1"),
            gym: ("outside-space", "agent 0 sees 3 as number 0 at reset, and its space goes from 0 to 1"),
        },
    ),
    (
        "double",
        {
            zoo: ("not-as-declared", "agent left is shown float64[3] at reset, and its space says float32[3]"),
            gym: ("not-as-declared", "agent 0 is shown float64[3] at reset, and its space says float32[3]"),
        },
    ),
    (
        "unpaid_one",
        {
            zoo: ("contract", "there is no reward of agent right"),
            gym: ("contract", "at step 1: it gives 3 rewards to 2 agents"),
        },
    ),
    ("endless", dict.fromkeys((zoo, gym), ("contract", "`env-options` limit is missing"))),
    ("silent", {zoo: ("contract", "nobody is left, and neither terminations nor truncations says why")}),
    ("nan", dict.fromkeys((zoo, gym), ("contract", "holds nan as number 0"))),
    ("stale", dict.fromkeys((zoo, gym), ("constant-obs", "build it from what `step` has changed"))),
    ("deaf", dict.fromkeys((zoo, gym), ("actions-do-nothing", "`step` must use its actions"))),
    ("shared", dict.fromkeys((zoo, gym), ("not-repeatable", "the same seed and actions give another episode"))),
    ("restarts", dict.fromkeys((zoo, gym), ("auto-reset", "looks like the start of the next"))),
]


@pytest.mark.parametrize(
    ("mistake", "make", "name", "words"),
    [(mistake, make, *wanted) for mistake, by_form in MISTAKES for make, wanted in by_form.items()],
    ids=lambda part: part.__name__ if callable(part) else None,
)
def test_mistakes_are_named(mistake: str, make: Callable[..., Single], name: str, words: str) -> None:
    build: dict[str, Any] = {"build": SEEDLESS[make]} if mistake == "seedless" else {mistake: True}
    found = said(lambda: make(**build))
    assert words in found.get(name, f"{found}") and "\n" not in found[name]
    assert not re.search(r"\bkeys?\b|jnp|jax", found[name])


EXAMPLES = re.findall(
    r"`(my_\w+)\.py`:\n\n```python\n(.*?)```\n\n```sh\n.*? --env (\S+) ",
    (pathlib.Path(__file__).parents[3] / "docs" / "environments.md").read_text(),
    flags=re.DOTALL,
)


@pytest.mark.parametrize(("module", "text", "env"), cases(EXAMPLES, "my_hunt", slow=True))
def test_the_examples_are_right(module: str, text: str, env: str, tmp_path: pathlib.Path) -> None:
    """By the command: notes at most, in the words of Python's environments."""
    (tmp_path / f"{module}.py").write_text(text)
    command = [sys.executable, "-m", "seca", "check-env", env, "--runners", "3", "--seconds", "0"]
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    ended = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": path})
    assert ended.returncode == 0 and ended.stdout.endswith("\nnothing found\n"), ended.stdout + ended.stderr
    assert ("none by `reset`" in ended.stdout) == (module == "my_hunt")
    assert "its space says" not in ended.stdout and not re.search(r"\bkeys?\b|jnp|jax", ended.stdout)
