"""`seca view`: from run folders or recordings to a page."""

import pathlib
from collections.abc import Sequence

import jax

from seca import files
from seca.battles.recording import check_free
from seca.errors import UsageError, refusing
from seca.runs import folder as folders
from seca.runs.load import load
from seca.view import account, page, testify
from seca.view.account import Viewed
from seca.view.testify import Asked


def view_all(
    paths: Sequence[pathlib.Path],
    asked: Asked,
    out: pathlib.Path | None = None,
    devices: Sequence[jax.Device] = (),
    tell: testify.Tell | None = None,
) -> list[pathlib.Path]:
    """Record an episode of each run, or read recordings, and write their page; the files that were written.

    A run's recording and, unless `out` says otherwise, the page go into its folder of recordings; the page of
    recordings goes beside the first.

    Raises UsageError when a run or a recording cannot be read, has no credit, or a file is there already.
    """
    if not 1 <= len(paths) <= page.MOST:
        raise UsageError(f"`runs` are {len(paths)}: give one run or recording, or two to stand side by side")
    played = [not files.usable("runs", path).is_file() for path in paths]
    if not any(played) and asked != Asked():
        default = Asked()
        name = next(name for name, value in vars(asked).items() if value != getattr(default, name))
        raise UsageError(f"`{name}` is {getattr(asked, name)} but `runs` are recordings, played already: leave it out")
    homes = [_home(path, asked) if run else path.with_suffix("") for path, run in zip(paths, played, strict=True)]
    page_at = _page_path(homes, out)
    page.check(page_at)
    kept = [home.with_name(home.name + ".npz") for home in homes]
    for path, run in zip(kept, played, strict=True):
        if run:
            check_free(path, "recording")
    viewed = [
        _view_run(path, asked, devices, tell) if run else account.load(path)
        for path, run in zip(paths, played, strict=True)
    ]
    text = page.page(viewed)
    for one, path, run in zip(viewed, kept, played, strict=True):
        if run:
            account.save(one, path)
    files.write(page_at, text)
    return [*(path for path, run in zip(kept, played, strict=True) if run), page_at]


def _page_path(homes: Sequence[pathlib.Path], out: pathlib.Path | None) -> pathlib.Path:
    """Where the page goes: what was said, or beside the first recording."""
    if out is not None:
        return files.usable("out", out)
    first = homes[0]
    name = first.name if len(homes) == 1 else f"{first.name}-beside-{homes[1].parent.parent.name}"
    return first.with_name(f"{name}.html")


def _home(path: pathlib.Path, asked: Asked) -> pathlib.Path:
    """Where the recording of a run's episode goes, without its ending."""
    folder = folders.existing(path)
    how = "-sampled" if asked.sampled else ""
    truth = f"-truth{asked.truth}x{asked.forks}" if asked.truth else ""
    at = str(asked.checkpoint)
    return folder.recordings / f"view-{at}-seed{asked.seed}-battle{asked.battle}{how}{truth}"


def _view_run(path: pathlib.Path, asked: Asked, devices: Sequence[jax.Device], tell: testify.Tell | None) -> Viewed:
    run = load(path, asked.checkpoint)
    orders = testify.orders_of(folders.existing(path))
    with refusing():
        return testify.view(run, path.resolve().name, asked, orders, devices, tell)
