"""An algorithm on environments that were not made for it: what it is shown of them, in what units."""

import dataclasses
import functools
from collections.abc import Callable

import equinox as eqx
import jax
from jaxtyping import Array, Key, PRNGKeyArray

from seca.algos.base import Algorithm, Claim, Claims, Forking
from seca.credit.base import Credit
from seca.learning.buffer import Replay, episode_bytes, shown_as
from seca.learning.memory import floats_in
from seca.learning.options import Part
from seca.learning.running import Running
from seca.order.base import Order
from seca.types import Acted, EnvSpec, Episodes, PyTree, TimeStep


class Learner(eqx.Module):
    """A learner, and in what units it is shown its environment. Arrays only."""

    inner: PyTree
    sofar: Running
    """Of all batches played. Acting uses it as it is, so evaluation changes nothing."""
    batch: Running
    """As updates see the present batch: observations and states in the units that it was played in, so that what acting
    recorded holds; rewards, on which no recorded action depends, in units that count them already."""


class Params(eqx.Module):
    """What acting needs."""

    inner: PyTree
    sofar: Running


def normalised(algorithm: Algorithm, spec: EnvSpec, gamma: float, parts: tuple[Part, ...]) -> Algorithm:
    """The same algorithm with some of what it is shown in running units; itself where no part is named.

    Observations, of each agent, and states are centred and divided by their deviations; rewards are divided by the
    deviation of their discounted sum, as in Gymnasium's `NormalizeReward`; all are cut off at 10. Buffers keep raw
    numbers and replayed episodes are shown in the units of now. Credits are told in the environment's own units.

    Args:
        algorithm: what learns.
        spec: the environment.
        gamma: the algorithm's discount.
        parts: what is normalised.
    """
    if not parts:
        return algorithm
    act, update, claims, forking = algorithm.act, algorithm.update, algorithm.claims, algorithm.forking
    return dataclasses.replace(
        algorithm,
        init=functools.partial(_init, algorithm.init, spec, parts),
        policy=lambda learner: Params(algorithm.policy(learner.inner), learner.sofar),
        act=functools.partial(_act, act),
        update=functools.partial(_update, update),
        memory=functools.partial(_memory, algorithm, spec, parts),
        claims=None if claims is None else _claims(claims),
        forking=None if forking is None else _forking(forking),
        begin=functools.partial(_begin, algorithm.begin, gamma),
    )


def _init(init: Callable[[PRNGKeyArray], PyTree], spec: EnvSpec, parts: tuple[Part, ...], key: PRNGKeyArray) -> Learner:
    # Apart in memory: a state must not hold an array twice.
    return Learner(init(key), Running.nothing(spec, parts), Running.nothing(spec, parts))


def _begin(
    inner: Callable[[PyTree, Episodes, str | None], PyTree] | None,
    gamma: float,
    learner: Learner,
    episodes: Episodes,
    axis: str | None,
) -> Learner:
    """Count a batch. Once for all its minibatches: they were played in the same units."""
    after = learner.sofar.merged(episodes, gamma, axis)
    batch = dataclasses.replace(learner.sofar, reward=after.reward)
    own = learner.inner if inner is None else inner(learner.inner, batch.episodes(episodes), axis)
    return Learner(own, after, batch)


def _act(
    act: Callable[..., Acted],
    params: Params,
    carry: PyTree,
    time_step: TimeStep,
    keys: Key[Array, " batch"],
    env_steps: Array,
    greedy: bool,
) -> Acted:
    return act(params.inner, carry, params.sofar.time_step(time_step), keys, env_steps, greedy)


def _update(
    update: Callable[..., tuple[PyTree, dict[str, Array]]],
    learner: Learner,
    episodes: Episodes,
    replay: Replay | None,
    key: PRNGKeyArray,
    axis: str | None,
) -> tuple[Learner, dict[str, Array]]:
    shown = learner.batch.episodes
    inner, metrics = update(learner.inner, shown(episodes), shown_as(replay, shown), key, axis)
    return dataclasses.replace(learner, inner=inner), metrics


def _claims(claims: Claims) -> Claims:
    """The same in the environment's units: all that is claimed is linear in rewards."""

    def fn(learner: Learner, episodes: Episodes, env_steps: Array, key: PRNGKeyArray) -> Claim:
        claim = claims.fn(learner.inner, learner.sofar.episodes(episodes), env_steps, key)
        unit = learner.sofar.reward_unit
        inward = claim.credit, claim.signal, claim.team, claim.contribution, claim.value
        credit, signal, team, contribution, value = jax.tree.map(lambda x: x * unit, inward)
        return Claim(credit, claim.order, signal, team, contribution, claim.policy, value)

    def under(credit: Credit | None, order: Order | None) -> Claims:
        assert claims.under is not None
        return _claims(claims.under(credit, order))

    return dataclasses.replace(claims, fn=fn, under=None if claims.under is None else under)


def _forking(forking: Forking) -> Forking:
    """The same for forks, which are played in the environment's units."""

    def order(learner: Learner, episodes: Episodes, key: PRNGKeyArray, axis: str | None) -> Array:
        return forking.order(learner.inner, learner.sofar.episodes(episodes), key, axis)

    def value(learner: Learner, time_step: TimeStep, record: PyTree) -> Array:
        found = forking.value(learner.inner, learner.sofar.time_step(time_step), record)
        return found * learner.sofar.reward_unit

    def update(
        learner: Learner, episodes: Episodes, tried: tuple[Array, Array], key: PRNGKeyArray, axis: str | None
    ) -> tuple[Learner, dict[str, Array]]:
        credit, known = tried
        told = credit / learner.batch.reward_unit, known
        inner, metrics = forking.update(learner.inner, learner.batch.episodes(episodes), told, key, axis)
        return dataclasses.replace(learner, inner=inner), metrics

    return dataclasses.replace(forking, order=order, value=value, update=update)


def _memory(algorithm: Algorithm, spec: EnvSpec, parts: tuple[Part, ...], batch: int) -> int:
    """The algorithm's own, the episodes once more, and what is counted."""
    drawn = 0 if algorithm.buffer is None else max(algorithm.buffer.drawn.values(), default=0)
    counted = jax.eval_shape(lambda: Running.nothing(spec, parts))
    return algorithm.memory(batch) + (batch + drawn) * episode_bytes(spec) + 4 * 4 * floats_in(counted)
