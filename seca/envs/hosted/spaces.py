"""Gymnasium's spaces as sizes and arrays: observations laid flat, actions as their owners want them."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from jaxtyping import Bool, Float

from seca.envs.hosted.frames import broken, mask, vector
from seca.errors import told

MASK = "action_mask"
"""PettingZoo's name of available actions, in a dict of an observation or in `info`."""
MASKS = (MASK, "avail_actions")
SEEN = "observation"
"""What is seen, beside the mask in such a dict."""
Ends = tuple[tuple[float, ...], tuple[float, ...]]
"""Low and high end of each number of an action."""


@dataclasses.dataclass(frozen=True)
class Seen:
    """How one agent's observations become a row of numbers."""

    space: Any
    """Of the numbers; without the mask, where that is part of the observation."""
    size: int
    in_dict: bool


Watcher = Callable[[str, str, Seen, Any], None]
"""`watch(where, name, how, value)` is told of each observation as it was shown, before it becomes numbers."""


def seen(env_id: str, name: str, space: Any) -> Seen:
    """How the observations of a space are read: Box of any shape, Discrete as one-hot, a dict of one and its mask.

    Raises:
        ValueError: Gymnasium does not know how many numbers that is.
    """
    kinds = library()
    in_dict = isinstance(space, kinds.Dict) and SEEN in space.spaces
    inner = space.spaces[SEEN] if in_dict else space
    if in_dict and (others := [key for key in space.spaces if key not in (SEEN, MASK)]):
        raise ValueError(f"`env` {env_id} shows agent {name} {others[0]} beside {SEEN} and {MASK}: not served")
    try:
        return Seen(inner, int(kinds.flatdim(inner)), in_dict)
    except (NotImplementedError, ValueError) as error:
        raise ValueError(
            f"`env` {env_id} shows agent {name} a {type(inner).__name__} ({error}): served are Box, Discrete, and a "
            f"Dict of `{SEEN}` and `{MASK}`"
        ) from None


def numbers(env_id: str, where: str, name: str, how: Seen, value: Any) -> Float[np.ndarray, " obs"]:
    """An observation of that space as float32. Raises Broken where it is none."""
    what, kinds = f"observation of agent {name}", library()
    if how.in_dict:
        if not isinstance(value, Mapping) or SEEN not in value:
            raise broken(env_id, where, f"{what} is {type(value).__name__}; its space is a Dict with `{SEEN}`")
        value = value[SEEN]
    if isinstance(how.space, kinds.Box):
        return vector(env_id, where, what, value, how.size)
    try:
        if not how.space.contains(value):
            raise ValueError(f"{value!r:.60} is not in {how.space}")
        flat = kinds.flatten(how.space, value)
    except Exception as error:
        raise broken(env_id, where, f"{what} does not fit its space: {told(error)}") from None
    return vector(env_id, where, what, flat, how.size)


def mask_in(env_id: str, where: str, name: str, size: int, *told_in: Any) -> Bool[np.ndarray, " actions"] | None:
    """The mask of an agent of `size` actions: the first in these observations and infos; None where none has one."""
    for there in told_in:
        if isinstance(there, Mapping):
            for key in MASKS:
                if key in there and there[key] is not None:
                    return mask(env_id, where, name, there[key], size)
    return None


def counts_of(env_id: str, spaces_of: Sequence[Any]) -> tuple[list[int], Ends | None]:
    """Actions of each agent, and the box where they are continuous.

    Raises:
        ValueError: neither all Discrete nor one finite Box that all share.
    """
    kinds = library()
    if any(not isinstance(space, kinds.Discrete | kinds.Box) for space in spaces_of):
        found = ", ".join(dict.fromkeys(type(space).__name__ for space in spaces_of))
        raise ValueError(f"`env` {env_id} has action spaces {found}: served are Discrete, or one Box for all agents")
    most, box = action_sizes(env_id, list(spaces_of))
    return [int(space.n) if box is None else most for space in spaces_of], box


def action_sizes(env_id: str, spaces: list[Any]) -> tuple[int, Ends | None]:
    """Actions of the agent that has most, or numbers of an action and the ends of the box that all share.

    Raises:
        ValueError: neither all discrete nor one finite box.
    """
    if all(hasattr(space, "n") for space in spaces):
        return max(int(space.n) for space in spaces), None
    shapes = {tuple(getattr(space, "shape", ())) for space in spaces}
    if any(not hasattr(space, "low") for space in spaces) or len(shapes) > 1 or len(next(iter(shapes))) != 1:
        kinds = ", ".join(dict.fromkeys(type(space).__name__ for space in spaces))
        raise ValueError(f"`env` {env_id} has action spaces {kinds}: served are Discrete, or one Box for all agents")
    size = next(iter(shapes))[0]
    ends = [
        {tuple(np.broadcast_to(np.asarray(getattr(space, end), float), size).tolist()) for space in spaces}
        for end in ("low", "high")
    ]
    if any(len(end) > 1 for end in ends) or not np.isfinite([list(next(iter(end))) for end in ends]).all():
        raise ValueError(f"`env` {env_id} has boxes that differ, or are not bounded: served is one finite Box for all")
    return size, (next(iter(ends[0])), next(iter(ends[1])))


def own(space: Any, action: Any) -> Any:
    """One agent's action as its space has it: a Python int from its own start, or an array of its own type."""
    if isinstance(space, library().Discrete):
        return int(action) + int(space.start)
    return np.clip(np.asarray(action, space.dtype), space.low, space.high)  # An end in float32 may lie beyond its own.


def library() -> Any:
    """Gymnasium's module of that name. Raises ValueError where it is not installed."""
    try:
        from gymnasium import spaces
    except ImportError as missing:
        raise ValueError(f"`env` needs gymnasium: pip install 'seca[gymnasium]' ({missing})") from None
    return spaces
