"""A run against other opponents than its own, by name or from a run folder."""

import hashlib
import json
import pathlib
from typing import Any

import counting
import jax.numpy as jnp
import numpy as np
import pytest
from tiers import cases

from seca.battles import recording
from seca.config import RunConfig
from seca.envs.registry import make
from seca.errors import UsageError
from seca.runs import opponent
from seca.smac import scripts


@pytest.fixture(scope="module")
def battle_run(seca, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A run on smac/3m of one iteration, trained in a process of its own."""
    path = tmp_path_factory.mktemp("runs") / "battle"
    options = ["--env", "smac/3m", "--runners", 2, "--eval-episodes", 2, "--steps", 1, "--devices", 1]
    ended = seca("train", "coma-newarchi", *options, "--out", path)
    assert ended.returncode == 0, ended.stderr
    return path


@pytest.mark.slow
@pytest.mark.parametrize("by_folder", cases([False, True]))
def test_evaluate_against_another(battle_run: pathlib.Path, seca, by_folder: bool) -> None:
    enemy = str(battle_run) if by_folder else "nearest"
    command = ("evaluate", battle_run, "--episodes", 8, "--json")
    own, other = (seca(*command, *extra) for extra in ((), ("--opponent", enemy)))
    assert own.returncode == other.returncode == 0, other.stderr
    own, other = json.loads(own.stdout), json.loads(other.stdout)
    assert other["opponent"] == enemy and "opponent" not in own
    assert other["episode_return"] != own["episode_return"]


@pytest.mark.slow
@pytest.mark.every
def test_watch_against_a_run(battle_run: pathlib.Path, seca, tmp_path: pathlib.Path) -> None:
    """A script against a run, and a run against a script: the recording says who commanded the enemy."""
    play = ("watch", "--policy", "heuristic", "--env", "smac/3m", "--env-options", f"opponent={battle_run}")
    ended = seca(*play, "--out", tmp_path / "a.png")
    assert ended.returncode == 0, ended.stderr
    assert recording.load(tmp_path / "a.npz").about.env_options["opponent"] == str(battle_run)
    ended = seca("watch", "--policy", battle_run, "--env-options", "opponent=kite", "--out", tmp_path / "b.png")
    assert ended.returncode == 0, ended.stderr
    [path] = (battle_run / "recordings").glob("*-against-kite-*.npz")
    assert recording.load(path).about.env_options["opponent"] == "kite"


@pytest.mark.every
def test_unknown_opponents(battle_run: pathlib.Path, seca) -> None:
    ended = seca("evaluate", battle_run, "--opponent", "nobody")
    assert (ended.returncode, ended.stdout) == (2, "")
    [line] = ended.stderr.splitlines()
    assert "`opponent` must be one of" in line and "'nobody'" in line


@pytest.mark.slow
def test_games_have_no_opponent(finished_run: pathlib.Path, seca) -> None:
    ended = seca("evaluate", finished_run, "--opponent", "kite")
    assert ended.returncode == 2 and "matrix/focus-fire has no enemy" in ended.stderr


def test_who_is_a_run(tmp_path: pathlib.Path) -> None:
    """A folder, in a battle; not one of the names, and not where nobody is the enemy."""
    assert opponent.named_run("smac/3m", {"opponent": str(tmp_path)}) == tmp_path
    assert opponent.named_run("smac:mine.toml", {"opponent": str(tmp_path)}) == tmp_path
    assert opponent.named_run("matrix/peak", {"opponent": str(tmp_path)}) is None
    for options in ({}, {"opponent": 3}, *({"opponent": name} for name in scripts.OPPONENTS)):
        assert opponent.named_run("smac/3m", options) is None
    with pytest.raises(
        UsageError, match="`opponent` must be one of scripted, .*, or the folder of a run; got '.*gone'"
    ):
        opponent.named_run("smac/3m", {"opponent": str(tmp_path / "gone")})


def test_nobody_is_the_scripted_one_in_battles() -> None:
    assert opponent.nobody(RunConfig(env="smac/3m")) == "scripted"
    assert opponent.nobody(RunConfig(env="matrix/peak")) is None


def test_a_fingerprint_is_of_all_that_acts() -> None:
    """Types and shapes count as much as numbers, and so do the env steps, which schedules follow."""
    params: dict[str, Any] = {"a": jnp.arange(4, dtype=jnp.int32), "b": jnp.float32(0.5)}
    now = jnp.uint32(9)
    text = [("int32(4,)", params["a"]), ("float32()", params["b"]), ("uint32()", now)]
    digest = hashlib.sha256(b"".join(head.encode() + np.asarray(leaf).tobytes() for head, leaf in text)).hexdigest()
    assert opponent.fingerprint(params, now) == digest[:8]
    others = [
        (params | {"a": params["a"].reshape(2, 2)}, now),
        (params | {"a": params["a"].astype(jnp.uint32)}, now),
        (params | {"b": jnp.float32(0.75)}, now),
        (params, jnp.uint32(10)),
    ]
    assert len({opponent.fingerprint(*other) for other in [(params, now), *others]}) == 5


@pytest.mark.parametrize(
    ("spec_options", "env", "options", "words"),
    [
        ({}, "smac/8m", {}, "plays smac/3m; it cannot play smac/8m"),
        (
            {"obs_last_action": True},
            "smac/3m",
            {},
            r"trained with obs options {'obs_last_action': True}; here they are {}",
        ),
        ({}, "smac/3m", {"obs_last_action": True}, r"obs options {}; here they are {'obs_last_action': True}"),
        ({}, "smac:mine.toml", {}, "plays smac/3m; it cannot play smac:mine.toml"),
    ],
)
def test_a_policy_plays_where_it_was_trained(spec_options: dict, env: str, options: dict, words: str) -> None:
    """And sees what it saw there."""
    told = {"opponent": "run", **options}
    with pytest.raises(ValueError, match=f"`opponent` run .*{words}"):
        spec = make("smac/3m", spec_options).spec
        opponent.of_policy(env, told, spec, counting.watcher([]), jnp.zeros(1), jnp.uint32(0))


def test_options_that_nobody_sees_may_differ() -> None:
    spec = make("smac/3m", {"jitter": False}).spec
    told = {"opponent": "run", "reward_win": 3}
    made = opponent.of_policy("smac/3m", told, spec, counting.watcher([]), jnp.zeros(1), jnp.uint32(0))
    assert made.name == "run"
