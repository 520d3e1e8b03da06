"""What tests read of a run folder."""

import json
import pathlib


def metric_lines(run: pathlib.Path) -> list[dict[str, object]]:
    """All metric lines without their time fields: what two runs that are the same agree in, bit for bit."""
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    return [{name: value for name, value in line.items() if not name.startswith("time_")} for line in lines]
