"""Bad files: what a user, a disk or another program made of them is refused in one line; nothing on disk changes."""

import hashlib
import json
import os
import pathlib
import shutil
import sys
import zipfile
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import test_bad_input
from recordings import battle
from refusals import assert_one_line, assert_refused, snapshot

from seca import cli
from seca.battles import recording
from seca.train import checkpoint as checkpoints

Damage = Callable[[pathlib.Path], object]


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
        ({"format": True}, ["`format`", "True"]),
        ({"setting": "best"}, ["`setting`", "best", "no field any more", "such as seca-paper"]),
        ({"setting": ["paper"]}, ["`setting`", "['paper']", "leave it out"]),
        ({"preset": "indadv", "setting": "reference"}, ["`setting`", "reference", "such as qmix-reference"]),
        ({"preset": "qmix-reference", "setting": "reference"}, ["`setting`", "leave it out"]),
        ({"seed": None}, ["`seed`", "null", "whole number"]),
        ({"seed": 1.5}, ["`seed`", "1.5", "whole number"]),
        ({"seed": -(10**300)}, ["`seed`", "-1000", "from 0 to"]),
        ({"env": ["smac/3m"]}, ["`env`", "smac/3m", "a text"]),
        ({"env": ""}, ["`env`", "''", "matrix/focus-fire"]),
        ({"env": "smac:no\0thing"}, ["`env`", "cannot be read"]),
        ({"env": "smac/3m", "env_options": {"opponent": "no\0thing"}}, ["`opponent`", "character"]),
        ({"env": "smac/3m", "env_options": {"opponent": ""}}, ["`opponent`", "''"]),
        ({"env": "smac/3m", "env_options": {"reward_win": 10**400}}, ["reward_win", "64 bits"]),
        ({"env_options": {"a": None}}, ["`env_options`", "null"]),
        ({"env_options": 3}, ["`env_options`", "3", "named values"]),
        ({"loop": {"eval_interval": 10**400}}, ["`eval_interval`", "from 1 to"]),
        ({"loop": {"runners": [1]}}, ["`loop.runners`", "[1]", "whole number"]),
        ({"loop": None}, ["`loop`", "None", "object"]),
        ({"devices": 10**9}, ["`devices`", "1000000000", "1024"]),
        ({"devices": "all"}, ["`devices`", "all", "whole number"]),
        ({"checkpoint_interval": 10**400}, ["`checkpoint_interval`", "1000", "finite"]),
        ({"checkpoint_interval": float("nan")}, ["`checkpoint_interval`", "nan", "finite"]),
        ({"loggers": "wandb"}, ["`loggers`", "wandb", "a list"]),
        ({"algorithm": {"gamma": float("inf")}}, ["`gamma`", "inf", "finite"]),
        ({"algorithm": {"gamma": 10**400}}, ["`algorithm.gamma`", "1000", "finite"]),
        ({"algorithm": {"path": []}}, ["`algorithm.path`", "[]", "object"]),
        ({"algorithm": {"path": {"points": 0}}}, ["`path.points`", "0", "from 1 to"]),
        ({"algorithm": {"critic_width": True}}, ["`algorithm.critic_width`", "true", "null"]),
        ({"preset": "qmix", "algorithm": {"double_q": 1}}, ["`algorithm.double_q`", "1", "true or false"]),
        ({"preset": "qmix", "algorithm": {"mixing": {"heads": 2}}}, ["`algorithm.mixing.heads`", "embed"]),
        ({"preset": "qmix", "algorithm": {"critic_lr": 1.0}}, ["`algorithm.critic_lr`", "unknown", "lr"]),
    ],
    ids=lambda part: ascii(part)[:60],
)
def test_config_file(
    change: dict[str, object], fragments: list[str], desk: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "config.json").write_text(json.dumps({"format": 1, "preset": "seca", "env": "matrix/focus-fire"} | change))
    assert_refused(["train", "--config", "config.json", "--out", "new"], fragments, desk, capsys)


