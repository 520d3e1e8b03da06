"""Reading of the reference numbers in tests/golden: weights into our modules, arrays into `Episodes`."""

import pathlib
from collections.abc import Iterator, Mapping

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.learning.acting import acting_over
from seca.nets.agents import GRUCell, RecurrentAgent
from seca.nets.critics import MixingCritic
from seca.nets.linear import MLP, Linear
from seca.nets.mixers import MonotoneMixer
from seca.types import Episodes

Numbers = Mapping[str, np.ndarray]


def load(folder: pathlib.Path, name: str) -> Numbers:
    """All arrays of one file."""
    with np.load(folder / f"{name}.npz", allow_pickle=False) as file:
        return {key: file[key] for key in file}


@pytest.fixture(name="float64")
def float64_fixture() -> Iterator[None]:
    """Double precision, as the reference numbers have it."""
    with jax.enable_x64(True):
        yield


def linear(numbers: Numbers, prefix: str) -> Linear:
    """Layer from the arrays `PREFIX_weight` and `PREFIX_bias`."""
    return Linear(jnp.asarray(numbers[f"{prefix}_weight"]), jnp.asarray(numbers[f"{prefix}_bias"]))


def actor(numbers: Numbers, prefix: str = "actor_") -> RecurrentAgent:
    """Actor from `PREFIX` + name arrays in PyTorch layout."""
    names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
    cell = GRUCell(*(jnp.asarray(numbers[f"{prefix}gru_{name}"]) for name in names))
    return RecurrentAgent(linear(numbers, f"{prefix}fc1"), cell, linear(numbers, f"{prefix}fc2"))


def critic(numbers: Numbers, prefix: str = "critic_") -> MixingCritic:
    """Mixing critic from `PREFIX` + name arrays in PyTorch layout."""

    w1, w2, b2 = (mlp(numbers, prefix + name) for name in ("w1", "w2", "b2"))
    return MixingCritic(w1, linear(numbers, f"{prefix}b1"), w2, b2)


def mlp(numbers: Numbers, prefix: str) -> MLP:
    """Two layers from `PREFIX_hidden` and `PREFIX_out`."""
    return MLP(linear(numbers, f"{prefix}_hidden"), linear(numbers, f"{prefix}_out"))


def monotone_mixer(numbers: Numbers, prefix: str = "mixer_") -> MonotoneMixer:
    """QMIX's mixer with two-layer hypernetworks, in the layout that QMIX and VMIX share."""
    return MonotoneMixer(
        mlp(numbers, f"{prefix}w1"),
        linear(numbers, f"{prefix}b1"),
        mlp(numbers, f"{prefix}w2"),
        mlp(numbers, f"{prefix}b2"),
    )


def at(numbers: Numbers, prefix: str, number: int) -> Numbers:
    """Entries `PREFIX` + name of an array with a leading axis of updates, taken at one update."""
    return {key: value[number] for key, value in numbers.items() if key.startswith(prefix)}


def episodes(numbers: Numbers, number: int | None = None) -> Episodes:
    """Episodes of one batch. Episodes that do not terminate are truncated at their last step."""

    def part(name: str) -> np.ndarray:
        return numbers[name] if number is None else numbers[name][number]

    valid = part("mask") > 0
    terminated = (part("terminated") > 0) & valid
    length = valid.sum(axis=1)
    last = np.arange(valid.shape[1]) == length[:, None] - 1
    truncated = last & ~terminated.any(axis=1, keepdims=True)
    return Episodes(
        reward=jnp.asarray(part("rewards")),
        terminated=jnp.asarray(terminated),
        truncated=jnp.asarray(truncated),
        valid=jnp.asarray(valid),
        obs=jnp.asarray(part("obs")),
        state=jnp.asarray(part("state")),
        avail=jnp.asarray(part("avail_actions") > 0),
        actions=jnp.asarray(part("actions")),
    )


def with_record(agent: RecurrentAgent, batch: Episodes) -> Episodes:
    """The batch as acting would have recorded it."""
    return Episodes(
        batch.reward,
        batch.terminated,
        batch.truncated,
        batch.valid,
        batch.obs,
        batch.state,
        batch.avail,
        batch.actions,
        record=acting_over(agent, batch),
    )


def assert_close(ours: object, theirs: np.ndarray, mask: np.ndarray | None = None, tolerance: float = 1e-8) -> None:
    """Equal to `tolerance` relative to the largest entry, where `mask` is true."""
    ours, theirs = np.asarray(ours), np.asarray(theirs)
    assert ours.shape == theirs.shape
    if mask is not None:
        ours, theirs = ours[mask], theirs[mask]
    scale = max(1.0, float(np.abs(theirs).max(initial=0)))
    np.testing.assert_allclose(ours / scale, theirs / scale, rtol=0, atol=tolerance)


def assert_trees_close(ours: object, theirs: object, tolerance: float = 1e-8) -> None:
    """Every leaf equal to `tolerance`."""
    for left, right in zip(jax.tree.leaves(ours), jax.tree.leaves(theirs), strict=True):
        assert_close(left, np.asarray(right), tolerance=tolerance)
