"""A worker on this machine, seen from the training loop: its process, its pipes, the memory both see."""

import contextlib
import json
import mmap
import os
import pathlib
import select
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from typing import IO, Any, Protocol, runtime_checkable

import numpy as np

from seca.envs.hosted import arrays as blocks
from seca.envs.hosted import worker
from seca.envs.hosted.lanes import Asked, Recipe, Reply
from seca.envs.hosted.single import Broken, Spec


class Lost(Exception):  # noqa: N818
    """A worker died, hung, or could not be started: one line."""


class Late(Lost):
    """It has not answered yet."""


@runtime_checkable
class Worker(Protocol):
    """Whatever plays some environments: a process here, or an actor on another machine."""

    arrays: dict[str, np.ndarray]
    """What its environments show, and what they are told (`arrays.layout`), once there is room for them."""

    def describe(self, seconds: float) -> tuple[Spec, bool]:
        """The environment's spec, and whether it says who won.

        Raises ValueError where it cannot be made by anyone, Broken where it shows what it should not, and Lost.
        """
        ...

    def make_room(self, spec: Spec, lanes: int, seconds: float) -> None:
        """For so many environments. Raises Lost."""
        ...

    def ask(self, asked: Asked, lanes: Sequence[int]) -> None:
        """Begin: seeds or actions are in the arrays."""
        ...

    def answer(self, seconds: float) -> Reply:
        """Wait for it to be done. Raises Lost when it seems that one of its environments took longer than that."""
        ...

    def dismiss(self) -> None:
        """Tell it to leave, and do not wait for that: so many can leave at once."""
        ...

    def close(self) -> None:
        """End it, and whatever it started."""
        ...


class Process:
    """A process of this machine."""

    def __init__(self, recipe: Recipe) -> None:
        self.arrays: dict[str, np.ndarray] = {}
        self._memory = tempfile.TemporaryFile(dir=_SHARED if os.path.isdir(_SHARED) else None)
        self._log = tempfile.TemporaryFile()
        theirs_asked, asked = os.pipe()
        answers, theirs_answers = os.pipe()
        handed = (theirs_asked, theirs_answers, self._memory.fileno())
        command = [sys.executable, "-m", "seca.envs.hosted.worker", *map(str, handed)]
        try:
            self._process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=self._log,
                stderr=self._log,
                pass_fds=handed,
                start_new_session=True,  # So that the games it starts can be ended with it.
                env=_environment(),
            )
        finally:
            os.close(theirs_asked)
            os.close(theirs_answers)
        self._asked: IO[str] = os.fdopen(asked, "w", buffering=1)
        self._answers, self._heard = answers, b""
        self._hangs = False
        self._say(kind=recipe.kind, name=recipe.name, options=[list(pair) for pair in recipe.options])

    def describe(self, seconds: float) -> tuple[Spec, bool]:
        """See `Worker`."""
        return what_it_is(self._read(time.monotonic() + seconds))

    def make_room(self, spec: Spec, lanes: int, seconds: float) -> None:
        """See `Worker`."""
        of = blocks.layout(spec, lanes)
        try:
            # All of it now: a file that is only said to be so long ends the process that first writes beyond the room.
            os.posix_fallocate(self._memory.fileno(), 0, blocks.size(of))
        except OSError as error:
            where, size = _SHARED if os.path.isdir(_SHARED) else tempfile.gettempdir(), blocks.size(of) / 2**20
            raise Lost(f"{where} has no room for {size:.1f} MiB of its numbers: {error.strerror}") from None
        self.arrays = blocks.views(mmap.mmap(self._memory.fileno(), blocks.size(of)), of)
        self._say(do="room", lanes=lanes)
        self._read(time.monotonic() + seconds)

    def ask(self, asked: Asked, lanes: Sequence[int]) -> None:
        """See `Worker`."""
        self._say(do=asked, lanes=list(lanes))

    def answer(self, seconds: float) -> Reply:
        """See `Worker`. One that hangs is found out within twice the seconds."""
        while True:
            moves = self._moves()
            try:
                said = self._read(time.monotonic() + seconds)
                break
            except Late:
                if (self._moves() == moves).all():
                    self._hangs = True
                    raise
        return Reply({int(lane): words for lane, words in said["lost"].items()}, said["broken"])

    def _moves(self) -> np.ndarray:
        return self.arrays[blocks.MOVES].copy()

    def dismiss(self) -> None:
        """See `Worker`."""
        with contextlib.suppress(OSError):
            self._asked.close()

    def close(self) -> None:
        """See `Worker`."""
        self.dismiss()
        self._end()
        with contextlib.suppress(OSError):
            os.close(self._answers)
        self._log.close()
        self._memory.close()

    def _end(self) -> None:
        """Its whole group: a game that has lost its worker would go on for ever."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(worker.LEAVE_SECONDS if self._asked.closed and not self._hangs else 0)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def _say(self, **words: Any) -> None:
        with contextlib.suppress(OSError):  # It is gone: that is found out by listening.
            self._asked.write(json.dumps(words) + "\n")

    def _read(self, until: float) -> dict[str, Any]:
        """The next line of answers. Raises Lost."""
        while b"\n" not in self._heard:
            # What is there already counts, also when this process was suspended meanwhile.
            if not select.select([self._answers], [], [], max(0.0, until - time.monotonic()))[0]:
                raise Late(f"no answer in time{self._last_words()}")
            more = os.read(self._answers, 65536)
            if not more:
                raise Lost(f"its process ended{self._how()}{self._last_words()}")
            self._heard += more
        line, _, self._heard = self._heard.partition(b"\n")
        return json.loads(line)

    def _how(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            code = self._process.wait(1.0)
            return f" by {signal.Signals(-code).name}" if code < 0 else f" with exit code {code}"
        return ""

    def _last_words(self) -> str:
        """The last line that it printed, games included."""
        end = self._log.seek(0, os.SEEK_END)
        self._log.seek(max(0, end - 4096))
        lines = [line.strip() for line in self._log.read().decode(errors="replace").splitlines() if line.strip()]
        return f", after printing: {lines[-1][:200]}" if lines else ""


_SHARED = "/dev/shm"
"""Memory that looks like files, where the system has it."""


def _environment() -> dict[str, str]:
    """Of a worker: it leaves accelerators to training, and takes one core."""
    here = str(pathlib.Path(__file__).parents[3])
    found = os.pathsep.join(dict.fromkeys([here, *(path for path in sys.path if path)]))
    threads = {name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")}
    return threads | dict(os.environ) | {"JAX_PLATFORMS": "cpu", "PYTHONPATH": found}


def what_it_is(said: dict[str, Any]) -> tuple[Spec, bool]:
    """What a worker says of the environment that it made, or tried to; raises what `Worker.describe` does."""
    for name, kind in (("refused", ValueError), ("broken", Broken), ("failed", Lost)):
        if name in said:
            raise kind(said[name])
    return spec_of(said["spec"]), bool(said["wins"])


def spec_of(told: dict[str, Any]) -> Spec:
    """The spec that `worker.described` wrote."""
    return Spec(**{name: _tuples(value) for name, value in told.items()})


def _tuples(value: Any) -> Any:
    """Lists, at any depth, as tuples: JSON knows no others."""
    return tuple(_tuples(one) for one in value) if isinstance(value, list) else value
