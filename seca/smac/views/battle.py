"""One battle after another, NumPy in and out: what the views for single environments share."""

import dataclasses
import functools
import operator
from collections.abc import Mapping, Sequence, Set
from typing import Any

import jax
import numpy as np
from jaxtyping import Bool, Float32

from seca import numerics
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
    One in the middle of a battle can be copied and pickled: the copy goes on alike.

    Args:
        map_name: a map of seca/smac/maps.toml, like `2s3z`.
        options: fields of `seca.smac.scenario.Options` by name.

    Raises:
        ValueError: unknown map, unknown option, or a value it cannot take.
    """

    def __init__(self, map_name: str, options: dict[str, Any]) -> None:
        self._made_of = map_name, scenario.read_options(options).changed()
        self.simulator, self._reset, self._step = _compiled(*self._made_of)
        self.field = self.simulator.battlefield
        self.obs_size, self.state_size = self.simulator.sizes
        self.frame: Frame | None = None
        self._seeds: np.random.Generator | None = None
        self._battle: Any = None

    def __getstate__(self) -> dict[str, Any]:
        """All but what is made of the map and the options: compiled programs cannot be sent anywhere."""
        made = {"simulator", "field", "_reset", "_step"}
        return {name: value for name, value in self.__dict__.items() if name not in made}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self.simulator, self._reset, self._step = _compiled(*self._made_of)
        self.field = self.simulator.battlefield

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
        seed_of_battle = int(self._seeds.integers(2**32, dtype=np.uint32))
        with numerics.own():  # The same battles whatever the session has set.
            self._battle, shown = self._reset(numerics.key(seed_of_battle)[None])
        self.frame = _frame(shown)
        return self.frame

    def step(self, actions: Any, names: Sequence[str] = ()) -> Frame:
        """One env step. An unavailable action is taken as stop, by the dead as no-op.

        Args:
            actions: one whole number for each agent, of any kind (see `whole_numbers`).
            names: what errors call the agents.

        Raises:
            ValueError: not one action per agent, no such action, or no battle has been started.
        """
        if self.frame is None:
            raise ValueError("`step` needs a battle; call `reset` first")
        names = names or agent_names(self.field.n_agents)
        taken = whole_numbers(actions, names, self.field.n_actions)
        for name, action in zip(names, taken, strict=True):
            if not 0 <= action < self.field.n_actions:
                raise _no_action(name, action, self.field.n_actions)
        with numerics.own():
            self._battle, shown = self._step(self._battle, np.array([taken], np.int32))
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


def agent_names(n_agents: int) -> list[str]:
    """`agent 0`, `agent 1`, ..."""
    return [f"agent {i}" for i in range(n_agents)]


def whole_numbers(actions: Any, names: Sequence[str], n_actions: int) -> list[int]:
    """The joint action as Python's integers, not yet within 0 .. `n_actions` - 1.

    Whatever holds one whole number per agent does: lists, arrays and tensors, of integers or of floats like 2.0.
    Nothing is cut off: 1.9 is no action, nor are NaN, truth values and text.

    Raises:
        ValueError: not one action per agent, or one is no whole number.
    """
    try:
        if isinstance(actions, Mapping | Set | bytes):  # Their order, or what they hold, says nothing of agents.
            raise TypeError
        given = list(actions)
    except TypeError:
        raise ValueError(f"`actions` must hold one action per agent, {len(names)}; got {actions!r}") from None
    if len(given) != len(names):
        raise ValueError(f"`actions` must hold one action per agent, {len(names)}; got {len(given)}")
    return [_whole(name, action, n_actions) for name, action in zip(names, given, strict=True)]


def _whole(name: str, action: Any, n_actions: int) -> int:
    if isinstance(action, str | bytes) or "bool" in _kind(action):
        raise _no_action(name, action, n_actions)
    try:
        return operator.index(action)
    except TypeError:
        pass  # No integer: a float, or nothing of the sort.
    try:
        whole, given = int(action), float(action)
    except (TypeError, ValueError, OverflowError):
        raise _no_action(name, action, n_actions) from None
    if whole != given:
        raise _no_action(name, action, n_actions)
    return whole


def _kind(action: Any) -> str:
    """The dtype of a scalar of NumPy, JAX or PyTorch, else the type."""
    try:
        return str(action.dtype)
    except AttributeError:
        return type(action).__name__


def _no_action(name: str, action: Any, n_actions: int) -> ValueError:
    return ValueError(f"`actions` of {name} must be a whole number in 0 .. {n_actions - 1}, got {action!r}")


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
