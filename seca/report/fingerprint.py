"""What makes the numbers of runs comparable, and where those of a comparison are not alike."""

import dataclasses
from collections.abc import Iterable, Sequence

from seca.config import RunConfig
from seca.report import curves


@dataclasses.dataclass(frozen=True)
class Fingerprint:
    """Of one run: what must be the same, or be said, where its numbers stand beside another's."""

    environment: str
    """Name, version and options: another is another task."""
    evaluation: str
    """Who acts how in evaluations, over how many episodes."""
    budget: int
    """Env steps asked for."""
    interval: int
    """Env steps between evaluations: the best of many is higher than the best of few."""
    runners: int
    """Episodes of an iteration."""
    updates: int
    """Updates that share them (`--minibatches`)."""
    gradient_steps: float | None
    """Per 1,000 env steps; None before there are any."""
    setting: str
    """Whose numbers the options are: the preset's, published, or changed."""


REFUSED = ("evaluation",)
"""Fields in which runs on one environment must agree."""
NOTED = {
    "budget": "budgets",
    "interval": "evaluation intervals",
    "runners": "numbers of runners",
    "updates": "updates of a batch",
    "setting": "settings",
}
"""Fields in which they may differ if that is said, and what those are called."""


def of(config: RunConfig, environment: str, gradient_steps: float | None) -> Fingerprint:
    """Of a run with this configuration, in an environment by name, version and options."""
    loop = config.loop
    return Fingerprint(
        environment=environment,
        evaluation=f"greedy, {loop.eval_episodes} episodes",
        budget=loop.steps,
        interval=loop.eval_interval,
        runners=loop.runners,
        updates=loop.minibatches,
        gradient_steps=gradient_steps,
        setting=curves.setting(config),
    )


def unlike(found: Sequence[tuple[str, Fingerprint]], fields: Iterable[str]) -> dict[str, dict[str, list[str]]]:
    """Of each field in which runs differ, the values and who has them; `found` names each run, or its method."""
    differing: dict[str, dict[str, list[str]]] = {}
    for field in fields:
        by_value: dict[str, list[str]] = {}
        for name, fingerprint in found:
            value = getattr(fingerprint, field)
            by_value.setdefault(f"{value:,}" if isinstance(value, int) else str(value), []).append(name)
        if len(by_value) > 1:
            differing[field] = by_value
    return differing


def notes(found: Sequence[tuple[str, Fingerprint]]) -> list[str]:
    """What must be said of a comparison of these runs on one environment: one sentence for each field that differs."""
    return [
        f"mixed {NOTED[field]}: {'; '.join(f'{value} ({some(names)})' for value, names in values.items())}"
        for field, values in unlike(found, NOTED).items()
    ]


def some(names: Sequence[str]) -> str:
    """The first of some names, and how many more there are."""
    distinct = list(dict.fromkeys(names))
    return ", ".join(distinct[:3]) + (f" and {len(distinct) - 3} more" if len(distinct) > 3 else "")
