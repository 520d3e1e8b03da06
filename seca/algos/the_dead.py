"""What learners make of agents that are dead, or have left: three modes for all methods.

As a method has it (`none`), without their observations (`mask-obs`), or without their steps in the losses of single
agents (`mask-loss`). Which is right depends on the environment; Yu et al. 2022, section 5.5, compare the first two.
"""

import dataclasses
import functools
from collections.abc import Callable

import jax.numpy as jnp
from jaxtyping import Array, PRNGKeyArray

from seca.algos.base import Algorithm, Claim, Claims, Forking
from seca.credit.base import Credit
from seca.distributions import dead
from seca.learning.buffer import Replay, shown_as
from seca.learning.options import Dead
from seca.order.base import Order
from seca.types import EnvSpec, Episodes, PyTree, TimeStep

Show = Callable[[Episodes], Episodes]


def with_the_dead(algorithm: Algorithm, spec: EnvSpec, mode: Dead) -> Algorithm:
    """The same algorithm that is shown its dead in another way; itself for `none`.

    Args:
        algorithm: what learns, with a loss of single agents where that is to be masked.
        spec: the environment.
        mode: `mask-obs`, observations of the dead are zeros, beside which networks keep the last action and the agent's
            index; `mask-loss`, their steps count in no loss of single agents.
    """
    if mode == "none":
        return algorithm
    continuous = spec.box is not None
    show = functools.partial(_blinded if mode == "mask-obs" else _counted, continuous=continuous)
    look = functools.partial(_looked, continuous=continuous) if mode == "mask-obs" else _as_it_is
    act, update, claims, forking = algorithm.act, algorithm.update, algorithm.claims, algorithm.forking

    def acting(params: PyTree, carry: PyTree, time_step: TimeStep, keys: Array, env_steps: Array, greedy: bool):
        return act(params, carry, look(time_step), keys, env_steps, greedy)

    def updating(learner: PyTree, episodes: Episodes, replay: Replay | None, key: PRNGKeyArray, axis: str | None):
        return update(learner, show(episodes), shown_as(replay, show), key, axis)

    return dataclasses.replace(
        algorithm,
        act=acting,
        update=updating,
        claims=None if claims is None else _claims(claims, show),
        forking=None if forking is None else _forking(forking, show, look),
    )


def _as_it_is(time_step: TimeStep) -> TimeStep:
    return time_step


def _looked(time_step: TimeStep, continuous: bool) -> TimeStep:
    gone = dead(time_step.avail, continuous)[..., None]
    return dataclasses.replace(time_step, obs=jnp.where(gone, 0, time_step.obs))


def _blinded(episodes: Episodes, continuous: bool) -> Episodes:
    gone = dead(episodes.avail, continuous)[..., None]
    return dataclasses.replace(episodes, obs=jnp.where(gone, 0, episodes.obs))


def _counted(episodes: Episodes, continuous: bool) -> Episodes:
    return dataclasses.replace(episodes, counted=~dead(episodes.avail[:, :-1], continuous))


def _claims(claims: Claims, show: Show) -> Claims:
    def fn(learner: PyTree, episodes: Episodes, env_steps: Array, key: PRNGKeyArray) -> Claim:
        return claims.fn(learner, show(episodes), env_steps, key)

    def under(credit: Credit | None, order: Order | None) -> Claims:
        assert claims.under is not None
        return _claims(claims.under(credit, order), show)

    return dataclasses.replace(claims, fn=fn, under=None if claims.under is None else under)


def _forking(forking: Forking, show: Show, look: Callable[[TimeStep], TimeStep]) -> Forking:
    return dataclasses.replace(
        forking,
        order=lambda learner, episodes, key, axis: forking.order(learner, show(episodes), key, axis),
        value=lambda learner, time_step, record: forking.value(learner, look(time_step), record),
        update=lambda learner, episodes, tried, key, axis: forking.update(learner, show(episodes), tried, key, axis),
    )
