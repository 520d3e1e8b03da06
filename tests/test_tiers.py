"""What `make test` keeps of a test over many cases."""

import pytest
from tiers import cases


def names(row) -> list[str]:
    return [mark.name for mark in row.marks]


def test_the_rest_is_marked() -> None:
    assert [names(row) for row in cases(["a", "b"], "b")] == [["every"], []]
    assert [names(row) for row in cases(["a", "b"], "b", slow=True)] == [["every"], ["slow"]]
    assert [names(row) for row in cases([("a", 1), ("a", 2), ("b", 3)], ("a", 2), "b")] == [["every"], [], []]


def test_a_case_that_is_not_there_cannot_be_kept() -> None:
    """Renamed, it would be left out unseen."""
    with pytest.raises(ValueError, match="no such cases: \\['c'\\]"):
        cases(["a", "b"], "c")
