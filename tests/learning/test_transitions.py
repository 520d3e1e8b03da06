"""Env steps in order: those that waited, then one episode after another, then padding."""

import jax
import jax.numpy as jnp
import numpy as np
from particles import SPEC, episodes_of, transitions

from seca.learning.transitions import in_order, room


def test_in_the_order_in_which_they_were_made() -> None:
    """With 3 of 7 rows waiting; what stands in the other 4 comes nowhere among the real ones."""
    first, second = episodes_of(0), episodes_of(1)
    waiting = jax.tree.map(lambda x, zero: zero.at[:5].set(x[:5]), transitions([first]), room(SPEC, 7))
    found, total = jax.jit(lambda w, e: in_order(w, jnp.int32(3), e, "bootstrap"))(waiting, second)
    assert int(total) == 3 + 16 and found.reward.shape == (7 + 4 * 6 + 7,)
    before, after = transitions([first]), transitions([second])
    for ours, old, new in zip(*map(jax.tree.leaves, (found, before, after)), strict=True):
        np.testing.assert_array_equal(ours[:19], np.concatenate([old[:3], new]))


def test_the_time_limit_ends_where_it_is_asked_to() -> None:
    episodes = episodes_of()
    for time_limit, ends in (("bootstrap", 3), ("terminal", 4)):
        found, total = in_order(room(SPEC, 7), jnp.int32(0), episodes, time_limit)
        assert int(found.ended[: int(total)].sum()) == ends
