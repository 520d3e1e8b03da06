"""Environments in JaxMARL's form: unequal agents padded and masked, ends told apart, and JaxMARL's own where it is."""

import dataclasses
import importlib.util
import json
import os
import subprocess
import sys
import types
import typing
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.envs import check, jaxmarl, registry
from seca.envs.base import Env

HAS = importlib.util.find_spec("jaxmarl") is not None
REAL = {
    "MPE_simple_spread_v3": ({}, (3, 5, 18, 54, 25)),
    "MPE_simple_speaker_listener_v4": ({}, (2, 5, 11, 22, 25)),
    "HeuristicEnemySMAX": ({"scenario": "2s3z"}, (5, 10, 127, 120, 100)),
    "overcooked": ({"limit": 30}, (2, 6, 520, 1040, 30)),
    "hanabi": ({"limit": 40}, None),
    "switch_riddle": ({}, (3, 3, 2, 6, 6)),
}


@dataclasses.dataclass(frozen=True)
class Discrete:
    n: int
    dtype: Any = jnp.int32


@dataclasses.dataclass(frozen=True)
class Space:
    shape: tuple[int, ...]
    low: float = -1.0
    high: float = 1.0


class Walk:
    """A line on which a tall agent of three actions and a short one of two move; who walks to 3 has ended the game.

    In JaxMARL's form: one episode a call. Its own `step` would reset; whoever asks it here has made a mistake.
    """

    def __init__(self, max_steps: int | None = 6, masks: bool = True, world: bool = True, **spaces: Any) -> None:
        self.agents = ["tall", "short"]
        if max_steps is not None:
            self.max_steps = max_steps
        if masks:
            self.get_avail_actions = self._masks
        self._world, self._spaces = world, spaces

    def observation_space(self, agent: str) -> Space:
        return Space((2, 2) if agent == "tall" else (1,))

    def action_space(self, agent: str) -> Any:
        return self._spaces.get(agent) or Discrete(3 if agent == "tall" else 2)

    def _masks(self, state: Any) -> dict[str, jax.Array]:
        return {"tall": state["at"] != jnp.array([9, 9, 2]), "short": jnp.array([True, True])}

    def _obs(self, state: Any) -> dict[str, jax.Array]:
        at, t = state["at"].astype(jnp.float32), state["t"].astype(jnp.float32)
        told = {"tall": jnp.array([[at, t], [at + t, 1.0]]), "short": at[None]}
        return told | ({"world_state": jnp.array([at, t, state["luck"]])} if self._world else {})

    def reset(self, key: jax.Array) -> tuple[dict[str, jax.Array], Any]:
        state = {"at": jnp.zeros((), jnp.int32), "t": jnp.zeros((), jnp.int32), "luck": jax.random.uniform(key)}
        return self._obs(state), state

    def step_env(self, key: jax.Array, state: Any, actions: dict[str, jax.Array]):
        assert actions["tall"].shape == () and actions["tall"].dtype == jnp.int32
        at = state["at"] + (actions["tall"] == 1) + (actions["short"] == 1) - (actions["tall"] == 2)
        state = {"at": at, "t": state["t"] + 1, "luck": jax.random.uniform(key)}
        over = (at >= 3) | (state["t"] >= getattr(self, "max_steps", 99))
        rewards = {"tall": at.astype(jnp.float32), "short": jnp.float32(1)}
        return self._obs(state), state, rewards, {"tall": over, "short": over, "__all__": over}, {"what": at}

    def step(self, *_: Any) -> None:
        raise AssertionError("the step that resets was asked")


def adapted(limit: int | None = None, team_reward: str = "mean", **walk: Any) -> Env:
    return jaxmarl.adapt(Walk(**walk), "jaxmarl:walk", "jaxmarl-test", limit, team_reward)


def play(env: Env, actions: list[list[int]], batch: int = 2) -> list[Any]:
    """What is shown along a list of joint actions, the same in the whole batch."""
    state, shown = jax.jit(env.reset)(jax.random.split(jax.random.key(0), batch))
    step, steps = jax.jit(env.step), [shown]
    for joint in actions:
        state, shown = step(state, jnp.tile(jnp.array(joint, jnp.int32), (batch, 1)))
        steps.append(shown)
    return jax.device_get(steps)


