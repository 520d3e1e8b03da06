"""Whose networks agents act by, in every method: all one, one for each type, or each its own."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import mortal
import numpy as np
import pytest
from batches import SPEC, random_episodes, updated
from sizes import small
from tiers import cases

from seca.algos.base import Algorithm
from seca.learning.options import Adaptation, Share
from seca.nets.several import Several
from seca.presets import PRESETS, build, compared, networks
from seca.train.iterate import make_iterate
from seca.train.state import init_state

TYPED = dataclasses.replace(mortal.SPEC, agent_types=(0, 1, 0))
NAMES = [name for name in PRESETS if compared(name)]
TOYS = ["coma-mpe", "coma-mpe-navigation", "sqddpg", "iac-mpe"]


def made(name: str, share: Share, spec: Any = TYPED, **changes: Any) -> Algorithm:
    return build(name, spec, small(name, **changes), Adaptation(share=share))


def test_who_shares() -> None:
    assert (
        networks(TYPED, "all") == () and networks(TYPED, "none") == (0, 1, 2) and networks(TYPED, "type") == (0, 1, 0)
    )
    assert networks(mortal.SPEC, "type") == ()


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(NAMES, "coma", "qtran"))
@pytest.mark.parametrize("share", ["type", "none"])
def test_every_method_trains(name: str, share: Share) -> None:
    """Two iterations on a game with deaths; every network moves, and those of a type stay one."""
    algorithm = made(name, share)
    iterate = make_iterate(mortal.env(), algorithm, 8, jax.devices()[:1])
    state = before = init_state(algorithm, 0)
    for _ in range(2):
        state, metrics = iterate(state)
        assert all(np.isfinite(np.asarray(x)).all() for x in metrics.values())
    one, two = (algorithm.policy(x.learner) for x in (before, state))
    assert isinstance(one, Several) and isinstance(two, Several) and two.whose == networks(TYPED, share)
    moved = [np.abs(np.asarray(b - a)).reshape(a.shape[0], -1).max(axis=1) for a, b in
             zip(jax.tree.leaves(one), jax.tree.leaves(two), strict=True)]  # fmt: skip
    assert len(moved[0]) == max(two.whose) + 1 and np.max(moved, axis=0).min() > 0
    assert algorithm.memory(8) > made(name, "all").memory(8)


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(["seca", "ia2c", "mappo", "qmix", "lica", "vmix", "scc"], "ia2c"))
def test_equal_networks_make_the_update_of_the_shared_one(name: str) -> None:
    """The gradients of equal networks add up to that of the shared one, and all measures of the team agree."""
    shared, apart = made(name, "all", SPEC, clip_norm=1e9), made(name, "none", SPEC, clip_norm=1e9)
    learner = shared.init(jax.random.key(0))
    like = apart.init(jax.random.key(0))
    spread = iter(jax.tree.leaves(learner))

    def copied(wanted: jax.Array) -> jax.Array:
        have = next(spread)
        return have if have.shape == wanted.shape else jnp.broadcast_to(have, wanted.shape)

    same = jax.tree.map(copied, like)
    episodes = random_episodes()
    found = [
        jax.jit(lambda learner, algorithm=algorithm: updated(algorithm, learner, episodes, jax.random.key(1))[1])(start)
        for algorithm, start in ((shared, learner), (apart, same))
    ]
    norms = {measure for measure in found[0] if "gradient_norm" in measure or measure == "gradient_steps"}
    for measure in found[0].keys() - norms:
        np.testing.assert_allclose(found[1][measure], found[0][measure], rtol=1e-3, atol=1e-5)


@pytest.mark.parametrize("name", TOYS)
def test_methods_of_the_toys_have_one_for_all_or_for_each(name: str) -> None:
    """By their own option, which `none` sets and `all` leaves alone."""
    with pytest.raises(ValueError, match=f"`share` is type but {name} has one network for all or for each"):
        made(name, "type")
    for share, own in (("all", PRESETS[name].config.shared), ("none", False)):  # pyrefly: ignore
        weights = jax.tree.leaves(made(name, share).init(jax.random.key(0)).actors.params)[0]  # pyrefly: ignore
        assert bool(jnp.all(weights[0] == weights[1])) == own
