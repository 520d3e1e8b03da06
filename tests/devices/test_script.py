"""benchmarks/accelerator.py goes on after what fails, and benchmarks/gpu_kernels.py counts what a program launches."""

import importlib.util
import json
import os
import pathlib
import subprocess
import sys
import time
from typing import Any

import jax
import jax.numpy as jnp
import pytest

ROOT = pathlib.Path(__file__).parents[2]


def script(name: str) -> Any:
    """One of benchmarks/ as a module."""
    spec = importlib.util.spec_from_file_location(f"benchmarks_{name}", ROOT / "benchmarks" / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # Where its records look for their own annotations.
    spec.loader.exec_module(module)
    return module


accelerator, gpu_kernels = script("accelerator"), script("gpu_kernels")
BROKEN = """
import sys
sys.path.insert(0, {benchmarks!r})
import accelerator, time
def well(tell, sizes): tell(map="2s3z", env_steps_per_second=12345.6)
def fails(tell, sizes): tell(map="3m", env_steps_per_second=1.5); raise RuntimeError("no such kernel")
def hangs(tell, sizes): tell(map="8m"); time.sleep(600)
accelerator.PARTS = {{"fails": (60, fails, {{}}), "hangs": (1.5, hangs, {{}}), "well": (60, well, {{"SEEN": "yes"}})}}
if __name__ == "__main__":
    accelerator.__file__ = __file__
    sys.exit(accelerator.main())
"""


@pytest.mark.slow
def test_a_part_that_fails_or_hangs_leaves_the_others(tmp_path: pathlib.Path) -> None:
    parts, out = tmp_path / "script.py", tmp_path / "out"
    parts.write_text(BROKEN.format(benchmarks=str(ROOT / "benchmarks")))
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(ROOT), *sys.path])}
    command = [sys.executable, str(parts), "--out", str(out), "--parts", "fails", "hangs", "well"]
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=200)
    assert ended.returncode == 1, ended.stderr
    rows = [json.loads(line) for line in (out / "results.jsonl").read_text().splitlines()]
    ends = {row["part"]: row["ended"] for row in rows if "ended" in row}
    assert ends == {"fails": "exit code 1", "hangs": "at its time limit", "well": "well"}
    assert [row["map"] for row in rows if "map" in row] == ["3m", "8m", "2s3z"]  # What was measured stays.
    assert "no such kernel" in (out / "log.txt").read_text()
    assert "12,346" in (out / "summary.md").read_text()


def test_what_there_is_no_time_for_is_said(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert accelerator.run_all(["about", "simulator"], tmp_path, time.monotonic() + 5, [])
    rows = [json.loads(line) for line in (tmp_path / "results.jsonl").read_text().splitlines()]
    assert rows == [{"part": name, "left_out": "no time left"} for name in ("about", "simulator")]
    assert "simulator" in capsys.readouterr().out and "no time left" in (tmp_path / "summary.md").read_text()


def test_what_matters_fits_into_eight_minutes() -> None:
    """With some seconds for wheels and for asking which device there is."""
    assert sum(limit for name, (limit, _, _) in accelerator.PARTS.items() if name not in accelerator.OPTIONAL) <= 450
    assert list(accelerator.PARTS)[-3:] == list(accelerator.OPTIONAL)


def test_programs_that_compile_for_long_hold_up_no_other() -> None:
    def slow() -> str:
        time.sleep(1.0)
        return "slow"

    def fails() -> str:
        raise ValueError("no such map")

    found = [(name, result) for name, result in accelerator.side_by_side({1: slow, 2: lambda: "quick", 3: fails}, 0.3)]
    assert [name for name, _ in found] == [2, 3, 1]
    assert (found[0][1](), found[2][1]()) == ("quick", "slow")
    with pytest.raises(ValueError, match="no such map"):
        found[1][1]()


def test_results_of_another_run_are_left_alone(tmp_path: pathlib.Path) -> None:
    (tmp_path / "results.jsonl").write_text("{}")
    command = [sys.executable, str(ROOT / "benchmarks" / "accelerator.py"), "--out", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100)
    assert ended.returncode == 2 and "it has results already" in ended.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["results.jsonl"]


def test_a_row_that_fails_leaves_the_others() -> None:
    told: list[dict[str, Any]] = []

    def breaks() -> dict[str, Any]:
        raise MemoryError("too large")

    accelerator.with_failures(lambda **row: told.append(row), [breaks, lambda: {"rate": 2}], map="3m")
    assert told == [{"map": "3m", "failed": "MemoryError: too large"}, {"map": "3m", "rate": 2}]


PROGRAM = """
%body (x: f32[]) -> f32[] {
  %p.0 = f32[] parameter(0)
  %fusion.1 = f32[] fusion(%p.0), kind=kLoop, calls=%inner
  ROOT %copy.1 = f32[] copy(%fusion.1)
}
%condition (x: f32[]) -> pred[] {
  %p.1 = f32[] parameter(0)
  ROOT %fusion.2 = pred[] fusion(%p.1), kind=kLoop, calls=%inner
}
%inner (x: f32[]) -> f32[] {
  ROOT %add.9 = f32[] add(%x, %x)
}
%left (x: f32[]) -> f32[] {
  %a = f32[] fusion(%x), calls=%inner
  ROOT %b = (f32[], (s32[2,3]{1,0}, pred[])) custom-call(%a)
}
%right (x: f32[]) -> f32[] {
  ROOT %c = f32[] fusion(%x), calls=%inner
}
ENTRY %main (x: f32[]) -> f32[] {
  %x = f32[] parameter(0)
  %t = (f32[], s32[]) tuple(%x)
  %w = f32[] while(%t), condition=%condition, body=%body, backend_config={"known_trip_count":{"n":"8"}}
  %v = f32[] while(%w), condition=%condition, body=%body
  %k = f32[] conditional(%v, %v, %v), branch_computations={%left, %right}
  %start = f32[] fusion-start(%k), calls=%inner
  %done = f32[] fusion-done(%start)
  ROOT %call.1 = f32[] call(%done), to_apply=%right
}
"""


def test_kernels_are_counted_by_hand() -> None:
    """Eight visits of three, one of unknown number, the longer branch, one that is begun and waited for, one called."""
    assert gpu_kernels.kernels(PROGRAM) == (8 * 3 + 3 + 2 + 1 + 1, [3])


@pytest.mark.parametrize("times", [1, 5])
def test_kernels_of_a_program_of_this_xla(times: int) -> None:
    """The text is read as this version prints it: more trips of a loop are as many times its kernels."""

    def program(x: jax.Array) -> jax.Array:
        x = jax.lax.fori_loop(0, 4 * times, lambda _, y: jnp.sort(y) @ y[:, None] + y, x)
        return jax.lax.while_loop(lambda y: y.sum() < 0, lambda y: jnp.sort(y), x)

    text = jax.jit(program).lower(jnp.ones(8)).compile().as_text()
    assert text is not None
    number, visits = gpu_kernels.kernels(text)
    sorts = gpu_kernels.opcodes(text)
    assert number >= 4 * times and len(visits) == 1 and sum(sorts.values()) > 0
