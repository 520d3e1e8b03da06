"""A sweep in a line and in a table, and when it will be done."""

import pathlib

from sweeps import made

from seca.sweeps import status
from seca.sweeps.folder import Progress, SweepFolder, opened
from seca.sweeps.status import Overview, overview

PLAN = made.plan()
FIRST, SECOND, THIRD, FOURTH = (cell.name for cell in PLAN.cells)


def seen(**runs: Progress) -> Overview:
    return Overview(
        PLAN, {cell.name: runs.get(cell.name.replace("-", "_"), Progress("waiting")) for cell in PLAN.cells}
    )


def test_time_left_is_of_like_runs_and_of_the_longest() -> None:
    """seca makes 10 env steps a second, qmix 50: of 1,000 each are left 500, 1,000; 500 and 1,000."""
    half = {
        "focus_fire_seca_s0": Progress("stopped", 500, None, 50.0),
        "focus_fire_qmix_s0": Progress("running", 500, None, 10.0),
    }
    assert seen().seconds_left(2) is None
    assert seen(**half).seconds_left(1) == 50 + 100 + 10 + 20
    assert seen(**half).seconds_left(2) == 100  # A run cannot be shared out.
    assert seen(**half).seconds_left(0) == 180  # As status asks when nothing runs.
    known = {"focus_fire_qmix_s0": half["focus_fire_qmix_s0"]}
    assert seen(**known).seconds_left(1) == 10 + 3 * 20  # seca at the rate that is known.
    over = {cell.name.replace("-", "_"): Progress("done", 1024, None, 10.0) for cell in PLAN.cells}
    assert seen(**over).seconds_left(1) == 0
    assert seen(**over | {"focus_fire_seca_s0": Progress("failed", 3, None, 1.0)}).seconds_left(1) == 0


def test_the_line() -> None:
    runs = {
        "focus_fire_seca_s0": Progress("done", 1024, None, 10.0),
        "focus_fire_qmix_s0": Progress("running", 500, None, 10.0),
    }
    line = seen(**runs).line(1)
    assert line == "1 of 4 runs done (1 running, 2 waiting) | 1,500 of 4,000 env steps | ETA 0:01 h"


def test_clock() -> None:
    assert [status.clock(x) for x in (0, 29, 31, 3600, 90000 + 61)] == [
        "0:00 h",
        "0:00 h",
        "0:01 h",
        "1:00 h",
        "1 d 1:01 h",
    ]


def test_a_run_in_a_few_characters() -> None:
    won, mean = {"win_rate": 0.75, "return_mean": 3.0}, {"return_mean": 3.25}
    assert status.cell_text(Progress("waiting")) == "."
    assert status.cell_text(Progress("running", 1_234_567, won)) == "> 1.23M 75 %"
    assert (status.amount(99_999), status.amount(100_000)) == ("99,999", "0.10M")
    assert status.cell_text(Progress("stopped", 0)) == "|| 0"
    assert status.cell_text(Progress("failed", 50_000, mean)) == "failed 50,000 3.2"
    assert status.cell_text(Progress("done", 5, won)) == "75 %"


def test_the_table_has_every_run_and_says_what_failed(tmp_path: pathlib.Path) -> None:
    with opened(tmp_path, PLAN) as (folder, plan, _):
        made.leave(folder, plan.cells[0], made.evaluation(1000), done=True)
        folder.failure(SECOND).parent.mkdir()
        folder.failure(SECOND).write_text('{"words": "exit code 1: no room"}')
    text = status.text(overview(SweepFolder(tmp_path), plan), 1)
    assert text.splitlines()[0].startswith("small: 1 of 4 runs done (2 waiting, 1 failed)")
    assert [line.split() for line in text.splitlines()[1:4]] == [
        ["environment", "method", "seed", "0", "seed", "1"],
        ["matrix/focus-fire", "seca", "75", "%", "."],
        ["matrix/focus-fire", "qmix", "failed", "0", "."],
    ]
    assert text.splitlines()[-1] == f"{SECOND}: exit code 1: no room"


def test_a_narrow_terminal_shows_fewer_seeds() -> None:
    many = made.plan(made.TEXT.replace("seeds = 2", "seeds = 20"))
    wide = Overview(many, {cell.name: Progress("waiting") for cell in many.cells})
    for width, least, most in ((80, 1, 4), (400, 20, 20)):
        lines = status.text(wide, 1, width).splitlines()
        assert least <= lines[1].count("seed") <= most
        assert max(map(len, lines[1:4])) <= width


def test_names_are_no_markup() -> None:
    variant = '[[variant]]\nname = "x [/b] [red]"\nmethods = ["seca"]\noptions = { entropy-coef = 1 }\n'
    plan = made.plan(made.TEXT + variant)
    text = status.text(Overview(plan, {cell.name: Progress("waiting") for cell in plan.cells}), 1)
    assert "seca, x [/b] [red]" in text


def test_runs_that_ended_after_so_many_episodes_have_no_more_to_do() -> None:
    """What is done counts as it is; of the others nobody knows better than the most there can be."""
    plan = made.plan(made.TEXT.replace("[options]", "[options]\nepisodes = 7", 1))
    runs = {cell.name: Progress("waiting") for cell in plan.cells}
    steps = plan.cells[0].config.loop.steps
    runs[plan.cells[0].name] = Progress("done", 300, None, 10.0)
    told = Overview(plan, runs).line(1)
    assert steps == 1_000 and Overview(plan, runs)._steps_of(plan.cells[0]) == 300 and "300 of 3,300 env" in told
