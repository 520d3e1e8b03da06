"""The paper's figures: which runs they are made of, less of them, and the figure of those that there are."""

import json
import pathlib
from typing import Any

import pytest
from commands import printed
from refusals import assert_refused
from report import scored

from seca import cli
from seca.presets import PRESETS
from seca.report import orders
from seca.sweeps import command, reproduce
from seca.sweeps.folder import SweepFolder, opened
from seca.sweeps.plan import Cell, from_text
from seca.sweeps.reproduce import FIGURES, planned

TOYS = [("mpe/predator-prey", ""), ("mpe/cooperative-navigation", "-navigation")]
PAPERS = {  # Section 4 of the paper; `seca` makes its order anew for each episode.
    "fig4a": (["seca", "coma-newarchi", "coma"], ["smac/MMM2"]),
    "fig4b": (["seca", "seca-fixed", "seca-random", "seca-prob", "seca-entropy", "seca-ig-1"], ["smac/MMM2"]),
    "fig4c": (["seca", "seca-ig-1", "seca-ig-10", "seca-ig-20"], ["smac/MMM2"]),
    "fig5": (["seca"], ["smac/2s3z"]),
    "fig6": (
        ["seca", "coma", "scc", "lica", "riit", "qmix", "mappo"],
        [f"smac/{name}" for name in ("2s3z", "1c3s5z", "3s5z", "3s_vs_4z", "2c_vs_64zg", "MMM2")],
    ),
}


def put(tmp_path: pathlib.Path, folder: SweepFolder, cell: Cell) -> None:
    """A run that was made."""
    place = folder.run(cell.name).path
    place.parent.mkdir(parents=True, exist_ok=True)
    scored.leave(tmp_path / "made", cell.config).rename(place)


def test_the_toys_file_is_the_papers_protocol() -> None:
    """Ten seeds of 5,000 episodes, one runner; each toy with the presets that have its numbers."""
    made = planned("fig2", 1.0, None, "tuned")
    methods = [(env, f"{name}{ending}") for env, ending in TOYS for name in ("coma-mpe", "seca-mpe")]
    expected = [(seed, *method) for seed in range(10) for method in methods]
    assert [(c.config.seed, c.config.env, c.config.preset) for c in made.cells] == expected
    assert not made.absolute and made.title.endswith("toys")
    for cell in made.cells:
        loop = cell.config.loop
        assert (loop.runners, loop.episodes, loop.steps) == (1, 5_000, 1_000_000)
        assert cell.config.algorithm == PRESETS[cell.config.preset].config
    less = planned("fig2", 0.1, 2, "paper")
    assert {c.config.loop.episodes for c in less.cells} == {500} and len(less.cells) == 8
    assert less.title.endswith("(0.1 of the paper's episodes)")


@pytest.mark.parametrize("figure", [figure for figure in FIGURES if figure != "fig2"])
def test_shipped_files_are_the_papers_protocol(figure: str) -> None:
    cells = planned(figure, 1.0, None, "tuned").cells
    methods, envs = PAPERS[figure]
    expected = [(seed, env, method) for seed in range(5) for env in envs for method in methods]
    assert [(cell.config.seed, cell.config.env, cell.config.preset) for cell in cells] == expected
    for cell in cells:
        loop = cell.config.loop
        assert (loop.runners, loop.minibatches, loop.eval_episodes, loop.eval_interval) == (32, 1, 32, 320_000)
        assert loop.steps == 65_600_000
        assert cell.config.snapshot_interval == (1_280_000 if figure == "fig5" else 0)
        assert cell.config.algorithm == PRESETS[cell.config.preset].config


