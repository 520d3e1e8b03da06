"""How soon a page of `seca view` is there, and how smoothly it plays, in Debian's Chromium (docs/view.md).

    python benchmarks/view_page.py PAGE.html ...        needs playwright and chromium; nothing else should run

Of each page: its size, milliseconds until it is loaded (the median of five), and frames a second while it plays.
"""

import pathlib
import shutil
import statistics
import sys
from typing import Any

from playwright.sync_api import sync_playwright

COUNT = """() => { window.frames_drawn = 0;
  const count = () => { window.frames_drawn += 1; requestAnimationFrame(count); }; requestAnimationFrame(count); }"""


def measured(browser: Any, page: pathlib.Path) -> str:
    """One page in a line."""
    loads = []
    for _ in range(5):
        window = browser.new_page(viewport={"width": 1440, "height": 900})
        window.goto(page.resolve().as_uri())
        window.wait_for_timeout(300)
        loads.append(window.evaluate("performance.getEntriesByType('navigation')[0].loadEventEnd"))
        window.close()
    window = browser.new_page(viewport={"width": 1440, "height": 900})
    window.goto(page.resolve().as_uri())
    window.evaluate(COUNT)
    window.select_option("#speed", "0.5")  # Lest it come to its end.
    window.click("#play")
    begun = window.evaluate("[performance.now(), window.frames_drawn]")
    window.wait_for_timeout(5000)
    ended = window.evaluate("[performance.now(), window.frames_drawn]")
    window.close()
    rate = 1000 * (ended[1] - begun[1]) / (ended[0] - begun[0])
    size = page.stat().st_size / 1000
    return f"{page.name}: {size:.0f} kB, loaded in {statistics.median(loads):.0f} ms, {rate:.1f} frames/s"


def main() -> None:
    """Print a line for each page."""
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=shutil.which("chromium"))
        for page in sys.argv[1:]:
            print(measured(browser, pathlib.Path(page)))


if __name__ == "__main__":
    main()
