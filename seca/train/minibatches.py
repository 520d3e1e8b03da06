"""Several updates from one batch: each of whole episodes, every episode in one of them.

With many runners a batch is far more than an update needs: 2,048 episodes move a policy no further than 32 do. Shared
out over as many updates as would have had 32 episodes each, they teach about as much per env step; what is later in
turn is learned from episodes of a policy that the updates before have left a little behind, as in PPO (Schulman et al.
2017, algorithm 1). `Episodes.record` keeps what that policy did.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, PRNGKeyArray, Shaped

from seca import numerics
from seca.algos.base import Algorithm
from seca.envs.base import Env
from seca.learning.devices import first_of_share
from seca.train.rollout import collect
from seca.types import PyTree

Update = Callable[[PyTree, PyTree, PRNGKeyArray], tuple[PyTree, dict[str, Array]]]
COUNTERS = ("gradient_steps",)
"""Measures of how far a learner has come: those of the last update count, of all others the mean over updates."""


def in_turn(
    update: Update,
    learner: PyTree,
    whole: PyTree,
    minibatches: int,
    key: PRNGKeyArray,
    axis: str | None,
    left: Callable[[PyTree], Int[Array, ""]] | None = None,
) -> tuple[PyTree, dict[str, Array]]:
    """The learner after one update on each minibatch, and measures.

    Where episodes may be lost, a minibatch without a step to learn from has no update, and measures are of the others;
    where there is no update at all they are 0, and nobody measured them.

    Args:
        update: `update(learner, part, key) -> (learner, metrics)`.
        learner: as it was when the batch was played.
        whole: this device's share of the batch, arrays `[batch, ...]`.
        minibatches: how many; with one, it is the whole batch as it is.
        key: for who is in which, and for what updates draw.
        axis: mapped axis of devices, or None.
        left: how many valid steps a part has on all devices; None where no episode can be lost.

    Raises:
        ValueError: the share does not divide evenly.
    """
    if minibatches == 1:
        return _updated(update, left, learner, whole, key)[:2]
    share_key, update_key = jax.random.split(key)
    parts = dealt(share_key, jax.tree.leaves(whole)[0].shape[0], minibatches, axis)

    def step(before: PyTree, told: tuple[Array, PRNGKeyArray]) -> tuple[PyTree, tuple[dict[str, Array], Array | None]]:
        part, own_key = told
        after, found, made = _updated(update, left, before, jax.tree.map(lambda x: x[part], whole), own_key)
        return after, (found, made)

    learner, (found, made) = jax.lax.scan(step, learner, (parts, jax.random.split(update_key, minibatches)))
    return learner, {name: _over_updates(name, x, made) for name, x in found.items()}


def _updated(
    update: Update, left: Callable[[PyTree], Array] | None, learner: PyTree, part: PyTree, key: PRNGKeyArray
) -> tuple[PyTree, dict[str, Array], Bool[Array, ""] | None]:
    """The learner after an update, measures, and whether there was one: None where there always is."""
    if left is None:
        return *update(learner, part, key), None
    shapes = jax.eval_shape(update, learner, part, key)[1]
    nothing = lambda: (learner, jax.tree.map(lambda x: jnp.zeros(x.shape, x.dtype), shapes))  # noqa: E731
    some = left(part) > 0
    return *jax.lax.cond(some, lambda: update(learner, part, key), nothing), some


def _over_updates(
    name: str, found: Shaped[Array, "minibatches ..."], made: Bool[Array, " minibatches"] | None
) -> Shaped[Array, "..."]:
    """A measure of all updates, of those that were `made`."""
    if made is None:
        return found[-1] if name in COUNTERS else found.mean(axis=0)
    if name in COUNTERS:
        return found[jnp.max(jnp.where(made, jnp.arange(made.size), 0))]
    # Of an update that was not made it is 0.
    return found.sum(axis=0) / jnp.maximum(made.sum(), 1)


def dealt(
    key: PRNGKeyArray, size: int, minibatches: int, axis: str | None
) -> Int[Array, "minibatches {size//minibatches}"]:
    """Which of this device's `size` episodes are in which minibatch.

    Of each `minibatches` episodes in a row every minibatch gets one, by lot. So each has as many from every device, and
    the same ones however many devices there are.

    Raises:
        ValueError: `size` is no multiple of `minibatches`.
    """
    if size % minibatches:
        raise ValueError(f"`minibatches` is {minibatches}; it must divide the {size} episodes of each device")
    rows = size // minibatches
    numbers = first_of_share(rows, axis) + jnp.arange(rows)
    lots = jax.vmap(lambda row: jax.random.permutation(jax.random.fold_in(key, row), minibatches))(numbers)
    return (lots + minibatches * jnp.arange(rows)[:, None]).T


@numerics.own()
def training_bytes(env: Env, algorithm: Algorithm, runners: int, minibatches: int) -> int:
    """Estimated peak bytes of training beside a replay buffer: an update's, and the episodes that wait for theirs.

    Forks are played of the whole batch, so there it is as if that were learned from at once.
    """
    if minibatches == 1 or algorithm.forking is not None:
        return algorithm.memory(runners)
    learner = jax.eval_shape(algorithm.init, jax.random.key(0))
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), runners))
    play = functools.partial(collect, env, algorithm)
    steps = jax.ShapeDtypeStruct((), jnp.uint32)
    episodes, _ = jax.eval_shape(play, jax.eval_shape(algorithm.policy, learner), keys, steps)
    batch = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(episodes))
    return algorithm.memory(runners // minibatches) + batch
