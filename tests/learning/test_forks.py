"""Which joint actions forks play, and what they amount to, against plain loops."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.learning.forks import Asked, ask

STEPS, AGENTS, ACTIONS = 7, 4, 3


def asked(forks: int, lanes: int, seed: int = 0, sure: float = 1.0) -> tuple[Asked, np.ndarray, np.ndarray]:
    """Questions about random steps, of which the third is not wanted; with actions and orders."""
    rng = np.random.default_rng(seed)
    probs = rng.dirichlet(np.full(ACTIONS, 1 / sure), (STEPS, AGENTS)).astype(np.float32)
    actions = rng.integers(0, ACTIONS, (STEPS, AGENTS)).astype(np.int32)
    order = rng.permuted(np.tile(np.arange(AGENTS, dtype=np.int32), (STEPS, 1)), axis=1)
    wanted = np.arange(STEPS) != 2
    keys = jax.random.split(jax.random.key(seed), STEPS)
    probs, actions, order, wanted = (jnp.asarray(x) for x in (probs, actions, order, wanted))
    return ask(probs, actions, order, wanted, keys, forks, lanes), np.asarray(actions), np.asarray(order)


def chains(found: Asked, step: int) -> list[list[int]]:
    """The lanes of each fork of a step: they have the same luck."""
    bits = np.asarray(jax.random.key_data(found.luck))
    groups: dict[tuple, list[int]] = {}
    for lane in np.flatnonzero(np.asarray(found.step) == step).tolist():
        groups.setdefault(tuple(bits[lane]), []).append(lane)
    return list(groups.values())


@pytest.mark.slow
@pytest.mark.parametrize("forks", [1, 3])
def test_agents_change_one_after_the_other(forks: int) -> None:
    """A fork's first lane is drawn; in each of the others the next agent in the order does what it had done."""
    found, actions, order = asked(forks, lanes=200)
    assert found.known.tolist() == [True, True, False, True, True, True, True]
    seen = 0
    for step in np.flatnonzero(found.known).tolist():
        together = chains(found, step)
        # The last fork of all is also where lanes that play nothing point at.
        together = [[lane for lane in fork if lane == fork[0] or found.changed[lane]] for fork in together]
        assert len(together) <= forks
        for fork in together:
            assert np.diff(fork).tolist() == [1] * (len(fork) - 1) and not found.changed[fork[0]]
            before = np.asarray(found.first[fork[0]]).copy()
            changing = [agent for agent in order[step] if before[agent] != actions[step, agent]]
            assert changing == [int(found.agent[lane]) for lane in fork[1:]]
            for lane in fork[1:]:
                before[found.agent[lane]] = actions[step, found.agent[lane]]
                np.testing.assert_array_equal(found.first[lane], before)
                seen += 1
            if len(fork) > 1:
                np.testing.assert_array_equal(before, actions[step])
    assert seen == int(found.changed.sum()) > 10


@pytest.mark.slow
@pytest.mark.parametrize("lanes", [2, 11, 12, 13, 40])
def test_steps_are_known_as_far_as_the_lanes_reach(lanes: int) -> None:
    """The same questions as with lanes enough, cut off; who is not known has no credit."""
    whole, _, _ = asked(3, lanes=200)
    found, _, _ = asked(3, lanes=lanes)
    ends = [max([-1, *np.flatnonzero(np.asarray(whole.changed) & (np.asarray(whole.step) == s))]) for s in range(STEPS)]
    expected = np.array([s != 2 and ends[s] < lanes for s in range(STEPS)])
    np.testing.assert_array_equal(found.known, expected)
    np.testing.assert_array_equal(found.first, whole.first[:lanes])
    credit = np.asarray(found.credit(jnp.arange(lanes, dtype=jnp.float32) ** 2))
    assert (credit[~np.asarray(found.known)] == 0).all()
    alike = np.asarray(whole.credit(jnp.arange(200, dtype=jnp.float32) ** 2))
    np.testing.assert_allclose(credit[expected], alike[expected], rtol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("forks", [1, 5])
def test_credits_are_means_of_what_changes_bring(forks: int) -> None:
    """Against a loop over the lanes; they add up to what all changes bring."""
    found, actions, _ = asked(forks, lanes=300, seed=3)
    returns = np.random.default_rng(1).normal(size=300).astype(np.float32)
    expected = np.zeros((STEPS, AGENTS))
    for lane in np.flatnonzero(found.changed):
        expected[found.step[lane], found.agent[lane]] += (returns[lane] - returns[lane - 1]) / forks
    np.testing.assert_allclose(found.credit(jnp.asarray(returns)), expected, atol=1e-5)


def test_who_is_sure_of_its_actions_costs_nothing() -> None:
    """With policies that always take what was taken, no lane plays anything, all steps are known, and worth 0."""
    actions = jnp.zeros((STEPS, AGENTS), jnp.int32)
    probs = jax.nn.one_hot(actions, ACTIONS, dtype=jnp.float32)
    order = jnp.tile(jnp.arange(AGENTS, dtype=jnp.int32), (STEPS, 1))
    keys = jax.random.split(jax.random.key(0), STEPS)
    found = ask(probs, actions, order, jnp.ones(STEPS, bool), keys, 4, 2)
    assert found.known.all() and not found.changed.any()
    assert (found.credit(jnp.ones(2)) == 0).all()


@pytest.mark.slow
def test_draws_are_the_same_where_gumbel_noise_is_made_otherwise() -> None:
    """JAX_HIGH_DYNAMIC_RANGE_GUMBEL changes what JAX draws by default; an audit's questions it does not."""
    logits = jnp.log(jnp.full((64, ACTIONS), 1 / ACTIONS))
    usual, (found, *_) = jax.random.categorical(jax.random.key(1), logits), asked(3, 90)
    jax.config.update("jax_high_dynamic_range_gumbel", True)
    try:
        other, (again, *_) = jax.random.categorical(jax.random.key(1), logits), asked(3, 90)
    finally:
        jax.config.update("jax_high_dynamic_range_gumbel", False)
    assert (usual != other).any()  # The option is in force.
    np.testing.assert_array_equal(found.first, again.first)
    np.testing.assert_array_equal(found.changed, again.changed)
