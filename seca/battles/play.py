"""Play episodes with a policy and see what there is: every game loop of a battle, every step of others."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int, Int16, PRNGKeyArray

import seca
from seca import numerics
from seca.battles.recording import About, Recording
from seca.battles.scene import Scene
from seca.envs.base import Env, action_shapes
from seca.envs.drawing import Drawing
from seca.runs import stats
from seca.runs.load import LoadedRun
from seca.smac import actions, scenario, trace
from seca.smac.scripts import SCRIPTS, Script
from seca.smac.simulator import Simulator
from seca.smac.state import Battle
from seca.types import Actions, EnvSpec, PyTree, TimeStep


@dataclasses.dataclass(frozen=True)
class Policy:
    """Who commands the team in a battle: state in, state out, a batch of one."""

    name: str
    init: Callable[[], PyTree]
    """`init() -> carry` at the start of a battle."""
    act: Callable[[PyTree, TimeStep, PyTree, PRNGKeyArray], tuple[PyTree, Actions]]
    """`act(carry, time_step, state, key) -> (carry, actions)`; the state is a battle's, or the environment's own."""


def scripted(name: str, simulator: Simulator) -> Policy:
    """A script of `seca.smac.scripts` as the policy of the team."""
    script, field = SCRIPTS[name], simulator.battlefield
    return Policy(
        name=name,
        init=functools.partial(script.init, field, 1),
        act=jax.jit(functools.partial(_act_by_script, script, field)),
    )


def _act_by_script(
    script: Script, field: scenario.Scenario, carry: PyTree, time_step: TimeStep, battle: Battle, key: PRNGKeyArray
) -> tuple[PyTree, Actions]:
    del time_step, key  # Scripts see the battle itself, and its seed.
    carry, chosen = script.act(field, battle, carry)
    return carry, chosen.T


def at_random(spec: EnvSpec) -> Policy:
    """Any available action, each as likely as another."""
    return Policy("random", lambda: (), jax.jit(functools.partial(_act_at_random, spec)))


def _act_at_random(
    spec: EnvSpec, carry: PyTree, time_step: TimeStep, state: PyTree, key: PRNGKeyArray
) -> tuple[PyTree, Actions]:
    del state
    if spec.box is not None:
        shape = action_shapes(spec, time_step.reward.shape[0]).shape
        low, high = jnp.asarray(spec.box.low), jnp.asarray(spec.box.high)
        return carry, jax.random.uniform(key, shape, jnp.float32, low, high)
    even = jnp.where(time_step.avail, 0.0, -jnp.inf)
    return carry, jax.random.categorical(key, even, mode="low").astype(jnp.int32)


def of_run(run: LoadedRun, name: str, greedy: bool = True) -> Policy:
    """The policy of a run, taking its best actions, or sampled as in training."""
    act, params = run.algorithm.act, run.algorithm.policy(run.state.learner)
    return Policy(
        name=name,
        init=functools.partial(run.algorithm.initial_carry, 1),
        act=jax.jit(functools.partial(_act_by_run, act, greedy, params, run.state.env_steps)),
    )


def _act_by_run(
    act: Callable[..., Any],
    greedy: bool,
    params: PyTree,
    env_steps: Array,
    carry: PyTree,
    time_step: TimeStep,
    battle: PyTree,
    key: PRNGKeyArray,
) -> tuple[PyTree, Actions]:
    del battle  # Agents see observations only.
    acted = act(params, carry, time_step, key[None], env_steps, greedy)
    return acted.carry, acted.actions


def simulator_of(env: Env) -> Simulator:
    """The simulator behind an environment. Raises ValueError when there is none."""
    if env.simulator is None:
        raise ValueError(f"`env` is {env.spec.id}: only battles can be watched: smac/... or smac:FILE.toml")
    return env.simulator


@dataclasses.dataclass(frozen=True)
class Player:
    """The compiled functions that episodes of one environment are played and seen with."""

    env: Env
    reset: Callable[..., tuple[PyTree, TimeStep]]
    step: Callable[..., tuple[PyTree, TimeStep]]
    look: Callable[[PyTree, Int[Array, "batch agents"] | Float32[Array, "batch agents actions"]], PyTree] | None
    """`look(state, actions)`: what is to be seen of the step that the actions are about to make; None: nothing."""


def player(env: Env) -> Player:
    """Of any environment, also of one that offers nothing to draw."""
    look = None
    if env.simulator is not None:
        look = jax.jit(functools.partial(_look, env.simulator))
    elif env.drawing is not None:
        look = jax.jit(functools.partial(_look_at_discs, env.drawing))
    return Player(env, jax.jit(env.reset), jax.jit(env.step), look)


@dataclasses.dataclass(frozen=True)
class Before:
    """Where an episode stands before a step, as a batch of one."""

    state: PyTree
    time_step: TimeStep
    carry: PyTree


@dataclasses.dataclass(frozen=True)
class Played:
    """An episode as it was played."""

    about: About
    standing: list[Before]
    """Before each step, and at the end."""
    looks: list[PyTree]
    """One of each step."""
    actions: Int16[np.ndarray, "steps agents"] | Float32[np.ndarray, "steps agents actions"]
    steps: Any
    """`TimeStep` of NumPy arrays `[steps + 1, ...]`, the first what `reset` showed."""


@numerics.own()
def play(by: Player, policy: Policy, seed: int, number: int) -> Played:
    """The episode of that number in `seca evaluate --seed`: same key, same start, same luck."""
    reset_key, act_key = jax.random.split(jax.random.fold_in(stats.evaluation_key(seed), number))
    now = Before(*by.reset(reset_key[None]), policy.init())
    standing, chosen, looks = [now], [], []
    while not now.time_step.done[0]:
        carry, taken = policy.act(now.carry, now.time_step, now.state, jax.random.fold_in(act_key, len(chosen)))
        if by.look is not None:
            looks.append(by.look(now.state, taken))
        now = Before(*by.step(now.state, taken), carry)
        chosen.append(taken)
        standing.append(now)
    shown = jax.device_get([before.time_step for before in standing])
    steps = jax.tree.map(lambda *rows: np.concatenate(rows), *shown)
    actions = np.concatenate(jax.device_get(chosen))
    actions = actions if actions.ndim == 3 else actions.astype(np.int16)
    return Played(_about(by.env, policy, seed, number), standing, looks, actions, steps)


def _about(env: Env, policy: Policy, seed: int, number: int) -> About:
    loops, per_second = 1, 10.0
    if env.simulator is not None:
        loops, per_second = scenario.LOOPS_PER_STEP, scenario.LOOPS_PER_SECOND
    elif env.drawing is not None:
        per_second = 1 / env.drawing.seconds
    return About(
        env=env.spec.id,
        env_version=env.spec.version,
        env_options=dict(env.spec.options),
        policy=policy.name,
        seed=seed,
        battle=number,
        loops_per_step=loops,
        loops_per_second=per_second,
        seca=seca.__version__,
    )


def record(env: Env, policy: Policy, seed: int, battles: Sequence[int]) -> list[Recording]:
    """Play the battles of these numbers to their ends and keep every game loop.

    Each is the episode of its number in `seca evaluate --seed`: same key, same start, same luck. The env's own `step`
    plays; the loops inside a step are traced beside it.

    Raises:
        ValueError: the environment is not one of SMAC's.
    """
    field, by = simulator_of(env).battlefield, player(env)
    return [recording_of(field, play(by, policy, seed, battle)) for battle in battles]


@numerics.own()
def recording_of(field: scenario.Scenario, played: Played) -> Recording:
    """A battle that was played, loop by loop."""
    start, steps = played.standing[0].state, played.steps
    loops = [jax.tree.map(lambda x: x[None], trace.seen(start, start)), *played.looks]
    seen = jax.tree.map(lambda *parts: np.concatenate(parts)[..., 0], *jax.device_get(loops))
    return Recording(
        about=played.about,
        unit_names=field.unit_names,
        radius=field.radius[:, 0],
        health_max=field.health_max[:, 0],
        shield_max=field.shield_max[:, 0],
        energy_max=field.energy_max[:, 0],
        flies=field.layer[:, 0] == scenario.LAYERS.index("air"),
        walkable=field.walkable,
        level=field.level,
        x=seen.x,
        y=seen.y,
        health=seen.health,
        shield=seen.shield,
        energy=seen.energy,
        target=seen.target.astype(np.int16),
        engaged=seen.engaged,
        shot=seen.shot,
        actions=played.actions,
        avail=steps.avail[:-1],
        reward=steps.reward[1:],
        terminated=steps.terminated[1:],
        truncated=steps.truncated[1:],
        won=steps.info["won"][1:],
    )


def _look(simulator: Simulator, battle: Battle, requested: Int[Array, "batch agents"]) -> trace.Trace:
    """The game loops of the next env step of one battle."""
    # One lane as two, as in the simulator: XLA contracts the arithmetic of a single lane differently.
    twice = jax.tree.map(lambda x: jnp.repeat(x, 2, axis=-1), battle)
    ordered = actions.command(simulator.battlefield, twice, jnp.repeat(requested.T, 2, axis=-1))
    seen = trace.trace(simulator.battlefield, simulator.options, ordered, simulator.commander)
    return jax.tree.map(lambda x: x[..., :1], seen)


def _look_at_discs(drawing: Drawing, state: PyTree, actions: Any = None) -> tuple[Array, Array | None]:
    """Places of the discs, and lines if there are any."""
    del actions  # What they lead to is seen in the next step.
    return drawing.discs(state), None if drawing.lines is None else drawing.lines(state)


def record_scene(env: Env, policy: Policy, seed: int, number: int) -> Scene:
    """Play the episode of this number to its end: that of `seca evaluate --seed`, if the policy is a run's.

    Raises:
        ValueError: the environment offers no drawing.
    """
    if env.drawing is None:
        raise ValueError(f"`env` is {env.spec.id}: it offers nothing to draw")
    return scene_of(env.drawing, play(player(env), policy, seed, number))


@numerics.own()
def scene_of(drawing: Drawing | None, played: Played) -> Scene:
    """An episode that was played, step by step; without a drawing a scene of nothing."""
    steps, frames = played.steps, len(played.standing)
    places, lines = np.zeros((frames, 0, 2), np.float32), [np.zeros((1, 0, 4))] * frames
    if drawing is not None:
        seen = [*played.looks, _look_at_discs(drawing, played.standing[-1].state)]
        places = np.concatenate([np.asarray(discs) for discs, _ in seen]).astype(np.float32)
        lines = [np.zeros((1, 0, 4)) if ends is None else np.asarray(ends).reshape(1, -1, 4) for _, ends in seen]
    return Scene(
        about=played.about,
        names=() if drawing is None else drawing.names,
        kinds=() if drawing is None else drawing.kinds,
        area=(0.0, 0.0, 1.0, 1.0) if drawing is None else tuple(map(float, drawing.area)),
        radius=np.array(() if drawing is None else drawing.radius, np.float32),
        x=places[..., 0],
        y=places[..., 1],
        lines=np.concatenate(lines).astype(np.float32),
        actions=played.actions,
        avail=steps.avail[:-1],
        reward=steps.reward[1:],
        terminated=steps.terminated[1:],
        truncated=steps.truncated[1:],
    )


def picture_of(env: Env, played: Played) -> Recording | Scene:
    """What is to be seen of an episode: every game loop of a battle, every step of another, if only its numbers."""
    if env.simulator is not None:
        return recording_of(env.simulator.battlefield, played)
    return scene_of(env.drawing, played)
