"""Modules import only what stands to their left, and `import seca` stays light."""

import ast
import collections
import itertools
import pathlib
import subprocess
import sys

import pytest

PACKAGE = pathlib.Path(__file__).parent.parent / "seca"

# Part of the package -> parts it may import besides itself. A module straight in `seca/` is a part of its own.
_CORE = {"types", "ranges", "numerics", "sizes", "policies", "distributions", "credit", "order", "returns", "nets"}
_LEARN = _CORE | {"learning", "algos", "smac", "envs", "train"}
_RUNS = _LEARN | {"errors", "files", "presets", "config"}
MAY_IMPORT: dict[str, set[str]] = {
    "errors": set(),
    "types": set(),
    "ranges": set(),
    "files": {"errors"},
    "sizes": set(),
    "numerics": {"types"},
    "policies": {"types", "ranges"},
    "distributions": {"types", "policies"},
    "credit": {"types", "policies", "distributions"},
    "order": {"types", "ranges", "policies", "distributions"},
    "returns": {"types", "ranges"},
    "nets": {"types", "credit", "distributions"},
    "learning": _CORE,
    "algos": _CORE | {"learning"},
    "smac": {"types", "numerics", "sizes", "files"},
    "envs": {"types", "numerics", "smac", "errors"},
    "train": _CORE | {"files", "errors", "learning", "algos", "envs"},
    "presets": _LEARN,
    "config": _LEARN | {"errors", "files", "presets"},
    "host": {"errors", "types", "files", "numerics", "envs", "config", "__init__"},
    "runs": _RUNS | {"host", "__init__"},
    "truth": _RUNS | {"host", "runs"},
    "report": _RUNS | {"runs"},
    "sweeps": _RUNS | {"host", "runs", "parsing", "report", "__init__"},
    "battles": _RUNS | {"host", "runs", "__init__"},
    "view": _RUNS | {"host", "runs", "truth", "report", "battles"},
    "options": {"ranges"},
    "parsing": {"errors", "learning", "config"},
    "cli": _RUNS | {"options", "parsing", "host", "runs", "truth", "report", "battles", "sweeps", "view", "__init__"},
    "__main__": {"cli", "host"},
    "__init__": {"envs", "runs", "truth"},
}


def _part(module: str) -> str:
    """`seca.runs.folder` -> `runs`; `seca` -> `__init__`."""
    names = module.split(".")
    return names[1] if len(names) > 1 else "__init__"


def _imported(path: pathlib.Path) -> set[str]:
    """Parts of the package that a file imports anywhere, inside functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            found |= {_part(name.name) for name in node.names if name.name.split(".")[0] == "seca"}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            if node.module == "seca":
                parts = {name.name for name in node.names}
                found |= {
                    part if (PACKAGE / part).is_dir() or (PACKAGE / f"{part}.py").exists() else "__init__"
                    for part in parts
                }
            elif node.module and node.module.startswith("seca."):
                found.add(_part(node.module))
    return found


FILES = sorted(PACKAGE.rglob("*.py"))


def test_the_rules_know_every_part() -> None:
    parts = {path.relative_to(PACKAGE).parts[0].removesuffix(".py") for path in FILES}
    assert parts - MAY_IMPORT.keys() == set()
    assert "smac" not in MAY_IMPORT["algos"] | MAY_IMPORT["learning"]
    assert "envs" not in MAY_IMPORT["algos"]


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_point_left(path: pathlib.Path) -> None:
    part = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    assert _imported(path) - {part} - MAY_IMPORT[part] == set()


@pytest.mark.parametrize("path", sorted((PACKAGE / "algos").glob("*.py")), ids=lambda path: path.stem)
def test_a_method_is_a_page_or_two(path: pathlib.Path) -> None:
    """No file of methods over 300 lines, no function over 60."""
    text = path.read_text()
    assert len(text.splitlines()) <= 300
    long = {
        node.name: node.end_lineno - node.lineno + 1
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.FunctionDef) and node.end_lineno is not None and node.end_lineno - node.lineno >= 60
    }
    assert long == {}


def test_what_two_updates_share_is_a_function() -> None:
    """No two `update`s agree in more than 10 lines, in whatever order; a signature is no logic."""
    bodies = {}
    for path in (PACKAGE / "algos").glob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef) and node.name == "update":
                text = "\n".join(ast.unparse(statement) for statement in node.body[1:])
                bodies[path.stem] = collections.Counter(line.strip() for line in text.splitlines())
    assert len(bodies) >= 9
    alike = {pair: (bodies[pair[0]] & bodies[pair[1]]).total() for pair in itertools.combinations(bodies, 2)}
    assert {pair: lines for pair, lines in alike.items() if lines > 10} == {}


def test_pictures_are_drawn_from_recordings_only() -> None:
    """To watch is to record, then to render: who draws knows no simulator, no run and no policy."""
    allowed = {
        "seca",
        "seca.battles",
        "seca.errors",
        "seca.host.progress",
        "seca.host.signals",
        "seca.battles.recording",
        "seca.battles.draw",
        "seca.battles.scene",
    }
    for path in (PACKAGE / "battles" / name for name in ("recording.py", "scene.py", "draw.py", "render.py")):
        modules = {node.module for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.ImportFrom)}
        assert {name for name in modules if name and name.startswith("seca")} - allowed == set(), path


@pytest.mark.slow
def test_import_is_light_and_sets_nothing_of_jax() -> None:
    code = (
        "import sys, seca; assert 'jax' not in sys.modules and 'tyro' not in sys.modules; "
        "import seca.runs.load, jax, jax._src.xla_bridge as bridge; "
        "assert jax.config.jax_compilation_cache_dir is None; assert not bridge.backends_are_initialized()"
    )
    subprocess.run([sys.executable, "-c", code], check=True, env={"PATH": ""})


def test_version_and_help_do_not_load_jax() -> None:
    code = (
        "import sys; from seca.cli import main\n"
        "try: main(sys.argv[1:])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "assert 'jax' not in sys.modules"
    )
    for argument in ("--version", "--help"):
        subprocess.run([sys.executable, "-c", code, argument], check=True, stdout=subprocess.DEVNULL)


def test_no_pickle_anywhere() -> None:
    for path in FILES:
        names = {
            name.name
            for node in ast.walk(ast.parse(path.read_text()))
            if isinstance(node, ast.Import)
            for name in node.names
        }
        assert names & {"pickle", "cloudpickle", "dill"} == set(), path
