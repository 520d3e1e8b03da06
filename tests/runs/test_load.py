"""A run read back: which changes of a configuration its checkpoint still fits, and how it acts."""

import copy
import dataclasses
import pathlib
import pickle
import shutil

import jax
import numpy as np
import pytest

import seca as package
from seca import cli
from seca.config import RunConfig, decisive, from_preset, to_dict, to_json
from seca.errors import UsageError
from seca.runs import folder as folders
from seca.runs import load
from seca.runs.evaluation import evaluate_run
from seca.runs.load import build_run, check_fits
from seca.runs.recorder import Position
from seca.train import checkpoint
from seca.train.state import init_state

PATH = pathlib.Path("runs/x/checkpoints/latest-000001")
CONFIG = dataclasses.replace(from_preset("seca"), env="smac/3m")


def metadata(config) -> dict:
    return {"env": "smac/3m", "env_version": "smac-1", "config": to_dict(config)}


def test_how_long_and_where_it_runs_may_change() -> None:
    longer = dataclasses.replace(CONFIG, loop=dataclasses.replace(CONFIG.loop, steps=9), devices=1)
    check_fits(PATH, metadata(CONFIG), build_run(longer))
    assert decisive(to_dict(longer)) == decisive(to_dict(CONFIG))


def test_minibatches_may_not() -> None:
    """Checkpoints from before there were any are of runs with one."""
    several = dataclasses.replace(CONFIG, loop=dataclasses.replace(CONFIG.loop, minibatches=4))
    older = metadata(CONFIG)
    del older["config"]["loop"]["minibatches"]
    check_fits(PATH, older, build_run(CONFIG))
    for then in (older, metadata(CONFIG)):
        with pytest.raises(UsageError, match=r"`loop.minibatches` of config.json is 4 but .* was made with 1"):
            check_fits(PATH, then, build_run(several))


@pytest.mark.parametrize(("before", "now"), [({}, {"jitter": False}), ({"jitter": False}, {})])
def test_options_of_the_environment_may_not(before: dict, now: dict) -> None:
    """Neither added nor taken away: the battles would be others."""
    then, today = (dataclasses.replace(CONFIG, env_options=options) for options in (before, now))
    with pytest.raises(UsageError, match="`env_options.jitter` of config.json is"):
        check_fits(PATH, metadata(then), build_run(today))


def keep(path: pathlib.Path, config: RunConfig, seed: int = 0) -> pathlib.Path:
    """A run folder whose latest checkpoint is the untrained policy of a seed."""
    path.mkdir(exist_ok=True)
    (path / "config.json").write_text(to_json(config))
    built = build_run(config)
    about = {"env": built.env.spec.id, "env_version": built.env.spec.version, "config": to_dict(config)}
    about |= {"position": dataclasses.asdict(Position())}
    state = init_state(built.algorithm, seed)
    checkpoint.save(folders.RunFolder(path).checkpoints, "latest", state, about)
    return path


def test_snapshots_by_their_env_steps(copied_run: pathlib.Path) -> None:
    """The first at or after so many; what lies beyond them, and a run without any, is refused."""
    folder = folders.existing(copied_run)
    with pytest.raises(UsageError, match="`checkpoint` is 5 but .* has kept no policies on the way"):
        load.load(copied_run, 5)
    newest = checkpoint.find(folder.checkpoints, "latest")[0]
    built, about = build_run(folders.read_config(folder.config)), checkpoint.read_metadata(newest)
    for env_steps in (0, 40, 120):
        state = dataclasses.replace(init_state(built.algorithm, 0), env_steps=jax.numpy.uint32(env_steps))
        checkpoint.keep(folder.checkpoints, env_steps, state.without_replay(), about)
    for asked, found in ((0, 0), (1, 40), (40, 40), (41, 120), (120, 120)):
        assert int(load.load(copied_run, asked).state.env_steps) == found
    for asked in (-1, 121):
        with pytest.raises(UsageError, match=rf"`checkpoint` is {asked} but .* from 0 to 120 env steps"):
            load.load(copied_run, asked)
    assert evaluate_run(copied_run, 4, 40, 0)["checkpoint"] == "snapshot"


@pytest.mark.every
@pytest.mark.slow
def test_a_run_of_continuous_actions_acts(tmp_path: pathlib.Path) -> None:
    """Loaded, copied, sent, evaluated and gone on with; in what `seca.make` makes it acts as in its own environment."""
    run = tmp_path / "x"
    given = ["--env", "mpe/cooperative-navigation", "--env-options", "actions=continuous", "limit=5", "--runners", "4"]
    numbers = ["--steps", "20", "--eval-episodes", "4", "--actor-hidden", "8", "--critic-hidden", "8"]
    assert cli.run(["train", "mappo", *given, *numbers, "--out", str(run)]) == 0
    assert cli.run(["resume", str(run)]) == 0
    assert evaluate_run(run, 4, "latest", 0)["episodes"] == 4
    loaded = load.load(run)
    sent = pickle.loads(pickle.dumps(loaded))
    env = package.make("mpe/cooperative-navigation", {"actions": "continuous", "limit": 5})
    assert env.spec == loaded.env.spec and env.spec.box is not None and set(env.spec.box.low) == {-1.0}
    state, shown = env.reset(jax.random.split(jax.random.key(0), 3))
    own_state, _ = loaded.env.reset(jax.random.split(jax.random.key(0), 3))
    for greedy in (True, False):
        actions = loaded.act(shown, greedy)
        np.testing.assert_array_equal(actions, sent.act(shown, greedy))
        assert actions.shape == (3, 3, 5) and actions.dtype == np.float32
        (state, shown), (own_state, expected) = env.step(state, actions), loaded.env.step(own_state, actions)
        np.testing.assert_array_equal(shown.obs, expected.obs)


