"""The page of an episode: what is embedded, what is escaped, what is refused; how it looks is for a browser to say."""

import base64
import dataclasses
import json
import pathlib
import re
from typing import Any

import numpy as np
import pytest
import views
from recordings import HEAL, MEDIVAC, battle

from seca.errors import UsageError
from seca.view import page
from seca.view.account import Viewed

HOSTILE = "</script><script>alert(1)</script><!--<b>&amp;$policy"
"""A text that would end a script, open a comment, be markup or a placeholder, if it were not escaped."""


def embedded(text: str) -> Any:
    """What the scripts read."""
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text, re.DOTALL)
    assert found is not None
    return json.loads(found[1])


def unpacked(told: dict[str, Any]) -> np.ndarray:
    """An array as the scripts decode it."""
    array = np.frombuffer(base64.b64decode(told["data"]), np.dtype(told["dtype"]).newbyteorder("<"))
    array = array.reshape(told["shape"])
    return array * told["scale"] + told["offset"] if "scale" in told else array


def test_the_numbers_are_those_of_the_recording() -> None:
    viewed = views.seen()
    [side] = embedded(page.page([viewed]))["sides"]
    account, picture = viewed.account, viewed.picture
    for name in ("credit", "order", "contribution", "signal", "policy", "value", "error", "truth", "truth_error"):
        np.testing.assert_array_equal(unpacked(side["arrays"][name]), getattr(account, name), err_msg=name)
    np.testing.assert_array_equal(unpacked(side["arrays"]["action"]), picture.actions)
    np.testing.assert_array_equal(unpacked(side["arrays"]["reward"]), picture.reward)
    assert side["steps"] == 3 and side["frames_per_step"] == 8 and side["kind"] == "sequential"
    assert [agent["name"] for agent in side["agents"]] == ["marine 0", "medivac 1"]
    drawn = side["picture"]
    assert drawn["glyphs"] == ["M", "+", "Z", "S"] and drawn["n_agents"] == 2
    for name in ("x", "y"):  # To 1/65,535 of the way between the ends: half a pixel is a thousand times as much.
        np.testing.assert_allclose(unpacked(drawn["arrays"][name]), getattr(picture, name), atol=2e-4)
    for name in ("health", "shield", "energy", "target"):
        np.testing.assert_array_equal(unpacked(drawn["arrays"][name]), getattr(picture, name), err_msg=name)
    heals = unpacked(drawn["arrays"]["heals"])
    assert np.argwhere(heals).tolist() == [[HEAL, MEDIVAC]]
    ground = unpacked(drawn["arrays"]["ground"])
    assert set(ground[10:22, 12:20].ravel()) == {1, 2} and ground[0, 0] == 0 and ground[15, 13] == 1


def test_what_offers_nothing_to_draw_has_all_but_the_picture() -> None:
    picture = views.scene(drawn=False)
    [side] = embedded(page.page([Viewed(picture, views.account(picture, **views.NOTHING_MORE))]))["sides"]
    assert side["picture"] is None and side["orders"] is None and side["truth_says"] is None
    assert [agent["name"] for agent in side["agents"]] == ["agent 0", "agent 1", "agent 2"]
    assert side["action_names"][0] == [f"action {k}" for k in range(5)]
    assert side["arrays"].keys() == {"credit", "action", "avail", "reward"}
    picture = views.scene(numbers=2)
    [side] = embedded(page.page([Viewed(picture, views.account(picture, **views.NOTHING_MORE))]))["sides"]
    assert side["action_names"] is None and side["arrays"]["action"]["shape"] == [4, 3, 2]
    assert side["picture"]["kinds"] == ["agent", "agent", "agent", "mark"]


def test_a_run_folders_text_never_runs() -> None:
    text = page.page([views.seen(run=HOSTILE, says=HOSTILE, method=HOSTILE, action_names=((HOSTILE,) * 8,) * 2)])
    plain = page.page([views.seen()])
    for token in ("<script", "</script", "<!--", "<b>"):
        assert text.count(token) == plain.count(token), token
    [side] = embedded(text)["sides"]
    assert side["name"] == side["says"] == side["action_names"][0][0] == HOSTILE


def test_its_policy_lets_only_its_own_scripts_run() -> None:
    text = page.page([views.seen()])
    assert re.search(r"default-src 'none'; script-src ('sha256-[^']+' ?){10};", text)
    assert "http://" not in re.sub(r"http://www\.w3\.org/2000/svg", "", text) and "https://" not in text
    assert not re.search(r"\son\w+=", text.split("<script>")[0]) and "innerHTML" not in text and "eval(" not in text


def test_two_that_do_not_compare_say_so() -> None:
    one, other = views.seen(), views.seen(kind="shapley", order=None, telescopes=False)
    notes = page.notes([one, other])
    assert len(notes) == 1 and "seca's is sequential and seca's is shapley" in notes[0]
    picture = battle(about=views.scene().about)
    notes = page.notes([one, Viewed(picture, views.account(picture))])
    assert any("different environments: smac/test and test/scene" in note for note in notes)
    unknown = views.seen(**views.NOTHING_MORE)
    assert "whether its credit is right was not measured; `seca view RUN --truth 20`" in page.notes([unknown])[0]


@pytest.mark.parametrize(
    ("env", "numbers", "why"),
    [("pettingzoo:x.y", None, "workers play this environment"), ("test/scene", 2, "actions are continuous")],
)
def test_who_cannot_measure_the_truth_is_not_sent_to_do_so(env: str, numbers: int | None, why: str) -> None:
    picture = views.scene(numbers=numbers)
    picture = dataclasses.replace(picture, about=dataclasses.replace(picture.about, env=env))
    [note] = page.notes([Viewed(picture, views.account(picture, **views.NOTHING_MORE))])
    assert f"not measured, and cannot be: {why}" in note and "--truth" not in note


def test_of_the_same_recordings_it_is_the_same() -> None:
    assert page.page([views.seen(), views.seen()]) == page.page([views.seen(), views.seen()])


@pytest.mark.parametrize("count", [0, 3])
def test_one_or_two(count: int) -> None:
    with pytest.raises(UsageError, match=f"`runs` are {count}: give one run or recording, or two"):
        page.page([views.seen()] * count)


@pytest.mark.parametrize(("name", "message"), [("x.htm", "ends in .html"), ("there.html", "exists already")])
def test_refused_names(name: str, message: str, tmp_path: pathlib.Path) -> None:
    (tmp_path / "there.html").write_text("kept")
    with pytest.raises(UsageError, match=rf"`out` is .*{message}"):
        page.write([views.seen()], tmp_path / name)
    assert [path.read_text() for path in tmp_path.iterdir()] == ["kept"]
    assert page.write([views.seen()], tmp_path / "new.html").exists()
