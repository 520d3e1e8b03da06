"""Shared set-up of the tests: shapes are checked in every signature, and there are four host devices."""

import pathlib

import jax
import pytest
from jaxtyping import install_import_hook

# Both before the first `import seca` and before JAX's backend starts, hence at import of this file.
install_import_hook("seca", "beartype.beartype")
jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 4)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add `--golden DIR`: another folder of reference numbers of the same form."""
    parser.addoption(
        "--golden",
        type=pathlib.Path,
        default=pathlib.Path(__file__).parent / "golden",
        help="folder with the reference numbers (default: tests/golden)",
    )


@pytest.fixture(scope="session")
def golden_dir(request: pytest.FixtureRequest) -> pathlib.Path:
    """The folder of reference numbers."""
    return request.config.getoption("--golden")
