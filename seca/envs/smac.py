"""SMAC battles as an environment."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, Key

from seca.envs.base import Env
from seca.smac import actions, observe, scenario, state, tick
from seca.smac.opponent import SCRIPTED, Opponent
from seca.types import EnvSpec, TimeStep

VERSION = "smac-1"
"""Version of the semantics: raised when a change can move results."""


def make(map_name: str, **options: Any) -> Env:
    """Battles on one map of the StarCraft Multi-Agent Challenge, simulated.

    An unavailable action of a living agent is taken as stop, any action of a dead one as no-op. At the time limit
    `truncated` is set and `terminated` is not. `info` holds `won`, `dead_allies` and `dead_enemies`.

    Args:
        map_name: a map of seca/smac/maps.toml, like `2s3z`.
        options: fields of `seca.smac.scenario.Options` by name.

    Raises:
        ValueError: unknown map, unknown option, or a value it cannot take.
    """
    return from_scenario(scenario.load(map_name), scenario.read_options(options))


def list_maps() -> list[str]:
    """Names that `make` takes."""
    return list(scenario.map_names())


def from_scenario(battlefield: scenario.Scenario, options: scenario.Options, opponent: Opponent = SCRIPTED) -> Env:
    """The environment of a scenario, with any opponent."""
    if options.reward_scale and not battlefield.largest_return(options) > 0:
        raise ValueError(
            "`reward_scale` divides by the largest possible return, which is "
            f"{battlefield.largest_return(options)} with these rewards; it must be above 0, or reward_scale=False"
        )
    reset = functools.partial(_reset, battlefield, options, opponent)
    first = jax.eval_shape(reset, jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 1)))[1]
    spec = EnvSpec(
        id=f"smac/{battlefield.name}",
        version=VERSION,
        n_agents=battlefield.n_agents,
        n_actions=battlefield.n_actions,
        obs_size=first.obs.shape[-1],
        state_size=first.state.shape[-1],
        episode_limit=battlefield.limit,
        options=options.changed(),
    )
    return Env(spec, reset, functools.partial(_step, battlefield, options, opponent), state_batch_axis=-1)


def _reset(
    battlefield: scenario.Scenario, options: scenario.Options, opponent: Opponent, keys: Key[Array, " batch"]
) -> tuple[state.Battle, TimeStep]:
    seed = jax.vmap(lambda key: jax.random.bits(key, (), jnp.uint32))(keys)
    battle = opponent.init(battlefield, state.spawn(battlefield, seed))
    return battle, _show(battlefield, options, battle, jnp.zeros(seed.shape, jnp.float32))


def _step(
    battlefield: scenario.Scenario,
    options: scenario.Options,
    opponent: Opponent,
    battle: state.Battle,
    requested: Int[Array, "batch agents"],
) -> tuple[state.Battle, TimeStep]:
    if requested.shape[0] == 1:
        # XLA contracts the arithmetic of a single lane differently: as one of two it equals the lane of a larger batch.
        twice = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=-1), battle)
        twice, shown = _step(battlefield, options, opponent, twice, jnp.repeat(requested, 2, axis=0))
        return jax.tree.map(lambda x: x[..., :1], twice), jax.tree.map(lambda x: x[:1], shown)
    battle, reward = tick.step(battlefield, options, battle, requested.T, opponent)
    return battle, _show(battlefield, options, battle, reward)


def _show(battlefield: scenario.Scenario, options: scenario.Options, battle: state.Battle, reward: Array) -> TimeStep:
    units, a = battle.units, battlefield.n_agents
    avail = actions.available(battlefield, units)
    obs = observe.observe(battlefield, options, units, avail, battle.last_action, battle.steps)
    if options.obs_instead_of_state:
        full = obs.reshape(obs.shape[0], -1)
    else:
        full = observe.observe_state(battlefield, options, units, battle.last_action, battle.steps)
    return TimeStep(
        obs=obs,
        state=full,
        avail=jnp.transpose(avail, (2, 0, 1)),
        reward=reward,
        terminated=battle.terminated,
        truncated=battle.truncated,
        info={
            "won": battle.won,
            "dead_allies": (~units.alive[:a]).sum(axis=0, dtype=jnp.int32),
            "dead_enemies": (~units.alive[a:]).sum(axis=0, dtype=jnp.int32),
        },
    )
