"""Pictures show what a recording holds: looked up pixel by pixel in a battle made by hand."""

import dataclasses

import numpy as np
from recordings import DEATH, HEAL, MARINE, MEDIVAC, SHOT, STALKER, ZEALOT, battle

from seca.battles import draw


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
