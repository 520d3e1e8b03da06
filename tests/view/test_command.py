"""`seca view`: what is written where, from runs and from recordings; what is refused, and that nothing is lost then."""

import dataclasses
import pathlib

import jax
import pytest
import views
from recordings import battle

from seca import cli, config
from seca.battles import recording
from seca.errors import UsageError
from seca.view import account, command
from seca.view.testify import Asked


@pytest.fixture(name="trained", scope="module")
def trained_fixture(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A run of a matrix game that is soon over."""
    path = tmp_path_factory.mktemp("view") / "run-s0"
    assert cli.run(["train", "seca", "--env", "matrix/peak", "--steps", "200", "--out", str(path)]) == 0
    return path


@pytest.mark.slow
def test_from_a_run_to_its_page(trained: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Recording and page in the run's folder of recordings; the page of the recording again; both beside each other."""
    capsys.readouterr()
    assert cli.run(["view", str(trained), "--truth", "3", "--forks", "4", "--battle", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    [name] = (
        path.with_suffix("") for path in (trained / "recordings").glob("view-latest-*-seed0-battle2-truth3x4.npz")
    )
    assert lines == [f"{name}.npz", f"{name}.html"]
    found = account.load(name.with_suffix(".npz"))
    assert found.account.truth_by == account.Truth("sequential", 4, 0)
    assert found.account.orders is not None and found.picture.about.battle == 2
    first = name.with_suffix(".html").read_text()
    asked = ["view", str(trained), "--truth", "3", "--forks", "4", "--battle", "2"]
    assert cli.run(asked) == 2
    assert "exists already" in capsys.readouterr().err
    before, out = name.with_suffix(".npz").stat(), trained / "again.html"
    assert cli.run([*asked, "--out", str(out)]) == 0 and out.read_text() == first  # Not played again.
    assert name.with_suffix(".npz").stat() == before and capsys.readouterr().out.splitlines() == [str(out)]
    out.unlink()
    assert cli.run(["view", f"{name}.npz", "--out", str(out)]) == 0
    assert out.read_text() == first
    both = trained / "both.html"
    capsys.readouterr()
    assert cli.run(["view", str(trained), f"{name}.npz", "--sampled", "--out", str(both)]) == 0
    [sampled] = (trained / "recordings").glob("view-latest-*-seed0-battle0-sampled.npz")
    assert capsys.readouterr().out.splitlines() == [str(sampled), str(both)]
    assert both.read_text().count('"play":"sampled"') == 1
    assert cli.run(["view", str(trained), str(trained), "--out", str(trained / "twice.html")]) == 2
    assert "twice" in capsys.readouterr().err
    about = dataclasses.replace(found.picture.about, policy="somebody else's")
    elsewhere = dataclasses.replace(found.picture, about=about)
    account.save(dataclasses.replace(found, picture=elsewhere), trained / "x.npz")
    (trained / "x.npz").replace(name.with_suffix(".npz"))
    assert cli.run([*asked, "--out", str(trained / "third.html")]) == 2  # Of that name, but of another policy.
    assert "exists already" in capsys.readouterr().err and not (trained / "third.html").exists()


def _asked(paths: list[pathlib.Path], out: pathlib.Path | None = None, **asked: object) -> list[pathlib.Path]:
    return command.view_all(paths, Asked(**asked), out, jax.devices())  # pyrefly: ignore


def test_refused(tmp_path: pathlib.Path) -> None:
    """One line, nothing written."""
    saved, plain, page = tmp_path / "a.npz", tmp_path / "b.npz", tmp_path / "a.html"
    account.save(views.seen(), saved)
    recording.save(battle(), plain)
    for paths, out, asked, message in (
        ([], None, {}, "`runs` are 0"),
        ([saved] * 3, None, {}, "`runs` are 3"),
        ([saved], None, {"truth": 3}, "`truth` is 3 but `runs` are recordings, played already: leave it out"),
        ([saved], None, {"sampled": True}, "`sampled` is True but `runs` are recordings"),
        ([plain], None, {}, "it holds no credit; `seca view RUN`"),
        ([tmp_path / "absent"], None, {}, "absent: it is neither a run folder nor a recording"),
        ([saved, saved], None, {}, "twice"),
        ([tmp_path], None, {}, "not a run folder"),
        ([saved], tmp_path / "x.png", {}, "ends in .html"),
        ([saved], tmp_path / "b.npz" / "x.html", {}, "nothing can be written to"),
    ):
        with pytest.raises(UsageError) as error:
            _asked(paths, out, **asked)  # pyrefly: ignore
        assert message in str(error.value) and "\n" not in str(error.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.npz", "b.npz"]
    assert _asked([saved]) == [page]
    with pytest.raises(UsageError, match="exists already"):
        _asked([saved])


def test_a_run_without_a_checkpoint(tmp_path: pathlib.Path) -> None:
    """It says so, and writes nothing."""
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text(config.to_json(config.from_preset("seca")))
    with pytest.raises(UsageError, match="checkpoint"):
        _asked([run])
    assert [path.name for path in run.iterdir()] == ["config.json"]
