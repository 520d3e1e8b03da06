"""Sweeps on Ray: a lost node's run goes on elsewhere; no GPU is asked for where there is none."""

import importlib.util
import json
import os
import pathlib
import signal
import socket
import subprocess
import sys
import time
import types
from collections.abc import Iterator

import pytest
from clusters import ROOT, Cluster, ancestors, gone, needs_ray, nodes
from run_files import metric_lines
from sweeps import made

from seca.errors import UsageError
from seca.host import cluster as clusters_of_ray
from seca.runs import folder as folders
from seca.sweeps import local, on_ray
from seca.sweeps.folder import SweepFolder, opened, progress

TEXT = """methods = ["seca"]
envs = ["matrix/focus-fire"]
seeds = 2
absolute = false
[options]
steps = 120
runners = 4
eval-episodes = 4
eval-interval = 60
checkpoint-interval = 0
"""
PLAN = made.plan(TEXT)
NAMES = [cell.name for cell in PLAN.cells]
_TROUBLES = ("RayTaskError", "RuntimeEnvSetupError", "TaskUnschedulableError", "WorkerCrashedError", "NodeDiedError")
_TROUBLES += ("OutOfMemoryError",)


def command(folder: SweepFolder, jobs: int = 0) -> list[str]:
    """As a user goes on with a sweep."""
    return [sys.executable, "-m", "seca", "sweep", str(folder.path), "--on", "ray", "--jobs", str(jobs)]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with nodes() as started:
        yield started


def launch(cluster: Cluster, folder: SweepFolder, jobs: int = 0) -> subprocess.Popen[str]:
    kept = {name: value for name, value in os.environ.items() if name.startswith(("XLA_", "JAX_", "SECA_"))}
    environment = cluster.environment() | kept | {"RAY_ADDRESS": cluster.address}
    return subprocess.Popen(
        command(folder, jobs), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )


def on_a_node_that_can_go(cluster: Cluster, folder: SweepFolder) -> tuple[str, int, int] | None:
    """Name, process and raylet of a run in its middle, not on the head."""
    for name in NAMES:
        home = folder.run(name)
        lines = home.metrics.read_text().count("\n") if home.metrics.exists() else 0
        if 4 < lines < 24 and not home.result.exists() and any(home.checkpoints.glob("*")):
            pid = int(home.lock.read_text())
            line = ancestors(pid)
            raylets = [process for program, process in line if program == "raylet"]
            if raylets and cluster.nodes[1].pid in [process for _, process in line]:
                return name, pid, raylets[0]
    return None


@needs_ray
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks up processes in /proc")
def test_a_lost_nodes_run_is_taken_up_elsewhere(tmp_path: pathlib.Path, seca, cluster: Cluster) -> None:
    """And ends as one that was never broken, bit for bit."""
    cluster.start()
    with opened(tmp_path / "whole", PLAN) as (whole, _, _), opened(tmp_path / "lost", PLAN) as (lost, _, _):
        pass
    cluster.wait_for_head()
    sweep = launch(cluster, lost)
    assert sweep.stdout is not None
    assert sweep.stdout.readline() == f"sweep {lost.path}: 2 runs\n"
    # Who starts a sweep goes with the node it is on: it is on the head, and another node joins.
    assert sweep.stdout.readline() == "Ray cluster: 1 node, 1 CPUs\n"
    cluster.start()
    until = time.monotonic() + 200
    while (victim := on_a_node_that_can_go(cluster, lost)) is None:
        assert sweep.poll() is None and time.monotonic() < until, sweep.communicate()
        time.sleep(0.05)
    name, pid, raylet = victim
    os.kill(raylet, signal.SIGKILL)
    killed = time.monotonic()
    while not gone(pid):
        assert time.monotonic() - killed < 15
        time.sleep(0.05)
    done = len(metric_lines(lost.run(name).path))
    ended = seca("sweep", "run", whole.path, name)
    assert ended.returncode == 0, ended.stderr
    printed, chatter = sweep.communicate(timeout=200)
    assert sweep.returncode == 0, printed + chatter
    assert printed.splitlines()[-1].startswith("2 of 2 runs done") and chatter == ""
    assert all(" of 2 runs done" in line for line in printed.splitlines())  # Ray has much to say of a lost node.
    assert done < len(metric_lines(whole.run(name).path))
    sessions = {x: len(json.loads(lost.run(x).environment.read_text())["sessions"]) for x in NAMES}
    assert sessions == {x: 1 + (x == name) for x in NAMES}
    assert metric_lines(lost.run(name).path) == metric_lines(whole.run(name).path)
    assert json.loads(lost.run(name).result.read_text()) == json.loads(whole.run(name).result.read_text())


