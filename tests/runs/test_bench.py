"""What `seca bench train` measures: rate and memory of one method, or of several, each in a process of its own."""

import json
import subprocess
import sys
from collections.abc import Callable

import pytest

from seca import cli
from seca.config import PRESETS, from_preset
from seca.envs import registry
from seca.errors import RunError, UsageError
from seca.host import machine, smax
from seca.runs import bench
from seca.runs.run import prepare

ENV = "matrix/focus-fire"
Seca = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.slow
def test_one_preset() -> None:
    measured = bench.bench_training(ENV, "vdn", 4, 0.1)
    assert (measured["env"], measured["preset"], measured["runners"]) == (ENV, "vdn", 4)
    assert measured["iterations"] >= bench.MIN_ITERATIONS
    assert 0 < measured["estimated_memory_bytes"]
    assert measured["peak_memory_bytes"] > 2**26  # This very process, which has loaded JAX and compiled.


@pytest.mark.every
def test_several_presets_in_processes_of_their_own(seca: Seca) -> None:
    options = ["--env", ENV, "--runners", 4, "--seconds", 0.1]
    ended = seca("bench", "train", "--preset", "vdn", "ia2c", *options, "--json")
    assert ended.returncode == 0, ended.stderr
    result = json.loads(ended.stdout)
    assert set(result) == {"training", "hardware"}
    assert [measured["preset"] for measured in result["training"]] == ["vdn", "ia2c"]
    for measured in result["training"]:
        assert (measured["env"], measured["runners"]) == (ENV, 4)
        assert measured["env_steps_per_s"] > 0
        assert measured["peak_memory_bytes"] > 2**26


@pytest.mark.slow
def test_smax_is_timed_beside_where_it_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(smax, "map_names", lambda: ("3m",))
    monkeypatch.setattr(smax, "make", lambda name: registry.make("matrix/focus-fire"))  # What is timed does not matter.
    monkeypatch.setattr(registry, "make", lambda name, make=registry.make: make("matrix/qtran"))
    measured = bench.bench_simulator("smac/3m", 4, 0.01)
    assert [row["devices"] for row in measured["smax"]] == sorted({1, measured["devices"]})
    assert all(row["env_steps_per_s"] > 0 for row in measured["smax"])
    assert "smax" not in bench.bench_simulator("smac/8m", 4, 0.01)


def test_the_estimate_is_the_one_that_refuses(monkeypatch: pytest.MonkeyPatch) -> None:
    config = from_preset("vdn")  # It has a buffer, which each device holds.
    prepared = prepare(config)
    needed = bench.estimated_memory(prepared.built, len(prepared.devices))
    monkeypatch.setattr(machine, "free_memory", lambda device: needed)
    prepare(config)
    monkeypatch.setattr(machine, "free_memory", lambda device: needed - 1)
    with pytest.raises(
        UsageError, match=f"`runners` is 32: .*about {needed / 2**30:.1f} GiB .* fewer runners, or `buf"
    ):
        prepare(config)
    # What fewer runners would not help is said too.
    monkeypatch.setattr(machine, "free_memory", lambda device: 2**20)
    with pytest.raises(
        UsageError, match="`algorithm` is too large: .* a single runner .* smaller networks, or `buffer"
    ):
        prepare(config)


def _answer(returncode: int, out: str, err: str) -> Callable[..., subprocess.CompletedProcess[str]]:
    return lambda command, **options: subprocess.CompletedProcess(command, returncode, out, err)


def test_a_preset_that_does_not_fit_is_listed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.signals, "run_child", _answer(2, "", "seca: `runners` is 9: choose fewer runners\n"))
    (refused,) = bench.bench_each(ENV, ["seca-paper"], 9, 0.1)
    reason = "`runners` is 9: choose fewer runners"
    assert refused == {"env": ENV, "preset": "seca-paper", "runners": 9, "minibatches": 1, "refused": reason}


def test_a_process_that_breaks_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bench.signals, "run_child", _answer(-9, "", ""))
    with pytest.raises(RunError, match="`preset` scc ended with exit code -9: no message"):
        list(bench.bench_each(ENV, ["scc"], 4, 0.1))


def test_all_stands_for_every_preset(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    asked: list[list[str]] = []
    numbers = {"env_steps_per_s": 12345.6, "peak_memory_bytes": 3 * 2**30, "estimated_memory_bytes": 2**29}

    def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
        del options  # Output is what counts.
        assert command[:5] == [sys.executable, "-m", "seca", "bench", "train"]
        asked.append(command)
        preset = command[command.index("--preset") + 1]
        return subprocess.CompletedProcess(command, 0, json.dumps({"training": {"preset": preset} | numbers}), "")

    monkeypatch.setattr(bench.signals, "run_child", run)
    monkeypatch.setattr(bench, "hardware", dict)  # It asks git, another process.
    with pytest.raises(SystemExit) as stopped:
        cli.main(["bench", "train", "--env", ENV, "--preset", "all"])
    assert stopped.value.code == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[: len(PRESETS)]] == list(PRESETS)
    assert lines[0].split(maxsplit=1)[1] == "12,346 env steps/s   peak memory 3.00 GiB (estimated 0.50)"
    assert len(asked) == len(PRESETS)
