"""A worker of this machine: what it says of its environment comes back as it was."""

import os
import select
import time

import pytest
from hosted_games import count

from seca.envs.hosted.lanes import Recipe
from seca.envs.hosted.processes import Lost, Process, Worker, spec_of
from seca.envs.hosted.worker import described


def test_a_spec_comes_back_as_it_was() -> None:
    for env in (count(), count(continuous=True)):
        assert spec_of(described(env)["spec"]) == env.spec


def test_a_process_is_asked_and_ended() -> None:
    process = Process(Recipe("python", "hosted_games.count", (("at", 0), ("then", "hang"), ("every", 2))))
    assert isinstance(process, Worker)
    spec, wins = process.describe(30.0)
    assert spec == count().spec and wins
    process.make_room(spec, 3, 30.0)
    process.arrays["seeds"][:] = [1, 3, 4]
    process.ask("reset", [0, 1])
    assert select.select([process._answers], [], [], 30.0)[0]
    assert process.answer(0.0).lost == {}  # It answered; that nobody looked in time is not its fault.
    assert process.arrays["obs"][:, 0, 2].tolist() == [1, 3, 0]
    process.ask("reset", [2])
    with pytest.raises(Lost, match="no answer in time"):
        process.answer(0.3)
    began = time.monotonic()
    process.close()
    assert time.monotonic() - began < 10 and process._process.returncode is not None


def test_shared_memory_without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    process = Process(Recipe("python", "hosted_games.count"))
    spec, _ = process.describe(60.0)
    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(Lost, match=r"has no room for 0.0 MiB of its numbers: No space left on device"):
        process.make_room(spec, 3, 60.0)
    process.close()
