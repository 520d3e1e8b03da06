"""The picture of an audit: every credit beside its truth, and the caption."""

import dataclasses
import pathlib

import numpy as np
import pytest
from PIL import Image

from seca.truth import findings, picture
from seca.truth.audit import Audit


def test_it_says_how_it_was_made(found: Audit) -> None:
    words = " ".join(picture.caption(found).split())
    for part in ("table on test/game", "40 forks", "standard error", "audit seed 0", "discount 0.9"):
        assert part in words
    assert len(picture.draw(found).axes) == 1, "nothing is not drawn"


def test_the_caption_counts_what_was_drawn(found: Audit) -> None:
    """Agent steps with a choice only, and each episode once."""
    few = dataclasses.replace(found, choice=np.zeros_like(found.choice), battle=np.arange(30) // 10)
    few.choice[:7, 1] = True
    assert "7 agent steps with a choice, from 30 steps of 3 episodes" in " ".join(picture.caption(few).split())


def test_every_credit_is_beside_the_truth_it_claims(found: Audit) -> None:
    """Each in axes of its own, by the name and share of the table; a point for each agent step with a choice."""
    truth = found.sums.mean()
    choice = np.zeros_like(found.choice)
    choice[::2] = True
    many = dataclasses.replace(
        found,
        credits={"credit": truth[:, 0] + 0.5, "other": truth[:, 1], "nothing": np.zeros((30, 3))},
        kind={"credit": "sequential", "other": "independent", "nothing": "sequential"},
        choice=choice,
    )
    scores = findings.scores(many)
    drawn = picture.draw(many).axes
    assert len(drawn) == 2
    for number, (axes, name) in enumerate(zip(drawn, ("credit", "other"), strict=True)):
        one = scores[name]
        assert axes.get_title() == f"{name}: explains {one.explained:.2f} ({one.low:.2f} to {one.high:.2f})"
        assert f"({('sequential', 'independent')[number]}, by forks)" in axes.get_ylabel()
        [points] = [line for line in axes.lines if np.size(line.get_xdata()) == choice.sum()]
        np.testing.assert_array_equal(points.get_xdata(), many.credits[name][choice])
        np.testing.assert_array_equal(points.get_ydata(), truth[:, number][choice])


def calibration(axes, count: int) -> list[tuple[float, float]]:
    """Points of the line over the tenths, where there is one."""
    [*lines] = [line for line in axes.lines if line.get_label() == "means of tenths"]
    assert len(lines) == count
    return [tuple(point) for line in lines for point in np.asarray(line.get_xydata())]


def test_the_line_over_the_points_is_of_means(found: Audit) -> None:
    """Of tenths of the agent steps in the order of what the credit says; of too few there is none."""
    truth = found.sums.mean()[:, 0]
    rng = np.random.default_rng(0)
    said = dataclasses.replace(found, credits={"credit": rng.permutation(90).reshape(30, 3) / 90.0})
    pairs = sorted(zip(said.credits["credit"].ravel().tolist(), truth.ravel().tolist(), strict=True))
    tenths = [pairs[9 * part : 9 * part + 9] for part in range(10)]
    expected = [(np.mean([x for x, _ in part]), np.mean([y for _, y in part])) for part in tenths]
    np.testing.assert_allclose(calibration(picture.draw(said).axes[0], 1), expected)
    few = dataclasses.replace(said, choice=np.arange(90).reshape(30, 3) < 19)
    calibration(picture.draw(few).axes[0], 0)


@pytest.mark.parametrize(("size", "wide"), [(1e-6, 0.1), (1.0, 1.0), (1e6, 10.0)])
def test_a_credit_of_another_size_can_be_seen(size: float, wide: float, found: Audit) -> None:
    """The axis of the truth ends a tenth beyond it; that of the credit is at most ten times as narrow or wide."""
    truth = found.sums.mean()[:, 0]
    scaled = dataclasses.replace(found, credits={"credit": truth * size})
    [axes] = picture.draw(scaled).axes
    high = 1.1 * np.abs(truth).max()
    assert axes.get_ylim() == pytest.approx((-high, high))
    assert axes.get_xlim() == pytest.approx((-high * wide, high * wide))


def test_an_older_picture_is_replaced(found: Audit, tmp_path: pathlib.Path) -> None:
    path = tmp_path / "audit.png"
    path.write_bytes(b"older")
    assert picture.save(found, path) == path
    with Image.open(path) as image:
        assert (image.format, *image.size) == ("PNG", 690, 810)  # 4.6 x 5.4 inches of 150 dots.
    assert [one.name for one in tmp_path.iterdir()] == ["audit.png"]
