"""What the views for single environments share: one battle is a lane of the simulator."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from views_lab import LIMIT, legal, maps_with_every_unit, shorten

from seca.smac import simulator
from seca.smac.views.battle import SingleBattle, whole_numbers


@pytest.mark.slow
def test_it_is_the_simulator_of_the_same_key():
    single = SingleBattle("3m", {})
    rng = np.random.default_rng(0)
    frames = [single.reset(seed=7)]
    plan = []
    for _ in range(8):
        plan.append(legal(frames[-1].avail, rng))
        frames.append(single.step(plan[-1]))
    key = jax.random.key(np.random.default_rng(7).integers(2**32, dtype=np.uint32))
    battles = simulator.make("3m")
    jitted = jax.jit(battles.step), jax.jit(battles.reset)
    state, shown = jitted[1](key[None])
    for frame, actions in zip(frames, [*plan, None], strict=True):
        np.testing.assert_array_equal(frame.obs, shown.obs[0])
        np.testing.assert_array_equal(frame.state, shown.state[0])
        np.testing.assert_array_equal(frame.avail, shown.avail[0])
        assert frame.reward == float(shown.reward[0])
        if actions is not None:
            state, shown = jitted[0](state, actions[None].astype(np.int32))
    assert any(frame.reward > 0 for frame in frames)


LATE = 18
"""Env steps until shots have been fired at a team that stands still, which is when battles begin to differ."""


def _states(single: SingleBattle, steps: int) -> np.ndarray:
    stay = np.ones(single.field.n_agents, int)
    return np.stack([single.step(stay).state for _ in range(steps)])


@pytest.mark.slow
def test_a_seed_is_a_sequence_of_battles():
    one, other = SingleBattle("3m", {}), SingleBattle("3m", {})
    battles = []
    for single in (one, other):
        single.reset(seed=3)
        first = _states(single, LATE)
        single.reset()
        battles.append((first, _states(single, LATE)))
    np.testing.assert_array_equal(battles[0], battles[1])
    assert (battles[0][0] != battles[0][1]).any()
    one.reset(seed=4)
    assert (_states(one, LATE) != battles[0][0]).any()


def test_without_a_seed_battles_differ():
    """Of two that are drawn in 50 pairs about one has the same shots so far: five that are all the same are none."""
    states = []
    for _ in range(5):
        single = SingleBattle("3m", {})
        single.reset()
        states.append(_states(single, LATE))
    assert any((states[0] != other).any() for other in states[1:])


@pytest.mark.slow
def test_the_time_limit_is_no_defeat(monkeypatch):
    shorten(monkeypatch)
    single = SingleBattle("3m", {})
    single.reset(seed=0)
    stay = np.ones(3, int)
    for _ in range(LIMIT - 1):
        assert not single.step(stay).done
    last = single.step(stay)
    assert last.truncated and not last.terminated and not last.won
    again = single.step(stay)
    assert again.done and again.reward == 0
    np.testing.assert_array_equal(again.state, last.state)


@pytest.mark.every
@pytest.mark.parametrize("map_name", maps_with_every_unit())
def test_bounds_hold_on_maps_with_every_unit(map_name):
    single = SingleBattle(map_name, {"obs_last_action": True, "obs_timestep_number": True})
    rng = np.random.default_rng(1)
    frame = single.reset(seed=1)
    for _ in range(40):
        assert frame.obs.shape == (single.field.n_agents, single.obs_size)
        assert np.abs(frame.obs).max() <= 1
        assert np.abs(frame.state).max() <= single.state_bound
        assert frame.avail.any(axis=1).all()
        frame = single.step(legal(frame.avail, rng))


def test_programs_are_shared():
    assert SingleBattle("3m", {})._step is SingleBattle("3m", {})._step
    assert SingleBattle("3m", {})._step is not SingleBattle("3m", {"jitter": False})._step


def test_bad_input():
    with pytest.raises(ValueError, match="`map_name`"):
        SingleBattle("4m", {})
    with pytest.raises(ValueError, match="obs_everything"):
        SingleBattle("3m", {"obs_everything": True})
    single = SingleBattle("3m", {})
    with pytest.raises(ValueError, match="`reset` first"):
        single.step(np.ones(3, int))
    with pytest.raises(ValueError, match="`seed` must be 0 or more, got -1"):
        single.reset(seed=-1)
    single.reset(seed=0)
    with pytest.raises(ValueError, match="one action per agent, 3"):
        single.step(np.ones(2, int))
    for wrong in (-1, 9):
        with pytest.raises(ValueError, match="0 .. 8"):
            single.step(np.array([1, 1, wrong]))


NAMES = ["agent 0", "agent 1", "agent 2"]
RIGHT = [1, 1.0, np.int8(1), np.uint64(1), np.float32(1), np.array(1), np.array(1.0), jnp.array(1), jnp.array(1.0)]


class Scalar:
    """As PyTorch's: an integer when asked for one."""

    def __index__(self) -> int:
        return 4


def test_whole_numbers_of_any_kind():
    for right in RIGHT:
        assert whole_numbers([1, right, 1], NAMES, 9) == [1, 1, 1]
    assert whole_numbers([Scalar(), 2, 3], NAMES, 9) == [4, 2, 3]
    for joint in (np.array([0, 2, 4]), np.array([0.0, 2.0, 4.0]), jnp.array([0, 2, 4]), (0, 2, 4), iter([0, 2, 4])):
        assert whole_numbers(joint, NAMES, 9) == [0, 2, 4]


@pytest.mark.parametrize(
    "joint", [[1, 1], np.ones(4, int), [], 1, None, np.array(1), {1: 0, 2: 0, 3: 0}, {1, 2, 3}, b"111"], ids=str
)
def test_one_action_per_agent(joint):
    with pytest.raises(ValueError, match="`actions` must hold one action per agent, 3; got"):
        whole_numbers(joint, NAMES, 9)


@pytest.mark.parametrize("joint", [np.array([True] * 3), jnp.array([True] * 3), np.array(["1"] * 3), "111"], ids=str)
def test_arrays_of_what_are_no_numbers(joint):
    with pytest.raises(ValueError, match="`actions` of agent 0 must be a whole number in 0 .. 8, got"):
        whole_numbers(joint, NAMES, 9)
