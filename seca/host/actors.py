"""Workers on the nodes of a Ray cluster: each plays its share of the environments of a training on another machine.

The training stays where it is; what travels is what environments show and are told, a step at a time.
"""

import atexit
import contextlib
import functools
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from seca.envs.hosted import arrays as blocks
from seca.envs.hosted import kinds
from seca.envs.hosted.lanes import Asked, Lanes, Recipe, Reply
from seca.envs.hosted.processes import Lost, Worker, what_it_is
from seca.envs.hosted.single import Broken, Single, Spec
from seca.envs.hosted.worker import described
from seca.errors import told
from seca.host import cluster

Numbers = dict[str, np.ndarray]
TOLD = {"reset": "seeds", "step": "actions"}
"""What lanes are told when they are asked."""


class Player:
    """What an actor does: as the process of `seca.envs.hosted.worker`, with arrays in place of shared memory."""

    def __init__(self, kind: str, name: str, options: list[list[Any]]) -> None:
        self._recipe = Recipe(kind, name, tuple((key, value) for key, value in options))
        self._env: Single | None = None
        self._lanes: Lanes | None = None
        self._arrays: Numbers = {}

    def describe(self) -> dict[str, Any]:
        """The environment, made here, in words; or why it cannot be."""
        try:
            self._env = kinds.make(self._recipe)
        except ValueError as error:
            return {"refused": " ".join(str(error).split())}
        except Broken as error:
            return {"broken": str(error)}
        except (Exception, SystemExit) as error:
            return {"failed": told(error)}
        return described(self._env)

    def make_room(self, lanes: int) -> None:
        """For so many environments."""
        assert self._env is not None
        of = blocks.layout(self._env.spec, lanes)
        self._arrays = blocks.views(bytearray(blocks.size(of)), of)
        self._lanes = Lanes(lambda: kinds.make(self._recipe), self._env, self._arrays)

    def do(self, asked: Asked, lanes: list[int], given: np.ndarray) -> tuple[dict[int, str], str, Numbers]:
        """Which lanes were lost, what is broken, and what the lanes show, in their order."""
        assert self._lanes is not None
        self._arrays[TOLD[asked]][lanes] = given
        reply = self._lanes.do(asked, lanes)
        return reply.lost, reply.broken, {name: self._arrays[name][lanes] for name in blocks.SHOWN}


class Actor:
    """One of them, seen from the training loop. See `seca.envs.hosted.processes.Worker`."""

    def __init__(self, ray: Any, recipe: Recipe, cpus: int = 1) -> None:
        """`cpus` of its node are its own."""
        self.arrays: Numbers = {}
        self._ray, self._asked = ray, []
        self._waiting: Any = None
        options = [list(pair) for pair in recipe.options]
        made = ray.remote(Player).options(num_cpus=cpus, scheduling_strategy="SPREAD")
        self._player = self._do(lambda: made.remote(recipe.kind, recipe.name, options))

    def describe(self, seconds: float) -> tuple[Spec, bool]:
        """See `Worker`."""
        return what_it_is(self._got(self._do(self._player.describe.remote), seconds))

    def make_room(self, spec: Spec, lanes: int, seconds: float) -> None:
        """See `Worker`."""
        of = blocks.layout(spec, lanes)
        self.arrays = blocks.views(bytearray(blocks.size(of)), of)
        self._got(self._do(lambda: self._player.make_room.remote(lanes)), seconds)

    def ask(self, asked: Asked, lanes: Sequence[int]) -> None:
        """See `Worker`."""
        self._asked = list(lanes)
        given = self.arrays[TOLD[asked]][self._asked]
        try:
            self._waiting = self._do(lambda: self._player.do.remote(asked, self._asked, given))
        except Lost as error:
            self._waiting = error  # As with a process, it is found out by listening.

    def answer(self, seconds: float) -> Reply:
        """See `Worker`. Where its environments are in between cannot be seen from here."""
        if isinstance(self._waiting, Lost):
            raise self._waiting
        lost, broken, shown = self._got(self._waiting, seconds * max(1, len(self._asked)))
        for name, rows in shown.items():
            self.arrays[name][self._asked] = rows
        return Reply(lost, broken)

    def dismiss(self) -> None:
        """See `Worker`: to be killed takes no time."""

    def close(self) -> None:
        """See `Worker`."""
        with contextlib.suppress(Exception):  # It may be gone, or the cluster.
            self._ray.kill(self._player)

    def _got(self, promised: Any, seconds: float) -> Any:
        """What an actor returns. Raises Lost."""
        try:
            return self._ray.get(promised, timeout=seconds)
        except self._ray.exceptions.GetTimeoutError:
            raise Lost("no answer in time") from None
        except Exception as error:  # Of a cluster far away also what gRPC and sockets raise.
            raise Lost(f"its actor is gone: {cluster.first_line(error)}") from None

    @staticmethod
    def _do(ask: Callable[[], Any]) -> Any:
        """What Ray promises. Raises Lost."""
        try:
            return ask()
        except Exception as error:
            raise Lost(f"its cluster does not answer: {cluster.first_line(error)}") from None


class Launcher:
    """Starts actors on a cluster that this process stays connected to until it ends."""

    def __init__(self, ray: Any) -> None:
        self._ray, self._started = ray, 0
        self.cpus = max(1, int(ray.cluster_resources().get("CPU", 1)))
        """Of the cluster, when it was found."""

    def launch(self, recipe: Recipe) -> Worker:
        """One more. Those beyond `cpus` take the place of others, whose cores may have gone with their node."""
        self._started += 1
        return Actor(self._ray, recipe, int(self._started <= self.cpus))


@functools.cache
def launcher(workers: str) -> Launcher:
    """Of `ray`, the cluster this machine is in or one of its own, or `ray://HOST:PORT`. Raises UsageError."""
    where = cluster.found(None if workers == "ray" else workers, "workers")
    stack = contextlib.ExitStack()
    stack.enter_context(cluster.alone())
    ray = stack.enter_context(cluster.connected(where, "workers"))
    atexit.register(stack.close)
    return Launcher(ray)
