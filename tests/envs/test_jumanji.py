"""Environments in Jumanji's form: views, masks and ends as ours, and Jumanji's own where it is."""

import dataclasses
import importlib.util
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.envs import check, jumanji, registry
from seca.envs.base import Env

HAS = importlib.util.find_spec("jumanji") is not None
REAL = {
    "Cleaner-v0": ({}, (3, 4, 109, 107, 100)),
    "Connector-v2": ({"grid_size": 5, "num_agents": 3}, (3, 5, 151, 26, 50)),
    "LevelBasedForaging-v0": ({}, (2, 6, 13, 25, 100)),
    "MMST-v0": ({"limit": 20}, (3, 36, 1337, 1336, 20)),
    "RobotWarehouse-v0": ({"limit": 40, "num_agents": 3}, None),
}


class Seen(NamedTuple):
    """What agents with views of their own see."""

    agents_view: jax.Array
    action_mask: jax.Array
    step_count: jax.Array


class Board(NamedTuple):
    """What everybody sees."""

    grid: jax.Array
    agents_locations: jax.Array
    action_mask: jax.Array


class Told(eqx.Module):
    """As much of a timestep as there is."""

    step_type: Any
    reward: Any
    discount: Any
    observation: Any


@dataclasses.dataclass(frozen=True)
class MultiDiscrete:
    num_values: Any
    dtype: Any = jnp.int32


class Walk:
    """A line on which an agent of three actions and one of two move; who walks to 3 has ended the game.

    In Jumanji's form: one episode a call. At its own limit the discount is 0, as at an end.
    """

    def __init__(self, time_limit: int | None = 6, views: bool = True, team: bool = False, **spec: Any) -> None:
        self.action_spec = MultiDiscrete(jnp.array([3, 2])) if "spec" not in spec else spec["spec"]
        self._views, self._team, self._discount = views, team, spec.get("discount", 0.0)
        if time_limit is not None:
            self.time_limit = time_limit

    def _told(self, state: Any, step_type: Any, reward: Any, discount: Any) -> Told:
        at, t = state["at"], state["t"]
        mask = jnp.array([[True, True, False], [False, False, False]]).at[0, 2].set(at != 2)
        if self._views:
            seen = Seen(jnp.stack([jnp.array([at, 1]), jnp.array([2, at])]), mask, t)
        else:
            seen = Board(jnp.arange(4).reshape(2, 2) + at, jnp.array([[at, 7], [8, at]]), mask)
        shape = () if self._team else (2,)
        return Told(step_type, jnp.broadcast_to(reward, shape), jnp.broadcast_to(discount, shape), seen)

    def reset(self, key: jax.Array) -> tuple[Any, Told]:
        state = {"at": jnp.zeros((), jnp.int32), "t": jnp.zeros((), jnp.int32), "key": key}
        return state, self._told(state, jnp.int8(0), jnp.zeros(2)[0], jnp.ones(()))

    def step(self, state: Any, action: jax.Array) -> tuple[Any, Told]:
        assert action.shape == (2,) and action.dtype == jnp.int32
        at = state["at"] + (action[0] == 1) + (action[1] == 1) - (action[0] == 2)
        state = {"at": at, "t": state["t"] + 1, "key": state["key"]}
        over = (at >= 3) | (state["t"] >= getattr(self, "time_limit", 99))
        reward = at.astype(jnp.float32) if self._team else jnp.stack([at.astype(jnp.float32), jnp.float32(1)])
        return state, self._told(
            state, jnp.where(over, 2, 1).astype(jnp.int8), reward, jnp.where(over, self._discount, 1)
        )


def adapted(limit: int | None = None, team_reward: str = "mean", **walk: Any) -> Env:
    return jumanji.adapt(Walk(**walk), "jumanji:walk", "jumanji-test", limit, team_reward)


def play(env: Env, actions: list[list[int]], batch: int = 3) -> list[Any]:
    """What is shown along a list of joint actions, the same in the whole batch."""
    state, shown = jax.jit(env.reset)(jax.random.split(jax.random.key(0), batch))
    step, steps = jax.jit(env.step), [shown]
    for joint in actions:
        state, shown = step(state, jnp.tile(jnp.array(joint, jnp.int32), (batch, 1)))
        steps.append(shown)
    return jax.device_get(steps)


