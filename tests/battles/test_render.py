"""Pictures show what a recording holds: looked up pixel by pixel in a battle made by hand."""

import dataclasses
import pathlib
import subprocess
import sys
import types

import numpy as np
import pytest
from PIL import Image, ImageSequence
from recordings import DEATH, HEAL, MARINE, MEDIVAC, SHOT, STALKER, ZEALOT, battle

from seca.battles import draw, render
from seca.errors import RunError, UsageError


def pixel(painter: draw.Painter, frame: int, x: float, y: float) -> np.ndarray:
    """Colour at a point of the map."""
    across, down = (round(part / draw.FINER) for part in painter.view.point(x, y))
    return np.asarray(painter.frame(frame))[down + draw.HEADER, across].astype(int)


def distance(colour: np.ndarray, wanted: draw.Colour) -> float:
    return float(np.abs(colour - np.array(wanted)).max())


def test_the_crop_holds_all_units_and_the_rim() -> None:
    view = draw.crop(battle())
    assert (view.bottom, view.top) == (11, 21)
    assert view.left <= 10 < 22 <= view.right <= 24
    assert view.size[0] % 2 == view.size[1] % 2 == 0
    far = battle(x=battle().x + np.float32(11))
    assert draw.crop(far).right >= 30 + draw.RIM
    assert draw.crop(far).size[0] <= draw.WIDTH + 1


def test_units_stand_where_they_are_in_their_colours() -> None:
    painter = draw.Painter(battle())
    for unit, team in ((MARINE, 0), (MEDIVAC, 0), (ZEALOT, 1), (STALKER, 1)):
        x, y, radius = (float(part[unit]) for part in (battle().x[0], battle().y[0], battle().radius))
        assert distance(pixel(painter, 0, x - radius + 0.06, y), draw.TEAMS[team]) < 60, unit
        assert distance(pixel(painter, 0, x - radius - 0.12, y), draw.FLOOR) < 12, unit


def test_floor_rock_and_void() -> None:
    painter = draw.Painter(battle())
    assert distance(pixel(painter, 0, 16.5, 16.5), draw.FLOOR) < 12
    assert distance(pixel(painter, 0, 15.5, 13.5), draw.ROCK) < 12
    assert distance(pixel(painter, 0, 16.5, 11.5), draw.VOID) < 12
    assert distance(pixel(painter, 0, 16.5, 12.0), draw.EDGE) < 60


def test_a_shot_is_a_line_that_fades() -> None:
    painter = draw.Painter(battle())
    light = [distance(pixel(painter, frame, 15.5, 14.5), draw.FLOOR) for frame in range(SHOT - 1, SHOT + 7)]
    assert light[0] < 12
    assert light[1] > 100
    assert light[1] > light[2] > light[3] > light[4]
    assert light[draw.SHOT_LOOPS + 1] < 12


def test_whoever_is_hit_flashes() -> None:
    painter = draw.Painter(battle())
    rims = [distance(pixel(painter, frame, 13 - 0.33, 14.5), draw.FLASH) for frame in (SHOT - 1, SHOT, SHOT + 6)]
    assert rims[1] < min(rims[0], rims[2]) - 30


def test_healing_is_a_green_beam() -> None:
    """In the loop that costs energy, and to a friend; an order alone heals nobody, and foes are not healed."""
    painter = draw.Painter(battle())
    assert distance(pixel(painter, HEAL - 1, 13, 16.4), draw.FLOOR) < 12
    assert distance(pixel(painter, HEAL, 13, 16.4), draw.HEAL) < 60
    healed = draw.healing(painter.recording)
    assert np.argwhere(healed).tolist() == [[HEAL, MEDIVAC]]
    hostile = painter.recording.target.copy()
    hostile[:, MEDIVAC] = ZEALOT
    assert not draw.healing(battle(target=hostile)).any()


def test_the_dead_leave_a_cross_and_no_bars() -> None:
    painter = draw.Painter(battle())
    before, after = (pixel(painter, frame, 19, 18.64) for frame in (DEATH - 1, DEATH))
    assert distance(before, draw.HEALTH) < 40
    assert distance(after, draw.FLOOR) < 40
    assert distance(pixel(painter, DEATH + 4, 19, 18), draw.FLOOR) > 30


def test_bars_are_as_long_as_what_is_left() -> None:
    """Marine: half its health is gone after the shot. Stalker: health full, shield half."""
    painter = draw.Painter(battle())
    left, right, y = 13 - 0.3, 13 + 0.3, 14.5 + 0.375 + 0.15
    assert distance(pixel(painter, 0, right, y), draw.HEALTH) < 60
    assert distance(pixel(painter, SHOT, left, y), draw.HEALTH) < 60
    assert distance(pixel(painter, SHOT, right, y), draw.SHADOW) < 60
    health, shield = 14.5 + 0.625 + 0.15, 14.5 + 0.625 + 0.31
    assert distance(pixel(painter, 0, 19 + 0.5, health), draw.HEALTH) < 60
    assert distance(pixel(painter, 0, 19 - 0.5, shield), draw.SHIELD) < 60
    assert distance(pixel(painter, 0, 19 + 0.5, shield), draw.SHADOW) < 60


def test_header_and_footer_change_with_the_battle() -> None:
    """The step, time and return on top, the outcome with the last frame only, the counts below."""
    painter = draw.Painter(battle())
    last = len(painter.recording.x) - 1
    first, middle, end = (np.asarray(painter.frame(frame)).astype(int) for frame in (0, last - 1, last))
    assert (first[: draw.HEADER // 2] != middle[: draw.HEADER // 2]).any()
    outcome = (slice(draw.HEADER // 2, draw.HEADER), slice(first.shape[1] // 2, None))
    assert np.abs(middle[outcome] - np.array(draw.VOID)).max() < 12
    assert distance(end[outcome].reshape(-1, 3).max(axis=0), draw.TEAMS[0]) < 40
    assert (first[-draw.FOOTER :] != end[-draw.FOOTER :]).any()


def test_long_names_are_cut() -> None:
    """A policy or scenario file with a long path does not run into the numbers."""
    assert draw.fitted("short", 12, 200) == "short"
    cut = draw.fitted("a/very/long/path" * 20, 12, 200)
    assert cut.endswith(" ...")
    assert draw.font(12).getlength(cut) <= 200
    assert draw.font(12).getlength(cut) > 180
    long = dataclasses.replace(battle().about, env="smac:" + "folder/" * 40, policy="policy" * 40)
    pictures = [np.asarray(draw.Painter(battle(about=about)).frame(3)) for about in (battle().about, long)]
    right = (slice(0, draw.HEADER), slice(-100, None))
    np.testing.assert_array_equal(pictures[0][right], pictures[1][right])


def test_a_narrow_battle_has_room_for_its_header() -> None:
    column = battle(x=np.full_like(battle().x, 16))
    view = draw.crop(column)
    assert view.size[0] >= draw.LEAST_WIDTH
    assert draw.Painter(column).frame(0).size == view.size


def test_every_unit_type_has_a_sign_of_its_own() -> None:
    assert len(set(draw.GLYPHS.values())) == len(draw.GLYPHS)
    assert draw.glyph("ultralisk") == "U"


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
