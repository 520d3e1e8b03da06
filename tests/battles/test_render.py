"""Files of pictures: frames in time, endings, and what stands in the way of either."""

import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image, ImageSequence
from recordings import SHOT, battle

from seca.battles import draw, render
from seca.errors import RunError, UsageError


def test_gif(tmp_path: pathlib.Path) -> None:
    out = tmp_path / "new" / "x.gif"
    render.render(battle(), out, fps=10, every=3)
    with Image.open(out) as picture:
        assert picture.size == draw.crop(battle()).size
        durations = []
        for frame in ImageSequence.Iterator(picture):
            durations.append(frame.info["duration"])
        shown = np.asarray(picture.convert("RGB")).astype(int)
    # Pillow joins frames that are the same.
    assert sum(durations) == 100 * len(render.loops_shown(battle(), 3)) + 1500
    drawn = np.asarray(draw.Painter(battle()).frame(24)).astype(int)
    assert np.abs(shown - drawn).mean() < 2
    colours = shown.reshape(-1, 3)
    for colour in draw.TEAMS:
        assert np.abs(colours - np.array(colour)).max(axis=1).min() < 12
    assert [path.name for path in out.parent.iterdir()] == ["x.gif"]


def test_frames_shown_end_with_the_last() -> None:
    assert render.loops_shown(battle(), 1) == list(range(25))
    assert render.loops_shown(battle(), 5) == [0, 5, 10, 15, 20, 24]
    assert render.loops_shown(battle(), 1000) == [0, 24]


def test_sheet(tmp_path: pathlib.Path) -> None:
    """Six moments from just before the first shot to the end."""
    assert render.moments(battle()) == [0, 5, 10, 14, 19, 24]
    busy = np.roll(battle().shot, 2, axis=0) | battle().shot
    assert render.moments(battle(shot=busy), count=3) == [0, 10, 24]
    late = np.roll(battle().shot, 12, axis=0)
    assert render.moments(battle(shot=late))[0] == SHOT + 12 - 8
    assert render.moments(battle(shot=np.zeros_like(late)))[0] == 0
    render.render(battle(), tmp_path / "x.png")
    with Image.open(tmp_path / "x.png") as picture:
        assert picture.width == 3 * render.PANEL + 2 * render.GAP
    assert (tmp_path / "x.png").stat().st_size < 300_000


def _encoder(folder: pathlib.Path, code: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stands for ffmpeg: a program that runs `code` with its arguments and what is piped to it."""
    program = folder / "encoder"
    program.write_text(f"#!{sys.executable}\nimport sys\n{code}\n")
    program.chmod(0o755)
    module = types.ModuleType("imageio_ffmpeg")
    module.__dict__["get_ffmpeg_exe"] = lambda: str(program)
    module.__spec__ = types.SimpleNamespace(name="imageio_ffmpeg")  # type: ignore[assignment]
    monkeypatch.setitem(sys.modules, "imageio_ffmpeg", module)


def test_mp4_gets_every_frame(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = "open(sys.argv[-1], 'w').write(f'{len(sys.stdin.buffer.read())} {sys.argv}')"
    _encoder(tmp_path, code, monkeypatch)
    render.render(battle(), tmp_path / "x.mp4", fps=10, every=2)
    size, _, arguments = (tmp_path / "x.mp4").read_text().partition(" ")
    width, height = draw.crop(battle()).size
    assert int(size) == width * height * 3 * (13 + 15)
    assert f"'{width}x{height}', '-r', '10'" in arguments


def test_a_failing_encoder_leaves_nothing(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _encoder(tmp_path, "sys.exit('no such codec')", monkeypatch)
    with pytest.raises(RunError, match="ffmpeg failed: no such codec"):
        render.render(battle(), tmp_path / "x.mp4")
    assert [path.name for path in tmp_path.iterdir()] == ["encoder"]


def test_mp4_without_its_extra(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(render, "_MP4_MODULE", "surely_not_installed")
    with pytest.raises(UsageError, match=r"`out` is .*x\.mp4: .*pip install 'seca\[video\]', or choose \.gif"):
        render.render(battle(), tmp_path / "x.mp4")


@pytest.mark.parametrize(
    ("name", "fps", "every", "message"),
    [
        ("x.jpg", 20, 2, r"`out` is .*x\.jpg: its ending must be one of \.gif, \.mp4, \.png"),
        ("x.gif", 0, 2, "`fps` is 0: .* from 1 to 50"),
        ("x.gif", 51, 2, "`fps` is 51"),
        ("x.gif", 20, 0, "`every` is 0"),
        ("there.gif", 20, 2, r"`out` is .*there\.gif: it exists already"),
        ("there.gif/x.gif", 20, 2, r"`out` is .*: nothing can be written to .*there\.gif"),
    ],
)
def test_refusals(name: str, fps: int, every: int, message: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "there.gif").write_bytes(b"mine")
    with pytest.raises(UsageError, match=message):
        render.render(battle(), tmp_path / name, fps, every)
    assert (tmp_path / "there.gif").read_bytes() == b"mine"
    assert len(list(tmp_path.iterdir())) == 1


def test_drawing_needs_no_simulator() -> None:
    """To watch is to record, then to render: the second half reads a file and loads neither JAX nor the simulator."""
    code = (
        "import sys, seca.battles.render; "
        "assert not {'jax', 'seca.smac', 'seca.envs', 'seca.algos', 'matplotlib'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
