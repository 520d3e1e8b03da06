"""Where episodes stand in the middle, so that they can be played on from there as often as one likes."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int, Key

from seca.algos.base import Algorithm
from seca.envs.base import Env, where_done
from seca.train.rollout import Playing, started, stepped, unfinished
from seca.types import Acted, PyTree, TimeStep


class Steps(eqx.Module):
    """Where episodes stand just before some of their steps."""

    env_state: PyTree
    time_step: TimeStep
    carry: PyTree
    time: Int[Array, " steps"]
    """Env steps played before."""


def standing_at(
    env: Env,
    algorithm: Algorithm,
    params: PyTree,
    keys: Key[Array, " batch"],
    env_steps: Array,
    episode: Int[Array, " steps"],
    time: Int[Array, " steps"],
) -> Steps:
    """The episodes that `collect` plays with these keys, as they stand before the steps `(episode, time)`."""
    playing = started(env, algorithm, keys)
    kept = some_of(env, where_now(playing), episode)
    step = functools.partial(stepped, env, algorithm, params, env_steps, False)

    def body(sofar: tuple[Playing, Steps]) -> tuple[Playing, Steps]:
        playing, kept = sofar
        return step(playing), lane_by_lane(env, playing.t == time, some_of(env, where_now(playing), episode), kept)

    return jax.lax.while_loop(lambda sofar: unfinished(env, sofar[0]), body, (playing, kept))[1]


def where_now(playing: Playing) -> Steps:
    """Where the episodes of a batch stand."""
    batch = playing.played.length.shape
    return Steps(playing.env_state, playing.time_step, playing.carry, jnp.broadcast_to(playing.t, batch))


def some_of(env: Env, steps: Steps, index: Int[Array, " lanes"]) -> Steps:
    """Some of them, in the order of `index`."""
    # Clipped, since older versions of JAX have nothing to fill an array of keys with; no index is out of range.
    take = functools.partial(jnp.take, indices=index, axis=env.state_batch_axis, mode="clip")
    env_state = jax.tree.map(take, steps.env_state)
    return Steps(env_state, *jax.tree.map(lambda x: x[index], (steps.time_step, steps.carry, steps.time)))


def lane_by_lane(env: Env, which: Bool[Array, " lanes"], new: Steps, old: Steps) -> Steps:
    """Lane by lane the new or the old one."""
    pairs = ((of.env_state, (of.time_step, of.carry, of.time)) for of in (new, old))
    env_state, rest = where_done(env, which, *pairs)
    return Steps(env_state, *rest)


def fork_keys(keys: Key[Array, " forks"]) -> Key[Array, "3 forks"]:
    """What a fork draws from: for the environment, for acting, and for what is asked of it."""
    return jax.vmap(functools.partial(jax.random.split, num=3), out_axes=1)(keys)


def relucked(env: Env, steps: Steps, luck: Key[Array, " steps"]) -> Steps:
    """The same with other luck of the environment from here on."""
    return Steps(env.reseed(steps.env_state, luck), steps.time_step, steps.carry, steps.time)


def acted_at(
    algorithm: Algorithm, params: PyTree, steps: Steps, acting: Key[Array, " lanes"], age: Array, env_steps: Array
) -> Acted:
    """What the policy does in forks that are `age` env steps old, drawn from their own keys."""
    drawn = jax.vmap(jax.random.fold_in)(acting, jnp.broadcast_to(age, acting.shape))
    return algorithm.act(params, steps.carry, steps.time_step, drawn, env_steps, False)


def forked_on(
    env: Env,
    algorithm: Algorithm,
    params: PyTree,
    steps: Steps,
    acting: Key[Array, " lanes"],
    age: Array,
    first: Int[Array, "lanes agents"],
    env_steps: Array,
) -> Steps:
    """Forks one env step further: by their first joint action at age 0, by the policy from then on."""
    acted = acted_at(algorithm, params, steps, acting, age, env_steps)
    begins = jnp.broadcast_to(age == 0, acting.shape)[:, None]
    actions = jnp.where(begins, first.astype(acted.actions.dtype), acted.actions)
    env_state, shown = env.step(steps.env_state, actions)
    return Steps(env_state, shown, algorithm.told(acted.carry, actions), steps.time + 1)


def ended(env: Env, steps: Steps) -> Bool[Array, " lanes"]:
    """Whether they are over, by themselves or by the time limit."""
    return steps.time_step.done | (steps.time >= env.spec.episode_limit)


def standing_always(
    env: Env, algorithm: Algorithm, params: PyTree, keys: Key[Array, " batch"], env_steps: Array
) -> Steps:
    """The episodes that `collect` plays with these keys, as they stand before each step: `[time, ...]` of `Steps`."""
    playing = started(env, algorithm, keys)
    room = lambda x: jnp.zeros((env.spec.episode_limit, *x.shape), x.dtype)  # noqa: E731
    step = functools.partial(stepped, env, algorithm, params, env_steps, False)

    def body(sofar: tuple[Playing, Steps]) -> tuple[Playing, Steps]:
        playing, rows = sofar
        rows = jax.tree.map(lambda kept, row: kept.at[playing.t].set(row), rows, where_now(playing))
        return step(playing), rows

    start = playing, jax.tree.map(room, where_now(playing))
    return jax.lax.while_loop(lambda sofar: unfinished(env, sofar[0]), body, start)[1]


def picked(env: Env, always: Steps, episode: Int[Array, " lanes"], time: Int[Array, " lanes"]) -> Steps:
    """Some steps of episodes out of `standing_always`."""

    def state(rows: Array) -> Array:
        axis = env.state_batch_axis if env.state_batch_axis < 0 else env.state_batch_axis + 1
        lanes = jnp.moveaxis(rows, axis, 1)[time, episode]
        return jnp.moveaxis(lanes, 0, env.state_batch_axis)

    rest = jax.tree.map(lambda rows: rows[time, episode], (always.time_step, always.carry, always.time))
    return Steps(jax.tree.map(state, always.env_state), *rest)
