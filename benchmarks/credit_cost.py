"""What the sequential advantage and its order cost: the tables and the figure of docs/cost.md.

    python benchmarks/credit_cost.py [--parts update curve order] [--run RUN]    measure, then draw
    python benchmarks/credit_cost.py --table                                     print the tables of what was measured
    python benchmarks/credit_cost.py --quick                                     tiny sizes, into a temporary folder

Parts:
    update   one update of SeCA with a given order (`order` fixed) and one of COMA-newArchi (counterfactual advantage
             on the same critic), everything in it as in training, at the sizes of maps with 5, 10 and 27 agents
    curve    the same for 2 to 50 agents with all other sizes equal; also the credit alone (one pass of the critic and
             the advantages), and the advantages alone, from the hidden layer on
    order    the order by integrated gradients for K points per transition: alone, and in an update; and how well it
             agrees with 50 points, on episodes of an untrained policy and of RUN

Episodes are made up for `update` and `curve` (lengths uniform from 30 to 60, everything else noise: the time does not
depend on it) and really played for `order`. What is compared runs in turns, forwards and backwards, in one process;
the ratio is the median over turns of the ratio in one turn. Each part replaces its own lines of --out. Nothing else
should run.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import math
import pathlib
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import matplotlib
import matplotlib.ticker
import numpy as np
from jax.sharding import Mesh, PartitionSpec
from jaxtyping import Array
from order_agreement import mean_tau, options_of, orders, played

import seca
from seca.algos.seca import Learner, SecaConfig, named
from seca.config import from_preset
from seca.credit.base import Mixed
from seca.credit.counterfactual import counterfactual_fast
from seca.credit.named import CREDITS
from seca.credit.sequential import swept_fast
from seca.envs import registry
from seca.host import machine
from seca.learning.acting import acting_over
from seca.learning.joint_critic import chunk_rows
from seca.learning.judging import Batch, Judging, judge
from seca.learning.rows import pack
from seca.order.base import GradientOrder
from seca.order.simple import FIXED
from seca.runs import bench
from seca.train.iterate import AXIS
from seca.train.state import init_state
from seca.types import EnvSpec, Episodes

matplotlib.use("Agg")
import matplotlib.pyplot as plt  # noqa: E402  (the backend comes first)

ROOT = pathlib.Path(__file__).parent.parent
Row = dict[str, Any]
Call = Callable[[], Any]

SEQUENTIAL = dataclasses.replace(options_of(from_preset("seca")), order="fixed")
COUNTERFACTUAL = options_of(from_preset("coma-newarchi"))
METHODS = {"sequential": SEQUENTIAL, "counterfactual": COUNTERFACTUAL}
MAPS = ("smac/2s3z", "smac/MMM2", "smac/27m_vs_30m")
"""5, 10 and 27 agents."""
AGENTS = (2, 3, 5, 8, 10, 15, 20, 27, 35, 50)
SHORTEST, LONGEST = 30, 60
"""Lengths of the made-up episodes."""
PATHS = {
    "K = 1": GradientOrder(points=1),
    "K = 2": GradientOrder(points=2),
    "K = 5": GradientOrder(),
    "K = 50": GradientOrder(points=50),
    "1 midpoint": GradientOrder(points=1, rule="midpoint"),
    "2 midpoints": GradientOrder(points=2, rule="midpoint"),
}
REFERENCE = "K = 50"
FINE = GradientOrder(points=50, rule="midpoint")


def synthetic(n_agents: int) -> EnvSpec:
    """Sizes of the curve: all but the number of agents stay."""
    return EnvSpec(f"synthetic/{n_agents}", "1", n_agents, n_actions=14, obs_size=80, state_size=120, episode_limit=120)


def made_up(spec: EnvSpec, batch: int, learner: Learner) -> Episodes:
    """Episodes of noise at unit scale, about 60 % of the actions available, with what acting would have recorded."""
    rng = np.random.default_rng(0)
    time_limit, n_agents, n_actions = spec.episode_limit, spec.n_agents, spec.n_actions
    length = rng.integers(min(SHORTEST, time_limit), min(LONGEST, time_limit) + 1, batch)
    valid = np.arange(time_limit) < length[:, None]
    last = np.arange(time_limit) == length[:, None] - 1
    avail = rng.random((batch, time_limit + 1, n_agents, n_actions)) < 0.6
    avail[..., 1] = True
    weights = avail * rng.random(avail.shape, dtype=np.float32)

    def noise(*shape: int) -> Array:
        return jnp.asarray(rng.standard_normal(shape, dtype=np.float32))

    episodes = Episodes(
        reward=noise(batch, time_limit),
        terminated=jnp.asarray(last),
        truncated=jnp.zeros_like(valid),
        valid=jnp.asarray(valid),
        obs=noise(batch, time_limit + 1, n_agents, spec.obs_size),
        state=noise(batch, time_limit + 1, spec.state_size),
        avail=jnp.asarray(avail),
        actions=jnp.asarray(weights.argmax(axis=-1), jnp.int32),
    )
    return dataclasses.replace(episodes, record=jax.jit(acting_over)(learner.actor.params, episodes))


def everywhere(function: Callable[..., Any], devices: list[jax.Device], whole: bool) -> Callable[..., Any]:
    """`function(learner, episodes, axis=)` with the episodes spread over devices, as training has it.

    `whole` says that every device ends with the whole result, as after an update; else each has its episodes' part.
    """
    if len(devices) == 1:
        return jax.jit(functools.partial(function, axis=None))
    shared = jax.shard_map(
        functools.partial(function, axis=AXIS),
        mesh=Mesh(devices, (AXIS,)),
        in_specs=(PartitionSpec(), PartitionSpec(AXIS)),
        out_specs=PartitionSpec() if whole else PartitionSpec(AXIS),
        check_vma=False,
    )
    return jax.jit(shared)


def update_call(
    spec: EnvSpec, config: SecaConfig, learner: Learner, episodes: Episodes, devices: list[jax.Device]
) -> Call:
    """One whole update: targets, critic, credit, actor, measures."""
    algorithm = named("timed", spec, config)

    def update(learner: Learner, episodes: Episodes, axis: str | None) -> Any:
        return algorithm.update(learner, episodes, None, jax.random.key(0), axis)

    return functools.partial(everywhere(update, devices, whole=True), learner, episodes)


def credit_call(
    spec: EnvSpec, config: SecaConfig, learner: Learner, episodes: Episodes, devices: list[jax.Device]
) -> Call:
    """Advantages of all steps: one pass of the critic's hypernetwork and what follows from it."""
    chosen, rows = CREDITS[config.credit](config.credit_samples, config.credit_orders), chunk_rows(spec, config)

    def credit(learner: Learner, episodes: Episodes, axis: str | None) -> Array:
        packed = pack(episodes.valid, rows)
        keys = jax.random.split(jax.random.key(0), episodes.valid.shape[0])
        batch = Batch(episodes, episodes.record.probs, packed, keys, axis)
        return judge(learner.critic.params, batch, Judging(chosen, FIXED), learner.order).advantage

    return functools.partial(everywhere(credit, devices, whole=False), learner, episodes)


