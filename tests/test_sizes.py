"""Which sizes a platform has, and others for a while."""

import dataclasses
import threading

import jax
import pytest

from seca.sizes import ACCELERATOR, CPU, sizes, using


@pytest.mark.parametrize(("platform", "expected"), [("cpu", CPU), ("gpu", ACCELERATOR), ("tpu", ACCELERATOR)])
def test_each_platform_has_its_own(platform: str, expected: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(jax, "default_backend", lambda: platform)
    assert sizes() == expected


def test_others_are_used_for_a_while_by_this_thread() -> None:
    odd, seen = dataclasses.replace(CPU, lanes=7), []
    with using(odd):
        assert sizes() == odd
        with using(ACCELERATOR):
            assert sizes() == ACCELERATOR
        assert sizes() == odd
        other = threading.Thread(target=lambda: seen.append(sizes()))
        other.start()
        other.join()
    assert sizes() == CPU and seen == [CPU]


def test_they_are_left_as_they_were_when_something_fails() -> None:
    with pytest.raises(KeyError), using(ACCELERATOR):
        raise KeyError
    assert sizes() == CPU
