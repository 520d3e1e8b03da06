"""Episodes of environments that offer a drawing: recorded, kept, read back, drawn."""

import dataclasses
import functools
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.algos.coma_mpe import ComaMpeConfig
from seca.battles import draw, play, recording, render, scene, watch
from seca.battles.scene import COLOURS, Scene
from seca.config import RunConfig
from seca.envs import registry
from seca.errors import UsageError
from seca.runs import stats
from seca.runs.load import LoadedRun, build_run
from seca.train import rollout
from seca.train.state import init_state


@functools.cache
def played() -> Scene:
    env = registry.make("mpe/predator-prey", {"limit": 9})
    return play.record_scene(env, play.at_random(env.spec), 0, 1)


def test_a_run_plays_the_episode_of_evaluate() -> None:
    """Episode i of a seed, by the same greedy policy."""
    config = RunConfig(
        preset="coma-mpe", env="mpe/predator-prey", env_options={"limit": 30}, algorithm=ComaMpeConfig(hidden=8)
    )
    built = build_run(config)
    run = LoadedRun(built, init_state(built.algorithm, 0))
    keys = jax.vmap(functools.partial(jax.random.fold_in, stats.evaluation_key(7)))(jnp.arange(2))
    params = run.algorithm.policy(run.state.learner)
    evaluated = jax.jit(functools.partial(rollout.play, run.env, run.algorithm))(params, keys)
    for number in range(2):
        found = play.record_scene(run.env, play.of_run(run, "untrained"), 7, number)
        assert found.n_steps == evaluated.length[number] and found.about.policy == "untrained"
        assert found.episode_return == pytest.approx(float(evaluated.episode_return[number]), abs=1e-3)
        assert found.outcome == ("ended" if found.terminated[-1] else "time limit")


def test_continuous_actions_are_recorded_too(tmp_path: pathlib.Path) -> None:
    """Numbers in place of an index, from -1 to 1 as policies act; written and read again."""
    env = registry.make("mpe/predator-prey", {"limit": 9, "actions": "continuous"})
    found = play.record_scene(env, play.at_random(env.spec), 0, 1)
    assert found.actions.shape == (found.n_steps, 3, 5) and found.actions.dtype == np.float32
    assert found.actions.min() < -0.5 and found.actions.max() > 0.5 and np.abs(found.actions).max() <= 1
    scene.save(found, tmp_path / "x.npz")
    again = scene.load(tmp_path / "x.npz")
    assert isinstance(again, Scene)
    np.testing.assert_array_equal(again.actions, found.actions)
    assert scene.ScenePainter(again).frame(found.n_steps).size == scene.ScenePainter(found).view.size


def test_frames_are_where_the_steps_lead() -> None:
    """The start, then one per env step, by hand from the recorded actions."""
    env, found = registry.make("mpe/predator-prey", {"limit": 9}), played()
    reset_key, _ = jax.random.split(jax.random.fold_in(stats.evaluation_key(0), 1))
    world, _ = env.reset(reset_key[None])
    assert env.drawing is not None and env.drawing.lines is not None
    for frame in range(found.n_steps + 1):
        np.testing.assert_allclose(np.stack([found.x, found.y], -1)[frame], env.drawing.discs(world)[0], atol=1e-5)
        np.testing.assert_allclose(found.lines[frame].reshape(-1, 2, 2), env.drawing.lines(world)[0], atol=1e-5)
        if frame < found.n_steps:
            world, shown = env.step(world, jnp.asarray(found.actions[frame], jnp.int32)[None])
            assert float(shown.reward[0]) == pytest.approx(float(found.reward[frame]), abs=1e-5)
    assert len(np.unique(found.actions)) > 2 and found.about.env_options == {"limit": 9}


def test_nothing_to_draw() -> None:
    env = registry.make("matrix/additive")
    with pytest.raises(ValueError, match="`env` is matrix/additive: it offers nothing to draw"):
        play.record_scene(env, play.at_random(env.spec), 0, 0)
    with pytest.raises(UsageError, match="`env` is matrix/additive, which offers nothing to draw: watch smac/"):
        watch.plan("random", "matrix/additive", {}, "latest")
    with pytest.raises(UsageError, match="`policy` is 'heuristic', a script of SMAC's battles: on mpe/predator-prey"):
        watch.plan("heuristic", "mpe/predator-prey", {}, "latest")


