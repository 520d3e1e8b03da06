"""What a person sees of a running training."""

import os

import pytest
from rich.console import Console

from seca.host.display import LiveDisplay, Meter, PlainDisplay, Status, make_display


def _lines() -> list[dict[str, object]]:
    return [
        {"kind": "eval", "env_steps": 0, "win_rate": 0.0, "return_mean": 0.0},
        {"kind": "train", "env_steps": 100, "return_mean": 3.0},
        {"kind": "train", "env_steps": 300, "return_mean": 4.0},
        {"kind": "eval", "env_steps": 300, "win_rate": 0.25, "return_mean": 1.0},
    ]


def test_meter_leaves_out_the_iteration_that_compiles() -> None:
    times = iter([50.0, 52.0])
    meter = Meter(lambda: next(times))
    statuses = [meter.update(line) for line in _lines()]
    status = statuses[-1]
    assert status == Status(env_steps=300, env_steps_per_s=100.0, train_return=4.0, win_rate=0.25)
    assert status.text(7_500) == (
        "300 of 7,500 env steps | 100 steps/s | ETA 0:01:12 | train return 4.00 | test win rate 25.0 %"
    )


def test_where_nobody_wins_returns_are_shown() -> None:
    meter = Meter(lambda: 0.0)
    assert meter.status.text(10).endswith("| train return - | test -")
    shared = Status(credit_share=0.034)
    assert shared.text(10).endswith("| test - | credit 3 % of signal") and shared.short(10).endswith("| test -")
    assert shared.short(10, wide=True).endswith("| test - | credit 3 %")
    meter.update({"kind": "train", "env_steps": 1, "return_mean": 3.0})
    status = meter.update({"kind": "eval", "env_steps": 1, "return_mean": -1.5})
    assert status.text(10).endswith("| train return 3.00 | test return -1.50")
    assert status.short(10).endswith("| return 3.00 | test -1.50")


def test_an_iteration_of_which_all_was_lost_shows_what_was_known() -> None:
    meter = Meter(lambda: 0.0)
    before = meter.update({"kind": "train", "env_steps": 1, "episodes": 4, "return_mean": 3.0, "credit_share": 0.5})
    assert meter.update({"kind": "train", "env_steps": 1, "episodes": 4, "episodes_lost": 4}) == before


def test_plain_lines_at_evaluations_and_now_and_then(capsys: pytest.CaptureFixture[str]) -> None:
    now = [0.0]
    display = PlainDisplay(7_500, every=10.0, clock=lambda: now[0])
    with display.running():
        for line, at in zip(_lines(), (1.0, 2.0, 12.0, 13.0), strict=True):
            now[0] = at
            display.show(line)
    printed = capsys.readouterr().out.splitlines()
    assert [text.split(" ")[0] for text in printed] == ["0", "300", "300"]
    assert all("\x1b" not in text for text in printed)


def test_live_display_shows_everything() -> None:
    console = Console(force_terminal=True, width=150, record=True, file=open(os.devnull, "w"))  # noqa: SIM115
    display = LiveDisplay(console, 7_500)
    with display.running():
        for line in _lines():
            display.show(line)
            display._progress.refresh()
        display.show({"kind": "train", "env_steps": 300, "episodes": 20, "return_mean": 4.0, "credit_share": 0.034})
        display._progress.refresh()
        display.note("a [note]")
    text = console.export_text()
    console.file.close()
    for fragment in (
        "300 steps |",
        "/s | ETA",
        "| return 4.00 | win 25.0 %",
        "a [note]",
        "300 of 7,500",
        "compiling",
        "credit 3 %",
    ):
        assert fragment in text


def test_no_terminal_gives_plain_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    assert isinstance(make_display(10), PlainDisplay)
    monkeypatch.setenv("FORCE_COLOR", "1")
    monkeypatch.setenv("TTY_COMPATIBLE", "1")
    monkeypatch.setenv("CI", "true")
    assert isinstance(make_display(10), PlainDisplay)


def test_a_run_that_ends_after_so_many_episodes(capsys: pytest.CaptureFixture[str]) -> None:
    """Its env steps are told from those that its episodes have had, as soon as there are any, and never above."""
    status = Status(env_steps=300, episodes=20)
    assert [status.budget(1_000, episodes) for episodes in (0, 40, 50, 500)] == [1_000, 600, 750, 1_000]
    assert status.budget(1_000, 10) == 300 and Status(env_steps=5).budget(1_000, 10) == 1_000
    display = PlainDisplay(1_000, every=0.0, clock=lambda: 1.0, episodes=40)
    display.show({"kind": "train", "env_steps": 300, "episodes": 20, "return_mean": 1.0})
    assert capsys.readouterr().out.startswith("300 of 600 env steps")
