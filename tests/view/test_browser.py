"""The page in Debian's Chromium: what it shows is what the arrays say, every control does what it says."""

import contextlib
import functools
import pathlib
from collections.abc import Iterator
from typing import Any

import browsing
import numpy as np
import pytest
import views
from view.test_testify import untrained

from seca.view import page, testify
from seca.view.account import Viewed
from seca.view.testify import Asked

METHODS = ("seca", "coma", "qmix", "mappo")
MAPS = ("2s3z", "MMM2", "2c_vs_64zg")


@pytest.fixture(name="browser", scope="module")
def browser_fixture() -> Iterator[Any]:
    """Debian's Chromium."""
    yield from browsing.chromium()


@contextlib.contextmanager
def opened(browser: Any, shown: list[Viewed], folder: pathlib.Path, width: int = 1280, **wants: Any) -> Iterator[Any]:
    """The page of these in a window of its own."""
    file = page.write(shown, folder / f"{len(list(folder.iterdir()))}.html")
    with browsing.opened(browser, file, "[data-agent]", width, **wants) as window:
        yield window


@functools.cache
def played(method: str, map_name: str) -> Viewed:
    """A battle of a run that has not begun, with its truth at two steps."""
    asked = Asked(truth=2, forks=4, sampled=True) if map_name == "2s3z" else Asked(sampled=True)
    return testify.view(untrained(method, f"smac/{map_name}"), "run-s0", asked)


def _text(window: Any, selector: str) -> str:
    return window.locator(selector).first.text_content().strip()


def _shown(number: float) -> str:
    """As the page prints it; a zero has no sign."""
    text = f"{float(number):.3f}"
    return text if float(text) else "0.000"


def wait_for_step(window: Any, step: int) -> None:
    """Until the page has come there by itself. By asking: its policy lets no script of a test's run in it."""
    for _ in range(200):
        if _text(window, ".step-number") == str(step):
            return
        window.wait_for_timeout(50)
    raise AssertionError(f"it stands at step {_text(window, '.step-number')}, not {step}")


def check_step(window: Any, viewed: Viewed, step: int) -> None:
    """Everything that is printed of a step against the arrays."""
    account, picture = viewed.account, viewed.picture
    assert _text(window, ".step-number") == str(step)
    assert _text(window, ".reward") == f"{picture.reward[step]:.2f}"
    assert _text(window, ".return") == f"{picture.reward[: step + 1].sum(dtype=np.float64):.2f}"
    for name in ("value", "error"):
        array = getattr(account, name)
        assert array is None or _text(window, f".{name}") == _shown(array[step]), name
    known = [] if account.truth_step is None else account.truth_step.tolist()
    for agent in range(account.credit.shape[1]):
        row = f'.agents [data-agent="{agent}"] '
        assert _text(window, row + ".credit-value") == _shown(account.credit[step, agent])
        names = account.action_names[agent] if account.action_names else [f"action {k}" for k in range(99)]
        assert _text(window, row + ".action") == names[picture.actions[step, agent]]
        if account.policy is not None:
            probability = 100 * float(account.policy[step, agent, picture.actions[step, agent]])
            assert _text(window, row + ".probability") == f"{probability:.1f} %"
        if account.order is not None:
            assert _text(window, row + ".place") == str(np.argsort(account.order[step])[agent])
        if account.contribution is not None:
            assert _text(window, row + ".contribution-value") == _shown(account.contribution[step, agent])
        if known:
            assert account.truth is not None
            at = known.index(step) if step in known else None
            told = "–" if at is None else _shown(account.truth[at, agent])
            assert _text(window, row + ".truth-value") == told


@pytest.mark.parametrize("map_name", MAPS)
@pytest.mark.parametrize("method", METHODS)
def test_it_shows_what_the_arrays_say(browser: Any, method: str, map_name: str, tmp_path: pathlib.Path) -> None:
    """At the start, after steps forwards and back, and at the end; to the printed digit."""
    viewed = played(method, map_name)
    last = viewed.picture.n_steps - 1
    with opened(browser, [viewed], tmp_path) as window:
        check_step(window, viewed, 0)
        for key in ["ArrowRight"] * 5 + ["ArrowLeft"] * 2:
            window.keyboard.press(key)
        check_step(window, viewed, min(3, last))
        window.keyboard.press("End")
        check_step(window, viewed, last)
        assert window.evaluate("document.documentElement.scrollWidth <= innerWidth")
        assert len((tmp_path / "0.html").read_bytes()) < 1_000_000
        if viewed.account.kind == "sequential":
            assert window.locator("svg.stairs [data-rank]").count() >= viewed.account.credit.shape[1]


