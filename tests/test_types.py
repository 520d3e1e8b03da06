"""What the shared records say of themselves."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.types import EnvSpec, Episodes, TimeStep


def test_a_time_step_is_done_for_either_reason() -> None:
    of = jnp.array([False, True, False]), jnp.array([False, False, True])
    shown = TimeStep(
        obs=jnp.zeros((3, 2, 1)),
        state=jnp.zeros((3, 1)),
        avail=jnp.ones((3, 2, 4), bool),
        reward=jnp.zeros(3),
        terminated=of[0],
        truncated=of[1],
        info={},
    )
    assert shown.done.tolist() == [False, True, True]


def episodes(lengths: list[int], cut: list[bool]) -> Episodes:
    """Episodes of so many steps, the last of which terminates or is cut, padded to 4."""
    batch, time = len(lengths), 4
    last = np.arange(time) == np.array(lengths)[:, None] - 1
    return Episodes(
        reward=jnp.zeros((batch, time)),
        terminated=jnp.asarray(last & ~np.array(cut)[:, None]),
        truncated=jnp.asarray(last & np.array(cut)[:, None]),
        valid=jnp.asarray(np.arange(time) < np.array(lengths)[:, None]),
        obs=jnp.zeros((batch, time + 1, 2, 1)),
        state=jnp.zeros((batch, time + 1, 1)),
        avail=jnp.ones((batch, time + 1, 2, 3), bool),
        actions=jnp.zeros((batch, time + 1, 2), jnp.int32),
    )


def test_an_episode_is_as_long_as_its_real_steps() -> None:
    assert episodes([1, 4, 3], [False, True, False]).length.tolist() == [1, 4, 3]


def test_only_a_terminal_time_limit_ends_what_it_cuts() -> None:
    """The second episode is cut: its return is bootstrapped, but for `terminal`."""
    found = episodes([2, 3], [False, True])
    ends = [[False, True, False, False], [False, False, False, False]]
    assert found.ended("bootstrap").tolist() == ends
    assert found.ended("terminal").tolist() == [ends[0], [False, False, True, False]]


def test_shapes_are_checked() -> None:
    """In tests: the rows of one field are those of the others."""
    with pytest.raises(Exception, match="obs"):
        dataclasses.replace(episodes([1], [False]), obs=jnp.zeros((1, 4, 2, 1)))


def test_a_spec_is_no_array() -> None:
    """It is compared and hashed whole, and what differs in one field is another environment."""
    spec = EnvSpec("a/b", "1", 2, 3, 4, 5, 6)
    assert spec == EnvSpec("a/b", "1", 2, 3, 4, 5, 6) and hash(spec) == hash(dataclasses.replace(spec))
    assert spec != dataclasses.replace(spec, version="2") and (spec.options, spec.ally_features) == ((), 0)
    assert not any(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(spec))
