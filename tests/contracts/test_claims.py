"""What every method says of its agents: to be seen and for audits, so the same form for all."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import BOXED, SPEC, random_episodes
from tiers import cases

from seca.algos.base import Algorithm, Claim
from seca.credit.base import KINDS
from seca.presets import PRESETS, build, compared
from seca.types import EnvSpec, Episodes, TimeStep

SILENT = {"mappo", "ippo", "ia2c", "vdac", "vmix"}
"""They judge the team alone: values of agents, if any, but none of an action. What they say is no credit."""
NAMES = [name for name in PRESETS if compared(name)] + ["coma-mpe", "seca-mpe", "iac-mpe", "sqddpg"]
SHOWN = (
    "seca",
    "seca-shapley",
    "seca-fork",
    "indadv",
    "coma",
    "lica",
    "riit",
    "scc",
    "qmix",
    "qplex",
    "mappo",
    "iac-mpe",
    "sqddpg",
)
"""One of each way to claim a credit."""
SMALL = {"agent_hidden": 8, "actor_hidden": 8, "critic_hidden": 8, "critic_embed": 8, "critic_width": 8, "hidden": 8}
OWN_ACTION = ["coma", "lica", "riit", "qmix", "iql", "vdn"]
"""Their credit is linear in the agent's own policy: its mean over that is 0."""
ADDS_UP = dict.fromkeys(sorted(SILENT), "no") | {
    "seca": "sum",
    "seca-shapley": "sum",
    "coma": "mean",
    "iac-mpe": "mean",
}
"""Where the value at the policies and the credits make the critic's value of what was done: added up, or in the mean
over agents whose critics are their own."""


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
    assert algorithm.claims is not None
    kind = algorithm.claims.kind
    assert (kind is None and algorithm.claims.says) if name in SILENT else kind in KINDS
    episodes = random_episodes(garbage=5.0)
    claim = jax.jit(algorithm.claims.fn)(learner, episodes, jnp.uint32(10_000), jax.random.key(1))
    check_shapes(claim, episodes, SPEC)
    valid, avail = np.asarray(episodes.valid), np.asarray(episodes.avail)[:, :-1]
    policy = np.asarray(claim.policy)[valid]
    np.testing.assert_allclose(policy.sum(axis=-1), 1, atol=1e-5)
    assert (policy >= 0).all() and (policy[~avail[valid]] == 0).all()
    for order in () if claim.order is None else (np.asarray(claim.order)[valid],):
        assert (np.sort(order, axis=-1) == np.arange(SPEC.n_agents)).all()
    assert (claim.order is not None) == (kind == "sequential")


def check_shapes(claim: Claim, episodes: Episodes, spec: EnvSpec) -> None:
    """The schema that all methods have: credit, policy, value and TD error, finite on real steps, 0 on padding."""
    valid = np.asarray(episodes.valid)
    assert claim.policy is not None and claim.value is not None and claim.team is not None
    assert claim.credit.shape == (*valid.shape, spec.n_agents)
    assert claim.policy.shape == (*valid.shape, spec.n_agents, spec.action_width)
    assert claim.value.shape == claim.team.shape == valid.shape
    for said in (claim.credit, claim.team):
        assert (
            np.isfinite(said).all() and (np.asarray(said)[~valid] == 0).all() and (np.asarray(said)[valid] != 0).any()
        )
    for said in (claim.policy, claim.value):
        assert np.isfinite(np.asarray(said)[valid]).all()


@pytest.mark.slow
@pytest.mark.parametrize("name", ["seca", "seca-shapley", "lica", "sqddpg", "mappo", "ia2c"])
def test_claims_of_continuous_actions(name: str) -> None:
    algorithm = build(name, BOXED, PRESETS[name].config)
    assert algorithm.claims is not None
    learner, episodes = algorithm.init(jax.random.key(0)), random_episodes(garbage=5.0, spec=BOXED)
    claim = jax.jit(algorithm.claims.fn)(learner, episodes, jnp.uint32(0), jax.random.key(1))
    check_shapes(claim, episodes, BOXED)


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(ADDS_UP, "seca", "coma", "mappo", "vmix"))
def test_what_is_said_adds_up_to_the_reward_where_an_episode_ends(name: str) -> None:
    """There y = r: so V + (y - V) = r, and f(s, pi) + sum_i A_i + (y - f(s, u)) = r, of many critics in the mean."""
    algorithm, learner = made(name)
    assert algorithm.claims is not None
    episodes = random_episodes(garbage=5.0)
    claim = jax.jit(algorithm.claims.fn)(learner, episodes, jnp.uint32(10_000), jax.random.key(1))
    assert claim.value is not None and claim.team is not None
    total, credit = np.asarray(claim.value + claim.team), np.asarray(claim.credit)
    total = total + {"sum": credit.sum(axis=-1), "mean": credit.mean(axis=-1), "no": 0}[ADDS_UP[name]]
    last = np.asarray(episodes.terminated)
    assert last.sum() == 4
    np.testing.assert_allclose(total[last], np.asarray(episodes.reward)[last], atol=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(NAMES, *SHOWN))
def test_the_policy_is_the_one_that_acts(name: str) -> None:
    """In first steps, by 4,000 draws of `act`."""
    algorithm, learner = made(name)
    assert algorithm.claims is not None
    episodes, steps = random_episodes(), jnp.uint32(50_000)
    told, shown = algorithm.initial_carry(episodes.valid.shape[0]), _first_row(episodes)
    draw = jax.jit(jax.vmap(lambda key: _draw(algorithm, learner, told, shown, steps, key)))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(3), 4_000)))
    policy = jax.jit(algorithm.claims.fn)(learner, episodes, steps, jax.random.key(1)).policy
    shares = (drawn[..., None] == np.arange(SPEC.n_actions)).mean(axis=0)
    np.testing.assert_allclose(shares, np.asarray(policy)[:, 0], atol=0.045)


@pytest.mark.slow
@pytest.mark.parametrize("name", OWN_ACTION)
def test_credit_is_nothing_in_the_mean_over_the_own_policy(name: str) -> None:
    """In first steps, whose policies no action has changed yet: sum over a of pi_i(a) credit_i(a, others) = 0."""
    algorithm, learner = made(name)
    assert algorithm.claims is not None
    episodes = random_episodes()
    claims, steps, agent = jax.jit(algorithm.claims.fn), jnp.uint32(50_000), 1
    total, size = np.zeros(len(episodes.valid)), np.zeros(len(episodes.valid))
    for action in range(SPEC.n_actions):
        changed = dataclasses.replace(episodes, actions=episodes.actions.at[:, 0, agent].set(action))
        claim = claims(learner, changed, steps, jax.random.key(1))
        credit, share = np.asarray(claim.credit)[:, 0, agent], np.asarray(claim.policy)[:, 0, agent, action]
        total, size = total + share * credit, size + share * np.abs(credit)
    assert size.max() > 0
    np.testing.assert_allclose(total / size.max(), 0, atol=1e-4)


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
