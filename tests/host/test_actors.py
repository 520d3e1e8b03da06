"""Workers on a Ray cluster play as those of this machine do, and one that is lost with its node is replaced."""

import json
import os
import pathlib
import signal
import subprocess
import sys
import time
import types
from typing import Any

import numpy as np
import pytest
from clusters import ancestors, gone, needs_ray, nodes
from hosted_games import count

from seca.envs.hosted.lanes import Recipe
from seca.envs.hosted.processes import Lost, Worker
from seca.envs.hosted.single import Broken
from seca.host.actors import Actor, Launcher, Player

CALLED = ("describe", "make_room", "do")


class Here:
    """As much of Ray as an actor needs, in this process."""

    class exceptions:  # noqa: N801
        class RayError(Exception):
            pass

        class GetTimeoutError(RayError):
            pass

    def __init__(self) -> None:
        self.fails: Exception | None = None
        self.killed = 0
        self.cpus: list[int] = []

    def cluster_resources(self) -> dict[str, float]:
        return {"CPU": 2.0}

    def remote(self, kind: type) -> Any:
        def made(*given: Any) -> Any:
            player = kind(*given)
            called = {name: types.SimpleNamespace(remote=getattr(player, name)) for name in CALLED}
            return types.SimpleNamespace(**called)

        def options(**asked: Any) -> Any:
            self.cpus.append(asked["num_cpus"])
            return types.SimpleNamespace(remote=made)

        return types.SimpleNamespace(options=options)

    def get(self, promised: Any, timeout: float) -> Any:
        if self.fails is not None:
            raise self.fails
        return promised

    def kill(self, player: Any) -> None:
        self.killed += 1


def actor(ray: Here, name: str = "count", **options: Any) -> Actor:
    return Actor(ray, Recipe("python", f"hosted_games.{name}", tuple(sorted(options.items()))))


def test_it_plays_as_the_environment_itself() -> None:
    one, alone = actor(Here(), length=4), count(length=4)
    assert isinstance(one, Worker)
    spec, wins = one.describe(1.0)
    assert spec == alone.spec and wins
    one.make_room(spec, 3, 1.0)
    one.arrays["seeds"][:] = [1, 2, 5]
    one.ask("reset", [0, 2])
    assert one.answer(0.0).lost == {}
    np.testing.assert_array_equal(one.arrays["obs"][2], alone.reset(5).obs)
    assert not one.arrays["obs"][1].any()
    one.arrays["actions"][:] = 1
    one.ask("step", [2])
    assert one.answer(0.0).lost == {}
    np.testing.assert_array_equal(one.arrays["state"][2], alone.step(np.ones(2, np.int32)).state)
    assert one.arrays["state"][0, 0] == 0 and one.arrays["reward"].tolist() == [0, 0, 1]


def test_how_it_fails() -> None:
    ray = Here()
    for name, kind in (("refused", ValueError), ("missing", Lost)):
        with pytest.raises(kind):
            actor(ray, name).describe(1.0)
    one = actor(ray, at=0, then="raise")
    spec, _ = one.describe(1.0)
    one.make_room(spec, 2, 1.0)
    one.ask("reset", [1])
    assert list(one.answer(0.0).lost) == [1]
    for error, said in (
        (Here.exceptions.GetTimeoutError(), "no answer in time"),
        (Here.exceptions.RayError("node"), "node"),
    ):
        ray.fails = error
        with pytest.raises(Lost, match=said):
            one.answer(0.0)
    one.close()
    assert ray.killed == 1


def test_a_contract_broken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Player, "describe", lambda self: {"broken": "agent_0 shows NaN"})
    with pytest.raises(Broken, match="agent_0 shows NaN"):
        actor(Here()).describe(1.0)


def test_who_takes_anothers_place_asks_for_no_core() -> None:
    """That of a lost node may be gone, and an actor waits for ever for what is nowhere."""
    ray = Here()
    launcher = Launcher(ray)
    for _ in range(3):
        launcher.launch(Recipe("python", "hosted_games.count"))
    assert launcher.cpus == 2 and ray.cpus == [1, 1, 0]


def players() -> list[int]:
    """Processes of actors that play, by what Ray calls them."""
    found = []
    for status in pathlib.Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if status.read_text().startswith("ray::Player"):
                found.append(int(status.parent.name))
        except OSError:
            continue
    return found


@needs_ray
@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="looks up processes in /proc")
def test_a_node_that_is_lost_costs_its_episodes(tmp_path: pathlib.Path) -> None:
    """Two nodes, one of which is killed in the middle: another actor takes over, and the run ends as it should.

    Its actor is killed in the third env step of its episodes: between episodes nothing would be lost.
    """
    run, stay = tmp_path / "run", tmp_path / "stay"
    with nodes() as cluster:
        cluster.start()
        cluster.wait_for_head()
        cluster.start()
        until = time.monotonic() + 60
        command = [sys.executable, "-m", "seca", "train", "ia2c", "--env", "python:hosted_games.count"]
        command += ["--workers", "ray", "--runners", "4", "--devices", "1", "--steps", "20000", "--out", str(run)]
        command += ["--eval-episodes", "4", "--eval-interval", "20000", "--env-options"]
        command += ["length=7", "limit=9", "at=3", "then=stay", f"once={stay}"]
        environment = cluster.environment() | {"RAY_ADDRESS": cluster.address}
        while "2" not in alive(cluster.address, environment):
            assert time.monotonic() < until
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
        ) as training:
            metrics, victim, until = run / "metrics.jsonl", None, time.monotonic() + 300
            while victim is None:
                assert training.poll() is None and time.monotonic() < until, training.communicate()
                far = [p for p in players() if cluster.nodes[1].pid in [q for _, q in ancestors(p)]]
                if far and metrics.exists() and metrics.read_text().count('"train"') > 3:
                    victim = far[0]
                time.sleep(0.05)
            stay.touch()
            while not pathlib.Path(f"{stay}.{victim}").exists():
                assert training.poll() is None and time.monotonic() < until, training.communicate()
                time.sleep(0.05)
            raylet = next(process for program, process in ancestors(victim) if program == "raylet")
            os.kill(raylet, signal.SIGKILL)
            while not gone(victim):
                assert time.monotonic() < until
                time.sleep(0.05)
            stay.unlink()
            printed, said = training.communicate(timeout=300)
        assert training.returncode == 0 and said == "", printed + said
    lines = [json.loads(line) for line in metrics.read_text().splitlines()]
    lost = [line["episodes_lost"] for line in lines if line["kind"] == "train"]
    assert sum(lost) == 2 and max(lost) == 2  # Of four, its own two.
    assert lines[-1]["env_steps"] >= 20_000 and (run / "result.json").exists()


def alive(address: str, environment: dict[str, str]) -> str:
    """How many nodes a cluster has, as Ray tells a process of its own."""
    code = (
        "import ray, sys; ray.init(sys.argv[1], log_to_driver=False, logging_level='ERROR');"
        "print(sum(node['Alive'] for node in ray.nodes()))"
    )
    return subprocess.run([sys.executable, "-c", code, address], capture_output=True, text=True, env=environment).stdout
