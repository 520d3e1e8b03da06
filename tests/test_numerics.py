"""Whatever is set around us, our numbers stay; what may change them is told."""

import json
import os
import pathlib
import subprocess
import sys
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from run_files import metric_lines
from tiers import cases

import seca as package
from seca import numerics
from seca.envs import registry
from seca.host import machine
from seca.presets import PRESETS, build
from seca.runs import folder as folders
from seca.runs import run
from seca.runs.load import LoadedRun
from seca.smac import simulator
from seca.smac.views.battle import SingleBattle, _compiled
from seca.train.evaluate import make_evaluate
from seca.train.iterate import make_iterate
from seca.train.state import init_state

AROUND = {
    "JAX_ENABLE_X64": "1",
    "JAX_DEFAULT_PRNG_IMPL": "rbg",
    "JAX_THREEFRY_PARTITIONABLE": "0",
    "JAX_RANDOM_SEED_OFFSET": "7",
    "JAX_HIGH_DYNAMIC_RANGE_GUMBEL": "1",
    "JAX_NUMPY_DTYPE_PROMOTION": "strict",
    "JAX_NUMPY_RANK_PROMOTION": "raise",
    "JAX_DISABLE_JIT": "1",
    "JAX_DEBUG_KEY_REUSE": "1",
    "JAX_TRANSFER_GUARD": "disallow",
    "JAX_USE_SHARDY_PARTITIONER": "0",
}
"""Each breaks a run, or gives it other numbers, where nothing is done about it."""


