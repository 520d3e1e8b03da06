"""Rounds: the steps that are drawn, what is said of them, and that they can be forked."""

import dataclasses
from typing import Any

import forking
import numpy as np
import pytest

from seca.truth.audit import audit
from seca.truth.rounds import Plan


def test_the_order_is_the_claims() -> None:
    found = forking.audited(kinds=("sequential", "independent"))
    assert (found.order == [2, 0, 1]).all()
    # Who is judged first is judged alone.
    np.testing.assert_array_equal(found.sums.total[:, 0, 2], found.sums.total[:, 1, 2])
    assert not np.array_equal(found.sums.total[:, 0, 1], found.sums.total[:, 1, 1])


def test_it_repeats_bit_for_bit_and_follows_its_seed() -> None:
    once, again, other = forking.audited(), forking.audited(), forking.audited(seed=1)
    for field in ("forks", "total", "squares", "counts"):
        np.testing.assert_array_equal(getattr(once.sums, field), getattr(again.sums, field))
    assert not np.array_equal(once.sums.total, other.sums.total)


def test_an_environment_that_does_not_repeat_is_refused() -> None:
    """Two passes over the same keys must show the same: here one has a state of its own outside of JAX."""
    run, calls = forking.run(), [0]

    def step(state: Any, actions: Any) -> Any:
        after, shown = forking.env().step(state, actions)
        calls[0] += 1  # At tracing: each program has another.
        return after, dataclasses.replace(shown, obs=shown.obs + calls[0])

    run.env = dataclasses.replace(run.env, step=step)
    with pytest.raises(ValueError, match=r"`env` does not repeat its episodes on this device \(`obs`\)"):
        audit(run, Plan(20, 2))
