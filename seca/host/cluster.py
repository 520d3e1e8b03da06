"""A Ray cluster: found within seconds, connected to, and quiet."""

import contextlib
import importlib.util
import io
import logging
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import threading
import urllib.parse
import warnings
from collections.abc import Iterator
from typing import Any

from seca.errors import UsageError
from seca.host.signals import child

CONNECT_SECONDS = 40.0
"""How long a cluster may take to answer: it starts a process for each `ray://` connection."""
KNOCK_SECONDS = 5.0
"""How long its port may take to open."""
OBJECT_STORE_BYTES = 80 * 2**20
"""Of a cluster of our own, the smallest that Ray takes (75 MiB): no arrays pass through it."""

_PROBE = """
import sys, ray
try:
    ray.init(address=sys.argv[1], log_to_driver=False, logging_level="ERROR")
except ConnectionError as error:
    sys.exit(f"nothing answers ({error})")
except Exception as error:
    sys.exit(f"{type(error).__name__}: {error}")
"""


def check(address: str | None, field: str = "on") -> str:
    """What to tell Ray as the address. Raises UsageError, at once, where Ray is not installed or nothing listens.

    `field` is the option that asks for the cluster.
    """
    for module, needed in (("ray", True), ("grpc", address is not None)):
        if needed and importlib.util.find_spec(module) is None:
            raise UsageError(
                f"`{field}` is '{address or 'ray'}': that needs Ray; install it by: pip install 'seca[ray]'"
            )
    told = address or os.environ.get("RAY_ADDRESS") or "auto"
    if told != "local":
        _knock(told, field)
    return told


def found(address: str | None, field: str = "on") -> str:
    """What to tell Ray as the address: it answers, or is `local`. Raises UsageError, within seconds.

    Ray itself waits minutes for a cluster that is gone, and cannot be interrupted: a process of its own asks first.
    """
    told = check(address, field)
    if told == "local":
        return told
    quiet()
    command = [sys.executable, "-c", _PROBE, told]
    with child(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            _, said = process.communicate(timeout=CONNECT_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()
            raise UsageError(
                f"{_named(told, field)}: no Ray cluster answers there within {CONNECT_SECONDS:.0f} s{_TOKEN}"
            ) from None
    if process.returncode == 0:
        return told
    if told == "auto" and "nothing answers" in said:
        return "local"
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["it ended without a word"]
    last = next((line for line in reversed(lines) if re.match(r"\w+Error: ", line)), lines[0])
    raise UsageError(f"{_named(told, field)}: no Ray cluster to be used there: {last[:300]}{_TOKEN}")


_TOKEN = "; one that asks for a token needs RAY_AUTH_MODE=token and that token"


def _named(told: str, field: str) -> str:
    return f"`RAY_ADDRESS` is '{told}'" if told == os.environ.get("RAY_ADDRESS") else f"`{field}` is '{told}'"


def _knock(told: str, field: str) -> None:
    """Raise UsageError where nothing listens: that is known at once."""
    if told == "auto":
        return
    try:
        parts = urllib.parse.urlsplit(told if "://" in told else f"ray://{told}")
        host, port = parts.hostname, parts.port or 10001
    except ValueError:
        host, port = None, 0
    if not host:
        raise UsageError(f"{_named(told, field)}: ray://HOST:PORT is needed there")
    try:
        socket.create_connection((host, port), KNOCK_SECONDS).close()
    except (OSError, UnicodeError) as error:
        raise UsageError(f"{_named(told, field)}: no Ray cluster is there ({error})") from None


def quiet() -> None:
    """Ray says nothing to the world, little to the terminal, and leaves accelerators alone that it does not see."""
    for name, value in (
        ("RAY_USAGE_STATS_ENABLED", "0"),
        ("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0"),
        ("RAY_ENABLE_UV_RUN_RUNTIME_ENV", "0"),
    ):
        os.environ.setdefault(name, value)


class _Heard:
    """A stream without what Ray's threads say there: pages about each node that is lost, which no option turns off."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write it, unless Ray does."""
        return len(text) if threading.current_thread().name.startswith("ray_") else self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Have the terminal to oneself."""
    before = sys.stdout
    with contextlib.redirect_stdout(_Heard(before)):  # pyrefly: ignore[bad-specialization]
        yield


@contextlib.contextmanager
def connected(where: str, field: str = "on") -> Iterator[Any]:
    """Ray, connected for as long as the context lasts. Raises UsageError where it cannot be used."""
    quiet()
    if where == "local" and "RAY_AUTH_MODE" not in os.environ:
        # Who else is on this machine has no use of it; unasked, Ray keeps its token in the home folder, for all later.
        os.environ |= {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}
    import ray

    own: dict[str, Any] = {"include_dashboard": False, "object_store_memory": OBJECT_STORE_BYTES}
    before = signal.getsignal(signal.SIGTERM)
    try:
        with warnings.catch_warnings():
            # Of JAX, for the processes of a cluster of our own: no device of it has started here, nor its threads.
            warnings.filterwarnings("ignore", "os.fork", RuntimeWarning)
            ray.init(
                address=where, log_to_driver=False, logging_level=logging.ERROR, **(own if where == "local" else {})
            )
    except (OSError, RuntimeError, ValueError) as error:
        raise UsageError(f"{_named(where, field)}: no Ray cluster to be used there: {first_line(error)}") from None
    if signal.getsignal(signal.SIGTERM) is not before:  # Ray's would leave without a word.
        signal.signal(signal.SIGTERM, before)
    try:
        yield ray
    finally:
        # In this thread, what its own threads said twice and held back: a page about a lost node, say.
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            ray.shutdown()


def first_line(error: Exception) -> str:
    """Of what it says; its type where it says nothing."""
    return next((line.strip() for line in str(error).splitlines() if line.strip()), type(error).__name__)[:300]
