"""What a critic makes of Gaussian policies told by mean and variance: one that has seen actions alone, and both.

    python benchmarks/gaussian_critic.py      some 6 minutes on one core; writes docs/data/gaussian.json and the figure

The quadratic games (`seca.envs.quadratic`) have closed forms. SeCA's mixing critic is regressed to their rewards, at
actions drawn from policies that are drawn anew for each game: means from -0.7 to 0.7, deviations from 0.05 to 0.6. Then
its sequential advantages are held against the true ones, for policies and actions it has not met.
"""

import functools
import json
import pathlib
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from seca.credit.sequential import monte_carlo, swept_fast
from seca.envs import quadratic
from seca.learning.joint_critic import MixingCriticConfig, drawn_prefixes, fit, fresh_mixing_critic, plain_taken_value
from seca.learning.rows import pack
from seca.learning.trained import Trained, clipped_adam
from seca.report.figures import COLOURS
from seca.types import Episodes

ROOT = pathlib.Path(__file__).parent.parent / "docs"
N, SIZE, STEPS, SEEDS, HELD_OUT = quadratic.N_AGENTS, 512, 2_000, 5, 4_096
CONFIG = MixingCriticConfig(critic_lr=2e-3)
AT = ("actions", "prefixes")
SAMPLES = (8, 64)
LINE = np.linspace(0, 0.36, 37)
"""Variances at which the critics are drawn, of all three agents alike."""
MEANS = (0.3, -0.5, 0.1)


def drawn(key: jax.Array, size: int) -> tuple[jax.Array, jax.Array]:
    """Policies, as means and variances `[size, agents, 2]`, and an action from each."""
    mean_key, std_key, noise_key = jax.random.split(key, 3)
    mean = jax.random.uniform(mean_key, (size, N, 1), minval=-0.7, maxval=0.7)
    std = jax.random.uniform(std_key, (size, N, 1), minval=0.05, maxval=0.6)
    return jnp.concatenate([mean, std**2], axis=-1), mean + std * jax.random.normal(noise_key, (size, N, 1))


def trained(name: str, at: str, seed: int) -> Trained:
    """A critic after `STEPS` steps on games of one step each."""
    spec = quadratic.make(name).spec
    optimiser = clipped_adam(CONFIG.critic_lr, CONFIG.clip_norm)

    def step(critic: Trained, key: jax.Array) -> tuple[Trained, None]:
        draw_key, order_key = jax.random.split(key)
        policies, actions = drawn(draw_key, SIZE)
        pay = quadratic.rewards(name, actions[..., 0])[:, None]
        twice = lambda x: jnp.stack([x, x], axis=1)  # noqa: E731
        yes, ones = jnp.ones((SIZE, 1), bool), jnp.ones((SIZE, N, 1))
        batch = Episodes(pay, yes, ~yes, yes, twice(ones), twice(ones[:, 0]), twice(ones > 0), twice(actions))
        told = drawn_prefixes(twice(policies), jax.random.split(order_key, SIZE)) if at == "prefixes" else None
        packed, count = pack(yes, 2 * SIZE), jnp.float32(SIZE)
        return fit(critic, pay, batch, packed, optimiser, count, None, plain_taken_value, 1, told)[0], None

    init_key, key = jax.random.split(jax.random.key(seed))
    start = fresh_mixing_critic(init_key, spec, CONFIG)
    return jax.jit(lambda critic: jax.lax.scan(step, critic, jax.random.split(key, STEPS)))(start)[0]


def truth(name: str, policies: jax.Array, actions: jax.Array) -> jax.Array:
    """Eq. 5 in index order, from the closed forms."""
    known = jnp.arange(N + 1)[:, None, None] > jnp.arange(N)
    mean = jnp.where(known, actions[..., 0], policies[..., 0])
    variance = jnp.where(known, 0, policies[..., 1])
    return jnp.moveaxis(jnp.diff(quadratic.expected(name, mean, variance), axis=0), 0, -1)


def explained(credit: jax.Array, true: jax.Array) -> float:
    """Share of the true advantages' square that a credit explains."""
    return float(1 - ((credit - true) ** 2).mean() / (true**2).mean())