def test_less_of_it() -> None:
    """Fewer steps have at least 20 evaluations, and the title, which is in the caption, says so."""
    made = planned("fig4c", 0.03, 2, "tuned")
    assert made.title.endswith("(0.03 of the paper's env steps, tuned settings)")
    assert {cell.config.seed for cell in made.cells} == {0, 1}
    assert len({cell.name for cell in made.cells}) == len(made.cells) == 8
    assert all(cell.name.endswith(f"-s{cell.config.seed}") for cell in made.cells)
    assert {(c.config.loop.steps, c.config.loop.eval_interval) for c in made.cells} == {(1_968_000, 98_400)}
    assert [c.config.snapshot_interval for c in planned("fig5", 0.03, 1, "tuned").cells] == [98_400]
    assert {c.config.loop.eval_interval for c in planned("fig4c", 0.5, 1, "tuned").cells} == {320_000}


def test_published_settings() -> None:
    made = planned("fig4a", 1.0, 1, "paper")
    assert [cell.config.preset for cell in made.cells] == ["seca-paper", "coma-newarchi-paper", "coma"]
    assert made.cells[0].config.algorithm == PRESETS["seca-paper"].config
    assert made.cells[0].config.loop.runners == 32
    assert "paper settings" in made.title


def test_the_figure_is_drawn_from_what_there_is(tmp_path: pathlib.Path, capsys, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    made = planned("fig4c", 0.03, 2, "tuned")
    with opened(tmp_path / "sweeps" / "fig4c", made) as (folder, _, _):
        for cell in made.cells[:5]:
            put(tmp_path, folder, cell)
    text = printed(capsys, "reproduce", "fig4c", "--draw")
    assert text.splitlines()[:2] == ["sweeps/fig4c/fig4c.png", "sweeps/fig4c/fig4c.svg"]
    told = (
        "0.03 of the paper's env steps",
        "seca 2",
        "seca-ig-1 1",
        "fewer than 5 seeds",
        "3 of 8 runs of sweeps/fig4c",
    )
    for words in told:
        assert words in text
    assert (tmp_path / "sweeps" / "fig4c" / "fig4c.png").read_bytes().startswith(b"\x89PNG")


def test_a_figure_of_other_runs_is_refused(tmp_path: pathlib.Path, capsys) -> None:
    """Its name would say what it does not show; published settings are in place."""
    with opened(tmp_path / "sweep", planned("fig4b", 0.03, 1, "paper")) as (folder, plan, _):
        for cell in plan.cells:
            put(tmp_path, folder, cell)
    assert "fig4b.png" in printed(capsys, "reproduce", "fig4b", "--draw", "--out", str(folder.path))
    fragments = ["`out` is ", "seca-fixed-paper on smac/MMM2, which is not in fig4c"]
    assert_refused(["reproduce", "fig4c", "--draw", "--out", str(folder.path)], fragments, tmp_path, capsys)


def test_the_sweeps_file_says_what_was_asked_for() -> None:
    text = planned("fig4a", 0.03, 2, "paper").text
    assert text.startswith("# seca reproduce fig4a --scale 0.03 --seeds 2 --settings paper\n")
    assert from_text(text, "x", "x").cells


def test_a_run_that_kept_nothing_does_not_stop_the_others(tmp_path: pathlib.Path, capsys, monkeypatch) -> None:
    """It is left out, and said; with none that kept any there is nothing to draw."""
    monkeypatch.chdir(tmp_path)
    made = planned("fig5", 0.03, 2, "tuned")
    with opened(tmp_path / "sweeps" / "fig5", made) as (folder, _, _):
        for cell in made.cells:
            put(tmp_path, folder, cell)
    measure = orders.measure

    def measured(run: pathlib.Path, **more: Any) -> orders.Evolution:
        return measure(run) if run.name.endswith("s0") else evolution()

    monkeypatch.setattr(orders, "measure", measured)
    text = printed(capsys, "reproduce", "fig5", "--draw")
    assert "left out: `run` is " in text and "kept no policies" in text
    assert (tmp_path / "sweeps" / "fig5" / "fig5-2s3z-seca-s1.png").is_file()
    assert not (tmp_path / "sweeps" / "fig5" / "fig5-2s3z-seca-s0.png").exists()
    monkeypatch.setattr(orders, "measure", lambda run, **more: measure(run))
    assert cli.run(["reproduce", "fig5", "--draw"]) == 2


def evolution() -> orders.Evolution:
    table: list[list[float]] = [[0.0, 1.0]] * 4
    agreed: dict[str, float | None] = {"survival": 0.3, "health": -0.2}
    one = orders.Moment(10, 0.5, 7.0, [0.0, 1.0], [0.2, -0.1], [[0.0, 1.0]] * 4, table, table, table, agreed)
    return orders.Evolution("a", "seca", "smac/2m", 3, ["marine", "marine"], 8, [one], [])


def test_runs_come_first(tmp_path: pathlib.Path, monkeypatch, capsys) -> None:
    """What is asked for goes to the sweep; a run that failed leaves a figure of the others, and its exit code."""
    monkeypatch.chdir(tmp_path)
    asked: list[tuple] = []

    def run(path, wanted, *rest) -> int:
        asked.append(rest)
        with opened(path, wanted) as (folder, _, _):
            put(tmp_path, folder, wanted.cells[0])
        return 1

    monkeypatch.setattr(command, "run", run)
    assert reproduce.reproduce("fig4a", 0.03, 1, "tuned", None, 2, "local", "ask", False) == 1
    assert asked == [(2, "local", "ask")]
    assert "fig4a.png" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("words", "fragments"),
    [
        ("reproduce", ["figure"]),
        ("reproduce fig7", ["fig7", "fig4a", "fig6"]),
        ("reproduce fig6 --scale 0", ["`scale` is 0"]),
        ("reproduce fig6 --scale 2", ["`scale` is 2"]),
        ("reproduce fig6 --seeds 0", ["`seeds` is 0"]),
        ("reproduce fig6 --settings best", ["settings", "best"]),
        ("reproduce fig6 --draw", ["`out` is sweeps/fig6", "no run"]),
        ("reproduce fig6 --out occupied --draw", ["occupied"]),
        ("reproduce fig6 --draw --scale 0.5", ["`scale` is 0.5 beside `draw`"]),
        ("reproduce fig6 --draw --seeds 3", ["`seeds` is 3 beside `draw`"]),
        ("reproduce fig6 --draw --settings paper", ["`settings` is paper beside `draw`"]),
    ],
)
def test_bad_input(desk: pathlib.Path, words: str, fragments: list[str], capsys) -> None:
    assert_refused(words.split(), fragments, desk, capsys)


