"""What forks of a step say of single agents: which joint actions to play, and the sequential advantages they amount to.

Each fork of a step draws the agents' actions again. Its agents then change, one after the other in the order of who is
judged first, to what they had done; each change is played on with the same luck, and what it brings is a sample of

    Q(s, u_1 .. u_k, pi) - Q(s, u_1 .. u_{k-1}, pi),

whose mean is Eq. 5 of Zang et al. 2023. Who draws what they did anyway changes nothing, and costs nothing.
"""

import dataclasses
from typing import Annotated

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int, Key

from seca.policies import log_of
from seca.ranges import Range


@dataclasses.dataclass(frozen=True)
class ForkOptions:
    """How many forks an update plays."""

    fork_every: Annotated[int, Range(1, 65_536)] = 16
    """One episode in so many is forked; where it does not divide a device's episodes, one in their greatest common
    divisor."""
    fork_lanes: Annotated[int, Range(1, 65_536)] = 512
    """Battles played on from each of these, at most: steps of it are forked until they are used up."""
    forks: Annotated[int, Range(1, 65_536)] = 32
    """Forks of each of these steps."""
    fork_steps: Annotated[int, Range(1, 100_000)] = 12
    """Env steps that each is played for; from there on the critic says what is to come."""

    @property
    def drawn(self) -> int:
        """Steps drawn from an episode: more than the lanes suffice for, unless hardly any fork differs."""
        return max(1, 4 * self.fork_lanes // self.forks)


class Asked(eqx.Module):
    """What the lanes play: those of a step side by side, those of a fork in the order in which its agents change."""

    step: Int[Array, " lanes"]
    """Which of the steps each begins from; any, where it has nothing to play."""
    first: Int[Array, "lanes agents"]
    """Its first joint action."""
    luck: Key[Array, " lanes"]
    """The same for all lanes of a fork."""
    agent: Int[Array, " lanes"]
    """Who has changed since the lane before."""
    changed: Bool[Array, " lanes"]
    """Whether anybody has."""
    known: Bool[Array, " steps"]
    """Steps of which every fork is played."""
    forks: Int[Array, ""]
    """Forks of each."""

    def credit(self, returns: Float[Array, " lanes"]) -> Float[Array, "steps agents"]:
        """Mean over the forks of what each agent's change has brought; 0 where not known."""
        gain = jnp.where(self.changed, returns - jnp.roll(returns, 1), 0)
        total = jnp.zeros((self.known.shape[0], self.first.shape[1]), gain.dtype).at[self.step, self.agent].add(gain)
        return jnp.where(self.known[:, None], total / self.forks.astype(gain.dtype), 0)


def ask(
    probs: Float[Array, "steps agents actions"],
    actions: Int[Array, "steps agents"],
    order: Int[Array, "steps agents"],
    wanted: Bool[Array, " steps"],
    keys: Key[Array, " steps"],
    forks: int,
    lanes: int,
) -> Asked:
    """Fork one step after the other, as far as the lanes reach.

    Args:
        probs: policies pi_i(. | tau_i).
        actions: joint actions u that were taken.
        order: agent at each position, first judged first.
        wanted: which steps may be forked.
        keys: one per step.
        forks: forks of each step.
        lanes: how many battles are played in all.
    """
    n_steps, n_agents = actions.shape
    draw_keys, luck_keys = jax.vmap(jax.random.split, out_axes=1)(keys)
    draw = jax.vmap(lambda key, logits: jax.random.categorical(key, logits, shape=(forks, n_agents), mode="low"))
    drawn = draw(draw_keys, log_of(probs)).astype(actions.dtype)
    differs = drawn != actions[:, None]
    rank = jnp.argsort(order, axis=-1)
    # Of those who change, counted from 1 on: the how many-th each is.
    earlier = rank[:, None, :] < rank[:, :, None]
    place = (earlier[:, None] & differs[:, :, None, :]).sum(axis=-1, dtype=jnp.int32) + 1
    cost = jnp.where(differs.any(axis=-1), 1 + differs.sum(axis=-1, dtype=jnp.int32), 0)
    cost = jnp.where(wanted[:, None], cost, 0)
    end = jnp.cumsum(cost.reshape(-1), dtype=jnp.int32)
    known = wanted & (end.reshape(n_steps, forks)[:, -1] <= lanes)
    lane = jnp.arange(lanes, dtype=jnp.int32)
    fork = jnp.minimum(jnp.searchsorted(end, lane, side="right"), n_steps * forks - 1)
    step = fork // forks
    # The first lane of a fork is what was drawn; in each of the others one agent more has changed.
    changes = lane - (end - cost.reshape(-1))[fork]
    flat = lambda x: x.reshape(n_steps * forks, n_agents)[fork]  # noqa: E731
    last = flat(differs) & (flat(place) == changes[:, None])
    held = flat(differs) & (flat(place) <= changes[:, None])
    return Asked(
        step=step,
        first=jnp.where(held, actions[step], flat(drawn)),
        luck=jax.vmap(jax.random.fold_in)(luck_keys[step], fork % forks),
        agent=jnp.argmax(last, axis=-1).astype(jnp.int32),
        changed=last.any(axis=-1) & known[step],
        known=known,
        forks=jnp.asarray(forks, jnp.int32),
    )
