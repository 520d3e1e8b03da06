"""What a method said of an episode, and the file that holds both.

The file is a recording's (`battles.recording`, `battles.scene`) with arrays beside it whose names begin with `told_`;
whatever draws recordings draws it too. Axes as there, and ``width`` (numbers that tell a policy, `types.EnvSpec`),
``known`` (steps whose truth was measured).
"""

import dataclasses
import pathlib
from typing import Any, Literal

import numpy as np
from jaxtyping import Float32, Int16

from seca import files
from seca.battles import recording, scene
from seca.battles.recording import Recording
from seca.battles.scene import TOLD, Scene
from seca.credit.base import KINDS, Kind

Told = Kind | Literal["shared"]
"""What a credit is an estimate of; shared: nobody's, all agents are told the team's error."""


@dataclasses.dataclass(frozen=True)
class Truth:
    """What actions of some steps were worth, by forks of the episode."""

    kind: Kind
    forks: int
    """Of each step."""
    seed: int


@dataclasses.dataclass(frozen=True)
class Orders:
    """Means over the batches of a training, in parts of it: who was judged when."""

    env_steps: list[int]
    place: list[list[float]]
    """Mean position of each agent, 0 is judged first."""
    contribution: list[list[float]] | None
    """Mean contribution of each agent in an episode, where the order follows from it."""


@dataclasses.dataclass(frozen=True)
class Account:
    """What a method says of one episode."""

    run: str
    """Name of the run folder."""
    method: str
    """Its preset."""
    kind: Told
    telescopes: bool
    """Whether value and credits, added in their order, are the prefix values F_0 .. F_n of one critic."""
    says: str
    """Half a sentence on what the credit is."""
    play: Literal["greedy", "sampled"]
    """How the actions of the episode were chosen."""
    action_names: tuple[tuple[str, ...], ...]
    """Of each agent; () where nothing is said of them."""
    truth_by: Truth | None
    orders: Orders | None
    credit: Float32[np.ndarray, "steps agents"]
    order: Int16[np.ndarray, "steps agents"] | None
    """Agent at each position, where the credit depends on who is judged first."""
    contribution: Float32[np.ndarray, "steps agents"] | None
    signal: Float32[np.ndarray, "steps agents"] | None
    """What the policy follows, where that is more than the credit."""
    policy: Float32[np.ndarray, "steps agents width"] | None
    """Probabilities, or means and variances."""
    value: Float32[np.ndarray, " steps"] | None
    """The return expected before anybody's action is known."""
    error: Float32[np.ndarray, " steps"] | None
    """TD error of the critic."""
    truth_step: Int16[np.ndarray, " known"] | None
    truth: Float32[np.ndarray, "known agents"] | None
    truth_error: Float32[np.ndarray, "known agents"] | None
    """Standard errors."""


@dataclasses.dataclass(frozen=True)
class Viewed:
    """An episode and what a method says of it."""

    picture: Recording | Scene
    account: Account

    @property
    def unit_names(self) -> tuple[str, ...]:
        """Unit type of each agent, or its name where it has no type."""
        n_agents, picture = self.account.credit.shape[1], self.picture
        names = picture.unit_names if isinstance(picture, Recording) else picture.names
        return names[:n_agents] or ("agent",) * n_agents


_LAYOUT: dict[str, tuple[str, tuple[str, ...]]] = {
    "credit": ("float32", ("steps", "agents")),
    "order": ("int16", ("steps", "agents")),
    **dict.fromkeys(("contribution", "signal"), ("float32", ("steps", "agents"))),
    "policy": ("float32", ("steps", "agents", "width")),
    **dict.fromkeys(("value", "error"), ("float32", ("steps",))),
    "truth_step": ("int16", ("known",)),
    **dict.fromkeys(("truth", "truth_error"), ("float32", ("known", "agents"))),
}
"""Type and axes of the arrays; all but `credit` may be missing."""
_TRUTH = ("truth_step", "truth", "truth_error")
_TEXTS = ("run", "method", "says")


def save(viewed: Viewed, path: pathlib.Path) -> None:
    """Write it so that a kill leaves the whole file or none. Raises UsageError when there is one already."""
    about, arrays = scene.parts(viewed.picture)
    account = viewed.account
    told = {field.name: getattr(account, field.name) for field in dataclasses.fields(account)}
    given = {name: told.pop(name) for name in _LAYOUT}
    plain = {name: dataclasses.asdict(x) if dataclasses.is_dataclass(x) else x for name, x in told.items()}  # pyrefly: ignore
    arrays |= {TOLD + name: array for name, array in given.items() if array is not None}
    recording.write(path, about | {"account": plain}, arrays)


