"""The particle toys: single steps of the code of SQDDPG, whole episodes of mpe2, and the contract."""

import dataclasses
import importlib
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from seca.envs import check, mpe, registry
from seca.envs.base import unit_box
from seca.envs.mpe import NAVIGATION, PREDATOR_PREY, PROFILES, SCENES, Scene, World

GOLDEN = "mpe_sqddpg.npz"
SQDDPG = PROFILES["sqddpg"]


def world_of(position: Any, velocity: Any, marks: Any) -> World:
    count, no = jnp.zeros(len(position), jnp.int32), jnp.zeros(len(position), bool)
    keys = jax.random.split(jax.random.key(0), len(position))
    places = (jnp.asarray(values) for values in (position, velocity, marks))
    return World(*places, luck=keys, steps=count, caught_at=count, terminated=no, truncated=no)


@pytest.mark.parametrize(("name", "scene"), [("spread", NAVIGATION), ("tag", PREDATOR_PREY)])
def test_single_steps_of_the_code_of_sqddpg(name: str, scene: Scene, golden_dir: pathlib.Path) -> None:
    """Positions, velocities, observations, rewards and ends of 20 worlds, in double precision."""
    with jax.enable_x64(True), np.load(golden_dir / GOLDEN) as golden:
        at = {key.removeprefix(f"{name}_"): golden[key] for key in golden.files if key.startswith(name)}
        before = world_of(at["agent_pos"], at["agent_vel"], at["landmark_pos"])
        np.testing.assert_allclose(mpe.observe(scene, before), at["obs_before"], atol=1e-12)
        moved = mpe.MOVES[at["actions"]].astype(np.float64)
        if scene.has_prey:
            moved = np.concatenate([moved, -mpe.MOVES[at["prey_action"], None]], axis=1)
        places = before.position, before.velocity, before.marks
        position, velocity = mpe.advanced(scene, SQDDPG, *places, jnp.asarray(moved))
        np.testing.assert_allclose(position, at["next_agent_pos"], atol=1e-12)
        np.testing.assert_allclose(velocity, at["next_agent_vel"], atol=1e-12)
        after = world_of(position, velocity, at["landmark_pos"])
        np.testing.assert_allclose(mpe.observe(scene, after), at["obs"], atol=1e-12)
        rewards = mpe.rewards(scene, SQDDPG, position, after.marks)
        np.testing.assert_allclose(rewards, at["reward_per_agent"], atol=1e-12)
        np.testing.assert_allclose(rewards.sum(axis=1), at["reward_shared"], atol=1e-12)
        ended = mpe.touches(scene, position).any(axis=1) if scene.has_prey else np.zeros(20, bool)
        assert (np.asarray(ended)[:, None] == (at["done"] > 0)).all()
        assert ended.any() == scene.has_prey


@pytest.mark.parametrize(("name", "scene"), [("spread", NAVIGATION), ("tag", PREDATOR_PREY)])
def test_the_environment_makes_these_steps(name: str, scene: Scene, golden_dir: pathlib.Path) -> None:
    """In single precision, prey aside, whose move is drawn: that of the world, not of the numbers."""
    with np.load(golden_dir / GOLDEN) as golden:
        at = {key.removeprefix(f"{name}_"): golden[key] for key in golden.files if key.startswith(name)}
    env = registry.make("mpe/predator-prey" if scene.has_prey else "mpe/cooperative-navigation")
    floats = (at[key].astype(np.float32) for key in ("agent_pos", "agent_vel", "landmark_pos"))
    after, shown = jax.jit(env.step)(world_of(*floats), jnp.asarray(at["actions"], jnp.int32))
    agents = slice(0, scene.n_agents)
    # Two discs that touch push with a force that changes by 100 per unit of distance.
    np.testing.assert_allclose(after.position[:, agents], at["next_agent_pos"][:, agents], atol=2e-5)
    np.testing.assert_allclose(after.velocity[:, agents], at["next_agent_vel"][:, agents], atol=2e-4)
    if not scene.has_prey:
        np.testing.assert_allclose(shown.obs, at["obs"], atol=2e-4)
        np.testing.assert_allclose(shown.reward, at["reward_shared"], atol=1e-4)
    assert (shown.state == shown.obs.reshape(20, -1)).all() and shown.avail.all()