def facing(enemy: pathlib.Path) -> RunConfig:
    return dataclasses.replace(CONFIG, env_options={"opponent": str(enemy)})


@pytest.mark.every
def test_an_opponent_that_was_trained_on_is_another(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A run against a run's policy goes on against this policy only, and is evaluated against others if asked to."""
    enemy = keep(tmp_path / "b", CONFIG)
    run = keep(tmp_path / "a", facing(enemy))
    version = load.load(run).env.spec.version
    assert version.startswith("smac-1-against-")
    keep(enemy, CONFIG)  # The same policy in another checkpoint.
    assert load.load(run).env.spec.version == version

    keep(enemy, CONFIG, seed=1)
    now = load.load(run, opponent=str(enemy)).env.spec.version
    assert now.startswith("smac-1-against-") and now != version
    before = sorted(run.rglob("*"))
    with pytest.raises(SystemExit) as stopped:
        cli.main(["resume", str(run)])
    captured = capsys.readouterr()
    assert (stopped.value.code, captured.out) == (2, "")
    [line] = captured.err.splitlines()
    assert f"`opponent` is {enemy}: its policy is {now[-8:]}, but checkpoint {run}" in line
    assert f"was made against {version[-8:]}" in line
    assert [path for path in sorted(run.rglob("*")) if path.name != "lock"] == before

    # Against others it plays all the same, even when its own is gone; so does a run against this run, whose policy is
    # by chance what its enemy's was.
    shutil.rmtree(enemy)
    assert load.load(run, opponent="nearest").env.spec.version == "smac-1"
    assert evaluate_run(run, 2, "latest", 0, "nearest")["episodes"] == 2
    third = keep(tmp_path / "c", facing(run))
    assert load.load(third).env.spec.version == version
    with pytest.raises(UsageError, match="`opponent` must be one of scripted, .* or the folder of a run"):
        load.load(run)


@pytest.mark.slow
def test_another_version_of_the_map_is_named_before_its_opponent(tmp_path: pathlib.Path) -> None:
    built = build_run(facing(keep(tmp_path / "b", CONFIG)))
    older = metadata(built.config) | {"env_version": "smac-0-against-00000000"}
    with pytest.raises(UsageError, match="`env_version` of checkpoint .* is 'smac-0' but this seca plays 'smac-1'"):
        check_fits(PATH, older, built)
    unknown = metadata(built.config)
    with pytest.raises(UsageError, match="was made against another, before policies had fingerprints"):
        check_fits(PATH, unknown, built)


def test_python_in_a_few_lines(finished_run: pathlib.Path) -> None:
    env = package.make("matrix/focus-fire")
    run = package.load(finished_run)
    _, time_step = env.reset(jax.random.split(jax.random.key(0), 3))
    actions = run.act(time_step)
    assert actions.shape == (3, env.spec.n_agents)
    np.testing.assert_array_equal(run.act(time_step, greedy=True)[0], run.act(time_step, greedy=True)[1])
    run.reset()
    np.testing.assert_array_equal(run.act(time_step), actions)


def test_a_loaded_run_can_be_sent_away(finished_run: pathlib.Path) -> None:
    """In the middle of an episode, by pickle as to a worker, and by deepcopy: the copy acts alike from there on."""
    run, env = package.load(finished_run, seed=3), package.make("matrix/focus-fire")
    _, time_step = env.reset(jax.random.split(jax.random.key(0), 16))
    run.act(time_step, greedy=False)
    copies = [pickle.loads(pickle.dumps(run)), copy.deepcopy(run)]
    actions = np.asarray(run.act(time_step, greedy=False))
    for other in copies:
        np.testing.assert_array_equal(np.asarray(other.act(time_step, greedy=False)), actions)
        assert (other.config, other.env.spec) == (run.config, run.env.spec)


def test_sampled_actions_are_available(finished_run: pathlib.Path) -> None:
    run = package.load(finished_run, checkpoint="best", seed=4)
    _, time_step = run.env.reset(jax.random.split(jax.random.key(0), 64))
    actions = run.act(time_step, greedy=False)
    chosen = np.take_along_axis(np.asarray(time_step.avail), np.asarray(actions)[..., None], axis=-1)
    assert chosen.all()
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        package.nothing  # noqa: B018
