"""`seca watch`: a battle is recorded, then drawn; what is on disk already is kept."""

import pathlib

import pytest
from PIL import Image

from seca import cli
from seca.battles import recording, watch
from seca.config import RunConfig, to_json
from seca.runs import load
from seca.runs.load import LoadedRun, build_run
from seca.train.state import init_state


def _watch(capsys: pytest.CaptureFixture[str], *arguments: object) -> list[str]:
    """Lines that the command prints."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["watch", *map(str, arguments)])
    captured = capsys.readouterr()
    assert stopped.value.code == 0, captured.err
    return captured.out.splitlines()


def _refused(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """The one line in which the command refuses."""
    with pytest.raises(SystemExit) as stopped:
        cli.main(["watch", *map(str, arguments)])
    captured = capsys.readouterr()
    assert (stopped.value.code, captured.out) == (2, "")
    [line] = captured.err.splitlines()
    return line


@pytest.mark.every
def test_a_script_then_the_recording_again(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    play = ["--env", "smac/3m", "--policy", "heuristic", "--env-options", "jitter=False", "--out", "new/x.gif"]
    path, out, sentence = _watch(capsys, *play)
    assert (path, out) == ("new/x.npz", "new/x.gif")
    battle = recording.load(pathlib.Path(path))
    assert sentence == battle.sentence()
    assert (battle.about.env, battle.about.policy, battle.about.env_options) == (
        "smac/3m",
        "heuristic",
        {"jitter": False},
    )
    with Image.open(out) as picture:
        assert picture.format == "GIF"
        assert picture.info["duration"] == 50

    kept = pathlib.Path(out).read_bytes()
    assert "`out` is new/x.gif: it exists already and is kept" in _refused(capsys, *play)
    pathlib.Path(out).unlink()
    line = _refused(capsys, *play)
    assert "`recording` is new/x.npz: it exists already" in line
    assert "`seca watch new/x.npz --out OTHER`" in line

    assert _watch(capsys, path) == ["new/x.gif", sentence]
    assert pathlib.Path(out).read_bytes() == kept
    assert _watch(capsys, path, "--out", "sheet.png") == ["sheet.png", sentence]
    assert "`out` is new/x.gif" in _refused(capsys, path)
    assert "`seed` is 3 but `recording` new/x.npz" in _refused(capsys, path, "--seed", 3)
    assert "`env-options` is {'a': 1} but" in _refused(capsys, path, "--env-options", "a=1", "--out", "y.gif")
    assert "with a recording" in _refused(capsys, "sheet.png", "--out", "y.gif")
    assert sorted(str(p) for p in tmp_path.rglob("*.*")) == [
        str(tmp_path / name) for name in ("new/x.gif", "new/x.npz", "sheet.png")
    ]


@pytest.mark.slow
def test_a_run_keeps_its_recordings(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """An untrained policy stands for the checkpoint: what is tested is where things go, and what is refused."""
    config = RunConfig(env="smac/3m")
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(to_json(config))
    assert "no latest checkpoint" in _refused(capsys, "--policy", run)

    def untrained(path: pathlib.Path, kind: load.Kind, opponent: str | None) -> LoadedRun:
        del path, kind, opponent  # There is no file to read.
        built = build_run(config)
        return LoadedRun(built, init_state(built.algorithm, 0))

    monkeypatch.setattr(watch, "load", untrained)
    path, out, _ = _watch(capsys, "--policy", run, "--checkpoint", "best", "--battle", 2)
    assert (path, out) == (
        str(run / "recordings" / "best-0-seed0-battle2.npz"),
        str(run / "recordings" / "best-0-seed0-battle2.gif"),
    )
    about = recording.load(pathlib.Path(path)).about
    assert (about.policy, about.battle) == ("run, best checkpoint at 0 env steps", 2)
    wrong = _refused(capsys, "--policy", run, "--env", "smac/8m")
    assert f"`env` is smac/8m but run {run} was trained on smac/3m" in wrong
    assert "`env-options` jitter=False" in _refused(capsys, "--policy", run, "--env-options", "jitter=False")


def test_a_run_without_battles_is_refused(finished_run: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = _refused(capsys, "--policy", finished_run)
    assert "`env` is matrix/focus-fire, which offers nothing to draw" in line