def test_views_masks_and_the_clock() -> None:
    """The action that the second agent lacks is masked; of whom nothing is allowed all that it has is."""
    env = adapted()
    check.check_env(env)
    spec = env.spec
    assert (spec.n_agents, spec.n_actions, spec.obs_size, spec.state_size, spec.episode_limit) == (2, 3, 3, 5, 6)
    shown = play(env, [[1, 1]])
    assert shown[0].avail[0].tolist() == [[True, True, True], [True, True, False]]
    assert shown[1].avail[0].tolist() == [[True, True, False], [True, True, False]]
    np.testing.assert_allclose(shown[1].obs[0], [[2, 1, 1 / 6], [2, 2, 1 / 6]], rtol=1e-6)
    np.testing.assert_allclose(shown[1].state[0], [2, 1, 2, 2, 1 / 6], rtol=1e-6)


def test_what_everybody_sees_is_the_state() -> None:
    """And each agent its own place once more."""
    env = adapted(views=False)
    check.check_env(env)
    [_, shown] = play(env, [[1, 0]])
    assert shown.state[0].tolist() == [1, 2, 3, 4, 1, 7, 8, 1]
    assert shown.obs[0].tolist() == [[1, 2, 3, 4, 1, 7, 8, 1, 1, 7], [1, 2, 3, 4, 1, 7, 8, 1, 8, 1]]


def test_ends_are_told_apart_and_final_observations_are_seen() -> None:
    """Walking to 3 terminates; the library's own limit, and a shorter one, truncate; afterwards nothing moves."""
    shown = play(adapted(), [[1, 1], [1, 0], [1, 1]])
    assert [bool(step.terminated[0]) for step in shown] == [False, False, True, True]
    assert not any(step.truncated.any() for step in shown)
    assert shown[2].obs[0, 0, 0] == 3  # The end, and not the start of another episode.
    assert [float(step.reward[0]) for step in shown] == [0, 1.5, 2, 0]
    np.testing.assert_array_equal(shown[3].obs, shown[2].obs)
    for env, length in ((adapted(), 6), (adapted(limit=4), 4), (adapted(limit=4, time_limit=None), 4)):
        shown = play(env, [[0, 0]] * (length + 1))
        assert [bool(step.truncated[0]) for step in shown] == [False] * length + [True] * 2
        assert not any(step.terminated.any() for step in shown)


def test_an_end_with_a_discount_is_a_cut() -> None:
    shown = play(adapted(discount=1.0), [[1, 1], [1, 0]])
    assert shown[2].truncated.all() and not shown[2].terminated.any()


def test_team_rewards() -> None:
    """Where there is one for the team it is that."""
    assert play(adapted(team_reward="sum"), [[1, 1]])[1].reward[0] == 3.0
    assert play(adapted(team=True), [[1, 1]])[1].reward[0] == 2.0
    with pytest.raises(ValueError, match="`env-options` team_reward is 'max'; choose mean or sum"):
        adapted(team_reward="max")


def test_an_action_that_an_agent_lacks_counts_as_its_last() -> None:
    assert play(adapted(), [[0, 2]])[1].obs[0, 1, 1] == play(adapted(), [[0, 1]])[1].obs[0, 1, 1] == 1


