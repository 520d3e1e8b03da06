"""What an action was really worth: the credits of the paper as differences between forks.

A fork in which the agents of a set C are held to what they did, the others drawing their first action again, and all
follow their policies from then on, has the expected return Q(u_C, pi). Every credit here is a mean of differences

    Q(u_{C + i}, pi) - Q(u_C, pi)

for agent i: C is who was judged before (Eq. 5 of Zang et al. 2023), nobody (Eq. 4), everybody else (Eq. 3), or who
comes before i in a random order (the Shapley value).
"""

import dataclasses

import numpy as np
from jaxtyping import Bool, Float, Int

from seca.credit.base import Kind

MAX_AGENTS = 62
"""A set of agents is a whole number of 64 bits."""


def before(
    kind: Kind, order: Int[np.ndarray, "forks agents"], numbers: Float[np.ndarray, "forks agents"]
) -> Bool[np.ndarray, "forks sets agents agents"]:
    """The sets C: `[.., i, j]` says whether j is among those held when i is judged.

    Args:
        kind: which credit.
        order: agent at each position, of the step that each fork begins from.
        numbers: random numbers in [0, 1), which sort the agents for the Shapley value; with the reverse of each order.
    """
    forks, n_agents = order.shape
    if kind == "independent":
        return np.zeros((forks, 1, n_agents, n_agents), bool)
    if kind == "counterfactual":
        return np.broadcast_to(~np.eye(n_agents, dtype=bool), (forks, 1, n_agents, n_agents))
    ranks = np.argsort(order, axis=1) if kind == "sequential" else np.argsort(np.argsort(numbers, axis=1), axis=1)
    earlier = ranks[:, None, :] < ranks[:, :, None]
    if kind == "sequential":
        return earlier[:, None]
    return np.stack([earlier, ranks[:, None, :] > ranks[:, :, None]], axis=1)


@dataclasses.dataclass(frozen=True)
class Asked:
    """The forks to play for some questions, each joint action of a fork once."""

    fork: Int[np.ndarray, " played"]
    """Which fork each is one of."""
    first: Int[np.ndarray, "played agents"]
    """Its first joint action."""
    kinds: tuple[Kind, ...]
    places: dict[Kind, tuple[np.ndarray, np.ndarray]]
    """Of each kind, `[forks, sets, agents]` twice: which of those played is Q(u_C, pi), and Q(u_{C + i}, pi)."""

    def differences(self, returns: Float[np.ndarray, " played"]) -> dict[Kind, Float[np.ndarray, "forks agents"]]:
        """Each fork's estimate of each agent's credit."""
        wide = returns.astype(np.float64)
        return {kind: (wide[joined] - wide[alone]).mean(axis=1) for kind, (alone, joined) in self.places.items()}


def ask(
    kinds: tuple[Kind, ...],
    taken: Int[np.ndarray, "forks agents"],
    drawn: Int[np.ndarray, "forks agents"],
    order: Int[np.ndarray, "forks agents"],
    numbers: Float[np.ndarray, "forks agents"],
) -> Asked:
    """Which forks answer for these kinds of credit.

    Of those who draw what they did anyway it is all the same whether they are held: so most sets ask for a joint action
    that another has asked for, and with the same luck the same action has the same return.

    Args:
        kinds: the credits.
        taken: what the agents did in the step that each fork begins from.
        drawn: what the policy draws in the fork.
        order: agent at each position in that step.
        numbers: random numbers in [0, 1).

    Raises:
        ValueError: there are more than `MAX_AGENTS` agents.
    """
    n_agents = taken.shape[1]
    if n_agents > MAX_AGENTS:
        raise ValueError(f"`env` has {n_agents} agents; forks of up to {MAX_AGENTS} can be told apart")
    bit, differs = 1 << np.arange(n_agents, dtype=np.int64), taken != drawn
    codes: list[np.ndarray] = []
    for kind in kinds:
        members = before(kind, order, numbers)
        own = np.eye(n_agents, dtype=bool)
        codes += [((held & differs[:, None, None]) @ bit) for held in (members, members | own)]
    shapes = [code.shape for code in codes]
    every = np.concatenate([code.reshape(len(taken), -1) for code in codes], axis=1)
    fork = np.broadcast_to(np.arange(len(taken))[:, None], every.shape)
    # Pairs of fork and set as one number each, the sets counted first: rows of two would be sorted ten times slower.
    sets, number = np.unique(every, return_inverse=True)
    pairs, where = np.unique(fork * len(sets) + number.reshape(every.shape), return_inverse=True)
    of, held = pairs // len(sets), (sets[pairs % len(sets), None] & bit) > 0
    first = np.where(held, taken[of], drawn[of])
    parts = np.split(where.reshape(every.shape), np.cumsum([np.prod(shape[1:]) for shape in shapes])[:-1], axis=1)
    at = [part.reshape(shape) for part, shape in zip(parts, shapes, strict=True)]
    places = {kind: (at[2 * k], at[2 * k + 1]) for k, kind in enumerate(kinds)}
    return Asked(of, first, kinds, places)


@dataclasses.dataclass
class Sums:
    """Sums over the forks of each step, of which more can be added."""

    forks: Int[np.ndarray, " steps"]
    total: Float[np.ndarray, "steps kinds agents"]
    squares: Float[np.ndarray, "steps kinds agents"]
    counts: Int[np.ndarray, "steps agents actions"]
    """Forks in which an agent draws each action: what its policy is."""

    @staticmethod
    def nothing(steps: int, kinds: int, n_agents: int, n_actions: int) -> "Sums":
        """Of no forks."""
        none = np.zeros((steps, kinds, n_agents))
        return Sums(np.zeros(steps, np.int64), none, none.copy(), np.zeros((steps, n_agents, n_actions), np.int64))

    def add(self, step: np.ndarray, credits: dict[Kind, np.ndarray], drawn: Int[np.ndarray, "forks agents"]) -> None:
        """Add forks `[forks, agents]` of each kind, in the order of the kinds, and what was drawn, to their steps."""
        found = np.stack(list(credits.values()), axis=1)
        np.add.at(self.forks, step, 1)
        np.add.at(self.total, step, found)
        np.add.at(self.squares, step, found**2)
        np.add.at(self.counts, (step[:, None], np.arange(drawn.shape[1]), drawn), 1)

    def mean(self) -> Float[np.ndarray, "steps kinds agents"]:
        """The credits."""
        return self.total / self.forks[:, None, None]

    def error(self) -> Float[np.ndarray, "steps kinds agents"]:
        """Their standard errors. One fork alone says nothing of its error: infinite."""
        count = self.forks[:, None, None].astype(np.float64)
        spread = np.maximum(self.squares - self.total**2 / count, 0)
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(count > 1, np.sqrt(spread / (count * (count - 1))), np.inf)