def measured(name: str, seed: int) -> dict[str, Any]:
    """One seed of both critics on one game."""
    policies, actions = drawn(jax.random.key(1000 + seed), HELD_OUT)
    true, order = truth(name, policies, actions), jnp.broadcast_to(jnp.arange(N), (HELD_OUT, N))
    found: dict[str, Any] = {"game": name, "seed": seed, "mean of truth": float(true.mean())}
    for at in AT:
        critic = trained(name, at, seed).params
        weights = critic.weights(jnp.ones((HELD_OUT, 1)), N)
        credit = swept_fast(weights.mix(policies, actions), order)
        found[f"swept, {at}"] = explained(credit, true)
        found[f"mean of swept, {at}"] = float(credit.mean())  # Of the truth it is 0, but for the draws.
        line = jnp.stack([jnp.broadcast_to(jnp.asarray(MEANS), (len(LINE), N)), jnp.repeat(LINE[:, None], N, 1)], -1)
        found[f"line, {at}"] = np.asarray(critic.weights(jnp.ones((len(LINE), 1)), N).value(line)).tolist()
        if at == "actions":
            one = critic.weights(jnp.ones(1), N)
            for samples in SAMPLES:
                sample = functools.partial(monte_carlo, one.value, samples=samples)
                keys = jax.random.split(jax.random.key(seed), HELD_OUT)
                sampled = jax.jit(jax.vmap(sample))(policies, actions, order, keys)
                found[f"sampled, {samples}"] = explained(sampled, true)
    return found


def drawing(found: list[dict[str, Any]]) -> Figure:
    """A panel for each game: the critics' values over the variance, beside the truth."""
    figure = Figure(figsize=(8.6, 3.9), layout="constrained")
    for axes, name in zip(figure.subplots(1, 2), quadratic.GAMES, strict=True):
        mean = jnp.broadcast_to(jnp.asarray(MEANS), (len(LINE), N))
        exact = quadratic.expected(name, mean, jnp.repeat(LINE[:, None], N, 1))
        axes.plot(LINE, exact, color=COLOURS[0], linewidth=2, label="truth")
        for at, colour in zip(AT, COLOURS[1:], strict=False):
            for number, row in enumerate(row for row in found if row["game"] == name):
                label = f"critic regressed at {at}" if number == 0 else None
                axes.plot(LINE, row[f"line, {at}"], color=colour, linewidth=1, label=label)
        axes.set_title(f"quadratic/{name}", fontsize=10)
        axes.set_xlabel("variance of each agent's policy")
        axes.set_ylabel("expected reward")
        axes.grid(alpha=0.3)
        axes.spines[["top", "right"]].set_visible(False)
    figure.legend(*axes.get_legend_handles_labels(), loc="outside upper center", ncols=3, frameon=False)
    figure.text(
        0.01,
        0.01,
        f"f(s, (mean, variance)) of the mixing critic at means {MEANS}; {SEEDS} seeds each, {STEPS:,} steps of {SIZE} "
        "one-step games.\nMade by benchmarks/gaussian_critic.py.",
        fontsize=7.5,
        va="bottom",
    )
    figure.get_layout_engine().set(rect=(0, 0.09, 1, 0.91))  # pyrefly: ignore
    return figure


def main() -> None:
    """Measure, write and draw."""
    found = [measured(name, seed) for name in quadratic.GAMES for seed in range(SEEDS)]
    (ROOT / "data" / "gaussian.json").write_text(json.dumps(found) + "\n")
    drawing(found).savefig(ROOT / "figures" / "gaussian.png", dpi=110)
    for name in quadratic.GAMES:
        rows = [row for row in found if row["game"] == name]
        for key in (key for key in rows[0] if key.startswith(("swept", "sampled", "mean"))):
            values = sorted(row[key] for row in rows)
            print(f"{name:<9} {key:<24} median {np.median(values):.3f}, from {values[0]:.3f} to {values[-1]:.3f}")


if __name__ == "__main__":
    main()