CONFIG = b'{"format": 1, "preset": "seca", "env": "matrix/focus-fire"}'
CONTENTS: list[tuple[bytes, list[str]]] = [
    (b"", ["not JSON"]),
    (b"null", ["NoneType", "object"]),
    (CONFIG[:-1], ["not JSON"]),
    (CONFIG + CONFIG, ["not JSON", "Extra data"]),
    (b"\xef\xbb\xbf" + CONFIG, ["not JSON", "BOM"]),
    (CONFIG.decode().encode("utf-16"), ["not a text file"]),
    (CONFIG.replace(b"seca", b"\xff"), ["not a text file"]),
    (b"[" * 100_000, ["not JSON", "nested deeper"]),
    (b'{"format": 1, "loop": ' + b"[" * 300 + b"]" * 300 + b"}", ["not JSON", "nested deeper"]),
    (CONFIG.replace(b"1", b"9" * 5000, 1), ["not JSON", "digits"]),
    (CONFIG.replace(b"1", b"NaN", 1), ["`format`", "nan"]),
    (CONFIG.replace(b"}", b', "seed": 1, "seed": 2}'), ["not JSON", "'seed' is given twice"]),
    (CONFIG.replace(b"matrix/focus-fire", rb"\ud800"), ["not JSON", "ud800", "not Unicode"]),
]


