"""The wheel: complete, and it runs where nothing of the source tree is in reach; what it needs has true bounds."""

import pathlib
import re
import subprocess
import sys
import sysconfig
import tomllib
import venv
import zipfile

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import seca as package

ROOT = pathlib.Path(__file__).parent.parent


LOCKED_EXTRAS = ("dev", "pettingzoo", "gymnasium")
"""Extras in `requirements.lock`, which `make lock` names."""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """A wheel built from the working tree."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(folder)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    return next(folder.glob("*.whl"))


@pytest.fixture(scope="module")
def clean_bin(wheel: pathlib.Path, tmp_path_factory: pytest.TempPathFactory) -> pathlib.Path:
    """Programs of a new environment that holds the wheel; dependencies are lent by path, so no network is needed.

    A folder named in a .pth file is put on the path without reading the .pth files in it: the editable installation of
    the source tree stays out of reach.
    """
    folder = tmp_path_factory.mktemp("clean")
    venv.create(folder, with_pip=False)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--no-deps", "--no-index", "--quiet"]
    subprocess.run([*install, str(wheel)], check=True, capture_output=True)
    site = next((folder / "lib").glob("python*/site-packages"))
    (site / "lent.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return python.parent


def _output(*command: object, cwd: pathlib.Path) -> str:
    return subprocess.run([*map(str, command)], cwd=cwd, check=True, capture_output=True, text=True).stdout


def test_everything_is_in_the_wheel(wheel: pathlib.Path) -> None:
    packed = set(zipfile.ZipFile(wheel).namelist())
    source = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "seca").rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert {"seca/smac/units.toml", "seca/smac/maps.toml"} <= source
    assert source - packed == set()
    extra = {name for name in packed - source if ".dist-info/" not in name}
    assert extra == set(), "only the package itself is shipped"
    assert any(name.endswith("licenses/LICENSE") for name in packed)


def test_each_requirement_is_one_lower_bound() -> None:
    """The form from which `make test-lowest` reads the versions to install."""
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text())
    extras = tables["project"]["optional-dependencies"]
    given = [*tables["project"]["dependencies"], *tables["build-system"]["requires"], *sum(extras.values(), [])]
    bounds: dict[str, set[str]] = {}
    for requirement in given:
        found = re.fullmatch(r"([A-Za-z][A-Za-z0-9-]*)>=([0-9.]+)", requirement)
        assert found is not None, requirement
        bounds.setdefault(canonicalize_name(found[1]), set()).add(found[2])
    assert {name for name, versions in bounds.items() if len(versions) > 1} == set(), "required twice, differently"


def test_the_lock_keeps_the_bounds() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    locked: dict[str, list[str]] = {}
    for name, version in re.findall(r"^([\w.-]+)==(\S+)", (ROOT / "requirements.lock").read_text(), re.MULTILINE):
        locked.setdefault(name, []).append(version)  # More than one where versions of Python differ.
    extras = [project["optional-dependencies"][extra] for extra in LOCKED_EXTRAS]
    for requirement in map(Requirement, sum(extras, project["dependencies"])):
        versions = locked[canonicalize_name(requirement.name)]
        assert all(requirement.specifier.contains(version) for version in versions), f"{requirement}: {versions}"


@pytest.mark.slow
def test_it_runs_in_a_clean_environment(clean_bin: pathlib.Path, tmp_path: pathlib.Path) -> None:
    where = _output(clean_bin / "python", "-c", "import seca; print(seca.__file__)", cwd=tmp_path)
    assert pathlib.Path(where).is_relative_to(clean_bin.parent)
    assert _output(clean_bin / "seca", "--version", cwd=tmp_path) == f"seca {package.__version__}\n"
    assert "smac/2s3z" in _output(clean_bin / "seca", "envs", cwd=tmp_path)
    battle = "import jax, seca; print(seca.make('smac/3m').reset(jax.random.split(jax.random.key(0), 2))[1].obs.shape)"
    assert _output(clean_bin / "python", "-c", battle, cwd=tmp_path) == "(2, 3, 30)\n"


@pytest.mark.slow
def test_it_trains_in_a_clean_environment(
    clean_bin: pathlib.Path, small_run: list[str], cache_dir: pathlib.Path, tmp_path: pathlib.Path
) -> None:
    del cache_dir  # In the environment of the process.
    printed = _output(clean_bin / "seca", "train", *small_run, "--steps", 8, "--out", "run", cwd=tmp_path)
    assert printed.splitlines()[-1] == "run folder: run"
    evaluated = _output(clean_bin / "python", "-m", "seca", "evaluate", "run", "--episodes", 8, cwd=tmp_path)
    assert "8 greedy episodes" in evaluated
