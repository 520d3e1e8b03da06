"""Accounts made by hand: of a battle, a scene, and what offers nothing to draw, with and without all that may be."""

import dataclasses
from typing import Any

import numpy as np
from recordings import battle

from seca.battles.recording import About, Recording
from seca.battles.scene import Scene
from seca.view.account import Account, Orders, Truth, Viewed


def scene(n_agents: int = 3, steps: int = 4, drawn: bool = True, numbers: int | None = None) -> Scene:
    """Discs that move to the right, or nothing; with continuous actions of so many numbers."""
    discs, frames = (n_agents + 1 if drawn else 0), steps + 1
    place = np.linspace(-1, 1, frames, dtype=np.float32)[:, None] * np.ones((1, discs), np.float32)
    shape = (steps, n_agents) if numbers is None else (steps, n_agents, numbers)
    return Scene(
        about=About("test/scene", "1", {}, "x, latest checkpoint", 0, 2, 1, 10.0, "0.1.0"),
        names=(*(f"agent {i}" for i in range(n_agents)), "goal") if drawn else (),
        kinds=(*("agent",) * n_agents, "mark") if drawn else (),
        area=(-1.0, -1.0, 1.0, 1.0),
        radius=np.full(discs, 0.1, np.float32),
        x=place,
        y=0.5 * place,
        lines=np.zeros((frames, 0, 4), np.float32),
        actions=np.ones(shape, np.int16 if numbers is None else np.float32),
        avail=np.ones((steps, n_agents, 5 if numbers is None else numbers), bool),
        reward=np.arange(steps, dtype=np.float32),
        terminated=np.arange(steps) == steps - 1,
        truncated=np.zeros(steps, bool),
    )


def account(picture: Recording | Scene, **changes: Any) -> Account:
    """With everything there can be."""
    (steps, agents), (actions, many) = picture.actions.shape[:2], (picture.avail.shape[2], picture.actions.ndim - 1)
    rng = np.random.default_rng(1)
    credit = rng.normal(size=(steps, agents)).astype(np.float32)
    known = np.array([0, steps - 1], np.int16)
    whole = Account(
        run="run-s0",
        method="seca",
        kind="sequential",
        telescopes=True,
        says="what its action added",
        play="greedy",
        action_names=tuple(tuple(f"do {action}" for action in range(actions)) for _ in range(agents)),
        truth_by=Truth("sequential", 64, 0),
        orders=Orders([10, 20], [[0.25 * i for i in range(agents)]] * 2, [[0.5] * agents] * 2),
        credit=credit,
        order=np.stack([rng.permutation(agents) for _ in range(steps)]).astype(np.int16),
        contribution=rng.normal(size=(steps, agents)).astype(np.float32),
        signal=credit + 1,
        policy=np.full((steps, agents, many * actions), 1 / actions, np.float32),
        value=rng.normal(size=steps).astype(np.float32),
        error=rng.normal(size=steps).astype(np.float32),
        truth_step=known,
        truth=(-credit[known]).astype(np.float32),
        truth_error=np.full((2, agents), 0.01, np.float32),
    )
    return dataclasses.replace(whole, **changes)


NOTHING_MORE: dict[str, Any] = {
    **dict.fromkeys(("truth_by", "orders", "order", "contribution", "signal", "policy", "value", "error")),
    **dict.fromkeys(("truth_step", "truth", "truth_error")),
    "kind": "shared",
    "telescopes": False,
    "action_names": (),
}
"""Changes that leave the credit alone."""


def seen(**changes: Any) -> Viewed:
    """A battle of three steps."""
    picture = battle()
    return Viewed(picture, account(picture, **changes))
