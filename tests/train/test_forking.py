"""Credits that are tried out: against enumeration, closed by any value, in part, on any number of devices."""

import dataclasses
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import forking
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from refusals import assert_refused
from sizes import small
from tiers import cases

from seca.algos.base import Algorithm, Forking
from seca.envs.registry import make
from seca.learning.forks import ForkOptions
from seca.presets import build
from seca.sizes import CPU, using
from seca.train.forking import credits_of_batch, credits_of_steps
from seca.train.iterate import make_iterate
from seca.train.rollout import collect
from seca.train.standing import standing_at
from seca.train.state import init_state
from seca.truth.audit import audit
from seca.truth.rounds import CRITIC, OWN, Plan
from seca.types import Episodes

ORDER = (2, 0, 1)
GUESS = np.array([0.7, -0.4, 1.1, 5.0], np.float32)
"""What somebody expects from each place; of the last, which ends the game, it must not count."""
NOW = jnp.zeros((), jnp.uint32)


def trying(forks: int, steps: int, lanes: int = 64, every: int = 1) -> tuple[Algorithm, Forking]:
    """The game's policy, its actions tried out."""
    fork = Forking(
        options=ForkOptions(fork_every=every, fork_lanes=lanes, forks=forks, fork_steps=steps),
        gamma=forking.GAMMA,
        probs=lambda episodes: episodes.record.probs,
        order=lambda learner, episodes, key, axis: jnp.broadcast_to(
            jnp.asarray(ORDER, jnp.int32), episodes.actions[:, :-1].shape
        ),
        value=lambda learner, time_step, record: jnp.asarray(GUESS)[time_step.state.argmax(axis=-1)],
        update=lambda learner, episodes, tried, key, axis: (learner, {}),
    )
    return dataclasses.replace(forking.algorithm(), forking=fork), fork


def played(algorithm: Algorithm, keys: jax.Array) -> Episodes:
    """Episodes of the game."""
    return jax.jit(lambda keys: collect(forking.env(), algorithm, jnp.zeros(1), keys, NOW)[0])(keys)


def compiled(algorithm: Algorithm, fork: Forking) -> Callable[..., tuple[jax.Array, jax.Array]]:
    """`credits_of_batch` of episodes, their keys and a key."""

    def tried(episodes: Episodes, keys: jax.Array, key: jax.Array) -> tuple[jax.Array, jax.Array]:
        return credits_of_batch(forking.env(), algorithm, fork, jnp.zeros(1), episodes, keys, NOW, key, None)

    return jax.jit(tried)


def closed(t: int, place: int, joint: tuple[int, ...]) -> float:
    """Expected return of one step, closed by the guess."""
    found = float(forking.REWARD[(place, *joint)])
    move = int(forking.MOVE[(place, *joint)])
    for share, where in ((1 - forking.CHANCE, move), (forking.CHANCE, move + 1)):
        where = min(where, forking.LAST)
        if where != forking.LAST and t + 1 < forking.LIMIT:
            found += share * forking.GAMMA * float(GUESS[where])
    return found


def expected(t: int, place: int, last: Any, taken: tuple[int, ...], steps: int) -> np.ndarray:
    """Eq. 5 by enumeration."""
    if steps >= forking.LIMIT:
        return np.asarray(forking.worth(t, place, last, taken, ORDER)["sequential"])
    pi, found, held = forking.probabilities(place, last), np.zeros(3), set()
    means: list[float] = []
    for agent in (None, *ORDER):
        held |= set() if agent is None else {agent}
        weight = lambda i, a: float(a == taken[i]) if i in held else float(pi[i, a])  # noqa: B023, E731
        means.append(
            sum(
                float(np.prod([weight(i, a) for i, a in enumerate(j)])) * closed(t, place, j)
                for j in np.ndindex(2, 2, 2)
            )
        )
    found[list(ORDER)] = np.diff(np.asarray(means))
    return found


