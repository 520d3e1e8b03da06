"""Three modes for the dead: what is masked is as if it were not there, and no method is left out silently."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import mortal
import numpy as np
import pytest
from batches import SPEC, in_float64, initial, random_episodes, updated
from jax.sharding import Mesh, PartitionSpec
from reference import float64_fixture
from sizes import small
from tiers import cases

from seca.algos import coma, mappo
from seca.algos.base import Algorithm
from seca.algos.the_dead import with_the_dead
from seca.distributions import dead
from seca.learning import buffer
from seca.learning.acting import acting_over
from seca.learning.agent_critic import seen_in
from seca.learning.counted import agent_steps
from seca.learning.options import Adaptation, Dead
from seca.learning.ppo import ReturnScale
from seca.learning.trained import clipped_rmsprop
from seca.policies import of_taken
from seca.presets import PRESETS, build, compared
from seca.train.iterate import make_iterate
from seca.train.state import init_state
from seca.types import Episodes

_ = float64_fixture
ADDED_UP = {
    "seca": ("actor_policy_loss", "entropy"),
    "lica": ("entropy",),
    "riit-online": ("entropy",),
    "vmix": ("actor_policy_loss", "entropy"),
    "ia2c": ("actor_policy_loss", "entropy", "critic_loss"),
    "iql": ("loss",),
    "scc": ("actor_loss",),
}
"""Measures that are a mean over agents' steps: over some steps and over the others they make the mean over all."""
TEAM = {"seca": "critic_loss", "lica": "actor_policy_loss", "vmix": "critic_loss", "scc": "critic_loss"}
"""And one of the team, which depends on nobody's being counted."""
ALONE_NOT = {"vdn", "qmix", "cw-qmix", "ow-qmix", "qtran", "qplex", "qatten"}
"""Value-based methods whose loss is the team's."""


def made(name: str, mode: Dead = "none", spec: Any = SPEC, **changes: Any) -> Algorithm:
    return build(name, dataclasses.replace(spec, ally_features=1), small(name, **changes), Adaptation(dead=mode))


def living(episodes: Episodes) -> jax.Array:
    return ~dead(episodes.avail[:, :-1], False)


def counting(episodes: Episodes, counted: jax.Array | None) -> Episodes:
    return dataclasses.replace(episodes, counted=counted)


def measured(name: str) -> dict[str | None, dict[str, jax.Array]]:
    """Measures of one update on episodes that say whose steps count: nothing (None), all, the living, or the dead."""
    algorithm = made(name)
    learner = in_float64(initial(algorithm.init, jax.random.key(0)))

    @jax.jit
    def metrics(learner: Any, which: jax.Array | None) -> dict[str, jax.Array]:
        episodes, replay = whole(), None
        show = functools.partial(by_number, which=which)
        if algorithm.buffer is not None:
            replay = buffer.shown_as(buffer.add(in_float64(algorithm.buffer.init()), episodes, None), show)
        return algorithm.update(learner, show(episodes), replay, jax.random.key(1), None)[1]

    numbers = {None: None, "all": jnp.asarray(0), "living": jnp.asarray(1), "dead": jnp.asarray(2)}
    return {which: metrics(learner, number) for which, number in numbers.items()}


def by_number(episodes: Episodes, which: jax.Array | None) -> Episodes:
    """Counted are all (0), the living (1) or the dead (2); None says nothing."""
    alive = living(episodes)
    return episodes if which is None else counting(episodes, (which == 0) | (alive == (which == 1)))


def whole() -> Episodes:
    return random_episodes(garbage=3.0)


def test_who_is_dead() -> None:
    """Who may choose the first action and no other; of continuous actions, who may do nothing."""
    avail = jnp.asarray([[1, 0, 0], [1, 1, 0], [0, 1, 0], [0, 0, 0]], bool)
    assert dead(avail, False).tolist() == [True, False, False, False]
    assert dead(avail, True).tolist() == [False, False, False, True]
    shown = mortal.env().reset(jax.random.split(jax.random.key(0), 3))[1]
    assert not dead(shown.avail, False).any()


