"""Writing to a disk that may be full, and being stopped while at it: the old content or the new, never half of it."""

import contextlib
import os
import pathlib
import shutil
from collections.abc import Iterator

from seca.errors import RunError


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turn the system's refusal to write `path` into a RunError that says what, why, and how much room there is."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}; {room(path)}") from None


def room(path: pathlib.Path) -> str:
    """How much is free where `path` lies, in words."""
    there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())
    try:
        free = shutil.disk_usage(there).free
    except OSError:  # Gone in between, or not ours to look at.
        return f"how much is free in {there} is not known"
    return f"{free / 2**20:,.1f} MiB are free in {there}"


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A name to write to that takes the place of `path` when the block ends well, and is gone when it does not.

    Raises RunError when the disk does not take it; `path` is then as it was.
    """
    temporary = path.with_name(f".tmp-{path.name}")
    _unfinished.add(temporary)
    try:
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            yield temporary
            flush(temporary)
            os.replace(temporary, path)
    finally:
        _discard(temporary)


_unfinished: set[pathlib.Path] = set()


def discard_unfinished() -> None:
    """Take away what has not taken its place: for a process about to end itself."""
    for temporary in tuple(_unfinished):
        _discard(temporary)


def _discard(temporary: pathlib.Path) -> None:
    with contextlib.suppress(OSError):
        temporary.unlink(missing_ok=True)
    _unfinished.discard(temporary)


def write(path: pathlib.Path, text: str) -> None:
    """Write a text file so that a kill leaves either the old content or the new. Raises RunError."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def flush(path: pathlib.Path) -> None:
    """Force a file or a folder to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
