"""Ways round walls: for every pair of cells of a terrain, where to walk next.

Cells are the walls' own grain, so the shortest ways turn at cells that lie across the corner of a single blocked one. A
unit walks straight if nothing is between any point of its own cell and any point of the goal's; else to the centre of
the first such corner cell on the way, which it sees in the same sense. Corners are taken half a cell wide, and a way is
straightened from cell to cell, as soon as more of it is seen.
"""

import dataclasses
import functools

import numpy as np
from jaxtyping import Bool, Float, Int, UInt

from seca.smac.scenario import MAP_SIZE

CELLS = MAP_SIZE * MAP_SIZE
"""Cells are numbered x * 32 + y."""
EPSILON = 1e-9


@dataclasses.dataclass(frozen=True, eq=False)
class Ways:
    """From a cell to a goal's: `via[row[goal], column[own]]` is the way-point to walk at, 0 the goal itself."""

    via: UInt[np.ndarray, "rows columns"]
    row: Int[np.ndarray, " cells"]
    """Goals with the same ways share a row: most blocked cells stand for the walkable one next to them."""
    column: Int[np.ndarray, " cells"]
    """Walkable cells in order; 0 for all that are not."""
    x: Float[np.ndarray, " points"]
    """Where the way-points are; the first is no point."""
    y: Float[np.ndarray, " points"]


def find(walkable: Bool[np.ndarray, "x y"]) -> Ways | None:
    """The ways of a terrain, or None where no wall has a corner to go round: there all ways are straight.

    A goal that cannot be reached stands for the nearest cell that can, among equally near ones that with the shortest
    way. Found once for each terrain.
    """
    return _find(np.ascontiguousarray(walkable, bool).tobytes())


@functools.cache
def _find(terrain: bytes) -> Ways | None:
    walkable = np.frombuffer(terrain, bool).reshape(MAP_SIZE, MAP_SIZE)
    corners = np.flatnonzero(_corner_cells(walkable))
    if not corners.size:
        return None
    cells = np.flatnonzero(walkable)
    xy = np.stack([cells // MAP_SIZE, cells % MAP_SIZE], axis=1)
    sees = _visible(walkable, xy)
    length, via = _shortest(xy, sees, np.searchsorted(cells, corners))

    goals = np.stack(np.divmod(np.arange(CELLS), MAP_SIZE), axis=1)
    away = np.square(goals[:, None] - xy[None]).sum(axis=-1)
    table = np.zeros((CELLS, cells.size), np.int32)
    reached = np.isfinite(length)
    for part in np.unique(reached, axis=0):  # Cells that reach each other.
        inside = np.flatnonzero(part)
        nearest = away[:, inside].min(axis=1)
        for goal in range(CELLS):
            ends = inside[away[goal, inside] == nearest[goal]]
            end = ends[length[np.ix_(inside, ends)].argmin(axis=1)]
            table[goal, inside] = via[inside, end]
    rows, row = np.unique(table, axis=0, return_inverse=True)
    column = np.zeros(CELLS, np.int32)
    column[cells] = np.arange(cells.size)
    point = np.concatenate([np.zeros((1, 2)), xy[np.searchsorted(cells, corners)] + 0.5])
    return Ways(
        via=rows.astype(np.uint8 if corners.size < 256 else np.uint16),
        row=row.reshape(-1).astype(np.int32),
        column=column,
        x=point[:, 0].astype(np.float32),
        y=point[:, 1].astype(np.float32),
    )


def _corner_cells(walkable: Bool[np.ndarray, "x y"]) -> Bool[np.ndarray, "x y"]:
    """Cells across a grid point from its only blocked one: where a shortest way may turn."""
    w = np.pad(walkable, 1)
    found = np.zeros_like(walkable)
    for dx in (-1, 1):
        for dy in (-1, 1):
            shifted = [np.roll(w, (-ax, -ay), (0, 1))[1:-1, 1:-1] for ax, ay in ((dx, 0), (0, dy), (dx, dy))]
            found |= walkable & shifted[0] & shifted[1] & ~shifted[2]
    return found


def _visible(walkable: Bool[np.ndarray, "x y"], xy: Int[np.ndarray, "cells 2"]) -> Bool[np.ndarray, "cells cells"]:
    """Whether no line between two cells, from any point to any point, crosses a blocked one.

    All these lines together are what a cell covers that glides from one place to the other. In each column of the grid
    that is a range of cells; how many of them are blocked is the difference of two running counts.
    """
    blocked = np.concatenate([np.zeros((MAP_SIZE, 1), int), np.cumsum(~walkable, axis=1)], axis=1)
    first, second = np.triu_indices(len(xy))  # Cells are in order of x: the second is never left of the first.
    (ax, ay), (dx, dy) = xy[first].T, (xy[second] - xy[first]).T
    in_the_way = np.zeros(first.shape, int)
    for x in range(MAP_SIZE):
        # The part of the way, 0 .. 1, during which the gliding cell overlaps this column.
        begin = np.clip((x - 1 - ax) / np.maximum(dx, 1), 0.0, 1.0) * (dx > 0)
        end = np.where(dx > 0, np.clip((x + 1 - ax) / np.maximum(dx, 1), 0.0, 1.0), 1.0)
        ys = ay + begin * dy, ay + end * dy
        low = np.floor(np.minimum(*ys) + EPSILON).astype(int)
        high = np.ceil(np.maximum(*ys) + 1 - EPSILON).astype(int)
        met = (ax <= x) & (x <= ax + dx)
        in_the_way += np.where(met, blocked[x, high] - blocked[x, low], 0)
    sees = np.zeros((len(xy), len(xy)), bool)
    sees[first, second] = sees[second, first] = in_the_way == 0
    return sees


def _shortest(
    xy: Int[np.ndarray, "cells 2"], sees: Bool[np.ndarray, "cells cells"], corners: Int[np.ndarray, " corners"]
) -> tuple[Float[np.ndarray, "cells cells"], Int[np.ndarray, "cells cells"]]:
    """Lengths of the shortest ways from each cell to each other, and the first way-point of each (0: none needed)."""
    difference = xy[:, None].astype(np.float32) - xy[None]
    straight = np.where(sees, np.hypot(difference[..., 0], difference[..., 1]), np.float32(np.inf))
    between = straight[np.ix_(corners, corners)]
    for k in range(corners.size):  # Floyd and Warshall.
        between = np.minimum(between, between[:, k, None] + between[None, k])
    onward = straight[corners]
    for k in range(corners.size):
        onward = np.minimum(onward, between[:, k, None] + straight[None, corners[k]])
    length, via = straight.copy(), np.zeros(straight.shape, np.int32)
    for k in range(corners.size):
        start = np.where(np.arange(len(xy)) == corners[k], np.inf, straight[:, corners[k]]).astype(np.float32)
        way = start[:, None] + onward[None, k]
        shorter = ~sees & (way < length)
        length[shorter], via[shorter] = way[shorter], k + 1
    return length, via
