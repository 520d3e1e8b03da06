"""Ways round walls, in the table and on foot."""

import heapq

import jax.numpy as jnp
import numpy as np
import pytest
import smac_lab
from tiers import cases

from seca.smac import paths, scenario

TERRAINS = scenario.read_data("maps")["terrains"]


WALLED = [name for name in TERRAINS if name not in ("simple", "open")]


def octile(walkable: np.ndarray, start: tuple[int, int]) -> np.ndarray:
    """Slow twin: lengths of the shortest ways over the eight neighbours, never across a corner (Dijkstra)."""
    length = np.full(walkable.shape, np.inf)
    length[start] = 0.0
    queue = [(0.0, start)]
    while queue:
        so_far, (x, y) = heapq.heappop(queue)
        if so_far > length[x, y]:
            continue
        for dx, dy in np.ndindex(3, 3):
            to = (x + dx - 1, y + dy - 1)
            if to == (x, y) or not all(0 <= t < 32 for t in to):
                continue
            if not (walkable[to] and walkable[to[0], y] and walkable[x, to[1]]):
                continue
            total = so_far + float(np.hypot(dx - 1, dy - 1))
            if total < length[to]:
                length[to] = total
                heapq.heappush(queue, (total, to))
    return length


def rough_ground() -> dict:
    """Rows of somebody else's terrain: one cell in eight blocked, and what they cut off."""
    walkable = np.random.default_rng(1).random((32, 32)) > 0.125
    walkable &= np.isfinite(octile(walkable, tuple(np.argwhere(walkable)[300])))
    return {"rows": ["".join("_" if cell else "X" for cell in row) for row in walkable.T[::-1]]}


@pytest.mark.slow
@pytest.mark.parametrize("name", cases([*WALLED, "rough"], "corridor"))
def test_ways_lead_everywhere(name):
    """From any point to any other in time, and no longer than over the cells' centres."""
    terrain = rough_ground() if name == "rough" else name
    walkable, _ = scenario.read_terrain(terrain if isinstance(terrain, dict) else TERRAINS[name])
    cells = np.argwhere(walkable)
    battlefield = smac_lab.field_at(["zergling"], ["zergling"], terrain, tuple(cells[len(cells) // 2] + 0.5))
    rng = np.random.default_rng(2)
    starts = cells[rng.integers(len(cells), size=12)]
    length = np.concatenate([octile(walkable, tuple(start))[tuple(cells.T)] for start in starts])
    start = np.repeat(starts, len(cells), axis=0) + rng.uniform(0.01, 0.99, (length.size, 2))
    goal = np.tile(cells, (12, 1)) + rng.uniform(0.01, 0.99, (length.size, 2))
    end, way = smac_lab.stroll(battlefield, smac_lab.walkers(battlefield, jnp.float32(start), jnp.float32(goal)), 400)
    x, y = np.asarray(end.units.x)[0], np.asarray(end.units.y)[0]
    assert walkable[x.astype(int), y.astype(int)].all()
    assert np.hypot(x - goal[:, 0], y - goal[:, 1]).max() < 1e-3
    # From and to the centres of the outer cells it is at most two half diagonals more.
    assert (np.asarray(way) - length).max() < 2 * np.sqrt(0.5) + 0.1
    assert (np.asarray(way) - length).mean() < 0.0


@pytest.mark.every
@pytest.mark.slow
def test_only_corners_need_ways():
    """Rectangles need no table; a terrain of many corners has more way-points than fit in a byte."""
    for name in ("simple", "open"):
        assert paths.find(scenario.read_terrain(TERRAINS[name])[0]) is None
    assert paths.find(np.ones((32, 32), bool)) is None
    found = {name: paths.find(scenario.read_terrain(TERRAINS[name])[0]) for name in WALLED}
    for ways in found.values():
        assert ways is not None and ways.via.dtype == np.uint8 and ways.via.nbytes < 2**18
    assert paths.find(scenario.read_terrain(TERRAINS["ravine"])[0]) is found["ravine"]
    pillars = np.ones((32, 32), bool)
    pillars[1:31:3, 1:31:3] = False
    many = paths.find(pillars)
    assert many is not None and many.via.dtype == np.uint16


@pytest.mark.slow
def test_goals_in_walls_and_behind_them():
    """A goal in the wall is approached from the side one is on; one that cannot be reached, as near as can be."""
    battlefield = smac_lab.field_at(["zergling"], ["zergling"], "ravine", (16.0, 9.0))
    start = jnp.float32([[16.3, 10.9], [16.3, 14.9], [16.3, 10.9], [16.3, 10.9]])
    goal = jnp.float32([[16.3, 12.4], [16.3, 12.6], [16.3, 31.0], [18.3, 12.9]])
    end, _ = smac_lab.stroll(battlefield, smac_lab.walkers(battlefield, start, goal), 300)
    x, y = np.asarray(end.units.x)[0], np.asarray(end.units.y)[0]
    assert 11.7 < y[0] < 12 and 13 <= y[1] < 13.3  # At most a step is missing: it would end in the wall.
    assert y[2] > 19.7 and abs(x[2] - 16.3) < 1.0  # Round the wall, to the upper rim.
    assert abs(x[3] - 18.3) < 0.2 and 11.7 < y[3] < 12


def test_the_way_round_one_cell():
    """A room of seven by seven with a pillar in its middle, cell (13, 13): way-points are the cells at its corners."""
    walkable = np.zeros((32, 32), bool)
    walkable[10:17, 10:17] = True
    walkable[13, 13] = False
    ways = paths.find(walkable)
    assert ways is not None
    points = [(12.5, 12.5), (12.5, 14.5), (14.5, 12.5), (14.5, 14.5)]
    assert list(zip(ways.x.tolist(), ways.y.tolist(), strict=True)) == [(0, 0), *points]

    def onward(start: tuple[int, int], goal: tuple[int, int]) -> int:
        return int(ways.via[ways.row[goal[0] * 32 + goal[1]], ways.column[start[0] * 32 + start[1]]])

    assert onward((10, 10), (16, 10)) == onward((12, 10), (12, 16)) == 0  # Nothing in the way.
    assert onward((12, 13), (14, 13)) == 1 and onward((12, 12), (14, 13)) == 3  # Along both near corners, or one.
    assert onward((14, 13), (12, 13)) == 3 and onward((14, 14), (12, 13)) == 2
    assert onward((10, 10), (16, 16)) == 2  # As far by the other side; the first is taken.
    assert onward((12, 13), (13, 13)) == 0  # A goal in the pillar is the nearest cell, on the side one is on.
    assert onward((12, 10), (0, 0)) == 0  # One outside is the nearest cell inside, (10, 10).
    assert onward((14, 13), (0, 13)) == 3  # Behind the pillar, (10, 13).
