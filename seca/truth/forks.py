"""Forked episodes: from given steps, with given first actions, played on by the policy to the end.

A step of an episode is a pure value, so it can be played on from as often as one likes. All forks of the same number
draw the same luck, whatever is asked of them: of the environment, and of every agent's policy (common random numbers).
So two forks that begin with the same joint action are one, and are played once.
"""

import dataclasses
import functools
from collections.abc import Callable, Iterator

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array, Bool, Float, Int, Key

from seca import numerics
from seca.algos.base import Algorithm
from seca.envs.base import Env
from seca.sizes import sizes
from seca.train.iterate import AXIS
from seca.train.standing import Steps, acted_at, ended, fork_keys, forked_on, lane_by_lane, relucked, some_of
from seca.types import PyTree

REFILL = 8
"""Lanes are filled again once one in so many has nothing to do: to look for the next fork costs as a step does."""


def rounded(count: int) -> int:
    """The next power of two: few programs for all numbers of forks."""
    return 1 << max(count - 1, 1).bit_length()


@dataclasses.dataclass(frozen=True)
class Forks:
    """Forks of some steps of one policy, played `lanes` at a time on each device."""

    env: Env
    algorithm: Algorithm
    gamma: float
    """Discount of the returns, per env step."""
    lanes: int = dataclasses.field(default_factory=lambda: sizes().audit_lanes)
    capacity: int = dataclasses.field(default_factory=lambda: sizes().audit_forks)
    devices: tuple[jax.Device, ...] = ()
    """Over which the forks are spread; none: the default one."""

    @functools.cached_property
    def _places(self) -> tuple[jax.Device, ...]:
        return self.devices or tuple(jax.devices()[:1])

    @functools.cached_property
    def _drawn(self) -> Callable[..., tuple[Array, Array]]:
        return jax.jit(functools.partial(_draw, self.env, self.algorithm, self.lanes))

    @functools.cached_property
    def _played(self) -> Callable[..., tuple[Array, Array]]:
        body = functools.partial(_play_on, self.env, self.algorithm, self.gamma, self.lanes)
        everywhere, split = PartitionSpec(), PartitionSpec(AXIS)
        specs = (everywhere,) * 3 + (split,) * 4
        mesh = Mesh(self._places, (AXIS,))
        return jax.jit(jax.shard_map(body, mesh=mesh, in_specs=specs, out_specs=split, check_vma=False))

    def draw(
        self,
        params: PyTree,
        env_steps: Array,
        steps: Steps,
        index: Int[np.ndarray, " forks"],
        keys: Key[Array, " forks"],
    ) -> tuple[np.ndarray, np.ndarray]:
        """What the policy does in each fork, `[forks, agents]`, and numbers in [0, 1) of the same shape, for orders.

        The arguments are those of `returns`.
        """
        at = np.resize(np.arange(len(index)), rounded(len(index)))
        with numerics.own():
            actions, numbers = self._drawn(params, env_steps, steps, index[at], keys[at])
        return np.asarray(actions)[: len(index)], np.asarray(numbers)[: len(index)]

    def returns(
        self,
        params: PyTree,
        env_steps: Array,
        steps: Steps,
        index: Int[np.ndarray, " forks"],
        first: Int[np.ndarray, "forks agents"],
        keys: Key[Array, " forks"],
    ) -> Iterator[tuple[slice, np.ndarray, np.ndarray]]:
        """Discounted returns of the forks from their first steps on, part by part.

        Each part is: which forks, their returns, and `[env steps played, forks that the time limit ended]`.

        Args:
            params: the policy.
            env_steps: env steps of its training, for schedules.
            steps: where forks begin.
            index: the step that each begins from.
            first: its first joint action.
            keys: its luck.
        """
        places = len(self._places)
        capacity = min(self.capacity, rounded(-(-len(index) // places)))
        for begin in range(0, len(index), capacity * places):
            count = min(capacity * places, len(index) - begin)
            # Dealt out to the devices like cards, so that each has forks from everywhere; what is left over is filled.
            dealt = np.minimum(np.arange(capacity * places), count - 1).reshape(capacity, places).T.ravel()
            each = ((count - np.arange(places) + places - 1) // places).astype(np.int32)
            at = dealt + begin
            with numerics.own():
                found, played = self._played(params, env_steps, steps, index[at], first[at], keys[at], each)
            in_turn = np.asarray(found).reshape(places, capacity).T.ravel()[:count]
            yield slice(begin, begin + count), in_turn, np.asarray(played).sum(axis=0)


def _draw(
    env: Env,
    algorithm: Algorithm,
    lanes: int,
    params: PyTree,
    env_steps: Array,
    steps: Steps,
    index: Int[Array, " forks"],
    keys: Key[Array, " forks"],
) -> tuple[Int[Array, "forks agents"], Float[Array, "forks agents"]]:
    n_agents = env.spec.n_agents

    def some(lane: Int[Array, " lanes"]) -> tuple[Array, Array]:
        at, (_, acting, other) = some_of(env, steps, index[lane]), fork_keys(keys[lane])
        actions = acted_at(algorithm, params, at, acting, jnp.zeros((), jnp.int32), env_steps).actions
        return actions, jax.vmap(lambda key: jax.random.uniform(key, (n_agents,), jnp.float32))(other)

    lanes = min(lanes, index.shape[0])
    parts = -(-index.shape[0] // lanes)
    filled = jnp.arange(parts * lanes).reshape(parts, lanes) % index.shape[0]
    found = jax.lax.map(some, filled)
    actions, numbers = (x.reshape(parts * lanes, n_agents)[: index.shape[0]] for x in found)
    return actions, numbers


class _Lanes(eqx.Module):
    """What the loop over env steps carries."""

    at: Steps
    fork: Int[Array, " lanes"]
    """Which fork a lane plays, or played last; as many as there are where it has none."""
    over: Bool[Array, " lanes"]
    """Whether it has nothing to play."""
    age: Int[Array, " lanes"]
    acting: Key[Array, " lanes"]
    total: Float[Array, " lanes"]
    discount: Float[Array, " lanes"]
    following: Int[Array, ""]
    """The first fork that nobody plays yet."""
    returns: Float[Array, " forks"]
    played: Int[Array, ""]
    cut: Int[Array, ""]
    """Forks that the time limit has ended."""


def _play_on(
    env: Env,
    algorithm: Algorithm,
    gamma: float,
    lanes: int,
    params: PyTree,
    env_steps: Array,
    steps: Steps,
    index: Int[Array, " forks"],
    first: Int[Array, "forks agents"],
    keys: Key[Array, " forks"],
    count: Int[Array, " one"],
) -> tuple[Float[Array, " forks"], Int[Array, "one 2"]]:
    """The first `count` forks, a lane taking the next one when its own has ended: nobody waits for the longest."""
    forks, stop = index.shape[0], count[0]
    lanes = min(lanes, forks)
    luck, acting, _ = fork_keys(keys)

    def refilled(now: _Lanes) -> _Lanes:
        free = now.over
        fork = jnp.where(free, now.following + jnp.cumsum(free) - 1, now.fork)
        fork = jnp.where(free & (fork >= stop), forks, fork)
        new = free & (fork < forks)
        safe = jnp.minimum(fork, forks - 1)
        begun = relucked(env, some_of(env, steps, index[safe]), luck[safe])
        return dataclasses.replace(
            now,
            at=lane_by_lane(env, new, begun, now.at),
            fork=fork,
            over=free & ~new,
            age=jnp.where(new, 0, now.age),
            acting=jnp.where(new, acting[safe], now.acting),
            total=jnp.where(new, 0, now.total),
            discount=jnp.where(new, 1, now.discount),
            following=jnp.minimum(now.following + free.sum(dtype=jnp.int32), stop),
        )

    def step(now: _Lanes) -> _Lanes:
        wanted = (now.over.sum(dtype=jnp.int32) * REFILL >= lanes) & (now.following < stop)
        now = jax.lax.cond(wanted, refilled, lambda same: same, now)
        active = ~now.over
        held = first[jnp.minimum(now.fork, forks - 1)]
        after = forked_on(env, algorithm, params, now.at, now.acting, now.age, held, env_steps)
        total = now.total + jnp.where(active, now.discount * after.time_step.reward, 0)
        ends = active & ended(env, after)
        return dataclasses.replace(
            now,
            at=after,
            over=now.over | ends,
            age=now.age + 1,
            total=total,
            discount=now.discount * gamma,
            returns=now.returns.at[jnp.where(ends, now.fork, forks)].set(total, mode="drop"),
            played=now.played + active.sum(dtype=jnp.int32),
            cut=now.cut + (ends & ~after.time_step.terminated).sum(dtype=jnp.int32),
        )

    def goes_on(now: _Lanes) -> Bool[Array, ""]:
        return (now.following < stop) | ~now.over.all()

    anywhere = jnp.zeros(lanes, jnp.int32)
    none = jnp.zeros(lanes, jnp.float32)
    start = _Lanes(
        at=some_of(env, steps, anywhere),
        fork=jnp.full(lanes, forks, jnp.int32),
        over=jnp.ones(lanes, bool),
        age=anywhere,
        acting=acting[anywhere],
        total=none,
        discount=none,
        following=jnp.zeros((), jnp.int32),
        returns=jnp.zeros(forks, jnp.float32),
        played=jnp.zeros((), jnp.int32),
        cut=jnp.zeros((), jnp.int32),
    )
    last = jax.lax.while_loop(goes_on, step, start)
    return last.returns, jnp.stack([last.played, last.cut])[None]