def test_unequal_agents_are_padded_and_masked() -> None:
    env = adapted()
    check.check_env(env)
    spec = env.spec
    assert (spec.n_agents, spec.n_actions, spec.obs_size, spec.state_size, spec.episode_limit) == (2, 3, 4, 3, 6)
    assert spec.agent_types == (0, 1)
    shown = play(env, [[1, 1]])
    assert shown[1].obs[0].tolist() == [[2, 1, 3, 1], [2, 0, 0, 0]]
    assert shown[0].avail[0].tolist() == [[True, True, True], [True, True, False]]
    assert shown[1].avail[0].tolist() == [[True, True, False], [True, True, False]]
    assert shown[1].state[0, :2].tolist() == [2, 1]
    luck = [step.state[:, 2] for step in shown]
    assert len({float(x) for x in np.ravel(luck)}) == 4  # Of each episode and each step its own.


def test_without_masks_and_world_state() -> None:
    """All actions that an agent has; all observations side by side."""
    env = adapted(masks=False, world=False)
    check.check_env(env)
    [_, shown] = play(env, [[1, 0]])
    assert env.spec.state_size == 8 and env.spec.ally_features == 4
    np.testing.assert_array_equal(shown.state, shown.obs.reshape(2, 8))
    assert shown.avail[0].tolist() == [[True] * 3, [True, True, False]]


def test_ends_are_told_apart_and_final_observations_are_seen() -> None:
    """Walking to 3 terminates; the library's own limit, and a shorter one, truncate; afterwards nothing moves."""
    shown = play(adapted(), [[1, 1], [1, 0], [1, 1]])
    assert [bool(step.terminated[0]) for step in shown] == [False, False, True, True]
    assert not any(step.truncated.any() for step in shown)
    assert shown[2].obs[0, 0, 0] == 3  # The end, and not the start of another episode.
    assert [float(step.reward[0]) for step in shown] == [0, 1.5, 2, 0]
    np.testing.assert_array_equal(shown[3].obs, shown[2].obs)
    for env, length in ((adapted(), 6), (adapted(limit=4), 4), (adapted(limit=4, max_steps=None), 4)):
        shown = play(env, [[0, 0]] * (length + 1))
        assert [bool(step.truncated[0]) for step in shown] == [False] * length + [True] * 2
        assert not any(step.terminated.any() for step in shown)


def test_team_rewards() -> None:
    shown = play(adapted(team_reward="sum"), [[1, 1]])
    assert shown[1].reward[0] == 3.0
    with pytest.raises(ValueError, match="`env-options` team_reward is 'max'; choose mean or sum"):
        adapted(team_reward="max")


def test_an_action_that_an_agent_lacks_counts_as_its_last() -> None:
    assert play(adapted(), [[0, 2]])[1].obs[0, 1, 0] == play(adapted(), [[0, 1]])[1].obs[0, 1, 0] == 1


@pytest.mark.parametrize(
    ("walk", "limit", "message"),
    [
        ({"max_steps": None}, None, "`env-options` limit is missing: jaxmarl:walk"),
        ({}, 7, "`env-options` limit is 7 but jaxmarl:walk ends after 6 env steps"),
        ({}, 0, "`env-options` limit is 0; it must be a whole number of at least 1"),
        ({"tall": Space((2,))}, None, "has action spaces Space, Discrete: served are Discrete, or one Box"),
        ({"tall": Space((2,)), "short": Space((3,))}, None, "served are Discrete, or one Box"),
        ({"tall": Space((2,)), "short": Space((2,), high=2.0)}, None, "has boxes that differ, or are not bounded"),
        ({"tall": Space((2,), high=np.inf), "short": Space((2,), high=np.inf)}, None, "or are not bounded"),
    ],
)
def test_what_is_not_served(walk: dict[str, Any], limit: int | None, message: str) -> None:
    with pytest.raises(ValueError, match="`env"):
        adapted(limit=limit, **walk)
    try:
        adapted(limit=limit, **walk)
    except ValueError as error:
        assert message in str(error)


class Library(types.ModuleType):
    """A module in place of JaxMARL, which talks while it makes something, past whoever listens to `sys.stdout`."""

    registered_envs = ["walk"]

    def make(self, env_id: str, **options: Any) -> Any:
        print("to whatever `sys.stdout` is")
        sys.stdout = sys.__stdout__
        print("to Python's own")
        os.write(1, b"to the file descriptor")
        if options:
            raise TypeError(f"unexpected {sorted(options)}")
        return Walk()


