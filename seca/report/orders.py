"""How the order of evaluation changes with training, and what it goes with: Fig. 5 of Zang et al. 2023.

From the policies that a run kept on the way (`--snapshot-interval`): each plays episodes, sampled as in training, and
its own critic orders the agents of each episode as an update would.

Axes beside those of `seca.types`: ``quarters`` of the battle; step t of L is in quarter floor(4 t / L).
"""

import dataclasses
import functools
import itertools
import json
import pathlib
import textwrap
from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jaxtyping import Float64, Int
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from seca import numerics
from seca.algos.seca import SecaConfig
from seca.errors import UsageError
from seca.report import curves, figures
from seca.runs import folder as folders
from seca.runs import stats
from seca.runs.folder import RunFolder
from seca.runs.load import build_run, load_state, newest_valid
from seca.smac.scenario import Scenario
from seca.train import checkpoint
from seca.train.rollout import collect
from seca.train.state import TrainState
from seca.types import PyTree

EPISODES = 64
"""Played by each policy, unless told otherwise."""
QUARTERS = 4
_STREAM = 0x0DE5
"""Keeps these episodes apart from those of training and of evaluations."""


@dataclasses.dataclass(frozen=True)
class Moment:
    """One policy of a training. Means are over its episodes; agents in slots."""

    env_steps: int
    win_rate: float | None
    """Share of these episodes that were won, where one can win."""
    return_mean: float
    rank: list[float]
    """`[agents]`: place in the order that the method judges by, mean over steps; 0 is judged first."""
    contribution: list[float]
    """`[agents]`: to the value earned in an episode, by the critic."""
    rank_by_quarter: list[list[float | None]]
    """`[quarters, agents]`: the place each agent would have by what it contributed in that quarter alone, among those
    that live when it begins; equals share theirs. None for one that never does."""
    contribution_by_quarter: list[list[float]]
    """`[quarters, agents]`."""
    alive: list[list[float]]
    """`[quarters, agents]`: share of episodes in which it lives at the quarter's end."""
    health: list[list[float]]
    """`[quarters, agents]`: health and shield left then, as a share of both at the start."""
    agreement: dict[str, float | None]
    """`survival`, `health`: mean over episodes of Spearman's correlation, over agents, between contribution and steps
    lived, or mean health over the steps; None where in no episode agents differ in it."""


@dataclasses.dataclass(frozen=True)
class Evaluated:
    """An evaluation of the training: greedy episodes, means."""

    env_steps: float
    win_rate: float
    return_mean: float
    length_mean: float
    """Env steps."""


class NothingKeptError(UsageError):
    """A run that kept no policies on the way."""


@dataclasses.dataclass(frozen=True)
class Evolution:
    """The policies of one training, in order."""

    run: str
    """Name of the run folder."""
    method: str
    """Preset, with every option that differs from it."""
    env: str
    """With its version and options."""
    seed: int
    """Of the training."""
    units: list[str]
    """Unit of each agent."""
    episodes: int
    moments: list[Moment]
    evaluated: list[Evaluated]


def measure(
    path: pathlib.Path, episodes: int = EPISODES, tell: Callable[[float, int], None] | None = None
) -> Evolution:
    """Play the kept policies of a run and its last one, and order their episodes.

    Args:
        path: run folder.
        episodes: of each policy.
        tell: told what share of the policies is done, and how many.

    Raises:
        UsageError: the run cannot be read, kept no policies, has no order by contribution, or is not of SMAC.
    """
    folder = folders.existing(path)
    config = folders.read_config(folder.config)
    built = build_run(config, home=folder)
    kept = list(checkpoint.snapshots(folder.checkpoints))
    if not kept:
        raise NothingKeptError(
            f"`run` is {folder.path}: it kept no policies on the way; train with `--snapshot-interval ENV_STEPS`"
        )
    claims, simulator = built.algorithm.claims, built.env.simulator
    if claims is None or not isinstance(config.algorithm, SecaConfig) or config.algorithm.order != "gradients":
        raise UsageError(f"`run` is {path}: {config.preset} orders no agents by their contributions")
    if simulator is None or not built.env.spec.ally_features:
        raise UsageError(f"`run` is {path}: {config.env} does not say in its state how its agents are")
    field = simulator.battlefield
    play = jax.jit(functools.partial(collect, built.env, built.algorithm))
    judge = jax.jit(claims.fn)
    latest = newest_valid(folder, "latest", built)
    last = [latest[0]] if latest is not None and int(latest[0].env_steps) > kept[-1] else []
    moments, count = [], len(kept) + len(last)
    for number, state in enumerate(itertools.chain((load_state(folder, at, built)[0] for at in kept), last)):
        params = built.algorithm.policy(state.learner)
        moments.append(_moment(state, params, play, judge, episodes, field, config.seed))
        if tell is not None:
            tell((number + 1) / count, number + 1)
    curve = curves.read_curve(path)
    units = list(field.unit_names[: field.n_agents])
    return Evolution(path.name, curve.preset, curve.env, config.seed, units, episodes, moments, _evaluations(folder))


