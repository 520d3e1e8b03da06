"""JaxMARL's SMAX in the form of an environment of ours, to time the two simulators by the same loop."""

import importlib
import importlib.util
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp

from seca.envs import jaxmarl
from seca.envs.base import Env
from seca.types import EnvSpec, TimeStep


def _scenarios() -> Mapping[str, Any]:
    """SMAX's maps by name; none where jaxmarl is not installed."""
    if importlib.util.find_spec("jaxmarl") is None:
        return {}
    with jaxmarl.quiet():  # It prints when it is imported.
        return importlib.import_module("jaxmarl.environments.smax.smax_env").MAP_NAME_TO_SCENARIO


def map_names() -> tuple[str, ...]:
    """Maps that SMAX has; none where jaxmarl is not installed."""
    return tuple(_scenarios())


def make(map_name: str, own_step: bool = True) -> Env:
    """SMAX against its heuristic enemy, options as in JaxMARL's own configurations.

    Args:
        map_name: one of `map_names()`.
        own_step: take SMAX's own `step`, which makes a new battle beside every step, so that battles are never done
            for the caller; else its `step_env`, and whoever calls resets.

    Raises:
        ValueError: SMAX has no such map, or is not installed.
    """
    scenarios = _scenarios()
    if map_name not in scenarios:
        raise ValueError(f"`maps` must be among SMAX's {', '.join(scenarios) or '(none)'}; got {map_name!r}")
    env = importlib.import_module("jaxmarl.environments.smax").HeuristicEnemySMAX(
        scenario=scenarios[map_name], see_enemy_actions=True, walls_cause_death=True, attack_mode="closest"
    )

    def show(state: Any, obs: dict, reward: jax.Array, done: jax.Array) -> dict[str, Any]:
        """Of one battle; a `TimeStep` is of several."""
        avail = env.get_avail_actions(state)
        return {
            "obs": jnp.stack([obs[agent] for agent in env.agents]),
            "state": obs["world_state"],
            "avail": jnp.stack([avail[agent] for agent in env.agents]).astype(bool),
            "reward": reward,
            "terminated": done,
            "truncated": jnp.zeros_like(done),
            "info": {},
        }

    def reset_one(key: jax.Array) -> tuple[Any, dict[str, Any]]:
        start_key, play_key = jax.random.split(key)
        obs, state = env.reset(start_key)
        return (state, play_key), show(state, obs, jnp.float32(0.0), jnp.bool_(False))

    def step_one(carry: Any, actions: jax.Array) -> tuple[Any, dict[str, Any]]:
        state, key = carry
        key, step_key = jax.random.split(key)
        take = env.step if own_step else env.step_env
        obs, state, reward, done, _ = take(step_key, state, dict(zip(env.agents, actions, strict=True)))
        over = done["__all__"] & (not own_step)
        return (state, key), show(state, obs, reward[env.agents[0]], over)

    def reset(keys: jax.Array) -> tuple[Any, TimeStep]:
        carry, shown = jax.vmap(reset_one)(keys)
        return carry, TimeStep(**shown)

    def step(carry: Any, actions: jax.Array) -> tuple[Any, TimeStep]:
        carry, shown = jax.vmap(step_one)(carry, actions)
        return carry, TimeStep(**shown)

    _, first = jax.eval_shape(reset_one, jax.random.key(0))
    spec = EnvSpec(
        id=f"smax{'' if own_step else '_best'}/{map_name}",
        version="jaxmarl",
        n_agents=env.num_agents,
        n_actions=first["avail"].shape[-1],
        obs_size=first["obs"].shape[-1],
        state_size=first["state"].shape[-1],
        episode_limit=env.max_steps,
    )
    return Env(spec, reset, step)
