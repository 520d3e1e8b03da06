"""SMAX in the form of an environment of ours: by a module that stands for JaxMARL, and without any."""

import importlib.util
import sys
import types
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.envs.check import check_env
from seca.host import smax

KEYS = jax.random.split(jax.random.key(0), 4)


class Battle:
    """Two agents, three actions; a step pays the sum of the actions, and the battle is over after two steps.

    Its own `step` makes a new battle of what is over, as JaxMARL's do.
    """

    agents, num_agents, max_steps = ["ally_0", "ally_1"], 2, 9

    def __init__(self, **options: Any) -> None:
        self.options = options

    def _obs(self, state: dict) -> dict:
        own = {agent: jnp.stack([state["t"], jnp.int32(i)]).astype(jnp.float32) for i, agent in enumerate(self.agents)}
        return own | {"world_state": jnp.full(5, state["t"], jnp.float32)}

    def get_avail_actions(self, state: dict) -> dict:
        return {agent: jnp.array([1, 1, 0]).at[2].set(state["t"] == i) for i, agent in enumerate(self.agents)}

    def reset(self, key: jax.Array) -> tuple[dict, dict]:
        state = {"t": jnp.int32(0), "start": jax.random.bits(key)}
        return self._obs(state), state

    def step_env(self, key: jax.Array, state: dict, actions: dict) -> tuple:
        state = {"t": state["t"] + 1, "start": state["start"]}
        paid = actions["ally_0"] + 10.0 * actions["ally_1"]
        over = state["t"] >= 2
        return self._obs(state), state, dict.fromkeys(self.agents, paid), {"__all__": over, "ally_0": over}, {}

    def step(self, key: jax.Array, state: dict, actions: dict) -> tuple:
        _, after, reward, done, info = self.step_env(key, state, actions)
        _, fresh = self.reset(key)
        after = jax.tree.map(lambda new, old: jnp.where(done["__all__"], new, old), fresh, after)
        return self._obs(after), after, reward, done, info


@pytest.fixture(name="library")
def library_fixture(monkeypatch: pytest.MonkeyPatch) -> list[Battle]:
    """Stands for JaxMARL. What was made of it."""
    made: list[Battle] = []

    def battle(**options: Any) -> Battle:
        made.append(Battle(**options))
        return made[-1]

    parts: dict[str, dict[str, Any]] = {
        "jaxmarl": {},
        "jaxmarl.environments": {},
        "jaxmarl.environments.smax": {"HeuristicEnemySMAX": battle},
        "jaxmarl.environments.smax.smax_env": {"MAP_NAME_TO_SCENARIO": {"3m": "three marines", "8m": "eight"}},
    }
    for name, content in parts.items():
        module = types.ModuleType(name)
        module.__spec__ = importlib.util.spec_from_loader(name, None)
        module.__dict__.update(content)
        monkeypatch.setitem(sys.modules, name, module)
    return made


def test_without_jaxmarl_there_are_no_maps(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert smax.map_names() == ()
    with pytest.raises(ValueError, match=r"`maps` must be among SMAX's \(none\); got '3m'"):
        smax.make("3m")


def test_maps_are_the_librarys(library: list[Battle]) -> None:
    assert smax.map_names() == ("3m", "8m")
    with pytest.raises(ValueError, match="`maps` must be among SMAX's 3m, 8m; got '4m'"):
        smax.make("4m")
    assert library == []


def test_options_are_those_of_its_own_configurations(library: list[Battle]) -> None:
    smax.make("3m")
    [made] = library
    assert made.options == {
        "scenario": "three marines",
        "see_enemy_actions": True,
        "walls_cause_death": True,
        "attack_mode": "closest",
    }


@pytest.mark.parametrize(("own_step", "name"), [(True, "smax/3m"), (False, "smax_best/3m")])
def test_it_is_an_environment_of_ours(own_step: bool, name: str, library: list[Battle]) -> None:
    env = smax.make("3m", own_step)
    check_env(env)
    spec = env.spec
    assert (spec.id, spec.n_agents, spec.n_actions, spec.obs_size, spec.state_size) == (name, 2, 3, 2, 5)
    assert spec.episode_limit == 9


@pytest.mark.slow
def test_what_it_shows(library: list[Battle]) -> None:
    """Agents in the library's order, one reward for the team."""
    env = smax.make("3m")
    state, shown = env.reset(KEYS)
    assert shown.obs[0].tolist() == [[0, 0], [0, 1]] and shown.avail[0].tolist() == [
        [True, True, True],
        [True, True, False],
    ]
    assert not shown.reward.any() and not shown.done.any()
    _, shown = env.step(state, jnp.array([[1, 2]] * 4))
    assert shown.obs[0].tolist() == [[1, 0], [1, 1]] and shown.state[0].tolist() == [1] * 5
    assert shown.avail[0].tolist() == [[True, True, False], [True, True, True]]
    assert shown.reward.tolist() == [21] * 4


def test_only_its_bare_step_ends(library: list[Battle]) -> None:
    """With its own step a new battle, of another key, stands in the place of the old, and nothing is over."""
    for own_step, ends in ((True, [0, 0, 0]), (False, [0, 1, 1])):
        env = smax.make("3m", own_step)
        state, shown = env.reset(KEYS)
        starts, done, times = [np.asarray(state[0]["start"])], [], []
        for _ in range(3):
            state, shown = env.step(state, jnp.zeros((4, 2), jnp.int32))
            starts.append(np.asarray(state[0]["start"]))
            done.append(int(shown.terminated.all()))
            times.append(int(shown.state[0, 0]))
            assert not shown.truncated.any()
        assert done == ends
        assert times == ([1, 0, 1] if own_step else [1, 2, 3])
        assert (starts[0] == starts[1]).all() and ((starts[1] != starts[2]).all() == own_step)
        assert len(set(starts[2].tolist())) == 4
