"""Battles that count: an environment whose rows say which step they belong to."""

import dataclasses

import jax
import jax.numpy as jnp

from seca.algos.base import Algorithm
from seca.algos.seca import SecaConfig, seca
from seca.envs.base import Env
from seca.types import Acted, EnvSpec, TimeStep

LIMIT = 6


def env() -> Env:
    """Battles of random length 1 .. 8 under a limit of 6: some terminate, the others are truncated.

    The observation shows the step number, the reward is the step number too, and action 2 is available on even steps.
    """
    spec = EnvSpec("test/counting", "1", n_agents=2, n_actions=3, obs_size=2, state_size=2, episode_limit=LIMIT)

    def show(length, t, reward) -> TimeStep:
        terminated = t >= length
        features = jnp.stack([t / 10, length / 10], axis=-1).astype(jnp.float32)
        avail = jnp.stack([jnp.ones_like(terminated), jnp.ones_like(terminated), t % 2 == 0], axis=-1)
        return TimeStep(
            obs=jnp.repeat(features[:, None], 2, axis=1),
            state=features,
            avail=jnp.repeat(avail[:, None], 2, axis=1),
            reward=reward.astype(jnp.float32),
            terminated=terminated,
            truncated=~terminated & (t >= LIMIT),
            info={"won": terminated & (length % 2 == 0)},
        )

    def reset(keys):
        length = jax.vmap(lambda key: jax.random.randint(key, (), 1, 9))(keys)
        t = jnp.zeros_like(length)
        return (length, t), show(length, t, t)

    def step(state, actions):
        del actions
        length, t = state
        over = (t >= length) | (t >= LIMIT)
        following = jnp.where(over, t, t + 1)
        return (length, following), show(length, following, jnp.where(over, 0, following))

    return Env(spec, reset, step)


def losing(*lengths: int) -> Env:
    """The same, but battles of those lengths are lost at their first step: nothing of them counts."""
    whole = env()

    def told(made):
        (length, t), shown = made
        lost = (t > 0) & jnp.isin(length, jnp.array(lengths))
        return (length, t), dataclasses.replace(shown, info=shown.info | {"lost": lost})

    return Env(
        whole.spec, lambda keys: told(whole.reset(keys)), lambda state, actions: told(whole.step(state, actions))
    )


class Stand:
    """Stands for workers, two environments at a time."""

    lanes, restarts, said = 2, 0, ""

    def check(self) -> None:
        """Nothing is wrong with them."""

    def close(self) -> None:
        """Nothing to end."""


def algorithm() -> Algorithm:
    """SeCA for it, with networks as small as they can be."""
    return seca("test", env().spec, SecaConfig(actor_hidden=8, critic_embed=8, critic_width=16))


def watcher(seen: list[bool]) -> Algorithm:
    """Acts at random and records how it was called: env steps so far, calls before, and a number from its own key.

    `seen` gets what it is told of greediness whenever it is traced.
    """

    def act(params, carry, time_step, keys, env_steps, greedy: bool) -> Acted:
        del params
        seen.append(greedy)
        actions = jax.vmap(lambda key: jax.random.randint(key, (2,), 0, 2))(keys)
        now = jnp.broadcast_to(env_steps, carry.shape)
        drawn = jax.vmap(lambda key: jax.random.bits(key))(keys)
        return Acted(carry + 1, actions, {"now": now, "calls": carry, "drawn": drawn})

    return Algorithm(
        name="watcher",
        init=jax.random.key_data,
        policy=lambda learner: learner,
        initial_carry=lambda batch: jnp.zeros(batch, jnp.int32),
        act=act,
        update=lambda learner, episodes, replay, key, axis: (learner, {}),
        memory=lambda batch: 0,
        told=lambda carry, actions: carry,
    )


def lengths(keys: jax.Array) -> list[int]:
    """Env steps of the episodes that these keys reset to, cut by the limit or not."""
    return jax.jit(jax.vmap(lambda key: jax.random.randint(key, (), 1, 9)))(keys).tolist()
