"""What the tests of the views share: legal play, and maps that between them have every unit type."""

import dataclasses
import functools

import jax
import numpy as np
import pytest

from seca.smac import scenario, simulator
from seca.smac.views import battle


def legal(avail: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """One available action per agent, `[agents]`, from masks `[agents, actions]`."""
    return np.array([rng.choice(np.flatnonzero(row)) for row in avail])


LIMIT = 2
"""Env steps of a shortened battle."""


def shorten(monkeypatch: pytest.MonkeyPatch) -> None:
    """Battles of all maps end after `LIMIT` env steps, in this test only."""
    monkeypatch.setattr(battle, "_compiled", _short)


@functools.cache
def _short(map_name: str, options: tuple) -> tuple:
    battles = simulator.make(map_name, **dict(options))
    battles = dataclasses.replace(battles, battlefield=dataclasses.replace(battles.battlefield, limit=LIMIT))
    return battles, jax.jit(battles.reset), jax.jit(battles.step)


def maps_with_every_unit() -> list[str]:
    """Small maps first, each adds an ally type not seen before."""
    fields = sorted((scenario.load(name) for name in scenario.map_names()), key=lambda field: field.n_units)
    seen: set[str] = set()
    chosen: list[str] = []
    for field in fields:
        allies = set(field.unit_names[: field.n_agents])
        if allies - seen:
            chosen.append(field.name)
            seen |= allies
    return chosen
