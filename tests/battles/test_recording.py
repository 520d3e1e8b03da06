"""A recording holds the battle that the environment played, and its file is refused when it was changed."""

import dataclasses
import functools
import json
import pathlib
import zipfile
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import cases

from seca.battles import play, recording
from seca.battles.recording import Recording
from seca.config import RunConfig
from seca.envs import registry
from seca.errors import UsageError
from seca.runs import stats
from seca.runs.load import LoadedRun, build_run
from seca.smac import scenario, trace
from seca.train import rollout
from seca.train.state import init_state

# Bit for bit: two programs of the same battle agree so as users have them, hardly optimised they need not.
pytestmark = pytest.mark.usefixtures("usual_programs")


@functools.cache
def battles(map_name: str) -> list[Recording]:
    """Battle 1 of seed 3, the same again, and battle 2, of the heuristic."""
    env = registry.make(f"smac/{map_name}")
    return play.record(env, play.scripted("heuristic", play.simulator_of(env)), 3, [1, 1, 2])


def played(map_name: str) -> Recording:
    return battles(map_name)[0]


MAPS = ["2s3z", "MMM", "27m_vs_30m"]


@pytest.mark.slow
@pytest.mark.parametrize("map_name", cases(MAPS, "2s3z"))
def test_equals_the_environment_bit_for_bit(map_name: str) -> None:
    """The same actions and key in `env.step`: every reward, flag, and unit at the end of every step."""
    recorded = played(map_name)
    env = registry.make(f"smac/{map_name}")
    key = jax.random.split(jax.random.fold_in(stats.evaluation_key(3), 1))[0]
    step = jax.jit(env.step)
    state, time_step = jax.jit(env.reset)(key[None])
    for t in range(recorded.n_steps + 1):
        np.testing.assert_array_equal(recorded.alive[8 * t], np.asarray(state.units.alive)[:, 0])
        for name in ("x", "y", "health", "shield"):
            np.testing.assert_array_equal(getattr(recorded, name)[8 * t], np.asarray(getattr(state.units, name))[:, 0])
        if t == recorded.n_steps:
            break
        np.testing.assert_array_equal(recorded.avail[t], time_step.avail[0])
        state, time_step = step(state, jnp.asarray(recorded.actions[t][None], jnp.int32))
        assert recorded.reward[t] == time_step.reward[0]
        assert (recorded.terminated[t], recorded.truncated[t]) == (time_step.terminated[0], time_step.truncated[0])
        assert recorded.won[t] == time_step.info["won"][0]
        assert time_step.done[0] == (t == recorded.n_steps - 1)


@pytest.mark.slow
def test_actions_were_available_and_the_seed_decides() -> None:
    recorded, again, other = battles("2s3z")
    assert np.take_along_axis(recorded.avail, recorded.actions[..., None].astype(int), axis=-1).all()
    np.testing.assert_array_equal(again.x, recorded.x)
    np.testing.assert_array_equal(again.actions, recorded.actions)
    assert other.x.shape != recorded.x.shape or (other.x != recorded.x).any()


@pytest.mark.slow
def test_shots_hurt_their_targets() -> None:
    """A zealot's shot hits in its own loop; nobody shoots a friend, the dead, or while out of range."""
    recorded = played("2s3z")
    frames, shooters = np.nonzero(recorded.shot)
    victims = recorded.target[frames, shooters]
    assert len(frames) > 20
    assert (recorded.engaged[frames, shooters] & recorded.alive[frames - 1, shooters]).all()
    assert ((victims < 5) != (shooters < 5)).all()
    assert recorded.alive[frames - 1, victims].all()
    zealots = np.array([name == "zealot" for name in recorded.unit_names])[shooters]
    lost = np.diff(recorded.health + recorded.shield, axis=0)[frames - 1, victims]
    assert zealots.any()
    assert (lost[zealots] < 0).all()
    # A unit shoots no faster than its weapon: at most a loop of luck below its period, to the nearest loop.
    period = scenario.load("2s3z").period[:, 0]
    for unit in range(10):
        assert (np.diff(frames[shooters == unit]) >= np.floor(period[unit] - 1.0)).all()


