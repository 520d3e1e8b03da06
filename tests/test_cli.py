"""The commands do what the README says."""

import json
import pathlib
import re

import jax
import pytest
from commands import printed

import seca as package
from seca import cli
from seca.config import from_json, from_preset
from seca.envs import registry
from seca.presets import PRESETS


def test_version_and_help(capsys: pytest.CaptureFixture[str]) -> None:
    assert printed(capsys, "--version") == f"seca {package.__version__}\n"
    usage = printed(capsys, "--help")
    assert usage == printed(capsys)
    assert all(command in usage for command in cli.COMMANDS)


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_every_command_has_help(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert f"usage: seca {command}" in printed(capsys, command, "--help")


@pytest.mark.slow
def test_algos_and_envs_list_everything(capsys: pytest.CaptureFixture[str]) -> None:
    algos = printed(capsys, "algos").splitlines()
    assert [line.split()[0] for line in algos if line.startswith("  ")] == list(PRESETS), "in their groups' order"
    headings = [line for line in algos if not line.startswith("  ")]
    assert headings == ["explicit credit", "implicit credit", "no credit", "value-based"]
    assert any(line.split()[:1] == ["qmix-reference"] and "PyMARL2" in line for line in algos)
    lines = printed(capsys, "envs").splitlines()
    envs, others = lines[1 : lines.index("")], lines[lines.index("") + 1 :]
    assert [line.split()[0] for line in envs] == registry.list_envs()
    assert [line.split()[0] for line in others] == [
        "jaxmarl:NAME",
        "pettingzoo:MODULE.FUNCTION",
        "gymnasium:[PACKAGE:]ID",
        "pymarl:MODULE.CLASS",
        "starcraft:MAP",
        "jumanji:NAME",
        "smac:FILE.toml",
        "python:MODULE.FUNCTION",
    ]
    row = next(line.split() for line in envs if line.startswith("smac/2s3z"))
    assert row[1:6] == ["5", "11", "80", "120", "120"]


def test_doctor(capsys: pytest.CaptureFixture[str]) -> None:
    report = printed(capsys, "doctor")
    for fragment in ("seca", "jaxlib", "devices", "cpu", "cache", "tensorboard", "wandb"):
        assert fragment in report


def test_what_is_found_of_an_environment(
    capsys: pytest.CaptureFixture[str], tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Exit code 0 where nothing is found, 1 where something is, also where it cannot be played at all."""
    told = printed(capsys, "check-env", "matrix/peak", "--runners", 20, "--seconds", 0)
    assert told.startswith("matrix/peak (matrix-1): 2 agents") and told.endswith("nothing found\n")
    (tmp_path / "two_games.py").write_text(
        "import dataclasses, jax\n"
        "from seca.envs import matrix\n"
        "ENV = matrix.make('peak')\n"
        "def stay(state, _): return ENV.reset(jax.random.split(jax.random.key(0), len(state[0])))\n"
        "def endless(): return dataclasses.replace(ENV, step=stay)\n"
        "def narrow(): return dataclasses.replace(ENV, spec=dataclasses.replace(ENV.spec, obs_size=2))\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    for name, found in (("endless", {"limit-not-kept", "no-reward", "actions-do-nothing"}), ("narrow", {"contract"})):
        asked = ["check-env", f"python:two_games.{name}", "--runners", "5", "--seconds", "0", "--json"]
        assert cli.run(asked) == 1
        report = json.loads(capsys.readouterr().out)
        assert {line["name"] for line in report["findings"]} >= found, report
    assert (
        "`obs` of `reset` is float32[4, 2, 1]; by the spec it must be float32[4, 2, 2]" in report["findings"][0]["line"]
    )


@pytest.mark.slow
def test_an_environment_beside_training(capsys: pytest.CaptureFixture[str]) -> None:
    told = printed(capsys, "check-env", "matrix/additive", "--runners", 4, "--seconds", 0.01, "--preset", "ia2c")
    assert re.search(r"training: [\d,]+ env steps/s with ia2c, the environment \d+% of its time\n", told)


@pytest.mark.slow
def test_options_reach_the_config(finished_run: pathlib.Path) -> None:
    """Options given on the command line are in config.json, the preset's others unchanged.

    Repeating it gives the same numbers: `test_numerics.test_a_run_has_its_own_numbers`.
    """
    config = from_json((finished_run / "config.json").read_text())
    assert config.env == "matrix/focus-fire"
    assert (config.loop.steps, config.loop.runners, config.loop.eval_interval) == (160, 4, 40)
    assert config.algorithm == from_preset("seca").algorithm


@pytest.mark.every
def test_another_seed_another_curve(finished_run: pathlib.Path, seca, tmp_path: pathlib.Path) -> None:
    other = seca("train", "--config", finished_run / "config.json", "--seed", 1, "--out", tmp_path / "other")
    assert other.returncode == 0, other.stderr
    assert _hash(tmp_path / "other") != _hash(finished_run)


def _hash(run: pathlib.Path) -> int:
    """Hash of all that a run measured."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    kept = [{name: value for name, value in line.items() if not name.startswith("time_")} for line in lines]
    return hash(json.dumps(kept))


def test_a_finished_run_is_complete(finished_run: pathlib.Path) -> None:
    lines = [json.loads(line) for line in (finished_run / "metrics.jsonl").read_text().splitlines()]
    evaluations = [line for line in lines if line["kind"] == "eval"]
    training = [line for line in lines if line["kind"] == "train"]
    assert [line["env_steps"] for line in evaluations] == [0, 40, 80, 120, 160]
    assert [line["iteration"] for line in training] == list(range(1, 41))
    assert all(len(line["episode_won"]) == 8 for line in evaluations)
    names = {"env_steps", "episodes", "gradient_steps", "time_elapsed", "entropy", "actor_loss", "critic_loss"}
    names |= {"actor_gradient_norm", "critic_gradient_norm", "critic_mean", "rank_mean", "contribution_mean"}
    assert names - training[0].keys() == set()
    assert len(training[0]["rank_mean"]) == 2
    environment = json.loads((finished_run / "environment.json").read_text())
    assert environment["env"]["version"] == "matrix-1"
    assert len(environment["sessions"]) == 1
    result = json.loads((finished_run / "result.json").read_text())
    assert result["trained"]["episodes"] == result["untrained"]["episodes"] == 128


@pytest.mark.slow
def test_end_of_training_says_how_it_went(seca, small_run: list[str], tmp_path: pathlib.Path) -> None:
    """Plain lines without a terminal; both policies and the run folder, whose name was free, at the end."""
    (tmp_path / "runs" / "seca-focus-fire-seed0").mkdir(parents=True)
    ended = seca("train", *small_run, "--steps", 8, cwd=tmp_path)
    assert ended.returncode == 0, ended.stderr
    printed = ended.stdout.splitlines()
    assert f"jax {jax.__version__}" in printed[0] and printed[1].startswith("memory: about ")
    assert re.match(r"0 of 8 env steps \| - steps/s \| ETA - \| train return - \| test win rate [\d.]+ %", printed[2])
    assert printed[-4] == "greedy win rate over 128 episodes:"
    assert printed[-3].startswith("  trained ")
    assert printed[-2].startswith("  untrained ")
    assert printed[-1] == "run folder: runs/seca-focus-fire-seed0-1"
    assert (tmp_path / "runs" / "seca-focus-fire-seed0-1" / "config.json").is_file()


def test_plot(
    finished_run: pathlib.Path, copied_run: pathlib.Path, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(capsys, "plot", finished_run, copied_run, "--out", tmp_path / "c")
    assert text.splitlines()[:3] == [str(tmp_path / f"c.{suffix}") for suffix in ("png", "svg", "csv")]
    assert "same seed more than once" in text


@pytest.mark.every
def test_bench_json(seca) -> None:
    ended = seca("bench", "--env", "matrix/focus-fire", "--runners", 4, "--batch", 64, "--seconds", 0.1, "--json")
    assert ended.returncode == 0, ended.stderr
    measured = json.loads(ended.stdout)
    training, simulator = measured["training"], measured["simulator"]
    assert (training["env"], training["preset"], training["runners"]) == ("matrix/focus-fire", "seca", 4)
    assert training["iterations"] >= 30
    assert training["env_steps_per_s"] == pytest.approx(4 / training["iteration_s"], rel=0.2)
    assert (simulator["env"], simulator["batch"]) == ("matrix/focus-fire", 64)
    assert simulator["env_steps_per_s"] > training["env_steps_per_s"]
    assert measured["hardware"]["jax"] == jax.__version__
