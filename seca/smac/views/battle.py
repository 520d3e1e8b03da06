"""One battle after another, NumPy in and out: what the views for single environments share."""

import dataclasses
import functools
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float32, Integer

from seca.smac import observe, scenario, simulator

MOST_JITTER = 2.0
"""Game loops by which a shot can lengthen the cooldown at most."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """What a battle shows after `reset` or `step`. All arrays are the caller's own."""

    obs: Float32[np.ndarray, "agents obs"]
    state: Float32[np.ndarray, " state"]
    avail: Bool[np.ndarray, "agents actions"]
    reward: float
    """Team reward of the step that led here; 0 after `reset`."""
    terminated: bool
    truncated: bool
    """The time limit was reached. Never together with `terminated`."""
    won: bool
    dead_allies: int
    dead_enemies: int

    @property
    def done(self) -> bool:
        """Whether the battle is over, for either reason."""
        return self.terminated or self.truncated

    def info(self) -> dict[str, Any]:
        """What SMAC reports beside observations and rewards, under SMAC's names."""
        return {"battle_won": self.won, "dead_allies": self.dead_allies, "dead_enemies": self.dead_enemies}


class SingleBattle:
    """Battles on one map, one at a time.

    The same seed gives the same sequence of battles. Objects of the same map and options share their compiled programs.

    Args:
        map_name: a map of seca/smac/maps.toml, like `2s3z`.
        options: fields of `seca.smac.scenario.Options` by name.

    Raises:
        ValueError: unknown map, unknown option, or a value it cannot take.
    """

    def __init__(self, map_name: str, options: dict[str, Any]) -> None:
        self.simulator, self._reset, self._step = _compiled(map_name, scenario.read_options(options).changed())
        self.field = self.simulator.battlefield
        self.obs_size, self.state_size = self.simulator.sizes
        self.frame: Frame | None = None
        self._seeds: np.random.Generator | None = None
        self._battle: Any = None

    @property
    def state_bound(self) -> float:
        """The largest magnitude in the state: cooldown or energy over SMAC's divisor, which some weapons exceed."""
        field, mine = self.field, slice(self.field.n_agents)
        charge = np.maximum(field.period[mine] + MOST_JITTER, field.energy_max[mine])
        return max(1.0, float((charge / field.max_cooldown).max()))

    def reset(self, seed: int | None = None) -> Frame:
        """Start a battle: with a seed the first of its sequence, without one the next (of a random sequence at first).

        Raises:
            ValueError: the seed is negative.
        """
        if seed is not None and seed < 0:
            raise ValueError(f"`seed` must be 0 or more, got {seed}")
        if seed is not None or self._seeds is None:
            self._seeds = np.random.default_rng(seed)
        with jax.threefry_partitionable(True):  # The same battles whatever generator the session has.
            key = jax.random.key(self._seeds.integers(2**32, dtype=np.uint32), impl="threefry2x32")
            self._battle, shown = self._reset(key[None])
        self.frame = _frame(shown)
        return self.frame

    def step(self, actions: Integer[np.ndarray, " agents"]) -> Frame:
        """One env step. An unavailable action is taken as stop, by the dead as no-op.

        Raises:
            ValueError: not one action per agent, no such action, or no battle has been started.
        """
        if self.frame is None:
            raise ValueError("`step` needs a battle; call `reset` first")
        if actions.shape != (self.field.n_agents,):
            raise ValueError(f"`actions` must hold one action per agent, {self.field.n_agents}; got {actions.shape}")
        if actions.min() < 0 or actions.max() >= self.field.n_actions:
            raise ValueError(f"`actions` must be in 0 .. {self.field.n_actions - 1}, got {actions.tolist()}")
        self._battle, shown = self._step(self._battle, actions[None].astype(np.int32))
        self.frame = _frame(shown)
        return self.frame

    def visibility(self) -> Bool[np.ndarray, "agents units"]:
        """Which living agent sees which living unit, agents before enemies; nobody sees itself.

        Raises:
            ValueError: no battle has been started.
        """
        if self.frame is None:
            raise ValueError("`visibility` needs a battle; call `reset` first")
        return np.array(observe.visibility(self.field, self._battle.units)[0])


@functools.lru_cache(maxsize=32)
def _compiled(map_name: str, options: tuple[tuple[str, Any], ...]) -> tuple[simulator.Simulator, Any, Any]:
    battles = simulator.make(map_name, **dict(options))
    return battles, jax.jit(battles.reset), jax.jit(battles.step)


def _frame(shown: Any) -> Frame:
    """The one battle of a time step, copied out of JAX's own memory."""
    one = jax.tree.map(lambda x: np.array(x[0]), jax.device_get(shown))
    return Frame(
        obs=one.obs,
        state=one.state,
        avail=one.avail,
        reward=float(one.reward),
        terminated=bool(one.terminated),
        truncated=bool(one.truncated),
        won=bool(one.info["won"]),
        dead_allies=int(one.info["dead_allies"]),
        dead_enemies=int(one.info["dead_enemies"]),
    )
