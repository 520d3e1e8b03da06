"""Arrays in one block of memory: each at its place, none over another."""

import mmap

import numpy as np
import pytest

from seca.envs.hosted import arrays
from seca.envs.hosted.single import Frame, Spec

SPEC = Spec("game", "1", n_agents=3, n_actions=5, obs_size=7, state_size=11, episode_limit=9)


@pytest.mark.parametrize("lanes", [1, 3, 64])
def test_what_is_written_is_read_through_another_view(lanes: int) -> None:
    of = arrays.layout(SPEC, lanes)
    memory = mmap.mmap(-1, arrays.size(of))
    ours, theirs = arrays.views(memory, of), arrays.views(memory, of)
    rng = np.random.default_rng(0)
    for array in ours.values():
        array[...] = rng.integers(0, 2, array.shape)
    for name, array in theirs.items():
        assert (array.shape, str(array.dtype)) == of[name]
        np.testing.assert_array_equal(array, ours[name])
    before = {name: array.copy() for name, array in theirs.items()}
    ours["avail"][:] = ~ours["avail"]
    assert [name for name in before if (before[name] != theirs[name]).any()] == ["avail"]


def test_boxes_have_numbers() -> None:
    spec = Spec("game", "1", 3, 2, 7, 11, 9, box=((-1.0, -1.0), (1.0, 1.0)))
    assert arrays.layout(spec, 4)["actions"] == ((4, 3, 2), "float32")
    assert arrays.layout(SPEC, 4)["actions"] == ((4, 3), "int32")


def test_a_frame_of_another_shape_is_refused() -> None:
    """NumPy would repeat one row for all agents."""
    found = arrays.views(bytearray(arrays.size(arrays.layout(SPEC, 2))), arrays.layout(SPEC, 2))
    good = Frame(np.ones((3, 7), np.float32), np.ones(11, np.float32), np.ones((3, 5), bool), 2.0, truncated=True)
    arrays.write(found, 1, good)
    assert found["reward"].tolist() == [0, 2] and found["truncated"].tolist() == [False, True]
    assert not found["obs"][0].any() and found["obs"][1].all()
    bad = Frame(np.ones((1, 7), np.float32), good.state, good.avail[:1])
    with pytest.raises(ValueError, match=r"`obs` has shape \[1, 7\]; by the spec it must be \[3, 7\]"):
        arrays.write(found, 0, bad)
