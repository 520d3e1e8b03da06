"""A game of three steps with luck, a policy that remembers, and the exact worth of every action by enumeration."""

import dataclasses
import functools
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seca.algos.base import Algorithm, Claim, Claims
from seca.credit.base import KINDS
from seca.envs.base import Env
from seca.learning.acting import Acting, Carry
from seca.policies import masked_log_probs, sample
from seca.truth.audit import Audit, audit
from seca.truth.rounds import Plan
from seca.types import Acted, EnvSpec, Episodes, TimeStep

N_AGENTS, N_ACTIONS, LIMIT, PLACES = 3, 2, 3, 4
SPEC = EnvSpec("test/game", "1", N_AGENTS, N_ACTIONS, obs_size=PLACES, state_size=PLACES, episode_limit=LIMIT)
CHANCE = 0.3
"""With which a step leads one place further."""
LAST = PLACES - 1
"""The place that ends the game."""
_rng = np.random.default_rng(5)
REWARD = np.round(_rng.normal(size=(PLACES, *(N_ACTIONS,) * N_AGENTS)), 2)
MOVE = _rng.integers(0, PLACES - 1, (PLACES, *(N_ACTIONS,) * N_AGENTS))
LOGITS = _rng.normal(size=(PLACES, N_ACTIONS + 1, N_AGENTS, N_ACTIONS))
"""By place, last action (or none) and agent."""
GAMMA = 0.9


def env() -> Env:
    """Agents see the place; the reward and where it leads follow from the joint action, and from luck."""
    return Env(SPEC, _reset, _step)


def _shown(place: jax.Array, t: jax.Array, reward: jax.Array) -> TimeStep:
    seen = jax.nn.one_hot(place, PLACES)
    batch = place.shape[0]
    return TimeStep(
        obs=jnp.broadcast_to(seen[:, None], (batch, N_AGENTS, PLACES)),
        state=seen,
        avail=jnp.ones((batch, N_AGENTS, N_ACTIONS), bool),
        reward=reward,
        terminated=place == LAST,
        truncated=(t == LIMIT) & (place != LAST),
        info={},
    )


def _reset(keys: jax.Array):
    zero = jnp.zeros(keys.shape[0], jnp.int32)
    return (keys, zero, zero), _shown(zero, zero, jnp.zeros(keys.shape[0]))


def _step(state, actions: jax.Array):
    keys, place, t = state
    at = (place, *actions.T)
    luck = jax.vmap(lambda key, t: jax.random.uniform(jax.random.fold_in(key, t)))(keys, t) < CHANCE
    over = (place == LAST) | (t == LIMIT)
    following = jnp.where(over, place, jnp.minimum(jnp.asarray(MOVE)[at] + luck, LAST))
    after = jnp.where(over, t, t + 1)
    reward = jnp.where(over, 0, jnp.asarray(REWARD, jnp.float32)[at])
    return (keys, following, after), _shown(following, after, reward)


def probabilities(place: int, last: tuple[int, ...] | None) -> np.ndarray:
    """`[agents, actions]`, of agents that remember what they did."""
    row = [LOGITS[place, N_ACTIONS if last is None else last[i], i] for i in range(N_AGENTS)]
    weight = np.exp(np.asarray(row))
    return weight / weight.sum(axis=1, keepdims=True)


def _act(params, carry: Carry, time_step: TimeStep, keys, env_steps, greedy: bool) -> Acted:
    del params, env_steps, greedy
    place = time_step.state.argmax(axis=-1)
    last = jnp.where(carry.last_action.sum(axis=-1) > 0, carry.last_action.argmax(axis=-1), N_ACTIONS)
    logits = jnp.asarray(LOGITS, jnp.float32)[place[:, None], last, jnp.arange(N_AGENTS)]
    log_probs = masked_log_probs(logits, time_step.avail)
    actions = sample(log_probs, keys)
    taken = jax.nn.one_hot(actions, N_ACTIONS)
    return Acted(Carry(carry.hidden, taken), actions, Acting(carry.hidden, jnp.exp(log_probs)))


