"""What every method says of single agents: for audits, so the same form for all, and nothing about nobody."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import BOXED, SPEC, random_episodes
from tiers import cases

from seca.algos.base import Algorithm
from seca.credit.base import KINDS
from seca.presets import PRESETS, build, compared
from seca.types import TimeStep

SILENT = {"mappo", "ippo", "ia2c", "vdac", "vmix"}
"""They judge the team alone: values of agents, if any, but none of an action."""
NAMES = [name for name in PRESETS if compared(name)]
SHOWN = ("seca", "seca-shapley", "seca-fork", "indadv", "coma", "lica", "riit", "scc", "qmix", "qplex", "mappo")
"""One of each way to claim a credit."""
SMALL = {"agent_hidden": 8, "actor_hidden": 8, "critic_hidden": 8, "critic_embed": 8, "critic_width": 8}
OWN_ACTION = ["coma", "lica", "riit", "qmix", "iql", "vdn"]
"""Their credit is linear in the agent's own policy: its mean over that is 0."""


def made(name: str) -> tuple[Algorithm, Any]:
    config: Any = PRESETS[name].config
    names = {field.name for field in dataclasses.fields(config)}
    changes = {field: size for field, size in SMALL.items() if field in names}
    spec = dataclasses.replace(SPEC, ally_features=2)  # Which Qatten reads.
    algorithm = build(name, spec, dataclasses.replace(config, **changes))
    return algorithm, algorithm.init(jax.random.key(0))


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(NAMES, *SHOWN))
def test_claims_of_every_method(name: str) -> None:
    algorithm, learner = made(name)
    if name in SILENT:
        assert algorithm.claims is None
        return
    assert algorithm.claims is not None and algorithm.claims.kind in KINDS
    episodes = random_episodes(garbage=5.0)
    steps = jnp.uint32(10_000)
    claim = jax.jit(algorithm.claims.fn)(learner, episodes, steps, jax.random.key(1))
    assert claim.credit.shape == (*episodes.valid.shape, SPEC.n_agents)
    assert np.isfinite(claim.credit).all() and (np.asarray(claim.credit)[~np.asarray(episodes.valid)] == 0).all()
    assert (np.asarray(claim.credit)[np.asarray(episodes.valid)] != 0).any()
    for order in () if claim.order is None else (np.asarray(claim.order)[np.asarray(episodes.valid)],):
        assert (np.sort(order, axis=-1) == np.arange(SPEC.n_agents)).all()
    assert (claim.order is not None) == (algorithm.claims.kind == "sequential")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seca", "seca-shapley", "lica", "sqddpg"])
def test_claims_of_continuous_actions(name: str) -> None:
    algorithm = build(name, BOXED, PRESETS[name].config)
    assert algorithm.claims is not None
    learner, episodes = algorithm.init(jax.random.key(0)), random_episodes(garbage=5.0, spec=BOXED)
    claim = jax.jit(algorithm.claims.fn)(learner, episodes, jnp.uint32(0), jax.random.key(1))
    valid = np.asarray(episodes.valid)
    assert claim.credit.shape == (*valid.shape, BOXED.n_agents) and np.isfinite(claim.credit).all()
    assert (np.asarray(claim.credit)[~valid] == 0).all() and (np.asarray(claim.credit)[valid] != 0).any()


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN_ACTION)
def test_credit_is_nothing_in_the_mean_over_the_own_policy(name: str) -> None:
    """In first steps, whose policies no action has changed yet: sum over a of pi_i(a) credit_i(a, others) = 0."""
    algorithm, learner = made(name)
    assert algorithm.claims is not None
    episodes = random_episodes()
    claims, steps, agent = jax.jit(algorithm.claims.fn), jnp.uint32(50_000), 1
    told = algorithm.initial_carry(episodes.valid.shape[0])
    shown = _first_row(episodes)
    draws = jax.jit(jax.vmap(lambda key: _draw(algorithm, learner, told, shown, steps, key)), static_argnums=())(
        jax.random.split(jax.random.key(3), 20_000)
    )
    total, size = np.zeros(len(episodes.valid)), np.zeros(len(episodes.valid))
    for action in range(SPEC.n_actions):
        changed = dataclasses.replace(episodes, actions=episodes.actions.at[:, 0, agent].set(action))
        credit = np.asarray(claims(learner, changed, steps, jax.random.key(1)).credit)[:, 0, agent]
        share = np.asarray((draws[:, :, agent] == action).mean(axis=0))
        total, size = total + share * np.where(share > 0, credit, 0), size + share * np.abs(credit)
    assert size.max() > 0
    np.testing.assert_allclose(total / size.max(), 0, atol=0.03)


def _first_row(episodes):
    batch = episodes.valid.shape[0]
    return TimeStep(
        obs=episodes.obs[:, 0],
        state=episodes.state[:, 0],
        avail=episodes.avail[:, 0],
        reward=jnp.zeros(batch),
        terminated=jnp.zeros(batch, bool),
        truncated=jnp.zeros(batch, bool),
        info={},
    )


def _draw(algorithm, learner, carry, shown, steps, key):
    keys = jax.random.split(key, shown.reward.shape[0])
    return algorithm.act(algorithm.policy(learner), carry, shown, keys, steps, False).actions
