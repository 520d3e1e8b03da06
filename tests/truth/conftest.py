"""What tests of findings and of pictures look at."""

import forking
import pytest

from seca.truth.audit import Audit


@pytest.fixture(scope="session")
def found() -> Audit:
    """An audit to read; who wants another makes a copy."""
    return forking.audited(steps=30, forks=40, kinds=("sequential", "independent"))
