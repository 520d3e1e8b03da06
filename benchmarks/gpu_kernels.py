"""What XLA makes of our programs for a GPU that is not there: kernels, memory, and how long it compiles.

    python benchmarks/gpu_kernels.py [--maps 3m 2s3z MMM2 27m_vs_30m] [--unrolled 1 8] [--methods seca mappo qmix]
                                     [--batch 4096] [--runners 32 2048] [--out kernels.json]

Needs an environment with `pip install 'jax[cuda13]'` and seca's own dependencies, and no GPU: the programs are compiled
for a description of an H200 and never run. A small program spends about its number of kernels times what a launch takes
(some microseconds), whatever its arrays hold: so the number says what bounds the rate from above. Loops whose trip
count is known are multiplied out; of the others, which follow the data, one visit is counted, and how many visits there
were is not known here.
"""

import argparse
import collections
import dataclasses
import functools
import json
import os
import pathlib
import re
import time
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp

from seca.envs.registry import make
from seca.presets import PRESETS, build
from seca.sizes import ACCELERATOR, using
from seca.train.iterate import make_iterate, placement
from seca.train.minibatches import training_bytes
from seca.train.state import init_state

H200 = """
gpu_device_info {
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  registers_per_core_limit: 65536 registers_per_block_limit: 65536
  memory_bandwidth: 4800000000000 l2_cache_size: 52428800 clock_rate_ghz: 1.98 device_memory_size: 151397597184
  cuda_compute_capability { major: 9 minor: 0 }
}
platform_name: "CUDA"
dnn_version_info { major: 9 minor: 10 patch: 0 }
device_description_str: "H200"
"""
"""In the form of XLA's GpuTargetConfigProto; numbers of the chip."""
FREE = frozenset(
    "parameter tuple get-tuple-element constant bitcast after-all partition-id replica-id opt-barrier".split()
)
"""Instructions of a finished program that launch nothing."""
EPISODES_OF_UPDATE = 32


@dataclasses.dataclass(frozen=True)
class Instruction:
    """One line of a program."""

    opcode: str
    rest: str

    def called(self, role: str) -> str:
        """The computation that it names as its `role`."""
        found = re.search(rf"{role}=%?([\w.\-]+)", self.rest)
        assert found is not None, self.rest
        return found[1]


def parsed(text: str) -> tuple[dict[str, list[Instruction]], str]:
    """The computations of a program as XLA prints it, and the name of that which is called first."""
    computations: dict[str, list[Instruction]] = {}
    entry, lines = "", []
    for line in text.splitlines():
        if opened := re.match(r"(ENTRY )?%?([\w.\-]+) \(.*\) -> .*\{$", line):
            lines = computations[opened[2]] = []
            entry = opened[2] if opened[1] else entry
        elif told := re.match(r"\s+(?:ROOT )?%?[\w.\-]+ = (.*)", line):
            rest = _after_type(told[1])
            lines.append(Instruction(rest.split("(", 1)[0], rest))
    return computations, entry


def _after_type(text: str) -> str:
    """`opcode(operands), ...` of `type opcode(operands), ...`; a type may be a tuple of types."""
    depth = 0
    for number, letter in enumerate(text):
        depth += (letter in "([{") - (letter in ")]}")
        if letter == " " and depth == 0:
            return text[number + 1 :]
    return ""


def kernels(text: str) -> tuple[int, list[int]]:
    """How many kernels and copies a program launches, and of each loop of unknown length those of one visit.

    Of branches the longest counts. What is in a loop of unknown length is in the first number too, once.
    """
    computations, entry = parsed(text)
    visits: dict[str, int] = {}

    @functools.cache
    def count(name: str) -> int:
        return sum(of(line) for line in computations[name])

    def of(line: Instruction) -> int:
        if line.opcode == "while":
            visit = count(line.called("body")) + count(line.called("condition"))
            known = re.search(r'known_trip_count":\{"n":"(\d+)"', line.rest)
            if known is None:
                visits[line.called("body")] = visit
            return visit * (int(known[1]) if known else 1)
        if line.opcode == "conditional":
            return max(count(branch) for branch in branches(line))
        if line.opcode == "call":
            return count(line.called("to_apply"))
        return int(line.opcode not in FREE and not line.opcode.endswith("-done"))

    def branches(line: Instruction) -> Iterator[str]:
        listed = re.search(r"branch_computations=\{([^}]*)\}", line.rest)
        if listed is None:
            return iter((line.called("true_computation"), line.called("false_computation")))
        return iter(name.strip().lstrip("%") for name in listed[1].split(","))

    return count(entry), sorted(visits.values(), reverse=True)