def _evaluations(folder: RunFolder) -> list[Evaluated]:
    lines = folders.read_metrics(folder, "eval")
    return [
        Evaluated(
            *map(float, (line["env_steps"], line["win_rate"], line["return_mean"], np.mean(line["episode_length"])))
        )
        for line in lines
    ]


@numerics.own()
def _moment(
    state: TrainState,
    params: PyTree,
    play: Callable[..., Any],
    judge: Callable[..., Any],
    count: int,
    field: Scenario,
    seed: int,
) -> Moment:
    play_key, judge_key = jax.random.split(jax.random.fold_in(stats.evaluation_key(seed), _STREAM))
    episodes, played = play(params, jax.random.split(play_key, count), state.env_steps)
    claim = judge(state.learner, episodes, state.env_steps, judge_key)
    seen = jax.device_get((episodes.state, episodes.valid, claim.order, claim.contribution, played))
    states, valid, order, contribution, played = seen
    lives, health = condition(states, field)
    return moment(int(state.env_steps), valid, order, contribution, lives, health, played.won, played.episode_return)


def condition(states: np.ndarray, field: Scenario) -> tuple[np.ndarray, np.ndarray]:
    """Who lives, and the share of health and shield left, `[batch, time + 1, agents]` both, from SMAC's states."""
    a = field.n_agents
    features = 4 + int(field.ally_has_shield) + field.type_bits.shape[1]
    allies = states[..., : a * features].reshape(*states.shape[:-1], a, features).astype(np.float64)
    health, shield = field.health_max[:a].reshape(-1), field.shield_max[:a].reshape(-1)
    left = allies[..., 0] * health + (allies[..., 4] * shield if field.ally_has_shield else 0.0)
    return allies[..., 0] > 0, left / (health + shield)


