"""What the adapters of JAX environments cost: an iteration of training beside its parts (docs/environments.md).

    python benchmarks/foreign_rates.py [--runners 32] [--preset mappo] [--repeats 9] [--envs ...] [--parts]

Three times in turn, of episodes of one fixed length each: an iteration on the environment; an iteration on one of the
same sizes that does nothing, which is what acting and updating take; and as many steps of the library's own batched
`step`, with random actions and the library's automatic resets, which is what the environment takes by itself. Medians,
and the first over the sum of the others. Beside them one that shows ones at every step, which compilers can make use
of: it is in no sum. Needs jaxmarl and jumanji.

`--parts` tells where a difference comes from: beside these an environment that shows the frames of episodes that were
played before, and of all an iteration without its update, and the room that the compiled program takes.
"""

import argparse
import dataclasses
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seca.envs import registry
from seca.envs.base import Env
from seca.learning.buffer import Replay
from seca.presets import PRESETS, build
from seca.train.iterate import make_iterate
from seca.train.state import init_state
from seca.types import EnvSpec, Episodes, PyTree, TimeStep

CASES: tuple[tuple[str, dict[str, Any]], ...] = (
    ("jaxmarl:MPE_simple_spread_v3", {}),
    ("jaxmarl:overcooked", {"limit": 100}),
    ("jumanji:LevelBasedForaging-v0", {}),
)


def idle(spec: EnvSpec, constant: bool = False) -> Env:
    """An environment of these sizes that ends at the limit, and shows random numbers times the time, or ones."""
    size = spec.n_agents * spec.obs_size + spec.state_size

    def show(t: jax.Array, noise: jax.Array) -> TimeStep:
        batch, no = t.shape[0], jnp.zeros(t.shape, bool)
        scaled = noise * (t[:, None] / spec.episode_limit)
        observed = spec.n_agents * spec.obs_size
        obs = scaled[:, :observed].reshape(batch, spec.n_agents, spec.obs_size)
        state = scaled[:, observed : observed + spec.state_size]
        return TimeStep(
            obs=jnp.ones_like(obs) if constant else obs,
            state=jnp.ones_like(state) if constant else state,
            avail=jnp.ones((batch, spec.n_agents, spec.n_actions), bool),
            reward=jnp.ones(batch, jnp.float32),
            terminated=no,
            truncated=t >= spec.episode_limit,
            info={},
        )

    def reset(keys: jax.Array) -> tuple[PyTree, TimeStep]:
        t, noise = jnp.zeros(keys.shape[0], jnp.int32), jax.vmap(lambda key: jax.random.normal(key, (size,)))(keys)
        return (t, noise), show(t, noise)

    def step(before: PyTree, actions: jax.Array) -> tuple[PyTree, TimeStep]:
        del actions
        t, noise = before
        return (t + 1, noise), show(t + 1, noise)

    return Env(spec, reset, step)


def replayed(env: Env, runners: int) -> Env:
    """One that shows, whatever is done, the frames of a random policy's episodes on this one."""
    begun = env.reset(jax.random.split(jax.random.key(0), runners))

    def played(before: tuple[PyTree, TimeStep], key: jax.Array) -> tuple[tuple[PyTree, TimeStep], TimeStep]:
        drawn = jax.random.randint(key, (runners, env.spec.n_agents), 0, env.spec.n_actions)
        after = env.step(before[0], drawn)
        return after, after[1]

    keys = jax.random.split(jax.random.key(1), env.spec.episode_limit)
    _, rest = jax.jit(lambda: jax.lax.scan(played, begun, keys))()
    frames = jax.tree.map(lambda first, others: jnp.concatenate([first[None], others]), begun[1], rest)

    def at(t: jax.Array) -> TimeStep:
        return jax.tree.map(lambda array: jax.lax.dynamic_index_in_dim(array, t[0], keepdims=False), frames)

    def reset(keys: jax.Array) -> tuple[PyTree, TimeStep]:
        t = jnp.zeros(keys.shape[0], jnp.int32)
        return t, at(t)

    def step(t: PyTree, actions: jax.Array) -> tuple[PyTree, TimeStep]:
        del actions
        return t + 1, at(t + 1)

    return Env(env.spec, reset, step)


def no_update(
    learner: PyTree, episodes: Episodes, replay: Replay | None, key: jax.Array, axis: str | None
) -> tuple[PyTree, dict[str, jax.Array]]:
    """Nothing is learned, and all is looked at, so that nothing of the episodes is left out."""
    del replay, key, axis
    return learner, {"seen": jnp.stack([jnp.sum(array, dtype=float) for array in jax.tree.leaves(episodes)])}


