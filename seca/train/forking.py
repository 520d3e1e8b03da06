"""Play on from the middle of a batch's episodes: what would have happened, had agents done otherwise."""

import functools
import math

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key, PRNGKeyArray

from seca.algos.base import Algorithm, Forking
from seca.envs.base import Env
from seca.learning.devices import episode_keys
from seca.learning.forks import Asked, ask
from seca.sizes import sizes
from seca.train.standing import Steps, acted_at, ended, fork_keys, forked_on, picked, relucked, some_of, standing_always
from seca.types import Episodes, PyTree

CLOSE = 1e-3
"""How far observations of an episode that is played again may be from those of the first time."""


def credits_of_batch(
    env: Env,
    algorithm: Algorithm,
    forking: Forking,
    learner: PyTree,
    episodes: Episodes,
    keys: Key[Array, " batch"],
    env_steps: Array,
    key: PRNGKeyArray,
    axis: str | None,
) -> tuple[Float[Array, "batch time agents"], Bool[Array, "batch time"]]:
    """Sequential advantages of some steps by forks, and which these are; 0 elsewhere.

    Of each forked episode the steps are drawn without repetition, each as likely as any other, until one needs more
    lanes than are left. So steps in which policies are undecided, whose forks need more, are a little rarer, and where
    the forks of one step need more than all lanes there are none of them.

    Args:
        env: whose episodes they are.
        algorithm: what has played.
        forking: what it asks for.
        learner: as it was then.
        episodes: the batch, or this device's share of it.
        keys: those that it was collected with.
        env_steps: env steps before it, for schedules.
        key: for what is drawn.
        axis: mapped axis of devices, or None.
    """
    order_key, step_key, fork_key = jax.random.split(key, 3)
    (batch, length), options = episodes.valid.shape, forking.options
    chosen = jnp.arange(0, batch, math.gcd(batch, options.fork_every))
    every = jnp.arange(len(chosen))[:, None]
    count = min(length, options.drawn)
    draws = jax.vmap(lambda key: jax.random.uniform(key, (length,)))(episode_keys(step_key, batch, axis)[chosen])
    time = jnp.argsort(jnp.where(episodes.valid[chosen], draws, 2.0), axis=1)[:, :count]
    here = chosen[:, None], time
    order = forking.order(learner, episodes, order_key, axis)
    told = forking.probs(episodes)[here], episodes.actions[here], order[here]
    always = standing_always(env, algorithm, algorithm.policy(learner), keys[chosen], env_steps)
    # Two programs may round; where that has led elsewhere the episode is no longer the one that was played.
    same = jnp.abs(always.time_step.obs[time, every] - episodes.obs[here]).max(axis=(-2, -1)) < CLOSE
    seeds = jax.vmap(functools.partial(jax.random.split, num=count))(episode_keys(fork_key, batch, axis)[chosen])
    asking = functools.partial(ask, forks=options.forks, lanes=options.fork_lanes)
    asked = jax.vmap(asking)(*told, episodes.valid[here] & same, seeds)
    begin = functools.partial(picked, env, always)
    begun_at = jnp.broadcast_to(every, asked.step.shape), jnp.take_along_axis(time, asked.step, axis=1)
    flat = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), (begun_at, asked.first, asked.luck))
    returns = _returns(env, algorithm, forking, learner, env_steps, begin, *flat).reshape(asked.step.shape)
    found = jax.vmap(Asked.credit)(asked, returns)
    credit = jnp.zeros((batch, length, found.shape[-1]), found.dtype).at[here].set(found)
    return credit, jnp.zeros((batch, length), bool).at[here].set(asked.known)


def credits_of_steps(
    env: Env,
    algorithm: Algorithm,
    forking: Forking,
    learner: PyTree,
    steps: Steps,
    probs: Float[Array, "steps agents actions"],
    actions: Int[Array, "steps agents"],
    order: Int[Array, "steps agents"],
    keys: Key[Array, " steps"],
    env_steps: Array,
) -> Float[Array, "steps agents"]:
    """The same of given steps, all of them, for who holds them against the truth."""
    (n_steps, n_agents), forks = actions.shape, forking.options.forks
    asked = ask(probs, actions, order, jnp.ones(n_steps, bool), keys, forks, n_steps * forks * (n_agents + 1))
    begin = functools.partial(some_of, env, steps)
    return asked.credit(
        _returns(env, algorithm, forking, learner, env_steps, begin, (asked.step,), asked.first, asked.luck)
    )


def _returns(
    env: Env,
    algorithm: Algorithm,
    forking: Forking,
    learner: PyTree,
    env_steps: Array,
    begin: functools.partial[Steps],
    where: tuple[Int[Array, " lanes"], ...],
    first: Int[Array, "lanes agents"],
    luck: Key[Array, " lanes"],
) -> Float[Array, " lanes"]:
    """Discounted returns of all lanes, some at a time."""
    lanes = first.shape[0]
    abreast = min(sizes().lanes, lanes)
    parts = -(-lanes // abreast)
    filled = (jnp.arange(parts * abreast) % lanes).reshape(parts, abreast)

    def some(lane: Int[Array, " some"]) -> Float[Array, " some"]:
        return _play(
            env, algorithm, forking, learner, env_steps, begin(*(x[lane] for x in where)), first[lane], luck[lane]
        )

    return jax.lax.map(some, filled).reshape(-1)[:lanes]


def _play(
    env: Env,
    algorithm: Algorithm,
    forking: Forking,
    learner: PyTree,
    env_steps: Array,
    begun: Steps,
    first: Int[Array, "lanes agents"],
    luck: Key[Array, " lanes"],
) -> Float[Array, " lanes"]:
    """Discounted returns of forks over their first steps, closed by what the learner expects from there on.

    A fork that ends before, or that the time limit ends, has no more to come.
    """
    params = algorithm.policy(learner)
    luck, acting, _ = fork_keys(luck)

    def step(sofar: tuple[Steps, Array, Array], age: Array) -> tuple[tuple[Steps, Array, Array], None]:
        now, total, over = sofar
        after = forked_on(env, algorithm, params, now, acting, age, first, env_steps)
        total = total + forking.gamma ** age.astype(total.dtype) * jnp.where(over, 0, after.time_step.reward)
        return (after, total, over | ended(env, after)), None

    start = relucked(env, begun, luck), jnp.zeros(luck.shape, jnp.float32), jnp.zeros(luck.shape, bool)
    length = forking.options.fork_steps
    (end, total, over), _ = jax.lax.scan(step, start, jnp.arange(length))
    acted = acted_at(algorithm, params, end, acting, jnp.asarray(length), env_steps)
    to_come = forking.value(learner, end.time_step, acted.record)
    return total + forking.gamma**length * jnp.where(over, 0, to_come)
