"""Play battles with a policy and record every game loop of them; of other environments that offer it, every step."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float32, Int, Int16, PRNGKeyArray

import seca
from seca import files, numerics
from seca.battles.recording import About, Recording
from seca.battles.scene import Scene
from seca.config import EnvOption
from seca.envs import registry
from seca.envs.base import Env, action_shapes
from seca.errors import UsageError, refusing
from seca.runs import folder as folders
from seca.runs import stats
from seca.runs.folder import RunFolder
from seca.runs.load import Kind, LoadedRun, kind_name, load, make_env
from seca.smac import actions, custom, scenario, trace
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


def greedy(run: LoadedRun, name: str) -> Policy:
    """The policy of a run, taking its best actions."""
    act, params = run.algorithm.act, run.algorithm.policy(run.state.learner)
    return Policy(
        name=name,
        init=functools.partial(run.algorithm.initial_carry, 1),
        act=jax.jit(functools.partial(_act_greedily, act, params, run.state.env_steps)),
    )


def _act_greedily(
    act: Callable[..., Any],
    params: PyTree,
    env_steps: Array,
    carry: PyTree,
    time_step: TimeStep,
    battle: PyTree,
    key: PRNGKeyArray,
) -> tuple[PyTree, Actions]:
    del battle  # Agents see observations only.
    acted = act(params, carry, time_step, key[None], env_steps, True)
    return acted.carry, acted.actions


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is to be played, and where a recording of it belongs."""

    env: Env
    policy: Policy
    home: pathlib.Path | None
    """Folder for recordings inside the run, or None where there is no run."""
    name: str
    """Short name of environment and policy, for files."""


def plan(policy: str, env: str | None, env_options: Mapping[str, EnvOption], kind: Kind) -> Plan:
    """Read what a user asks for: a script in a named environment, or a run in its own.

    Raises:
        UsageError: no such policy, run, checkpoint or environment; not a SMAC environment; a run in another one.
    """
    if policy not in SCRIPTS:
        return _plan_run(files.usable("policy", policy), env, env_options, kind)
    if env is None:
        raise UsageError(f"`env` is missing: with `policy` '{policy}' give one, such as --env smac/2s3z")
    if kind != "latest":
        raise UsageError(
            f"`checkpoint` is '{kind}' but `policy` '{policy}' has none: leave it out, or give a run folder"
        )
    with refusing():
        made = make_env(env, env_options)
        _check_watchable(made)
        if made.simulator is not None:
            simulator = simulator_of(made)
            return Plan(made, scripted(policy, simulator), None, f"{simulator.battlefield.name}-{policy}")
    if policy != "random":
        raise UsageError(f"`policy` is '{policy}', a script of SMAC's battles: on {env} choose random or a run folder")
    return Plan(made, at_random(made.spec), None, f"{made.spec.id.split('/')[-1]}-{policy}")


def _plan_run(path: pathlib.Path, env: str | None, env_options: Mapping[str, EnvOption], kind: Kind) -> Plan:
    if not path.is_dir():
        raise UsageError(f"`policy` is '{path}': choose {', '.join(SCRIPTS)}, or an existing run folder")
    folder = folders.existing(path)
    config = folders.read_config(folder.config)
    if env is not None and not _same(env, config.env, folder):
        raise UsageError(f"`env` is {env} but run {path} was trained on {config.env}: leave `env` out")
    enemy = env_options.get("opponent")
    for name, value in env_options.items():
        if name == "opponent":
            continue
        if name not in config.env_options or config.env_options[name] != value:
            raise UsageError(f"`env-options` {name}={value} is not what run {path} was trained with: leave it out")
    run = load(path, kind, opponent=None if enemy is None else str(enemy))
    with refusing():
        _check_watchable(run.env)
    steps = int(run.state.env_steps)
    policy = greedy(run, f"{path.resolve().name}, {kind_name(kind)} checkpoint at {steps:,} env steps")
    against_whom = "" if enemy is None else f"-against-{pathlib.Path(str(enemy)).name}"
    return Plan(run.env, policy, folder.recordings, f"{kind_name(kind)}-{steps}{against_whom}")


def _same(env: str, trained: str, folder: RunFolder) -> bool:
    """Whether they are one environment; of scenario files the contents count, not the names."""
    file, theirs = registry.scenario_file(env), folder.found_scenario(trained)
    if file is None or theirs is None or not file.is_file():
        return env == trained
    return custom.fingerprint(file) == custom.fingerprint(theirs)


def _check_watchable(env: Env) -> None:
    """Raise ValueError when nothing of the environment can be drawn."""
    if env.simulator is None and env.drawing is None:
        raise ValueError(
            f"`env` is {env.spec.id}, which offers nothing to draw: watch smac/..., smac:FILE.toml, mpe/... or an "
            "environment of your own with `Env.drawing`"
        )


def recorded(plan: Plan, seed: int, number: int) -> Recording | Scene:
    """The episode of that number, as `record`, or step by step where it is no battle of SMAC's."""
    if plan.env.simulator is None:
        return record_scene(plan.env, plan.policy, seed, number)
    [battle] = record(plan.env, plan.policy, seed, [number])
    return battle