def test_none_leaves_an_algorithm_as_it_is() -> None:
    plain = made("ia2c")
    assert with_the_dead(plain, SPEC, "none") is plain
    masked = with_the_dead(plain, SPEC, "mask-loss")
    assert masked.init is plain.init and masked.memory(4) == plain.memory(4)


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(list(ADDED_UP), "ia2c", "iql"))
def test_losses_are_those_without_the_steps_of_the_dead(name: str, float64: None) -> None:
    """A mean over all steps is that over the living's and that over the dead's, each by its share; all counted is as
    nobody said a word; what is the team's stays."""
    found = measured(name)
    for measure in found[None]:
        np.testing.assert_allclose(found["all"][measure], found[None][measure], rtol=1e-9, atol=1e-9)
    share = share_of_living(name if name in ("iql", "scc") else None)
    assert 0.3 < share < 0.95
    for measure in ADDED_UP[name]:
        parts = share * found["living"][measure] + (1 - share) * found["dead"][measure]
        np.testing.assert_allclose(parts, found[None][measure], rtol=1e-6, atol=1e-9)
        assert abs(float(found["living"][measure] - found[None][measure])) > 1e-6
    if name in TEAM:
        np.testing.assert_allclose(found["living"][TEAM[name]], found[None][TEAM[name]], rtol=1e-9)


def share_of_living(drawn_by: str | None) -> float:
    """Among the steps of the new episodes, or of those that an update draws."""
    episodes = whole()
    if drawn_by is not None:
        algorithm, key = made(drawn_by), jax.random.key(1)
        assert algorithm.buffer is not None
        replay = buffer.add(in_float64(algorithm.buffer.init()), episodes, None)
        key = jax.random.split(key)[0] if drawn_by == "scc" else jax.random.split(key, 1)[0]
        episodes = buffer.sample(replay, 8, key, None)
    there = np.asarray(episodes.valid)[..., None] & np.asarray(living(episodes))
    return there.sum() / (3 * np.asarray(episodes.valid).sum())


@pytest.mark.slow
def test_comas_critic_learns_nothing_from_the_dead(float64: None) -> None:
    """Its loss at each time is the mean over the living there, read off before the step at it."""
    episodes = whole()
    algorithm = made("coma")
    learner = in_float64(initial(algorithm.init, jax.random.key(0)))
    targets = jnp.asarray(np.random.default_rng(0).normal(size=(*episodes.valid.shape, 3)))
    stepped = jax.jit(
        lambda: coma.step_through_time(
            learner.critic, seen_in(episodes), targets, episodes.valid, clipped_rmsprop(5e-4, 10.0), None,
            living(episodes),
        )
    )()  # fmt: skip
    errors = np.asarray((of_taken(stepped.q, episodes.actions[:, :-1]) - targets) ** 2)
    there = np.asarray(episodes.valid)[..., None] & np.asarray(living(episodes))
    for t in range(episodes.valid.shape[1]):
        assert float(stepped.losses[t]) == pytest.approx(errors[:, t][there[:, t]].mean(), rel=1e-9)
    np.testing.assert_allclose(stepped.squared, errors[there].sum(), rtol=1e-9)


@pytest.mark.every
@pytest.mark.slow
def test_ippos_values_are_not_asked_of_the_dead(float64: None) -> None:
    """Value loss and running moments are means over the living; with V of the state nothing changes at all."""
    episodes = counting(whole(), living(whole()))
    there = np.asarray(agent_steps(episodes))
    algorithm = made("ippo")
    learner = in_float64(initial(algorithm.init, jax.random.key(0)))
    config: Any = small("ippo")
    scale = ReturnScale(jnp.asarray(0.3), jnp.asarray(2.0), jnp.asarray(0.9))
    acting = acting_over(learner.actor.params, episodes)
    judged = mappo.judge(learner.critic.params, scale, episodes, acting, config, None)
    targets = np.asarray(judged.targets)
    np.testing.assert_allclose(judged.moments[0], targets[there].mean(), rtol=1e-9)
    np.testing.assert_allclose(judged.moments[1], (targets[there] ** 2).mean(), rtol=1e-9)
    before = mappo.Learner(learner.actor, learner.critic, scale)
    after, (_, terms) = mappo.epoch(judged, config, None, before)
    mean, deviation = after.scale.moments()
    old_mean, old_deviation = scale.moments()
    values = (np.asarray(judged.own) - float(old_mean)) / float(old_deviation)
    away = np.abs((targets - float(mean)) / float(deviation) - values)
    errors = np.where(away <= config.huber_delta, away**2 / 2, config.huber_delta * (away - config.huber_delta / 2))
    np.testing.assert_allclose(terms.value, errors[there].mean(), rtol=1e-9)
    by_state = [
        jax.jit(functools.partial(made("mappo").update, axis=None))(
            in_float64(initial(made("mappo").init, jax.random.key(0))), counting(whole(), counted), None,
            jax.random.key(0),
        )[1]["critic_loss"]
        for counted in (None, living(whole()))
    ]  # fmt: skip
    np.testing.assert_allclose(*by_state, rtol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(["ia2c", "seca", "coma", "ippo"], "ia2c"))