def moment(
    env_steps: int,
    valid: np.ndarray,
    order: Int[np.ndarray, "batch time agents"],
    contribution: np.ndarray,
    lives: np.ndarray,
    health: np.ndarray,
    won: np.ndarray | None,
    returns: np.ndarray,
) -> Moment:
    """The means of some episodes.

    Args:
        env_steps: of the training of who played them.
        valid: `[batch, time]`, real steps.
        order: agent at each position.
        contribution: `[batch, time, agents]`, of single steps; 0 on padding.
        lives: `[batch, time + 1, agents]`.
        health: likewise, as a share.
        won: `[batch]`, or None.
        returns: `[batch]`.
    """
    length = valid.sum(axis=1)
    time = np.arange(valid.shape[1])
    quarter = QUARTERS * time // length[:, None]
    inside = (quarter[:, None] == np.arange(QUARTERS)[:, None]) & valid[:, None]
    parts = np.einsum("bqt,btn->bqn", inside.astype(np.float64), contribution.astype(np.float64))
    whole = parts.sum(axis=1)
    borders = -(-(np.arange(QUARTERS + 1) * length[:, None]) // QUARTERS)
    episode = np.arange(len(length))[:, None]
    at_starts, at_ends = (episode, borders[:, :-1]), (episode, borders[:, 1:])
    place = np.argsort(order, axis=-1)
    real = valid[..., None]
    means = {name: (values[:, :-1] * real).sum(axis=1) for name, values in (("survival", lives), ("health", health))}
    return Moment(
        env_steps=env_steps,
        win_rate=None if won is None else float(won.mean()),
        return_mean=float(returns.mean()),
        rank=_listed((place * valid[..., None]).sum(axis=(0, 1)) / valid.sum()),
        contribution=_listed(whole.mean(axis=0)),
        rank_by_quarter=_places(parts, lives[at_starts]),
        contribution_by_quarter=_listed(parts.mean(axis=0)),
        alive=_listed(lives[at_ends].mean(axis=0)),
        health=_listed(health[at_ends].mean(axis=0)),
        agreement={name: agreement(whole, values / length[:, None]) for name, values in means.items()},
    )


def _places(parts: np.ndarray, lives: np.ndarray) -> list[list[float | None]]:
    """`[quarters, agents]`: mean places by contribution among the living, highest first."""
    batch, quarters, agents = parts.shape
    flat = np.where(lives, -parts, np.inf).reshape(-1, agents)
    places = ranks(flat).reshape(batch, quarters, agents)
    total, count = (places * lives).sum(axis=0), lives.sum(axis=0)
    return [
        [round(float(s / c), 6) if c else None for s, c in zip(sums, counts, strict=True)]
        for sums, counts in zip(total, count, strict=True)
    ]


def _listed(values: np.ndarray) -> list[Any]:
    return np.asarray(values, np.float64).round(6).tolist()


def agreement(one: Float64[np.ndarray, "batch agents"], other: Float64[np.ndarray, "batch agents"]) -> float | None:
    """Mean over episodes of Spearman's rank correlation between agents' numbers; None where it exists in none."""
    x, y = ranks(one), ranks(other)
    x, y = x - x.mean(axis=1, keepdims=True), y - y.mean(axis=1, keepdims=True)
    scale = np.sqrt((x**2).sum(axis=1) * (y**2).sum(axis=1))
    known = scale > 0
    return float(((x * y).sum(axis=1)[known] / scale[known]).mean()) if known.any() else None


def ranks(values: Float64[np.ndarray, "batch agents"]) -> Float64[np.ndarray, "batch agents"]:
    """Ranks from 0, equals sharing the mean of theirs."""
    below = (values[:, :, None] > values[:, None, :]).sum(axis=-1)
    equal = (values[:, :, None] == values[:, None, :]).sum(axis=-1)
    return below + (equal - 1) / 2


def as_json(found: Evolution) -> str:
    """All of it as text."""
    return json.dumps(dataclasses.asdict(found)) + "\n"


OVER_TRAINING = (
    ("place in the order (0 is judged first)", "rank"),
    ("contribution to an episode's value", "contribution"),
    ("share of episodes survived", "alive"),
    ("health and shield left at the end", "health"),
)
SHOWN = 4
"""Policies whose quarters are shown."""
DASHES = ("-", "--", ":", "-.")


def draw(found: Evolution, title: str, notes: Sequence[str] = ()) -> Figure:
    """Over training: places, contributions, survival and health of each agent; below, by quarter of the battle."""
    figure = Figure(figsize=(15, 11.4), layout="constrained")
    grid = figure.add_gridspec(4, SHOWN, height_ratios=(1.25, 0.95, 0.95, 0.85))
    for column, (label, field) in enumerate(OVER_TRAINING):
        _over_training(figure.add_subplot(grid[0, column]), found, label, field)
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside upper center", ncols=min(len(labels), 10), frameon=False)
    chosen = chosen_moments(found.moments)
    for column, one in enumerate(chosen):
        won = "" if one.win_rate is None else f", {100 * one.win_rate:.0f} % won"
        heading = f"after {one.env_steps:,} env steps{won}"
        _by_quarter(figure.add_subplot(grid[1, column]), found, one.rank_by_quarter, heading, "place by quarter", 1)
        _by_quarter(
            figure.add_subplot(grid[2, column]), found, one.contribution_by_quarter, "", "contribution by quarter", 2
        )
    _agreement(figure.add_subplot(grid[3, :2]), found)
    _wins(figure.add_subplot(grid[3, 2:]), found)
    lines = textwrap.wrap(caption(found, title, notes), 215)
    figure.text(0.01, 0.01, "\n".join(lines), fontsize=8, va="bottom")
    below = (0.15 + 0.14 * len(lines)) / figure.get_figheight()
    figure.set_layout_engine("constrained", rect=(0, below, 1, 1 - below))
    return figure


def chosen_moments(moments: Sequence[Moment]) -> list[Moment]:
    """The first, the last, and what lies evenly between."""
    at = np.linspace(0, len(moments) - 1, min(SHOWN, len(moments))).round().astype(int)
    return [moments[index] for index in at]


def caption(found: Evolution, title: str, notes: Sequence[str] = ()) -> str:
    """How the numbers were made."""
    every = np.diff([one.env_steps for one in found.moments])
    interval = f"about every {np.median(every):,.0f} env steps" if len(every) else "once"
    parts = [
        f"{title}. {found.method} on {found.env}, training seed {found.seed}: {len(found.moments)} policies, kept "
        f"{interval}, {found.episodes} sampled episodes each; an untrained policy's order is chance.",
        "Places: as the method judges, mean over steps. By quarter of the battle: places by what was contributed in "
        "that quarter alone, among the living (blank: fallen in every episode), and those contributions (integrated "
        "gradients of the run's critic, Eq. 17 and 18, in units of return); agents from top to bottom in slots.",
        "Agreement: mean over episodes of Spearman's correlation over agents between contribution and the steps that "
        "they live, or their mean health over the battle. What goes with the order need not be what makes it.",
        *(f"Warning: {note}." for note in notes),
    ]
    return " ".join(parts)


def _look(units: Sequence[str], agent: int) -> dict[str, Any]:
    """A colour for each type of unit, a dash for each agent of it."""
    types = list(dict.fromkeys(units))
    number = [slot for slot, unit in enumerate(units) if unit == units[agent]].index(agent)
    colour = figures.COLOURS[types.index(units[agent]) % len(figures.COLOURS)]
    return {"color": colour, "linestyle": DASHES[number % len(DASHES)], "linewidth": 1.5}


def _over_training(axes: Axes, found: Evolution, label: str, field: str) -> None:
    steps = [one.env_steps for one in found.moments]
    values = np.array([getattr(one, field) for one in found.moments])
    values = values if values.ndim == 2 else values[:, -1]
    for agent in range(len(found.units)):
        axes.plot(steps, values[:, agent], label=_name(found, agent), **_look(found.units, agent))
    axes.set_xlabel("env steps")
    axes.set_title(label, fontsize=10)
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
    if field == "rank":
        axes.invert_yaxis()  # Who is judged first is on top.
    elif field != "contribution":
        axes.set_ylim(-0.02, 1.02)


def _by_quarter(
    axes: Axes, found: Evolution, values: Sequence[Sequence[float | None]], heading: str, label: str, digits: int
) -> None:
    """Agents by quarters, with the numbers; nothing where there is none."""
    table = np.array(values, np.float64).T
    first = label.startswith("place")
    limit = len(found.units) - 1 if first else max(np.nanmax(abs(table)), 1e-9)
    low = 0 if first else -limit
    image = axes.imshow(table, aspect="auto", cmap="viridis_r" if first else "PuOr_r", vmin=low, vmax=limit)
    for agent, quarter in np.argwhere(np.isfinite(table)):
        shade = image.cmap(image.norm(table[agent, quarter]))
        dark = np.dot(shade[:3], (0.299, 0.587, 0.114)) < 0.5
        told = f"{table[agent, quarter]:.{digits}f}"
        size = 8 if len(found.units) <= 8 else 6
        axes.text(quarter, agent, told, ha="center", va="center", fontsize=size, color="white" if dark else "black")
    axes.set_yticks(range(len(found.units)), [_name(found, agent) for agent in range(len(found.units))], fontsize=8)
    axes.set_xticks(range(QUARTERS), [f"quarter {number + 1}" for number in range(QUARTERS)], fontsize=8)
    axes.set_title("\n".join(line for line in (heading, label) if line), fontsize=10)


def _name(found: Evolution, agent: int) -> str:
    return f"{agent}: {found.units[agent]}"


def _agreement(axes: Axes, found: Evolution) -> None:
    steps = [one.env_steps for one in found.moments]
    for number, (name, words) in enumerate((("survival", "steps lived"), ("health", "mean health"))):
        known = (one.agreement[name] for one in found.moments)
        values = np.array([np.nan if value is None else value for value in known])
        axes.plot(steps, values, DASHES[number], color=figures.COLOURS[number], label=words)
    axes.axhline(0, color="0.7", linewidth=1, zorder=0)
    axes.set_ylim(-1.02, 1.02)
    axes.set_title("agreement of contributions with", fontsize=10)
    axes.legend(fontsize=8, frameon=False, loc="lower left", ncols=2)
    _finish(axes)


def _wins(axes: Axes, found: Evolution) -> None:
    """What the policies achieve in the same episodes."""
    rates = [one.win_rate for one in found.moments if one.win_rate is not None]
    won = len(rates) == len(found.moments)
    values = np.array(rates if won else [one.return_mean for one in found.moments])
    axes.plot([one.env_steps for one in found.moments], values, color="black")
    axes.set_title("win rate, sampled" if won else "return, sampled", fontsize=10)
    if won:
        axes.set_ylim(-0.02, 1.02)
    _finish(axes)


def _finish(axes: Axes) -> None:
    axes.set_xlabel("env steps")
    axes.grid(alpha=0.3)
    axes.spines[["top", "right"]].set_visible(False)
