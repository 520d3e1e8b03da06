"""What a worker plays: one team in one environment, NumPy in and out.

Nothing that a worker imports imports JAX, unless its environment does: it starts in a fraction of a second and takes a
fifth of the memory.
"""

import dataclasses
from typing import Any, Protocol, runtime_checkable

import numpy as np
from jaxtyping import Bool, Float, Int


@dataclasses.dataclass(frozen=True)
class Spec:
    """What there is to know of an environment: `seca.types.EnvSpec`, field for field, without JAX."""

    id: str
    version: str
    n_agents: int
    n_actions: int
    obs_size: int
    state_size: int
    episode_limit: int
    options: tuple[tuple[str, Any], ...] = ()
    ally_features: int = 0
    box: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    """Low and high end of each number of an action, where actions are continuous."""
    agent_types: tuple[int, ...] = ()
    """See `seca.envs.agents.types_of`."""


@dataclasses.dataclass(frozen=True)
class Frame:
    """What an environment shows after `reset` or `step`, padded to the sizes of its spec."""

    obs: Float[np.ndarray, "agents obs"]
    state: Float[np.ndarray, " state"]
    avail: Bool[np.ndarray, "agents actions"]
    """Which actions an agent may choose, at least one of them. Of one that is gone only the first: whoever may choose
    nothing else counts as dead. Where actions are continuous none of its numbers."""
    reward: float = 0.0
    """Team reward of the step that led here; 0 after `reset`."""
    terminated: bool = False
    """The episode ended by the rules of the game."""
    truncated: bool = False
    """The episode was cut, by the environment itself. Never together with `terminated`."""
    won: bool = False
    """Means nothing where nobody can win (`Single.wins`)."""

    @property
    def done(self) -> bool:
        """Whether the episode is over, for either reason."""
        return self.terminated or self.truncated


@runtime_checkable
class Single(Protocol):
    """One environment, one episode at a time; an adapter for each kind of environment makes one of them.

    Whatever its methods raise is taken for a failure of the environment: the worker is started anew, and the episode is
    dropped. `seca.envs.hosted.single.Broken` is for what starting anew would not mend.
    """

    spec: Spec
    """Sizes, names and the time limit. Where actions are continuous its `box` has their own bounds."""
    wins: bool
    """Whether frames say if the episode was won."""

    def reset(self, seed: int) -> Frame:
        """Begin an episode: the same seed (0 to 2**31 - 1) the same one, as far as the environment has seeds."""
        ...

    def step(self, actions: Int[np.ndarray, " agents"] | Float[np.ndarray, "agents numbers"]) -> Frame:
        """One env step of an episode that is not over; actions as the spec has them, within its box."""
        ...

    def close(self) -> None:
        """Let go of whatever it holds: games, files, windows."""
        ...


class Broken(Exception):  # noqa: N818
    """The environment does not keep its own contract: one line that says what and where. Ends the run."""
