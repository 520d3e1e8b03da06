"""The commands called in this process."""

import pytest

from seca import cli


def printed(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Output of a command that succeeds."""
    with pytest.raises(SystemExit) as stopped:
        cli.main([str(argument) for argument in arguments])
    captured = capsys.readouterr()
    assert stopped.value.code == 0, captured.err
    return captured.out
