"""Tests mirror the source: each module has one file of tests, where a reader looks for them."""

import ast
import pathlib

import pytest

ROOT = pathlib.Path(__file__).parents[1]
MODULES = sorted(
    path.relative_to(ROOT) for path in (ROOT / "seca").rglob("*.py") if path.stem not in ("__init__", "__main__")
)


def imported(tree: ast.Module) -> set[str]:
    """Every module that a file may import, inside functions too: of `from a import b` both `a` and `a.b`."""
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module, *(f"{node.module}.{name.name}" for name in node.names)}
    return found


@pytest.mark.parametrize("module", MODULES, ids=str)
def test_a_module_has_its_tests(module: pathlib.Path) -> None:
    """`seca/room/module.py` is imported and tested by `tests/room/test_module.py`."""
    mirror = ROOT / "tests" / pathlib.Path(*module.parts[1:-1]) / f"test_{module.name}"
    assert mirror.is_file(), f"{module} needs {mirror.relative_to(ROOT)}"
    tree = ast.parse(mirror.read_text())
    name = ".".join(module.with_suffix("").parts)
    assert name in imported(tree), f"{mirror.relative_to(ROOT)} does not import {name}"
    assert any(isinstance(node, ast.FunctionDef) and node.name.startswith("test_") for node in tree.body)
