"""What users may copy or send to a worker: views in the middle of a battle, environments, and what they are made of."""

import concurrent.futures
import copy
import dataclasses
import functools
import multiprocessing
import pickle
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from views_lab import legal

import seca
from seca.smac import policy, scenario, simulator
from seca.smac.opponent import SCRIPTED, Opponent
from seca.smac.views.battle import SingleBattle
from seca.smac.views.gymnasium import SmacEnv
from seca.smac.views.jaxmarl import SmacJaxEnv
from seca.smac.views.pettingzoo import SmacParallelEnv
from seca.smac.views.pymarl import SmacMultiAgentEnv

COPIES = {"pickled": lambda value: pickle.loads(pickle.dumps(value)), "copied": copy.deepcopy}


def _battle(single: SingleBattle, steps: int) -> list[Any]:
    rng, told = np.random.default_rng(0), []
    frame = single.frame
    for _ in range(steps):
        assert frame is not None
        frame = single.reset() if frame.done else single.step(legal(frame.avail, rng))
        told.append((frame.obs, frame.state, frame.avail, frame.reward, frame.done, frame.info()))
    return told


def _gymnasium(env: SmacEnv, steps: int) -> list[Any]:
    told: list[Any] = []
    for _ in range(steps):
        told.append(env.step(env.action_space.sample()))
        if told[-1][2] or told[-1][3]:
            told.append(env.reset())
    return [*told, env.np_random.random()]


def _pettingzoo(env: SmacParallelEnv, steps: int) -> list[Any]:
    told: list[Any] = []
    for _ in range(steps):
        told.append(env.step({agent: env.action_space(agent).sample() for agent in env.agents}))
        if not env.agents:
            told.append(env.reset())
    return [*told, env.state()]


def _pymarl(env: SmacMultiAgentEnv, steps: int) -> list[Any]:
    rng, told = np.random.default_rng(0), []
    for _ in range(steps):
        told.append(env.step(legal(np.array(env.get_avail_actions(), bool), rng)))
        told.append((env.get_obs(), env.get_state(), env.get_visibility_matrix()))
        if told[-2][1]:
            env.reset()
    return [*told, env.get_stats()]


def _started(make: Any) -> Any:
    env = make("3m")
    env.reset(**({} if make is SmacMultiAgentEnv else {"seed": 3}))
    return env


VIEWS = {
    "battle": (lambda: _started(functools.partial(SingleBattle, options={})), _battle),
    "gymnasium": (lambda: _started(SmacEnv), _gymnasium),
    "pettingzoo": (lambda: _started(SmacParallelEnv), _pettingzoo),
    "pymarl": (lambda: _started(SmacMultiAgentEnv), _pymarl),
}


def _same(one: Any, other: Any) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.slow
@pytest.mark.parametrize("view", VIEWS)
def test_copies_of_views_go_on_alike(view):
    """From the middle of a battle to its end and beyond: the same observations, rewards and next battles."""
    make, go_on = VIEWS[view]
    env = make()
    go_on(env, 5)
    copies = [copied(env) for copied in COPIES.values()]
    told = go_on(env, 90)
    for other in copies:
        _same(go_on(other, 90), told)


@pytest.mark.slow
def test_a_view_goes_on_in_a_spawned_process():
    env = _started(SmacEnv)
    _gymnasium(env, 5)
    with concurrent.futures.ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as workers:
        elsewhere = workers.submit(_gymnasium, env, 40)
        here = _gymnasium(copy.deepcopy(env), 40)
        _same(elsewhere.result(timeout=300), here)


def test_copies_of_views_share_their_programs():
    single = SingleBattle("3m", {})
    for copied in COPIES.values():
        other = copied(single)
        assert other._step is single._step and other.simulator is single.simulator and other.frame is None


def _program(battles: Any, n_agents: int) -> list[str]:
    """What it does, operation after operation."""

    def play(keys, actions):
        return battles.step(battles.reset(keys)[0], actions)

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
    text = str(jax.make_jaxpr(play)(keys, jax.ShapeDtypeStruct((2, n_agents), jnp.int32)))
    return re.findall(r":(\w+\[[^]]*\]) = (\w+)", text)


def _first(carry: tuple, shown: Any, keys: Any) -> tuple:
    del keys  # Deterministic.
    return carry, jnp.argmax(shown.avail, axis=-1)


def _nothing(batch: int) -> tuple:
    del batch  # Nothing to remember.
    return ()


def _closing(more: Any, field: scenario.Scenario, battle: Any) -> Any:
    del more, field  # A partial's own.
    return battle


FIELD = scenario.load("3m")
POLICY = policy.policy_opponent(FIELD, scenario.Options(), _nothing, _first)


@pytest.mark.slow
def test_copies_of_environments_are_the_same_programs(tmp_path):
    path = tmp_path / "mine.toml"
    team = "[{ unit = 'marine', count = 3, at = [9, 16] }]"
    rest = "attack = {}\nterrain = 'simple'"
    path.write_text(f"limit = 9\nallies = {team}\nenemies = {team.replace('9', '23')}\n{rest}")
    for env in (
        seca.make("smac/3m", {"opponent": "kite"}),
        seca.make(f"smac:{path}"),
        seca.make("matrix/additive"),
        simulator.Simulator(FIELD, scenario.Options(), POLICY),
    ):
        program = _program(env, 3)
        assert len(program) > 3
        for copied in COPIES.values():
            assert _program(copied(env), 3) == program


@pytest.mark.slow
def test_copies_of_parts():
    shown = jax.jit(simulator.make("3m").reset)(jax.random.split(jax.random.key(0), 2))
    for copied in COPIES.values():
        for value in (shown, scenario.Options(jitter=False), seca.make("smac/3m").spec, FIELD.attack):
            _same(copied(value), value)
        other = copied(FIELD)
        assert all(np.array_equal(value, vars(other)[name]) for name, value in vars(FIELD).items())


def test_copies_of_the_jaxmarl_view():
    env = SmacJaxEnv("3m")
    keys = jax.random.split(jax.random.key(0), 2)

    def program(view: SmacJaxEnv) -> str:  # Older versions of JAX print where a function lies.
        return re.sub(" at 0x[0-9a-f]+", "", str(jax.make_jaxpr(jax.vmap(view.reset))(keys)))

    for copied in COPIES.values():
        other = copied(env)
        assert program(other) == program(env) and other.agents == env.agents


def test_an_opponent_without_names_says_what_to_do():
    local = Opponent(SCRIPTED.init, lambda field, battle: battle, name="mine")
    for wrong in (local, simulator.Simulator(FIELD, scenario.Options(), local)):
        with pytest.raises(
            TypeError, match="opponent 'mine' cannot be pickled: `act` holds <function .*; use functions"
        ):
            pickle.dumps(wrong)
        copy.deepcopy(wrong)
    compiled = dataclasses.replace(SCRIPTED, init=jax.jit(_nothing), name="fast")
    closing = dataclasses.replace(SCRIPTED, init=functools.partial(_closing, lambda: 0), name="closing")
    for name, wrong in (("fast", compiled), ("closing", closing)):
        with pytest.raises(TypeError, match=f"opponent '{name}' cannot be pickled: `init` holds "):
            pickle.dumps(wrong)
    assert pickle.loads(pickle.dumps(SCRIPTED)).name == "scripted"
