"""Checkpoints: one folder each, complete or not there, and refused when a single bit of them has changed.

A checkpoint folder holds `arrays/` (written by orbax), `metadata.json` and `manifest.json` with the SHA-256 of every
other file. It is written under a temporary name, flushed to disk and renamed, so that a process killed at any moment
leaves either the whole of it or none. Names end in a running number: `latest-000012`, `best-000009`; the highest is
the newest. Those of snapshots, which are kept, end in env steps: `snapshot-000500123`.
"""

import contextlib
import hashlib
import io
import json
import logging
import os
import pathlib
import re
import shutil
import sys
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp

from seca import files
from seca.types import PyTree

FORMAT = 2
"""Version of the layout of a checkpoint folder."""

SNAPSHOT = "snapshot"
"""The kind of which all are kept."""
_ARRAYS, _METADATA, _MANIFEST, _TEMPORARY = "arrays", "metadata.json", "manifest.json", ".tmp-"


class CheckpointError(ValueError):
    """A checkpoint that is absent, damaged or of another kind; one line that says which file and what is wrong."""


def save(folder: pathlib.Path, kind: str, state: PyTree, metadata: dict[str, Any]) -> None:
    """Write `state` as the newest checkpoint of `kind` ("latest", "best"), then delete the older ones of that kind."""
    with files.writing(folder):
        folder.mkdir(exist_ok=True)
        counted = (path for path in folder.iterdir() if SNAPSHOT not in path.name)
        number = 1 + max(map(_number, counted), default=0)
        _put(folder, f"{kind}-{number:06d}", state, metadata)
        for old in find(folder, kind)[1:]:
            shutil.rmtree(old)


def keep(folder: pathlib.Path, env_steps: int, state: PyTree, metadata: dict[str, Any]) -> None:
    """Write `state` as the snapshot at so many env steps, beside all others, unless there is one already."""
    name = f"{SNAPSHOT}-{env_steps:09d}"
    with files.writing(folder):
        folder.mkdir(exist_ok=True)
        if not (folder / name).exists():
            _put(folder, name, state, metadata)


def _put(folder: pathlib.Path, name: str, state: PyTree, metadata: dict[str, Any]) -> None:
    """Write a checkpoint so that there is the whole of it or none."""
    written = folder / f"{_TEMPORARY}{name}"
    try:
        _write(written, state, metadata)
        os.rename(written, folder / name)
    finally:
        shutil.rmtree(written, ignore_errors=True)
    files.flush(folder)


def snapshots(folder: pathlib.Path) -> dict[int, pathlib.Path]:
    """The snapshots by the env steps of their policies, ascending; they may be damaged."""
    return {_number(path): path for path in reversed(find(folder, SNAPSHOT))}


def drop_snapshots(folder: pathlib.Path, after: int) -> None:
    """Delete the snapshots of policies after so many env steps."""
    for env_steps, path in snapshots(folder).items():
        if env_steps > after:
            shutil.rmtree(path)


def _write(folder: pathlib.Path, state: PyTree, metadata: dict[str, Any]) -> None:
    """Write a checkpoint into a new folder and force all of it to the disk. Raises OSError when that takes no more."""
    folder.mkdir()
    _save_arrays(folder / _ARRAYS, state)
    (folder / _METADATA).write_text(json.dumps({"format": FORMAT} | metadata, indent=1) + "\n")
    (folder / _MANIFEST).write_text(json.dumps(_digests(folder), indent=1) + "\n")
    # The rename that follows must not overtake the content.
    for path in [*folder.rglob("*"), folder]:
        files.flush(path)


SETTLE_SECONDS = 0.5
"""How long TensorStore's threads may take to notice that a save has failed."""


