"""Environments for workers to play, and to be let down by."""

import os
import time

import numpy as np

from seca.envs.hosted.single import Broken, Frame, Spec


class Count:
    """Two agents count: the reward is the share of agents that chose 1, and who counts to `length` ends the episode.

    The start differs by seed, so that an episode tells which seed it was. At step `at` of an episode it does what
    `then` says, in episodes whose seed leaves no rest divided by `every`: raise, die, hang, wait, or show nonsense.
    Or it stays there for as long as there is a file `once`, and leaves one that is named after its process, `once`.PID.
    """

    def __init__(self, length: int, limit: int, at: int, then: str, every: int, once: str, continuous: bool) -> None:
        self.length, self._at, self._then, self._every, self._once = length, at, then, every, once
        box = ((-2.0,), (3.0,)) if continuous else None
        n_actions = 1 if continuous else 3
        self.spec = Spec("count", "1", 2, n_actions, 3, 4, limit, box=box)
        self.wins = not continuous
        self._t, self._seed = 0, 0

    def reset(self, seed: int) -> Frame:
        self._t, self._seed = 0, seed
        if self._at == 0:
            self._fail()
        return self._frame(0.0)

    def step(self, actions: np.ndarray) -> Frame:
        self._t += 1
        if self._t == self._at:
            self._fail()
        told = actions if self.spec.box is None else actions[:, 0]
        return self._frame(float(np.mean(told == 1) if self.spec.box is None else np.mean(told)))

    def close(self) -> None:
        pass

    def _frame(self, reward: float) -> Frame:
        obs = np.array([[i, self._t, self._seed % 97] for i in range(2)], np.float32)
        state = np.array([self._t, self._seed % 97, self.length, 1.0], np.float32)
        avail = np.ones((2, self.spec.n_actions), bool)
        over = self._t >= self.length
        return Frame(obs, state, avail, reward, terminated=over, won=over and self._seed % 2 == 0)

    def _fail(self) -> None:
        if self._seed % self._every:
            return
        if self._then == "stay":
            while os.path.exists(self._once):
                with open(f"{self._once}.{os.getpid()}", "w"):
                    time.sleep(0.01)
            return
        if self._once:
            if os.path.exists(self._once):
                return
            with open(self._once, "w") as file:
                file.write("done")
        if self._then == "raise":
            raise RuntimeError("the game is gone")
        if self._then == "die":
            print("segmentation fault, as it were", flush=True)
            os._exit(3)
        if self._then in ("hang", "wait"):
            time.sleep(1000 if self._then == "hang" else 0.3)
        if self._then == "break":
            raise Broken("agent_0 shows NaN at step 3")


def count(
    length: int = 5,
    limit: int = 7,
    at: int = -1,
    then: str = "",
    every: int = 1,
    once: str = "",
    continuous: bool = False,
) -> Count:
    """See `Count`."""
    return Count(length, limit, at, then, every, once, continuous)


def spoiled(once: str) -> Count:
    """One that is as it should be the first time it is made, and dies; made anew it breaks its contract."""
    if os.path.exists(once):
        raise Broken("agent_1 has no available action at reset")
    return count(at=1, then="die", once=once)


def refused() -> Count:
    """None."""
    raise ValueError("`env-options` speak of colours; choose from none")


def missing() -> Count:
    """None either."""
    raise RuntimeError("no display")
