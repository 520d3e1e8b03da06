"""Make the reference bands that `seca train` and `seca report` hold runs against, from runs that have ended.

python benchmarks/bands.py        reads docs/data/comparison.jsonl, writes seca/experiments/bands.jsonl
"""

import json
import pathlib

import comparison

ROOT = pathlib.Path(__file__).parent.parent
OUT = ROOT / "seca" / "experiments" / "bands.jsonl"


def main() -> None:
    """A line for each method and map, of the study's own setting."""
    runs = [json.loads(line) for line in comparison.DATA.read_text().splitlines()]
    groups: dict[tuple[str, str, str], list[dict]] = {}
    for run in runs:
        if run["setting"] == "paper":
            groups.setdefault((run["map"], run["method"], run["env"]), []).append(run)
    lines = [
        {
            "env": f"smac/{map_name}",
            "version": version,
            "preset": method,
            "runners": 32,
            "minibatches": 1,
            "seeds": [run["seed"] for run in members],
            "commits": sorted({run["commit"] for run in members}),
            "processor": members[0]["processor"],
            "env_steps": [run["env_steps"] for run in members],
            "returns": [[round(value, 2) for value in run["return_mean"]] for run in members],
        }
        for (map_name, method, version), members in sorted(groups.items())
    ]
    OUT.write_text("".join(json.dumps(line) + "\n" for line in lines))
    print(f"{OUT.relative_to(ROOT)}: {len(lines)} methods and maps of {sum(len(x['seeds']) for x in lines)} runs")


if __name__ == "__main__":
    main()