def _save_arrays(path: pathlib.Path, state: PyTree) -> None:
    """Write the arrays by orbax. Raises OSError when the disk does not take them."""
    try:
        with _quietly(), ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
            checkpointer.save(path.absolute(), args=ocp.args.StandardSave(_named_arrays(state)))
    except ValueError as error:
        found = re.search(r"os_error_code='(\d+)'", str(error))  # TensorStore's way of saying what the system said.
        if found is None:
            raise
        raise OSError(int(found.group(1)), os.strerror(int(found.group(1)))) from None


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Keep tracebacks to ourselves that are printed of an error which is raised as well.

    Orbax logs them, and TensorStore prints one for each array whose write ends when nobody waits for it any more.
    """
    log, said = logging.getLogger("absl"), io.StringIO()
    log.disabled, before = True, log.disabled
    try:
        with contextlib.redirect_stderr(said):
            try:
                yield
            except ValueError:
                time.sleep(SETTLE_SECONDS)
                said = io.StringIO()
                raise
    finally:
        log.disabled = before
        sys.stderr.write(said.getvalue())


def find(folder: pathlib.Path, kind: str) -> list[pathlib.Path]:
    """Checkpoints of one kind, newest first; they may be damaged."""
    if not folder.is_dir():
        return []
    pattern = re.compile(re.escape(kind) + r"-\d{6,}")
    return sorted((path for path in folder.iterdir() if pattern.fullmatch(path.name)), key=_number, reverse=True)


def clean(folder: pathlib.Path) -> None:
    """Delete what a killed process left half-written."""
    if folder.is_dir():
        for path in folder.glob(f"{_TEMPORARY}*"):
            shutil.rmtree(path)


def read_metadata(path: pathlib.Path) -> dict[str, Any]:
    """Metadata of a checkpoint, after checking every file of it against the manifest. Raises CheckpointError."""
    expected = _read_object(path / _MANIFEST)
    for name, digest in expected.items():
        if ".." in pathlib.PurePath(name).parts or pathlib.PurePath(name).is_absolute():
            raise CheckpointError(f"checkpoint {path} is damaged: {_MANIFEST} lists {name}, which is not inside of it")
        if not os.path.isfile(path / name):
            raise CheckpointError(f"checkpoint {path} is damaged: {name} is missing")
        if _digest(path / name) != digest:
            raise CheckpointError(f"checkpoint {path} is damaged: {name} is not what was written (SHA-256 differs)")
    if _METADATA not in expected:
        raise CheckpointError(f"checkpoint {path} is damaged: {_MANIFEST} does not list {_METADATA}")
    metadata = _read_object(path / _METADATA)
    if metadata.get("format") is True or metadata.get("format") != FORMAT:
        raise CheckpointError(
            f"checkpoint {path} has format {metadata.get('format')}, this version of seca reads format {FORMAT}: go on "
            "with the version that made it, which environment.json beside it names"
        )
    return metadata


def load(path: pathlib.Path, template: PyTree) -> PyTree:
    """The state stored in a checkpoint, in the structure of `template` (arrays, or just their shapes and types).

    Call `read_metadata` first: it checks the files. Raises CheckpointError when an array is missing, unknown or of
    another shape than in `template`.
    """
    with ocp.Checkpointer(ocp.StandardCheckpointHandler()) as checkpointer:
        stored = checkpointer.restore((path / _ARRAYS).absolute())
    leaves, structure = jax.tree_util.tree_flatten_with_path(template)
    wanted = {jax.tree_util.keystr(where): leaf for where, leaf in leaves}
    for name in sorted(wanted.keys() ^ stored.keys()):
        where = "is not in it" if name in wanted else "is not part of this configuration"
        raise CheckpointError(f"checkpoint {path} does not fit: array {name} {where}")
    for name, leaf in wanted.items():
        plain = jax.eval_shape(_plain, leaf)
        if (plain.shape, plain.dtype) != (stored[name].shape, stored[name].dtype):
            raise CheckpointError(
                f"checkpoint {path} does not fit: array {name} is {stored[name].dtype}{list(stored[name].shape)}, "
                f"this configuration needs {plain.dtype}{list(plain.shape)}"
            )
    return jax.tree.unflatten(structure, [_like(leaf, stored[name]) for name, leaf in wanted.items()])


def _named_arrays(tree: PyTree) -> dict[str, np.ndarray]:
    """Every array of a tree on the host, by its path in the tree."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    return {jax.tree_util.keystr(where): np.asarray(_plain(leaf)) for where, leaf in leaves}


def _plain(leaf: jax.Array) -> jax.Array:
    """The numbers of an array; those behind a PRNG key if it holds keys."""
    return jax.random.key_data(leaf) if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) else leaf


def _like(leaf: Any, stored: np.ndarray) -> jax.Array:
    """Stored numbers as the kind of array that `leaf` is."""
    array = jnp.asarray(stored)
    if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
        return jax.random.wrap_key_data(array, impl=jax.random.key_impl(jnp.empty((0,), leaf.dtype)))
    return array


def _number(path: pathlib.Path) -> int:
    found = re.search(r"-(\d{6,})", path.name)
    return int(found.group(1)) if found else 0


def _read_object(path: pathlib.Path) -> dict[str, Any]:
    if not os.path.lexists(path):
        raise CheckpointError(f"checkpoint {path.parent} is damaged: {path.name} is missing")
    try:
        data = files.parse_json(files.read_text(path))
    except ValueError as error:  # Not JSON, or not even text.
        raise CheckpointError(f"checkpoint {path.parent} is damaged: {path.name} cannot be read ({error})") from None
    if not isinstance(data, dict):
        raise CheckpointError(f"checkpoint {path.parent} is damaged: {path.name} does not hold an object")
    return data


def _digests(folder: pathlib.Path) -> dict[str, str]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): _digest(path) for path in files}


def _digest(path: pathlib.Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
