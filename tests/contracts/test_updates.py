"""One contract over the updates of all methods: padding, devices, resuming, what is refused."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from batches import BOXED, LENGTHS, SPEC, in_float64, initial, random_episodes
from batches import updated as update_of
from jax.sharding import Mesh, PartitionSpec
from reference import assert_trees_close, float64_fixture
from sizes import small
from tiers import cases

from seca.algos.base import Algorithm
from seca.presets import PRESETS, build
from seca.sizes import ACCELERATOR, CPU, Sizes, using
from seca.types import EnvSpec

pytestmark = pytest.mark.slow

_ = float64_fixture
METHODS = [name for name, preset in PRESETS.items() if preset.group != "value-based" and name in (
    "seca", "coma", "lica", "vmix", "vdac", "ia2c", "mappo", "ippo", "riit", "riit-online", "scc",
)]  # fmt: skip
"""One of each family; value-based methods have tests of their own."""
CONTINUOUS = [f"{name} in a box" for name in ("seca", "lica", "ia2c", "mappo", "ippo", "sqddpg")]
"""Those that serve continuous actions, on them."""


@functools.lru_cache
def algorithm(name: str) -> Algorithm:
    return build(name.split()[0], spec_of(name), small(name.split()[0], **options_of(name)))


def spec_of(name: str) -> EnvSpec:
    return BOXED if name in CONTINUOUS else SPEC


def options_of(name: str) -> dict[str, Any]:
    return {"interval": 5, "kept": 9, "batch": 7} if name.startswith("sqddpg") else {"clip_norm": 0.01}


@functools.lru_cache
def compiled(name: str):
    return jax.jit(functools.partial(update_of, algorithm(name)))


def updated(name: str, garbage: float = 0.0):
    """State and metrics after one update from seed 0."""
    learner = in_float64(initial(algorithm(name).init, jax.random.key(0)))
    return compiled(name)(learner, random_episodes(garbage=garbage, spec=spec_of(name)), jax.random.key(1))


@pytest.mark.parametrize("name", cases([*METHODS, *CONTINUOUS], "scc", "seca in a box"))
def test_padding_changes_nothing(name: str, float64: None) -> None:
    found, expected = (updated(name, garbage) for garbage in (3.0, 0.0))
    assert_trees_close(found, expected, 1e-12)


@pytest.mark.parametrize("name", cases([*METHODS, *CONTINUOUS, "iql"], "seca", "iql"))
def test_an_episode_that_was_lost_counts_for_nothing(name: str, float64: None) -> None:
    """Of which no step is valid, since its environment failed: as if it had not been begun, replayed or not."""
    lengths, learner = (*LENGTHS, 6), in_float64(initial(algorithm(name).init, jax.random.key(0)))
    batch = random_episodes(lengths=lengths, spec=spec_of(name))
    some = dataclasses.replace(batch, valid=batch.valid.at[-1].set(False))
    without = jax.tree.map(lambda x: x[:-1], batch)
    key, lost = jax.random.key(1), jnp.arange(len(lengths)) == len(lengths) - 1
    found = compiled(name)(learner, some, key, lost=lost)
    expected = compiled(name)(learner, without, key)
    assert_trees_close(found, expected, 1e-9)
    steps = expected[1].get("gradient_steps", 1)
    assert np.asarray(steps).sum() > 0  # Drawn episodes were learned from.


@pytest.mark.parametrize("name", cases([*METHODS, *CONTINUOUS], "seca", "seca in a box"))
def test_two_devices_give_the_same_update(name: str, float64: None) -> None:
    """Losses, entropies and clipping norms are global."""
    split, everywhere = PartitionSpec("runners"), PartitionSpec()
    shared = jax.jit(
        jax.shard_map(
            functools.partial(update_of, algorithm(name), axis="runners"),
            mesh=Mesh(jax.devices()[:2], ("runners",)),
            in_specs=(everywhere, split, everywhere),
            out_specs=everywhere,
            check_vma=False,
        )
    )
    learner = in_float64(initial(algorithm(name).init, jax.random.key(0)))
    episodes = random_episodes(spec=spec_of(name))
    assert_trees_close(shared(learner, episodes, jax.random.key(1)), updated(name), 1e-9)


ODD = Sizes(**{name: 3 for name in ("time_block", "episodes", "stretches")} | {
    "critic_rows": 5, "mixer_rows": 5, "q_rows": 5, "coalition_rows": 5, "weight_bytes": 1, "input_bytes": 1,
    "lanes": 5, "audit_lanes": 5, "audit_forks": 5, "unrolled": 3, "unrolled_whole": 2,
})  # fmt: skip
"""Small, and no divisors of a batch, of its rows or of an episode."""


@pytest.mark.parametrize("name", cases([*METHODS, *CONTINUOUS, "qmix", "qtran"], "scc", "seca in a box"))
def test_how_much_is_visited_at_once_changes_nothing(name: str, float64: None) -> None:
    """An accelerator's sizes, with which each loop has one visit here, and odd ones."""
    learner = in_float64(initial(algorithm(name).init, jax.random.key(0)))
    found = []
    for chosen in (ACCELERATOR, CPU, ODD):
        with using(chosen):
            update = jax.jit(functools.partial(update_of, algorithm.__wrapped__(name)))
            found.append(update(learner, random_episodes(spec=spec_of(name)), jax.random.key(1)))
    assert_trees_close(found[0], found[1], 1e-9)
    assert_trees_close(found[2], found[1], 1e-9)