def test_fig2_is_drawn_from_what_is_done(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Picture, numbers, table and caption; a run that is not done is left out, and said so."""
    monkeypatch.chdir(tmp_path)
    made = planned("fig2", 0.001, 2, "tuned")
    with opened(tmp_path / "sweeps" / "fig2", made) as (folder, _, _):
        pass
    for cell in made.cells:
        put(tmp_path, folder, cell)
        path = folder.run(cell.name).path
        lines = [
            {"kind": "eval", "env_steps": 0, "iteration": 0, "return_mean": -1.0},
            *(
                {"kind": "train", "env_steps": 9 * n, "return_mean": -n, "episode_length_mean": 9.0}
                for n in range(1, 6)
            ),
        ]
        (path / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (folder.run(made.cells[-1].name).path / "result.json").unlink()
    text = printed(capsys, "reproduce", "fig2", "--draw")
    assert "| mpe/predator-prey | coma-mpe | 2 | 9 (9 to 9) |" in text
    assert "| mpe/cooperative-navigation | seca-mpe-navigation | 1 |" in text
    assert "Warning: 1 runs that are not done are left out." in text
    home = tmp_path / "sweeps" / "fig2"
    assert len(json.loads((home / "fig2.json").read_text())["groups"]) == 4
    assert (home / "fig2.png").stat().st_size > 10_000
    for cell in made.cells:
        (folder.run(cell.name).path / "result.json").unlink(missing_ok=True)
    assert cli.run(["reproduce", "fig2", "--draw"]) == 2
    assert "no run of it is done yet" in capsys.readouterr().err
