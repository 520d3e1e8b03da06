"""Several networks: alike they are the shared one, apart nobody's gradient touches another's."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import SPEC, in_float64, random_episodes
from reference import float64_fixture

from seca.learning.acting import fresh_agent, unroll
from seca.learning.through_time import through_time
from seca.nets.agents import NormalisedAgent, RecurrentAgent
from seca.nets.several import Several, by_network, own, several
from seca.policies import of_taken

_ = float64_fixture
SIZE = {"n_inputs": 5, "hidden": 7}
MAKES = {
    "recurrent": functools.partial(RecurrentAgent.init, **SIZE, n_actions=3),
    "normalised": functools.partial(NormalisedAgent.init, **SIZE, n_outputs=3, head_gain=0.5),
}


def alike(agent: Any, whose: tuple[int, ...]) -> Several:
    """Networks that are all the same."""
    copies = max(whose) + 1
    return Several(jax.tree.map(lambda x: jnp.broadcast_to(x, (copies, *x.shape)), agent), whose)


def drawn(*shape: int) -> jax.Array:
    return jnp.asarray(np.random.default_rng(sum(shape)).normal(size=shape), jnp.float32)


@pytest.mark.parametrize("make", MAKES)
@pytest.mark.parametrize("whose", [(0, 1, 2), (0, 1, 0), (0, 0, 0)])
def test_equal_networks_are_the_shared_one(make: str, whose: tuple[int, ...]) -> None:
    agent = MAKES[make](jax.random.key(0))
    several_of_it = alike(agent, whose)
    inputs, h = drawn(4, 2, 3, 5), drawn(4, 2, 3, 7)
    for one, two in zip(several_of_it(inputs, h), agent(inputs, h), strict=True):
        np.testing.assert_allclose(one, two, atol=1e-5)
    if isinstance(agent, NormalisedAgent):
        apart = own(several_of_it)
        assert isinstance(apart, NormalisedAgent)
        for one, two in zip(apart.through_time(inputs, h[:, 0]), agent.through_time(inputs, h[:, 0]), strict=True):
            np.testing.assert_allclose(one, two, atol=1e-5)


@pytest.mark.parametrize("make", MAKES)
def test_each_agent_acts_by_its_own(make: str) -> None:
    """Fresh networks differ, agents of one network do not, and one network of all is that of the key itself."""
    apart = several(MAKES[make], jax.random.key(0), (0, 1, 0))
    assert isinstance(apart, Several)
    inputs, h = (jnp.repeat(drawn(4, 1, size), 3, axis=1) for size in (5, 7))
    _, outputs = apart(inputs, h)
    np.testing.assert_allclose(outputs[:, 0], outputs[:, 2], atol=1e-6)
    assert float(jnp.abs(outputs[:, 0] - outputs[:, 1]).min()) > 1e-4
    one, two = (MAKES[make](key) for key in jax.random.split(jax.random.key(0), 2))
    np.testing.assert_allclose(outputs[:, 0], one(inputs[:, 0], h[:, 0])[1], atol=1e-5)
    np.testing.assert_allclose(outputs[:, 1], two(inputs[:, 1], h[:, 1])[1], atol=1e-5)
    shared, alone = several(MAKES[make], jax.random.key(0), ()), MAKES[make](jax.random.key(0))
    for found, expected in zip(jax.tree.leaves(shared), jax.tree.leaves(alone), strict=True):
        np.testing.assert_array_equal(found, expected)


@pytest.mark.parametrize("make", MAKES)
def test_no_gradient_touches_another_network(make: str) -> None:
    apart = several(MAKES[make], jax.random.key(0), (0, 1, 0))
    inputs, h = drawn(4, 3, 5), drawn(4, 3, 7)
    slope = jax.grad(lambda agent: (agent(inputs, h)[1][:, 1] ** 2).sum())(apart)
    for leaf in jax.tree.leaves(slope):
        assert (np.asarray(leaf[0]) == 0).all() and np.abs(np.asarray(leaf[1])).max() > 0


@pytest.mark.slow
@pytest.mark.parametrize("whose", [(0, 1, 2), (0, 1, 0), ()])
def test_back_through_time(whose: tuple[int, ...], float64: None) -> None:
    """`learning.through_time` by networks of their own is autodiff of the unrolled networks; equal ones add up to the
    gradient of the shared one."""
    spec = dataclasses.replace(SPEC, networks=whose)
    agent = in_float64(fresh_agent(jax.random.key(1), spec, 7, spec.n_actions))
    episodes = random_episodes(garbage=3.0)
    weights = jnp.asarray(np.random.default_rng(0).normal(size=(*episodes.valid.shape, 3)))
    padded = jnp.pad(weights, ((0, 0), (0, 1), (0, 0)))

    def of_row(outputs: jax.Array, told: Any) -> tuple[jax.Array, jax.Array]:
        loss = told[1] * of_taken(outputs, told[0]) ** 2
        return loss, loss

    def plain(agent: Any) -> jax.Array:
        previous = jax.nn.one_hot(episodes.actions, spec.n_actions)
        previous = jnp.concatenate([jnp.zeros_like(previous[:, :1]), previous[:, :-1]], axis=1)
        index = jnp.broadcast_to(jnp.eye(3), (*episodes.obs.shape[:-1], 3))
        inputs = jnp.moveaxis(jnp.concatenate([episodes.obs, previous, index], axis=-1), 1, 0)
        _, outputs = jax.lax.scan(lambda h, x: agent(x, h), jnp.zeros((*inputs.shape[1:3], 7)), inputs)
        taken = of_taken(jnp.moveaxis(outputs, 0, 1), episodes.actions)[:, :-1]
        return jnp.where(episodes.valid[..., None], weights * taken**2, 0).sum()

    @jax.jit
    def both(agent: Any) -> tuple[Any, Any]:
        swept = through_time(agent, episodes, unroll(agent, episodes).hidden, (episodes.actions, padded), of_row)
        return swept.gradient, jax.grad(plain)(agent)

    for one, two in zip(*map(jax.tree.leaves, both(agent)), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-8, atol=1e-10)
    if not whose:
        shared = jax.tree.leaves(both(agent)[0])
        for networks in ((0, 1, 2), (0, 0, 1)):
            of_each = both(alike(agent, networks))[0]
            for one, two in zip(jax.tree.leaves(of_each), shared, strict=True):
                np.testing.assert_allclose(one.sum(axis=0), two, rtol=1e-8, atol=1e-10)


def test_networks_add_up_what_their_agents_ask() -> None:
    agent = several(MAKES["recurrent"], jax.random.key(0), (0, 1, 0))
    ones = jax.tree.map(jnp.ones_like, own(agent))
    found = by_network(agent, ones)
    assert isinstance(found, Several) and found.whose == (0, 1, 0)
    for leaf in jax.tree.leaves(found):
        assert (np.asarray(leaf[0]) == 2).all() and (np.asarray(leaf[1]) == 1).all()