@pytest.mark.parametrize("name", cases(METHODS))
def test_a_time_limit_can_count_as_an_end(name: str, float64: None) -> None:
    """With `terminal` a truncated episode is one that terminated; without, it bootstraps, and the update differs."""
    episodes = random_episodes()
    ended = dataclasses.replace(
        episodes, terminated=episodes.terminated | episodes.truncated, truncated=jnp.zeros_like(episodes.truncated)
    )
    terminal = build(name, SPEC, small(name, clip_norm=0.01, time_limit="terminal"))
    learner = in_float64(initial(algorithm(name).init, jax.random.key(0)))
    by_option = jax.jit(functools.partial(update_of, terminal))(learner, episodes, jax.random.key(1))
    by_flags = compiled(name)(learner, ended, jax.random.key(1))
    assert_trees_close(by_option, by_flags, 1e-12)
    apart = [
        float(jnp.abs(one - other).max())
        for one, other in zip(*(jax.tree.leaves(x[1]) for x in (by_option, updated(name))), strict=True)
    ]
    assert max(apart) > 1e-6


@pytest.mark.parametrize("name", cases(METHODS, "seca", "mappo", "riit", "scc"))
def test_learners_hold_arrays_only(name: str, float64: None) -> None:
    """So that a checkpoint keeps all of them; and an update leaves them as many, of the same shapes and types."""
    learner = in_float64(algorithm(name).init(jax.random.key(0)))
    assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(learner))
    update = functools.partial(update_of, algorithm(name))
    after = jax.eval_shape(update, learner, random_episodes(), jax.random.key(1))[0]
    before = jax.eval_shape(lambda: learner)
    assert jax.tree.structure(after) == jax.tree.structure(before)
    assert [(x.shape, x.dtype) for x in jax.tree.leaves(after)] == [(x.shape, x.dtype) for x in jax.tree.leaves(before)]


@pytest.mark.parametrize("name", METHODS)
def test_memory_estimates_grow_with_runners_and_teams(name: str) -> None:
    large = EnvSpec("large", "1", n_agents=10, n_actions=18, obs_size=176, state_size=322, episode_limit=180)
    few, many = algorithm(name).memory(8), algorithm(name).memory(64)
    assert 0 < few < many < build(name, large, PRESETS[name].config).memory(64) < 2**36


@pytest.mark.parametrize("name", METHODS)
@pytest.mark.parametrize(("field", "value"), [("gamma", 1.5), ("clip_norm", 0.0), ("actor_hidden", 0)])
def test_bad_numbers_are_refused_in_words(name: str, field: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"`{field}` is {value}; it must"):
        build(name, SPEC, dataclasses.replace(small(name), **{field: value}))