@needs_ray
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks up processes in /proc")
@pytest.mark.parametrize(("number", "expected"), [(signal.SIGINT, 130), (signal.SIGKILL, -9)])
def test_nothing_outlives_it(
    tmp_path: pathlib.Path, cluster: Cluster, number: signal.Signals, expected: int, seca
) -> None:
    cluster.start()
    with opened(tmp_path / "sweep", PLAN) as (folder, _, _):
        pass
    cluster.wait_for_head()
    sweep = launch(cluster, folder)
    home, until = folder.run(NAMES[0]), time.monotonic() + 120
    while not (home.metrics.exists() and home.metrics.read_text().count("\n") > 5):
        assert sweep.poll() is None and time.monotonic() < until, sweep.communicate()
        time.sleep(0.05)
    pid = int(home.lock.read_text())
    sweep.send_signal(number)
    begun = time.monotonic()
    printed, chatter = sweep.communicate(timeout=60)
    if number != signal.SIGKILL:
        assert time.monotonic() - begun < 8  # Interrupted, not waited for in vain.
        assert printed.splitlines()[-1] == f"stopped; go on with: seca sweep {folder.path} --on ray" and chatter == ""
    assert sweep.returncode == expected
    while not gone(pid):
        assert time.monotonic() - begun < 20
        time.sleep(0.05)
    assert any(home.checkpoints.glob("*")) and not home.result.exists()
    assert not folder.run(NAMES[1]).path.exists()  # There was one CPU.


@needs_ray
@pytest.mark.slow
def test_without_a_cluster_there_is_one_of_its_own(tmp_path: pathlib.Path, seca) -> None:
    """And a run that fails leaves the others."""
    text = TEXT.replace("steps = 120", "steps = 80").replace("checkpoint-interval = 0", "checkpoint-interval = 60")
    with opened(tmp_path / "sweep", made.plan(text)) as (folder, plan, _):
        made.leave(folder, PLAN.cells[0], made.evaluation(0))  # Of another length.
    environment = os.environ | {"RAY_ADDRESS": "local", "PYTHONPATH": str(ROOT)}
    ended = subprocess.run(command(folder, 1), capture_output=True, text=True, timeout=200, env=environment)
    assert ended.returncode == 1 and ended.stderr == "", ended.stderr
    assert f"{NAMES[0]} failed, exit code 2: " in ended.stdout and "loop.steps 120 -> 80" in ended.stdout
    assert [progress(folder, plan, cell).state for cell in plan.cells] == ["failed", "done"]


@needs_ray
@pytest.mark.parametrize("kind", ["closed", "silent", "no address"])
def test_a_cluster_that_is_not_there(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, kind: str) -> None:
    """One line, in bounded time, and the folder is as it was."""
    monkeypatch.setattr(clusters_of_ray, "CONNECT_SECONDS", 3.0)
    for name in ("RAY_USAGE_STATS_ENABLED", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "RAY_ENABLE_UV_RUN_RUNTIME_ENV"):
        monkeypatch.setenv(name, "0")  # Set there, undone here.
    with socket.socket() as server, opened(tmp_path / "sweep", PLAN) as (folder, plan, _):
        server.bind(("127.0.0.1", 0))
        if kind == "silent":
            server.listen()
        address = ":1:2:" if kind == "no address" else f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", address)
        before = sorted(folder.path.rglob("*"))
        begun = time.monotonic()
        expected = {"closed": "refused", "silent": "within 3 s", "no address": "is needed there"}[kind]
        with pytest.raises(UsageError, match=rf"^`RAY_ADDRESS` is '{address}': .*{expected}") as refused:
            on_ray.run(folder, plan, None, 0, local.PlainBoard())
        assert time.monotonic() - begun < 15 and "\n" not in str(refused.value)
        assert sorted(folder.path.rglob("*")) == before


def test_who_asks_for_a_cluster_that_is_not_there(tmp_path: pathlib.Path, seca) -> None:
    """From the command line, with and without Ray installed: one line, and nothing is begun."""
    out = tmp_path / "sweep"
    asked = ["--methods", "seca", "--envs", "matrix/focus-fire", "--out", out]
    ended = seca("sweep", *asked, "--on", "ray://127.0.0.1:1")
    assert ended.returncode == 2 and not out.exists()
    [line] = ended.stderr.splitlines()
    assert line.startswith("seca: `on` is 'ray://127.0.0.1:1'"), line


def test_who_goes_on_elsewhere_is_waited_for_and_comes_last(tmp_path: pathlib.Path) -> None:
    """A run that is held may be just stopping, after its sweep was killed."""
    asked: list[str] = []

    class FakeRay:
        exceptions = types.SimpleNamespace(RaySystemError=OSError, **dict.fromkeys(_TROUBLES, OSError))
        cluster_resources = staticmethod(lambda: {"CPU": 1.0})
        nodes = staticmethod(lambda: [{"Alive": True, "Resources": {"CPU": 1.0}}])
        wait = staticmethod(lambda tasks, num_returns, timeout: (tasks[:1], tasks[1:]))
        get = staticmethod(lambda task: ("busy", "is left to another process, which is at it"))

        @staticmethod
        def remote(make):
            def one(path, name, environment):
                asked.append(name)
                return name

            return types.SimpleNamespace(options=lambda **needs: types.SimpleNamespace(remote=one))

    with opened(tmp_path / "sweep", PLAN) as (folder, plan, _):
        made.leave(folder, plan.cells[0])
        with folders.locked(folder.run(NAMES[0])):
            assert on_ray._run(FakeRay, folder, plan, 1, local.PlainBoard(), lambda: False) == 0
    assert asked == [NAMES[1], NAMES[0]]


