"""Ray clusters of several nodes on this machine, and what runs on them."""

import contextlib
import importlib.util
import os
import pathlib
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator

import pytest

needs_ray = pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs ray: pip install 'seca[ray]'")
ROOT = pathlib.Path(__file__).parents[1]


class Cluster:
    """Nodes of one CPU each on this machine, every one with processes of its own."""

    def __init__(self, home: pathlib.Path) -> None:
        self._home = home
        with socket.socket() as found:
            found.bind(("127.0.0.1", 0))
            self.address = f"127.0.0.1:{found.getsockname()[1]}"
        self.nodes: list[subprocess.Popen[bytes]] = []
        self._token = secrets.token_hex(16)

    def start(self) -> None:
        """One node more; the first is the head."""
        port = self.address.split(":")[1]
        head = ["--head", f"--port={port}", f"--temp-dir={self._home}", "--include-dashboard=false"]
        where = ["--address", self.address] if self.nodes else [*head, "--disable-usage-stats"]
        small = ["--num-cpus=1", "--object-store-memory=80000000", "--block"]
        with (self._home / f"node{len(self.nodes)}.txt").open("wb") as log:
            ray = [sys.executable, "-m", "ray.scripts.scripts", "start", *where, *small]
            command = ["sh", "-c", 'trap "" INT; exec "$@"', "sh", *ray]  # As of a script's background.
            self.nodes.append(
                subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, env=self.environment())
            )

    def environment(self) -> dict[str, str]:
        """Of its processes, and of who uses it. Numbers of runs are to depend on what the sweep is told alone."""
        given = ("XLA_", "JAX_", "SECA_", "RAY_")
        mine = {name: value for name, value in os.environ.items() if not name.startswith(given)}
        allowed = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self._token}  # Who else is here has no use of it.
        return mine | allowed | {"RAY_USAGE_STATS_ENABLED": "0", "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'tests'}"}

    def wait_for_head(self) -> None:
        """Until it takes connections."""
        host, port = self.address.split(":")
        until = time.monotonic() + 60
        while True:
            assert self.nodes[0].poll() is None and time.monotonic() < until, (self._home / "node0.txt").read_text()
            try:
                socket.create_connection((host, int(port)), 1).close()
                return
            except OSError:
                time.sleep(0.1)

    def stop(self) -> None:
        """End all that is left."""
        for node in reversed(self.nodes):
            node.terminate()
        for node in self.nodes:
            try:
                node.wait(10)
            except subprocess.TimeoutExpired:
                os.killpg(node.pid, signal.SIGKILL)
                node.wait()


@contextlib.contextmanager
def nodes() -> Iterator[Cluster]:
    """A cluster without nodes yet; those that it has at the end are ended."""
    home = pathlib.Path(tempfile.mkdtemp(prefix="ray"))  # Not pytest's: paths of sockets are short.
    started = Cluster(home)
    try:
        yield started
    finally:
        started.stop()
        shutil.rmtree(home, ignore_errors=True)


def ancestors(pid: int) -> list[tuple[str, int]]:
    """Processes that a process comes from, with the names of their programs."""
    found = []
    while pid > 1:
        try:
            fields = pathlib.Path(f"/proc/{pid}/status").read_text()
        except OSError:
            break
        named = dict(line.split(":", 1) for line in fields.splitlines())
        found.append((named["Name"].strip(), pid))
        pid = int(named["PPid"])
    return found


def gone(pid: int) -> bool:
    status = pathlib.Path(f"/proc/{pid}/status")
    try:
        return "State:\tZ" in status.read_text()
    except OSError:
        return True
