"""Some environments in one process: what a worker does when it is asked to."""

import contextlib
import dataclasses
from collections.abc import Callable, Sequence
from typing import Any, Literal

import numpy as np

from seca.envs.hosted import arrays as blocks
from seca.envs.hosted.single import Broken, Frame, Single
from seca.errors import told

Asked = Literal["reset", "step"]


@dataclasses.dataclass(frozen=True)
class Recipe:
    """How a worker makes its environment: words and plain values, which any process can be sent."""

    kind: str
    """`pettingzoo`, `gymnasium`, `pymarl` or `starcraft`; or `python`, of a function MODULE.FUNCTION that gives a
    `Single`."""
    name: str
    options: tuple[tuple[str, Any], ...] = ()


@dataclasses.dataclass
class Reply:
    """How it went."""

    lost: dict[int, str] = dataclasses.field(default_factory=dict)
    """Lanes whose environment failed, with what it said."""
    broken: str = ""
    """What is wrong with the environment for good."""


class Lanes:
    """Environments side by side, each with its place in the arrays."""

    def __init__(self, make: Callable[[], Single], first: Single, arrays: dict[str, np.ndarray]) -> None:
        self._make, self._arrays = make, arrays
        count = len(arrays["reward"])
        self._envs: list[Single | None] = [first, *[None] * (count - 1)]

    def do(self, asked: Asked, lanes: Sequence[int]) -> Reply:
        """Reset or step those lanes, with the seeds or actions in the arrays, and write what they show.

        One that fails is let go of, and made anew when it is reset the next time.
        """
        reply = Reply()
        for lane in lanes:
            try:
                blocks.write(self._arrays, lane, self._one(asked, lane))
            except Broken as error:
                reply.broken = str(error)
                return reply
            except (Exception, SystemExit) as error:
                reply.lost[lane] = told(error)
                self._drop(lane)
            self._arrays[blocks.MOVES][lane] += 1
        return reply

    def close(self) -> None:
        """Let go of all."""
        for lane in range(len(self._envs)):
            self._drop(lane)

    def _one(self, asked: Asked, lane: int) -> Frame:
        env = self._envs[lane]
        if asked == "step":
            assert env is not None  # The pool steps no lane that failed.
            return env.step(self._arrays["actions"][lane].copy())
        if env is None:
            env = self._envs[lane] = self._make()
        return env.reset(int(self._arrays["seeds"][lane]))

    def _drop(self, lane: int) -> None:
        env, self._envs[lane] = self._envs[lane], None
        if env is not None:
            with contextlib.suppress(Exception, SystemExit):  # It failed already, or nobody asks any more.
                env.close()