@pytest.mark.parametrize(("content", "fragments"), CONTENTS, ids=range(len(CONTENTS)))
def test_content_of_a_config(
    content: bytes, fragments: list[str], desk: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (desk / "config.json").write_bytes(content)
    assert_refused(["train", "--config", "config.json", "--out", "new"], ["config.json", *fragments], desk, capsys)


def test_config_of_another_shape_or_preset(desk: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (desk / "list.json").write_text("[1, 2]")
    assert_refused(["train", "--config", "list.json"], ["`config`", "list.json", "list"], desk, capsys)
    (desk / "seca.json").write_text(json.dumps({"format": 1, "preset": "seca"}))
    clash = ["train", "indadv", "--config", "seca.json"]
    assert_refused(clash, ["`preset`", "indadv", "seca"], desk, capsys)


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


def _sign(path: pathlib.Path, metadata: str) -> None:
    """Put metadata into a checkpoint and its hash into the manifest."""
    (path / "metadata.json").write_text(metadata)
    manifest = json.loads((path / "manifest.json").read_text()) if (path / "manifest.json").exists() else {}
    manifest["metadata.json"] = hashlib.sha256((path / "metadata.json").read_bytes()).hexdigest()
    (path / "manifest.json").write_text(json.dumps(manifest))


def _resign(run: pathlib.Path, **changes: object) -> None:
    """Change the metadata, as another version of seca would have written it."""
    for kind in ("latest", "best"):
        _sign(_newest(run, kind), json.dumps(json.loads((_newest(run, kind) / "metadata.json").read_text()) | changes))


def _session_of_another_kind(run: pathlib.Path) -> None:
    environment = json.loads((run / "environment.json").read_text())
    (run / "environment.json").write_text(json.dumps(environment | {"sessions": ["x"]}))


def _change_config(run: pathlib.Path, part: str, **changes: object) -> None:
    config = json.loads((run / "config.json").read_text())
    config[part] |= changes
    (run / "config.json").write_text(json.dumps(config))


@pytest.mark.slow
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
    before = snapshot(copied_run)
    with pytest.raises(SystemExit) as stopped:
        cli.main(["resume", str(copied_run)])
    captured = capsys.readouterr()
    assert stopped.value.code == 2
    assert_one_line(captured.err, [str(copied_run), *fragments])
    (copied_run / "lock").write_text("")
    assert snapshot(copied_run) == before


def _metrics_become_a_folder(run: pathlib.Path) -> None:
    (run / "metrics.jsonl").unlink()
    (run / "metrics.jsonl").mkdir()


@pytest.mark.slow
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
    assert_refused(["resume", str(copied_run), "--checkpoint", "best"], [fragment], copied_run, capsys)


def test_a_run_that_cannot_be_written(copied_run: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A folder in the lock's place stands for a disk that takes nothing."""
    (copied_run / "lock").unlink()
    (copied_run / "lock").mkdir()
    assert_refused(["resume", str(copied_run)], [str(copied_run), "lock cannot be written"], copied_run, capsys)


@pytest.mark.parametrize("command", ["evaluate", "plot"])
def test_reading_a_damaged_run(command: str, copied_run: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    _flip_a_bit(copied_run)
    (copied_run / "metrics.jsonl").write_text('{"kind": "eval"\n')
    expected = ["checkpoint", "SHA-256"] if command == "evaluate" else ["line 1 of metrics.jsonl"]
    assert_refused([command, str(copied_run)], [str(copied_run), *expected], copied_run, capsys)


def _position(**changes: Any) -> Damage:
    """Another position in both checkpoints, signed anew."""

    def damage(run: pathlib.Path) -> None:
        metadata = json.loads((_newest(run, "latest") / "metadata.json").read_text())
        _resign(run, position=metadata["position"] | changes)

    return damage


def _without(name: str) -> Damage:
    """Both checkpoints without a field of their metadata, signed anew."""

    def damage(run: pathlib.Path) -> None:
        for kind in ("latest", "best"):
            metadata = json.loads((_newest(run, kind) / "metadata.json").read_text())
            del metadata[name]
            _sign(_newest(run, kind), json.dumps(metadata))

    return damage


def _in_manifest(name: str, digest: object = "00") -> Damage:
    def damage(run: pathlib.Path) -> None:
        path = _newest(run, "latest") / "manifest.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | {name: digest}))

    return damage


def _becomes(name: str, kind: str) -> Damage:
    """A file of the run is something else: a folder, a pipe, or a link to itself."""

    def damage(run: pathlib.Path) -> None:
        (run / name).unlink()
        {"folder": (run / name).mkdir, "pipe": lambda: os.mkfifo(run / name)}[kind]()

    return damage


@pytest.mark.parametrize(
    ("damage", "fragments"),
    [
        *((_without(name), ["damaged", f"`{name}`", "None"]) for name in ("env", "env_version", "config", "position")),
        (_without("format"), ["format", "None"]),
        (lambda run: _resign(run, format=True), ["format", "True"]),
        (lambda run: _resign(run, env=3), ["damaged", "`env`", "3", "a text"]),
        (lambda run: _resign(run, env_version=None), ["damaged", "`env_version`", "None", "a text"]),
        (lambda run: _resign(run, config=[]), ["damaged", "`config`", "[]", "an object"]),
        (lambda run: _resign(run, position=3), ["damaged", "`position`", "3", "metrics_bytes"]),
        (lambda run: _resign(run, position={}), ["damaged", "`position`", "{}", "metrics_bytes"]),
        (_position(metrics_lines=-1), ["damaged", "`position.metrics_lines`", "-1", "at least 0"]),
        (_position(metrics_lines=True), ["damaged", "`position.metrics_lines`", "True"]),
        (_position(metrics_bytes=1.5), ["damaged", "`position.metrics_bytes`", "1.5"]),
        (_position(metrics_bytes=10**30), ["damaged", "`position.metrics_bytes`", "1000"]),
        (_position(seconds="long"), ["damaged", "`position.seconds`", "long"]),
        (_position(seconds=float("nan")), ["damaged", "`position.seconds`", "nan"]),
        (_position(best=1), ["damaged", "`position.best`", "two numbers"]),
        (_position(best=[1]), ["damaged", "`position.best`", "two numbers"]),
        (_position(best=[float("nan"), 0]), ["damaged", "`position.best`", "two numbers"]),
        (_position(speed=1), ["damaged", "`position`", "speed"]),
        (_in_manifest("../../config.json"), ["damaged", "../../config.json", "not inside"]),
        (_in_manifest("/etc/hostname"), ["damaged", "/etc/hostname", "not inside"]),
        (_in_manifest("n" * 5000), ["damaged", "missing"]),
        (_in_manifest("no\0thing"), ["damaged", "missing"]),
        (_in_manifest("metadata.json", 3), ["damaged", "metadata.json", "SHA-256"]),
        (lambda run: (_newest(run, "latest") / "manifest.json").write_text("[]"), ["damaged", "an object"]),
        (lambda run: (_newest(run, "latest") / "manifest.json").write_text("[" * 100_000), ["damaged", "nested"]),
        (lambda run: (_newest(run, "latest") / "manifest.json").write_bytes(b"\xff"), ["damaged", "not a text file"]),
        (lambda run: _becomes("manifest.json", "pipe")(_newest(run, "latest")), ["damaged", "not a regular file"]),
        (lambda run: _becomes("metadata.json", "folder")(_newest(run, "latest")), ["damaged", "metadata.json"]),
        (_becomes("config.json", "pipe"), ["`run`", "not a run folder"]),
        (_becomes("config.json", "folder"), ["`run`", "not a run folder"]),
        (lambda run: (run / "config.json").write_text(""), ["`config`", "not JSON"]),
        (lambda run: shutil.rmtree(run / "checkpoints"), ["no latest checkpoint"]),
    ],
    ids=range(35),
)
def test_evaluating_a_damaged_run(
    damage: Damage, fragments: list[str], copied_run: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(copied_run)
    assert_refused(["evaluate", str(copied_run)], [str(copied_run), *fragments], copied_run, capsys)


def _eval_lines(*lines: str) -> Damage:
    return lambda run: (run / "metrics.jsonl").write_text("".join(f"{line}\n" for line in lines))


GOOD_LINE = '{"kind": "eval", "env_steps": 4, "win_rate": 0.5, "return_mean": 1.0}'


@pytest.mark.parametrize(
    ("damage", "fragments"),
    [
        (_eval_lines(), ["no evaluation yet"]),
        (_eval_lines("{"), ["line 1 of metrics.jsonl", "cannot be read"]),
        (_eval_lines(GOOD_LINE, "3"), ["line 2 of metrics.jsonl", "`kind`"]),
        (_eval_lines(GOOD_LINE, "{}"), ["line 2 of metrics.jsonl", "`kind`"]),
        (_eval_lines('{"kind": ["eval"]}'), ["line 1 of metrics.jsonl", "`kind`"]),
        (_eval_lines("[" * 100_000), ["line 1 of metrics.jsonl", "nested deeper"]),
        (_eval_lines(GOOD_LINE.replace("4", "9" * 5000)), ["line 1 of metrics.jsonl", "digits"]),
        (_eval_lines(GOOD_LINE.replace("4", "-4")), ["`env_steps`", "-4", "from 0"]),
        (_eval_lines(GOOD_LINE.replace("4", "null")), ["`env_steps`", "None", "finite number"]),
        (_eval_lines(GOOD_LINE.replace("0.5", "7")), ["`win_rate`", "7", "from 0 to 1"]),
        (_eval_lines(GOOD_LINE.replace("0.5", '"1"')), ["`win_rate`", "'1'", "finite number"]),
        (_eval_lines(GOOD_LINE.replace("1.0", "1e308")), ["`return_mean`", "1e+308"]),
        (_eval_lines(GOOD_LINE.replace("1.0", "-Infinity")), ["`return_mean`", "-inf"]),
        (_eval_lines(GOOD_LINE, GOOD_LINE), ["`env_steps`", "do not ascend"]),
        (lambda run: (run / "metrics.jsonl").write_bytes(b"\xff\n"), ["metrics.jsonl", "not a text file"]),
        (lambda run: (run / "metrics.jsonl").unlink(), ["no metrics.jsonl"]),
        (_becomes("metrics.jsonl", "pipe"), ["metrics.jsonl", "not a regular file"]),
        (_becomes("metrics.jsonl", "folder"), ["metrics.jsonl", "directory"]),
        (_becomes("environment.json", "pipe"), ["environment.json", "not a regular file"]),
        (_becomes("environment.json", "folder"), ["environment.json", "directory"]),
        (lambda run: (run / "environment.json").write_text("[]"), ["environment.json", "`sessions`"]),
        (lambda run: (run / "environment.json").write_text('{"sessions": 3}'), ["environment.json", "`sessions`"]),
        (lambda run: (run / "environment.json").write_text('{"sessions": []}'), ["no `version` of the `env`"]),
        (lambda run: (run / "environment.json").write_text("[" * 100_000), ["environment.json", "nested deeper"]),
        (
            lambda run: (run / "environment.json").write_text('{"sessions": [], "env": {"version": 3}}'),
            ["environment.json", "no `version`"],
        ),
    ],
    ids=range(25),
)
def test_plotting_a_damaged_run(
    damage: Damage, fragments: list[str], copied_run: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(copied_run)
    out = str(copied_run.parent / "curves")
    assert_refused(["plot", str(copied_run), "--out", out], [str(copied_run), *fragments], copied_run.parent, capsys)


def _arrays(**changes: Any) -> Damage:
    """A recording in which arrays are others, or (None) missing."""

    def damage(path: pathlib.Path) -> None:
        with np.load(path) as file:
            arrays = {name: file[name] for name in file.files} | changes
        np.savez(path, **{name: array for name, array in arrays.items() if array is not None})

    return damage


def _about(**changes: Any) -> Damage:
    """A recording that comes from elsewhere."""

    def damage(path: pathlib.Path) -> None:
        with np.load(path) as file:
            about = json.loads(str(file["about"])) | changes
        _arrays(about=np.array(json.dumps(about)))(path)

    return damage


def _absurd(path: pathlib.Path) -> None:
    """An array that says it has more numbers than there is memory."""
    header = b"{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 9999), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("more.npy", b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header)


@pytest.mark.parametrize(
    ("damage", "fragments"),
    [
        (lambda path: path.write_bytes(b""), ["with a recording"]),
        (lambda path: path.write_bytes(path.read_bytes()[:-30]), ["cut short"]),
        (_absurd, ["damaged"]),
        (_arrays(x=None), ["missing or unknown", "x"]),
        (_arrays(about=None), ["damaged", "about"]),
        (_arrays(more=np.zeros(3)), ["missing or unknown", "more"]),
        (_arrays(reward=np.array([{}, {}, {}], dtype=object)), ["damaged"]),
        (_arrays(reward=np.zeros(3)), ["`reward`", "float64", "float32"]),
        (_arrays(reward=np.full(3, np.nan, np.float32)), ["`reward`", "not finite"]),
        (_arrays(reward=np.full(3, 1e30, np.float32)), ["`reward`", "1,000,000"]),
        (_arrays(radius=np.full(4, -1, np.float32)), ["`radius`", "above 0"]),
        (_arrays(radius=np.full(4, 1e5, np.float32)), ["`radius`", "16.0"]),
        (_arrays(walkable=np.ones((2000, 3), bool), level=np.ones((2000, 3), np.float32)), ["2000 x 3", "256"]),
        (_arrays(actions=np.ones((3, 4), np.int16), avail=np.ones((3, 4, 8), bool)), ["4 agents of 4 units"]),
        (_arrays(about=np.array("3")), ["damaged"]),
        (_arrays(about=np.array("[" * 100_000)), ["damaged", "nested deeper"]),
        (_about(format=2), ["`format`", "2", "reads 1"]),
        (_about(unit_names=[1, 2, 3, 4]), ["`unit_names`"]),
        (_about(unit_names=["a\nb", "b", "c", "d"]), ["`unit_names`"]),
        (_about(unit_names=["marine"]), ["units"]),
        (_about(seed="3"), ["`seed`", "'3'"]),
        (_about(loops_per_second=0.0), ["per second"]),
        (_about(loops_per_second=float("inf")), ["per second"]),
        (_about(loops_per_step=0), ["loops per step"]),
        (_about(env=None), ["`env`", "None"]),
        (_about(more=3), ["damaged", "more"]),
    ],
    ids=range(26),
)
def test_damaged_recording(
    damage: Damage, fragments: list[str], desk: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recording.save(battle(), desk / "battle.npz")
    damage(desk / "battle.npz")
    assert_refused(["watch", "battle.npz"], ["battle.npz", *fragments], desk, capsys)


def test_a_recording_that_fills_the_memory(
    desk: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What it says of its sizes is enough: nothing is unpacked."""
    recording.save(battle(), desk / "battle.npz")
    monkeypatch.setattr(recording, "MOST_BYTES", 1000)
    assert_refused(["watch", "battle.npz"], ["battle.npz", "bytes unpacked, over 1000"], desk, capsys)


SCENARIO = """
limit = 60
allies = [{ unit = "stalker", count = 2, at = [9, 16] }]
enemies = [{ unit = "zergling", count = 5, at = [23, 16] }]
attack = { point = [9, 16] }
terrain = "simple"
"""


@pytest.mark.parametrize(
    ("old", "new", "fragments"),
    [
        (SCENARIO, "", ["`limit`", "missing", "whole number"]),
        (SCENARIO, "\0", ["not a TOML file"]),
        (SCENARIO, "\ufeff" + SCENARIO, ["not a TOML file"]),
        (SCENARIO, "a = " + "[" * 100_000, ["not a TOML file"]),
        ("60", "9" * 5000, ["not a TOML file", "digits"]),
        ("60", "0", ["`limit`", "0", "from 1 to"]),
        ("60", "inf", ["`limit`", "inf", "whole number"]),
        ("60", "1979-05-27", ["`limit`", "1979", "whole number"]),
        ("limit", "limits", ["`limits`", "unknown", "limit"]),
        ("= 2", "= 0", ["`count`", "0", "above 0"]),
        ("= 2", "= 999", ["200 units at most", "1004"]),
        ("stalker", "probe", ["`unit`", "probe", "stalker"]),
        ("[9, 16] }]", "[9, nan] }]", ["`at`", "nan", "within"]),
        ("[9, 16] }]", "[-9, 16] }]", ["`at`", "-9", "within"]),
        ("[9, 16] }]", "9 }]", ["`at`", "9", "[x, y]"]),
        ("{ point = [9, 16] }", "{ point = [9] }", ["`attack`", "[9]", "between"]),
        ('"simple"', '"nowhere"', ["`terrain`", "nowhere", "simple"]),
        ('"simple"', "{ rows = [] }", ["`rows`", "32", "0"]),
        ('"simple"', "{ rows = 3 }", ["`rows`", "32 strings", "3"]),
    ],
    ids=range(19),
)
def test_bad_scenario(
    old: str, new: str, fragments: list[str], desk: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert SCENARIO.count(old) >= 1
    (desk / "mine.toml").write_text(SCENARIO.replace(old, new, 1), encoding="utf-8")
    assert_refused(["train", "seca", "--env", "smac:mine.toml"], fragments, desk, capsys)


GAME = """
import dataclasses
import equinox as eqx
import jax.numpy as jnp
from seca.envs.matrix import make as make_matrix
game = make_matrix("additive")
def changed(function, **fields):
    def wrapped(*arguments):
        state, shown = function(*arguments)
        for name, change in fields.items():
            read = lambda step: getattr(step, name)
            shown = eqx.tree_at(read, shown, change(read(shown)))  # Past the checks of the constructor.
        return state, shown
    return wrapped
"""


@pytest.mark.parametrize(
    ("code", "fragments"),
    [
        ("x = 1", ["cannot be imported", "make", "AttributeError"]),
        ("import nothing_like_it", ["cannot be imported", "nothing_like_it"]),
        ("def make(:", ["cannot be imported", "SyntaxError"]),
        ("1 / 0", ["cannot be imported", "ZeroDivisionError", "my_game"]),
        ("raise SystemExit(0)", ["cannot be imported", "SystemExit"]),
        ("raise RuntimeError('two\\nlines')", ["cannot be imported", "two lines"]),
        ("make = 3", ["int", "expected a function"]),
        ("make = lambda size: game", ["`env-options` do not fit", "size"]),
        ("make = lambda: 1 / 0", ["cannot be made", "ZeroDivisionError", "my_game"]),
        ("def make(): raise ValueError('never')", ["cannot be made", "never"]),
        ("make = lambda: None", ["returns NoneType", "Env"]),
        ("make = lambda: game.spec", ["returns EnvSpec", "Env"]),
        ("spec = dict(n_agents=0)", ["`spec.n_agents`", "0", "at least 1"]),
        ("spec = dict(episode_limit=-1)", ["`spec.episode_limit`", "-1", "at least 1"]),
        ("spec = dict(version='')", ["`spec.version`", "''", "a text"]),
        ("spec = dict(n_agents=4)", ["`obs` of `reset`", "[2, 3, 1]", "[2, 4, 1]"]),
        ("spec = dict(n_actions=5)", ["`avail` of `reset`", "3, 3]", "3, 5]"]),
        ("spec = dict(obs_size=7)", ["`obs` of `reset`", "3, 1]", "3, 7]"]),
        ("spec = dict(state_size=2)", ["`state` of `reset`", "1]", "2]"]),
        ("env = dict(state_batch_axis=2)", ["`state[0]` of `reset`", "axis 2"]),
        ("env = dict(reset=lambda keys: None)", ["`reset` returns NoneType", "TimeStep"]),
        ("env = dict(reset=lambda: game)", ["`reset` raises", "positional argument"]),
        ("env = dict(step=lambda state, actions: (state, state))", ["`step` returns", "TimeStep"]),
        ("env = dict(step=lambda state, actions: 1 / 0)", ["`step` raises", "ZeroDivisionError", "my_game"]),
        ("env = dict(step=lambda s, a: game.step(s, a) if a.sum() else s)", ["`step` raises", "Tracer"]),
        (
            "env = dict(step=changed(game.step, obs=lambda x: x[:, 0]))",
            ["`obs` of `step`", "float32[2, 1]", "float32[2, 3, 1]"],
        ),
        (
            "env = dict(step=changed(game.step, obs=lambda x: x.astype('int32')))",
            ["`obs` of `step`", "int32", "float32"],
        ),
        ("env = dict(step=changed(game.step, reward=lambda x: x[:, None]))", ["`reward` of `step`", "[2, 1]", "[2]"]),
        ("env = dict(step=changed(game.step, reward=lambda x: x > 0))", ["`reward` of `step`", "bool", "float32"]),
        ("env = dict(step=changed(game.step, terminated=lambda x: x.any()))", ["`terminated` of `step`", "bool[]"]),
        ("env = dict(step=changed(game.step, truncated=lambda x: x * 1))", ["`truncated` of `step`", "int32", "bool"]),
        ("env = dict(step=changed(game.step, avail=lambda x: x * 1.0))", ["`avail` of `step`", "float32", "bool"]),
        ("env = dict(reset=changed(game.reset, info=lambda x: {}))", ["`info` of `step`", "won", "that of `reset`"]),
        ("env = dict(reset=changed(game.reset, info=lambda x: {'won': 0 * x['won']}))", ["`info['won']`", "int32"]),
        ("env = dict(step=changed(game.step, info=lambda x: {**x, 'more': x['won']}))", ["`info` of `step`", "more"]),
        (
            "env = dict(step=lambda s, a: ((s[0],), game.step(s, a)[1]))",
            ["`state` of `step`", "must be that of `reset`"],
        ),
        (
            "env = dict(step=lambda s, a: ((s[0], s[1] * 1.0), game.step(s, a)[1]))",
            ["`state[1]` of `step`", "float32[2]", "bool[2]"],
        ),
    ],
    ids=lambda part: part if isinstance(part, str) else "",
)
def test_bad_environment_of_ones_own(
    code: str,
    fragments: list[str],
    desk: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    made = "def make():\n    return dataclasses.replace(game, {})\n"
    if code.startswith("spec = "):
        code += "\n" + made.format("spec=dataclasses.replace(game.spec, **spec)")
    elif code.startswith("env = "):
        code += "\n" + made.format("**env")
    (desk / "my_game.py").write_text(GAME + code)
    monkeypatch.syspath_prepend(desk)
    monkeypatch.delitem(sys.modules, "my_game", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    given = ["train", "seca", "--env", "python:my_game.make"]
    assert_refused(given, ["`env", "my_game.make", *fragments], desk, capsys)


def _pretended(run: pathlib.Path, env: str, env_version: str, **options: object) -> None:
    """A run that has everything but arrays: what is wrong with it is found before they are read."""
    config = {"format": 1, "preset": "seca", "env": env, "env_options": options}
    checkpoint = run / "checkpoints" / "latest-000001"
    checkpoint.mkdir(parents=True)
    (run / "config.json").write_text(json.dumps(config))
    position = {"metrics_lines": 0, "metrics_bytes": 0, "seconds": 0.0, "best": None}
    metadata = {
        "format": checkpoints.FORMAT,
        "env": env,
        "env_version": env_version,
        "config": config,
        "position": position,
    }
    _sign(checkpoint, json.dumps(metadata))


def _scenario_was_edited(run: pathlib.Path) -> None:
    _pretended(run, "smac:mine.toml", "smac-1-00000000")
    (run / "scenario").mkdir()
    (run / "scenario" / "mine.toml").write_text(SCENARIO)


def _scenario_is_broken(run: pathlib.Path) -> None:
    _scenario_was_edited(run)
    (run / "scenario" / "mine.toml").write_text("limit = ")


def _scenario_is_lost(run: pathlib.Path) -> None:
    _pretended(run, "smac:mine.toml", "smac-1-00000000")


def _opponent(name: str, content: str | None) -> Damage:
    """A run against another, of which its copy has this content."""

    def damage(run: pathlib.Path) -> None:
        _pretended(run, "smac/3m", "smac-1", opponent=name)
        if content is not None:
            (run / "opponent").mkdir()
            (run / "opponent" / "config.json").write_text(content)

    return damage


@pytest.mark.parametrize("command", ["evaluate", "resume"])
@pytest.mark.parametrize(
    ("damage", "fragments"),
    [
        (_scenario_was_edited, ["`env_version`", "00000000"]),
        (_scenario_is_broken, ["mine.toml", "not a TOML file"]),
        (_scenario_is_lost, ["`env`", "mine.toml", "No such file"]),
        (_opponent("gone", None), ["`opponent`", "gone", "scripted"]),
        (_opponent("occupied", None), ["`opponent`", "occupied", "not a run folder"]),
        (_opponent("gone", "{"), ["opponent/config.json", "not JSON"]),
        (
            _opponent("gone", '{"format": 1, "preset": "seca", "env": "smac/3m"}'),
            ["run/opponent", "no latest checkpoint"],
        ),
    ],
    ids=["edited", "broken", "lost", "gone", "no-run", "copy-broken", "copy-empty"],
)
def test_what_a_run_was_made_from_is_damaged(
    command: str, damage: Damage, fragments: list[str], desk: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damage(desk / "run")
    (desk / "run" / "lock").write_text(str(os.getpid()))
    if damage is _scenario_was_edited and command == "resume":
        command = "evaluate --checkpoint latest"  # Resuming makes the untrained state first, which takes its time.
    assert_refused([*command.split(), "run"], fragments, desk, capsys)


def _cases() -> set[str]:
    """Every case that is parametrised here and in the module of arguments, in words."""
    tables = {
        f"{name}: {case!r}"
        for module in (test_bad_input, sys.modules[__name__])
        for name, test in vars(module).items()
        for mark in (test.pytestmark if name.startswith("test_") and hasattr(test, "pytestmark") else ())
        if mark.name == "parametrize" and "fragments" in mark.args[0]
        for case in mark.args[1]
    }
    return tables


def test_there_are_enough_cases() -> None:
    assert len(_cases()) >= 200
