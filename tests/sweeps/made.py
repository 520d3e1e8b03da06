"""Sweeps whose runs are no trainings: folders as a run leaves them, and a process that makes one at once."""

import json
import pathlib
import textwrap
from typing import Any

from seca.config import to_json
from seca.sweeps.folder import SweepFolder
from seca.sweeps.plan import Cell, Plan, from_text

TEXT = """methods = ["seca", "qmix"]
envs = ["matrix/focus-fire"]
seeds = 2
[options]
steps = 1000
eval-interval = 500
"""


def plan(text: str = TEXT) -> Plan:
    """Four runs of 1,000 env steps."""
    return from_text(text, "small.toml", "small")


def evaluation(env_steps: int, win_rate: float = 0.5) -> dict[str, Any]:
    """A line of metrics."""
    return {
        "kind": "eval",
        "env_steps": env_steps,
        "win_rate": win_rate,
        "return_mean": 1.0,
        "time_elapsed": env_steps / 50,
    }


def leave(folder: SweepFolder, cell: Cell, *lines: dict[str, Any], done: bool = False) -> pathlib.Path:
    """A run folder as far as these lines of metrics; `done` with a result and the absolute metric."""
    run = folder.run(cell.name)
    run.path.mkdir(parents=True, exist_ok=True)
    run.config.write_text(to_json(cell.config))
    run.metrics.write_text("".join(json.dumps(line) + "\n" for line in lines))
    if done:
        run.result.write_text(json.dumps({"trained": {"win_rate": 0.75, "return_mean": 2.0}}))
        run.absolute.write_text(json.dumps({"episode_return": [1.0]}))
    return run.path


WORKER = textwrap.dedent(
    """
    import json, os, pathlib, sys, time
    sweep, name = pathlib.Path(sys.argv[1]), sys.argv[2]
    run = sweep / "runs" / name
    run.mkdir(parents=True, exist_ok=True)
    with (sweep / "started.txt").open("a") as file:
        file.write(f"{name} {sorted(os.sched_getaffinity(0))} {os.getpid()}\\n")
    [config] = [x["config"] for x in json.loads((sweep / "sweep.json").read_text())["runs"] if x["name"] == name]
    (run / "config.json").write_text(json.dumps(config))
    behaviour = pathlib.Path(sys.argv[3]).read_text().split() if len(sys.argv) > 3 else []
    if f"{name}=fail" in behaviour:
        sys.exit("it went wrong")
    if f"{name}=hang" in behaviour:
        assert os.read(0, 1) == b""  # As the watching thread of `work` does.
        (run / "let-go").write_text("")
        sys.exit(143)
    (run / "result.json").write_text(json.dumps({"trained": {"win_rate": 1.0, "return_mean": 1.0}}))
    (run / "absolute.json").write_text(json.dumps({"episode_return": [1.0]}))
    """
)
"""A worker that makes a run at once, fails, or waits to be let go of, as a file says."""
