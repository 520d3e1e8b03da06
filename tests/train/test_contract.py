"""Episodes that break the contract of their environment: found wherever it is, on any number of devices, and told."""

import dataclasses
from typing import Any

import breaching
import counting
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import BOXED, SPEC, in_float32, random_episodes
from jax.sharding import Mesh, PartitionSpec

from seca.envs.registry import make
from seca.errors import UsageError
from seca.train import contract
from seca.train.evaluate import make_evaluate
from seca.train.state import init_state
from seca.types import Episodes

ENV = dataclasses.replace(counting.env(), spec=SPEC)
GOOD = dataclasses.replace(in_float32(random_episodes()), avail=random_episodes().avail.at[..., 0].set(True))
"""Episode 1 has 3 steps, the third is truncated; episode 2 has 1, which terminates."""


def spoiled(*places: tuple[str, tuple[Any, ...], float | bool]) -> Episodes:
    """The good episodes with other numbers at some places."""
    changes: dict[str, Any] = {}
    for field, where, value in places:
        changes[field] = changes.get(field, getattr(GOOD, field)).at[where].set(value)
    return dataclasses.replace(GOOD, **changes)


@jax.jit
def found(episodes):
    """Of `SPEC`, by one program for all tests."""
    return contract.first_breach(SPEC, episodes, None)


@pytest.mark.parametrize(
    ("places", "said"),
    [
        ([("obs", (1, 0, 2, 4), np.nan)], "at reset of an episode: agent 2 observes"),
        ([("obs", (1, 3, 0, 1), np.inf)], "at step 3 of an episode: agent 0 observes"),
        ([("state", (1, 3, 5), -np.inf)], "at step 3 of an episode: the state holds"),
        ([("avail", (0, 4, 1), False)], "at step 4 of an episode: agent 1 has no available action"),
        ([("reward", (1, 2), np.nan)], "at step 3 of an episode: the reward is not finite"),
        ([("terminated", (1, 2), True)], "at step 3 of an episode: the episode both terminated and was truncated"),
        (
            [("reward", (1, 0), np.nan), ("obs", (3, 1, 2, 0), np.nan), ("avail", (0, 1, 0), False)],
            "at step 1 .* 2 obs",
        ),
        (
            [("obs", (0, 2, 1, 0), np.nan), ("obs", (1, 2, 0, 0), np.nan), ("reward", (4, 2), np.nan)],
            "at step 2 .* 0 obs",
        ),
    ],
)
def test_the_first_breach_is_told(places, said: str) -> None:
    """By its step, then its kind, then its agent, whichever episode it is in."""
    told = {"loss": np.float32(1), contract.BREACH: found(spoiled(*places))}
    with pytest.raises(UsageError, match=f"^`env` test breaks its contract in iteration 7, {said}"):
        contract.check_kept(ENV, told, "iteration 7")


def test_padding_is_not_looked_at() -> None:
    """Rows after the final observation; and numbers that nobody has to give, in a box."""
    places = [("obs", (1, slice(4, None)), np.nan), ("state", (1, slice(4, None)), np.nan), ("reward", (1, 3), np.nan)]
    episodes = spoiled(*places, ("avail", (1, slice(4, None)), False), ("terminated", (2, 4), True))
    measures = contract.check_kept(ENV, {"loss": 1.0, contract.BREACH: found(episodes)}, "iteration 7")
    assert measures == {"loss": 1.0} == contract.check_kept(ENV, {"loss": 1.0}, "iteration 7")
    boxed = in_float32(random_episodes(spec=BOXED))
    assert not np.asarray(boxed.avail.any(axis=-1)).all()
    assert int(jax.jit(lambda x: contract.first_breach(BOXED, x, None))(boxed)) == contract.NONE


@pytest.mark.slow
def test_any_number_of_devices_finds_the_same() -> None:
    episodes = spoiled(("reward", (7, 1), np.nan), ("obs", (2, 2, 1, 1), np.nan))
    shared = jax.shard_map(
        lambda mine: contract.first_breach(SPEC, mine, "runners"),
        mesh=Mesh(jax.devices()[:4], ("runners",)),
        in_specs=PartitionSpec("runners"),
        out_specs=PartitionSpec(),
        check_vma=False,
    )
    assert int(jax.jit(shared)(episodes)) == int(found(episodes)) != contract.NONE


def test_who_is_looked_at() -> None:
    assert contract.looked_at(counting.env())
    assert not contract.looked_at(dataclasses.replace(counting.env(), host=counting.Stand()))
    assert not contract.looked_at(make("smac/3m"))


@pytest.mark.slow
def test_a_return_that_is_not_finite_is_traced_to_its_step() -> None:
    """An evaluation keeps outcomes only: the episode is played again."""
    env = breaching.env("reward", at=3, every=4)
    algorithm = counting.watcher([])
    with pytest.raises(
        UsageError, match="^`env` breaching breaks its contract in an evaluation, at step 3 of an episo"
    ):
        make_evaluate(env, algorithm, 12, jax.devices()[:2])(init_state(algorithm, 0))


def test_what_is_summed_up_to_infinity_is_told_as_that() -> None:
    """Each reward is a number of float32, their sum is not."""
    env = counting.env()

    def step(state, actions):
        state, shown = env.step(state, actions)
        return state, dataclasses.replace(shown, reward=jnp.where(shown.reward > 0, 3e38, 0).astype(jnp.float32))

    algorithm = counting.watcher([])
    evaluate = make_evaluate(dataclasses.replace(env, step=step), algorithm, 6, jax.devices()[:1])
    with pytest.raises(UsageError, match="^`env` test/counting: the return of an episode of an evaluation is inf"):
        evaluate(init_state(algorithm, 0))