@pytest.mark.skipif(HAS, reason="needs JaxMARL to be missing")
@pytest.mark.parametrize("option", ["name", "env_id", "sise"])
def test_it_is_not_heard(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], option: str) -> None:
    """Whether what it makes is there in the end or not; and options that are called as ours inside are only options."""
    monkeypatch.setitem(sys.modules, "jaxmarl", Library("jaxmarl"))
    monkeypatch.setattr(jaxmarl.importlib.metadata, "version", lambda name: "0")
    before = sys.stdout, sys.stderr
    assert jaxmarl.make("walk").spec.n_agents == 2
    with pytest.raises(ValueError, match=f"`env-options` do not fit jaxmarl:walk: TypeError: .*{option}"):
        registry.make("jaxmarl:walk", {option: 1})
    assert (sys.stdout, sys.stderr) == before
    print("heard again")
    os.write(1, b"and here")
    assert capfd.readouterr().out.replace("\n", " ") in ("heard again and here", "and hereheard again ")


@pytest.mark.slow
def test_it_is_not_heard_where_nobody_could() -> None:
    """Without file descriptor 1, in a process of its own."""
    code = (
        "import os, sys; os.close(1); from seca.envs.jaxmarl import quiet\n"
        "with quiet(): print(1)\n"
        "print('done', file=sys.stderr)"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("", "done\n")


class Battle:
    """What is asked of SMAX: two allies and three enemies, of whom each has its own unit."""

    num_allies, agents = 2, ["ally_0", "ally_1"]
    unit_type_names, scenario = ["marine", "stalker", "zealot"], np.array([1, 2, 2, 2, 0], np.uint8)


def test_who_has_beaten_whom() -> None:
    """By the units: neither a draw nor a defeat is a win, whatever they pay."""
    rows = {(1, 0, 0, 0, 0): True, (1, 1, 0, 1, 0): False, (0, 0, 0, 0, 0): False, (0, 0, 1, 0, 0): False}
    alive = jnp.array(list(rows), bool)
    state = types.SimpleNamespace(state=types.SimpleNamespace(unit_alive=alive))
    assert jaxmarl._beaten(2, state).tolist() == list(rows.values())


def test_units_tell_types() -> None:
    env: Any = Battle()
    assert jaxmarl._units(env) == {"ally_0": "ally stalker", "ally_1": "ally zealot"}
    assert jaxmarl._units(Walk()) == {}
    env.smacv2_unit_type_generation = True  # Drawn anew for each episode.
    assert jaxmarl._units(env) == {}
    env = typing.cast(Any, Battle())
    env.scenario = None  # All are marines.
    assert jaxmarl._units(env) == {}


@pytest.mark.skipif(not HAS, reason="needs JaxMARL (pip install 'seca[jaxmarl]')")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "scenario", "found"),
    [
        ("HeuristicEnemySMAX", "2s3z", (0, 0, 1, 1, 1)),
        ("HeuristicEnemySMAX", "3m", ()),
        ("HeuristicEnemySMAX", "smacv2_5_units", ()),
        ("SMAX", "2s3z", (0, 0, 1, 1, 1, 2, 2, 3, 3, 3)),
    ],
)
def test_types_of_smax(name: str, scenario: str, found: tuple[int, ...]) -> None:
    assert registry.make(f"jaxmarl:{name}", {"scenario": scenario}).spec.agent_types == found


@pytest.mark.skipif(not HAS, reason="needs JaxMARL (pip install 'seca[jaxmarl]')")
@pytest.mark.slow
@pytest.mark.parametrize("bonus", [1.0, 0.25])
def test_wins_of_smax(bonus: float) -> None:
    """Battles that one step ends: won, lost, both dead, and one that goes on. The bonus does not matter."""
    env = registry.make("jaxmarl:HeuristicEnemySMAX", {"scenario": "3m", "won_battle_bonus": bonus})
    state, shown = env.reset(jax.random.split(jax.random.key(0), 4))
    assert not shown.info["won"].any()
    health = np.array(state.theirs.state.unit_health)
    health[0, 3:] = health[1, :3] = health[2] = 0
    theirs = state.theirs.replace(state=state.theirs.state.replace(unit_health=jnp.array(health)))
    step = jax.jit(env.step)
    state, shown = step(dataclasses.replace(state, theirs=theirs), jnp.full((4, 3), 4))
    assert shown.terminated.tolist() == [True, True, True, False]
    assert shown.info["won"].tolist() == [True, False, False, False]
    state, shown = step(state, jnp.full((4, 3), 4))
    assert shown.info["won"].tolist() == [True, False, False, False]