def test_wires_as_each_agent_sees_them() -> None:
    """Of three agents, cell by cell: wire, head and target of one's own, then of the others."""
    grid = jnp.array([[[0, 1, 2], [4, 5, 9]], [[3, 0, 0], [0, 0, 8]]])
    seen = np.asarray(jumanji._wires(3, grid)).reshape(2, 3, 2, 3, 2, 3)
    for b, agent, row, column in np.ndindex(2, 3, 2, 3):
        cell = int(grid[b, row, column])
        expected = np.zeros((2, 3))
        if cell:
            expected[int((cell - 1) // 3 != agent), (cell - 1) % 3] = 1
        np.testing.assert_array_equal(seen[b, agent, :, :, row, column], expected)


@pytest.mark.parametrize(
    ("walk", "limit", "message"),
    [
        ({"time_limit": None}, None, "`env-options` limit is missing: jumanji:walk"),
        ({}, 7, "`env-options` limit is 7 but jumanji:walk ends after 6 env steps"),
        ({}, 0, "`env-options` limit is 0; it must be a whole number of at least 1"),
        ({"spec": MultiDiscrete(jnp.array([4, 9]))}, None, "`env` jumanji:walk has no action for each agent"),
        ({"spec": MultiDiscrete(jnp.array([[3, 2]]))}, None, "has no action for each agent"),
        ({"spec": object()}, None, "has no action for each agent: served are MultiDiscrete actions"),
    ],
)
def test_what_is_not_served(walk: dict[str, Any], limit: int | None, message: str) -> None:
    with pytest.raises(ValueError) as refused:
        adapted(limit=limit, **walk)
    assert message in str(refused.value)


@pytest.mark.skipif(HAS, reason="needs Jumanji to be missing")
def test_without_jumanji() -> None:
    with pytest.raises(ValueError, match=r"`env` jumanji:... needs jumanji: pip install 'seca\[jumanji\]'"):
        registry.make("jumanji:Connector-v2")
    assert jumanji.names() == []


NEEDS = pytest.mark.skipif(not HAS, reason=f"needs Jumanji ({jumanji.INSTALL})")


@NEEDS
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", REAL)
def test_jumanjis_own(name: str) -> None:
    """The contract, the sizes, and whole episodes by random play: they end, and stay as they ended."""
    options, sizes = REAL[name]
    env = registry.make(f"jumanji:{name}", options)
    spec = env.spec
    found = spec.n_agents, spec.n_actions, spec.obs_size, spec.state_size, spec.episode_limit
    assert sizes is None or found == sizes
    state, shown = jax.jit(env.reset)(jax.random.split(jax.random.key(0), 3))
    step, key = jax.jit(env.step), jax.random.key(1)
    for t in range(spec.episode_limit):
        assert shown.avail.any(axis=-1).all() and np.isfinite(shown.obs).all()
        before = shown
        actions = jax.random.categorical(jax.random.fold_in(key, t), jnp.where(shown.avail, 0.0, -jnp.inf))
        state, shown = step(state, actions)
        ended = np.asarray(before.done)
        assert (np.asarray(shown.reward)[ended] == 0).all()
        np.testing.assert_array_equal(np.asarray(shown.obs)[ended], np.asarray(before.obs)[ended])
    assert shown.done.all()


@NEEDS
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_end_is_theirs_and_not_the_next_start() -> None:
    """One episode beside the library's own `step`: rewards, and what is seen, to the end and in it."""
    import jumanji as library  # pyrefly: ignore

    env, key = registry.make("jumanji:LevelBasedForaging-v0", {"limit": 100}), jax.random.key(5)
    theirs = library.make("LevelBasedForaging-v0", viewer=object())
    state, shown = env.reset(key[None])
    own, told = theirs.reset(key)
    step, own_step = jax.jit(env.step), jax.jit(theirs.step)
    for t in range(100):
        np.testing.assert_array_equal(shown.obs[0, :, :-1], told.observation.agents_view)
        np.testing.assert_allclose(shown.obs[0, :, -1], told.observation.step_count / 100, rtol=1e-6)
        np.testing.assert_array_equal(shown.avail[0], told.observation.action_mask)
        assert bool(shown.done[0]) == bool(told.last()) == (t == 100)
        actions = jax.random.categorical(jax.random.key(t), jnp.where(shown.avail, 0.0, -jnp.inf))
        (state, shown), (own, told) = step(state, actions), own_step(own, actions[0])
        assert shown.reward[0] == pytest.approx(float(told.reward.mean()))
        if told.last():
            break
    np.testing.assert_array_equal(shown.obs[0, :, :-1], told.observation.agents_view)
    assert shown.done[0]


@NEEDS
@pytest.mark.filterwarnings("ignore")
def test_jumanjis_refusals() -> None:
    with pytest.raises(ValueError, match="`env` 'jumanji:nope' does not exist; choose from Cleaner-v0, Connector-v2"):
        registry.make("jumanji:nope")
    with pytest.raises(ValueError, match="`env` 'jumanji:Tetris-v0' is no game of a team; choose from Cleaner-v0"):
        registry.make("jumanji:Tetris-v0")
    with pytest.raises(
        ValueError, match="`env-options` do not fit jumanji:Cleaner-v0: ValueError: nonsense is unknown"
    ):
        registry.make("jumanji:Cleaner-v0", {"nonsense": 1})