@pytest.mark.parametrize("kind", ["discrete", "continuous"])
@pytest.mark.parametrize("name", list(SCENES))
def test_every_step_of_episodes_of_mpe2(name: str, kind: str) -> None:
    """Beside the package itself, each step from where that stands; its prey moves as ours is drawn to.

    Continuous actions are its own too: five numbers from 0 to 1.
    """
    scene, rules, continuous = SCENES[name], PROFILES["mpe2"], kind == "continuous"
    env = mpe.make(name, profile="mpe2", actions=kind)
    step = jax.jit(env.step)
    module = importlib.import_module("mpe2.simple_tag_v3" if scene.has_prey else "mpe2.simple_spread_v3")
    theirs = module.parallel_env(continuous_actions=continuous)
    noise = np.random.default_rng(2).random((25, scene.movers, 5)).astype(np.float32)
    actions = np.random.default_rng(1).integers(0, 5, (25, scene.movers))
    met = False
    # Towards each other for a while, so that they meet.
    for seed in range(3):
        shown, _ = theirs.reset(seed=seed)
        inner = theirs.unwrapped.world
        world = world_of(*_places(inner))
        for t in range(rules.limit):
            taken = _approach(np.asarray(world.position)[0], scene) if t < 15 else actions[t]
            if scene.has_prey:  # The package's coding: 1 is -x, 2 +x, 3 -y, 4 +y.
                drawn = np.asarray(mpe.moves(scene, rules, world, jnp.asarray(taken[None, :3])))[0, 3]
                taken[3] = [(0, 0), (-1, 0), (1, 0), (0, -1), (0, 1)].index((int(drawn[0]), int(drawn[1])))
            if continuous:
                given = np.eye(5, dtype=np.float32)[taken]
                agents = slice(0, scene.n_agents)  # The prey stays with its move: that is discrete here.
                given[agents] = 0.7 * given[agents] + 0.3 * noise[t, agents]
                told, ours = dict(zip(theirs.possible_agents, given, strict=True)), given[None, agents]
            else:
                told = dict(zip(theirs.possible_agents, map(int, taken), strict=True))
                ours = taken[None, : scene.n_agents]
            shown, got, _, cut, _ = theirs.step(told)
            after, seen = step(world, jnp.asarray(ours))
            position, velocity, _ = _places(inner)
            np.testing.assert_allclose(after.position, position, atol=1e-4)
            np.testing.assert_allclose(after.velocity, velocity, atol=1e-3)
            names = theirs.possible_agents[: scene.n_agents]
            np.testing.assert_allclose(seen.obs[0], [shown[a] for a in names], atol=1e-3)
            assert float(seen.reward[0]) == pytest.approx(sum(got[a] for a in names), abs=1e-3)
            assert bool(seen.truncated[0]) == all(cut.values()) == (t + 1 == rules.limit)
            # From their own places, so that errors do not add up.
            places = {"position": jnp.asarray(position), "velocity": jnp.asarray(velocity)}
            world = dataclasses.replace(after, **places)
            met = met or bool(mpe.touches(scene, world.position).any()) if scene.has_prey else True
    assert met


