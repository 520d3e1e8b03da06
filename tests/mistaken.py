"""A little environment, right as it stands, and with the mistakes that authors make, one at a time."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array

from seca.envs.base import Env
from seca.types import EnvSpec, TimeStep

LIMIT = 12


@dataclasses.dataclass(frozen=True)
class Hunt:
    """Two agents on a ring of 7 cells hunt a prey that drifts by luck; caught, the episode ends, and is won.

    Actions: stay, left, right; who stands at cell 0 cannot go left. An agent sees its place, the prey's and the time.
    Each field makes a mistake.
    """

    keyless: bool = False
    """`reset` draws from a key of its own."""
    outside: bool = False
    """The luck of a step comes from a counter of Python's."""
    crowd: bool = False
    """Observations are relative to the mean of the batch."""
    goes_on: bool = False
    """A finished episode is stepped like any other."""
    pays_on: bool = False
    """The reward of the end is paid for ever."""
    restarts: bool = False
    """`step` resets."""
    next_seen: bool = False
    """A finished episode stays, but shows the next one's first observation."""
    both: bool = False
    """What ends at the limit is both terminated and truncated."""
    late: int = 0
    """Steps beyond the limit after which it is cut."""
    endless: bool = False
    """It is never cut."""
    sooner: int = 0
    """Steps before the limit at which it is cut."""
    as_end: bool = False
    """The limit terminates."""
    no_op_lost: bool = False
    """Who has caught the prey may do nothing."""
    unmasked: bool = False
    """The mask is all True."""
    nan: bool = False
    """The prey's direction is 0 / 0 where it is caught."""
    raw: bool = False
    """Places in millimetres."""
    blind: bool = False
    """Observations are those of `reset`."""
    twins: bool = False
    """Both see what the first sees."""
    flat_state: bool = False
    """The state is a constant."""
    unpaid: bool = False
    """No reward."""
    flat_reward: bool = False
    """1 in each step, and no end but the limit."""
    early_win: bool = False
    """`won` as soon as somebody is near."""
    deaf: bool = False
    """Actions change nothing."""
    strict: bool = False
    """An action that is not available puts the agent at NaN."""

    def make(self) -> Env:
        """As an `Env`."""
        spec = EnvSpec("test/hunt", "hunt-1", n_agents=2, n_actions=3, obs_size=3, state_size=4, episode_limit=LIMIT)
        return Env(spec, self.reset, self.step)

    def reset(self, keys: Array) -> tuple[Any, TimeStep]:
        if self.keyless:
            keys = jax.random.split(jax.random.key(0), 1)[jnp.zeros(len(keys), int)]
        places = jax.vmap(lambda key: jax.random.choice(key, 7, (3,), replace=False))(keys).astype(jnp.float32)
        state = {"at": places, "t": jnp.zeros(len(keys), jnp.int32), "luck": keys, "first": places}
        return state, self.shown(state, jnp.zeros(len(keys)))

    def avail(self, state: Any, met: Array) -> Array:
        at = state["at"][:, :2]
        free = jnp.ones((*at.shape, 3), bool).at[..., 1].set((at != 0) | self.unmasked)
        return free & ~met[:, None, None] if self.no_op_lost else free

    def met(self, state: Any) -> Array:
        return (state["at"][:, :2] == state["at"][:, 2:]).any(axis=1) & (not self.flat_reward)

    def shown(self, state: Any, reward: Array) -> TimeStep:
        met, t = self.met(state), state["t"]
        cut = (t >= LIMIT + self.late - self.sooner) & (not self.endless)
        seen = state["first"] if self.blind else state["at"]
        if self.crowd:
            seen = seen - seen.mean(axis=0)
        if self.next_seen:
            fresh = jax.vmap(lambda key: jax.random.choice(key, 7, (3,), replace=False))(state["luck"])
            seen = jnp.where((met | cut)[:, None], fresh.astype(jnp.float32), seen)
        clock = jnp.where((met | cut) & self.next_seen, 0, t * (not self.blind)) / LIMIT
        own = seen[:, :1].repeat(2, axis=1) if self.twins else seen[:, :2]
        gap = seen[:, 2:] - own
        gap = gap / (jnp.abs(gap) if self.nan else 1)
        obs = jnp.stack([own, gap, jnp.broadcast_to(clock[:, None], own.shape)], axis=-1) * (1000 if self.raw else 1)
        if self.blind:
            obs = jnp.ones_like(obs)
        place = jnp.concatenate([seen, clock[:, None]], axis=1)
        terminated = met | (cut & (self.both | self.as_end))
        truncated = cut & (True if self.both else ~met) & (not self.as_end)
        near = (jnp.abs(state["at"][:, :2] - state["at"][:, 2:]) <= 1).any(axis=1)
        won = near if self.early_win else met
        return TimeStep(
            obs,
            jnp.ones_like(place) if self.flat_state else place,
            self.avail(state, met),
            jnp.zeros_like(reward) if self.unpaid else reward,
            terminated,
            truncated,
            {"won": won},
        )

    def step(self, state: Any, actions: Array) -> tuple[Any, TimeStep]:
        before = self.shown(state, jnp.zeros(len(actions)))
        over = before.done & (not self.goes_on) & (not self.restarts)
        luck = jax.vmap(jax.random.fold_in)(state["luck"], state["t"])
        if self.outside:
            drawn = jax.experimental.io_callback(_count, jax.ShapeDtypeStruct((), jnp.int32))
            luck = jax.vmap(jax.random.fold_in, (0, None))(luck, drawn)
        drift = jax.vmap(lambda key: jax.random.choice(key, jnp.array([-1.0, 0.0, 1.0])))(luck)
        move = jnp.array([0.0, -1.0, 1.0])[actions] * (not self.deaf)
        if self.strict:
            allowed = jnp.take_along_axis(before.avail, actions[..., None], axis=-1)[..., 0]
            move = jnp.where(allowed, move, jnp.nan)
        at = (state["at"] + jnp.concatenate([move, drift[:, None]], axis=1)) % 7
        after = {**state, "at": at, "t": state["t"] + 1}
        after = jax.tree.map(lambda old, new: _where(over, old, new), state, after)
        reward = self.met(after) - 0.1
        if self.flat_reward:
            reward = jnp.ones_like(reward)
        shown = self.shown(after, jnp.where(over & (not self.pays_on), 0.0, reward).astype(jnp.float32))
        if self.restarts:
            anew = self.reset(luck)[0]
            after = jax.tree.map(lambda old, new: _where(shown.done, new, old), after, anew)
        return after, shown


def _where(over: Array, one: Array, other: Array) -> Array:
    return jnp.where(over.reshape(-1, *[1] * (one.ndim - 1)), one, other)


_COUNTED = [0]


def _count() -> Any:
    _COUNTED[0] += 1
    return jnp.int32(_COUNTED[0])