def load(path: pathlib.Path) -> Viewed:
    """What is in a file. Raises UsageError: missing, damaged, of another format, or a recording that says no credit."""

    def make(arrays: dict[str, np.ndarray], written: dict[str, Any]) -> Viewed | None:
        told = written.get("account")
        if told is None:
            return None
        given = {name.removeprefix(TOLD): array for name, array in arrays.items() if name.startswith(TOLD)}
        picture = scene.made(arrays, written)
        return Viewed(picture, _made_of(given, told, picture))

    given = f"`recording` is {files.usable('recording', path)}"
    viewed = files.read_archive(path, given, "recording", recording.FORMAT, recording.MOST_BYTES, make)
    if viewed is None:
        raise files.UsageError(f"{given}: it holds no credit; `seca view RUN` records an episode with it")
    return viewed


def _made_of(arrays: dict[str, np.ndarray], told: dict[str, Any], picture: Recording | Scene) -> Account:
    """Raises ValueError, KeyError or TypeError unless all is there and fits together: a page indexes with it."""
    steps, agents = picture.actions.shape[:2]
    layout = {name: entry for name, entry in _LAYOUT.items() if name in arrays or name == "credit"}
    known = {"steps": steps, "agents": agents, "frames": steps + 1}
    sizes = recording.checked_sizes(arrays, layout, known, 1)
    if len({name in arrays for name in _TRUTH} | {told["truth_by"] is not None}) > 1:
        raise ValueError("a truth that is told in part")
    if told["kind"] not in (*KINDS, "shared") or told["play"] not in ("greedy", "sampled"):
        raise ValueError(f"`kind` is {told['kind']!r}, `play` is {told['play']!r}")
    if (told["kind"] == "sequential") != ("order" in arrays):
        raise ValueError("a sequential credit without its order, or an order of another")
    if told["telescopes"] not in (False, True) or (told["telescopes"] and not {"order", "value"} <= arrays.keys()):
        raise ValueError("prefix values without an order or a value to begin from")
    recording.check_names("texts", tuple(told[name] for name in _TEXTS))
    _check_ranges(arrays, picture)
    order, at = arrays.get("order"), arrays.get("truth_step", np.zeros(0))
    if order is not None and (np.sort(order, axis=1) != np.arange(agents)).any():
        raise ValueError("`order` holds what is no order")
    if ((at < 0) | (at >= steps)).any() or len(np.unique(at)) < len(at):
        raise ValueError(f"`truth_step` points beyond the {steps} steps, or twice to one")
    if "policy" in arrays and sizes["width"] != picture.avail.shape[2] * (picture.actions.ndim - 1):
        raise ValueError(f"`policy` has {sizes['width']} numbers for {picture.avail.shape[2]} actions")
    names = tuple(tuple(row) for row in told["action_names"])
    if names and (len(names) != agents or any(len(row) != picture.avail.shape[2] for row in names)):
        raise ValueError("`action_names` are not one of each action")
    recording.check_names("action_names", tuple(name for row in names for name in row))
    truth_by, orders = told["truth_by"], told["orders"]
    read: dict[str, Any] = {name: told[name] for name in (*_TEXTS, "kind", "telescopes", "play")}
    read |= {"action_names": names, "truth_by": None if truth_by is None else _truth(truth_by)}
    read["orders"] = None if orders is None else _orders(Orders(**orders), agents)
    return Account(**read, **{name: arrays.get(name) for name in _LAYOUT})  # pyrefly: ignore


def _check_ranges(arrays: dict[str, np.ndarray], picture: Recording | Scene) -> None:
    """Raise ValueError for actions that there are not, policies that are none, and errors below zero."""
    if picture.actions.ndim == 2:
        if picture.actions.min() < 0 or picture.actions.max() >= picture.avail.shape[2]:
            raise ValueError(f"`actions` point beyond the {picture.avail.shape[2]} that there are")
        policy = arrays.get("policy", np.zeros(1))
        if policy.min() < -_ROUNDING or policy.max() > 1 + _ROUNDING:
            raise ValueError("`policy` holds what is no probability")
    if arrays.get("truth_error", np.zeros(1)).min() < 0:
        raise ValueError("`truth_error` holds an error below 0")
    if isinstance(picture, Scene) and picture.about.loops_per_step != 1:
        raise ValueError("a scene has one frame for each step")


_ROUNDING = 1e-3


def _truth(told: dict[str, Any]) -> Truth:
    """Of its fields. Raises ValueError or TypeError unless these are a kind and two numbers."""
    if told.get("kind") not in KINDS or any(type(told.get(name)) is not int for name in ("forks", "seed")):
        raise ValueError(f"`truth_by` is {told}")
    return Truth(**told)


def _orders(found: Orders, agents: int) -> Orders:
    """The same. Raises ValueError or TypeError unless each part has a finite number of each agent."""
    for rows in (found.place, *([] if found.contribution is None else [found.contribution])):
        numbers = np.array(rows, np.float64).reshape(len(found.env_steps), agents)
        if not np.isfinite(numbers).all():
            raise ValueError("`orders` hold a number that is not finite")
    np.array(found.env_steps, np.int64)
    return found
