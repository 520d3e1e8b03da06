"""A recording made by hand: small, and with a bit of everything that is drawn."""

import dataclasses
from typing import Any

import numpy as np

from seca.battles.recording import About, Recording

MARINE, MEDIVAC, ZEALOT, STALKER = range(4)
SHOT, HEAL, DEATH = 8, 12, 20
"""Frames in which the stalker shoots the marine, the medivac heals the marine, and the zealot dies."""


def battle(**changes: Any) -> Recording:
    """Four units that stand still for three steps on a floor of 12 x 8 with a rock in it."""
    frames, steps, units = 25, 3, 4
    ones = np.ones((frames, units), np.float32)
    walkable = np.zeros((32, 32), bool)
    walkable[10:22, 12:20] = True
    walkable[15:17, 13] = False
    level = np.where(walkable, 1.0, 0.0).astype(np.float32)
    level[15:17, 13] = 2.0
    health = ones * np.array([45, 150, 100, 80], np.float32)
    health[SHOT:, MARINE] = 22.5
    health[DEATH:, ZEALOT] = 0
    target = np.full((frames, units), -1, np.int16)
    target[:, STALKER], target[:, MEDIVAC] = MARINE, MARINE
    shot = np.zeros((frames, units), bool)
    shot[SHOT, STALKER] = True
    energy = ones * np.array([0, 50, 0, 0], np.float32)
    energy[HEAL:, MEDIVAC] = 49
    recording = Recording(
        about=About("smac/test", "smac-1", {"jitter": False}, "random", 3, 1, 8, 16.0, "0.1.0"),
        unit_names=("marine", "medivac", "zealot", "stalker"),
        radius=np.array([0.375, 0.75, 0.5, 0.625], np.float32),
        health_max=np.array([45, 150, 100, 80], np.float32),
        shield_max=np.array([0, 0, 50, 80], np.float32),
        energy_max=np.array([0, 200, 0, 0], np.float32),
        walkable=walkable,
        level=level,
        flies=np.array([False, True, False, False]),
        x=ones * np.array([13, 13, 19, 19], np.float32),
        y=ones * np.array([14.5, 18.0, 18.0, 14.5], np.float32),
        health=health,
        shield=ones * np.array([0, 0, 50, 40], np.float32),
        energy=energy,
        target=target,
        engaged=target >= 0,
        shot=shot,
        actions=np.ones((steps, 2), np.int16),
        avail=np.ones((steps, 2, 8), bool),
        reward=np.array([0.5, 0.0, 1.5], np.float32),
        terminated=np.array([False, False, True]),
        truncated=np.zeros(steps, bool),
        won=np.array([False, False, True]),
    )
    return dataclasses.replace(recording, **changes)
