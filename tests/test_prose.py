"""Pages can be read in any window, no line of prose over 100 characters, and their links lead somewhere."""

import pathlib
import re
import shutil
import subprocess

import pytest

ROOT = pathlib.Path(__file__).parent.parent
WIDTH = 100
MARKER = re.compile(r"(?:[-*+>]|#+|\d+[.)])\s+")


def pages() -> list[pathlib.Path]:
    """Every page of the repository: what git knows or would take; without git, what lies here."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "*.md"]
    listed = subprocess.run(command, cwd=ROOT, capture_output=True, text=True) if shutil.which("git") else None
    names = listed.stdout.split("\0")[:-1] if listed else []
    found = [ROOT / name for name in names] or [
        page for page in ROOT.rglob("*.md") if not any(part.startswith(".") for part in page.relative_to(ROOT).parts)
    ]
    return sorted(page.relative_to(ROOT) for page in found if page.exists())


def long_lines(text: str) -> list[int]:
    """Numbers of the lines of prose over `WIDTH` characters.

    Not prose are code (fenced, or indented by four after an empty line), rows of tables, and images
    on a line of their own. A single word, such as an address, cannot be broken, whatever its length.
    """
    found: list[int] = []
    fenced = code = False
    before = ""
    for number, line in enumerate(text.splitlines(), start=1):
        words = line.strip()
        if words.startswith("```"):
            fenced = not fenced
        code = line.startswith("    ") and (code or not before)
        prose = not (fenced or code or words.startswith("|") or re.fullmatch(r"!\[.*\]\(\S+\)", words))
        breakable = len(MARKER.sub("", words, count=1).split()) > 1
        if len(line) > WIDTH and prose and breakable:
            found.append(number)
        before = words
    return found


@pytest.mark.parametrize("page", pages(), ids=str)
def test_no_line_of_prose_is_long(page: pathlib.Path) -> None:
    found = long_lines((ROOT / page).read_text())
    assert not found, f"{page}: over {WIDTH} characters in lines {found}"


def test_all_pages_are_looked_at() -> None:
    named = {"README.md", "CHANGELOG.md", "CONTRIBUTING.md", "docs/results.md", "tests/golden/smac_frames/README.md"}
    assert named <= {page.as_posix() for page in pages()}


def dead_links(page: pathlib.Path, text: str) -> list[str]:
    """Targets of links and images to files of the repository, and to headings in them, that are not there."""
    dead: list[str] = []
    prose = re.sub(r"^```.*?^```|`[^`\n]*`", "", text, flags=re.DOTALL | re.MULTILINE)
    for target in re.findall(r"\]\(([^)\s]+)\)", prose):
        if "://" in target:
            continue
        name, _, heading = target.partition("#")
        path = (page.parent / name) if name else page
        if not path.exists() or (heading and heading not in anchors(path.read_text())):
            dead.append(target)
    return dead


def anchors(text: str) -> set[str]:
    """What headings are called in addresses: lower case, without punctuation, hyphens for spaces."""
    headings = re.findall(
        r"^#+ (.*)$", re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE), flags=re.MULTILINE
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages(), ids=str)
def test_links_lead_somewhere(page: pathlib.Path) -> None:
    assert dead_links(ROOT / page, (ROOT / page).read_text()) == []


def test_dead_links_are_found(tmp_path: pathlib.Path) -> None:
    page, other = tmp_path / "page.md", tmp_path / "other.md"
    other.write_text("# Two `words`: here\n")
    page.write_text(
        "[a](other.md#two-words-here) [b](other.md) [c](https://example.org) `[d](code.md)`\n## Own\n[e](#own)\n"
    )
    assert dead_links(page, page.read_text()) == []
    page.write_text("[a](other.md#three-words) ![b](picture.png) [c](#own)\n")
    assert dead_links(page, page.read_text()) == ["other.md#three-words", "picture.png", "#own"]


LONG = "word " * 25


@pytest.mark.parametrize(
    "text",
    [
        LONG,
        f"- {LONG}",
        f"- short\n      {LONG}",
        f"> {LONG}",
        f"# {LONG}",
        f"```\ncode\n```\n{LONG}",
        f"![picture](figures/a.png) {LONG}",
        "é" * 50 + " " + "é" * 50,
    ],
    ids=["paragraph", "item", "continued", "quote", "heading", "after code", "beside an image", "letters"],
)
def test_long_prose_is_found(text: str) -> None:
    assert long_lines(f"fine\n\n{text}\n\nfine\n") == [2 + len(text.splitlines())]


@pytest.mark.parametrize(
    "text",
    [
        "w" * WIDTH,
        "é" * 49 + " " + "é" * 50,
        f"```sh\n{LONG}\n```",
        f"    {LONG}\n    {LONG}",
        f"| {LONG} | {LONG} |",
        f"![{LONG}](figures/a.png)",
        "- https://example.org/" + "x" * WIDTH,
    ],
    ids=["just fits", "characters, not bytes", "fenced", "indented", "table", "image", "address"],
)
def test_what_cannot_be_broken_may_be_long(text: str) -> None:
    assert long_lines(f"fine\n\n{text}\n\nfine\n") == []