def advantage_calls(spec: EnvSpec, config: SecaConfig, rows: int) -> dict[str, Call]:
    """Advantages from the hidden layer on, on one device, in the chunks of training."""
    chunk, embed = chunk_rows(spec, config), config.critic_embed
    chunks, rng = -(-rows // chunk), np.random.default_rng(1)

    def noise(*shape: int) -> Array:
        return jnp.asarray(rng.standard_normal((chunks, chunk, *shape), dtype=np.float32))

    mixed = Mixed(noise(embed), noise(spec.n_agents, embed), noise(embed), noise())
    order = jnp.broadcast_to(jnp.asarray(rng.permutation(spec.n_agents)), (chunks, chunk, spec.n_agents))
    sequential = jax.jit(lambda steps, order: jax.lax.map(lambda part: swept_fast(*part), (steps, order)))
    counterfactual = jax.jit(lambda steps: jax.lax.map(counterfactual_fast, steps))
    return {
        "sequential": functools.partial(sequential, mixed, order),
        "counterfactual": functools.partial(counterfactual, mixed),
    }


def in_turns(calls: dict[str, Call], repeats: int) -> dict[str, np.ndarray]:
    """Milliseconds of each call, one per turn; every second turn goes backwards."""
    for call in calls.values():
        for _ in range(2):  # The first compiles.
            jax.block_until_ready(call())
    taken: dict[str, list[float]] = {name: [] for name in calls}
    for turn in range(repeats):
        for name in list(calls)[:: 1 if turn % 2 == 0 else -1]:
            began = time.perf_counter()
            jax.block_until_ready(calls[name]())
            taken[name].append(1e3 * (time.perf_counter() - began))
    return {name: np.array(values) for name, values in taken.items()}


def compared(what: str, calls: dict[str, Call], repeats: int) -> Row:
    """Medians of the two methods, and median and quartiles of their ratio turn by turn."""
    taken = in_turns(calls, repeats)
    low, ratio, high = np.percentile(taken["sequential"] / taken["counterfactual"], [25, 50, 75])
    medians = {f"{what}_{name}_ms": float(np.median(values)) for name, values in taken.items()}
    return medians | {f"{what}_ratio": float(ratio), f"{what}_ratio_quartiles": [float(low), float(high)]}


def sizes(spec: EnvSpec) -> Row:
    """The numbers of a spec that decide the cost."""
    return {"agents": spec.n_agents, "actions": spec.n_actions, "obs": spec.obs_size, "state": spec.state_size}


def prepared(spec: EnvSpec, runners: int) -> tuple[Learner, Episodes]:
    """An untrained learner, the same for both methods, and episodes to feed it."""
    learner = named("timed", spec, SEQUENTIAL).init(jax.random.key(0))
    return learner, made_up(spec, runners, learner)


def update_rows(maps: Sequence[str], runners: int, repeats: int, devices: list[jax.Device]) -> Iterator[Row]:
    """Part `update`: one line per map."""
    for env_id in maps:
        spec = registry.make(env_id, {}).spec
        given = prepared(spec, runners)
        calls = {name: update_call(spec, config, *given, devices) for name, config in METHODS.items()}
        yield {"env": env_id, "steps": int(given[1].valid.sum())} | sizes(spec) | compared("update", calls, repeats)


def curve_rows(agents: Sequence[int], runners: int, repeats: int, devices: list[jax.Device]) -> Iterator[Row]:
    """Part `curve`: one line per number of agents."""
    for n_agents in agents:
        spec = synthetic(n_agents)
        learner, episodes = prepared(spec, runners)
        steps = int(episodes.valid.sum())
        row: Row = {"steps": steps} | sizes(spec)
        for what, make in (("update", update_call), ("credit", credit_call)):
            calls = {name: make(spec, config, learner, episodes, devices) for name, config in METHODS.items()}
            row |= compared(what, calls, repeats)
        yield row | compared("advantages", advantage_calls(spec, SEQUENTIAL, steps + runners), repeats)
        jax.clear_caches()


def order_rows(
    env_id: str,
    paths: dict[str, GradientOrder],
    run_path: pathlib.Path | None,
    runners: int,
    repeats: int,
    devices: list[jax.Device],
) -> Iterator[Row]:
    """Part `order`: one line per policy and number of points."""
    env = registry.make(env_id, {})
    config = options_of(from_preset("seca"))
    algorithm = named("seca", env.spec, config)
    policies = {"untrained": (env, algorithm, init_state(algorithm, 0), config)}
    if run_path is not None:
        run = seca.load(run_path)
        policies[run_path.name] = (run.env, run.algorithm, run.state, options_of(run.config))
    for policy, (env, algorithm, state, config) in policies.items():
        episodes, chunk = played(env, algorithm, state, runners), chunk_rows(env.spec, config)
        # Of an order that is given; those that follow a path ask for none.
        learner = dataclasses.replace(state.learner, order=jnp.arange(env.spec.n_agents))

        def ordered(learner: Learner, episodes: Episodes, axis: str | None, path: GradientOrder) -> Array:
            del axis  # Each episode has its own order.
            return orders(learner, episodes, path, chunk)  # noqa: B023  (used within the turn of the loop)

        calls: dict[str, Call] = {}
        given = dataclasses.replace(config, order="fixed", credit="swept")
        calls["given"] = update_call(env.spec, given, learner, episodes, devices)
        for name, path in paths.items():
            alone = everywhere(functools.partial(ordered, path=path), devices, whole=False)
            calls[f"alone {name}"] = functools.partial(alone, learner, episodes)
            chosen = dataclasses.replace(given, order="gradients", path=path)
            calls[f"update {name}"] = update_call(env.spec, chosen, learner, episodes, devices)
        taken = in_turns(calls, repeats)
        found = {name: np.asarray(calls[f"alone {name}"]()) for name in paths}
        fine = np.asarray(jax.jit(functools.partial(ordered, axis=None, path=FINE))(learner, episodes))
        for name, path in paths.items():
            yield {
                "env": env.spec.id,
                "policy": policy,
                "policy_env_steps": int(state.env_steps),
                "steps": int(episodes.valid.sum()),
                "path": name,
                "points": path.points,
                "rule": path.rule,
                "order_ms": float(np.median(taken[f"alone {name}"])),
                "update_ms": float(np.median(taken[f"update {name}"])),
                "update_given_ms": float(np.median(taken["given"])),
                "update_ratio": float(np.median(taken[f"update {name}"] / taken["given"])),
                "tau": mean_tau(found[name], found[REFERENCE]),
                "tau_fine": mean_tau(found[name], fine),
            }


def read(path: pathlib.Path) -> list[Row]:
    """All lines so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def store(path: pathlib.Path, part: str, rows: Iterable[Row], conditions: Row) -> None:
    """Put a part's lines in place of those of an earlier measurement, once all are there; print each when it is."""
    new = []
    for row in rows:
        print(json.dumps(row), flush=True)
        new.append({"part": part} | row | conditions)
    path.parent.mkdir(parents=True, exist_ok=True)
    kept = [row for row in read(path) if row["part"] != part]
    path.write_text("".join(json.dumps(row) + "\n" for row in kept + new))


def line_fit(agents: Sequence[float], times: Sequence[float]) -> tuple[float, float, float]:
    """Slope and intercept of the least-squares line, and R^2: the share of the variance that it explains."""
    x, y = np.array(agents), np.array(times)
    slope, intercept = np.polyfit(x, y, 1)
    left = ((y - slope * x - intercept) ** 2).sum()
    return float(slope), float(intercept), float(1 - left / ((y - y.mean()) ** 2).sum())


QUANTITIES = ("update", "credit", "advantages")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [" | ".join(head), " | ".join("---" for _ in head), *(" | ".join(row) for row in rows)]
    return "\n".join(f"| {line} |" for line in lines)


def _ms(value: float) -> str:
    """Three digits."""
    return f"{value:.{max(0, 2 - math.floor(math.log10(value)))}f}"


def tables(rows: Sequence[Row]) -> str:
    """Markdown tables of all that was measured, each under its conditions."""
    parts = {part: list(group) for part, group in itertools.groupby(rows, key=lambda row: row["part"])}
    written = []
    for part, write in (("update", _update_table), ("curve", _curve_tables), ("order", _order_table)):
        if part in parts:
            written.append(f"{conditions_of(parts[part])}\n\n{write(parts[part])}")
    return "\n\n".join(written)


def conditions_of(rows: Sequence[Row]) -> str:
    """When, where and how often a part was measured."""
    row = rows[0]
    hardware, commit = row["hardware"], row["hardware"]["commit"] or "unknown"
    changed = " with changes" if commit.endswith("+") else ""
    return (
        f"Part `{row['part']}`: {row['runners']} episodes, {row['repeats']} turns, {row['devices']} devices, "
        f"{hardware['processor']} with {hardware['cores']} cores, jax {hardware['jax']}, commit `{commit[:7]}`"
        f"{changed}."
    )


def _update_table(rows: Sequence[Row]) -> str:
    head = ("environment", "agents", "actions", "obs", "state", "steps", "SeCA, order given, ms", "COMA-newArchi, ms")
    return _table(
        (*head, "ratio", "quartiles"),
        [
            (
                row["env"],
                *(f"{row[name]:,}" for name in ("agents", "actions", "obs", "state", "steps")),
                _ms(row["update_sequential_ms"]),
                _ms(row["update_counterfactual_ms"]),
                f"{row['update_ratio']:.2f}",
                " to ".join(f"{value:.2f}" for value in row["update_ratio_quartiles"]),
            )
            for row in rows
        ],
    )


def _curve_tables(rows: Sequence[Row]) -> str:
    head = [f"{what}: {name}, ms" for what in QUANTITIES for name in ("SeCA", "COMA-newArchi", "ratio")]
    head = [text.replace(": ratio, ms", ": ratio") for text in head]
    body = []
    for row in rows:
        cells = [str(row["agents"])]
        for what in QUANTITIES:
            cells += [_ms(row[f"{what}_{method}_ms"]) for method in METHODS] + [f"{row[f'{what}_ratio']:.2f}"]
        body.append(cells)
    agents = [row["agents"] for row in rows]
    fits = []
    for what, method in itertools.product(QUANTITIES, METHODS):
        slope, intercept, r2 = line_fit(agents, [row[f"{what}_{method}_ms"] for row in rows])
        fits.append((f"{what}, {method}", f"{slope:.4g}", f"{intercept:.4g}", f"{r2:.4f}"))
    return "\n\n".join(
        [_table(("agents", *head), body), _table(("line fitted to", "ms per agent", "ms at 0", "R²"), fits)]
    )


def _order_table(rows: Sequence[Row]) -> str:
    head = (
        "policy",
        "path",
        "order alone, ms",
        "update, ms",
        "update with a given order, ms",
        "ratio",
        "τ with K = 50",
    )
    return _table(
        (*head, "τ with 50 midpoints"),
        [
            (
                f"{row['policy']} ({row['policy_env_steps']:,} env steps)",
                row["path"],
                *(_ms(row[name]) for name in ("order_ms", "update_ms", "update_given_ms")),
                *(f"{row[name]:.2f}" for name in ("update_ratio", "tau", "tau_fine")),
            )
            for row in rows
        ],
    )


def draw(rows: Sequence[Row], path: pathlib.Path) -> None:
    """The figure: update and advantages over the number of agents, and what the order costs and gains."""
    figure, panels = plt.subplots(1, 3, figsize=(13, 5.2))
    curve = [row for row in rows if row["part"] == "curve"]
    for panel, whats in zip(panels, (("update", "credit"), ("advantages",)), strict=False):
        _draw_curve(panel, curve, whats)
    ordered = [row for row in rows if row["part"] == "order"]
    for colour, policy in enumerate(dict.fromkeys(row["policy"] for row in ordered)):
        _draw_order(panels[2], [row for row in ordered if row["policy"] == policy], f"C{colour}", policy)
    panels[2].set(xlabel="order alone, ms per batch", ylabel="Kendall's τ with K = 50", xscale="log")
    panels[2].xaxis.set_minor_formatter(matplotlib.ticker.NullFormatter())
    for panel in panels:
        panel.grid(alpha=0.3)
        panel.spines[["top", "right"]].set_visible(False)
        if panel.get_legend_handles_labels()[0]:
            panel.legend(frameon=False, fontsize=8)
    figure.text(0.01, 0.01, caption(rows), fontsize=7.5, va="bottom")
    figure.tight_layout(rect=(0, 0.24, 1, 1))
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=150)
    plt.close(figure)


