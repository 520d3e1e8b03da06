"""Running moments against NumPy over everything at once, and against a twin that follows Welford step by step."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import SPEC, random_episodes
from jax.sharding import Mesh, PartitionSpec

from seca.learning.running import LIMIT, Moments, Running, discounted
from seca.types import Episodes

ALL = ("obs", "state", "reward")
LENGTHS = ((7, 3, 1), (2, 7, 6), (1, 1, 1), (5, 4, 7))
"""Of each of some batches."""
GAMMA = 0.9


def batches() -> list[Episodes]:
    """Made-up ones, with garbage in their padding; in each agent 1 is dead from the middle on."""
    return [random_episodes(seed, 50.0, lengths) for seed, lengths in enumerate(LENGTHS)]


def counted(parts: tuple[str, ...] = ALL) -> Running:
    return functools.reduce(lambda sofar, new: sofar.merged(new, GAMMA, None), batches(), Running.nothing(SPEC, parts))


class Welford:
    """One number after another. Welford 1962."""

    def __init__(self) -> None:
        self.count, self.mean, self.squares = 0, 0.0, 0.0

    def add(self, value: float) -> None:
        self.count += 1
        before = value - self.mean
        self.mean += before / self.count
        self.squares += before * (value - self.mean)


def test_moments_are_those_of_single_steps() -> None:
    """Of the first feature of each agent and of the state, and of discounted sums, one valid step after another."""
    twins = {name: Welford() for name in ("agent 0", "agent 1", "agent 2", "state", "reward")}
    for episodes in batches():
        for b in range(episodes.valid.shape[0]):
            total = 0.0
            for t in range(int(episodes.valid[b].sum())):
                total = GAMMA * total + float(episodes.reward[b, t])
                twins["reward"].add(total)
                twins["state"].add(float(episodes.state[b, t, 0]))
                for agent in range(SPEC.n_agents):
                    twins[f"agent {agent}"].add(float(episodes.obs[b, t, agent, 0]))
    found = counted()
    assert found.obs is not None and found.state is not None and found.reward is not None
    of_agents = {
        f"agent {i}": (found.obs.count[i, 0], found.obs.mean[i, 0], found.obs.squares[i, 0])
        for i in range(SPEC.n_agents)
    }
    state, reward = found.state, found.reward
    rest = {
        "state": (state.count[0], state.mean[0], state.squares[0]),
        "reward": (reward.count, reward.mean, reward.squares),
    }
    for name, (count, mean, squares) in (of_agents | rest).items():
        twin = twins[name]
        assert float(count) == twin.count == sum(map(sum, LENGTHS))
        np.testing.assert_allclose((mean, squares), (twin.mean, twin.squares), rtol=1e-5, atol=1e-6)


def test_what_is_shown() -> None:
    """(x - mean) / deviation of all valid steps so far, cut off at ten; actions as they are."""
    found, every = counted(), batches()
    valid = np.concatenate([np.asarray(x.valid) for x in every])
    obs = np.concatenate([np.asarray(x.obs) for x in every])[:, :-1]
    rows = obs[valid].astype(np.float64)
    last = every[-1]
    shown = found.episodes(last)
    real = np.asarray(last.valid)
    expected = (np.asarray(last.obs)[:, :-1][real] - rows.mean(axis=0)) / rows.std(axis=0)
    np.testing.assert_allclose(np.asarray(shown.obs)[:, :-1][real], np.clip(expected, -10, 10), rtol=1e-4, atol=1e-5)
    states = np.concatenate([np.asarray(x.state) for x in every])[:, :-1][valid].astype(np.float64)
    expected = (np.asarray(last.state)[:, :-1][real] - states.mean(axis=0)) / states.std(axis=0)
    np.testing.assert_allclose(np.asarray(shown.state)[:, :-1][real], expected, rtol=1e-4, atol=1e-5)
    sums = np.concatenate([np.asarray(discounted(x.reward, GAMMA)) for x in every])[valid]
    np.testing.assert_allclose(
        np.asarray(shown.reward)[real], np.asarray(last.reward)[real] / sums.std(), rtol=1e-4, atol=1e-5
    )
    np.testing.assert_array_equal(shown.actions, last.actions)
    assert float(jnp.abs(shown.obs).max()) == LIMIT  # The garbage.


def test_parts_that_are_not_named_are_left() -> None:
    last = batches()[-1]
    for part in ALL:
        shown = counted((part,)).episodes(last)
        changed = {name for name in ALL if not np.array_equal(getattr(shown, name), getattr(last, name))}
        assert changed == {part}


def test_discounted_sums() -> None:
    reward = np.random.default_rng(0).normal(size=(3, 5)).astype(np.float32)
    found = discounted(jnp.asarray(reward), GAMMA)
    for t in range(5):
        expected = sum(GAMMA ** (t - k) * reward[:, k] for k in range(t + 1))
        np.testing.assert_allclose(found[:, t], expected, rtol=1e-5)


@pytest.mark.parametrize(("level", "spread"), [(0.0, 0.0), (7.0, 0.0), (1e6, 0.0), (3e4, 20.0), (0.1, 1e-3)])
def test_features_that_do_not_vary(level: float, spread: float) -> None:
    """They become 0 and nothing blows up; what varies little beside its size is still told apart."""
    rng = np.random.default_rng(1)
    moments = Moments.nothing((1,), (1,))
    for _ in range(5):
        values = (level + spread * rng.normal(size=(3, 5, 1))).astype(np.float32)
        moments = moments.merged(jnp.asarray(values), jnp.ones((3, 5, 1), bool), None)
    shown = np.asarray(moments.shown(jnp.asarray(values)))
    if spread == 0:
        np.testing.assert_allclose(shown, 0, atol=0.2)
        np.testing.assert_array_equal(moments.deviation, 1)
        assert float(moments.shown(jnp.asarray([level + 1e9], jnp.float32))[0]) == LIMIT
    else:
        np.testing.assert_allclose(moments.deviation, spread, rtol=0.3)


def test_nothing_counted_changes_nothing() -> None:
    """But what is over ten, and a batch without a valid step moves no moments."""
    [episodes, *_] = batches()
    before = Running.nothing(SPEC, ALL)
    np.testing.assert_allclose(before.episodes(episodes).obs, jnp.clip(episodes.obs, -LIMIT, LIMIT))
    none = random_episodes(0, 50.0, (0, 0, 0))
    after = counted()
    for one, two in zip(jax.tree.leaves(after.merged(none, GAMMA, None)), jax.tree.leaves(after), strict=True):
        np.testing.assert_array_equal(one, two)


def test_the_dead_who_see_nothing_are_not_counted_and_see_zeros() -> None:
    """Only those whose observation is of zeros, too: a zero of the living is a number like another."""
    found, twin = Running.nothing(SPEC, ("obs",)), []
    for episodes in batches():
        dead = np.asarray(episodes.avail)[..., 0]  # Of `random_episodes` nobody else may choose action 0.
        obs = np.where(dead[..., None], 0, np.asarray(episodes.obs))
        obs[:, 0, 0] = 0
        blind = Episodes(**{**vars(episodes), "obs": jnp.asarray(obs)})
        found = found.merged(blind, GAMMA, None)
        there = np.asarray(episodes.valid) & ~dead[:, :-1, 1]
        twin.append(obs[:, :-1, 1][there])
    assert found.obs is not None
    rows = np.concatenate(twin).astype(np.float64)
    assert float(found.obs.count[1, 0]) == len(rows) < float(found.obs.count[0, 0])
    np.testing.assert_allclose(found.obs.mean[1], rows.mean(axis=0), rtol=1e-4, atol=1e-5)
    shown = np.asarray(found.episodes(blind).obs)
    assert (shown[dead] == 0).all()
    assert (shown[:, 0, 0] != 0).all()


def test_two_devices_count_as_one() -> None:
    split, everywhere = PartitionSpec("runners"), PartitionSpec()
    episodes = random_episodes(0, 50.0, (7, 3, 1, 5))
    before = counted()
    shared = jax.jit(
        jax.shard_map(
            lambda sofar, new: sofar.merged(new, GAMMA, "runners"),
            mesh=Mesh(jax.devices()[:2], ("runners",)),
            in_specs=(everywhere, split),
            out_specs=everywhere,
            check_vma=False,
        )
    )
    alone = before.merged(episodes, GAMMA, None)
    for one, two in zip(jax.tree.leaves(shared(before, episodes)), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-5, atol=1e-6)
