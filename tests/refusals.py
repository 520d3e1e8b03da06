"""What every bad input has in common: exit code 2, one line that says what is wrong, and a disk as it was before."""

import hashlib
import pathlib

import pytest

from seca import cli


def snapshot(folder: pathlib.Path) -> dict[str, str]:
    """Every path below a folder with the hash of its content."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else "no file"
        for path in sorted(folder.rglob("*"))
    }


def assert_refused(
    arguments: list[str], fragments: list[str], folder: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Run the command in this process and check exit code, the one line, and the disk."""
    before = snapshot(folder)
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    captured = capsys.readouterr()
    assert stopped.value.code == 2, captured
    assert_one_line(captured.err, fragments)
    assert captured.out == ""
    assert snapshot(folder) == before


def assert_one_line(text: str, fragments: list[str]) -> None:
    """Check that the text is one line of seca's that holds all of the fragments."""
    lines = text.splitlines()
    assert len(lines) == 1, text
    assert lines[0].startswith("seca: ") and "Traceback" not in lines[0]
    assert [fragment for fragment in fragments if fragment not in lines[0]] == [], lines[0]
