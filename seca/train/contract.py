"""Whether episodes of a training keep the contract of their environment, looked for where they were played.

What `envs.check` finds out without playing, and `seca check-env` in random play, a trained policy may still get to:
numbers that are not finite, an agent without any available action, an end that is of both kinds. Learning from it shows
as a loss that is NaN, some time later, or not at all.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from seca.envs.base import Env
from seca.errors import UsageError
from seca.types import EnvSpec, Episodes

BREACH = "breach"
"""Among the measures of an iteration, where its episodes are looked at: `first_breach`."""
NONE = np.iinfo(np.int32).max
"""What `first_breach` says where there is none."""
_SAID = (
    "agent {agent} observes a number that is not finite",
    "the state holds a number that is not finite",
    "agent {agent} has no available action; who may do nothing has one that does so",
    "the reward is not finite",
    "the episode both terminated and was truncated",
)
"""Kinds of breach; of one env step the first of them is told."""


def looked_at(env: Env) -> bool:
    """Whether its episodes are looked at: not SMAC's battles, which are ours and tested, nor what workers play, who
    look at every frame."""
    return env.simulator is None and env.host is None


def first_breach(spec: EnvSpec, episodes: Episodes, axis: str | None) -> Int[Array, ""]:
    """Which breach comes first in the episodes of all devices, by env steps; for `check_kept` to read.

    Looked at are all rows that are no padding, final observations too, and padding never.
    """
    rows, agents = jnp.arange(spec.episode_limit + 1), jnp.arange(spec.n_agents)
    # Row t shows what step t led to, the first what `reset` did; it is real where the step was, and the first always.
    after = lambda steps: jnp.pad(steps, ((0, 0), (1, 0)))  # noqa: E731
    real = jnp.pad(episodes.valid, ((0, 0), (1, 0)), constant_values=True)
    nobody = jnp.zeros_like(real) if spec.box is not None else ~episodes.avail.any(axis=-1)
    found = (
        ~jnp.isfinite(episodes.obs).all(axis=-1),
        ~jnp.isfinite(episodes.state).all(axis=-1),
        nobody,
        after(~jnp.isfinite(episodes.reward)),
        after(episodes.terminated & episodes.truncated),
    )
    first = jnp.asarray(NONE, jnp.int32)
    for kind, where in enumerate(found):
        place = (rows * len(_SAID) + kind).astype(jnp.int32) * spec.n_agents
        if where.ndim == 3:
            where, place = where & real[..., None], place[:, None] + agents.astype(jnp.int32)
        else:
            where = where & real
        first = jnp.minimum(first, jnp.where(where, place, NONE).min())
    return first if axis is None else jax.lax.pmin(first, axis)


def check_kept(env: Env, metrics: dict[str, Any], when: str) -> dict[str, Any]:
    """The other measures. Raises UsageError, in one line, where the episodes broke the contract; `when` says which."""
    metrics = dict(metrics)
    first = int(metrics.pop(BREACH, NONE))
    if first != NONE:
        raise broken(env, first, when)
    return metrics


def broken(env: Env, first: int, when: str) -> UsageError:
    """The line about what `first_breach` found."""
    place, agent = divmod(first, env.spec.n_agents)
    time, kind = divmod(place, len(_SAID))
    where = f"step {time}" if time else "reset"
    said = _SAID[kind].format(agent=agent)
    return UsageError(f"`env` {env.spec.id} breaks its contract in {when}, at {where} of an episode: {said}")