def test_every_control(browser: Any, tmp_path: pathlib.Path) -> None:
    viewed = views.seen()
    with opened(browser, [viewed], tmp_path) as window:
        for control, step in (("#forward", 1), ("#forward", 2), ("#back", 1), ("#end", 2), ("#start", 0)):
            window.click(control)
            check_step(window, viewed, step)
        window.fill("#scrub", "1.5")
        check_step(window, viewed, 1)
        window.click("#next-truth")
        check_step(window, viewed, 2)
        window.keyboard.press("t")
        check_step(window, viewed, 0)
        window.select_option("#speed", "8")
        window.click("#play")
        wait_for_step(window, 2)
        window.click("#start")
        window.click("h1")  # Else the space would press that button again.
        window.keyboard.press("Space")
        wait_for_step(window, 2)
        window.select_option("#follow", "1")
        assert window.locator("#follow").input_value() == "1"
        window.keyboard.press("Home")
        check_step(window, viewed, 0)
        window.keyboard.press("Shift+ArrowRight")
        assert float(window.locator("#scrub").input_value()) == pytest.approx(1 / 8, abs=1e-3)
        window.keyboard.press("ArrowDown")
        assert _text(window, ".agents tr.chosen .pick") == "marine 0"
        for followed in ("-1", "0"):  # Nobody, then who is chosen.
            window.keyboard.press("f")
            assert window.locator("#follow").input_value() == followed
        window.keyboard.press("ArrowDown")
        assert _text(window, ".agents tr.chosen .pick") == "medivac 1"
        window.click('.agents [data-agent="0"] .pick')
        assert _text(window, ".agents tr.chosen .pick") == "marine 0"
        window.keyboard.press("Escape")
        assert window.locator(".agents tr.chosen").count() == 0
        window.keyboard.press("?")
        assert window.locator("#keys").evaluate("dialog => dialog.open")
        window.click("#keys-close")
        window.click("#tab-training")
        assert window.locator("#training svg").first.is_visible() and not window.locator("#episode").is_visible()
        window.click("#tab-episode")
        before = window.evaluate("getComputedStyle(document.body).backgroundColor")
        window.click("#scheme")
        assert window.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_a_click_on_the_strip_goes_there(browser: Any, tmp_path: pathlib.Path) -> None:
    """To the step and the agent under the pointer."""
    picture = views.scene(n_agents=3, steps=40)
    viewed = Viewed(picture, views.account(picture))
    with opened(browser, [viewed], tmp_path) as window:
        window.locator("canvas.strip").scroll_into_view_if_needed()
        box = window.locator("canvas.strip").bounding_box()
        label = window.locator(".gutter").get_by_text("agent 1").bounding_box()
        steps = set()
        for share in (0.25, 0.5, 0.9):
            window.mouse.click(box["x"] + share * box["width"], label["y"] + 0.5 * label["height"])
            step = int(_text(window, ".step-number"))
            check_step(window, viewed, step)
            steps.add(step)
            assert _text(window, ".agents tr.chosen .pick") == "agent 1"
        assert len(steps) == 3


def test_opposite_signs_are_marked(browser: Any, tmp_path: pathlib.Path) -> None:
    """Where the truth is over three standard errors on the other side, and only there."""
    picture = views.scene(n_agents=3, steps=4)
    credit = np.array([[0.5, 0.5, 0.0]] * 4, np.float32)
    truth, error = np.array([[-0.4, -0.4, 0.4]] * 2, np.float32), np.array([[0.1, 0.2, 0.1]] * 2, np.float32)
    viewed = Viewed(picture, views.account(picture, credit=credit, truth=truth, truth_error=error))
    with opened(browser, [viewed], tmp_path) as window:
        marked = [window.locator(f'.agents [data-agent="{agent}"] .opposed').is_visible() for agent in range(3)]
        assert marked == [True, False, False]
        window.keyboard.press("ArrowRight")  # Nothing was measured there.
        assert not window.locator(".agents .opposed").first.is_visible()


def test_two_sides_have_one_clock(browser: Any, tmp_path: pathlib.Path) -> None:
    """A longer one goes on where the shorter has ended; notes say what does not compare."""
    long, short = views.scene(steps=6), views.scene(steps=3, drawn=False)
    shown = [
        Viewed(long, views.account(long)),
        Viewed(short, views.account(short, kind="shapley", order=None, telescopes=False)),
    ]
    with opened(browser, shown, tmp_path) as window:
        assert window.locator("section.side").count() == 2 and window.locator("canvas.field").count() == 1
        assert "shapley" in _text(window, ".warnings")
        window.keyboard.press("End")
        numbers = window.locator(".step-number").all_text_contents()
        assert numbers == ["5", "2"]


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1280, 390])
def test_nothing_overflows(browser: Any, width: int, scheme: str, tmp_path: pathlib.Path) -> None:
    for shown in ([views.seen()], [views.seen(), views.seen()]):
        with opened(browser, shown, tmp_path, width, color_scheme=scheme) as window:
            for tab in ("#tab-training", "#tab-episode"):
                window.click(tab)
                assert window.evaluate("document.documentElement.scrollWidth <= innerWidth"), tab


def test_with_reduced_motion_it_goes_in_whole_steps(browser: Any, tmp_path: pathlib.Path) -> None:
    viewed = views.seen()
    with opened(browser, [viewed], tmp_path, reduced_motion="reduce") as window:
        window.select_option("#speed", "8")
        window.click("#play")
        wait_for_step(window, 2)
        check_step(window, viewed, 2)


def test_hostile_texts_stay_texts(browser: Any, tmp_path: pathlib.Path) -> None:
    hostile = "</script><img src=x onerror=alert(1)><b>$data"
    viewed = views.seen(run=hostile, says=hostile, method=hostile)
    with opened(browser, [viewed], tmp_path) as window:
        assert _text(window, ".side h2") == hostile and hostile in _text(window, ".says")
        assert window.locator("img").count() == 0
