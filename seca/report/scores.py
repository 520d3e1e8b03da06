"""What finished runs can do, in one number each, and what these numbers may be compared with."""

import dataclasses
import pathlib
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np
from jaxtyping import Float64

from seca import files
from seca.config import RunConfig
from seca.errors import UsageError
from seca.report import curves, fingerprint
from seca.report.curves import Curve
from seca.report.fingerprint import Fingerprint
from seca.runs import absolute
from seca.runs import folder as folders
from seca.runs.folder import RunFolder

Score = Literal["absolute", "final", "last"]
SCORES: dict[Score, str] = {
    "absolute": "absolute metric: the policy with the highest test return, on ten times the episodes of an evaluation",
    "final": "policy at the end of training, in battles of their own",
    "last": "last evaluation of training",
}
"""From the one that says most to the one that every run has."""


@dataclasses.dataclass(frozen=True)
class Scored:
    """A run with its scores."""

    curve: Curve
    config: RunConfig
    fingerprint: Fingerprint
    scores: dict[Score, dict[str, float]]
    """By kind, then by the names of `curves.METRICS`, `episodes` among them; of kinds that it has."""

    @property
    def name(self) -> str:
        """Folder of the run, without where that lies."""
        return pathlib.Path(self.curve.run).name


def read(
    paths: Sequence[pathlib.Path], tell: Callable[[float, int], None] = lambda share, count: None
) -> tuple[list[Scored], list[str]]:
    """The runs that have been evaluated, and a warning for each that has not; `tell(share, runs)` is told how far.

    Raises UsageError as `read_curves`.
    """
    found, notes = curves.read_curves(paths, tell)
    return [_scored(curve) for curve in found], notes


def _scored(curve: Curve) -> Scored:
    folder = RunFolder(pathlib.Path(curve.run))
    config = folders.read_config(folder.config)
    return Scored(curve, config, fingerprint.of(config, curve.env, curve.gradient_steps), of(curve, folder))


def of(curve: Curve, folder: RunFolder) -> dict[Score, dict[str, float]]:
    """The scores that a run has. Raises UsageError when a file of them cannot be read."""
    last = {name: float(values[-1]) for name, values in curve.values.items()}
    found: dict[Score, dict[str, float]] = {"last": {"episodes": float(curve.episodes), **last}}
    final = result(folder)
    if final is not None:
        measured = _measured(folder, "result.json", final["trained"], curve)
        # A run that was gone on with since has no result of its end yet.
        if (number(final.get("env_steps")) or 0.0) >= curve.steps[-1]:
            found["final"] = measured
    best = absolute.read(folder)
    if best is not None and "final" in found:
        found["absolute"] = _measured(folder, "absolute.json", best, curve)
    return found


def result(folder: RunFolder) -> dict[str, Any] | None:
    """Content of `result.json`, or None where there is none. Raises UsageError when it cannot be read."""
    if not folder.result.exists():
        return None
    try:
        found = files.parse_json(files.read_text(folder.result))
    except ValueError as error:
        raise UsageError(f"`run` is {folder.path}: result.json cannot be read ({error})") from None
    if not isinstance(found, dict) or not isinstance(found.get("trained"), dict):
        raise UsageError(f"`run` is {folder.path}: result.json holds no object `trained`")
    return found


def _measured(folder: RunFolder, file: str, found: Any, curve: Curve) -> dict[str, float]:
    """Episodes and means of a measurement. Raises UsageError for what is no such number."""
    values = {name: number(found.get(name), -1e30, 1e30) for name in ("episodes", *curve.values)}
    for name, value in values.items():
        if value is None or (name == "episodes" and value < 1) or (name == "win_rate" and not 0 <= value <= 1):
            raise UsageError(f"`run` is {folder.path}: `{name}` of {file} is {found.get(name)!r}: no such number")
    return {name: value for name, value in values.items() if value is not None}


def number(value: object, least: float = 0, most: float = 2**63) -> float | None:
    """A number within bounds read from JSON, or None for whatever else is there."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= most:
        return None
    return float(value)


def common(runs: Sequence[Scored], wanted: Score | None) -> Score:
    """The kind of score that all runs have: the one asked for, or the one that says most. Raises UsageError."""
    if not runs:
        raise UsageError("`runs` is empty: give at least one run folder")
    for kind in SCORES:
        lacking = [run.name for run in runs if kind not in run.scores]
        if wanted in (None, kind) and not lacking:
            return kind
        if wanted == kind:
            how = "seca evaluate RUN --absolute" if kind == "absolute" else "they have not come to their end"
            raise UsageError(f"`score` is {kind}, which {fingerprint.some(lacking)} lack ({how})")
    raise AssertionError("every run that is read has a last evaluation")


def of_method(runs: Sequence[Scored], kind: Score, metric: str) -> Float64[np.ndarray, " runs"]:
    """One score per run, by seed."""
    ordered = sorted(runs, key=lambda run: run.config.seed)
    return np.array([run.scores[kind][metric] for run in ordered], dtype=np.float64)
