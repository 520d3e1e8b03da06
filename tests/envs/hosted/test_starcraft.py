"""StarCraft II through the user's SMAC: what is missing is said in one line, and its failures are let through.

Neither the game nor SMAC is here: `smac_stand_in` writes a package and a folder in their form.
"""

import pathlib
import shutil
import sys
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from smac_stand_in import write_game, write_package

from seca.envs import registry
from seca.envs.hosted import starcraft
from seca.envs.hosted.pool import Hosting
from seca.errors import RunError


@pytest.fixture
def game(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[pathlib.Path]:
    """A game's folder that SC2PATH names, and SMAC where Python finds it."""
    monkeypatch.syspath_prepend(write_package(tmp_path / "site"))
    for name in [name for name in sys.modules if name.partition(".")[0] == "smac"]:
        monkeypatch.delitem(sys.modules, name)
    folder = tmp_path / "StarCraftII"
    write_game(folder)
    monkeypatch.setenv("SC2PATH", str(folder))
    yield folder
    for name in [name for name in sys.modules if name.partition(".")[0] == "smac"]:
        del sys.modules[name]


def act(*actions: int) -> np.ndarray:
    return np.array(actions, np.int64)


def test_a_battle(game: pathlib.Path) -> None:
    """No game is launched before the first reset, whose seed is the game's; a win terminates, the limit cuts."""
    env = starcraft.make("3m")
    spec = env.spec
    assert (spec.id, spec.version, spec.options) == ("starcraft:3m", "starcraft-4.10-Base75689", ())
    assert (spec.n_agents, spec.n_actions, spec.obs_size, spec.state_size, spec.episode_limit) == (2, 4, 2, 3, 5)
    assert env.wins and env._env.launched == 0 and env._env.map_name == "3m"
    frame = env.reset(11)
    assert frame.state[1] == 11 and env._env.launched == 1
    for _ in range(5):
        assert not frame.done
        frame = env.step(act(1, 3))  # The dead do nothing else, whatever they choose.
    assert frame.truncated and not frame.terminated and not frame.won
    env.reset(12)
    frame = env.step(act(3, 0))
    assert frame.terminated and frame.won and frame.reward == 20.5
    env.close()
    assert env._env.closed


def test_options_and_versions(game: pathlib.Path) -> None:
    env = starcraft.make("3m", limit=3, game_version="4.6.2", obs_timestep_number=True)
    assert env._env.game_version == "4.6.2" and env.spec.version == "starcraft-4.6.2-Base69232"
    assert env.spec.options == (("game_version", "4.6.2"), ("limit", 3), ("obs_timestep_number", True))
    assert env.spec.obs_size == 3 and env.reset(0).obs.shape == (2, 3)
    with pytest.raises(ValueError, match="`env-options` do not fit starcraft:3m: .*'sise'"):
        starcraft.make("3m", sise=3)
    with pytest.raises(ValueError, match="`env-options` map_name is '8m', but the map is part of the name, starcraft:"):
        starcraft.make("3m", **{"map_name": "8m"})
    shutil.rmtree(game / "Versions" / "Base69232")
    with pytest.raises(ValueError, match="game_version is '4.6.2', which is not in .*/Versions: there is 4.10"):
        starcraft.make("3m", game_version="4.6.2")
    (game / "Versions" / "Base99999").mkdir()
    assert starcraft.check("3m", 1).version == "starcraft-Base99999"
    assert starcraft.check("3m", 1, "5.0.9").version == "starcraft-5.0.9"


@pytest.mark.parametrize(
    ("fails", "kind", "words"),
    [
        ("websocket", ConnectionError, "Failed to connect to the SC2 websocket"),
        ("crash", BrokenPipeError, "the game is gone"),
        ("lost", RuntimeError, "the game was lost and started anew in step 2: an end with an empty info"),
    ],
)
def test_failures_are_let_through(game: pathlib.Path, fails: str, kind: type[Exception], words: str) -> None:
    """What hangs in `reset` is for the pool to see."""
    env = starcraft.make("3m", fails=fails)
    with pytest.raises(kind, match=words):
        env.reset(0)
        env.step(act(1, 0))
        env.step(act(1, 0))


def test_all_is_there(game: pathlib.Path) -> None:
    found = starcraft.check("3m", 1)
    assert (found.game, found.version) == (game, "starcraft-4.10-Base75689")
    assert found.package == game.parent / "site" / "smac"
    assert starcraft.installed() == {"version": "starcraft-4.10-Base75689", "maps": ["3m"]}


def spoil(game: pathlib.Path, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Take away one thing that is needed."""
    if what == "package":
        shutil.rmtree(game.parent / "site" / "smac")
    elif what == "other package":
        shutil.rmtree(game.parent / "site" / "smac" / "env")
    elif what == "import":
        (game.parent / "site" / "smac" / "env" / "__init__.py").write_text("import pysc2_is_not_here")
    elif what == "SC2PATH":
        monkeypatch.setenv("SC2PATH", str(game / "nowhere"))
    elif what == "no SC2PATH":
        monkeypatch.delenv("SC2PATH")
        monkeypatch.setenv("HOME", str(game))
    elif what == "permission":
        (game / "Versions" / "Base75689" / "SC2_x64").chmod(0o644)
    else:
        shutil.rmtree(game / what)


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("package", "needs SMAC: pip install git+https://github.com/oxwhirl/smac.git"),
        ("other package", "is another of that name (PyPI's optimiser): pip uninstall smac, then pip install git+"),
        ("import", "needs smac, whose import fails: ModuleNotFoundError: No module named 'pysc2_is_not_here'"),
        ("SC2PATH", "nowhere, which is no folder; download the Linux packages of https://github.com/Blizzard"),
        ("no SC2PATH", "SC2PATH is not set, and "),
        ("Versions", "no Versions/Base* in "),
        ("permission", "SC2_x64: chmod +x "),
        ("Maps", "Maps/SMAC_Maps is no folder; extract https://github.com/oxwhirl/smac/releases"),
    ],
)
def test_what_is_missing_is_said(game: pathlib.Path, what: str, words: str, monkeypatch: pytest.MonkeyPatch) -> None:
    spoil(game, what, monkeypatch)
    with pytest.raises(ValueError) as caught:
        starcraft.make("3m")
    line = str(caught.value)
    assert line.startswith("`env` starcraft:") and words in line and "\n" not in line
    said: Any = starcraft.installed()
    assert what in ("import", "Maps") or said["missing"] == line


def test_maps_that_are_not_there(game: pathlib.Path) -> None:
    with pytest.raises(ValueError, match="needs the map .*/Maps/SMAC_Maps/2s3z.SC2Map: choose from 3m"):
        starcraft.check("2s3z", 1)


def test_memory(game: pathlib.Path, tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    meminfo = tmp_path / "meminfo"
    meminfo.write_text("MemTotal:  9437184 kB\nMemAvailable:  5242880 kB\n")
    assert starcraft._free_memory(meminfo) == 5 * 2**30
    assert starcraft._free_memory(tmp_path / "nowhere") is None
    monkeypatch.setattr(starcraft, "_free_memory", lambda path: 5 * 2**30)
    starcraft.check("3m", 5)
    with pytest.raises(ValueError, match="about 1 GiB of memory for each of 6 games, and 5.0 GiB are free: choose"):
        starcraft.check("3m", 6)


def test_memory_is_asked_for_all_runners_before_any_starts(game: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(starcraft, "_free_memory", lambda path: 5 * starcraft.MEMORY)
    with pytest.raises(ValueError, match=r"needs about 1 GiB of memory for each of 6 games, and 5.0 GiB are free"):
        registry.make("starcraft:3m", {}, Hosting(6, 2))


@pytest.mark.slow
def test_the_pool_starts_anew_what_hangs(game: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As a process of its own: a game that hangs in reset, as StarCraft does, ends within bounds and in one line."""
    monkeypatch.setenv("PYTHONPATH", str(game.parent / "site"))
    monkeypatch.setattr(starcraft, "_free_memory", lambda path: None)
    env = registry.make("starcraft:3m", {"fails": "hang"}, Hosting(2, 1, seconds=0.15, restarts=1))
    assert env.host is not None
    _, shown = env.reset(jax.random.split(jax.random.key(0), 2))
    assert shown.truncated.all() and shown.info["lost"].all()
    with pytest.raises(RunError, match="`env` starcraft:3m failed 2 times in a row, the last time: no answer in time"):
        env.host.check()


@pytest.mark.slow
def test_workers_play_it(game: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same battle as in this process."""
    monkeypatch.setattr(starcraft, "_free_memory", lambda path: None)
    env = registry.make("starcraft:3m", {}, Hosting(3, 2, seconds=60.0))
    assert env.host is not None
    state, shown = env.reset(jax.random.split(jax.random.key(0), 3))
    alone = starcraft.make("3m")
    frame = alone.reset(0)
    for _ in range(5):
        np.testing.assert_array_equal(np.asarray(shown.obs), np.stack([frame.obs] * 3))
        np.testing.assert_array_equal(np.asarray(shown.avail), np.stack([frame.avail] * 3))
        state, shown = env.step(state, jnp.ones((3, 2), jnp.int32))
        frame = alone.step(act(1, 1))
    assert shown.truncated.all() and frame.truncated and not shown.info["lost"].any()
    env.host.close()
