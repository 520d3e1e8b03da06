"""What the README shows works."""

import pathlib
import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest

from seca import cli
from seca.config import RunConfig
from seca.presets import PRESETS, compared
from seca.runs import run as runs
from seca.sweeps import local

README = (pathlib.Path(__file__).parent.parent / "README.md").read_text()


def _blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def _commands() -> list[list[str]]:
    lines = [line for block in _blocks("sh") for line in block.splitlines() if line.startswith("seca ")]
    return [shlex.split(line, comments=True)[1:] for line in lines]


def test_it_is_one_page() -> None:
    assert len(README.splitlines()) < 100
    assert len(_commands()) >= 6


def test_python_example(finished_run: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Run as it stands, but for the run and the environment."""
    (example,) = _blocks("python")
    assert '"runs/x"' in example
    assert '"smac/2s3z"' in example
    shown = example.replace("runs/x", str(finished_run)).replace("smac/2s3z", "matrix/focus-fire")
    exec(compile(shown, "README.md", "exec"), {})
    assert re.fullmatch(r"won: [01]\.\d+\n", capsys.readouterr().out)


@pytest.mark.slow
@pytest.mark.parametrize("command", _commands(), ids=" ".join)
def test_commands(
    command: list[str],
    finished_run: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each is carried out on a small finished run; those that take long get as far as the call that would."""
    called: list[tuple[Any, ...]] = []

    def accept(*arguments: Any) -> int:
        called.append(arguments)
        return 0

    for name in ("start", "resume"):
        monkeypatch.setattr(runs, name, accept)
    from seca.runs import bench

    for name in ("bench_training", "bench_simulator"):
        monkeypatch.setattr(bench, name, _recorder(called))
    monkeypatch.setattr(local, "run", accept)
    (tmp_path / "study.toml").write_text('methods = ["seca"]\nenvs = ["matrix/peak"]\nseeds = 1\n')
    monkeypatch.chdir(tmp_path)
    arguments = [part.replace("runs/x", str(finished_run)) for part in command]
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 0
    assert bool(called) == (command[0] in ("train", "resume", "bench", "sweep"))
    if command[:2] == ["train", "seca"]:
        config = called[0][0]
        assert isinstance(config, RunConfig)
        assert (config.env, config.seed, config.loop.steps) == ("smac/2s3z", 0, 2_000_000)


def _recorder(called: list[tuple[Any, ...]]) -> Callable[..., dict[str, object]]:
    def record(*arguments: Any) -> dict[str, object]:
        called.append(arguments)
        return {"env_steps_per_s": 1.0}

    return record


def test_every_preset_is_in_the_table() -> None:
    table = set(re.findall(r"`([a-z0-9-]+)`", README))
    assert {name for name in PRESETS if compared(name)} - table == set()
