"""Orders that need no critic: by probability, by entropy, fixed, random."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class FixedOrder:
    """One order for the whole run: a random permutation, or the agents' own order."""

    identity: bool = False
    """Agents in index order, as the authors' release has it, instead of a random permutation."""


@dataclasses.dataclass(frozen=True)
class RandomOrder:
    """A new random permutation for each episode."""


@dataclasses.dataclass(frozen=True)
class ProbabilityOrder:
    """Per step, descending probability of the taken action."""


@dataclasses.dataclass(frozen=True)
class EntropyOrder:
    """Per step, ascending entropy of the policy."""
