"""What an audit found, in numbers: scores of every credit, in all and by groups of agent steps; read, written, told."""

import dataclasses
import json
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool

from seca import files
from seca.credit.base import KINDS, Kind
from seca.truth.asked import Sums
from seca.truth.audit import Audit
from seca.truth.rounds import DRAWN_ARRAYS, OWN, SIGNAL, TEAM, ZERO, Plan
from seca.truth.score import Score, score

FORMAT = 1
_DECIDED = (0.0, 0.5, 0.9, 0.99, 1.0)
"""Edges of the probability of an agent's likeliest action."""
_MOST_BYTES = 2**30
_SUM_ARRAYS = ("forks", "total", "squares", "counts")
_TOLD_ARRAYS = ("truth", "error")
"""What follows from the sums, for whoever reads the file."""


def kind_of(audit: Audit, name: str) -> int:
    """Which of the measured truths a credit is held against: its position among the kinds of the plan."""
    return audit.plan.kinds.index(audit.kind[name])


def scores(
    audit: Audit,
    of: Bool[np.ndarray, "steps agents"] | None = None,
    kind: Kind | None = None,
    names: Sequence[str] | None = None,
) -> dict[str, Score]:
    """The score of every credit, or of some, on the agent steps with a choice, or on those of them that are chosen.

    Each against the truth that it claims, or against that of another kind.
    """
    which = audit.choice if of is None else audit.choice & of
    battle = np.broadcast_to(audit.battle[:, None], which.shape)[which]
    mean, error = audit.sums.mean(), audit.sums.error()
    found = {}
    for name in audit.credits if names is None else names:
        at = kind_of(audit, name) if kind is None else audit.plan.kinds.index(kind)
        found[name] = score(audit.credits[name][which], mean[:, at][which], error[:, at][which], battle)
    return found


def groups(audit: Audit) -> dict[str, dict[str, np.ndarray]]:
    """Agent steps by unit type (or agent), place in the order, time in the episode, and how decided the policy was."""
    steps, n_agents = audit.action.shape
    everywhere = np.ones((steps, n_agents), bool)
    names = audit.about["unit_names"] or [f"agent {i}" for i in range(n_agents)]
    found = {"unit": {name: everywhere & (np.array(names) == name) for name in dict.fromkeys(names)}}
    if "sequential" in audit.plan.kinds:
        place = np.argsort(audit.order, axis=1)
        found["judged"] = {f"{k + 1}. of {n_agents}": place == k for k in range(n_agents)}
    part = np.broadcast_to((audit.time / audit.length)[:, None], everywhere.shape)
    found["time"] = {
        name: (part >= k / 3) & (part < (k + 1) / 3) for k, name in enumerate(("first third", "second", "last"))
    }
    likeliest = audit.sums.counts.max(axis=2) / audit.sums.forks[:, None]
    edges = zip(_DECIDED[:-1], _DECIDED[1:], strict=True)
    found["likeliest action"] = {
        f"{100 * low:g} to {100 * high:g} %": (likeliest >= low) & ((likeliest < high) | (high == 1))
        for low, high in edges
    }
    return found


def result(audit: Audit) -> dict[str, Any]:
    """JSON: what was audited, how, and all scores; NaN as null."""
    return {
        "format": FORMAT,
        "about": audit.about,
        "plan": dataclasses.asdict(audit.plan),
        "scores": _plain(scores(audit)),
        "against": {kind: _plain(scores(audit, kind=kind)) for kind in audit.plan.kinds},
        "groups": {
            group: {name: _plain(scores(audit, of)) for name, of in parts.items() if (audit.choice & of).any()}
            for group, parts in groups(audit).items()
        },
    }


def _plain(found: dict[str, Score]) -> dict[str, dict[str, Any]]:
    return {
        name: {k: None if isinstance(v, float) and not math.isfinite(v) else v for k, v in vars(one).items()}
        for name, one in found.items()
    }


_HEAD = f"{'':<24}{'steps':>6}  {'explained (95 %)':<22}{'ceiling':>8}{'corr':>7}{'slope':>8}{'signs':>7}"
_HEAD += f"{'rms credit':>12}{'rms truth':>11}{'error':>8}"


def table(audit: Audit) -> str:
    """The scores, for a terminal."""
    about, plan = audit.about, audit.plan
    lines = [
        f"{about['preset']} on {about['env']}, {about['env_steps']:,} env steps: "
        f"{plan.steps} steps of {len(np.unique(audit.battle))} episodes, {plan.forks} forks each, seed {plan.seed}",
        f"truth in the order {about['order']}; the time limit ended {100 * about['cut']:.0f} % of the forks",
        *([] if about["luck"] else ["no luck found in the environment's state: it is taken to be deterministic"]),
        "",
        _HEAD,
    ]
    for name, one in scores(audit).items():
        lines.append(_row(f"{name} ({audit.kind[name]})" if name == OWN else name, one))
    for kind in plan.kinds:
        if kind != audit.kind[OWN]:
            others = [name for name in audit.credits if name not in (SIGNAL, TEAM, ZERO)]
            rows = scores(audit, kind=kind, names=others).items()
            lines += ["", f"against the {kind} truth", *(_row(name, one) for name, one in rows)]
    for group, parts in groups(audit).items():
        members = ((name, of) for name, of in parts.items() if (audit.choice & of).any())
        rows = [(name, scores(audit, of, names=[OWN])[OWN]) for name, of in members]
        if len(rows) > 1:
            lines += ["", f"credit, by {group}", *(_row(name, one) for name, one in rows)]
    return "\n".join(lines)