def theirs(env_id: str, options: dict[str, Any], runners: int, steps: int) -> Callable[[], Any]:
    """So many steps of the library's own batch, compiled."""
    family, _, name = env_id.partition(":")
    keys = jax.random.split(jax.random.key(0), runners)
    if family == "jaxmarl":
        import jaxmarl  # pyrefly: ignore

        own = jaxmarl.make(name, **{key: value for key, value in options.items() if key != "limit"})

        def one(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            each = jax.random.split(key, (runners, 2))
            sample = lambda k: {a: own.action_space(a).sample(k) for a in own.agents}  # noqa: E731
            obs, state, reward, _, _ = jax.vmap(own.step)(each[:, 0], carry, jax.vmap(sample)(each[:, 1]))
            return state, sum((jnp.sum(x) for x in (*reward.values(), *obs.values())), start=jnp.zeros(()))

        start = jax.vmap(own.reset)(keys)[1]
    else:
        import jumanji  # pyrefly: ignore
        from jumanji.wrappers import VmapAutoResetWrapper  # pyrefly: ignore

        own = VmapAutoResetWrapper(jumanji.make(name))
        start, first = jax.jit(own.reset)(keys)
        count, shape = int(own.action_spec.num_values.max()), first.observation.action_mask.shape[:2]

        def one(carry: Any, key: jax.Array) -> tuple[Any, jax.Array]:
            state, shown = own.step(carry, jax.random.randint(key, shape, 0, count, jnp.int32))
            return state, shown.reward.sum() + shown.observation.agents_view.sum()

    program = jax.jit(lambda state, key: jax.lax.scan(one, state, jax.random.split(key, steps)))
    return lambda: program(start, jax.random.key(1))


def timed(call: Callable[[], Any]) -> float:
    """Seconds."""
    began = time.perf_counter()
    jax.block_until_ready(call())
    return time.perf_counter() - began


def measure(
    env_id: str, options: dict[str, Any], preset: str, runners: int, repeats: int, parts: bool
) -> dict[str, Any]:
    """Of one environment."""
    env = registry.make(env_id, options)
    calls: dict[str, Callable[[], Any]] = {}
    algorithm = build(preset, env.spec, PRESETS[preset].config)
    played = {"training": env, "idle": idle(env.spec), "ones": idle(env.spec, constant=True)}
    room: dict[str, int] = {}
    if parts:
        played["frames"] = replayed(env, runners)
    for name, one in played.items():
        for kind in (algorithm, dataclasses.replace(algorithm, update=no_update))[: 2 if parts else 1]:
            state, label = init_state(kind, 0), name if kind is algorithm else f"{name}, acting"
            iterate = make_iterate(one, kind, runners, jax.devices()[:1]).compile(state)
            metrics = jax.block_until_ready(iterate(state))[1]
            steps = float(metrics["episode_length_mean"])
            assert steps == env.spec.episode_limit, f"{env_id} ended after {steps} steps"
            calls[label] = lambda iterate=iterate, state=state: iterate(state)
            if parts:
                compiled: Any = iterate.program
                room[label] = compiled.memory_analysis().temp_size_in_bytes
    calls["alone"] = theirs(env_id, options, runners, env.spec.episode_limit)
    jax.block_until_ready(calls["alone"]())
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            found[name].append(timed(call))
    medians = {name: statistics.median(times) for name, times in found.items()}
    ratio = medians["training"] / (medians["idle"] + medians["alone"])
    steps_per_s = runners * env.spec.episode_limit / medians["training"]
    told = {"room": room} if parts else {}
    return {"env": env_id, "preset": preset, "runners": runners, **medians, "ratio": ratio, "per_s": steps_per_s} | told


def main() -> None:
    """Print a line of JSON for each, and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runners", type=int, default=32)
    parser.add_argument("--preset", default="mappo")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--envs", nargs="+", default=[env_id for env_id, _ in CASES])
    parser.add_argument("--parts", action="store_true", help="where the time goes")
    options = parser.parse_args()
    rows = []
    for env_id, given in CASES:
        if env_id in options.envs:
            rows.append(measure(env_id, given, options.preset, options.runners, options.repeats, options.parts))
            print(json.dumps(rows[-1]), flush=True)
    print(
        "| environment | iteration | acting and update | environment alone | iteration / sum | of ones | env steps/s |"
    )
    print("|---|---|---|---|---|---|---|")
    for row in rows:
        times = " | ".join(f"{1000 * row[name]:.1f} ms" for name in ("training", "idle", "alone"))
        ones = f"{1000 * row['ones']:.1f} ms"
        print(f"| `{row['env']}` | {times} | {row['ratio']:.2f} | {ones} | {row['per_s']:,.0f} |")


if __name__ == "__main__":
    main()
