"""Shared types and the glossary of axis names.

Axis names, the only ones used in signatures:
    batch    runners, or episodes collected by them
    time     environment steps of one episode, t = 0 .. L-1; ``time+1``, or ``time1`` where ``time`` is not bound in
             the same signature, adds the row of the final observation
    agents   agents of the team
    actions  discrete actions of one agent, or whatever numbers stand for its policy (`EnvSpec.action_width`)
    numbers  numbers that a continuous action consists of
    obs      one agent's observation vector
    state    global state vector
Networks add ``hidden`` (recurrent features), ``embed`` (features of the mixing critic) and ``rows`` (packed steps).

Time suffixes: ``x_t`` belongs to step t, ``x_tp1`` to step t + 1.
"""

from typing import Any, Literal

import equinox as eqx
from jaxtyping import Array, Bool, Float, Int, Integer

PyTree = Any
TimeLimit = Literal["bootstrap", "terminal"]
"""What the time limit is to a learner: a cut, beyond which values are bootstrapped, or an end of the episode."""


Actions = Integer[Array, "*rows agents"] | Float[Array, "*rows agents numbers"]
"""What agents do: the number of a discrete action, or the numbers of a continuous one. The type tells which: what
depends on it is in `distributions`."""


class Box(eqx.Module):
    """A continuous action space: the bounds of each number of an action, all of them finite."""

    low: tuple[float, ...]
    high: tuple[float, ...]


class EnvSpec(eqx.Module):
    """What a learner may know of an environment: sizes and names, no functions."""

    id: str
    """Name on the command line, family first: `smac/2s3z`."""
    version: str
    """Version of the semantics. Checkpoints of another version are refused."""
    n_agents: int
    n_actions: int
    """Discrete actions of an agent, or numbers of a continuous one."""
    obs_size: int
    state_size: int
    episode_limit: int
    """Longest episode in env steps; at this step an unfinished episode is truncated."""
    options: tuple[tuple[str, Any], ...] = ()
    """Options that differ from their defaults, sorted by name; part of what makes two runs comparable."""
    ally_features: int = 0
    """Where the state begins with so many features of each agent, agent after agent; 0 where it has no such order."""
    agent_types: tuple[int, ...] = ()
    """Of each agent the number of its type, counted from 0 as they come; () where all are of one."""
    networks: tuple[int, ...] = ()
    """Of each agent the number of the network by which it acts; () where all share one. Environments leave it empty:
    `presets.build` says it to the learner."""
    box: Box | None = None
    """Bounds of the actions where they are continuous; None where they are discrete. Learners act in a box from -1 to
    1: `envs.base.in_units` makes one of any."""

    @property
    def action_width(self) -> int:
        """Numbers by which networks are told an agent's action, or its policy.

        One for each discrete action: a one-hot, or probabilities. Two for each number of a continuous one: the number
        and 0, or mean and variance. Zang et al. 2023, section 3.2.
        """
        return self.n_actions if self.box is None else 2 * self.n_actions


class TimeStep(eqx.Module):
    """What a batch of environments shows after `reset` or `step`."""

    obs: Float[Array, "batch agents obs"]
    state: Float[Array, "batch state"]
    avail: Bool[Array, "batch agents actions"]
    """Which actions an agent may choose; of a continuous one, whether it acts at all: as often as there are numbers."""
    reward: Float[Array, " batch"]
    """Team reward of the step that led here; 0 after `reset`."""
    terminated: Bool[Array, " batch"]
    """The episode ended by the rules of the game: nothing is bootstrapped."""
    truncated: Bool[Array, " batch"]
    """The episode was cut by the time limit. Never true together with `terminated`."""
    info: dict[str, Array]
    """Named arrays with the batch axis first; `won` (bool) is among them where an episode can be won."""

    @property
    def done(self) -> Bool[Array, " batch"]:
        """Whether the episode is over, for either reason."""
        return self.terminated | self.truncated


class Episodes(eqx.Module):
    """Whole episodes, padded to a common length; `valid` says which steps are real.

    Row L of an episode of L steps holds the final observation, and an action sampled there for bootstrapping.
    Rows after it are padding: their content never changes a result.
    """

    reward: Float[Array, "batch time"]
    terminated: Bool[Array, "batch time"]
    truncated: Bool[Array, "batch time"]
    valid: Bool[Array, "batch time"]
    obs: Float[Array, "batch time+1 agents obs"]
    state: Float[Array, "batch time+1 state"]
    avail: Bool[Array, "batch time+1 agents actions"]
    actions: Integer[Array, "batch time+1 agents"] | Float[Array, "batch time+1 agents numbers"]
    """Small integers where they are stored, else int32; float32 where they are continuous."""
    record: PyTree = None
    """What the acting algorithm chose to keep of each row (arrays `[batch, time+1, ...]`), or None."""
    counted: Bool[Array, "batch time agents"] | None = None
    """Whose steps count in the losses of single agents; None where all do."""

    @property
    def length(self) -> Int[Array, " batch"]:
        """Number of real steps L of each episode."""
        return self.valid.sum(axis=1)

    def ended(self, time_limit: TimeLimit) -> Bool[Array, "batch time"]:
        """Where nothing is bootstrapped: where the episode terminated, and, for `terminal`, where it was cut."""
        return self.terminated | self.truncated if time_limit == "terminal" else self.terminated


class Acted(eqx.Module):
    """Result of one `act` call over a batch of runners."""

    carry: PyTree
    """Recurrent state for the next step, arrays `[batch, ...]`."""
    actions: Int[Array, "batch agents"] | Float[Array, "batch agents numbers"]
    record: PyTree = None
    """Arrays `[batch, ...]` that the loop stores in `Episodes.record`, so that `update` need not compute them again."""
