"""One contract over the whole table of presets: build, train, stop, go on, refuse."""

import dataclasses
import functools
import pathlib
import re
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
import pytest
from games import solved, unsolved_seed
from sizes import small
from tiers import cases

from seca.algos.base import Algorithm
from seca.config import LoopConfig, from_preset
from seca.envs import registry
from seca.envs.base import Env
from seca.envs.registry import make
from seca.errors import UsageError
from seca.host import machine
from seca.host.display import PlainDisplay
from seca.learning.buffer import episode_bytes
from seca.presets import PRESETS, build, compared
from seca.runs import run
from seca.train import checkpoint
from seca.train.evaluate import make_evaluate
from seca.train.iterate import make_iterate
from seca.train.state import TrainState, init_state
from seca.types import PyTree

RUNNERS = 8
METHODS = [name for name in PRESETS if compared(name) or name == "seca-paper"]
"""One program each, in one size: those with published numbers are built, all of them, in `test_references.py`."""
SCENARIO = """
limit = 6
terrain = "simple"
allies = [{ unit = "marine", count = 2, at = [12, 16] }]
enemies = [{ unit = "zealot", count = 1, at = [16, 16] }]
attack = { point = [12, 16] }
"""


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A battle of two marines and a zealot, over after six steps, as an environment of one's own."""
    path = tmp_path_factory.mktemp("scenario") / "tiny.toml"
    path.write_text(SCENARIO)
    return f"smac:{path}"


def leaves(state: PyTree) -> list[np.ndarray]:
    return [
        np.asarray(jax.random.key_data(leaf) if jax.dtypes.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf)
        for leaf in jax.tree.leaves(state)
    ]


def goes_on_from_its_checkpoints(
    algorithm: Algorithm, iterate: Callable, runners: int, path: pathlib.Path, seed: int = 0
) -> TrainState:
    """Three updates; the third comes out the same bit for bit from a checkpoint, with all that was replayed."""
    state = init_state(algorithm, seed)
    before = leaves(state.learner)
    for _ in range(2):
        state, metrics = iterate(state)
        assert all(np.isfinite(np.asarray(value)).all() for value in metrics.values())
    checkpoint.save(path, "latest", state, {})
    checkpoint.save(path, "best", state.without_replay(), {})
    unbroken, _ = iterate(state)
    # From another seed: whatever a checkpoint left out would show.
    template = init_state(algorithm, seed + 1)
    resumed, _ = iterate(checkpoint.load(checkpoint.find(path, "latest")[0], template))
    for one, other in zip(leaves(unbroken), leaves(resumed), strict=True):
        np.testing.assert_array_equal(one, other)
    after = leaves(unbroken.learner)
    assert any((one != other).any() for one, other in zip(before, after, strict=True))
    assert int(unbroken.episodes) == 3 * runners

    fresh = init_state(algorithm, seed + 1)
    stored = checkpoint.load(checkpoint.find(path, "best")[0], fresh.without_replay())
    again, metrics = iterate(dataclasses.replace(stored, replay=fresh.replay))
    assert int(again.episodes) == 3 * runners and all(np.isfinite(np.asarray(v)).all() for v in metrics.values())
    return unbroken


@pytest.mark.every
@pytest.mark.parametrize("name", METHODS)
def test_trains_on_a_battle(name: str, tiny: str, tmp_path: pathlib.Path) -> None:
    env = make(tiny)
    algorithm = build(name, env.spec, small(name))
    iterate = make_iterate(env, algorithm, RUNNERS, jax.devices()[:1])
    goes_on_from_its_checkpoints(algorithm, iterate, RUNNERS, tmp_path)


@pytest.mark.every
@pytest.mark.parametrize("name", ["riit-reference", "scc-reference", "vmix-reference"])
def test_references_train_on_a_battle(name: str, tiny: str, tmp_path: pathlib.Path) -> None:
    """Where a reference goes another way through the update: latest beside replayed episodes, sampler, masked floor."""
    env = make(tiny)
    changes: dict[str, Any] = {"latest_episodes": 12} if name == "riit-reference" else {}
    algorithm = build(name, env.spec, small(name, **changes))
    iterate = make_iterate(env, algorithm, RUNNERS, jax.devices()[:1])
    goes_on_from_its_checkpoints(algorithm, iterate, RUNNERS, tmp_path)


def on_focus_fire(name: str) -> tuple[Env, Algorithm, Callable]:
    """A preset in its own sizes on the game of Fig. 1."""
    env = make("matrix/focus-fire")
    algorithm = build(name, env.spec, PRESETS[name].config)
    return env, algorithm, make_iterate(env, algorithm, 32, jax.devices()[:1])


