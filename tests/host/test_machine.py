"""Devices, memory, the compilation cache, and what is written down of them."""

import pathlib
from unittest import mock

import jax
import numpy as np
import pytest

from seca.errors import UsageError
from seca.host import machine


def test_devices_are_chosen_to_divide_the_runners(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpu_cores", lambda: 3)
    assert len(machine.choose_devices(0, 32)) == 2
    assert len(machine.choose_devices(0, 33)) == 3
    assert len(machine.choose_devices(4, 32)) == 4
    with pytest.raises(UsageError, match="`devices` is 5: JAX offers 4"):
        machine.choose_devices(5, 35)


def test_session_says_what_may_change_a_number() -> None:
    session = machine.session(jax.devices())
    assert set(session["packages"]) == set(machine.VERSIONED)
    assert session["cores"] >= 1
    assert len(session["devices"]) == 4


def test_cache_can_be_moved_and_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECA_CACHE_DIR", "elsewhere")
    assert machine.cache_dir() == pathlib.Path("elsewhere")
    monkeypatch.setenv("SECA_CACHE_DIR", "")
    assert machine.cache_dir() is None
    monkeypatch.delenv("SECA_CACHE_DIR")
    assert machine.cache_dir() == pathlib.Path.home() / ".cache" / "seca"


def test_who_has_no_home_has_no_cache(
    monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, and everything works; nothing is said where no cache is wanted."""

    def homeless() -> pathlib.Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(pathlib.Path, "home", homeless)
    monkeypatch.delenv("SECA_CACHE_DIR", raising=False)
    assert machine.cache_dir() is None
    assert machine.cache_problem() == "there is no home folder"
    with monkeypatch.context() as patch:
        set_to: dict[str, object] = {}
        patch.setattr(jax.config, "update", set_to.__setitem__)
        machine.enable_cache()
    assert set_to == {"jax_enable_compilation_cache": False}
    [line] = capsys.readouterr().err.splitlines()
    assert line.startswith("seca: warning: no compilation cache: there is no home folder")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("SECA_CACHE_DIR", str(tmp_path / "file"))
    assert machine.cache_problem() == f"{tmp_path / 'file'} takes no files (File exists)"
    monkeypatch.setenv("SECA_CACHE_DIR", "")
    assert machine.cache_problem() is None
    monkeypatch.setenv("SECA_CACHE_DIR", str(tmp_path / "new" / "cache"))
    assert machine.cache_problem() is None
    assert (tmp_path / "new" / "cache").is_dir()


def test_a_platform_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> list[jax.Device]:
        raise RuntimeError("Unable to initialize backend 'cuda': no device\nmore")

    monkeypatch.setattr(jax, "devices", fail)
    with pytest.raises(UsageError, match="`JAX_PLATFORMS` is 'cpu': .*backend 'cuda': no device.; `unset JAX_PLAT"):
        machine.configure(1, 1)


def test_peak_memory_of_the_process() -> None:
    block = np.ones(2**25)
    filled = machine.peak_memory(jax.devices())
    assert filled > 0.95 * block.nbytes  # The system counts in batches of pages.
    del block
    assert machine.peak_memory(jax.devices()) > 0.95 * filled


def test_peak_memory_of_accelerators() -> None:
    devices = [mock.Mock(jax.Device, memory_stats=lambda peak=peak: {"peak_bytes_in_use": peak}) for peak in (3, 4)]
    assert machine.peak_memory(devices) == 7