@pytest.mark.parametrize(("missing", "address"), [("ray", None), ("grpc", "ray://127.0.0.1:1")])
def test_what_is_not_installed_is_told(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, missing: str, address: str | None
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name in (missing, "grpc") else found("json"))
    with opened(tmp_path / "sweep", PLAN) as (folder, plan, _):
        with pytest.raises(UsageError, match=r"pip install 'seca\[ray\]'"):
            on_ray.run(folder, plan, address, 0, local.PlainBoard())


@pytest.mark.parametrize(
    ("devices", "there", "platforms", "asked"),
    [
        (1, {"CPU": 4.0}, "", {"num_cpus": 1, "num_gpus": 0}),
        (0, {"CPU": 4.0}, "", {"num_cpus": 1, "num_gpus": 0}),
        (2, {"CPU": 4.0, "GPU": 0.0}, "", {"num_cpus": 2, "num_gpus": 0}),
        (1, {"CPU": 4.0, "GPU": 2.0}, "", {"num_cpus": 1, "num_gpus": 1}),
        (2, {"CPU": 4.0, "GPU": 2.0}, "cuda,cpu", {"num_cpus": 1, "num_gpus": 2}),
        (2, {"CPU": 4.0, "GPU": 2.0}, "cpu", {"num_cpus": 2, "num_gpus": 0}),
    ],
)
def test_no_gpu_is_asked_for_where_there_is_none(devices: int, there, platforms: str, asked) -> None:
    """MARLlib's issue 141: tasks that ask for one wait for ever."""
    assert on_ray.needs(devices, there, platforms) == asked


def test_what_no_node_has_is_told() -> None:
    nodes = [
        {"Alive": True, "Resources": {"CPU": 2.0}},
        {"Alive": True, "Resources": {"CPU": 1.0, "GPU": 1.0}},
        {"Alive": False, "Resources": {"CPU": 64.0}},
    ]
    fitting: list[dict[str, int]] = [{"num_cpus": 2, "num_gpus": 0}, {"num_cpus": 1, "num_gpus": 1}]
    for fits in fitting:
        assert on_ray._lacking(nodes, [fits]) == ""
    assert "has the 3 CPU that" in on_ray._lacking(nodes, [{"num_cpus": 3, "num_gpus": 0}])
    assert "has the 2 CPU and 1 GPU that" in on_ray._lacking(nodes, [{"num_cpus": 2, "num_gpus": 1}])


def test_a_node_that_does_not_see_the_folder_says_so(tmp_path: pathlib.Path) -> None:
    ended, words = on_ray.make(str(tmp_path / "elsewhere"), NAMES[0], {})
    assert ended == "unseen" and "does not see that folder" in words
    assert not (tmp_path / "elsewhere").exists()


def test_a_run_that_is_held_is_waited_for_then_left(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(on_ray, "HELD_SECONDS", 0.5)
    with opened(tmp_path, PLAN) as (folder, _, _):
        made.leave(folder, PLAN.cells[0])
    with folders.locked(folder.run(NAMES[0])):
        begun = time.monotonic()
        assert on_ray.make(str(tmp_path), NAMES[0], {})[0] == "busy"
        assert time.monotonic() - begun >= 0.5
    assert not folder.log(NAMES[0]).exists()


def test_a_run_that_is_interrupted_is_let_go_of(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ray does it: by an exception between two looks."""
    (tmp_path / "worker.py").write_text(made.WORKER)
    (tmp_path / "behaviour.txt").write_text(f"{NAMES[0]}=hang")
    worker = [sys.executable, str(tmp_path / "worker.py")]
    monkeypatch.setattr(
        local, "command", lambda folder, name: [*worker, str(folder.path), name, str(tmp_path / "behaviour.txt")]
    )
    with opened(tmp_path / "sweep", PLAN) as (folder, _, _):
        pass

    begun, slept = on_ray.begin(folder.path, NAMES[0], {"SECA_X": "1"}), time.sleep

    def interrupted(seconds: float) -> None:
        patch.setattr(on_ray.time, "sleep", slept)
        raise KeyboardInterrupt

    assert isinstance(begun, local.Worker)
    with monkeypatch.context() as patch:
        patch.setattr(on_ray, "begin", lambda *given: begun)
        patch.setattr(on_ray.time, "sleep", interrupted)
        with pytest.raises(KeyboardInterrupt):
            on_ray.make(str(folder.path), NAMES[0], {})
    assert begun.process.returncode == -signal.SIGTERM


def test_what_decides_how_a_run_computes_goes_along() -> None:
    here = {"SECA_CACHE_DIR": "c", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "f", "HOME": "h", "SECA_TETHER": "1"}
    assert on_ray.handed_on(here) == {"SECA_CACHE_DIR": "c", "JAX_PLATFORMS": "cpu", "XLA_FLAGS": "f"}