def test_it_is_read_back_as_it_was(tmp_path: pathlib.Path) -> None:
    scene.save(played(), tmp_path / "a.npz")
    found = scene.load(tmp_path / "a.npz")
    assert isinstance(found, Scene)
    for field in dataclasses.fields(Scene):
        np.testing.assert_array_equal(getattr(found, field.name), getattr(played(), field.name))
    with pytest.raises(UsageError, match="it exists already"):
        scene.save(played(), tmp_path / "a.npz")
    with pytest.raises(UsageError, match="`recording` is"):
        recording.load(tmp_path / "a.npz")  # No battle.


@pytest.mark.parametrize(
    "change",
    [
        {"kinds": ("agent",) * 3 + ("ghost",) + ("mark",) * 2},
        {"kinds": ("agent",) * 6},
        {"names": ("a\n",) * 6},
        {"area": (1.0, 0.0, 0.0, 1.0)},
        {"area": (0.0, 0.0, float("nan"), 1.0)},
        {"x": np.full((10, 6), np.inf, np.float32)},
        {"x": np.zeros((9, 6), np.float32)},
        {"radius": np.zeros(6, np.float32)},
        {"lines": np.zeros((10, 4, 3), np.float32)},
        {"reward": np.zeros(9, np.float64)},
    ],
)
def test_what_does_not_fit_together_is_refused(change: dict[str, Any], tmp_path: pathlib.Path) -> None:
    assert played().n_steps == 9 and len(played().names) == 6
    scene.save(played(), tmp_path / "good.npz")
    with np.load(tmp_path / "good.npz") as file:
        arrays = {name: file[name] for name in file.files}
    about = json.loads(str(arrays["about"]))
    for name, value in change.items():
        if name in about["scene"]:
            about["scene"][name] = value
        else:
            arrays[name] = value
    np.savez(tmp_path / "a.npz", **arrays | {"about": np.array(json.dumps(about))})
    with pytest.raises(UsageError, match="`recording` is"):
        scene.load(tmp_path / "a.npz")


def test_discs_are_drawn_where_they_are() -> None:
    """A colour of its own for each kind, at its place, out to its radius and no farther."""
    still = np.zeros((2, 3), np.float32)
    made = dataclasses.replace(
        played(),
        names=("a", "b", "c"),
        kinds=("agent", "other", "mark"),
        area=(-2.0, -1.0, 2.0, 1.0),
        radius=np.array([0.2, 0.1, 0.3], np.float32),
        x=still + np.array([-1.0, 0.0, 1.5], np.float32),
        y=still + np.array([0.5, -0.5, 0.0], np.float32),
        lines=np.zeros((2, 0, 4), np.float32),
        reward=np.ones(1, np.float32),
        truncated=np.ones(1, bool),
        terminated=np.zeros(1, bool),
        actions=np.zeros((1, 1), np.int16),
        avail=np.ones((1, 1, 5), bool),
    )
    painter = render.painter_of(made)
    assert painter.view.size == (720, 360 + draw.HEADER + draw.FOOTER)
    picture = painter.frame(1)
    assert picture.size == painter.view.size

    def pixel(x: float, y: float) -> Any:
        return picture.getpixel((round((x + 2) * 180), draw.HEADER + round((1 - y) * 180)))

    for x, y, radius, kind in ((-1.0, 0.5, 0.2, "agent"), (0.0, -0.5, 0.1, "other"), (1.5, 0.0, 0.3, "mark")):
        inside = draw.blend(draw.VOID, COLOURS[kind], 0.55)
        assert pixel(x + 0.8 * radius, y) == inside and pixel(x, y - 0.8 * radius) == inside
        assert pixel(x + 1.2 * radius, y + 0.03) == draw.FLOOR


def test_the_picture_grows_with_whoever_leaves() -> None:
    far = played().x.copy()
    far[-1, 0] = 30.0
    seen = scene.window(dataclasses.replace(played(), x=far))
    assert seen.right == pytest.approx(30.0 + played().radius[0]) and seen.left <= -1.3
    assert all(size % 2 == 0 for size in seen.size) and seen.size[0] >= draw.LEAST_WIDTH


@pytest.mark.parametrize("ending", [".gif", ".png"])
def test_files(ending: str, tmp_path: pathlib.Path) -> None:
    render.render(played(), tmp_path / f"a{ending}", every=3)
    assert (tmp_path / f"a{ending}").stat().st_size > 1_000
    assert render.moments(played()) == [0, 2, 4, 5, 7, 9]
