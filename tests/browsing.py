"""Pages in Debian's Chromium, by Playwright."""

import contextlib
import pathlib
import shutil
from collections.abc import Iterator
from typing import Any

import pytest


def chromium() -> Iterator[Any]:
    """For a fixture: a browser; skipped where one of the two is missing."""
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed (pip, extra browser)")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("no chromium on this machine (apt-get install chromium)")
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=path)
        yield browser
        browser.close()


@contextlib.contextmanager
def opened(browser: Any, page: pathlib.Path, awaited: str, width: int = 1280, **wants: Any) -> Iterator[Any]:
    """A page in a window of its own, which complains of nothing and asks for nothing but the file."""
    context = browser.new_context(viewport={"width": width, "height": 900}, **wants)
    window = context.new_page()
    problems, requests = [], []
    window.on("console", lambda message: problems.append(message.text))
    window.on("pageerror", lambda error: problems.append(str(error)))
    window.on("request", lambda request: requests.append(request.url))
    window.goto(page.as_uri())
    window.wait_for_selector(awaited)
    yield window
    context.close()
    assert problems == []
    assert requests == [page.as_uri()]
