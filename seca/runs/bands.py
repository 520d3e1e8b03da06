"""Reference bands: where finished runs of a method stood on a map, so that a run can be told from a broken one early.

`experiments/bands.jsonl` has a line for each method and environment, with the evaluations of its runs; it is made by
`benchmarks/bands.py`. A band says what one or two runs had, no more: another may fall below it by chance.
"""

import dataclasses
import functools
import importlib.resources
import json
from collections.abc import Sequence
from typing import Any, Literal

from seca.config import RunConfig
from seca.learning.options import UNADAPTED
from seca.presets import PRESETS

SHARE = 0.1
"""Of the budget after which a run is told where it stands."""
WINDOW = 1.5
"""Evaluations within this factor of an env step count: learning begins sooner in one run than in another."""


@dataclasses.dataclass(frozen=True)
class Reference:
    """Finished runs of one method on one environment."""

    env: str
    version: str
    preset: str
    runners: int
    minibatches: int
    env_steps: tuple[tuple[int, ...], ...]
    """Of each run's evaluations."""
    returns: tuple[tuple[float, ...], ...]
    """Mean test return of each."""

    def between(self, env_steps: int) -> tuple[float, float] | None:
        """Lowest and highest return of evaluations near `env_steps`; None where there are none."""
        near = [
            value
            for steps, values in zip(self.env_steps, self.returns, strict=True)
            for at, value in zip(steps, values, strict=True)
            if env_steps / WINDOW <= at <= env_steps * WINDOW
        ]
        return (min(near), max(near)) if near else None


@dataclasses.dataclass(frozen=True)
class Standing:
    """Where a run stands beside the reference of its method."""

    where: Literal["below", "inside", "above"]
    words: str


def standing(config: RunConfig, version: str, env_steps: int, mean: float) -> Standing | None:
    """Where a run with this test return stands; None where there is no reference of its method in its setting."""
    found = reference(config, version)
    band = None if found is None else found.between(env_steps)
    if found is None or band is None:
        return None
    low, high = band
    where = "below" if mean < low else "above" if mean > high else "inside"
    runs = f"{len(found.returns)} run{'s' if len(found.returns) > 1 else ''}"
    words = (
        f"test return {mean:.2f} at {env_steps:,} env steps: {where} what {runs} of {found.preset} had about there on "
        f"{found.env} ({low:.2f} to {high:.2f})"
    )
    return Standing(where, words)


def reference(config: RunConfig, version: str) -> Reference | None:
    """Runs of the same method, with the same options, in the same environment; None where there are none."""
    if config.env_options or config.algorithm != PRESETS[config.preset].config or config.adaptation != UNADAPTED:
        return None
    key = (config.env, version, config.preset, config.loop.runners, config.loop.minibatches)
    return next((x for x in references() if (x.env, x.version, x.preset, x.runners, x.minibatches) == key), None)


@functools.cache
def references() -> tuple[Reference, ...]:
    """All that are shipped."""
    text = importlib.resources.files("seca").joinpath("experiments", "bands.jsonl").read_text(encoding="utf-8")
    return tuple(_reference(json.loads(line)) for line in text.splitlines())


def _reference(line: dict[str, Any]) -> Reference:
    def nested(values: Sequence[Sequence[Any]]) -> tuple[tuple[Any, ...], ...]:
        return tuple(map(tuple, values))

    kept = {field.name: line[field.name] for field in dataclasses.fields(Reference)}
    return Reference(**kept | {"env_steps": nested(line["env_steps"]), "returns": nested(line["returns"])})


def due(config: RunConfig, before: int, now: int) -> bool:
    """Whether an evaluation is the first after the share of the budget at which a run is told where it stands."""
    return before < SHARE * config.loop.steps <= now
