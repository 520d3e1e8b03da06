"""Files that nobody would write: a reader gives what it promises, or refuses in one line; it never raises otherwise.

The same thousands of broken files each time, and nothing is compiled for them.
"""

import dataclasses
import functools
import hashlib
import io
import json
import pathlib
import tomllib
import zipfile
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from recordings import battle

from seca.battles import recording
from seca.battles.draw import Painter
from seca.battles.recording import Recording
from seca.config import RunConfig, from_json, from_preset, parse_env_options, to_dict
from seca.envs import registry
from seca.envs.base import Env
from seca.errors import UsageError
from seca.parsing import parse_whole_number
from seca.report import curves
from seca.runs import folder as folders
from seca.runs import load
from seca.runs.folder import RunFolder
from seca.runs.recorder import Position
from seca.smac import custom
from seca.smac.scenario import Scenario
from seca.train import checkpoint
from seca.train.checkpoint import CheckpointError

few = settings(derandomize=True, deadline=None, max_examples=60, suppress_health_check=list(HealthCheck))
many = settings(few, max_examples=200)


def survives(read: Callable[[], Any], kind: type, *errors: type[Exception]) -> Any:
    """What is read, of the type it should have, or None where it was refused in one line."""
    try:
        value = read()
    except (UsageError, *errors) as error:
        assert not isinstance(error, UnicodeError)  # It names no field.
        line = " ".join(str(error).split())
        assert line and "Traceback" not in line
        return None
    assert isinstance(value, kind)
    return value


numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([-1, 0, 2**31, 2**32, 2**63, 2**64, 10**400, -(10**400), 1e308, float("nan"), float("inf")]),
)
texts = st.one_of(st.text(max_size=8), st.sampled_from(["", "\0", "\ud800", "../../x", "n" * 5000, "a\nb", "smac/3m"]))
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3), max_leaves=5
)


