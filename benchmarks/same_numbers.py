"""Whether a change of the source changed a number: every preset trained a little, before and after.

    python benchmarks/same_numbers.py record before.jsonl [PART ...]
    python benchmarks/same_numbers.py check before.jsonl [PART ...]

`record` trains each preset on `matrix/focus-fire` and on `smac/3m` (32 runners, 3 updates,
seeds 0 and 1, one device) and writes a line for each: all metrics, and for every array of the state its shape, dtype,
SHA-256 and three sums. `check` does the same with the source as it is now and prints what differs; PART picks
cases whose name begins with it. Where an array lies in the state, and what it is called, do not count. A method that
cannot serve an environment is left out, and said to be.

Exit codes of `check`: 0 when all is equal bit for bit; 1 when something is gone, new, or off by more than 1e-5 of its
size (an array: in one of its sums); 3 when nothing is, but additions were made in another order. Bits compare on one
machine alone.
"""

import hashlib
import json
import pathlib
import sys
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np

from seca.envs import registry
from seca.host import machine
from seca.presets import PRESETS, build, compared, reference_of
from seca.train.iterate import make_iterate
from seca.train.state import init_state

ENVS, RUNNERS, UPDATES, SEEDS, TOLERANCE = ("matrix/focus-fire", "smac/3m"), 32, 3, (0, 1), 1e-5
Case = dict[str, Any]
NAMED = {name: name for name in PRESETS if compared(name) or name == "seca-paper"} | {
    f"{name}-reference": found for name in PRESETS if compared(name) and (found := reference_of(name)) is not None
}
"""Cases and their presets: `seca-fixed-paper` is recorded as `seca-fixed-reference`, as what it has been called."""


def cases(parts: list[str]) -> Iterator[tuple[str, Any, str, str]]:
    """Name of the case, its algorithm's config, preset and env."""
    for name, preset in NAMED.items():
        for env in ENVS:
            if not parts or any(f"{name}@{env}".startswith(part) for part in parts):
                yield f"{name}@{env}", PRESETS[preset].config, preset, env


def play(preset: str, config: Any, env_name: str) -> list[Case]:
    """One line per seed."""
    env = registry.make(env_name)
    try:
        algorithm = build(preset, env.spec, config)
    except ValueError as error:  # Qatten reads SMAC's state.
        print(f"{preset}@{env_name}: left out: {error}", flush=True)
        return []
    iterate, found = None, []
    for seed in SEEDS:
        state, metrics = init_state(algorithm, seed), []
        iterate = iterate or make_iterate(env, algorithm, RUNNERS, jax.devices()[:1]).compile(state)
        for _ in range(UPDATES):
            state, measured = iterate(state)
            metrics.append({name: np.asarray(value, np.float64).tolist() for name, value in measured.items()})
        arrays = [_sums(np.asarray(leaf)) for leaf in jax.tree.leaves(state)]
        found.append({"seed": seed, "metrics": metrics, "arrays": sorted(arrays, key=json.dumps)})
    return found


def _sums(array: np.ndarray) -> Case:
    wide = array.astype(np.float64).ravel()
    return {
        "shape": list(array.shape),
        "dtype": str(array.dtype),
        "sha256": hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()[:16],
        "sums": [float(np.abs(wide).sum()), float((wide**2).sum()), float(wide @ np.cos(np.arange(wide.size)))],
    }


def differences(before: Case, after: Case) -> list[tuple[bool, str]]:
    """What differs, in words, and whether by more than the tolerance."""
    found = []
    for k, (old, new) in enumerate(zip(before["metrics"], after["metrics"], strict=True)):
        for name in old.keys() ^ new.keys():
            found.append((True, f"update {k}: {name} is {'gone' if name in old else 'new'}"))
        for name in old.keys() & new.keys():
            if old[name] != new[name]:
                off = _off(old[name], new[name])
                found.append((not off <= TOLERANCE, f"update {k}: {name} {old[name]} -> {new[name]} ({off:.1e})"))
    left = [array for array in before["arrays"] if array not in after["arrays"]]
    right = [array for array in after["arrays"] if array not in before["arrays"]]
    for array in left:
        alike = [other for other in right if (other["shape"], other["dtype"]) == (array["shape"], array["dtype"])]
        if not alike:
            found.append((True, f"an array {array['dtype']}{array['shape']} is gone"))
            continue
        nearest = min(alike, key=lambda other: _off(array["sums"], other["sums"]))
        right.remove(nearest)
        off = _off(array["sums"], nearest["sums"])
        found.append((not off <= TOLERANCE, f"an array {array['dtype']}{array['shape']} differs ({off:.1e})"))
    return found + [(True, f"an array {array['dtype']}{array['shape']} is new") for array in right]


def _off(old: Any, new: Any) -> float:
    """Largest difference, as a share of the largest number."""
    old, new = np.asarray(old), np.asarray(new)
    return float(np.abs(old - new).max() / max(np.abs(old).max(), 1e-3)) if old.shape == new.shape else np.inf


def main() -> int:
    """Record or check."""
    if len(sys.argv) < 3 or sys.argv[1] not in ("record", "check"):
        print(__doc__, file=sys.stderr)
        return 2
    command, path, parts = sys.argv[1], pathlib.Path(sys.argv[2]), sys.argv[3:]
    machine.configure(devices=1, runners=RUNNERS)
    before = {}
    if command == "check" or path.is_file():
        lines = [json.loads(line) for line in path.read_text().splitlines()]
        before = {(line["case"], line["seed"]): line for line in lines}
    code = 0
    for name, config, preset, env in cases(parts):
        if command == "record" and (name, SEEDS[-1]) in before:
            continue
        played = play(preset, config, env)
        if command == "check" and not played and (name, SEEDS[0]) in before:
            print(f"{name}: is gone", flush=True)
            code = 1
        for after in played:
            if command == "record":
                with path.open("a") as file:
                    file.write(json.dumps({"case": name, **after}) + "\n")
                continue
            if (name, after["seed"]) not in before:
                print(f"{name}, seed {after['seed']}: was not recorded", flush=True)
                code = 1
                continue
            found = differences(before[name, after["seed"]], after)
            worse = [text for much, text in found if much]
            code = 1 if worse else code or (3 if found else 0)
            for text in worse:
                print(f"{name}, seed {after['seed']}: {text}")
            print(f"{name}, seed {after['seed']}: {len(found)} differences, {len(worse)} above {TOLERANCE}", flush=True)
    return code


if __name__ == "__main__":
    sys.exit(main())