def _draw_curve(panel: plt.Axes, rows: Sequence[Row], whats: Sequence[str]) -> None:
    agents = [row["agents"] for row in rows]
    names = {"sequential": "SeCA, order given", "counterfactual": "COMA-newArchi"}
    for (what, marker), method in itertools.product(zip(whats, "os", strict=False), METHODS if rows else ()):
        times = [row[f"{what}_{method}_ms"] for row in rows]
        slope, intercept, r2 = line_fit(agents, times)
        colour = "C0" if method == "sequential" else "C1"
        panel.plot(agents, times, marker, color=colour, ms=4, label=f"{what}: {names[method]} (line: R² {r2:.3f})")
        panel.plot(agents, [intercept + slope * n for n in agents], color=colour, lw=1, alpha=0.6)
    panel.set(xlabel="agents", ylabel="ms per batch", ylim=(0, None))


def _draw_order(panel: plt.Axes, rows: Sequence[Row], colour: str, policy: str) -> None:
    left = [row for row in rows if row["rule"] == "left"]
    panel.plot([row["order_ms"] for row in left], [row["tau"] for row in left], "o-", color=colour, label=policy)
    rest = [row for row in rows if row["rule"] != "left"]
    panel.plot([row["order_ms"] for row in rest], [row["tau"] for row in rest], "x", color=colour)
    for row in rows:
        panel.annotate(row["path"], (row["order_ms"], row["tau"]), (3, -9), textcoords="offset points", fontsize=7)


