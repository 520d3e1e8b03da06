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
from seca.train.standing import Steps, at, fork_keys, some_of, standing_always
from seca.types import Episodes, PyTree

LANES = 512
"""Battles played side by side on a CPU; an accelerator plays all of them."""
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

    Of each forked episode the steps are drawn without repetition, each as likely as any other, until the lanes are
    used up.

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
    batch, length = episodes.valid.shape
    chosen = jnp.arange(0, batch, math.gcd(batch, forking.every))
    every = jnp.arange(len(chosen))[:, None]
    # More steps than the lanes suffice for, unless hardly any fork differs from what was done.
    count = min(length, max(1, 4 * forking.lanes // forking.forks))
    draws = jax.vmap(lambda key: jax.random.uniform(key, (length,)))(episode_keys(step_key, batch, axis)[chosen])
    time = jnp.argsort(jnp.where(episodes.valid[chosen], draws, 2.0), axis=1)[:, :count]
    here = chosen[:, None], time
    order = forking.order(learner, episodes, order_key, axis)
    told = forking.probs(episodes)[here], episodes.actions[here], order[here]
    always = standing_always(env, algorithm, algorithm.policy(learner), keys[chosen], env_steps)
    # Two programs may round; where that has led elsewhere the episode is no longer the one that was played.
    same = jnp.abs(always.time_step.obs[time, every] - episodes.obs[here]).max(axis=(-2, -1)) < CLOSE
    seeds = jax.vmap(functools.partial(jax.random.split, num=count))(episode_keys(fork_key, batch, axis)[chosen])
    asking = functools.partial(ask, forks=forking.forks, lanes=forking.lanes)
    asked = jax.vmap(asking)(*told, episodes.valid[here] & same, seeds)
    begin = functools.partial(at, env, always)
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
    lanes = actions.shape[0] * forking.forks * (actions.shape[1] + 1)
    asked = ask(probs, actions, order, jnp.ones(actions.shape[0], bool), keys, forking.forks, lanes)
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
    abreast = min(LANES if jax.default_backend() == "cpu" else lanes, lanes)
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
    env_luck, acting, _ = fork_keys(luck)
    begun = Steps(env.reseed(begun.env_state, env_luck), begun.time_step, begun.carry, begun.time)

    def act(now: Steps, age: Array) -> PyTree:
        drawn = jax.vmap(jax.random.fold_in, (0, None))(acting, age)
        return algorithm.act(params, now.carry, now.time_step, drawn, env_steps, False)

    def step(sofar: tuple[Steps, Array, Array], age: Array) -> tuple[tuple[Steps, Array, Array], None]:
        now, total, over = sofar
        acted = act(now, age)
        actions = jnp.where(age == 0, first.astype(acted.actions.dtype), acted.actions)
        env_state, shown = env.step(now.env_state, actions)
        total = total + forking.gamma ** age.astype(total.dtype) * jnp.where(over, 0, shown.reward)
        after = Steps(env_state, shown, algorithm.told(acted.carry, actions), now.time + 1)
        return (after, total, over | shown.done | (after.time >= env.spec.episode_limit)), None

    none = jnp.zeros(first.shape[0], jnp.float32)
    start = begun, none, jnp.zeros(first.shape[0], bool)
    (end, total, over), _ = jax.lax.scan(step, start, jnp.arange(forking.steps))
    to_come = forking.value(learner, end.time_step, act(end, jnp.asarray(forking.steps)).record)
    return total + forking.gamma**forking.steps * jnp.where(over, 0, to_come)
