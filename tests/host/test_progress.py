"""Progress of long work, where nobody looks at a terminal."""

import pytest

from seca.host import progress


def test_progress_is_told_each_ten_seconds(capsys: pytest.CaptureFixture[str]) -> None:
    """What is left follows from what was gained since the first call: an audit that is added to does not begin at 0."""
    now = iter([0.0, 5.0, 12.0, 21.0, 22.0, 40.0])
    tell = progress.Lines("audit", "env steps", clock=lambda: next(now))
    for share, steps in ((0.2, 100), (0.4, 600), (0.5, 700), (0.6, 4400), (0.6, 40_000)):
        tell(share, steps)
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.splitlines() == [
        "audit: 40 % | 50 env steps/s | about 36 s left",
        "audit: 60 % | 200 env steps/s | about 22 s left",
        "audit: 60 % | 1,000 env steps/s | about 40 s left",
    ]


def test_nothing_gained_says_nothing_of_what_is_left(capsys: pytest.CaptureFixture[str]) -> None:
    now = iter([0.0, 10.0])
    progress.Lines("drawing", "frames", clock=lambda: next(now))(0.5, 4)
    assert capsys.readouterr().err == "drawing: 50 % | 0.40 frames/s | time left not known yet\n"


def test_short_work_says_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    with progress.shown("drawing", "frames") as tell:
        tell(1.0, 10)
    assert capsys.readouterr() == ("", "")
