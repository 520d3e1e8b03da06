"""Files that may be anything, and a disk that may be full.

What is read may be missing, no file at all, or hold what nobody wrote on purpose: whoever reads it gets the content or
one line that says why not. What is written is the old content or the new, never half of it, also when we are stopped.
"""

import contextlib
import itertools
import json
import os
import pathlib
import shutil
import stat
import warnings
import zipfile
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import numpy as np

from seca.errors import RunError, UsageError

Read = TypeVar("Read")

MOST_DEPTH = 100
"""Deepest nesting of JSON that is read: nothing of ours has ten levels, and what recurses over it must not overflow."""


def usable(field: str, text: str | os.PathLike[str]) -> pathlib.Path:
    """The path in a text, whether there is something or not. Raises UsageError when no file can have it."""
    if not os.fspath(text):
        raise UsageError(f"`{field}` is '': a path is needed there")
    problem = path_problem(text)
    if problem is not None:
        raise UsageError(f"`{field}` is {text}: {problem}")
    return pathlib.Path(text)


def path_problem(path: str | os.PathLike[str]) -> str | None:
    """Why one cannot even look whether there is something at a path, in words, or None where one can."""
    try:
        os.stat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:  # Too long, a loop of links, in a folder that is not ours to enter.
        return error.strerror or str(error)
    except ValueError:  # A NUL, or half of a pair of surrogates.
        return "it holds a character that no path can"
    return None


def read_bytes(path: pathlib.Path, size: int = -1) -> bytes:
    """The first `size` bytes of a file, or all. Raises ValueError with the reason, without the path.

    A pipe, a socket or a device is no file: it may never end.
    """
    try:
        mode = path.stat().st_mode
        if not stat.S_ISREG(mode) and not stat.S_ISDIR(mode):
            raise ValueError("not a regular file")
        with path.open("rb") as file:
            return file.read(size)
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from None


def read_text(path: pathlib.Path) -> str:
    """Text of a file. Raises ValueError with the reason, without the path, when it cannot be read."""
    try:
        return read_bytes(path).decode("utf-8")
    except UnicodeDecodeError:
        raise ValueError("not a text file") from None


def parse_json(text: str) -> Any:
    """What a JSON text holds. Raises ValueError when it is none, too deep, names a field twice, or holds half a letter.

    Numbers may be NaN or infinite, as Python reads them: whoever uses them knows their names.
    """
    try:
        data = json.loads(text, object_pairs_hook=_object)
    except RecursionError:
        raise ValueError(f"nested deeper than {MOST_DEPTH} levels") from None
    if "\\u" in text or text.count("[") + text.count("{") > MOST_DEPTH:
        _check_json(data)
    return data


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these fields. Raises ValueError when one is given twice: which of the two is meant?"""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"field {twice!r} is given twice")
    return fields


def _check_json(data: Any) -> None:
    """Raise ValueError for what JSON can write and nothing can use: endless depth, texts that are no Unicode."""
    level, depth = [data], 0
    while level:
        if depth > MOST_DEPTH:
            raise ValueError(f"nested deeper than {MOST_DEPTH} levels")
        texts = [item for item in level if isinstance(item, str)]
        objects = [item for item in level if isinstance(item, dict)]
        for text in (*texts, *(name for item in objects for name in item)):
            if not text.isascii() and any("\ud800" <= letter <= "\udfff" for letter in text):
                raise ValueError(f"the text {text!r} is not Unicode")
        lists = [item for item in level if isinstance(item, list)] + [list(item.values()) for item in objects]
        level, depth = [item for part in lists for item in part], depth + 1


def read_arrays(path: pathlib.Path, most_bytes: int) -> "dict[str, np.ndarray]":
    """All arrays of an .npz file, without pickles. Raises whatever a broken one makes NumPy raise, or warn of."""
    import numpy as np

    with zipfile.ZipFile(path) as archive:
        unpacked = sum(member.file_size for member in archive.infolist())
    if unpacked > most_bytes:
        raise ValueError(f"{unpacked} bytes unpacked, over {most_bytes}")
    with warnings.catch_warnings(action="error"), np.load(path, allow_pickle=False) as file:
        return {name: file[name] for name in file.files}


def read_archive(
    path: pathlib.Path,
    given: str,
    what: str,
    form: int,
    most_bytes: int,
    make: "Callable[[dict[str, np.ndarray], dict[str, Any]], Read]",
) -> Read:
    """What `make` makes of the arrays of an .npz file of ours, and of the JSON object `about` beside them.

    Args:
        path: the file.
        given: how it was given, as a message begins: "`recording` is x.npz".
        what: what it should be: "recording".
        form: number of the format that is read.
        most_bytes: largest that it is unpacked.
        make: may raise whatever broken content makes it raise.

    Raises:
        UsageError: it is missing, damaged, or of another format.
    """
    if not path.is_file():
        raise UsageError(f"{given}: there is no such file")
    one = f"{'an' if what[0] in 'aeiou' else 'a'} {what}"
    if not zipfile.is_zipfile(path):
        raise UsageError(f"{given}: not a file of seca with {one} (.npz), or cut short")
    try:
        arrays = read_arrays(path, most_bytes)
        about = parse_json(str(arrays.pop("about")))
        found = about.pop("format")
        if found != form:
            raise UsageError(f"`format` of {what} {path} is {found!r}: this seca reads {form}; make it again")
        return make(arrays, about)
    except UsageError:
        raise
    # Broken or foreign content shows itself in as many ways as there are lines that read it: in the archive, in its
    # encryption, in a header that is a Python text, in its sizes, in a name, in an array.
    except Exception as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UsageError(f"{given}: damaged, or not a file of seca with {one} ({reason})") from None


@contextlib.contextmanager
def writing(path: pathlib.Path) -> Iterator[None]:
    """Turn the system's refusal to write `path` into a RunError that says what, why, and how much room there is."""
    try:
        yield
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}; {room(path)}") from None


def room(path: pathlib.Path) -> str:
    """How much is free where `path` lies, in words."""
    there: pathlib.Path = path.parent
    try:
        there = next(folder for folder in (path.absolute(), *path.absolute().parents) if folder.is_dir())
        free = shutil.disk_usage(there).free
    except OSError:  # Gone in between, or not ours to look at.
        return f"how much is free in {there} is not known"
    return f"{free / 2**20:,.1f} MiB are free in {there}"


@contextlib.contextmanager
def replacing(path: pathlib.Path) -> Iterator[pathlib.Path]:
    """A name to write to that takes the place of `path` when the block ends well, and is gone when it does not.

    Raises RunError when the disk does not take it; `path` is then as it was.
    """
    # Another name for each process and file, not much longer than need be; the suffix says to writers what to write.
    temporary = path.with_name(f".tmp-{os.getpid()}-{next(_numbers)}{path.suffix[:16]}")
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
_numbers = itertools.count()


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
