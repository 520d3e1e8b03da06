"""Ctrl-C and SIGTERM: whatever is going on, stop within ten seconds, say so in a line, and lose nothing.

Python runs signal handlers between bytecodes of the main thread: none runs while XLA compiles for minutes, and an
exception raised in one is swallowed where JAX has called back into Python, or crashes a module being imported. So no
handler of ours does anything but remember. The wake-up descriptor is written by the C handler at once; a watching
thread waits for it and ends the process, at once where there is nothing to save, else when it has not stopped in time.
That is safe because files are replaced, never rewritten (`seca.files`).
"""

import contextlib
import os
import select
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import FrameType
from typing import Any

from seca import files

STOPS = (signal.SIGINT, signal.SIGTERM)
GRACE_SECONDS = 8.0
"""How long an iteration may take to end. Past it the process goes, and the last checkpoint is what counts."""

_children: set[subprocess.Popen[Any]] = set()
_leaving = threading.Event()
"""Set before children are ended: who waits for one must not go on as if it had ended by itself."""


class StopRequest:
    """Which signal asked to stop, if any."""

    def __init__(self) -> None:
        self.signal: int | None = None

    def __bool__(self) -> bool:
        return self.signal is not None

    @property
    def exit_code(self) -> int:
        """130 after Ctrl-C, 143 after SIGTERM, 0 otherwise."""
        return 0 if self.signal is None else 128 + self.signal

    def remember(self, number: int, frame: FrameType | None) -> None:
        """The handler."""
        del frame
        self.signal = number


def stop_at_once() -> None:
    """From now on a signal ends the process, with a line and without leaving anything half written behind.

    For entry points only: it stays so until the process ends.
    """
    receiver, _ = _listen(StopRequest())  # Open as long as the process.
    threading.Thread(target=_leave_at_once, args=(receiver,), daemon=True).start()


@contextlib.contextmanager
def stop_on_signals(on_give_up: Callable[[], str], grace: float = GRACE_SECONDS) -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a `StopRequest` while the context lasts, for who has something to save.

    A process that has not ended `grace` seconds later, or at a second signal, is ended; it prints `on_give_up()`.
    Outside the main thread signals stay as they are.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    receiver, restore = _listen(request)
    watcher = threading.Thread(target=_watch, args=(receiver, on_give_up, grace), daemon=True)
    watcher.start()
    try:
        yield request
    finally:
        restore()  # Ends the watcher, whatever it waits for.
        watcher.join()
        os.close(receiver)


def run_child(command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    """`subprocess.run` with its output as text, of a process that does not outlive this one when that is stopped."""
    with child(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        output, errors = process.communicate()
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


@contextlib.contextmanager
def child(command: Sequence[str], **options: Any) -> Iterator[subprocess.Popen[Any]]:
    """A process, with options of `subprocess.Popen`, that outlives neither the context nor, when stopped, this one."""
    with subprocess.Popen(command, **options) as process:
        _children.add(process)
        try:
            yield process
        except BaseException:
            process.kill()
            raise
        finally:
            _children.discard(process)
            while _leaving.is_set():  # The watching thread ends the process in a moment, with the line and the code.
                time.sleep(1.0)


def _listen(request: StopRequest) -> tuple[int, Callable[[], None]]:
    """The end of a pipe where signals can be read, one byte each, and how to put back what handled them before."""
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    wakeup_before = signal.set_wakeup_fd(sender)  # First: a signal that is remembered must be read, too.
    before = {number: signal.signal(number, request.remember) for number in STOPS}

    def restore() -> None:
        signal.set_wakeup_fd(wakeup_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(sender)

    return receiver, restore


def _leave_at_once(receiver: int) -> None:
    number = _stop_signal(receiver, None)
    if number is not None:
        _leave(f"seca: stopped by {signal.Signals(number).name}", number)


def _watch(receiver: int, on_give_up: Callable[[], str], grace: float) -> None:
    """Wait for a signal, then for the end of the grace time or another signal."""
    first = _stop_signal(receiver, None)
    if first is None:
        return
    try:
        if _stop_signal(receiver, grace) is None:
            return
    except TimeoutError:
        pass
    _leave(on_give_up(), first)


def _leave(words: str, number: int) -> None:
    """End the process now, with a line and, on a terminal, the cursor that a live display has hidden."""
    _leaving.set()
    try:
        for process in tuple(_children):
            process.kill()
        files.discard_unfinished()
        # Not through `sys.stderr`, which may be redirected while options are read; nor where nobody takes it.
        if select.select([], [2], [], 1.0)[1]:
            os.write(2, f"\n\x1b[?25h{words}\n".encode() if os.isatty(2) else f"{words}\n".encode())
    finally:
        os._exit(128 + number)


def _stop_signal(receiver: int, timeout: float | None) -> int | None:
    """The next stop signal, or None when the context has ended. Raises TimeoutError."""
    while select.select([receiver], [], [], timeout)[0]:
        data = os.read(receiver, 1)
        if not data:
            return None
        if data[0] in STOPS:
            return data[0]
    raise TimeoutError
