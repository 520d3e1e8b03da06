"""Arrays that a worker writes and the training loop reads, in one block of memory that both see."""

import dataclasses
from typing import Any

import numpy as np

from seca.envs.hosted.single import Frame, Spec

Layout = dict[str, tuple[tuple[int, ...], str]]
_ALIGNED = 64


def layout(spec: Spec, lanes: int) -> Layout:
    """Shape and dtype of each array for so many environments; all begin with their number."""
    team = (lanes, spec.n_agents)
    actions: tuple[tuple[int, ...], str] = ((*team, spec.n_actions), "float32") if spec.box else (team, "int32")
    return {
        "obs": ((*team, spec.obs_size), "float32"),
        "state": ((lanes, spec.state_size), "float32"),
        "avail": ((*team, spec.n_actions), "bool"),
        "reward": ((lanes,), "float32"),
        "terminated": ((lanes,), "bool"),
        "truncated": ((lanes,), "bool"),
        "won": ((lanes,), "bool"),
        "seeds": ((lanes,), "int32"),
        "moves": ((lanes,), "int32"),
        "actions": actions,
    }


def size(of: Layout) -> int:
    """Bytes of a block that holds them."""
    return max(1, sum(_padded(_bytes(*array)) for array in of.values()))


def views(buffer: Any, of: Layout) -> dict[str, np.ndarray]:
    """The arrays in a block: what is written to one is written to the block."""
    found, start = {}, 0
    for name, (shape, dtype) in of.items():
        count = int(np.prod(shape))
        found[name] = np.frombuffer(buffer, dtype, count, start).reshape(shape)
        start += _padded(_bytes(shape, dtype))
    return found


def _bytes(shape: tuple[int, ...], dtype: str) -> int:
    return int(np.prod(shape)) * np.dtype(dtype).itemsize


def _padded(count: int) -> int:
    """So that each array begins where a processor likes it."""
    return -(-count // _ALIGNED) * _ALIGNED


MOVES = "moves"
"""How often each environment was reset or stepped: while this changes, a worker does not hang."""
SHOWN = tuple(field.name for field in dataclasses.fields(Frame))
"""Of the arrays, those that a frame fills."""


def write(arrays: dict[str, np.ndarray], lane: int, frame: Frame) -> None:
    """Put a frame at its place. Raises ValueError where it has another shape: NumPy would repeat it to fit."""
    for name in SHOWN:
        value, room = np.asarray(getattr(frame, name)), arrays[name][lane]
        if value.shape != room.shape:
            raise ValueError(f"`{name}` has shape {list(value.shape)}; by the spec it must be {list(room.shape)}")
        arrays[name][lane] = value