def _begin(batch: int) -> Carry:
    return Carry(jnp.zeros((batch, N_AGENTS, 1)), jnp.zeros((batch, N_AGENTS, N_ACTIONS)))


def _claim(learner, episodes: Episodes, env_steps, key) -> Claim:
    del learner, env_steps, key
    says = episodes.actions[:, :-1].astype(jnp.float32) - 0.5
    order = jnp.broadcast_to(jnp.asarray([2, 0, 1]), episodes.actions[:, :-1].shape)
    return Claim(jnp.where(episodes.valid[..., None], says, 0), order)


def algorithm() -> Algorithm:
    """The policy, and a claim that judges agent 2 first, then 0 and 1."""
    return Algorithm(
        name="table",
        init=lambda key: jnp.zeros(1),
        policy=lambda learner: learner,
        initial_carry=_begin,
        act=_act,
        update=lambda learner, episodes, replay, key, axis: (learner, {}),
        memory=lambda batch: 0,
        claims=Claims("sequential", _claim),
    )


@functools.cache
def value(t: int, place: int, last: tuple[int, ...] | None) -> float:
    """Expected discounted return from here on."""
    if t == LIMIT or place == LAST:
        return 0.0
    pi = probabilities(place, last)
    each = itertools.product(range(N_ACTIONS), repeat=N_AGENTS)
    return sum(np.prod([pi[i, a] for i, a in enumerate(joint)]) * joint_value(t, place, joint) for joint in each)


@functools.cache
def joint_value(t: int, place: int, joint: tuple[int, ...]) -> float:
    """Q(u), the expected discounted return after a joint action."""
    move = int(MOVE[(place, *joint)])
    ways = ((1 - CHANCE, min(move, LAST)), (CHANCE, min(move + 1, LAST)))
    return float(REWARD[(place, *joint)]) + GAMMA * sum(p * value(t + 1, where, joint) for p, where in ways)


@functools.cache
def worth(t: int, place: int, last: tuple[int, ...] | None, taken: tuple[int, ...], order: tuple[int, ...]):
    """All credits of one step by enumeration: `kind -> [agents]`."""
    pi = probabilities(place, last)
    table = np.zeros((N_ACTIONS,) * N_AGENTS)
    for joint in np.ndindex(*table.shape):
        table[joint] = joint_value(t, place, joint)

    def held(members: frozenset[int]) -> float:
        found = table
        for i in reversed(range(N_AGENTS)):
            weights = np.eye(N_ACTIONS)[taken[i]] if i in members else pi[i]
            found = np.tensordot(found, weights, axes=([i], [0]))
        return float(found)

    def gain(i: int, members: frozenset[int]) -> float:
        return held(members | {i}) - held(members)

    everybody = frozenset(range(N_AGENTS))
    orders = list(itertools.permutations(range(N_AGENTS)))
    return {
        "sequential": [gain(i, frozenset(order[: order.index(i)])) for i in range(N_AGENTS)],
        "independent": [gain(i, frozenset()) for i in range(N_AGENTS)],
        "counterfactual": [gain(i, everybody - {i}) for i in range(N_AGENTS)],
        "shapley": [np.mean([gain(i, frozenset(o[: o.index(i)])) for o in orders]) for i in range(N_AGENTS)],
    }


@dataclasses.dataclass
class Run:
    """As much of a loaded run as an audit asks for."""

    env: Env
    algorithm: Algorithm
    state: Any
    config: Any


@dataclasses.dataclass
class _Numbers:
    learner: jax.Array
    env_steps: jax.Array


@dataclasses.dataclass
class _Options:
    gamma: float = GAMMA


@dataclasses.dataclass
class _Config:
    algorithm: _Options
    preset: str = "table"
    seed: int = 0


def run() -> Run:
    """A run of the game."""
    return Run(env(), algorithm(), _Numbers(jnp.zeros(1), jnp.zeros((), jnp.uint32)), _Config(_Options()))


def audited(**changes: Any) -> Audit:
    """An audit of the run, of 20 steps with 50 forks and of every kind unless the plan says else."""
    return audit(run(), dataclasses.replace(Plan(20, 50, kinds=KINDS), **changes))
