"""Figures of many runs, and what stands below them."""

import dataclasses
import pathlib

import pytest
from report import scored

from seca.report import curves, figures


def found(path: pathlib.Path, *runs) -> list[curves.Curve]:
    made = [scored.leave(path, scored.config(preset, env, seed)) for preset, env, seed in runs]
    return curves.read_curves(made)[0]


def test_a_panel_for_each_environment_and_a_line_for_each_method(tmp_path: pathlib.Path) -> None:
    envs = ("smac/3m", "smac/2s3z", "smac/MMM2", "smac/3s5z")
    drawn = found(tmp_path, *(("seca", env, seed) for env in envs for seed in (0, 1)), ("qmix", "smac/3m", 0))
    figure = figures.panels(drawn, "Four maps")
    shown = [panel for panel in figure.axes if panel.get_visible()]
    assert [panel.get_title() for panel in shown] == list(envs)
    assert [len(panel.lines) for panel in shown] == [2, 1, 1, 1]
    assert [text.get_text() for text in figure.legends[0].get_texts()] == ["seca", "qmix"]
    styles = {(line.get_color(), str(line.get_linestyle())) for line in shown[0].lines}
    assert len(styles) == 2
    # The same method looks the same on every map.
    assert len({panel.lines[0].get_color() for panel in shown}) == 1


@pytest.mark.parametrize("methods", [1, 4, 7, 9])
def test_nothing_of_the_legend_is_cut_off(methods: int, tmp_path: pathlib.Path) -> None:
    """One panel is too narrow for four long names side by side."""
    drawn = found(tmp_path, ("seca", "smac/MMM2", 0))
    named = [dataclasses.replace(drawn[0], preset=f"seca-entropy, variant {i}") for i in range(methods)]
    figure = figures.panels(named, "One map")
    figure.draw_without_rendering()
    legend, whole = figure.legends[0].get_window_extent(), figure.bbox
    assert whole.x0 <= legend.x0 and legend.x1 <= whole.x1 and legend.y1 <= whole.y1
    assert len(figure.legends[0].get_texts()) == methods
    assert figure.axes[0].get_window_extent().height > 0.4 * whole.height


def test_any_method_can_be_told_from_any_other() -> None:
    pairs = [
        (figures.COLOURS[i % len(figures.COLOURS)], str(figures.DASHES[i % len(figures.DASHES)])) for i in range(35)
    ]
    assert len(set(pairs)) == 35


def test_the_caption(tmp_path: pathlib.Path) -> None:
    drawn = found(tmp_path, ("seca", "smac/3m", 0), ("seca", "smac/3m", 1), ("seca", "smac/2s3z", 0))
    caption = figures.caption(drawn, "Fig. 6 (0.03 of the paper's env steps)", ["left out: a run"])
    assert caption == (
        "Fig. 6 (0.03 of the paper's env steps). Median and quartiles over seeds (seca 1 to 2), each curve as far as "
        "its shortest run. 8 greedy episodes per point, every 100,000 of 1,000 env steps. Gradient steps per 1,000 env "
        "steps: seca 1,000.0. Warning: left out: a run. Warning: fewer than 5 seeds."
    )


def test_a_method_without_runs_somewhere_has_none_there(tmp_path: pathlib.Path) -> None:
    """Not as many as where it has some."""
    drawn = found(tmp_path, ("seca", "smac/3m", 0), ("seca", "smac/2s3z", 0), ("qmix", "smac/3m", 0))
    assert "over seeds (seca 1, qmix 0 to 1)" in figures.caption(drawn, "x")


def test_whose_numbers_they_are_is_said(tmp_path: pathlib.Path) -> None:
    """Published numbers beside ours, or a changed option: a warning, as `seca compare` gives one."""
    drawn = found(tmp_path, ("seca", "smac/3m", 0), ("seca-paper", "smac/3m", 0))
    assert "mixed settings: numbers of this comparison; published numbers" in figures.caption(drawn, "x")
    assert "mixed settings" not in figures.caption(drawn[:1], "x")


def test_where_nobody_wins_returns_are_drawn(tmp_path: pathlib.Path) -> None:
    path = scored.leave(tmp_path, scored.config(), wins=False)
    [panel] = figures.panels(curves.read_curves([path])[0], "x").axes
    assert panel.get_ylabel() == "test return"


def test_a_run_that_ended_early_is_dashed(tmp_path: pathlib.Path) -> None:
    paths = [scored.leave(tmp_path, scored.config(seed=seed, eval_interval=100)) for seed in (0, 1)]
    paths.append(scored.leave(tmp_path, scored.config(seed=2, eval_interval=100), rates=(0.0, 0.5)))
    drawn = curves.read_curves(paths)[0]
    [panel] = figures.panels(drawn, "x").axes
    assert [line.get_linestyle() for line in panel.lines] == ["--", "-"]
    assert all(line.get_drawstyle() == "steps-post" for line in panel.lines)
    assert "drawn dashed as far as it goes" in figures.caption(drawn, "x")