@pytest.mark.skipif(not HAS, reason="needs JaxMARL (pip install 'seca[jaxmarl]')")
def test_of_two_sides_nobody_wins() -> None:
    _, shown = registry.make("jaxmarl:SMAX", {"scenario": "3m"}).reset(jax.random.split(jax.random.key(0), 2))
    assert shown.info == {} and shown.obs.shape[1] == 6


@pytest.mark.skipif(not HAS, reason="needs JaxMARL (pip install 'seca[jaxmarl]')")
@pytest.mark.slow
def test_a_report_is_json_and_nothing_else() -> None:
    command = "check-env jaxmarl:switch_riddle --runners 3 --seconds 0 --json".split()
    ended = subprocess.run([sys.executable, "-m", "seca", *command], capture_output=True, text=True)
    assert ended.returncode in (0, 1), ended.stderr
    assert json.loads(ended.stdout)["env"] == "jaxmarl:switch_riddle"


@pytest.mark.skipif(HAS, reason="needs JaxMARL to be missing")
def test_without_jaxmarl() -> None:
    with pytest.raises(ValueError, match=r"`env` jaxmarl:... needs jaxmarl: pip install 'seca\[jaxmarl\]'"):
        registry.make("jaxmarl:MPE_simple_spread_v3")
    assert jaxmarl.names() == []


@pytest.mark.skipif(not HAS, reason="needs JaxMARL (pip install 'seca[jaxmarl]')")
@pytest.mark.parametrize("name", REAL)
def test_jaxmarls_own(name: str) -> None:
    """The contract, the sizes, and whole episodes by random play: they end, and stay as they ended."""
    options, sizes = REAL[name]
    env = registry.make(f"jaxmarl:{name}", options)
    spec = env.spec
    found = spec.n_agents, spec.n_actions, spec.obs_size, spec.state_size, spec.episode_limit
    assert sizes is None or found == sizes
    state, shown = jax.jit(env.reset)(jax.random.split(jax.random.key(0), 3))
    step, key = jax.jit(env.step), jax.random.key(1)
    for t in range(spec.episode_limit):
        assert shown.avail.any(axis=-1).all() and np.isfinite(shown.obs).all()
        before = shown
        actions = jax.random.categorical(jax.random.fold_in(key, t), jnp.where(shown.avail, 0.0, -jnp.inf))
        state, shown = step(state, actions)
        ended = np.asarray(before.done)
        assert (np.asarray(shown.reward)[ended] == 0).all()
        np.testing.assert_array_equal(np.asarray(shown.obs)[ended], np.asarray(before.obs)[ended])
    assert shown.done.all()


@pytest.mark.skipif(not HAS, reason="needs JaxMARL (pip install 'seca[jaxmarl]')")
def test_jaxmarls_refusals() -> None:
    with pytest.raises(ValueError, match="`env` 'jaxmarl:nope' does not exist; choose from MPE_simple_v3"):
        registry.make("jaxmarl:nope")
    with pytest.raises(ValueError, match="`env-options` do not fit jaxmarl:overcooked: TypeError"):
        registry.make("jaxmarl:overcooked", {"nonsense": 1})
    for option in ("name", "env_id", "nonsense"):
        for name in ("MPE_simple_spread_v3", "HeuristicEnemySMAX"):
            with pytest.raises(ValueError, match=f"`env-options` do not fit jaxmarl:{name}: .*{option}"):
                registry.make(f"jaxmarl:{name}", {option: 1})
    # What `SimpleMPE` finds by itself, and what its children hand on to it.
    assert registry.make("jaxmarl:MPE_simple_spread_v3", {"damping": 0.5, "max_steps": 9}).spec.episode_limit == 9
    with pytest.raises(ValueError, match="`env` jaxmarl:storm shows no observation of agent 0, but inventory"):
        registry.make("jaxmarl:storm", {"limit": 5})