def places(data: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """The way to every value inside of a tree of lists and objects."""
    yield path
    items = data.items() if isinstance(data, dict) else enumerate(data) if isinstance(data, list) else ()
    for key, value in items:
        yield from places(value, (*path, key))


def put(data: Any, path: tuple[Any, ...], value: Any) -> Any:
    """The tree with another value at the end of a way."""
    if not path:
        return value
    if isinstance(data, dict):
        return data | {path[0]: put(data[path[0]], path[1:], value)}
    return [put(item, path[1:], value) if place == path[0] else item for place, item in enumerate(data)]


def changed(data: Any) -> st.SearchStrategy[Any]:
    """The tree with any value at any of its places."""
    return st.builds(functools.partial(put, data), st.sampled_from(list(places(data))), values)


def broken(content: bytes) -> st.SearchStrategy[bytes]:
    """The bytes cut, with other bytes in the midst of them, or all others."""
    at = st.integers(0, len(content))
    return st.one_of(
        st.binary(max_size=60),
        at.map(lambda end: content[:end]),
        st.builds(lambda place, noise: content[:place] + noise + content[place + 1 :], at, st.binary(max_size=3)),
        st.sampled_from([b"\xef\xbb\xbf" + content, content.decode("latin-1").encode("utf-16"), b"[" * 100_000]),
        st.sampled_from([b'{"a": ' * 20_000, b"9" * 5000, b"NaN", b"-Infinity", b'{"a": 1, "a": 2}', rb'"\ud800"']),
    )


CONFIGS = [json.loads(json.dumps(to_dict(from_preset(name)))) for name in ("seca", "qmix", "riit")]


@pytest.mark.slow
@many
@given(st.sampled_from(CONFIGS).flatmap(changed))
def test_any_value_at_any_place_of_a_config(data: Any) -> None:
    survives(lambda: from_json(json.dumps(data)), RunConfig)


@many
@given(content=broken(json.dumps(CONFIGS[0]).encode()))
def test_any_bytes_as_a_config(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "config.json"
    path.write_bytes(content)
    survives(lambda: folders.read_config(path), RunConfig)


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """A run folder in which one file at a time is broken."""
    folder = RunFolder(tmp_path_factory.mktemp("run"))
    folder.config.write_text(json.dumps(CONFIGS[0]))
    return folder


LINE = {"kind": "eval", "env_steps": 100, "win_rate": 0.5, "return_mean": 1.0}
NOT_YET = json.dumps(LINE | {"env_steps": 0})


@pytest.mark.slow
@many
@given(line=st.one_of(changed(LINE).map(lambda data: json.dumps(data).encode()), broken(json.dumps(LINE).encode())))
def test_any_line_of_metrics(run: RunFolder, line: bytes) -> None:
    run.metrics.write_bytes(NOT_YET.encode() + b"\n" + line + b"\n")
    run.environment.unlink(missing_ok=True)
    survives(lambda: folders.read_metrics(run), list)
    curve = survives(lambda: curves.read_curve(run.path), curves.Curve)
    if curve is not None:
        assert "win_rate" in curves.table([curve])
        assert curves.caption([curve])


@pytest.mark.slow
@settings(few, max_examples=3)
@given(numbers=st.lists(st.integers(1, 2**32), min_size=1, max_size=3, unique=True), earned=st.floats(-1e30, 1e30))
def test_any_curve_is_drawn(run: RunFolder, numbers: list[int], earned: float) -> None:
    lines = [LINE | {"env_steps": steps, "return_mean": earned} for steps in sorted(numbers)]
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    run.environment.unlink(missing_ok=True)
    assert all(path.stat().st_size > 0 for path in curves.plot([run.path], run.path / "curves"))


ENVIRONMENT = {"env": {"id": "matrix/peak", "version": "matrix-1"}, "sessions": [{"seca": "0", "devices": ["cpu"]}]}


@many
@given(
    content=st.one_of(
        changed(ENVIRONMENT).map(lambda data: json.dumps(data).encode()), broken(json.dumps(ENVIRONMENT).encode())
    )
)
def test_any_environment(run: RunFolder, content: bytes) -> None:
    run.environment.write_bytes(content)
    survives(lambda: folders.read_environment(run), dict)


POSITION = {"metrics_lines": 2, "metrics_bytes": 100, "seconds": 1.5, "best": [0.5, 1.0]}
METADATA = {
    "format": 1,
    "env": "matrix/peak",
    "env_version": "matrix-1",
    "config": CONFIGS[0],
    "env_steps": 4,
    "iteration": 1,
    "position": POSITION,
}


@functools.cache
def built() -> load.Built:
    """What the configuration of the metadata stands for."""
    return load.build_run(from_json(json.dumps(CONFIGS[0] | {"env": "matrix/peak"})))


def signed(folder: pathlib.Path, metadata: bytes, manifest: Any = None) -> pathlib.Path:
    """A checkpoint without arrays whose manifest says that all is well."""
    folder.mkdir(exist_ok=True)
    (folder / "metadata.json").write_bytes(metadata)
    listed = {"metadata.json": hashlib.sha256(metadata).hexdigest()} if manifest is None else manifest
    (folder / "manifest.json").write_text(json.dumps(listed))
    return folder


def looked_at(path: pathlib.Path) -> Position:
    """Everything that is done with metadata before the arrays are read."""
    metadata = checkpoint.read_metadata(path)
    position = load._position(path, metadata)
    load.check_fits(path, metadata, built())
    return position


@many
@given(
    metadata=st.one_of(
        changed(METADATA).map(lambda data: json.dumps(data).encode()),
        changed(POSITION).map(lambda data: json.dumps(METADATA | {"position": data}).encode()),
        broken(json.dumps(METADATA).encode()),
    )
)
def test_any_metadata_with_its_hash(run: RunFolder, metadata: bytes) -> None:
    survives(lambda: looked_at(signed(run.checkpoints, metadata)), Position, CheckpointError)


@many
@given(manifest=st.one_of(values, st.dictionaries(texts, values, max_size=3)))
def test_any_manifest(run: RunFolder, manifest: Any) -> None:
    path = signed(run.checkpoints, json.dumps(METADATA).encode(), manifest)
    survives(lambda: checkpoint.read_metadata(path), dict, CheckpointError)


def packed(arrays: dict[str, np.ndarray]) -> bytes:
    """The file of these arrays."""
    file = io.BytesIO()
    np.savez_compressed(file, **arrays)  # pyrefly: ignore
    return file.getvalue()


BATTLE = battle()
ARRAYS: dict[str, np.ndarray] = {name: getattr(BATTLE, name) for name in recording._ARRAYS}
ABOUT = {"format": 1, "unit_names": list(BATTLE.unit_names)} | dataclasses.asdict(BATTLE.about)
RECORDED = packed(ARRAYS | {"about": np.array(json.dumps(ABOUT))})


def seen(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    """Load a recording; when it can be, its frames can be drawn."""
    path = tmp_path_factory.getbasetemp() / "battle.npz"
    path.write_bytes(content)
    loaded = survives(lambda: recording.load(path), Recording)
    if loaded is not None:
        assert loaded.sentence()
        assert Painter(loaded).frame(len(loaded.x) - 1).width > 0


@st.composite
def other_arrays(draw: st.DrawFn) -> dict[str, np.ndarray]:
    """One array by its name: in its place another one's, or one of another type, shape or content."""
    name = draw(st.sampled_from(sorted(ARRAYS)))
    number = draw(st.sampled_from([0, -1, 1, 7, 1e5, 1e9, 3e38, np.nan, np.inf]))
    with np.errstate(all="ignore"):
        filled = np.full(ARRAYS[name].shape, number).astype(ARRAYS[name].dtype)
    chosen = draw(
        st.sampled_from(
            [
                ARRAYS[draw(st.sampled_from(sorted(ARRAYS)))],
                filled,
                ARRAYS[name][:1],
                ARRAYS[name][..., None],
                ARRAYS[name].astype(object),
                ARRAYS[name].astype(">f8"),
                np.array("x"),
            ]
        )
    )
    return {name: chosen}


@pytest.mark.slow
@few
@given(array=other_arrays())
def test_any_array_in_a_recording(tmp_path_factory: pytest.TempPathFactory, array: dict[str, np.ndarray]) -> None:
    seen(tmp_path_factory, packed(ARRAYS | {"about": np.array(json.dumps(ABOUT))} | array))


@few
@given(data=changed(ABOUT))
def test_any_origin_of_a_recording(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    seen(tmp_path_factory, packed(ARRAYS | {"about": np.array(json.dumps(data))}))


@pytest.mark.slow
@many
@given(content=broken(RECORDED))
def test_any_bytes_as_a_recording(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    seen(tmp_path_factory, content)


HEADERS = [
    "{'descr': '<f4', 'fortran_order': False, 'shape': (99999999999, 9999), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (-1,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (2L,), }",
    "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
    "{'descr': '<f4', 'fortran_order': False, 'shape': (9223372036854775807, 9223372036854775807), }",
    "(" * 5000,
    "{'descr': ",
    "'" * 3,
    "",
]


@pytest.mark.parametrize("header", HEADERS, ids=range(len(HEADERS)))
def test_any_header_of_an_array(tmp_path_factory: pytest.TempPathFactory, header: str) -> None:
    """They are Python texts; what reads them may find no end, or no memory."""

    file = io.BytesIO(RECORDED)
    written = header.encode() + b"\n"
    with zipfile.ZipFile(file, "a") as archive:
        archive.writestr("more.npy", b"\x93NUMPY\x01\x00" + len(written).to_bytes(2, "little") + written)
    path = tmp_path_factory.getbasetemp() / "header.npz"
    path.write_bytes(file.getvalue())
    with pytest.raises(UsageError, match="`recording` is .*damaged"):
        recording.load(path)


SCENARIO = {
    "limit": 60,
    "allies": [{"unit": "stalker", "count": 2, "at": [9, 16]}],
    "enemies": [{"unit": "zergling", "count": 5, "at": [23, 16]}],
    "attack": {"between": [[9, 16], [9, 17]]},
    "terrain": {"rows": ["_" * 32] * 32, "levels": ["." * 32] * 32},
}


def as_toml(value: Any) -> str:
    """A value as TOML writes it inline; what it has no word for becomes a date."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "{" + ", ".join(f"{as_toml(name)} = {as_toml(item)}" for name, item in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    if isinstance(value, str):
        return json.dumps(value.encode("utf-8", "replace").decode()).replace("\x7f", "")
    return "1979-05-27" if value is None else repr(value)


def scenario_text(data: Any) -> bytes:
    """A file with these fields."""
    if not isinstance(data, dict):
        return as_toml(data).encode()
    return "".join(f"{as_toml(name)} = {as_toml(value)}\n" for name, value in data.items()).encode()


def test_the_scenario_that_is_changed_is_good(tmp_path: pathlib.Path) -> None:
    assert tomllib.loads(scenario_text(SCENARIO).decode()) == SCENARIO
    (tmp_path / "mine.toml").write_bytes(scenario_text(SCENARIO))
    assert custom.read(tmp_path / "mine.toml").n_agents == 2


@few
@given(content=st.one_of(changed(SCENARIO).map(scenario_text), broken(scenario_text(SCENARIO))))
def test_any_scenario(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "mine.toml"
    path.write_bytes(content)
    survives(lambda: custom.read(path), Scenario, ValueError)


words = st.one_of(st.text(max_size=10), st.builds("{}={}".format, texts, st.one_of(texts, numbers.map(str))))


@many
@given(st.lists(words, max_size=3))
def test_any_options_of_an_environment(given_words: list[str]) -> None:
    options = survives(lambda: parse_env_options(given_words), dict)
    if options:
        survives(lambda: registry.make("matrix/peak", options), Env, ValueError)


@few
@given(st.dictionaries(st.sampled_from(["reward_win", "jitter", "opponent", "profile", "x"]), scalars, max_size=2))
def test_any_values_of_options_of_smac(options: dict[str, Any]) -> None:
    survives(lambda: registry.make("smac/3m", options), Env, ValueError)


@few
@given(st.builds("{}{}".format, st.sampled_from(["", "smac:", "smac/", "python:", "matrix/"]), texts))
def test_any_name_of_an_environment(name: str) -> None:
    survives(lambda: registry.make(name), Env, ValueError)


@many
@given(st.one_of(st.text(max_size=10), numbers.map(str), st.just("9" * 5000)))
def test_any_whole_number(text: str) -> None:
    survives(lambda: parse_whole_number(text), int, ValueError)
