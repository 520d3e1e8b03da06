"""What training needs of memory, estimated before anything is compiled."""

import jax

from seca.learning.buffer import episode_bytes
from seca.types import EnvSpec, PyTree


def floats_in(shapes: PyTree) -> int:
    """Numbers in a tree of arrays, or of their shapes from `jax.eval_shape`."""
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def visited(chunk: int, spec: EnvSpec, episodes: int) -> int:
    """Rows that a visit takes of so many episodes, as `learning.rows` does: a chunk, or all that there can be."""
    return min(chunk, episodes * (spec.episode_limit + 1))


def training_bytes(learner: PyTree, spec: EnvSpec, episodes: int, per_agent: int, working: int, kept: int = 3) -> int:
    """Estimated peak bytes of training on one device, without a replay buffer.

    Args:
        learner: shapes of all that is trained; there is another of it while gradients are added up.
        spec: the environment.
        episodes: how many are learned from at once.
        per_agent: numbers that a method keeps for each agent of a step, beside what it observes and may do.
        working: numbers held at once by a visit of some rows.
        kept: copies of the episodes at the peak.
    """
    rows = episodes * (spec.episode_limit + 1) * spec.n_agents
    return kept * episodes * episode_bytes(spec) + 4 * (2 * floats_in(learner) + 3 * rows * per_agent + working)