VALUE_BASED = [name for name in METHODS if PRESETS[name].group == "value-based"]


@pytest.mark.parametrize("name", cases([name for name in METHODS if name not in VALUE_BASED]))
def test_trains_on_a_matrix_game_and_solves_it(name: str, tmp_path: pathlib.Path) -> None:
    """From a start that does not solve it: some networks happen to."""
    env, algorithm, iterate = on_focus_fire(name)
    evaluate = make_evaluate(env, algorithm, 32, jax.devices()[:1])
    seed = unsolved_seed(evaluate, algorithm, 1.0)
    state = goes_on_from_its_checkpoints(algorithm, iterate, 32, tmp_path, seed)
    solved(evaluate, 1.0, 297, (iterate, state))


@pytest.mark.parametrize("name", cases([name for name in VALUE_BASED if name != "qatten"], "qmix", slow=True))
def test_learns_values_on_a_matrix_game(name: str, tmp_path: pathlib.Path) -> None:
    """What Q-learners solve is in test_value_games.py: it takes more updates than a policy needs."""
    _, algorithm, iterate = on_focus_fire(name)
    goes_on_from_its_checkpoints(algorithm, iterate, 32, tmp_path)


def test_qatten_needs_the_parts_of_a_state() -> None:
    """Its attention reads agents' features where SMAC's state has them; a matrix game has no such state."""
    with pytest.raises(ValueError, match="`env` is matrix/qtran: Qatten reads .*; choose a smac/ environment"):
        build("qatten", make("matrix/qtran").spec, small("qatten"))


@functools.cache
def on_map(env: str) -> Env:
    """An environment, built once for all methods: on a large map that takes longer than the estimate."""
    return make(env)


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize("map_name", cases(["2s3z", "MMM2", "27m_vs_30m"], "MMM2"))
def test_what_does_not_fit_is_refused(name: str, map_name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before compiling, with the estimate; with a MiB nothing trains, with 256 GiB everything does."""
    config = dataclasses.replace(from_preset(name), env=f"smac/{map_name}", loop=LoopConfig(runners=32))
    monkeypatch.setattr(registry, "make", lambda env, options, hosting: on_map(env))
    monkeypatch.setattr(machine, "free_memory", lambda device: 2**20)
    with pytest.raises(UsageError, match=rf"training {name} on smac/{map_name} needs about [0-9.]+ GiB and 0.0 GiB"):
        run.prepare(config)
    monkeypatch.setattr(machine, "free_memory", lambda device: 2**38)
    assert 2**20 < run.prepare(config).needed < 2**38


@pytest.mark.parametrize(
    "changes",
    [
        {"credit": "shapley", "credit_orders": 40_000},
        {"credit": "monte_carlo", "credit_samples": 100_000},
        {"credit": "exact"},
    ],
    ids=lambda changes: changes["credit"],
)
def test_what_a_credit_evaluates_counts(changes: dict[str, Any]) -> None:
    spec = make("smac/2s_vs_1sc" if changes["credit"] == "exact" else "smac/3s5z").spec
    plain, much = (build("seca", spec, dataclasses.replace(PRESETS["seca"].config, **c)) for c in ({}, changes))
    assert much.memory(32) > plain.memory(32) + (2**20 if changes["credit"] == "exact" else 2**30)


@pytest.mark.parametrize("name", VALUE_BASED)
def test_buffers_are_smaller_where_episodes_are_larger(name: str) -> None:
    """5,000 episodes on 2s3z; as many as fit in `buffer_gib` on the large maps."""
    config: Any = PRESETS[name].config
    held = {}
    for map_name in ("2s3z", "MMM2", "27m_vs_30m"):
        spec = on_map(f"smac/{map_name}").spec
        size = build(name, spec, config).buffer_bytes
        assert 0 < size <= config.buffer_gib * 2**30
        held[map_name] = size / episode_bytes(spec)
    # Those of the table in docs/choose.md.
    assert held == {"2s3z": 5000, "MMM2": 1391, "27m_vs_30m": 325}


def test_the_estimate_is_printed_before_compiling(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    printed: list[str] = []
    monkeypatch.setattr(PlainDisplay, "note", lambda self, text: printed.append(text))

    class CompilingError(Exception):
        pass

    def compiles(*arguments: object) -> None:
        raise CompilingError

    monkeypatch.setattr(run, "start_compiling", compiles)
    config = dataclasses.replace(from_preset("vdn"), env="matrix/focus-fire")
    with pytest.raises(CompilingError):
        run.start(config, tmp_path / "run", PlainDisplay(100))
    assert any(re.search(r"memory: about \d+\.\d\d GiB of \d+\.\d GiB free, 0.\d\d GiB of it", x) for x in printed)
