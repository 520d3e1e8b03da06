"""JAX's flags change nothing: not 64-bit numbers, not the ambient generator, not how strict promotion is."""

import dataclasses
import re
import subprocess
import sys
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab
from tiers import cases

from seca.envs import registry
from seca.smac import policy, scenario, scripts, simulator
from seca.smac.views.battle import SingleBattle
from seca.smac.views.jaxmarl import SmacJaxEnv
from seca.types import PyTree

MAPS = scenario.map_names()
VARIANTS: list[dict[str, Any]] = [
    *({"opponent": name} for name in scripts.OPPONENTS),
    {"call_for_help": True, "medivac_follows": False},
    {"reward_sparse": True, "jitter": False},
    {"reward_only_positive": False, "reward_scale": False, "reward_defeat": -1.0},
    {"reward_abs": False, "obs_instead_of_state": True},
    {"obs_all_health": False, "obs_own_health": False, "obs_last_action": True},
    {"obs_pathing_grid": True, "obs_terrain_height": True, "state_last_action": False},
    {"obs_timestep_number": True, "state_timestep_number": True},
    {"profile": "ladder410", "creep_decay": True},
]
"""Options that between them take every path of the code."""
WIDE = re.compile(r"\b[fiu]64\[[^\]]")
"""An array of 64-bit numbers in the text of a program. (Single ones are literals and counters.)"""


def _dtypes(tree: PyTree) -> dict[str, tuple]:
    """Shapes and dtypes by name."""
    leaves = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): (leaf.shape, str(leaf.dtype)) for path, leaf in leaves}


def _played(battles, n_agents: int, action_dtype=jnp.int32) -> tuple[dict, dict, str]:
    """Dtypes of two battles at their start and after a step, and the program of both."""

    def play(keys, actions):
        first = battles.reset(keys)
        return first, battles.step(first[0], actions)

    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
    program, shapes = jax.make_jaxpr(play, return_shape=True)(keys, jax.ShapeDtypeStruct((2, n_agents), action_dtype))
    first, after = (_dtypes(part) for part in shapes)
    return first, after, str(program)


STRICT = {"numpy_rank_promotion": "raise", "numpy_dtype_promotion": "strict"}


def _check(battles, n_agents: int) -> None:
    """With 64-bit numbers: the dtypes there are without, from the first step on, and no array of 64 bits inside."""
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
    usual = _dtypes(jax.eval_shape(battles.reset, keys))
    with smac_lab.flags(enable_x64=True, **STRICT):
        first, after, program = _played(battles, n_agents)
    assert first == after == usual
    assert not WIDE.search(program)


@pytest.mark.slow
@pytest.mark.parametrize("turn", cases(range(len(VARIANTS)), *range(0, len(VARIANTS), 3)))
def test_64_bit_numbers_change_no_program(turn):
    """All maps and all options, in turn."""
    for name in MAPS[turn :: len(VARIANTS)]:
        battles = simulator.make(name, **VARIANTS[turn])
        _check(battles, battles.battlefield.n_agents)


def _policy_battles() -> simulator.Simulator:
    """Battles against a policy that draws its actions."""
    field = scenario.load("3m")

    def act(carry, shown, keys):
        noise = jax.vmap(lambda key: jax.random.gumbel(key, shown.avail.shape[1:], jnp.float32))(keys)
        return carry + 1, jnp.argmax(jnp.where(shown.avail, noise, -jnp.inf), axis=-1)

    opponent = policy.policy_opponent(field, scenario.Options(), lambda batch: jnp.zeros((batch, 1), jnp.int32), act)
    return simulator.Simulator(field, scenario.Options(), opponent)