def opcodes(text: str) -> dict[str, int]:
    """How often each opcode stands in a program, wherever, what launches nothing left out."""
    lines = [line.opcode for lines in parsed(text)[0].values() for line in lines]
    return dict(collections.Counter(opcode for opcode in lines if opcode not in FREE).most_common())


def compiled(fn: Any, *shapes: Any) -> tuple[Any, float]:
    """A program for the device that is not there, and the seconds it took."""
    began = time.perf_counter()
    program = jax.jit(fn).lower(*shapes).compile()
    return program, time.perf_counter() - began


def on(device: jax.Device, tree: Any) -> Any:
    """Shapes with their place."""
    place = placement([device])
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=place), tree)


def of_simulator(device: jax.Device, name: str, batch: int, unrolled: int) -> dict[str, Any]:
    """One env step of a map."""
    env = make(f"smac/{name}")
    state, _ = jax.eval_shape(env.reset, jax.eval_shape(lambda: jax.random.split(jax.random.key(0), batch)))
    actions = jax.ShapeDtypeStruct((batch, env.spec.n_agents), jnp.int32)
    with using(dataclasses.replace(ACCELERATOR, unrolled=unrolled)):
        program, seconds = compiled(env.step, *on(device, (state, actions)))
    number, _ = kernels(program.as_text())
    return {"what": "env step", "map": name, "batch": batch, "unrolled": unrolled, "kernels": number} | _about(
        program, seconds
    )


def of_training(device: jax.Device, name: str, runners: int, map_name: str = "2s3z") -> dict[str, Any]:
    """One iteration of a method: an update for each 32 runners."""
    env = make(f"smac/{map_name}")
    algorithm, minibatches = build(name, env.spec, PRESETS[name].config), runners // EPISODES_OF_UPDATE
    state = on(device, jax.eval_shape(functools.partial(init_state, algorithm), 0))
    began = time.perf_counter()
    with using(ACCELERATOR):
        estimate = training_bytes(env, algorithm, runners, minibatches) + algorithm.buffer_bytes
        iteration = make_iterate(env, algorithm, runners, [device], minibatches).compile(state)
    program: Any = iteration.program
    number, visits = kernels(program.as_text())
    sizes = {"runners": runners, "minibatches": minibatches, "kernels": number, "visits": visits}
    row = {"what": "iteration", "map": map_name, "method": name} | sizes
    return row | {"estimated_mib": round(estimate / 2**20)} | _about(program, time.perf_counter() - began)


def _about(program: Any, seconds: float) -> dict[str, Any]:
    sizes = program.memory_analysis()
    held = sizes.argument_size_in_bytes + sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    return {"mib": round((held + sizes.temp_size_in_bytes) / 2**20), "compile_s": round(seconds, 1)}


def main() -> None:
    """Print one line for each program, and write all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--maps", nargs="*", default=["3m", "2s3z", "MMM2", "27m_vs_30m"])
    parser.add_argument("--unrolled", nargs="*", type=int, default=[1, ACCELERATOR.unrolled])
    parser.add_argument("--methods", nargs="*", default=["seca", "mappo", "qmix"])
    parser.add_argument("--batch", type=int, default=4096)
    parser.add_argument("--runners", nargs="*", type=int, default=[32, 2048])
    parser.add_argument("--out", type=pathlib.Path)
    options = parser.parse_args()
    jax.config.update("jax_platforms", "cpu")
    os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"  # It would look for a driver.
    from jax.experimental import topologies

    (device,) = topologies.get_topology_desc(platform="cuda", topology="1x1x1", target_config=H200).devices
    asked = [(of_simulator, name, options.batch, unrolled) for name in options.maps for unrolled in options.unrolled]
    asked += [(of_training, name, runners) for name in options.methods for runners in options.runners]
    rows = []
    for fn, *told in asked:
        rows.append(fn(device, *told) | {"jax": jax.__version__})
        print(json.dumps(rows[-1]), flush=True)
        if options.out is not None:
            options.out.write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    main()