@pytest.mark.slow
def test_a_run_has_its_own_numbers(finished_run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """Repeated from its config.json with all of them set at once, from start to end: the same metrics, bit for bit."""
    path = tmp_path / "run"
    command = [sys.executable, "-m", "seca", "train", "--config", finished_run / "config.json"]
    ended = subprocess.run([*command, "--out", path], env=os.environ | AROUND, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stderr
    assert metric_lines(path) == metric_lines(finished_run)


@pytest.mark.parametrize(("name", "value"), [("JAX_ENABLE_X64", "banana"), ("JAX_NUM_CPU_DEVICES", "x")])
def test_a_setting_that_jax_cannot_read(name: str, value: str) -> None:
    command = [sys.executable, "-m", "seca", "doctor"]
    ended = subprocess.run(command, env=os.environ | {name: value}, capture_output=True, text=True)
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert line.startswith("seca: ") and value in line and name.lower() in line.lower()


FOREIGN = {
    "jax_enable_x64": True,
    "jax_default_prng_impl": "rbg",
    "jax_threefry_partitionable": False,
    "jax_random_seed_offset": 7,
    "jax_high_dynamic_range_gumbel": True,
    "jax_numpy_dtype_promotion": "strict",
    "jax_numpy_rank_promotion": "raise",
}


def test_all_that_is_pinned_and_changes_numbers_is_tried() -> None:
    pinned = set(numerics._PINNED)
    ahead = [name for name in pinned if "transfer" in name or "error" in name or "no_" in name]
    others = {"jax_disable_jit", "jax_debug_key_reuse", "jax_use_shardy_partitioner", "jax_scan3"}
    assert pinned - set(ahead) - others == set(FOREIGN)


@pytest.mark.parametrize("seed", [0, 5, 2**31 + 3, 2**32 - 1, 2**40 + 7])
def test_a_key_is_jaxs_own(seed: int, request: pytest.FixtureRequest) -> None:
    of_jax = np.asarray(jax.random.key_data(jax.random.key(seed, impl=numerics.GENERATOR)))
    np.testing.assert_array_equal(jax.random.key_data(numerics.key(seed)), of_jax)
    np.testing.assert_array_equal(jax.random.key_data(jax.jit(numerics.key)(jnp.uint32(seed % 2**32))), of_jax)
    request.getfixturevalue("foreign")
    with numerics.own():
        np.testing.assert_array_equal(jax.random.key_data(numerics.key(seed)), of_jax)


@pytest.fixture
def foreign() -> Iterator[None]:
    """Somebody's own program around ours: other types, another generator, strict promotion."""
    before = {name: jax.config.values[name] for name in FOREIGN}
    for name, value in FOREIGN.items():
        jax.config.update(name, value)
    try:
        yield
        assert {name: jax.config.values[name] for name in FOREIGN} == FOREIGN, "the program's settings are as they were"
        assert jnp.ones(()).dtype == jnp.float64
    finally:
        for name, value in before.items():
            jax.config.update(name, value)


def _play(path: pathlib.Path) -> list[np.ndarray]:
    """Sampled and greedy actions of a run, and what an evaluation of it says."""
    env, loaded = registry.make("matrix/focus-fire"), package.load(path, seed=3)
    assert isinstance(loaded, LoadedRun)
    with numerics.own():
        _, shown = env.reset(jax.random.split(numerics.key(0), 8))
    acted = [loaded.act(shown, greedy=greedy) for greedy in (True, False, False)]
    played = make_evaluate(loaded.env, loaded.algorithm, 8, jax.devices()[:1])(loaded.state)
    return [np.asarray(x) for x in (*acted, *played.values())]


def _assert_equal(ours: list[np.ndarray], theirs: list[np.ndarray]) -> None:
    for mine, other in zip(ours, theirs, strict=True):
        assert mine.dtype == other.dtype
        np.testing.assert_array_equal(mine, other)


@pytest.mark.slow
def test_a_loaded_run_acts_alike_in_any_program(finished_run: pathlib.Path, request: pytest.FixtureRequest) -> None:
    before = _play(finished_run)
    request.getfixturevalue("foreign")
    _assert_equal(_play(finished_run), before)


@pytest.mark.slow
def test_arrays_of_64_bits_are_taken(finished_run: pathlib.Path, foreign: None) -> None:
    loaded = package.load(finished_run)
    _, shown = registry.make("matrix/focus-fire").reset(jax.random.split(jax.random.key(0), 4))
    wide = jax.tree.map(lambda x: x.astype(jnp.float64) if x.dtype == jnp.float32 else x, shown)
    assert wide.obs.dtype == jnp.float64
    _assert_equal([np.asarray(loaded.act(wide))], [np.asarray(loaded.act(shown))])


def test_a_loaded_run_acts_where_transfers_are_watched(finished_run: pathlib.Path) -> None:
    loaded, key = package.load(finished_run), jax.random.key(0)
    _, shown = registry.make("matrix/focus-fire").reset(jax.random.split(key, 4))
    before = np.asarray(loaded.act(shown))
    with jax.transfer_guard("disallow"):
        acted = loaded.act(shown)
    np.testing.assert_array_equal(np.asarray(acted), before)


@pytest.mark.slow
@pytest.mark.parametrize("preset", cases(["seca", "qmix"]))
def test_an_update_is_the_same_in_any_program(preset: str, request: pytest.FixtureRequest) -> None:
    def updated() -> list[np.ndarray]:
        env = registry.make("matrix/peak")
        algorithm, devices = build(preset, env.spec, PRESETS[preset].config), jax.devices()[:1]
        state, metrics = make_iterate(env, algorithm, 32, devices)(init_state(algorithm, 5))
        leaves = [leaf for leaf in jax.tree.leaves((state, metrics)) if leaf.size < 10**6]  # Not the replay buffer.
        return [np.asarray(leaf) for leaf in leaves]

    before = updated()
    request.getfixturevalue("foreign")
    _assert_equal(updated(), before)


@pytest.mark.slow
def test_battles_are_the_same_in_any_program(request: pytest.FixtureRequest) -> None:
    """Of the simulator by key, of a view by seed, steps included."""

    def played() -> list[np.ndarray]:
        keys = numerics.typed(jnp.arange(6, dtype=jnp.uint32).reshape(3, 2))
        battle, _ = jax.jit(simulator.make("3m").reset)(keys)
        view = SingleBattle("3m", {})
        first, later = view.reset(seed=4), view.step([1, 1, 1])
        return [np.asarray(battle.seed), first.obs, later.obs, later.state]

    before = played()
    request.getfixturevalue("foreign")
    _compiled.cache_clear()
    _assert_equal(played(), before)


def test_what_stays_free_is_told(copied_run: pathlib.Path) -> None:
    """A session that multiplies in another precision than the one before it says so."""
    prepared = run.prepare(folders.read_config(copied_run / "config.json"))
    environment = json.loads((copied_run / "environment.json").read_text())
    environment["sessions"][-1] |= machine.session(prepared.devices)
    (copied_run / "environment.json").write_text(json.dumps(environment))
    folder = folders.RunFolder(copied_run)
    assert run.session_changes(folder, prepared) == []
    jax.config.update("jax_default_matmul_precision", "bfloat16")
    try:
        assert numerics.free() == {"jax_default_matmul_precision": "bfloat16"}
        [warning] = run.session_changes(folder, prepared)
    finally:
        jax.config.update("jax_default_matmul_precision", None)
    assert 'jax_options {} -> {"jax_default_matmul_precision": "bfloat16"}' in warning
    # Runs made before this was kept ran with JAX's defaults, as far as anybody knows.
    del environment["sessions"][-1]["jax_options"]
    (copied_run / "environment.json").write_text(json.dumps(environment))
    assert run.session_changes(folder, prepared) == []