def caption(rows: Sequence[Row]) -> str:
    """How the figure was made."""
    lines = [
        "Left: time of one update and, alone, of its credit (one pass of the critic, advantages), by number of agents; "
        "14 actions, obs 80, state 120, made-up episodes of 30 to 60 steps.",
        "Middle: the advantages alone, from the critic's hidden layer on, one device. Medians of calls in turns; lines "
        "are least-squares fits.",
        "Right: the order by integrated gradients alone on episodes really played: time, and Kendall's τ with 50 left "
        "points per transition, mean over episodes; crosses are midpoint rules.",
        "Made by `python benchmarks/credit_cost.py`.",
    ]
    parts = (list(group) for _, group in itertools.groupby(rows, key=lambda row: row["part"]))
    return "\n".join([*lines, *map(conditions_of, parts)])


def main() -> None:
    """Measure the parts asked for and draw, or print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--parts", nargs="*", default=["update", "curve", "order"], choices=["update", "curve", "order"]
    )
    parser.add_argument("--run", type=pathlib.Path, help="run folder of a trained policy, for part order")
    parser.add_argument("--runners", type=int, default=32, help="episodes per batch")
    parser.add_argument("--repeats", type=int, default=20, help="turns")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs" / "data" / "credit_cost.jsonl")
    parser.add_argument("--figure", type=pathlib.Path, default=ROOT / "docs" / "figures" / "credit_cost.png")
    parser.add_argument("--table", action="store_true", help="print tables of --out; nothing is measured")
    parser.add_argument("--quick", action="store_true", help="tiny sizes, to see that it works")
    options = parser.parse_args()
    maps, agents, env_id, paths = MAPS, AGENTS, "smac/2s3z", PATHS
    if options.quick:
        folder = pathlib.Path(tempfile.mkdtemp())
        options.out, options.figure = folder / "credit_cost.jsonl", folder / "credit_cost.png"
        options.runners, options.repeats = 4, 2
        maps, agents, env_id = ("matrix/focus-fire",), (2, 3), "matrix/focus-fire"
        paths = {name: PATHS[name] for name in ("K = 1", REFERENCE)}
    if options.table:
        print(tables(read(options.out)))
        return
    machine.configure(0, options.runners)
    devices = machine.choose_devices(0, options.runners)
    shared = (options.runners, options.repeats, devices)
    conditions = {"runners": options.runners, "repeats": options.repeats, "devices": len(devices)}
    conditions["hardware"] = bench.hardware()
    parts = {
        "update": update_rows(maps, *shared),
        "curve": curve_rows(agents, *shared),
        "order": order_rows(env_id, paths, options.run, *shared),
    }
    for part in options.parts:
        store(options.out, part, parts[part], conditions)
    measured = read(options.out)
    draw(measured, options.figure)
    print(f"\n{tables(measured)}\n\n{options.out}\n{options.figure}")


if __name__ == "__main__":
    main()
