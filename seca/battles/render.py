"""Recordings to files: an animation (GIF, MP4) or a sheet of moments (PNG)."""

import contextlib
import importlib
import importlib.util
import pathlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator

import numpy as np
from PIL import Image

from seca import files
from seca.battles.draw import EDGE, SIGNALS, Painter
from seca.battles.recording import Recording, check_free
from seca.battles.scene import Scene, ScenePainter
from seca.errors import RunError, UsageError
from seca.host.progress import Tell
from seca.host.signals import child

FPS = 20
"""Frames per second, by default."""
EVERY = 2
"""Game loops per frame, by default: with `FPS` 2.5 times SC2's normal speed."""
MAX_FPS = 50
"""Viewers show faster GIFs slower."""
MOMENTS, COLUMNS, PANEL, GAP = 6, 3, 480, 4
"""Pictures of a sheet, how many side by side, the width of each and the space between, in pixels."""
HOLD_SECONDS = 1.5
"""How long the last frame stays."""
SWATCH = 200
"""Width of the strip of `SIGNALS` beside a picture whose palette is chosen, in pixels."""
_COLOURS = 128
_MP4_MODULE = "imageio_ffmpeg"


def check(out: pathlib.Path, fps: int, every: int) -> None:
    """Raise UsageError unless `render` can write `out` with these numbers; asked before a battle is played."""
    if out.suffix not in WRITERS:
        raise UsageError(f"`out` is {out}: its ending must be one of {', '.join(WRITERS)} (a sheet of moments)")
    if out.suffix == ".mp4" and importlib.util.find_spec(_MP4_MODULE) is None:
        raise UsageError(f"`out` is {out}: MP4 is not installed; run pip install 'seca[video]', or choose .gif")
    if not 1 <= fps <= MAX_FPS:
        raise UsageError(f"`fps` is {fps}: it must be a whole number from 1 to {MAX_FPS}")
    if every < 1:
        raise UsageError(f"`every` is {every}: it must be a whole number of at least 1")
    check_free(out, "out")


AnyPainter = Painter | ScenePainter


def painter_of(recording: Recording | Scene) -> AnyPainter:
    """Who draws it. Raises UsageError where there is nothing to draw."""
    if isinstance(recording, Scene) and not recording.names:
        raise UsageError(f"`recording` is of {recording.about.env}, which offers nothing to draw: `seca view` shows it")
    return ScenePainter(recording) if isinstance(recording, Scene) else Painter(recording)


def render(
    recording: Recording | Scene, out: pathlib.Path, fps: int = FPS, every: int = EVERY, tell: Tell | None = None
) -> None:
    """Draw a recording into `out`, whose ending chooses the kind: .gif, .mp4, or .png for a sheet of moments.

    Args:
        recording: the battle, or the episode.
        out: a file that does not exist yet.
        fps: frames per second.
        every: game loops per frame.
        tell: told of the progress.

    Raises:
        UsageError: `out` exists, its ending is another, its extra is not installed, or a number is out of range.
        RunError: the video encoder failed, or the disk does not take the picture.
    """
    check(out, fps, every)
    with files.replacing(out) as temporary:
        WRITERS[out.suffix](painter_of(recording), temporary, fps, every, tell)


def loops_shown(recording: Recording | Scene, every: int) -> list[int]:
    """Frames of the recording that are drawn: each `every`th, and the last whatever its number."""
    last = len(recording.x) - 1
    return [*range(0, last, every), last]


def _told(frames: list[int], tell: Tell | None) -> Iterator[int]:
    """The frames, one after another, each told when it has been drawn."""
    for number, frame in enumerate(frames):
        yield frame
        if tell is not None:
            tell((number + 1) / len(frames), number + 1)


