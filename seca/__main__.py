"""The command `seca`, and `python -m seca`: signals are seen to before anything that takes time to import."""

import contextlib
import os
import sys

from seca.host import signals


def main() -> None:
    """Run the command line and exit with the code of `seca.cli.run`."""
    if sys.stdout is None or sys.stderr is None:  # Closed: what is opened next must not take their place.
        while os.open(os.devnull, os.O_RDWR) < 2:
            pass
        sys.stdout, sys.stderr = sys.stdout or open(1, "w"), sys.stderr or open(2, "w")
    signals.stop_at_once()
    from seca.cli import run

    code = run(sys.argv[1:])
    if code:
        # What broke or was stopped may still compile in a thread, for which the interpreter would wait.
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError):
                stream.flush()
        os._exit(code)
    sys.exit(0)


if __name__ == "__main__":
    main()
