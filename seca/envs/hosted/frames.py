"""Frames of environments in other people's forms: padded to one size, and held against the spec at every step."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float, Int

from seca.envs.hosted.single import Broken, Frame, Single, Spec


def broken(env_id: str, where: str, what: str) -> Broken:
    """The one line of an environment that does not keep its own contract; `where` is `reset` or `step 3`."""
    return Broken(f"`env` {env_id}{_BREAKS} at {where}: {' '.join(what.split())}")


def breach(said: str) -> str:
    """What to say of a `Broken` after the environment's name, by which a line of `broken` begins for itself."""
    _, found, where = said.partition(_BREAKS)
    return f"{found.strip()}{where}" if found else f"does not keep its contract: {said}"


_BREAKS = " breaks its contract"


def checked(spec: Spec, frame: Frame, where: str, names: Sequence[str] = ()) -> Frame:
    """The frame itself, if it is what the spec promises.

    Args:
        spec: of the environment.
        frame: what it shows.
        where: `reset` or `step 3`, for the line.
        names: what the environment calls its agents; their numbers where it does not.

    Raises:
        Broken: arrays of other shapes; numbers that are not finite, in float32; an agent without any available action
            (where actions are discrete); an end that is of both kinds.
    """
    names = names or [str(agent) for agent in range(spec.n_agents)]
    shapes = {
        "obs": (spec.n_agents, spec.obs_size),
        "state": (spec.state_size,),
        "avail": (spec.n_agents, spec.n_actions),
    }
    for field, shape in shapes.items():
        array = getattr(frame, field)
        if array.shape != shape:
            raise broken(spec.id, where, f"`{field}` has shape {list(array.shape)}; by the spec it is {list(shape)}")
    for name, row in zip(names, frame.obs, strict=True):
        if not np.isfinite(row).all():
            at = int(np.flatnonzero(~np.isfinite(row))[0])
            raise broken(spec.id, where, f"observation of agent {name} holds {row[at]} as number {at}")
    if not np.isfinite(frame.state).all():
        at = int(np.flatnonzero(~np.isfinite(frame.state))[0])
        raise broken(spec.id, where, f"the state holds {frame.state[at]} as number {at}")
    if spec.box is None and not frame.avail.any(axis=1).all():
        agent = names[int(np.flatnonzero(~frame.avail.any(axis=1))[0])]
        raise broken(spec.id, where, f"agent {agent} has no available action; who may do nothing has one that does so")
    if not math.isfinite(np.float32(frame.reward)):
        raise broken(spec.id, where, f"the reward is {frame.reward}")
    if frame.terminated and frame.truncated:
        raise broken(spec.id, where, "the episode both terminated and was truncated")
    return frame


class Checked:
    """Somebody's own `Single`, whose frames are held against its spec as those of adapters are."""

    def __init__(self, env: Single) -> None:
        self.spec, self.wins = env.spec, env.wins
        self._env, self._time = env, 0

    def reset(self, seed: int) -> Frame:
        """See `Single`. Raises Broken where the frame is not what the spec promises, as does `step`."""
        self._time = 0
        return self._held(self._env.reset(seed), "reset")

    def step(self, actions: Int[np.ndarray, " agents"] | Float[np.ndarray, "agents numbers"]) -> Frame:
        """See `Single`."""
        self._time += 1
        return self._held(self._env.step(actions), f"step {self._time}")

    def close(self) -> None:
        """See `Single`."""
        self._env.close()

    def _held(self, frame: Any, where: str) -> Frame:
        if not isinstance(frame, Frame):
            raise broken(self.spec.id, where, f"what is returned is {type(frame).__name__}, no Frame")
        told: dict[str, Any] = {}
        for field, kind in {"obs": np.float32, "state": np.float32, "avail": np.bool_, "reward": np.float32}.items():
            value = getattr(frame, field)
            try:
                with np.errstate(over="ignore"):  # What float32 cannot hold becomes infinite, and `checked` says so.
                    told[field] = np.asarray(value).astype(kind, copy=False)
            except (TypeError, ValueError):
                what = f"`{field}` is {type(value).__name__}, and no array of numbers of one shape"
                raise broken(self.spec.id, where, what) from None
        if told["reward"].shape:
            shape = list(told["reward"].shape)
            raise broken(self.spec.id, where, f"`reward` has shape {shape}; it must be one number, of the team")
        ends: dict[str, Any] = {name: bool(getattr(frame, name)) for name in ("terminated", "truncated", "won")}
        return checked(self.spec, Frame(**told | {"reward": float(told["reward"])}, **ends), where)