def simulator_of(env: Env) -> Simulator:
    """The simulator behind an environment. Raises ValueError when there is none."""
    if env.simulator is None:
        raise ValueError(f"`env` is {env.spec.id}: only battles can be watched: smac/... or smac:FILE.toml")
    return env.simulator


@dataclasses.dataclass(frozen=True)
class _Compiled:
    """The compiled functions that an episode is played and seen with."""

    reset: Callable[..., tuple[PyTree, TimeStep]]
    step: Callable[..., tuple[PyTree, TimeStep]]
    look: Callable[[PyTree, Int[Array, "batch agents"]], PyTree]
    """`look(state, actions)`: what is to be seen of the step that the actions are about to make."""


@dataclasses.dataclass(frozen=True)
class _Episode:
    """What was played, still as it came."""

    first: PyTree
    """State at the start."""
    last: PyTree
    """State at the end."""
    looks: list[PyTree]
    """One of each step."""
    actions: Int16[np.ndarray, "steps agents"] | Float32[np.ndarray, "steps agents actions"]
    steps: TimeStep
    """`[steps + 1, ...]`, the first what `reset` showed."""


def _play(compiled: _Compiled, policy: Policy, seed: int, number: int) -> _Episode:
    """The episode of that number in `seca evaluate --seed`: same key, same start, same luck."""
    reset_key, act_key = jax.random.split(jax.random.fold_in(stats.evaluation_key(seed), number))
    state, time_step = compiled.reset(reset_key[None])
    first, carry = state, policy.init()
    chosen, shown, looks = [], [time_step], []
    while not shown[-1].done[0]:
        carry, taken = policy.act(carry, shown[-1], state, jax.random.fold_in(act_key, len(chosen)))
        looks.append(compiled.look(state, taken))
        state, time_step = compiled.step(state, taken)
        chosen.append(taken)
        shown.append(time_step)
    steps = jax.tree.map(lambda *rows: np.concatenate(rows), *jax.device_get(shown))
    actions = np.concatenate(jax.device_get(chosen))
    actions = actions if actions.ndim == 3 else actions.astype(np.int16)
    return _Episode(first, state, looks, actions, steps)


def _about(env: Env, policy: Policy, seed: int, number: int, loops_per_step: int, loops_per_second: float) -> About:
    return About(
        env=env.spec.id,
        env_version=env.spec.version,
        env_options=dict(env.spec.options),
        policy=policy.name,
        seed=seed,
        battle=number,
        loops_per_step=loops_per_step,
        loops_per_second=loops_per_second,
        seca=seca.__version__,
    )


@numerics.own()
def record(env: Env, policy: Policy, seed: int, battles: Sequence[int]) -> list[Recording]:
    """Play the battles of these numbers to their ends and keep every game loop.

    Each is the episode of its number in `seca evaluate --seed`: same key, same start, same luck. The env's own `step`
    plays; the loops inside a step are traced beside it.

    Raises:
        ValueError: the environment is not one of SMAC's.
    """
    simulator = simulator_of(env)
    compiled = _Compiled(jax.jit(env.reset), jax.jit(env.step), jax.jit(functools.partial(_look, simulator)))
    return [_record(env, simulator.battlefield, compiled, policy, seed, battle) for battle in battles]


def _record(
    env: Env, field: scenario.Scenario, compiled: _Compiled, policy: Policy, seed: int, number: int
) -> Recording:
    played = _play(compiled, policy, seed, number)
    loops = [jax.tree.map(lambda x: x[None], trace.seen(played.first, played.first)), *played.looks]
    seen = jax.tree.map(lambda *parts: np.concatenate(parts)[..., 0], *jax.device_get(loops))
    steps = played.steps
    return Recording(
        about=_about(env, policy, seed, number, scenario.LOOPS_PER_STEP, scenario.LOOPS_PER_SECOND),
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


@numerics.own()
def record_scene(env: Env, policy: Policy, seed: int, number: int) -> Scene:
    """Play the episode of this number to its end: that of `seca evaluate --seed`, if the policy is a run's.

    Raises:
        ValueError: the environment offers no drawing.
    """
    drawing = env.drawing
    if drawing is None:
        raise ValueError(f"`env` is {env.spec.id}: it offers nothing to draw")
    look = jax.jit(lambda state: (drawing.discs(state), None if drawing.lines is None else drawing.lines(state)))
    compiled = _Compiled(jax.jit(env.reset), jax.jit(env.step), lambda state, actions: look(state))
    played = _play(compiled, policy, seed, number)
    seen, steps = [*played.looks, look(played.last)], played.steps
    places = np.concatenate([np.asarray(discs) for discs, _ in seen]).astype(np.float32)
    lines = [np.zeros((1, 0, 4)) if ends is None else np.asarray(ends).reshape(1, -1, 4) for _, ends in seen]
    return Scene(
        about=_about(env, policy, seed, number, 1, 1 / drawing.seconds),
        names=drawing.names,
        kinds=drawing.kinds,
        area=tuple(map(float, drawing.area)),
        radius=np.array(drawing.radius, np.float32),
        x=places[..., 0],
        y=places[..., 1],
        lines=np.concatenate(lines).astype(np.float32),
        actions=played.actions,
        avail=steps.avail[:-1],
        reward=steps.reward[1:],
        terminated=steps.terminated[1:],
        truncated=steps.truncated[1:],
    )
