"""What a worker plays says of itself what a learner has to know, and costs no JAX."""

import dataclasses
import subprocess
import sys

import numpy as np
import pytest
from hosted_games import Count, count

from seca.envs.hosted.single import Frame, Single, Spec
from seca.types import EnvSpec


def test_a_spec_is_that_of_learners() -> None:
    """Field for field, but that a box is two tuples; defaults are the same. `networks` is no environment's to tell."""
    ours, theirs = dataclasses.fields(Spec), [f for f in dataclasses.fields(EnvSpec) if f.name != "networks"]
    assert {field.name: field.default for field in ours} == {field.name: field.default for field in theirs}


def test_done_is_either_end() -> None:
    frame = Frame(np.zeros((1, 1)), np.zeros(1), np.ones((1, 1), bool))
    assert not frame.done
    assert dataclasses.replace(frame, terminated=True).done and dataclasses.replace(frame, truncated=True).done


def test_the_protocol_is_checked() -> None:
    assert isinstance(count(), Single) and isinstance(count(), Count)
    assert not isinstance(object(), Single)


@pytest.mark.slow
def test_a_worker_starts_without_jax() -> None:
    """Which would take seconds and 200 MB, in each of them."""
    modules = "worker, kinds, pettingzoo, gymnasium, pymarl, starcraft"
    code = (
        f"import sys; from seca.envs.hosted import {modules}; print(*sorted({{'jax', 'equinox'}} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "\n"