@pytest.mark.parametrize("steps", cases([1, 3, 5], 3, slow=True))
def test_credits_are_eq_5(steps: int) -> None:
    """Within four standard errors of enumeration: to the end, beyond it, and closed by a guess after one step."""
    forks, batch = 512, 5
    algorithm, fork = trying(forks, steps, lanes=forks * 4 * forking.LIMIT)
    keys = jax.random.split(jax.random.key(3), batch)
    episodes, tried, found = played(algorithm, keys), compiled(algorithm, fork), []
    for seed in range(4):
        credit, known = tried(episodes, keys, jax.random.key(seed))
        np.testing.assert_array_equal(known, episodes.valid)
        assert (np.asarray(credit)[~np.asarray(known)] == 0).all()
        found.append(np.asarray(credit))
    mean, error = np.mean(found, axis=0), np.std(found, axis=0, ddof=1) / 2
    places, actions = np.asarray(episodes.state.argmax(-1)), np.asarray(episodes.actions)
    checked = 0
    for b, t in np.argwhere(np.asarray(episodes.valid)):
        last = None if t == 0 else tuple(actions[b, t - 1].tolist())
        truth = expected(int(t), int(places[b, t]), last, tuple(actions[b, t].tolist()), steps)
        # The error is itself found from four: no less than what 2,048 forks of unit spread leave.
        np.testing.assert_array_less(np.abs(mean[b, t] - truth), 4 * np.maximum(error[b, t], 2048**-0.5))
        checked += 1
    assert checked > 5
    assert np.abs(mean).max() > 0.3


@pytest.mark.parametrize(
    ("every", "forked"),
    cases([(1, [0, 1, 2, 3, 4, 5]), (2, [0, 2, 4]), (4, [0, 2, 4]), (7, range(6))], 2, 7, slow=True),
)
def test_some_episodes_are_forked(every: int, forked: list[int]) -> None:
    """One in so many, or in the largest divisor; and what is found of them does not depend on the others."""
    keys, found = jax.random.split(jax.random.key(4), 6), []
    for number in (1, every):
        algorithm, fork = trying(8, 3, lanes=8 * 4 * forking.LIMIT, every=number)
        tried = compiled(algorithm, fork)(played(algorithm, keys), keys, jax.random.key(1))
        found.append([np.asarray(x) for x in tried])
    (every_credit, everywhere), (credit, known) = found
    assert np.flatnonzero(known.any(axis=1)).tolist() == list(forked)
    np.testing.assert_array_equal(known[forked], everywhere[forked])
    np.testing.assert_allclose(credit[known], every_credit[known], atol=1e-6)


