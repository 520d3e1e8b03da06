"""Episodes played at random: what is kept of them, who acts, and what is left of a play that breaks."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from mistaken import LIMIT, Hunt

from seca.envs import play, registry

KEYS = jax.random.split(jax.random.key(3), 10)


def test_rows_are_what_was_shown() -> None:
    """The same actions stepped by hand show the same."""
    env = Hunt().make()
    seen = play.Player(env).play(KEYS[:5], KEYS[5:], play.legal(env.spec), 9, beyond=9)
    assert seen.steps == 9 and seen.broken is None
    state, shown = env.reset(KEYS[:5])
    for t in range(10):
        for name in ("obs", "state", "avail", "reward", "terminated", "truncated"):
            np.testing.assert_allclose(getattr(seen, name)[t], getattr(shown, name), rtol=1e-6)
        np.testing.assert_array_equal(seen.info["won"][t], shown.info["won"])
        if t < 9:
            state, shown = env.step(state, jnp.asarray(seen.actions[t]))


def test_play_ends_a_little_after_all_episodes() -> None:
    env = Hunt().make()
    seen = play.Player(env).play(KEYS[:5], KEYS[5:], play.legal(env.spec), 100, beyond=4)
    assert seen.steps == seen.ends.max() + 4 and seen.ends.max() <= LIMIT
    by_hand = [next(t for t in range(len(seen.done)) if seen.done[t, i]) for i in range(5)]
    assert seen.ends.tolist() == by_hand
    short = play.Player(env).play(KEYS[:5], KEYS[5:], play.legal(env.spec), 0)
    assert short.steps == 0 and short.ends.tolist() == [1] * 5


def test_actions_follow_from_a_runners_own_key() -> None:
    """In another batch, and another place of it, a runner does the same."""
    env = Hunt().make()
    player, legal = play.Player(env), play.legal(env.spec)
    seen = player.play(KEYS[:5], KEYS[5:], legal, 6)
    few = player.play(KEYS[np.array([4, 1, 2])], KEYS[np.array([9, 6, 7])], legal, 6)
    np.testing.assert_array_equal(few.actions, seen.actions[:, [4, 1, 2]])


def test_legal_actions_are_available_and_illegal_ones_any() -> None:
    spec = Hunt().make().spec
    avail = jnp.ones((400, 2, 3), bool).at[:, 0, 1].set(False)
    keys = jax.random.split(jax.random.key(0), 400)
    [legal, illegal] = [np.asarray(choose(keys, avail)) for choose in (play.legal(spec), play.illegal(spec))]
    assert [set(legal[:, agent].tolist()) for agent in (0, 1)] == [{0, 2}, {0, 1, 2}]
    assert [set(illegal[:, agent].tolist()) for agent in (0, 1)] == [{0, 1, 2}] * 2
    assert legal.dtype == illegal.dtype == np.int32


def test_points_of_a_box_and_beyond() -> None:
    spec = registry.make("mpe/predator-prey", {"actions": "continuous"}).spec
    avail = jnp.ones((400, spec.n_agents, spec.n_actions), bool)
    keys = jax.random.split(jax.random.key(0), 400)
    inside = np.asarray(play.legal(spec)(keys, avail))
    assert inside.shape == avail.shape and np.abs(inside).max() <= 1 and inside.min() < -0.9 and inside.max() > 0.9
    assert set(np.unique(play.illegal(spec)(keys, avail)).tolist()) == {-3.0, -1.0, 1.0, 3.0}


@pytest.mark.parametrize(("where", "rows"), [("reset", 0), ("step", 1)])
def test_what_breaks_leaves_the_rows_until_then(where: str, rows: int) -> None:
    env = Hunt().make()

    def raises(*_: Any) -> Any:
        raise KeyError("no such unit")

    if where == "step":
        broken = dataclasses.replace(env, step=raises)
    else:
        broken = dataclasses.replace(env, reset=Once(env.reset))
    player = play.Player(broken)
    seen = player.play(KEYS[:5], KEYS[5:], play.legal(env.spec), 6)
    assert len(seen.obs) == rows and seen.obs.shape[1:] == (5, 2, 3)
    assert seen.broken is not None and seen.broken.startswith(f"`{where}` raises KeyError: 'no such unit'")


class Once:
    """A function that can be traced a single time."""

    def __init__(self, function: Any) -> None:
        self._function, self._called = function, False

    def __call__(self, keys: Any) -> Any:
        if self._called:
            raise KeyError("no such unit")
        self._called = True
        return self._function(keys)
