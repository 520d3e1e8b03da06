"""Words of a command line become options."""

import pytest

from seca import parsing


def test_whole_numbers_have_many_spellings() -> None:
    for text, value in (("2e6", 2_000_000), ("12", 12), ("1.5e3", 1500), ("2_000", 2000), ("-1", -1)):
        assert parsing.parse_whole_number(text) == value
    for text in ("1.5", "1e-3", "nan", "inf", "", "two"):
        with pytest.raises(ValueError, match="not a whole number"):
            parsing.parse_whole_number(text)