def vector(env_id: str, where: str, what: str, value: Any, size: int) -> Float[np.ndarray, " numbers"]:
    """`value` laid flat, as float32. Raises Broken unless it is `size` numbers; `what` names it."""
    try:
        with np.errstate(over="ignore"):  # What float32 cannot hold becomes infinite, and `checked` says so.
            array = np.asarray(value).astype(np.float32).reshape(-1)
    except (TypeError, ValueError):
        raise broken(env_id, where, f"{what} is {type(value).__name__}, not an array of numbers") from None
    if array.size != size:
        raise broken(env_id, where, f"{what} has {array.size} numbers instead of {size}")
    return array


def padded(rows: Sequence[Float[np.ndarray, " _"]], size: int) -> Float[np.ndarray, "agents size"]:
    """Rows of unequal length, filled up with zeros."""
    out = np.zeros((len(rows), size), np.float32)
    for row, values in zip(out, rows, strict=True):
        row[: values.size] = values
    return out


def mask(env_id: str, where: str, name: str, value: Any, size: int) -> Bool[np.ndarray, " actions"]:
    """What an environment says of an agent's available actions. Raises Broken unless it is a 0 or 1 for each."""
    array = vector(env_id, where, f"the action mask of agent {name}", value, size)
    if not np.isin(array, (0, 1)).all():
        odd = array[~np.isin(array, (0, 1))][0]
        raise broken(env_id, where, f"the action mask of agent {name} holds {odd:g}; it must hold 0 and 1")
    return array.astype(bool)


def availability(
    spec: Spec,
    counts: Sequence[int],
    masks: Sequence[Bool[np.ndarray, " _"] | None],
    gone: Sequence[bool],
    over: bool,
) -> Bool[np.ndarray, "agents actions"]:
    """Which actions agents may choose.

    Of an agent with a mask what it says, of others all that they have. Of one that is gone only the first; of
    continuous actions none, which is how learners know that it does not act. When the episode is over a mask without
    any action, as many environments then give, counts as gone.

    Args:
        spec: of the environment.
        counts: actions of each agent.
        masks: of each agent, as long as its actions or as those of all, or None.
        gone: who is out of the game.
        over: whether this is the last frame.
    """
    avail = np.zeros((spec.n_agents, spec.n_actions), bool)
    for row, count, said, out in zip(avail, counts, masks, gone, strict=True):
        if out or (over and said is not None and not said.any()):
            row[0] = spec.box is None
        else:
            row[: count if said is None else said.size] = True if said is None else said
    return avail


def allowed(
    spec: Spec,
    avail: Bool[np.ndarray, "agents actions"],
    actions: Int[np.ndarray, " agents"] | Float[np.ndarray, "agents numbers"],
) -> Int[np.ndarray, " agents"] | Float[np.ndarray, "agents numbers"]:
    """The actions as they are sent: one that is not available becomes the first that is; boxes are left alone."""
    if spec.box is not None:
        return actions
    may = np.take_along_axis(avail, np.clip(actions, 0, spec.n_actions - 1)[:, None], axis=1)[:, 0]
    return np.where(may & (actions >= 0) & (actions < spec.n_actions), actions, avail.argmax(axis=1))


def team(env_id: str, where: str, rewards: Any, team_reward: str) -> float:
    """The team's reward: a number itself, or the mean or sum of several. Raises Broken where they are no numbers."""
    try:
        each = np.asarray(rewards, np.float64).reshape(-1)
    except (TypeError, ValueError):
        raise broken(env_id, where, f"the reward is {rewards!r:.100}, no number") from None
    if each.size == 0:
        raise broken(env_id, where, "there is no reward")
    return float(each.mean() if team_reward == "mean" else each.sum())
