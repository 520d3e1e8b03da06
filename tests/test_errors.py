"""What is answered in one line."""

import pytest

from seca.errors import RunError, UsageError, refusing


def test_what_a_constructor_refuses_becomes_one_line() -> None:
    """Whatever line breaks and spaces it has; the first error stays its cause."""
    cause = ValueError("`steps` is -1:\n   must be\tfrom 1")
    with pytest.raises(UsageError) as refused, refusing():
        raise cause
    assert str(refused.value) == "`steps` is -1: must be from 1"
    assert refused.value.__cause__ is cause


@pytest.mark.parametrize("kind", [TypeError, KeyError, RunError, KeyboardInterrupt])
def test_other_errors_pass(kind: type[BaseException]) -> None:
    error = kind("two\nlines")
    with pytest.raises(kind) as passed, refusing():
        raise error
    assert passed.value is error


def test_bad_input_is_a_value_error_and_a_broken_run_is_none() -> None:
    """Callers from Python catch ValueError for bad input; commands end with 1 where it was none."""
    assert issubclass(UsageError, ValueError)
    assert issubclass(RunError, RuntimeError) and not issubclass(RunError, ValueError)