def test_two_devices_count_the_living_of_both(name: str, float64: None) -> None:
    algorithm = made(name, "mask-loss")
    split, everywhere = PartitionSpec("runners"), PartitionSpec()
    shared = jax.jit(
        jax.shard_map(
            functools.partial(updated, algorithm, axis="runners"),
            mesh=Mesh(jax.devices()[:2], ("runners",)),
            in_specs=(everywhere, split, everywhere),
            out_specs=everywhere,
            check_vma=False,
        )
    )
    learner = in_float64(initial(algorithm.init, jax.random.key(0)))
    told = learner, whole(), jax.random.key(1)
    alone = jax.jit(functools.partial(updated, algorithm))(*told)
    for one, two in zip(jax.tree.leaves(shared(*told)), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(one, two, rtol=1e-9, atol=1e-9)


@pytest.mark.slow
@pytest.mark.parametrize("name", cases(["ia2c", "qmix", "seca", "mappo", "coma-mpe"], "ia2c"))
def test_what_the_dead_see_is_masked(name: str) -> None:
    """Whatever their observations are, the update is that of zeros; without the mask it is not. Acting likewise."""
    episodes = random_episodes()
    gone = dead(episodes.avail, False)[..., None]
    seen = [dataclasses.replace(episodes, obs=jnp.where(gone, x, episodes.obs)) for x in (0.0, 5.0)]
    spread = {}
    for mode in ("none", "mask-obs"):
        algorithm = made(name, mode)
        learner = initial(algorithm.init, jax.random.key(0))
        update = jax.jit(functools.partial(updated, algorithm))
        found = [jax.tree.leaves(update(learner, x, jax.random.key(1))[0]) for x in seen]
        spread[mode] = max(float(jnp.abs(one - two).max()) for one, two in zip(*found, strict=True) if one.size)
    assert spread["mask-obs"] == 0 < spread["none"]
    env = mortal.env(blind=False)
    state, shown = env.reset(jax.random.split(jax.random.key(0), 3))
    for _ in range(3):
        state, shown = env.step(state, jnp.ones((3, 3), jnp.int32))
    assert dead(shown.avail, False).any()
    algorithm, plain = made(name, "mask-obs", mortal.SPEC), made(name, "none", mortal.SPEC)
    params = algorithm.policy(initial(algorithm.init, jax.random.key(0)))
    blind = dataclasses.replace(shown, obs=jnp.where(dead(shown.avail, False)[..., None], 0, shown.obs))
    keys = jax.random.split(jax.random.key(0), 3)
    now = jnp.uint32(0)
    found = algorithm.act(params, algorithm.initial_carry(3), shown, keys, now, False)
    expected = plain.act(params, plain.initial_carry(3), blind, keys, now, False)
    for one, two in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_array_equal(one, two)


@pytest.mark.slow
@pytest.mark.parametrize("name", cases([n for n in PRESETS if compared(n)] + ["coma-mpe", "sqddpg"], "vdac"))
@pytest.mark.parametrize("mode", ["mask-obs", "mask-loss"])
def test_methods_train_on_a_game_with_deaths(name: str, mode: Dead) -> None:
    if mode == "mask-loss" and (name in ALONE_NOT or name in ("coma-mpe", "sqddpg")):
        return
    algorithm = made(name, mode, mortal.SPEC)
    state = init_state(algorithm, 0)
    for _ in range(2):
        state, metrics = make_iterate(mortal.env(), algorithm, 8, jax.devices()[:1])(state)
        assert all(np.isfinite(np.asarray(x)).all() for x in metrics.values())


@pytest.mark.parametrize("name", PRESETS)
def test_each_preset_takes_each_mode_or_refuses_in_a_line(name: str) -> None:
    refused = name.removesuffix("-reference") in ALONE_NOT or "mpe" in name or name.startswith("sqddpg")
    spec = dataclasses.replace(SPEC, ally_features=1)
    for mode in ("none", "mask-obs", "mask-loss"):
        if mode == "mask-loss" and refused:
            with pytest.raises(ValueError, match=f"`dead` is mask-loss but {name}[^\n]* choose none or mask-obs"):
                build(name, spec, PRESETS[name].config, Adaptation(dead=mode))
        else:
            assert build(name, spec, PRESETS[name].config, Adaptation(dead=mode)).name == name
