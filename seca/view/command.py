"""`seca view`: from run folders or recordings to a page."""

import dataclasses
import pathlib
from collections.abc import Sequence

import jax

from seca import files
from seca.battles.recording import check_free
from seca.errors import UsageError, refusing
from seca.runs import folder as folders
from seca.runs.load import LoadedRun, load
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
    recordings goes beside the first. An episode that is recorded already is not played again.

    Raises UsageError when a run or a recording cannot be read, has no credit, or a file is there already.
    """
    if not 1 <= len(paths) <= page.MOST:
        raise UsageError(f"`runs` are {len(paths)}: give one run or recording, or two to stand side by side")
    episodes = [_episode(path, asked) for path in paths]
    homes = [episode.home for episode in episodes]
    if len(set(homes)) < len(homes):
        raise UsageError(f"`runs` names {paths[0]} twice: give two runs, or recordings of two battles")
    if asked != Asked() and all(episode.run is None for episode in episodes):
        name = next(name for name, value in vars(asked).items() if value != getattr(Asked(), name))
        raise UsageError(f"`{name}` is {getattr(asked, name)} but `runs` are recordings, played already: leave it out")
    page_at = _page_path(episodes, out)
    page.check(page_at)
    viewed = [_viewed(episode, asked, devices, tell) for episode in episodes]
    text, written = page.page(viewed), []
    for one, episode in zip(viewed, episodes, strict=True):
        if not episode.recording.exists():
            account.save(one, episode.recording)
            written.append(episode.recording)
    files.write(page_at, text)
    return [*written, page_at]


@dataclasses.dataclass(frozen=True)
class Episode:
    """An episode that is asked for: one of a run, or one that is recorded."""

    path: pathlib.Path
    home: pathlib.Path
    """Its recording, without the ending."""
    run: LoadedRun | None

    @property
    def recording(self) -> pathlib.Path:
        """Its file."""
        return self.home.with_name(self.home.name + ".npz") if self.run is not None else self.path


def _episode(path: pathlib.Path, asked: Asked) -> Episode:
    if files.usable("runs", path).is_file():
        return Episode(path, path.with_suffix(""), None)
    if not path.is_dir():
        raise UsageError(f"`runs` holds {path}: it is neither a run folder nor a recording")
    folder, run = folders.existing(path), load(path, asked.checkpoint)
    how = "-sampled" if asked.sampled else ""
    truth = f"-truth{asked.truth}x{asked.forks}" if asked.truth else ""
    at = f"{asked.checkpoint}-{int(run.state.env_steps)}" if isinstance(asked.checkpoint, str) else asked.checkpoint
    home = folder.recordings / f"view-{at}-seed{asked.seed}-battle{asked.battle}{how}{truth}"
    return Episode(path, home, run)


def _viewed(episode: Episode, asked: Asked, devices: Sequence[jax.Device], tell: testify.Tell | None) -> Viewed:
    """Recorded already, or played now."""
    run, name = episode.run, episode.path.resolve().name
    if run is None:
        return account.load(episode.path)
    if episode.recording.exists():
        known = account.load(episode.recording)
        if known.picture.about.policy == testify.policy_name(run, name, asked):
            return known
        check_free(episode.recording, "recording")
    orders = testify.orders_of(folders.existing(episode.path))
    with refusing():
        return testify.view(run, name, asked, orders, devices, tell)


def _page_path(episodes: Sequence[Episode], out: pathlib.Path | None) -> pathlib.Path:
    """Where the page goes: what was said, or beside the first recording."""
    if out is not None:
        return files.usable("out", out)
    home = episodes[0].home
    beside = "".join(f"-beside-{episode.path.resolve().stem}" for episode in episodes[1:])
    return home.with_name(f"{home.name}{beside}.html")
