"""Every episode has a lane of its own, for as long as it lasts."""

import numpy as np
import pytest

from seca.envs.hosted.batches import KEPT, OVER, Batch, Batches, Shown
from seca.envs.hosted.single import Spec

SPEC = Spec("count", "1", 2, 3, 3, 4, 7)


def blank(count: int) -> Shown:
    return Shown.blank(SPEC, count)


def begun(batches: Batches, count: int) -> tuple[int, Batch]:
    number, batch = batches.begin(blank(count))
    batch.begun, batch.todo = True, set()
    return number, batch


def everything(batch: Batch) -> np.ndarray:
    return np.arange(len(batch.lane))


def test_blank() -> None:
    shown = blank(3)
    assert shown.avail.tolist() == [[[True, False, False]] * 2] * 3
    assert not any(array.any() for name, array in vars(shown).items() if name != "avail")
    assert len(shown.some(np.array([2, 0])).time) == 2 and shown.some(np.array([1])).obs is not shown.obs


def test_lanes_are_nobody_elses() -> None:
    batches = Batches(7)
    (one, first), (two, second) = begun(batches, 3), begun(batches, 4)
    assert (one, two) == (1, 2) and sorted([*first.lane, *second.lane]) == list(range(7))
    batches.let_go(second, np.array([1, 3]))
    freed = {4, 6}
    batches.let_go(second, np.array([1]))  # It is over already.
    _, third = begun(batches, 2)
    assert set(third.lane) == freed and not (first.given_up or second.given_up)
    assert batches.find(one) is first and batches.find(0) is None and batches.find(9) is None


def test_the_oldest_give_up_theirs() -> None:
    """All of them, and no more of the batches than is needed."""
    batches = Batches(5)
    batch = [begun(batches, 2)[1] for _ in range(2)]
    _, third = begun(batches, 2)
    assert [one.given_up for one in batch] == [True, False] and (batch[0].lane == OVER).all()
    assert not set(third.lane) & set(batch[1].lane)
    _, fourth = begun(batches, 5)
    assert batch[1].given_up and third.given_up and sorted(fourth.lane) == list(range(5))


def test_what_is_lost() -> None:
    """Of episodes under way they are over; those that have not begun are to do once more."""
    batches = Batches(7)
    _, under_way = begun(batches, 4)
    _, new = batches.begin(blank(3))
    assert new.todo == {0, 1, 2}
    new.todo = set()
    batches.lose(range(1, 7, 3))  # Lanes 1 and 4.
    assert under_way.shown.lost.tolist() == under_way.shown.truncated.tolist() == [False, True, False, False]
    assert under_way.lane.tolist() == [0, OVER, 2, 3]
    assert new.todo == {0} and not new.shown.lost.any() and new.lane.tolist() == [4, 5, 6]
    assert begun(batches, 1)[1].lane.tolist() == [1]


@pytest.mark.parametrize("more", [1, 5])
def test_how_many_are_remembered(more: int) -> None:
    """So many of those that are over, and those that go on however old they are."""
    batches = Batches(3)
    kept, _ = begun(batches, 1)
    for _ in range(KEPT + more):
        _, batch = begun(batches, 2)
        batches.let_go(batch, everything(batch))
    begun(batches, 1)
    assert batches.find(kept) is not None
    assert [batches.find(number) is not None for number in range(kept + 1, kept + 2 + KEPT + more)] == (
        [False] * more + [True] * (KEPT + 1)
    )