def moments(recording: Recording | Scene, count: int = MOMENTS) -> list[int]:
    """Frames that tell the battle: from just before the first shot to the end, evenly spread but for a step or two.

    Each but the first and the last moves to where most shots are seen nearby.
    """
    last, loops = len(recording.x) - 1, recording.about.loops_per_step
    shots = recording.shot.sum(axis=1)
    first = max(0, int(np.flatnonzero(shots)[0]) - loops) if shots.any() else 0
    even = np.linspace(first, last, count).round().astype(int).tolist()
    near = min(2 * loops, (last - first) // (3 * count))
    busiest = [max(range(f - near, f + near + 1), key=lambda g, f=f: (shots[g], -abs(g - f))) for f in even[1:-1]]
    return [even[0], *busiest, even[-1]]


def sheet(painter: AnyPainter, frames: list[int]) -> Image.Image:
    """Several frames in rows of `COLUMNS`, in reading order."""
    width, height = PANEL, round(painter.view.size[1] * PANEL / painter.view.size[0])
    columns, rows = min(COLUMNS, len(frames)), -(-len(frames) // COLUMNS)
    picture = Image.new("RGB", ((width + GAP) * columns - GAP, (height + GAP) * rows - GAP), EDGE)
    for place, frame in enumerate(frames):
        small = painter.frame(frame).resize((width, height), Image.Resampling.LANCZOS)
        picture.paste(small, (place % COLUMNS * (width + GAP), place // COLUMNS * (height + GAP)))
    return picture


def palette(picture: Image.Image, colours: int) -> Image.Image:
    """The colours of a picture, with room for what is small in it but must keep its hue: teams, bars, beams."""
    swatch = picture.height // len(SIGNALS)
    widened = Image.new("RGB", (picture.width + SWATCH, picture.height), SIGNALS[-1])
    widened.paste(picture)
    for place, colour in enumerate(SIGNALS):
        widened.paste(colour, (picture.width, place * swatch, widened.width, (place + 1) * swatch))
    return widened.quantize(colours)


def _write_sheet(painter: AnyPainter, path: pathlib.Path, fps: int, every: int, tell: Tell | None) -> None:
    del fps, every, tell  # Nothing moves, and it is soon done.
    picture = sheet(painter, moments(painter.recording))
    picture.quantize(palette=palette(picture, 256), dither=Image.Dither.NONE).save(path, "PNG", optimize=True)


def _write_gif(painter: AnyPainter, path: pathlib.Path, fps: int, every: int, tell: Tell | None) -> None:
    """All frames in one palette, so that what stands still costs nothing."""
    frames = loops_shown(painter.recording, every)
    shared = palette(sheet(painter, moments(painter.recording)), _COLOURS)
    pictures = (painter.frame(f).quantize(palette=shared, dither=Image.Dither.NONE) for f in _told(frames, tell))
    durations = [1000 // fps] * len(frames)
    durations[-1] += round(1000 * HOLD_SECONDS)
    next(pictures).save(path, "GIF", save_all=True, append_images=pictures, duration=durations, loop=0)


def _write_mp4(painter: AnyPainter, path: pathlib.Path, fps: int, every: int, tell: Tell | None) -> None:
    """H.264, as every browser plays it."""
    frames = loops_shown(painter.recording, every)
    frames += frames[-1:] * round(fps * HOLD_SECONDS)
    width, height = painter.view.size
    program = importlib.import_module(_MP4_MODULE).get_ffmpeg_exe()
    pictures = ["-f", "rawvideo", "-pix_fmt", "rgb24", "-s", f"{width}x{height}", "-r", str(fps), "-i", "-"]
    video = ["-c:v", "libx264", "-crf", "20", "-pix_fmt", "yuv420p", "-movflags", "+faststart", "-f", "mp4", str(path)]
    # Our own process, since the module's forks with a hook, of which JAX warns.
    with tempfile.TemporaryFile() as complaints:
        command = [program, "-y", "-loglevel", "error", *pictures, *video]
        with child(command, stdin=subprocess.PIPE, stderr=complaints) as encoder:
            assert encoder.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # It gave up: its own words follow.
                with encoder.stdin as pipe:
                    for frame in _told(frames, tell):
                        pipe.write(painter.frame(frame).tobytes())
        if encoder.returncode != 0:
            complaints.seek(0)
            raise RunError(f"ffmpeg failed: {complaints.read().decode(errors='replace').strip() or encoder.returncode}")


WRITERS: dict[str, Callable[[AnyPainter, pathlib.Path, int, int, Tell | None], None]] = {
    ".gif": _write_gif,
    ".mp4": _write_mp4,
    ".png": _write_sheet,
}
"""File endings and who writes them: `writer(painter, path, fps, every, tell)`."""
