"""SeCA with credits that were tried out: what it adds to SeCA's update, and where it adds nothing."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import SPEC, random_episodes
from sizes import small

from seca.algos import seca
from seca.algos.base import Algorithm, Forking
from seca.algos.seca_fork import SecaForkConfig, held
from seca.presets import build
from seca.types import Episodes, PyTree


def built(name: str, **changes: float) -> Algorithm:
    return build(name, SPEC, small(name, **changes))


@pytest.fixture(scope="module")
def episodes() -> Episodes:
    return random_episodes()


def updated(algorithm: Algorithm, learner: PyTree, episodes: Episodes, tried: tuple | None) -> tuple[PyTree, dict]:
    """After one update, with tried credits or as if there were no such thing."""
    key = jax.random.key(1)
    if tried is None:
        return jax.jit(lambda: algorithm.update(learner, episodes, None, key, None))()
    forking = algorithm.forking
    assert isinstance(forking, Forking)
    return jax.jit(lambda: forking.update(learner, episodes, tried, key, None))()


@pytest.mark.slow
def test_without_a_tried_step_it_is_seca(episodes: Episodes) -> None:
    """Same networks from the same key, same update; the credits of steps that are not known are not looked at."""
    own, other = built("seca"), built("seca-fork")
    learner = other.init(jax.random.key(0))
    assert isinstance(learner, seca.Learner)
    for one, two in zip(jax.tree.leaves(learner), jax.tree.leaves(own.init(jax.random.key(0))), strict=True):
        np.testing.assert_array_equal(one, two)
    nothing = jnp.full((*episodes.valid.shape, SPEC.n_agents), 7.0), jnp.zeros_like(episodes.valid)
    found, metrics = updated(other, learner, episodes, nothing)
    expected, known = updated(own, learner, episodes, None)
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-6)
    assert float(metrics["fork_share"]) == float(metrics["fork_abs"]) == 0
    assert float(metrics["credit_share"]) == pytest.approx(float(known["credit_share"]), rel=1e-5)


@pytest.mark.slow
def test_where_credits_are_known_the_actor_follows_them_alone(episodes: Episodes) -> None:
    """With all of them known the critic's errors do not count: any `td_correction` gives the same actor."""
    rng = np.random.default_rng(0)
    credit = jnp.asarray(rng.normal(size=(*episodes.valid.shape, SPEC.n_agents)), jnp.float32)
    credit = jnp.where(episodes.valid[..., None], credit, 0)
    actors, critics = [], []
    for weight in (1.0, 0.3):
        algorithm = built("seca-fork", td_correction=weight)
        learner = algorithm.init(jax.random.key(0))
        found, metrics = updated(algorithm, learner, episodes, (credit, episodes.valid))
        actors.append(found.actor.params)
        critics.append(found.critic.params)
        assert float(metrics["fork_share"]) == float(metrics["credit_share"]) == pytest.approx(1)
        chosen = np.asarray(episodes.valid[..., None] & (episodes.avail[:, :-1].sum(axis=-1) > 1))
        mean = np.abs(np.asarray(credit))[chosen].mean()
        assert float(metrics["fork_abs"]) == pytest.approx(mean, rel=1e-5)
    for pair in (actors, critics):
        for one, two in zip(*map(jax.tree.leaves, pair), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-6)
    opposite, _ = updated(algorithm, learner, episodes, (-credit, episodes.valid))
    moves = [
        np.concatenate([np.ravel(new - old) for new, old in zip(*map(jax.tree.leaves, pair), strict=True)])
        for pair in ((actors[1], learner.actor.params), (opposite.actor.params, learner.actor.params))
    ]
    assert np.corrcoef(np.stack(moves))[0, 1] < -0.5


def test_forks_take_memory() -> None:
    """More lanes, more bytes; all more than SeCA alone."""
    sizes = [built("seca-fork", fork_lanes=lanes).memory(8) for lanes in (24, 240)]
    assert built("seca").memory(8) < sizes[0] < sizes[1]


def test_options_reach_what_the_loop_is_asked_for() -> None:
    forking = built("seca-fork", fork_every=3, fork_lanes=50, forks=7, fork_steps=5, gamma=0.9).forking
    assert forking is not None
    found = [getattr(forking.options, name) for name in ("fork_every", "fork_lanes", "forks", "fork_steps")]
    assert found == [3, 50, 7, 5] and forking.gamma == 0.9


@pytest.mark.parametrize("credit", ["counterfactual", "independent", "shapley"])
def test_another_credit_is_refused(credit: str) -> None:
    """Forks find Eq. 5, so what the critic says of other steps has to be an estimate of it."""
    with pytest.raises(ValueError, match=f"`credit` is {credit}; forks find .*: choose swept, exact, monte_carlo"):
        build("seca-fork", SPEC, dataclasses.replace(small("seca-fork"), credit=credit))


def test_what_forks_take_counts_as_memory() -> None:
    """More than SeCA's own, and lanes and the steps drawn for them count for each forked episode."""
    own, other = built("seca").memory(6), built("seca-fork").memory(6)
    assert other > own
    config = SecaForkConfig(fork_every=4, fork_lanes=64, forks=32)
    few, many = held(6, SPEC, config), held(6, SPEC, dataclasses.replace(config, fork_lanes=128))
    # Of 6 episodes one in 2 is forked: 4 does not divide them.
    assert few == held(6, SPEC, dataclasses.replace(config, fork_every=2)) == 3 * held(1, SPEC, config)
    # A lane holds at least one row of the battle and the agents' recurrent states.
    lane = 4 * (SPEC.n_agents * (SPEC.obs_size + config.actor_hidden) + SPEC.state_size)
    assert 3 * 64 * lane < many - few < 3 * 64 * 10 * lane
