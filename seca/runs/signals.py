"""Ctrl-C and SIGTERM: finish the iteration, save, and leave within ten seconds."""

import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

GRACE_SECONDS = 8.0
"""How long an iteration may take to end. Past it the process goes, and the last checkpoint is what counts."""


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


@contextmanager
def stop_on_signals(on_give_up: Callable[[], str], grace: float = GRACE_SECONDS) -> Iterator[StopRequest]:
    """Turn SIGINT and SIGTERM into a `StopRequest` while the context lasts.

    Python runs signal handlers between bytecodes, so none runs while XLA compiles for minutes. The wake-up descriptor
    is written by the C handler at once; a watching thread then waits `grace` seconds, or for a second signal, prints
    `on_give_up()` and ends the process. That is safe because checkpoints are atomic. Outside the main thread
    signals stay as they are.
    """
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return

    def remember(number: int, frame: object) -> None:
        del frame
        request.signal = number

    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    before = {number: signal.signal(number, remember) for number in (signal.SIGINT, signal.SIGTERM)}
    wakeup_before = signal.set_wakeup_fd(sender.fileno())
    watcher = threading.Thread(target=_watch, args=(receiver, on_give_up, grace), daemon=True)
    watcher.start()
    try:
        yield request
    finally:
        signal.set_wakeup_fd(wakeup_before)
        for number, handler in before.items():
            signal.signal(number, handler)
        sender.close()  # Ends the watcher, whatever it waits for.
        watcher.join()
        receiver.close()


def _watch(receiver: socket.socket, on_give_up: Callable[[], str], grace: float) -> None:
    """Wait for a signal, then for the end of the grace time or another signal."""
    first = _stop_signal(receiver, None)
    if first is None:
        return
    try:
        if _stop_signal(receiver, grace) is None:
            return
    except TimeoutError:
        pass
    print(on_give_up(), file=sys.stderr, flush=True)
    os._exit(128 + first)


def _stop_signal(receiver: socket.socket, timeout: float | None) -> int | None:
    """The next stop signal, or None when the context has ended. Raises TimeoutError."""
    receiver.settimeout(timeout)
    while data := receiver.recv(1):
        if data[0] in (signal.SIGINT, signal.SIGTERM):
            return data[0]
    return None