def test_a_trace_ends_where_the_step_does_not_begin() -> None:
    """Within a step units walk: the rows of a trace are all different, and no unit jumps."""
    recorded = played("2s3z")
    stride = np.hypot(np.diff(recorded.x, axis=0), np.diff(recorded.y, axis=0))
    assert (stride.max(axis=1)[:8] > 0).all()
    assert stride.max() < 0.5
    assert trace.RELOADED < scenario.load("2s3z").period.min()


@pytest.mark.every
@pytest.mark.slow
def test_a_run_plays_the_episode_of_evaluate() -> None:
    """Battle i of a seed is episode i of `seca evaluate --seed`, played by the same greedy policy."""
    built = build_run(RunConfig(env="smac/3m"))
    run = LoadedRun(built, init_state(built.algorithm, 0))
    params = run.algorithm.policy(run.state.learner)
    keys = jax.vmap(functools.partial(jax.random.fold_in, stats.evaluation_key(7)))(jnp.arange(3))
    evaluated = jax.jit(functools.partial(rollout.play, run.env, run.algorithm))(params, keys)
    for battle, recorded in enumerate(play.record(run.env, play.of_run(run, "untrained"), 7, range(3))):
        assert recorded.about.policy == "untrained"
        assert recorded.n_steps == evaluated.length[battle]
        assert recorded.won[-1] == evaluated.won[battle]
        assert recorded.episode_return == pytest.approx(float(evaluated.episode_return[battle]), abs=1e-5)


def test_outcomes() -> None:
    recorded = played("2s3z")
    last = recorded.n_steps - 1
    assert (recorded.outcome, recorded.terminated[last]) == ("lost", True)
    assert recorded.sentence().startswith(
        f"lost after {last + 1} steps, return {recorded.episode_return:.2f}; alive: 0 of 5 allies"
    )
    ended = lambda **changes: dataclasses.replace(recorded, **changes).outcome  # noqa: E731
    assert ended(won=np.ones_like(recorded.won)) == "won"
    assert ended(truncated=np.ones_like(recorded.won)) == "time limit"
    assert ended(health=np.zeros_like(recorded.health)) == "draw"


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A recording's file. For reading only."""
    path = tmp_path_factory.mktemp("recordings") / "new" / "battle.npz"
    recording.save(played("2s3z"), path)
    return path


def test_file_round_trip(saved: pathlib.Path) -> None:
    recorded, loaded = played("2s3z"), recording.load(saved)
    assert (loaded.about, loaded.unit_names) == (recorded.about, recorded.unit_names)
    for field in dataclasses.fields(Recording):
        if field.name not in ("about", "unit_names"):
            before, after = getattr(recorded, field.name), getattr(loaded, field.name)
            np.testing.assert_array_equal(before, after)
            assert before.dtype == after.dtype
    assert saved.stat().st_size < 100_000
    assert [path.name for path in saved.parent.iterdir()] == ["battle.npz"]


def test_a_file_is_never_replaced(saved: pathlib.Path) -> None:
    before = saved.read_bytes()
    with pytest.raises(
        UsageError, match=r"`recording` is .*battle\.npz: it exists already .*`seca watch .*battle\.npz --out"
    ):
        recording.save(played("2s3z"), saved)
    assert saved.read_bytes() == before


def _rewrite(source: pathlib.Path, path: pathlib.Path, **changes: Any) -> None:
    """A copy with other arrays, or without those that are None; `about_...` changes an entry of `about`."""
    with np.load(source) as file:
        arrays = dict(file)
    entries = {name.removeprefix("about_"): changes.pop(name) for name in list(changes) if name.startswith("about_")}
    about = json.loads(str(arrays["about"])) | entries
    arrays |= {"about": np.array(json.dumps(about))} | changes
    np.savez_compressed(path, **{name: x for name, x in arrays.items() if x is not None})


