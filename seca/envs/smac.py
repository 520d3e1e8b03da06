"""SMAC battles as an environment."""

import dataclasses
import pathlib
from typing import Any

from seca.envs.agents import types_of
from seca.envs.base import Env
from seca.smac import actions, custom, scenario, scripts, simulator
from seca.smac.opponent import Opponent
from seca.types import EnvSpec


def make(map_name: str, /, **options: Any) -> Env:
    """Battles on one map of the StarCraft Multi-Agent Challenge, simulated.

    An unavailable action of a living agent is taken as stop, any action of a dead one as no-op. At the time limit
    `truncated` is set and `terminated` is not. `info` holds `won`, `dead_allies` and `dead_enemies`.

    Args:
        map_name: a map of seca/smac/maps.toml, like `2s3z`.
        options: fields of `seca.smac.scenario.Options` by name; `opponent` may also be a
            `seca.smac.opponent.Opponent`, like the policies of `seca.smac.policy`.

    Raises:
        ValueError: unknown map, unknown option, or a value it cannot take.
    """
    chosen, opponent = scripts.read(options)
    return from_scenario(scenario.load(map_name, chosen.profile, chosen.creep_decay), chosen, opponent)


def make_file(path: str, /, **options: Any) -> Env:
    """Battles of a scenario file (see `seca.smac.custom.read`); the rest as in `make`.

    The version follows the contents of the file, so that a checkpoint of a file edited since is refused; its name, and
    where it lies, do not count.
    """
    chosen, opponent = scripts.read(options)
    battlefield = custom.read(path, chosen.profile, chosen.creep_decay)
    env = from_scenario(battlefield, chosen, opponent)
    version = f"{env.spec.version}-{custom.fingerprint(path)}"
    name = pathlib.Path(path).name
    return dataclasses.replace(env, spec=dataclasses.replace(env.spec, id=f"smac:{name}", version=version))


def list_maps() -> list[str]:
    """Names that `make` takes."""
    return list(scenario.map_names())


def from_scenario(battlefield: scenario.Scenario, options: scenario.Options, opponent: Opponent | None = None) -> Env:
    """The environment of a scenario, with any opponent; None: the one that the options name."""
    battles = simulator.Simulator(battlefield, options, opponent)
    obs_size, state_size = battles.sizes
    # Health, cooldown, x, y; shield; type: see `seca.smac.observe.observe_state`.
    features = 4 + int(battlefield.ally_has_shield) + battlefield.type_bits.shape[1]
    spec = EnvSpec(
        id=f"smac/{battlefield.name}",
        version=f"smac-{battlefield.version}",
        n_agents=battlefield.n_agents,
        n_actions=battlefield.n_actions,
        obs_size=obs_size,
        state_size=state_size,
        episode_limit=battlefield.limit,
        options=options.changed(),
        agent_types=types_of(battlefield.unit_names[: battlefield.n_agents]),
        ally_features=0 if options.obs_instead_of_state else features,
    )
    return Env(
        spec,
        battles.reset,
        battles.step,
        state_batch_axis=-1,
        reseed=battles.reseed,
        simulator=battles,
        action_names=actions.names(battlefield),
    )
