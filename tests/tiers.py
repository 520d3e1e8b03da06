"""What `make test` runs of a test over many maps or methods, and what it leaves to `make test-all`."""

from collections.abc import Iterable
from typing import Any

import pytest


def cases(values: Iterable[Any], *kept: Any, slow: bool = False) -> list[Any]:
    """All of `values` to parametrise a test with, marked `every` but for those `kept`.

    Args:
        values: the cases; of tuples the first entry, or all of it, says which are kept.
        kept: cases for `make test`. Raises ValueError when one is not there: renamed, it would be left out unseen.
        slow: whether those kept are left out of `make test-fast`.
    """
    rows = [value if isinstance(value, tuple) else (value,) for value in values]
    missing = [name for name in kept if not any(name in (row[0], row) for row in rows)]
    if missing:
        raise ValueError(f"no such cases: {missing}")
    marks = {True: [pytest.mark.slow] * slow, False: [pytest.mark.every]}
    return [pytest.param(*row, marks=marks[row[0] in kept or row in kept]) for row in rows]