def _flip(source: pathlib.Path, path: pathlib.Path) -> None:
    content = bytearray(source.read_bytes())
    with zipfile.ZipFile(source) as file:
        start = file.getinfo("x.npy").header_offset
    content[start + 2000] ^= 1
    path.write_bytes(content)


DAMAGES: list[tuple[Callable[[pathlib.Path, pathlib.Path], Any], list[str]]] = [
    (lambda source, path: path.write_bytes(source.read_bytes()[:-100]), ["cut short"]),
    (lambda source, path: path.write_bytes(b""), ["with a recording"]),
    (lambda source, path: path.write_bytes(b"GIF89a" + bytes(200)), ["with a recording"]),
    (lambda source, path: path.mkdir(), ["no such file"]),
    (lambda source, path: None, ["no such file"]),
    (_flip, ["damaged"]),
    (functools.partial(_rewrite, about_format=2), ["`format`", "2", "reads 1"]),
    (functools.partial(_rewrite, about_seed="three"), ["`seed`", "three"]),
    (functools.partial(_rewrite, about_colour="red"), ["colour"]),
    (functools.partial(_rewrite, about_loops_per_step=0), ["0 loops per step"]),
    (functools.partial(_rewrite, about_loops_per_step=4), ["frames"]),
    (functools.partial(_rewrite, about=np.array("{")), ["damaged"]),
    (functools.partial(_rewrite, shield=None), ["shield"]),
    (functools.partial(_rewrite, spare=np.zeros(3)), ["spare"]),
    (functools.partial(_rewrite, reward=np.zeros(7, np.float32)), ["`reward`", "7 steps"]),
    (functools.partial(_rewrite, won=np.zeros(7)), ["`won`", "float64"]),
    (functools.partial(_rewrite, radius=np.full(10, np.nan, np.float32)), ["`radius`", "finite"]),
    (functools.partial(_rewrite, radius=np.array([None] * 10)), ["allow_pickle=False"]),
    (functools.partial(_rewrite, walkable=np.zeros((32, 32), bool)), ["ground"]),
]


@pytest.mark.parametrize(("damage", "fragments"), DAMAGES, ids=range(len(DAMAGES)))
def test_a_damaged_file_is_refused_in_one_line(
    damage: Callable[[pathlib.Path, pathlib.Path], Any],
    fragments: list[str],
    saved: pathlib.Path,
    tmp_path: pathlib.Path,
) -> None:
    path = tmp_path / "x.npz"
    damage(saved, path)
    with pytest.raises(UsageError) as refused:
        recording.load(path)
    assert "\n" not in str(refused.value)
    assert [fragment for fragment in [str(path), *fragments] if fragment not in str(refused.value)] == [], refused.value


@pytest.mark.parametrize(("name", "value"), [("target", 10), ("target", -2), ("x", 1e6), ("y", -2)])
def test_what_points_nowhere_is_refused(name: str, value: float, saved: pathlib.Path, tmp_path: pathlib.Path) -> None:
    """A viewer sizes its picture and looks up units by these."""
    array = getattr(played("2s3z"), name).copy()
    array[-1, 0] = value
    _rewrite(saved, tmp_path / "x.npz", **{name: array})
    with pytest.raises(UsageError, match=f"`{name}` (points beyond the 10 units|lies outside the map of 32 cells)"):
        recording.load(tmp_path / "x.npz")


def test_only_battles_are_recorded() -> None:
    env = registry.make("matrix/focus-fire")
    with pytest.raises(ValueError, match="`env` is matrix/focus-fire: only battles can be watched"):
        play.simulator_of(env)


def test_a_battle_in_other_clothes_is_still_one() -> None:
    """The simulator is a field: whoever changes the functions of an environment does not lose it."""
    env = registry.make("smac/3m")
    changed = dataclasses.replace(env, reset=functools.partial(env.reset), step=functools.partial(env.step))
    assert play.simulator_of(changed) is env.simulator
    assert registry.make("matrix/focus-fire").simulator is None
