"""Play whole episodes with a batch of runners; stop when the last of them ends."""

import dataclasses
import functools

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from seca.algos.base import Algorithm
from seca.envs.base import Env
from seca.types import Acted, Episodes, PyTree, TimeStep


class Played(eqx.Module):
    """Outcome of each episode."""

    won: Bool[Array, " batch"] | None
    """None where the environment does not say."""
    episode_return: Float[Array, " batch"]
    length: Int[Array, " batch"]
    lost: Bool[Array, " batch"] | None = None
    """Where the environment failed on the way: of such an episode nothing counts, and all else here is 0. None where
    none can fail."""


class Playing(eqx.Module):
    """What the playing loop carries."""

    t: Int[Array, ""]
    env_state: PyTree
    time_step: TimeStep
    carry: PyTree
    act_keys: Key[Array, " batch"]
    played: Played
    episodes: PyTree
    """Buffers of type `Episodes`, or None when nothing is kept."""


def collect(
    env: Env,
    algorithm: Algorithm,
    params: PyTree,
    keys: Key[Array, " batch"],
    env_steps: Array,
    greedy: bool = False,
) -> tuple[Episodes, Played]:
    """One whole episode per runner, sampled from the policy unless it is to be `greedy`.

    The work follows the longest episode of the batch, not the time limit. Each runner draws from its own key, so the
    episodes do not depend on how runners are spread over devices.
    """
    playing = started(env, algorithm, keys)
    playing = eqx.tree_at(
        lambda p: p.episodes, playing, _buffers(env, algorithm, params, playing), is_leaf=lambda x: x is None
    )
    step = functools.partial(stepped, env, algorithm, params, env_steps, greedy)
    playing = jax.lax.while_loop(functools.partial(unfinished, env), step, playing)
    # The row after the last step: final observations and an action sampled there.
    acted = _act(algorithm, params, playing, env_steps, greedy)
    episodes = _write_row(playing.episodes, playing, acted)
    played = _kept(playing.played)
    if played.lost is not None:
        episodes = dataclasses.replace(episodes, valid=episodes.valid & ~played.lost[:, None])
    return episodes, played


def play(env: Env, algorithm: Algorithm, params: PyTree, keys: Key[Array, " batch"]) -> Played:
    """One whole greedy episode per key; keeps outcomes only."""
    playing = started(env, algorithm, keys)
    step = functools.partial(stepped, env, algorithm, params, jnp.zeros((), jnp.uint32), True)
    return _kept(jax.lax.while_loop(functools.partial(unfinished, env), step, playing).played)


def _kept(played: Played) -> Played:
    """Without what was seen of episodes that were lost."""
    if played.lost is None:
        return played
    outcome = dataclasses.replace(played, lost=None)
    return dataclasses.replace(
        jax.tree.map(lambda x: jnp.where(played.lost, jnp.zeros_like(x), x), outcome), lost=played.lost
    )


def started(env: Env, algorithm: Algorithm, keys: Key[Array, " batch"]) -> Playing:
    """Episodes at their start."""
    reset_keys, act_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    env_state, time_step = env.reset(reset_keys)
    batch = keys.shape[0]
    won = jnp.zeros(batch, bool) if "won" in time_step.info else None
    lost = jnp.zeros(batch, bool) if "lost" in time_step.info else None
    nothing = Played(won, jnp.zeros_like(time_step.reward), jnp.zeros(batch, jnp.int32), lost)
    carry = algorithm.initial_carry(batch)
    return Playing(jnp.zeros((), jnp.int32), env_state, time_step, carry, act_keys, nothing, None)


def _buffers(env: Env, algorithm: Algorithm, params: PyTree, playing: Playing) -> Episodes:
    """Zeroed arrays for episodes as long as the time limit allows."""
    batch, time = playing.played.length.shape[0], env.spec.episode_limit
    acted = jax.eval_shape(lambda p: _act(algorithm, params, p, jnp.zeros((), jnp.uint32), False), playing)

    def room(array: Array | jax.ShapeDtypeStruct, rows: int) -> Array:
        return jnp.zeros((batch, rows, *array.shape[1:]), array.dtype)

    now = playing.time_step
    return Episodes(
        reward=room(now.reward, time),
        terminated=room(now.terminated, time),
        truncated=room(now.truncated, time),
        valid=room(now.terminated, time),
        obs=room(now.obs, time + 1),
        state=room(now.state, time + 1),
        avail=room(now.avail, time + 1),
        actions=room(acted.actions, time + 1),
        record=jax.tree.map(lambda array: room(array, time + 1), acted.record),
    )


def unfinished(env: Env, playing: Playing) -> Bool[Array, ""]:
    """Whether an episode goes on."""
    return (playing.t < env.spec.episode_limit) & ~jnp.all(playing.time_step.done)


def _act(algorithm: Algorithm, params: PyTree, playing: Playing, env_steps: Array, greedy: bool) -> Acted:
    keys = jax.vmap(jax.random.fold_in, in_axes=(0, None))(playing.act_keys, playing.t)
    return algorithm.act(params, playing.carry, playing.time_step, keys, env_steps, greedy)


def stepped(
    env: Env, algorithm: Algorithm, params: PyTree, env_steps: Array, greedy: bool, playing: Playing
) -> Playing:
    """After one more step of all episodes."""
    acted = _act(algorithm, params, playing, env_steps, greedy)
    alive = ~playing.time_step.done
    env_state, following = env.step(playing.env_state, acted.actions)
    episodes = playing.episodes
    if episodes is not None:
        episodes = _write_row(episodes, playing, acted)
        episodes = _write_outcome(episodes, playing.t, following, alive)
    before = playing.played
    played = Played(
        won=None if before.won is None else jnp.where(alive, following.info["won"], before.won),
        episode_return=before.episode_return + jnp.where(alive, following.reward, 0),
        length=before.length + alive,
        lost=None if before.lost is None else before.lost | following.info["lost"],
    )
    return Playing(playing.t + 1, env_state, following, acted.carry, playing.act_keys, played, episodes)


def _write_row(episodes: Episodes, playing: Playing, acted: PyTree) -> Episodes:
    """Store what is known before the step at row t."""
    now = playing.time_step
    put = functools.partial(_put, t=playing.t)
    return Episodes(
        reward=episodes.reward,
        terminated=episodes.terminated,
        truncated=episodes.truncated,
        valid=episodes.valid,
        obs=put(episodes.obs, now.obs),
        state=put(episodes.state, now.state),
        avail=put(episodes.avail, now.avail),
        actions=put(episodes.actions, acted.actions),
        record=jax.tree.map(put, episodes.record, acted.record),
    )


def _write_outcome(episodes: Episodes, t: Array, following: TimeStep, alive: Array) -> Episodes:
    put = functools.partial(_put, t=t)
    return Episodes(
        reward=put(episodes.reward, jnp.where(alive, following.reward, 0)),
        terminated=put(episodes.terminated, alive & following.terminated),
        truncated=put(episodes.truncated, alive & following.truncated),
        valid=put(episodes.valid, alive),
        obs=episodes.obs,
        state=episodes.state,
        avail=episodes.avail,
        actions=episodes.actions,
        record=episodes.record,
    )


def _put(buffer: Array, row: Array, t: Array) -> Array:
    return jax.lax.dynamic_update_index_in_dim(buffer, row.astype(buffer.dtype), t, axis=1)