@pytest.mark.parametrize("abreast", cases([1, 7, 24, 64], 7, 24, 64, slow=True))
def test_lanes_can_be_played_in_parts(abreast: int) -> None:
    """Of 2 x 24 lanes, side by side: one, a number that does not divide them, half of them, more than there are."""
    algorithm, fork = trying(2, 2, lanes=24)
    keys = jax.random.split(jax.random.key(4), 2)
    told = played(algorithm, keys), keys, jax.random.key(1)
    whole = compiled(algorithm, fork)(*told)
    assert (np.asarray(whole[0]) != 0).any()
    with using(dataclasses.replace(CPU, lanes=abreast)):
        found = compiled(algorithm, fork)(*told)
    for one, other in zip(found, whole, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.every
def test_audits_of_any_length_say_the_same_of_their_first_steps() -> None:
    """Below, at and above the 64 steps of a round."""
    run = forking.run()
    run.algorithm, _ = trying(forks=3, steps=2)
    found = {steps: audit(run, Plan(steps=steps, forks=2)).credits[OWN] for steps in (5, 64, 70)}
    for steps, credit in found.items():
        assert credit.shape == (steps, forking.N_AGENTS) and (credit != 0).any()
    np.testing.assert_allclose(found[70][:64], found[64], atol=1e-6)
    assert (found[70][64:] != found[70][:6]).any()


@pytest.mark.slow
def test_steps_that_come_out_otherwise_are_left_alone() -> None:
    """Where an episode played again is not the one that was played, nothing is known of it."""
    algorithm, fork = trying(2, 3, lanes=200)
    keys = jax.random.split(jax.random.key(4), 3)
    episodes = played(algorithm, keys)
    other = dataclasses.replace(episodes, obs=episodes.obs.at[1, :, 0].add(0.5))
    _, known = compiled(algorithm, fork)(other, keys, jax.random.key(1))
    assert not known[1].any()
    np.testing.assert_array_equal(known[::2], episodes.valid[::2])


@pytest.mark.every
def test_steps_that_are_asked_for_are_all_tried() -> None:
    """Those of an audit: the same credits, whatever else is asked; and an audit finds them right."""
    run = forking.run()
    run.algorithm, fork = trying(forks=400, steps=3)
    found = audit(run, Plan(steps=24, forks=400))
    truth, own = found.sums.mean()[:, 0], found.credits[OWN]
    assert set(found.credits) >= {OWN, CRITIC}
    assert np.corrcoef(truth.ravel(), own.ravel())[0, 1] > 0.97
    assert (np.abs(found.credits[CRITIC]) == 0.5).all()
    env, keys = forking.env(), jax.random.split(jax.random.key(0), 2)
    steps = standing_at(env, run.algorithm, jnp.zeros(1), keys, NOW, jnp.array([0, 1]), jnp.array([0, 0]))
    seeds, actions = jax.random.split(jax.random.key(5), 2), jnp.array([[0, 1, 0], [1, 1, 0]])
    probs = jnp.asarray(np.stack([forking.probabilities(0, None)] * 2), jnp.float32)
    orders = jnp.asarray([ORDER, ORDER], jnp.int32)

    def credits(some: slice) -> np.ndarray:
        begun = jax.tree.map(lambda x: x[some], steps)
        told = probs[some], actions[some], orders[some], seeds[some]
        return np.asarray(credits_of_steps(env, run.algorithm, fork, jnp.zeros(1), begun, *told, NOW))

    np.testing.assert_allclose(credits(slice(2)), np.concatenate([credits(slice(1)), credits(slice(1, 2))]), rtol=1e-6)


@pytest.mark.every
@pytest.mark.parametrize("name", ["matrix/additive", "smac/3m"])
def test_any_number_of_devices_learns_the_same(name: str) -> None:
    """Forks belong to their episode, whoever plays it."""
    env = make(name, {})
    algorithm = build("seca-fork", env.spec, small("seca-fork"))
    states, shares = [], []
    for devices in (1, 2):
        state, metrics = make_iterate(env, algorithm, 4, jax.devices()[:devices])(init_state(algorithm, 0))
        states.append(state.learner)
        shares.append(float(metrics["fork_share"]))
    assert 0 < shares[0] <= 1 and shares[0] == pytest.approx(shares[1])
    for one, other in zip(jax.tree.leaves(states[0]), jax.tree.leaves(states[1]), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


IMPURE = """
import dataclasses
import jax
from seca.envs.registry import make as named
def make():
    env = named("matrix/additive", {})
    def step(state, actions):
        jax.experimental.io_callback(lambda: None, None)
        return env.step(state, actions)
    return dataclasses.replace(env, step=step)
"""


def test_the_command_refuses_what_cannot_be_forked(
    desk: pathlib.Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (desk / "impure.py").write_text(IMPURE)
    monkeypatch.syspath_prepend(desk)
    (desk / "__pycache__").mkdir()
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    arguments = ["train", "seca-fork", "--env", "python:impure.make", "--out", "run"]
    assert_refused(arguments, ["`env` is matrix/additive", "no pure function", "cannot be forked"], desk, capsys)


def test_an_environment_with_effects_is_refused() -> None:
    """In one line, before anything is compiled."""
    env = forking.env()

    def step(state: Any, actions: Any) -> Any:
        jax.experimental.io_callback(lambda: None, None)
        return env.step(state, actions)

    with pytest.raises(ValueError, match=r"`env` is test/game, which is no pure function \(IO") as caught:
        make_iterate(dataclasses.replace(env, step=step), trying(2, 1)[0], 4, jax.devices()[:1])
    assert "\n" not in str(caught.value)
