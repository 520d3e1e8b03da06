"""Which forks answer for which credit: sets of agents held, each joint action once, sums that can be added to."""

import itertools

import numpy as np
import pytest

from seca.credit.base import KINDS, Kind
from seca.truth.asked import Sums, ask, before

FORKS, N_AGENTS = 23, 5


def drawn(seed: int, n_agents: int = N_AGENTS) -> tuple[np.ndarray, ...]:
    rng = np.random.default_rng(seed)
    taken, again = rng.integers(0, 3, (2, FORKS, n_agents))
    order = np.stack([rng.permutation(n_agents) for _ in range(FORKS)])
    return taken, again, order, rng.random((FORKS, n_agents))


def game(first: np.ndarray, fork: np.ndarray, n_agents: int = N_AGENTS) -> np.ndarray:
    """A made-up return of each joint action of each fork."""
    table = np.random.default_rng(7).normal(size=(FORKS, *(3,) * n_agents))
    return table[(fork, *first.T)]


@pytest.mark.parametrize("n_agents", [1, 2, 5])
def test_differences_are_those_of_plain_loops(n_agents: int) -> None:
    taken, again, order, numbers = drawn(0, n_agents)
    asked = ask(KINDS, taken, again, order, numbers)
    found = asked.differences(game(asked.first, asked.fork, n_agents))

    def held(fork: int, members: set[int]) -> float:
        first = [taken[fork, i] if i in members else again[fork, i] for i in range(n_agents)]
        return float(game(np.array([first]), np.array([fork]), n_agents)[0])

    for fork, i in itertools.product(range(FORKS), range(n_agents)):
        gain = lambda members: held(fork, members | {i}) - held(fork, members)  # noqa: B023, E731
        place, everybody = order[fork].tolist(), set(range(n_agents))
        mixed = np.argsort(numbers[fork]).tolist()
        earlier, later = set(mixed[: mixed.index(i)]), set(mixed[mixed.index(i) + 1 :])
        expected = {
            "sequential": gain(set(place[: place.index(i)])),
            "independent": gain(set()),
            "counterfactual": gain(everybody - {i}),
            "shapley": (gain(earlier) + gain(later)) / 2,
        }
        for kind in KINDS:
            np.testing.assert_allclose(found[kind][fork, i], expected[kind], atol=1e-12)


def test_no_joint_action_is_played_twice() -> None:
    taken, again, order, numbers = drawn(1)
    again[:5] = taken[:5]  # Nobody does anything else: one fork answers everything.
    asked = ask(KINDS, taken, again, order, numbers)
    rows = np.concatenate([asked.fork[:, None], asked.first], axis=1)
    assert len(np.unique(rows, axis=0)) == len(rows)
    assert [int((asked.fork == fork).sum()) for fork in range(5)] == [1] * 5
    differs = (taken != again).sum(axis=1)
    chain = ask(("sequential",), taken, again, order, numbers)
    assert np.array_equal(np.bincount(chain.fork), 1 + differs)
    for credit in asked.differences(np.ones(len(asked.fork))).values():
        np.testing.assert_array_equal(credit, 0)


def test_shapley_orders_are_each_as_likely() -> None:
    """Every agent comes first in its share of random orders, and is last in the reverse of those."""
    numbers = np.random.default_rng(0).random((3000, 4))
    sets = before("shapley", np.zeros((3000, 4), np.int64), numbers)
    assert sets.shape == (3000, 2, 4, 4)
    np.testing.assert_array_equal(sets[:, 0] | sets[:, 1], np.broadcast_to(~np.eye(4, dtype=bool), (3000, 4, 4)))
    assert not (sets[:, 0] & sets[:, 1]).any()
    first = (~sets[:, 0].any(axis=2)).mean(axis=0)
    np.testing.assert_allclose(first, 0.25, atol=0.03)


def test_too_many_agents() -> None:
    with pytest.raises(ValueError, match="63 agents"):
        nobody = np.zeros((1, 63), np.int64)
        ask(("sequential",), nobody, nobody, nobody, np.zeros((1, 63)))


def test_sums_are_means_and_their_errors() -> None:
    rng = np.random.default_rng(0)
    values, steps = rng.normal(size=(40, 2, 3)), np.arange(40) % 4
    sums = Sums.nothing(4, 2, 3, 2)
    for part in (slice(0, 7), slice(7, 40)):
        told: dict[Kind, np.ndarray] = {"sequential": values[part, 0], "independent": values[part, 1]}
        sums.add(steps[part], told, (values[part, 0] > 0).astype(int))
    for step in range(4):
        own = values[steps == step]
        np.testing.assert_allclose(sums.mean()[step], own.mean(axis=0))
        np.testing.assert_allclose(sums.error()[step], own.std(axis=0, ddof=1) / np.sqrt(len(own)))
        np.testing.assert_array_equal(sums.counts[step, :, 1], (own[:, 0] > 0).sum(axis=0))
        np.testing.assert_array_equal(sums.counts[step].sum(axis=1), len(own))
    single = Sums.nothing(1, 1, 1, 1)
    one: dict[Kind, np.ndarray] = {"sequential": np.ones((1, 1))}
    single.add(np.zeros(1, np.int64), one, np.zeros((1, 1), int))
    assert np.isinf(single.error()).all()