@pytest.mark.slow
def test_64_bit_numbers_and_policies_matrix_games_and_jaxmarl():
    """Whatever a policy returns, 64 bits or not, orders are what they were."""
    battles = _policy_battles()
    first, after, _ = _played(battles, 3)
    with smac_lab.flags(enable_x64=True, **STRICT):
        assert _played(battles, 3)[:2] == (first, after)
    assert first == after
    for name in ("matrix/focus-fire", "matrix/qtran", "matrix/additive"):
        env = registry.make(name)
        _check(env, env.spec.n_agents)
    env = SmacJaxEnv("3m")
    key = jax.eval_shape(lambda: jax.random.key(0))

    def steps(key, actions):
        _, state = env.reset(key)
        told = env.step(key, state, actions)
        return state, told[1], told, env.step_env(key, state, actions)

    actions = dict.fromkeys(env.agents, jax.ShapeDtypeStruct((), jnp.int32))
    usual = jax.eval_shape(steps, key, actions)
    with smac_lab.flags(enable_x64=True, **STRICT):
        assert _dtypes(jax.eval_shape(steps, key, actions)) == _dtypes(usual)
    assert _dtypes(usual[0]) == _dtypes(usual[1])


HOSTILE = {"enable_x64": True, "default_prng_impl": "rbg", "threefry_partitionable": False, **STRICT}


def _frames(steps: int) -> list[dict]:
    """What a battle of seed 5 shows when agents go east until they can shoot."""
    single = SingleBattle("3m", {})
    frames = [single.reset(seed=5)]
    while len(frames) <= steps:
        actions = [4 if row[4] and row[6:].sum() == 0 else np.flatnonzero(row)[-1] for row in frames[-1].avail]
        frames.append(single.step(np.array(actions)))
    return [dataclasses.asdict(frame) for frame in frames]


@pytest.mark.slow
def test_the_views_play_the_same_battles_under_any_flags():
    usual = _frames(24)
    with smac_lab.flags(**HOSTILE):
        flagged = _frames(24)
    jax.tree.map(np.testing.assert_array_equal, flagged, usual)
    assert jax.tree.map(np.result_type, flagged) == jax.tree.map(np.result_type, usual)
    assert any(frame["reward"] > 0 for frame in usual)


@pytest.mark.slow
@pytest.mark.parametrize("map_name", cases(["3m", "MMM", "2c_vs_64zg", "so_many_baneling"]))
def test_64_bit_numbers_change_no_number(map_name, usual_programs):
    """Battles with missiles, healing, beams and blasts in a scan, exactly.

    As users compile them: hardly optimised, a division may be rounded otherwise.
    """
    battles = simulator.make(map_name, opponent="nearest")

    def step(battle, _):
        _, actions = scripts.attack_nearest(battles.battlefield, battle, ())
        after, shown = battles.step(battle, actions.T)
        return after, shown

    def whole(keys):
        return jax.lax.scan(step, battles.reset(keys)[0], None, length=30)

    keys = jax.random.split(jax.random.key(0), 2)
    usual = jax.jit(whole)(keys)
    with smac_lab.flags(enable_x64=True):
        wide = jax.jit(whole)(keys)
    jax.tree.map(np.testing.assert_array_equal, wide, usual)
    assert _dtypes(wide) == _dtypes(usual)


CHANGES_NOTHING = """
import logging, os, random, sys, warnings
import gymnasium, jax, numpy, pettingzoo

def seen():
    return {
        "warnings": (list(warnings.filters), warnings.showwarning),
        "logging": (logging.root.level, list(logging.root.handlers)),
        "environment": dict(os.environ),
        "generators": (random.getstate(), str(numpy.random.get_state())),
        "numpy": (numpy.geterr(), numpy.get_printoptions()),
        "jax": dict(jax.config.values),
        "python": (list(sys.path), sys.getrecursionlimit(), sys.excepthook, sys.stdout),
    }

before = seen()
import seca
from seca.host import throughput
from seca.smac import policy, trace
from seca.smac.views import gymnasium, jaxmarl, pettingzoo, pymarl
gymnasium.SmacEnv("3m").reset(seed=1)
for view in (jaxmarl.SmacJaxEnv, pettingzoo.SmacParallelEnv, pymarl.SmacMultiAgentEnv):
    view("corridor")
seca.make("matrix/qtran"), seca.make("smac/3m", {"opponent": "kite"})
after = seen()
print([name for name in before if before[name] != after[name]])
"""


@pytest.mark.slow
def test_importing_and_using_it_changes_nothing_global():
    ended = subprocess.run([sys.executable, "-c", CHANGES_NOTHING], check=True, capture_output=True, text=True)
    assert (ended.stdout, ended.stderr) == ("[]\n", "")
