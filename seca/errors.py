"""What the command line answers in one line instead of a traceback."""

import re
import traceback
from collections.abc import Iterator
from contextlib import contextmanager


class UsageError(ValueError):
    """Bad input, in words: names the field in backticks, the value given and, where there are any, the choices.

    The command line prints it as one line and exits with code 2.
    """


class RunError(RuntimeError):
    """A run that cannot go on for a reason that is not bad input; one line, exit code 1."""


@contextmanager
def refusing() -> Iterator[None]:
    """Turn the ValueError that a constructor raises on bad input into a one-line UsageError."""
    try:
        yield
    except ValueError as error:
        raise UsageError(" ".join(str(error).split())) from error


def told(error: BaseException) -> str:
    """What went wrong in somebody's own code, and where, in one line.

    Of what JAX called back on the host it is what was raised there, whose traceback JAX hands on as text.
    """
    if "Traceback (most recent call last)" in str(error):
        places = re.findall(r'File "(.+)", line (\d+)', str(error))
        return " ".join(str(error).splitlines()[-1].split())[:300] + "".join(f" ({a}:{b})" for a, b in places[-1:])
    words = " ".join(f"{type(error).__name__}: {error}".split())[:300]
    frames = traceback.extract_tb(error.__traceback__)
    return f"{words} ({frames[-1].filename}:{frames[-1].lineno})" if frames else words