def interval_of(one: Score) -> str:
    """That of the explained share, in words."""
    return f"{one.low:.2f} to {one.high:.2f}" if math.isfinite(one.low + one.high) else "no interval"


def _row(name: str, one: Score) -> str:
    interval = f"{one.explained:>6.2f} ({interval_of(one)})"
    numbers = f"{one.ceiling:>8.2f}{one.correlation:>7.2f}{one.slope:>8.2f}{one.signs:>7.2f}"
    sizes = f"{one.rms_credit:>12.4f}{one.rms_truth:>11.4f}{one.rms_error:>8.4f}"
    return f"{name:<24}{one.agent_steps:>6}  {interval:<22}{numbers}{sizes}"


def save(audit: Audit, out: pathlib.Path) -> list[pathlib.Path]:
    """Write OUT.json, for people and programs, and OUT.npz, to which more can be added."""
    text, data = (out.with_name(out.name + ending) for ending in (".json", ".npz"))
    arrays = {name: getattr(audit, name) for name in DRAWN_ARRAYS}
    arrays |= {f"sum_{name}": getattr(audit.sums, name) for name in _SUM_ARRAYS}
    arrays |= dict(zip(_TOLD_ARRAYS, (audit.sums.mean(), audit.sums.error()), strict=True))
    arrays |= {f"credit_{number}": credit for number, credit in enumerate(audit.credits.values())}
    about = {
        "format": FORMAT,
        "about": audit.about,
        "plan": dataclasses.asdict(audit.plan),
        "credits": [[name, audit.kind[name]] for name in audit.credits],
    }
    with files.replacing(data) as temporary, temporary.open("wb") as file:
        np.savez_compressed(file, about=np.array(json.dumps(about)), **arrays)
    with files.replacing(text) as temporary:
        temporary.write_text(json.dumps(result(audit), indent=1) + "\n")
    return [text, data]


def load(path: pathlib.Path) -> Audit:
    """The audit in an .npz file. Raises UsageError when it is missing, damaged, or of another format."""

    def make(arrays: dict[str, np.ndarray], written: dict[str, Any]) -> Audit:
        plan = _plan(written["plan"])
        names = [(str(name), str(kind)) for name, kind in written["credits"]]
        _check(arrays, plan, len(names))
        return Audit(
            plan=plan,
            about=dict(written["about"]),
            **{name: arrays[name] for name in DRAWN_ARRAYS},
            credits={name: arrays[f"credit_{number}"] for number, (name, _) in enumerate(names)},
            kind=dict(names),  # pyrefly: ignore
            sums=Sums(**{name: arrays[f"sum_{name}"] for name in _SUM_ARRAYS}),
        )

    given = f"`add` is given, to {files.usable('add', path)}"
    return files.read_archive(path, given, "audit", FORMAT, _MOST_BYTES, make)


def _plan(written: dict[str, Any]) -> Plan:
    """The plan of a file. Raises ValueError for numbers that are none, and kinds that nobody knows."""
    for field in ("steps", "forks", "seed"):
        if type(written[field]) is not int:
            raise ValueError(f"`{field}` of the plan is {written[field]!r}, which is no whole number")
    kinds = tuple(written["kinds"])
    if not kinds or not set(kinds) <= set(KINDS):
        raise ValueError(f"`kinds` of the plan is {', '.join(map(str, kinds)) or 'empty'}")
    return Plan(**written | {"kinds": kinds})


def _check(arrays: dict[str, np.ndarray], plan: Plan, credits: int) -> None:
    """Raise ValueError unless all arrays are there, as the plan says, of finite numbers that agree with each other."""
    steps, n_agents = plan.steps, arrays["action"].shape[1]
    shapes: dict[str, tuple[int, ...]] = {name: (steps, n_agents) for name in ("action", "order", "choice")}
    shapes["sum_counts"] = (steps, n_agents, arrays["sum_counts"].shape[2])
    shapes |= {name: (steps,) for name in ("battle", "time", "length", "sum_forks")}
    shapes |= {name: (steps, len(plan.kinds), n_agents) for name in ("sum_total", "sum_squares", *_TOLD_ARRAYS)}
    shapes |= {f"credit_{number}": (steps, n_agents) for number in range(credits)}
    if arrays.keys() != shapes.keys():
        raise ValueError(f"missing or unknown: {', '.join(sorted(arrays.keys() ^ shapes.keys()))}")
    for name, shape in shapes.items():
        if arrays[name].shape != shape or not np.isfinite(arrays[name]).all():
            raise ValueError(f"`{name}` is {list(arrays[name].shape)}, not {list(shape)}, or not finite")
    if plan.forks < 2 or (arrays["sum_forks"] != plan.forks).any():
        raise ValueError(f"`sum_forks` is not {plan.forks} everywhere, or there are steps without forks")
    if (arrays["sum_counts"].sum(axis=2) != plan.forks).any():
        raise ValueError(f"`sum_counts` are not of {plan.forks} forks")
    if not np.allclose(arrays["truth"], arrays["sum_total"] / plan.forks):
        raise ValueError("`truth` is not the mean that `sum_total` has")
    if (np.sort(arrays["order"], axis=1) != np.arange(n_agents)).any():
        raise ValueError("`order` holds what is no order")
