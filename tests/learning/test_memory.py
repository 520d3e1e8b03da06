"""Estimates of memory, by hand."""

import jax
import jax.numpy as jnp
import numpy as np
from batches import SPEC

from seca.learning.memory import floats_in, training_bytes, visited


def test_numbers_in_a_tree() -> None:
    """Of arrays, of their shapes, and of none."""
    tree = {"a": np.zeros((2, 3)), "b": [jnp.zeros(()), jnp.zeros((4, 0))]}
    assert floats_in(tree) == 6 + 1 + 0
    assert floats_in(jax.eval_shape(lambda: {"a": jnp.zeros((5, 7)), "n": None})) == 35
    assert floats_in(()) == 0


def test_bytes_of_a_training_by_hand() -> None:
    """Episodes of 841 bytes, three copies of five of them; 4 bytes for each of all other numbers.

    Those are the learner's 10, twice; what a method keeps, three times 9 for each agent in 5 * 8 rows; and 100 working.
    """
    learner = {"w": jax.ShapeDtypeStruct((10,), jnp.float32)}
    rows = 5 * 8 * 3
    assert training_bytes(learner, SPEC, 5, 9, 100) == 3 * 5 * 841 + 4 * (20 + 3 * rows * 9 + 100)
    assert training_bytes(learner, SPEC, 5, 0, 0, kept=7) == 7 * 5 * 841 + 4 * 20


def test_a_visit_takes_no_more_rows_than_there_are() -> None:
    """Of eight rows an episode: fewer than all, all of them, and what a larger chunk would take."""
    assert [visited(chunk, SPEC, 3) for chunk in (1, 23, 24, 25, 4096)] == [1, 23, 24, 24, 24]
