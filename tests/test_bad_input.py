"""Bad input: one clear line that names the field, the value and the choices; exit code 2; nothing on disk changes."""

import hashlib
import json
import os
import pathlib
import shutil
from collections.abc import Callable

import pytest

from seca import cli

TRAIN = ["train", "seca", "--env", "matrix/focus-fire"]

# Arguments, and what the line must contain: field, value, choices.
INPUTS: list[tuple[list[str], list[str]]] = [
    (["frobnicate"], ["`command`", "frobnicate", "train", "doctor"]),
    (["train"], ["`preset`", "missing", "coma-newarchi"]),
    (["train", "nope"], ["`preset`", "nope", "seca-paper", "indadv"]),
    (["train", "seca", "--env", "nope"], ["`env`", "nope", "matrix/focus-fire", "smac/2s3z"]),
    (["train", "seca", "--env", "smac/nope"], ["`env`", "smac/nope", "smac/2s3z"]),
    (["train", "seca", "--env", "matrix/nope"], ["`env`", "matrix/nope", "matrix/focus-fire"]),
    (["train", "seca", "--env", "matrix"], ["`env`", "matrix", "matrix/focus-fire"]),
    ([*TRAIN, "--env-options", "speed=3"], ["`env-options`", "speed"]),
    (["train", "seca", "--env", "smac/2s3z", "--env-options", "speed=3"], ["options`", "speed", "reward_sparse"]),
    ([*TRAIN, "--env-options", "speed"], ["`env-options`", "speed", "key=value"]),
    ([*TRAIN, "--env-options", "=3"], ["`env-options`", "=3", "key=value"]),
    ([*TRAIN, "--env-options", "a=1", "a=2"], ["`env-options`", "'a'", "twice"]),
    ([*TRAIN, "--seed", "-1"], ["`seed`", "-1", "4294967295"]),
    ([*TRAIN, "--seed", "4294967296"], ["`seed`", "4294967296"]),
    ([*TRAIN, "--seed", "1.5"], ["--seed", "1.5", "whole number"]),
    ([*TRAIN, "--seed", "abc"], ["--seed", "abc", "whole number"]),
    ([*TRAIN, "--steps", "0"], ["`steps`", "0", "from 1 to 4000000000"]),
    ([*TRAIN, "--steps", "-5"], ["`steps`", "-5"]),
    ([*TRAIN, "--steps", "many"], ["--steps", "many", "whole number"]),
    ([*TRAIN, "--steps", "1e99"], ["`steps`", "4000000000"]),
    ([*TRAIN, "--steps", "nan"], ["--steps", "nan", "whole number"]),
    ([*TRAIN, "--runners", "0"], ["`runners`", "0", "from 1 to 65536"]),
    ([*TRAIN, "--runners", "10000000000"], ["`runners`", "10000000000", "from 1 to 65536"]),
    ([*TRAIN, "--eval-episodes", "10000000000"], ["`eval_episodes`", "10000000000", "from 1 to 65536"]),
    (["train", "seca", "--env", "smac/3m", "--env-options", "reward_win=nan"], ["`reward_win`", "nan", "finite"]),
    (["train", "seca", "--env", "smac/3m", "--env-options", "reward_win=-1e6"], ["`reward_scale`", "above 0"]),
    (["train", "seca", "--env", "smac/3m", "--env-options", "profile=smaclite"], ["`profile`", "2s3z", "'3m'"]),
    (["train", "seca", "--env", "smac/3m", "--env-options", "profile=lite"], ["`profile`", "smac, ladder410", "lite"]),
    ([*TRAIN, "--runners", "-3"], ["`runners`", "-3"]),
    ([*TRAIN, "--runners", "32", "--devices", "5"], ["`runners`", "32", "`devices`", "5", "1, 2, 4, 8, 16, 32"]),
    ([*TRAIN, "--runners", "64", "--devices", "64"], ["`devices`", "64", "offers 4"]),
    ([*TRAIN, "--devices", "-1"], ["`devices`", "-1"]),
    ([*TRAIN, "--eval-interval", "0"], ["`eval_interval`", "0"]),
    ([*TRAIN, "--eval-episodes", "0"], ["`eval_episodes`", "0"]),
    ([*TRAIN, "--checkpoint-interval", "-1"], ["`checkpoint_interval`", "-1"]),
    ([*TRAIN, "--checkpoint-interval", "nan"], ["`checkpoint_interval`", "nan"]),
    ([*TRAIN, "--gamma", "1.5"], ["`gamma`", "1.5", "at most 1.0"]),
    ([*TRAIN, "--gamma", "nan"], ["`gamma`", "nan"]),
    ([*TRAIN, "--td-lambda", "-0.1"], ["`td_lambda`", "-0.1", "at least 0.0"]),
    ([*TRAIN, "--actor-lr", "0"], ["`actor_lr`", "0.0", "above 0.0"]),
    ([*TRAIN, "--critic-lr", "-1"], ["`critic_lr`", "-1.0"]),
    ([*TRAIN, "--actor-lr", "inf"], ["`actor_lr`", "inf", "finite"]),
    ([*TRAIN, "--actor-lr", "fast"], ["--actor-lr", "fast"]),
    ([*TRAIN, "--actor-lr"], ["--actor-lr", "Missing value"]),
    ([*TRAIN, "--actor-lrr", "1"], ["--actor-lrr", "--actor-lr"]),
    ([*TRAIN, "--entropy", "nope"], ["--entropy", "nope", "batch_mean"]),
    ([*TRAIN, "--credit", "nope"], ["--credit", "nope", "swept", "counterfactual"]),
    ([*TRAIN, "--order", "nope"], ["--order", "nope", "gradients", "random"]),
    ([*TRAIN, "--time-limit", "never"], ["--time-limit", "never", "bootstrap", "terminal"]),
    ([*TRAIN, "--critic-width", "0"], ["`critic_width`", "0"]),
    ([*TRAIN, "--critic-width", "wide"], ["--critic-width", "wide", "None", "INT"]),
    ([*TRAIN, "--critic-embed", "100000000"], ["`algorithm`", "GiB", "a single runner", "smaller networks"]),
    ([*TRAIN, "--target-interval", "0"], ["`target_interval`", "0"]),
    ([*TRAIN, "--entropy-coef", "-0.1"], ["`entropy_coef`", "-0.1", "at least 0.0"]),
    ([*TRAIN, "--clip-norm", "0"], ["`clip_norm`", "0.0", "above 0.0"]),
    ([*TRAIN, "--path.stage", "0"], ["`path.stage`", "0"]),
    ([*TRAIN, "--path.points", "0"], ["`path.points`", "0"]),
    ([*TRAIN, "--path.points", "1000000000"], ["`path.points`", "1000000000", "from 1 to 1000"]),
    ([*TRAIN, "--path.stage", "1000000000"], ["`path.stage`", "1000000000", "from 1 to"]),
    ([*TRAIN, "--target-interval", "5000000000"], ["`target_interval`", "5000000000", "from 1 to 2147483647"]),
    ([*TRAIN, "--critic-epochs", "5000000000"], ["`critic_epochs`", "5000000000", "from 1 to 10000"]),
    ([*TRAIN, "--credit", "monte_carlo", "--credit-samples", "1e9"], ["`credit_samples`", "1000000000", "from 1 to"]),
    (["train", "qmix", "--env", "smac/3m", "--updates", "0"], ["`updates`", "0", "from 1 to 10000"]),
    ([*TRAIN, "--loggers", "mlflow"], ["--loggers", "mlflow", "tensorboard", "wandb"]),
    ([*TRAIN, "--frobnicate", "3"], ["--frobnicate", "3"]),
    ([*TRAIN, "stray"], ["stray"]),
    (
        ["train", "indadv", "--env", "smac/3m", "--setting", "reference"],
        [
            "`setting`",
            "reference",
            "coma",
            "qatten",
            "'indadv' has only paper",
        ],
    ),
    (
        ["train", "vdn", "--env", "matrix/peak", "--runners", "40", "--buffer-episodes", "32"],
        [
            "`runners`",
            "40",
            "holds 32",
            "`buffer_episodes`",
        ],
    ),
    (["train", "riit-online", "--env", "smac/3m", "--latest-episodes", "16"], ["`runners`", "32", "holds 16"]),
    (
        ["train", "qmix", "--env", "smac/3m", "--runners", "6", "--devices", "3"],
        [
            "`batch_episodes`",
            "32",
            "`devices` is 3",
            "must divide 32",
        ],
    ),
    ([*TRAIN, "--setting", "best"], ["`setting`", "best", "paper", "reference"]),
    (["train", "qatten", "--env", "matrix/qtran"], ["`env`", "matrix/qtran", "choose a smac/ environment"]),
    (["train", "riit", "--env", "smac/3m", "--latest-episodes", "9000"], ["`latest_episodes`", "9000", "holds 5000"]),
    (["train", "scc", "--env", "smac/2s3z", "--credit-orders", "7"], ["`credit_orders`", "7", "even number"]),
    ([*TRAIN, "--out", "occupied"], ["`out`", "occupied", "exists", "seca resume"]),
    ([*TRAIN, "--out", "occupied/file.txt"], ["`out`", "occupied/file.txt", "exists"]),
    ([*TRAIN, "--out", "occupied/file.txt/run"], ["`out`", "occupied/file.txt/run", "cannot be made"]),
    ([*TRAIN, "--config"], ["`config`", "no value"]),
    (["train", "--config", "absent.json"], ["`config`", "absent.json", "No such file"]),
    (["train", "--config", "occupied/file.txt"], ["`config`", "occupied/file.txt", "not JSON"]),
    (["train", "--config", "occupied/noise.bin"], ["`config`", "occupied/noise.bin", "not a text file"]),
    (["train", "--config", "occupied"], ["`config`", "occupied", "directory"]),
    (["resume"], ["RUN", "required"]),
    (["resume", "absent"], ["`run`", "absent", "no such folder"]),
    (["resume", "occupied"], ["`run`", "occupied", "not a run folder"]),
    (["resume", "absent", "--checkpoint", "worst"], ["--checkpoint", "worst", "latest", "best"]),
    (["evaluate", "absent"], ["`run`", "absent", "no such folder"]),
    (["evaluate", "absent", "--episodes", "0"], ["`episodes`", "0", "from 1 to 65536"]),
    (["evaluate", "absent", "--episodes", "10000000000"], ["`episodes`", "10000000000", "from 1 to 65536"]),
    (["evaluate", "absent", "--seed", "-1"], ["`seed`", "-1"]),
    (["plot"], ["`runs`", "at least one"]),
    (["plot", "absent"], ["`run`", "absent", "no such folder"]),
    (["watch"], ["`policy`", "missing", "random", "heuristic", "run folder"]),
    (["watch", "--policy", "nope", "--env", "smac/3m"], ["`policy`", "nope", "random", "heuristic", "run folder"]),
    (["watch", "--policy", "occupied"], ["`run`", "occupied", "not a run folder"]),
    (["watch", "--policy", "random"], ["`env`", "missing", "--env smac/2s3z"]),
    (["watch", "--policy", "random", "--env", "smac/nope"], ["`env`", "smac/nope", "smac/2s3z"]),
    (["watch", "--policy", "random", "--env", "matrix/qtran"], ["`env`", "matrix/qtran", "only battles", "smac/"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--env-options", "a=1"], ["options`", "'a'", "jitter"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--checkpoint", "best"], ["`checkpoint`", "best", "random"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--seed", "-1"], ["`seed`", "-1"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--battle", "-1"], ["`battle`", "-1"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--fps", "0"], ["`fps`", "0", "from 1 to 50"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--every", "0"], ["`every`", "0", "at least 1"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--out", "x.jpg"], ["`out`", "x.jpg", ".gif, .mp4, .png"]),
    (["watch", "--policy", "random", "--env", "smac/3m", "--out", "occupied/file.txt/x.gif"], ["`out`", "written"]),
    (["watch", "absent.npz"], ["`recording`", "absent.npz", "no such file"]),
    (["watch", "occupied"], ["`recording`", "occupied", "no such file"]),
    (["watch", "occupied/noise.bin"], ["`recording`", "occupied/noise.bin", "not a recording"]),
    (["watch", "absent.npz", "--policy", "random"], ["`policy`", "random", "absent.npz", "leave"]),
    (["bench", "nothing"], ["nothing", "simulator", "train"]),
    (["bench", "--batch", "0"], ["`batch`", "0"]),
    (["bench", "--runners", "-2"], ["`runners`", "-2"]),
    (["bench", "--seconds", "0"], ["`seconds`", "0"]),
    (["bench", "--preset", "nope"], ["`preset`", "nope", "seca", "or all"]),
    (["bench", "train", "--preset", "iql", "nope"], ["`preset`", "nope", "seca", "or all"]),
    (["bench", "train", "--preset", "iql", "vdn", "iql"], ["`preset`", "iql", "twice"]),
    (["bench", "train", "--preset", "iql", "all"], ["`preset`", "all", "names"]),
    (["bench", "train", "--preset"], ["`preset`", "empty", "seca", "all"]),
    (["bench", "train", "--env", "nope", "--preset", "all"], ["`env`", "nope", "smac/2s3z"]),
    (["bench", "--env", "nope"], ["`env`", "nope", "smac/2s3z"]),
    (["envs", "smac"], ["smac"]),
    (["algos", "--all"], ["--all"]),
    (["doctor", "now"], ["now"]),
]


def _snapshot(folder: pathlib.Path) -> dict[str, str]:
    """Every path below a folder with the hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "folder"
        for path in sorted(folder.rglob("*"))
    }


def _assert_refused(
    arguments: list[str], fragments: list[str], folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run the command in this process and check exit code, the one line, and the disk."""
    before = _snapshot(folder)
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    captured = capsys.readouterr()
    assert stopped.value.code == 2, captured
    _assert_one_line(captured.err, fragments)
    assert captured.out == ""
    assert _snapshot(folder) == before


def _assert_one_line(text: str, fragments: list[str]) -> None:
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert "Traceback" not in lines[0]
    assert [fragment for fragment in fragments if fragment not in lines[0]] == [], lines[0]


@pytest.fixture
def desk(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A working directory with a folder in it that must survive."""
    (tmp_path / "occupied").mkdir()
    (tmp_path / "occupied" / "file.txt").write_text("somebody's notes")
    (tmp_path / "occupied" / "noise.bin").write_bytes(bytes(range(128, 256)))
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_there_are_enough_inputs() -> None:
    assert len({tuple(arguments) for arguments, _ in INPUTS}) == len(INPUTS) >= 40


@pytest.mark.parametrize(("arguments", "fragments"), INPUTS, ids=lambda part: " ".join(part)[:60])
def test_arguments(
    arguments: list[str], fragments: list[str], desk: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _assert_refused(arguments, fragments, desk, capsys)


@pytest.mark.parametrize(
    ("change", "fragments"),
    [
        ({"colour": "red"}, ["`colour`", "unknown", "env_options"]),
        ({"loop": {"stepz": 3}}, ["`loop.stepz`", "unknown", "eval_interval"]),
        ({"algorithm": {"path": {"stages": 3}}}, ["`algorithm.path.stages`", "unknown", "stage"]),
        ({"loop": 3}, ["`loop`", "3", "object"]),
        ({"loop": {"steps": "2e6"}}, ["`loop.steps`", "2e6", "whole number"]),
        ({"loop": {"steps": -2}}, ["`steps`", "-2"]),
        ({"seed": True}, ["`seed`", "true", "whole number"]),
        ({"algorithm": {"gamma": None}}, ["`algorithm.gamma`", "null", "number"]),
        ({"algorithm": {"critic_width": "wide"}}, ["`algorithm.critic_width`", "wide", "null"]),
        ({"algorithm": {"credit": "luck"}}, ["`algorithm.credit`", "luck", "swept"]),
        ({"env_options": {"a": [1]}}, ["`env_options`", "[1]"]),
        ({"loggers": ["mlflow"]}, ["`loggers`", "mlflow", "tensorboard"]),
        ({"preset": "nope"}, ["`preset`", "nope", "seca-paper"]),
        ({"preset": None}, ["`preset`", "None", "seca-paper"]),
        ({"format": 99}, ["`format`", "99"]),
    ],
    ids=str,
)
def test_config_file(
    change: dict[str, object], fragments: list[str], desk: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "config.json").write_text(json.dumps({"format": 1, "preset": "seca", "env": "matrix/focus-fire"} | change))
    _assert_refused(["train", "--config", "config.json", "--out", "new"], fragments, desk, capsys)


def test_config_of_another_shape_or_preset(desk: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "list.json").write_text("[1, 2]")
    _assert_refused(["train", "--config", "list.json"], ["`config`", "list.json", "list"], desk, capsys)
    (desk / "seca.json").write_text(json.dumps({"format": 1, "preset": "seca"}))
    clash = ["train", "indadv", "--config", "seca.json"]
    _assert_refused(clash, ["`preset`", "indadv", "seca"], desk, capsys)


def _newest(run: pathlib.Path, kind: str) -> pathlib.Path:
    return sorted((run / "checkpoints").glob(f"{kind}-*"))[-1]


def _flip_a_bit(run: pathlib.Path) -> None:
    for kind in ("latest", "best"):
        largest = max(
            (path for path in _newest(run, kind).rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
        )
        content = bytearray(largest.read_bytes())
        content[len(content) // 2] ^= 1
        largest.write_bytes(content)


def _truncate(run: pathlib.Path) -> None:
    largest = max(
        (path for path in _newest(run, "latest").rglob("*") if path.is_file()), key=lambda p: p.stat().st_size
    )
    largest.write_bytes(largest.read_bytes()[:-7])


def _edit_metadata(run: pathlib.Path) -> None:
    path = _newest(run, "latest") / "metadata.json"
    path.write_text(path.read_text().replace('"env_steps": 160', '"env_steps": 999'))


def _lose(name: str) -> Callable[[pathlib.Path], None]:
    return lambda run: (_newest(run, "latest") / name).unlink()


def _resign(run: pathlib.Path, **changes: object) -> None:
    """Change the metadata and put the new hash into the manifest, as another version of seca would have written it."""
    for kind in ("latest", "best"):
        path = _newest(run, kind)
        metadata = json.loads((path / "metadata.json").read_text()) | changes
        (path / "metadata.json").write_text(json.dumps(metadata))
        manifest = json.loads((path / "manifest.json").read_text())
        manifest["metadata.json"] = hashlib.sha256((path / "metadata.json").read_bytes()).hexdigest()
        (path / "manifest.json").write_text(json.dumps(manifest))


def _session_of_another_kind(run: pathlib.Path) -> None:
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(environment | {"sessions": ["x"]}))


def _change_config(run: pathlib.Path, part: str, **changes: object) -> None:
    config = json.loads((run / "config.json").read_text())
    config[part] |= changes
    (run / "config.json").write_text(json.dumps(config))


@pytest.mark.parametrize(
    ("damage", "fragments"),
    [
        (_flip_a_bit, ["checkpoint", "damaged", "SHA-256", "--checkpoint best"]),
        (_truncate, ["checkpoint", "damaged", "SHA-256"]),
        (_edit_metadata, ["checkpoint", "damaged", "metadata.json"]),
        (_lose("metadata.json"), ["checkpoint", "damaged", "metadata.json is missing"]),
        (_lose("manifest.json"), ["checkpoint", "damaged", "manifest.json is missing"]),
        (lambda run: (_newest(run, "latest") / "manifest.json").write_text("{"), ["damaged", "manifest.json"]),
        (lambda run: (_newest(run, "latest") / "manifest.json").write_text("{}"), ["damaged", "manifest.json"]),
        (lambda run: _resign(run, env_version="matrix-0"), ["`env_version`", "matrix-0", "matrix-1"]),
        (lambda run: _resign(run, env="matrix/qtran"), ["`env`", "matrix/qtran", "matrix/focus-fire"]),
        (lambda run: _resign(run, format=99), ["format", "99"]),
        (lambda run: _change_config(run, "algorithm", gamma=0.5), ["`algorithm.gamma`", "0.5", "0.99"]),
        (lambda run: _change_config(run, "algorithm", critic_embed=32), ["`algorithm.critic_embed`", "32", "64"]),
        (lambda run: (run / "config.json").write_text("{"), ["`config`", "config.json", "not JSON"]),
        (lambda run: (run / "environment.json").write_text("{"), ["environment.json", "cannot be read"]),
        (_session_of_another_kind, ["environment.json", "`sessions`", "not objects"]),
        (lambda run: (run / "metrics.jsonl").write_text("{}\n"), ["metrics.jsonl", "changed"]),
        (lambda run: shutil.rmtree(run / "checkpoints"), ["no latest checkpoint"]),
    ],
    ids=range(17),
)
def test_damaged_run(
    damage: Callable[[pathlib.Path], None],
    fragments: list[str],
    copied_run: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    damage(copied_run)
    (copied_run / "lock").write_text("")  # Says who came last; the one file that a refused command may touch.
    snapshot = _snapshot(copied_run)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["resume", str(copied_run)])
    captured = capsys.readouterr()
    assert stopped.value.code == 2
    _assert_one_line(captured.err, [str(copied_run), *fragments])
    (copied_run / "lock").write_text("")
    assert _snapshot(copied_run) == snapshot


def _metrics_become_a_folder(run: pathlib.Path) -> None:
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()


@pytest.mark.parametrize(
    ("damage", "fragment"),
    [
        (lambda run: (run / "metrics.jsonl").write_text("{}\n"), "metrics.jsonl does not hold"),
        (_metrics_become_a_folder, "metrics.jsonl cannot be read"),
    ],
    ids=["changed", "folder"],
)
def test_going_on_from_the_best_loses_nothing_when_refused(
    damage: Callable[[pathlib.Path], None],
    fragment: str,
    copied_run: pathlib.Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """`latest` is replaced only when all has been found good."""
    damage(copied_run)
    (copied_run / "lock").write_text(str(os.getpid()))
    _assert_refused(["resume", str(copied_run), "--checkpoint", "best"], [fragment], copied_run, capsys)


def test_a_run_that_cannot_be_written(copied_run: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder in the lock's place stands for a disk that takes nothing."""
    (copied_run / "lock").unlink()
    (copied_run / "lock").mkdir()
    _assert_refused(["resume", str(copied_run)], [str(copied_run), "lock cannot be written"], copied_run, capsys)


@pytest.mark.parametrize("command", ["evaluate", "plot"])
def test_reading_a_damaged_run(command: str, copied_run: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    _flip_a_bit(copied_run)
    (copied_run / "metrics.jsonl").write_text('{"kind": "eval"\n')
    expected = ["checkpoint", "SHA-256"] if command == "evaluate" else ["line 1 of metrics.jsonl"]
    _assert_refused([command, str(copied_run)], [str(copied_run), *expected], copied_run, capsys)


@pytest.mark.parametrize(
    ("arguments", "fragments"),
    [
        (["train", "seca", "--env", "smac/2s3zz"], ["`env`", "smac/2s3zz", "smac/2s3z"]),
        (["train", "seca", "--steps", "-1"], ["`steps`", "-1"]),
        (["train", "seca", "--order", "nope"], ["--order", "nope", "gradients"]),
        (["evaluate", "absent"], ["`run`", "absent"]),
    ],
    ids=lambda part: " ".join(part)[:40],
)
def test_in_a_process_of_its_own(arguments: list[str], fragments: list[str], seca, desk: pathlib.Path) -> None:
    ended = seca(*arguments, cwd=desk)
    assert ended.returncode == 2
    assert ended.stdout == ""
    _assert_one_line(ended.stderr, fragments)
