"""What the adapters of JAX environments cost: an iteration of training beside its parts (docs/environments.md).

    python benchmarks/foreign_rates.py [--runners 32] [--preset mappo] [--repeats 9] [--envs ...]

Three times in turn, of episodes of one fixed length each: an iteration on the environment; an iteration on one of the
same sizes that does nothing, which is what acting and updating take; and as many steps of the library's own batched
`step`, with random actions and the library's automatic resets, which is what the environment takes by itself. Medians,
and the first over the sum of the others. Beside them one that shows ones at every step, which compilers can make use
of: it is in no sum. Needs jaxmarl and jumanji.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from seca.envs import registry
from seca.envs.base import Env
from seca.presets import PRESETS, build
from seca.train.iterate import make_iterate
from seca.train.state import init_state
from seca.types import EnvSpec, PyTree, TimeStep

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
            return state, sum((jnp.sum(x) for x in (*reward.values(), *obs.values())), jnp.zeros(()))

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


def measure(env_id: str, options: dict[str, Any], preset: str, runners: int, repeats: int) -> dict[str, Any]:
    """Of one environment."""
    env = registry.make(env_id, options)
    calls: dict[str, Callable[[], Any]] = {}
    twins = {"idle": idle(env.spec), "ones": idle(env.spec, constant=True)}
    for name, one in {"training": env, **twins}.items():
        algorithm = build(preset, env.spec, PRESETS[preset].config)
        iterate, state = make_iterate(one, algorithm, runners, jax.devices()[:1]), init_state(algorithm, 0)
        metrics = jax.block_until_ready(iterate(state))[1]
        steps = float(metrics["episode_length_mean"])
        assert steps == env.spec.episode_limit, f"{env_id} ended after {steps} steps"
        calls[name] = lambda iterate=iterate, state=state: iterate(state)
    calls["alone"] = theirs(env_id, options, runners, env.spec.episode_limit)
    jax.block_until_ready(calls["alone"]())
    found: dict[str, list[float]] = {name: [] for name in calls}
    for _ in range(repeats):
        for name, call in calls.items():
            found[name].append(timed(call))
    medians = {name: statistics.median(times) for name, times in found.items()}
    ratio = medians["training"] / (medians["idle"] + medians["alone"])
    steps_per_s = runners * env.spec.episode_limit / medians["training"]
    return {"env": env_id, "preset": preset, "runners": runners, **medians, "ratio": ratio, "per_s": steps_per_s}


def main() -> None:
    """Print a line of JSON for each, and a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runners", type=int, default=32)
    parser.add_argument("--preset", default="mappo")
    parser.add_argument("--repeats", type=int, default=9)
    parser.add_argument("--envs", nargs="+", default=[env_id for env_id, _ in CASES])
    options = parser.parse_args()
    rows = []
    for env_id, given in CASES:
        if env_id in options.envs:
            rows.append(measure(env_id, given, options.preset, options.runners, options.repeats))
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
