"""Room for runs side by side."""

import os
import subprocess
import sys

import pytest

from seca.errors import UsageError
from seca.sweeps import slots as rooms
from seca.sweeps.slots import Slot, accelerators, slots

linux = pytest.mark.skipif(sys.platform != "linux", reason="no affinity of processes to cores elsewhere")


def machine(monkeypatch: pytest.MonkeyPatch, kind: str, count: int) -> None:
    monkeypatch.setattr(rooms, "accelerators", lambda: (kind, count))
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {5, 2, 3, 9, 7})


@linux
@pytest.mark.parametrize(
    ("jobs", "devices", "expected"),
    [
        (0, 1, [(2,), (3,), (5,), (7,), (9,)]),
        (2, 1, [(2, 3), (5, 7)]),
        (1, 1, [(2, 3, 5, 7, 9)]),
        (0, 2, [(2, 3), (5, 7)]),
        (0, 9, [(2, 3, 5, 7, 9)]),
    ],
)
def test_cores_are_shared_out(monkeypatch, jobs, devices, expected) -> None:
    machine(monkeypatch, "cpu", 5)
    assert slots(jobs, devices) == [Slot(cores) for cores in expected]


@linux
def test_more_than_there_is_room_for_is_refused(monkeypatch) -> None:
    machine(monkeypatch, "cpu", 5)
    with pytest.raises(UsageError, match="`jobs` is 6: with 1 for each run there is room for 5 \\(5 CPU cores\\)"):
        slots(6, 1)
    with pytest.raises(UsageError, match="`jobs` is 3: with 2"):
        slots(3, 2)


def test_each_run_sees_its_own_accelerators(monkeypatch) -> None:
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    machine(monkeypatch, "gpu", 4)
    assert [dict(slot.environment) for slot in slots(0, 2)] == [
        {"CUDA_VISIBLE_DEVICES": "0,1"},
        {"CUDA_VISIBLE_DEVICES": "2,3"},
    ]
    assert [dict(slot.environment)["CUDA_VISIBLE_DEVICES"] for slot in slots(3, 1)] == ["0", "1", "2"]
    with pytest.raises(UsageError, match="room for 4 \\(4 x gpu\\)"):
        slots(5, 1)
    machine(monkeypatch, "tpu", 8)
    assert slots(0, 1) == [Slot()]


def test_accelerators_that_are_hidden_stay_hidden(monkeypatch) -> None:
    machine(monkeypatch, "gpu", 2)
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,GPU-7")
    assert [dict(slot.environment)["CUDA_VISIBLE_DEVICES"] for slot in slots(0, 1)] == ["3", "GPU-7"]


def test_what_there_is_is_asked_in_another_process(monkeypatch) -> None:
    monkeypatch.setenv("JAX_PLATFORMS", "")
    answers = {"gpu 2\n": ("gpu", 2), "cpu 4\n": ("cpu", 4)}
    for printed, expected in answers.items():
        monkeypatch.setattr(
            subprocess, "run", lambda *_, printed=printed, **__: subprocess.CompletedProcess((), 0, printed, "")
        )
        assert accelerators() == expected
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess((), 1, "", "no plugin"))
    with pytest.raises(UsageError, match="seca doctor.*no plugin"):
        accelerators()
