"""Everything that a run needs to go on from where it is."""

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Int, UInt32

from seca import numerics
from seca.algos.base import Algorithm
from seca.learning.buffer import Replay
from seca.types import PyTree


class TrainState(eqx.Module):
    """The whole state of a training run between two iterations: arrays only.

    Environments are not in it: every iteration plays whole episodes from `reset`. Keys are derived from `seed_key` and
    `iteration`, so a resumed run draws what an unbroken one would have drawn.
    """

    learner: PyTree
    replay: Replay | None
    """The replay buffer of an algorithm that has one. Checkpoints of the best policy are without."""
    seed_key: UInt32[Array, " key"]
    """Key data of the run's root key, fixed for the whole run."""
    iteration: Int[Array, ""]
    """Updates done so far."""
    episodes: Int[Array, ""]
    """Training episodes collected so far."""
    env_steps: UInt32[Array, ""]
    """Training env steps so far: one step of one unfinished episode counts one; evaluation never counts."""

    def without_replay(self) -> "TrainState":
        """All but the buffer; itself where there is none, as `tree_at` takes a millisecond or two."""
        if self.replay is None:
            return self
        # Not `replace`, which would check types: these may be shapes.
        return eqx.tree_at(lambda state: state.replay, self, None, is_leaf=lambda node: node is None)


@numerics.own()
def init_state(algorithm: Algorithm, seed: int | Int[Array, ""]) -> TrainState:
    """State of an untrained run."""
    root = numerics.key(seed)
    init_key, run_key = jax.random.split(root)
    return TrainState(
        learner=algorithm.init(init_key),
        replay=None if algorithm.buffer is None else algorithm.buffer.init(),
        seed_key=jax.random.key_data(run_key),
        iteration=jnp.zeros((), jnp.int32),
        episodes=jnp.zeros((), jnp.int32),
        env_steps=jnp.zeros((), jnp.uint32),
    )


@numerics.own()
def iteration_keys(state: TrainState) -> tuple[Array, Array, Array]:
    """Collection, update and evaluation keys of the current iteration.

    Evaluation has a key of its own, so evaluating more often leaves training unchanged bit for bit.
    """
    run_key = numerics.typed(state.seed_key)
    keys = jax.random.split(jax.random.fold_in(run_key, state.iteration), 3)
    return keys[0], keys[1], keys[2]