def _places(world: Any) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Positions and velocities of a world of mpe2, and where its marks are; a batch of one."""
    movers = world.agents
    stacked = (
        [mover.state.p_pos for mover in movers],
        [mover.state.p_vel for mover in movers],
        [mark.state.p_pos for mark in world.landmarks],
    )
    position, velocity, marks = (np.array(values, np.float32)[None] for values in stacked)
    return position, velocity, marks


def _approach(position: np.ndarray, scene: Scene) -> np.ndarray:
    """Moves of all towards the last mover, coded as mpe2 does: 1 is -x, 2 +x, 3 -y, 4 +y."""
    away = position[-1] - position
    x, y = np.where(away[:, 0] > 0, 2, 1), np.where(away[:, 1] > 0, 4, 3)
    return np.where(np.abs(away[:, 0]) > np.abs(away[:, 1]), x, y)


@pytest.mark.parametrize("profile", list(PROFILES))
@pytest.mark.parametrize("name", list(SCENES))
def test_the_contract(name: str, profile: str) -> None:
    """Shapes, purity, episodes that do not depend on the batch they are in, and finished ones that stay as they are."""
    env = registry.make(f"mpe/{name}", {"profile": profile, "limit": 7})
    check.check_env(env)
    check.check_pure(env)
    step, keys = jax.jit(env.step), jax.random.split(jax.random.key(5), 33)
    actions = jax.random.randint(jax.random.key(6), (9, 33, 3), 0, 5)
    world, shown = env.reset(keys)
    few, few_shown = env.reset(keys[:5])
    assert (np.abs(world.position) <= 1).all() and (np.abs(world.marks) <= SCENES[name].spread).all()
    assert np.abs(world.position).max() > 0.95 and (world.velocity == 0).all() and (shown.reward == 0).all()
    for t, taken in enumerate(actions):
        before, was_done = world, shown.done
        world, shown = step(world, taken)
        few, few_shown = step(few, taken[:5])
        for ours, theirs in zip(jax.tree.leaves(shown), jax.tree.leaves(few_shown), strict=True):
            np.testing.assert_array_equal(ours[:5], theirs)
        assert (shown.done | (t < 6)).all() and not (shown.terminated & shown.truncated).any()
        assert (shown.reward[was_done] == 0).all() and (shown.done[was_done]).all()
        np.testing.assert_array_equal(world.position[was_done], before.position[was_done])
    assert shown.truncated.any()


def test_capture_ends_the_episode_and_is_timed() -> None:
    """A predator on the prey: 30 for the team less what distances cost; in mpe2 the episode goes on."""
    together = np.zeros((1, 4, 2), np.float32)
    together[0, 1:3] = [[0.6, 0.0], [0.0, 0.8]]
    marks = np.full((1, 2, 2), 5.0, np.float32)
    for profile, reward in (("sqddpg", 30.0), ("mpe2", 30.0)):
        env = registry.make("mpe/predator-prey", {"profile": profile})
        world = dataclasses.replace(world_of(together, np.zeros_like(together), marks), steps=jnp.array([3], jnp.int32))
        # In the very same place they do not push each other, and the prey does not come far in a step.
        after, shown = env.step(world, jnp.zeros((1, 3), jnp.int32))
        away = np.linalg.norm(np.asarray(after.position)[0, :3] - np.asarray(after.position)[0, 3], axis=1).sum()
        cost = 0.3 * away if profile == "sqddpg" else 0.0
        assert float(shown.reward[0]) == pytest.approx(reward - cost, abs=1e-4)
        assert bool(shown.terminated[0]) == (profile == "sqddpg")
        assert int(shown.info["turns"][0]) == 4 and bool(shown.info["captured"][0])


def test_agents_on_their_marks_lose_what_the_quirk_costs() -> None:
    """Far apart, each counted as colliding with itself: 3 in each step; not so in mpe2."""
    places = np.array([[[-0.9, 0.0], [0.0, 0.9], [0.9, 0.0]]], np.float32)
    for profile, reward in (("sqddpg", -3.0), ("mpe2", 0.0)):
        env = registry.make("mpe/cooperative-navigation", {"profile": profile})
        _, shown = env.step(world_of(places, np.zeros_like(places), places), jnp.zeros((1, 3), jnp.int32))
        assert float(shown.reward[0]) == pytest.approx(reward, abs=1e-5)
        assert int(shown.info["collisions"][0]) == 0 and float(shown.info["distance"][0]) == pytest.approx(0, abs=1e-5)


def test_the_prey_has_luck_of_its_own() -> None:
    """It moves as its key says, each move a fifth of the time, and another way when it is forked."""
    env = registry.make("mpe/predator-prey")
    world, _ = env.reset(jax.random.split(jax.random.key(0), 4000))
    moved = np.asarray(mpe.moves(PREDATOR_PREY, SQDDPG, world, jnp.zeros((4000, 3), jnp.int32)))
    assert (moved[:, :3] == 0).all()
    found = [(moved[:, 3] == move).all(axis=1).mean() for move in mpe.MOVES]
    np.testing.assert_allclose(found, 0.2, atol=0.03)
    forked = env.reseed(world, jax.random.split(jax.random.key(1), 4000))
    again = np.asarray(mpe.moves(PREDATOR_PREY, SQDDPG, forked, jnp.zeros((4000, 3), jnp.int32)))
    assert 0.1 < (again[:, 3] == moved[:, 3]).all(axis=1).mean() < 0.3
    np.testing.assert_array_equal(forked.position, world.position)


@pytest.mark.parametrize("profile", list(PROFILES))
@pytest.mark.parametrize("name", list(SCENES))
def test_a_one_hot_is_the_discrete_action(name: str, profile: str) -> None:
    """In all steps of an episode, and numbers outside of the box are brought to its ends."""
    options = {"profile": profile, "limit": 9}
    discrete = registry.make(f"mpe/{name}", options)
    continuous = mpe.make(name, **options, actions="continuous")
    assert check.check_env(continuous) is None and check.check_pure(continuous) is None
    assert continuous.spec.box is not None and (continuous.spec.n_actions, continuous.spec.action_width) == (5, 10)
    assert dict(continuous.spec.options) == dict(discrete.spec.options) | {"actions": "continuous"}
    assert registry.make(f"mpe/{name}", {"actions": "continuous"}).spec.box == unit_box(5)
    state, shown = discrete.reset(jax.random.split(jax.random.key(3), 7))
    one, other, outside = (jax.jit(env.step) for env in (discrete, continuous, continuous))
    for t in range(9):
        actions = np.random.default_rng(t).integers(0, 5, (7, 3))
        told = np.eye(5, dtype=np.float32)[actions]
        beyond = np.where(told > 0, 3.5, -2).astype(np.float32)
        found, expected = other(state, jnp.asarray(told)), one(state, jnp.asarray(actions, jnp.int32))
        for pair in (found, outside(state, jnp.asarray(beyond))):
            for leaf, wanted in zip(jax.tree.leaves(pair[1]), jax.tree.leaves(expected[1]), strict=True):
                np.testing.assert_allclose(leaf, wanted, atol=1e-5)
        state, shown = expected
    assert shown.done.all()


@pytest.mark.parametrize(
    ("name", "options", "fragments"),
    [
        ("tag", {}, ["mpe/tag", "predator-prey"]),
        ("predator-prey", {"profile": "jaxmarl"}, ["profile", "jaxmarl", "sqddpg", "mpe2"]),
        ("predator-prey", {"limit": 0}, ["limit", "0", "100000"]),
        ("predator-prey", {"limit": 2.5}, ["limit", "2.5"]),
        ("predator-prey", {"limit": True}, ["limit", "True"]),
        ("predator-prey", {"actions": "gaussian"}, ["actions", "gaussian", "discrete, continuous"]),
        ("predator-prey", {"agents": 4}, ["agents", "profile", "limit"]),
    ],
)
def test_refused(name: str, options: dict[str, Any], fragments: list[str]) -> None:
    with pytest.raises(ValueError) as error:
        registry.make(f"mpe/{name}", options)
    assert all(fragment in str(error.value) for fragment in fragments), error.value
