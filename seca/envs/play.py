"""Episodes of an environment, played at random and kept as they were shown, for `seca.envs.findings` to look at."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Key

from seca.envs.base import Env
from seca.envs.check import told
from seca.types import Actions, EnvSpec, TimeStep

Chooser = Callable[[Key[Array, " batch"], Bool[Array, "batch agents actions"]], Actions]
"""`choose(keys, avail)`: the joint action of each runner, which follows from its own key and masks alone."""


@dataclasses.dataclass(frozen=True)
class Played:
    """What a batch showed, time first: row t is what the step to t led to, row 0 what `reset` did.

    Every episode is `steps` long here: those that ended sooner were stepped on.
    """

    obs: np.ndarray
    """`[time+1, batch, agents, obs]`."""
    state: np.ndarray
    """`[time+1, batch, state]`."""
    avail: np.ndarray
    """`[time+1, batch, agents, actions]`."""
    reward: np.ndarray
    """`[time+1, batch]`."""
    terminated: np.ndarray
    """`[time+1, batch]`."""
    truncated: np.ndarray
    """`[time+1, batch]`."""
    info: dict[str, np.ndarray]
    """Each `[time+1, batch, ...]`."""
    actions: np.ndarray
    """`[time, batch, agents]`, or with the numbers of continuous ones last."""
    broken: str | None = None
    """What `step` raised after the last row, if it did."""

    @property
    def done(self) -> np.ndarray:
        """`[time+1, batch]`: whether the episode is over, for either reason."""
        return self.terminated | self.truncated

    @property
    def steps(self) -> int:
        """Env steps that were played."""
        return len(self.obs) - 1

    @property
    def ends(self) -> np.ndarray:
        """`[batch]`: the first row at which an episode is over; `steps` + 1 where none is."""
        return np.where(self.done.any(axis=0), self.done.argmax(axis=0), self.steps + 1)


def legal(spec: EnvSpec) -> Chooser:
    """Any available action as likely as any other; of a box any point."""
    if spec.box is not None:
        return _box(spec, jax.random.uniform)

    def choose(keys: Key[Array, " batch"], avail: Bool[Array, "batch agents actions"]) -> Actions:
        return jax.vmap(lambda key, row: jax.random.categorical(key, jnp.where(row, 0.0, -jnp.inf)))(keys, avail)

    return choose


def illegal(spec: EnvSpec) -> Chooser:
    """Any action whether it is available or not; of a box its ends, and as far again beyond them."""
    if spec.box is not None:
        return _box(spec, lambda key, shape: jax.random.choice(key, jnp.array([-1.0, 0.0, 1.0, 2.0]), shape))

    def choose(keys: Key[Array, " batch"], avail: Bool[Array, "batch agents actions"]) -> Actions:
        return jax.vmap(lambda key: jax.random.randint(key, (spec.n_agents,), 0, avail.shape[-1], jnp.int32))(keys)

    return choose


def _box(spec: EnvSpec, share: Callable[..., Array]) -> Chooser:
    """Points of the box by their share of the way from its low ends to its high ones."""
    assert spec.box is not None
    low, high = jnp.array(spec.box.low, jnp.float32), jnp.array(spec.box.high, jnp.float32)
    shape = (spec.n_agents, spec.n_actions)

    def choose(keys: Key[Array, " batch"], avail: Bool[Array, "batch agents actions"]) -> Actions:
        del avail  # Whoever does not act is told what it would do all the same.
        return low + jax.vmap(lambda key: share(key, shape))(keys) * (high - low)

    return choose


class Player:
    """Plays one environment, whose programs are compiled once for each size of a batch."""

    def __init__(self, env: Env) -> None:
        self.env = env
        self._reset, self._step = jax.jit(env.reset), jax.jit(env.step)
        self._shapes = jax.eval_shape(lambda: env.reset(jax.random.split(jax.random.key(0), 2)))[1]

    def play(
        self,
        keys: Key[Array, " batch"],
        luck: Key[Array, " batch"],
        choose: Chooser,
        most: int,
        beyond: int = 3,
    ) -> Played:
        """Episodes of these keys.

        Args:
            keys: what `reset` is given.
            luck: of each runner, where its actions come from.
            choose: who acts.
            most: env steps at most.
            beyond: steps for which episodes are stepped on once all are over.

        Returns:
            What was shown; where `reset` or `step` raised something, the rows until then, maybe none.
        """
        shown: list[TimeStep] = []
        actions: list[np.ndarray] = []
        broken, over = None, 0
        try:
            state, now = self._reset(keys)
            shown.append(jax.device_get(now))
            while len(actions) < most and over < beyond:
                over = over + 1 if (shown[-1].terminated | shown[-1].truncated).all() else 0
                joint = _chosen(choose, luck, len(actions), now.avail)
                state, now = self._step(state, joint)
                shown.append(jax.device_get(now))
                actions.append(np.asarray(joint))
        except Exception as error:  # Somebody's own code, or what a host program answers: anything.
            broken = f"`{'step' if shown else 'reset'}` raises {told(error)}"
        return self._kept(shown, actions, broken, len(keys))

    def _kept(self, shown: list[TimeStep], actions: list[np.ndarray], broken: str | None, batch: int) -> Played:
        if not shown:
            empty = jax.tree.map(lambda leaf: np.zeros((0, batch, *leaf.shape[1:]), leaf.dtype), self._shapes)
        else:
            empty = jax.tree.map(lambda *rows: np.stack(rows), *shown)
        fields = ("obs", "state", "avail", "reward", "terminated", "truncated", "info")
        told_actions = np.stack(actions) if actions else np.zeros((0, batch))
        arrays: dict[str, Any] = {field: getattr(empty, field) for field in fields}
        return Played(**arrays, actions=told_actions, broken=broken)


@functools.partial(jax.jit, static_argnums=0)
def _chosen(
    choose: Chooser, luck: Key[Array, " batch"], t: int | Array, avail: Bool[Array, "batch agents actions"]
) -> Actions:
    """The actions of step t."""
    return choose(jax.vmap(jax.random.fold_in, (0, None))(luck, t), avail)
