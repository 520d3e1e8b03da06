"""The page of `seca view`: one HTML file with an episode, or two of them side by side, which loads nothing else.

What stands in it is made by the scripts of `page/` from the numbers that are embedded here.
"""

import base64
import html
import pathlib
import string
from collections.abc import Sequence
from typing import Any

import numpy as np

from seca import files
from seca.battles.draw import glyph, healing
from seca.battles.recording import Recording, check_free
from seca.battles.scene import Scene
from seca.envs.hosted.kinds import KINDS
from seca.errors import UsageError
from seca.report.markup import embedded, policy, resource, warnings
from seca.view.account import Account, Viewed

SCRIPTS = (
    *("data.js", "ground.js", "stage.js", "scene.js", "strips.js"),
    *("panels.js", "stairs.js", "orders.js", "side.js", "main.js"),
)
"""In the order in which they run."""
MOST = 2
"""Episodes side by side."""
FINE = 2**16 - 1
"""Steps in which places are told: 32 map units in 2,000ths."""


def check(out: pathlib.Path) -> None:
    """Raise UsageError unless a page can be written to `out`; asked before an episode is played."""
    if out.suffix != ".html":
        raise UsageError(f"`out` is {out}: it must be a file name that ends in .html")
    check_free(out, "out")


def write(viewed: Sequence[Viewed], out: pathlib.Path) -> pathlib.Path:
    """Write the page of one episode, or of two, to a new .html file. Raises UsageError: see `check` and `page`."""
    made = page(viewed)
    check(out)
    files.write(out, made)
    return out


def page(viewed: Sequence[Viewed]) -> str:
    """The page as text; of the same recordings it is the same. Raises UsageError for none, or more than two."""
    if not 1 <= len(viewed) <= MOST:
        raise UsageError(f"`runs` are {len(viewed)}: give one run or recording, or two to stand side by side")
    scripts = [resource("seca.view", name) for name in SCRIPTS]
    return string.Template(resource("seca.view", "view.html")).substitute(
        policy=policy(scripts),
        title=html.escape(" and ".join(f"{one.account.method} on {one.picture.about.env}" for one in viewed)),
        about=html.escape(_about(viewed)),
        notes=warnings(notes(viewed)),
        base_css=resource("seca.report", "page.css"),
        css=resource("seca.view", "view.css"),
        data=embedded({"sides": [side(one) for one in viewed]}),
        scripts="\n".join(f"<script>{script}</script>" for script in scripts),
    )


def _about(viewed: Sequence[Viewed]) -> str:
    """Where it comes from, in one line."""
    told = dict.fromkeys((one.picture.about.env, one.picture.about.env_version) for one in viewed)
    environments = " and ".join(f"{env}, version {version}" for env, version in told)
    return f"{environments}; recorded by seca {viewed[0].picture.about.seca}"


def notes(viewed: Sequence[Viewed]) -> list[str]:
    """What to be careful with."""
    found = []
    for one in viewed:
        account = one.account
        if account.truth is None:
            found.append(f"{account.run}: whether its credit is right was not measured{_how_to(one.picture)}")
    if len(viewed) == MOST:
        first, second = (one.picture.about for one in viewed)
        if (first.env, first.env_version, first.env_options) != (second.env, second.env_version, second.env_options):
            found.append(f"these are episodes of different environments: {first.env} and {second.env}")
        elif (first.seed, first.battle) != (second.seed, second.battle):
            found.append("these episodes do not begin alike: they are of different seeds or numbers")
        if len({one.account.kind for one in viewed}) > 1:
            kinds = " and ".join(f"{one.account.method}'s is {one.account.kind}" for one in viewed)
            found.append(f"the two credits mean different things: {kinds}")
    return found


def _how_to(picture: Recording | Scene) -> str:
    """How the truth is measured, or why it cannot be."""
    if picture.actions.ndim > 2:
        return ", and cannot be: actions are continuous"
    if picture.about.env.partition(":")[0] in KINDS:
        return ", and cannot be: workers play this environment, and its episodes cannot be forked"
    return "; `seca view RUN --truth 20` forks the steps of which it says most"


def side(one: Viewed) -> dict[str, Any]:
    """One episode for the scripts: JSON."""
    picture, account = one.picture, one.account
    about, orders = picture.about, account.orders
    units = one.unit_names
    agents = [{"name": _named(unit, number), "unit": unit} for number, unit in enumerate(units)]
    told = {name: getattr(account, name) for name in _TOLD}
    told |= {"action": picture.actions, "avail": picture.avail.astype(np.uint8), "reward": picture.reward}
    return {
        "name": account.run,
        "method": account.method,
        "env": about.env,
        "policy": about.policy,
        "seed": about.seed,
        "battle": about.battle,
        "outcome": picture.sentence(),
        "play": account.play,
        "options": ", ".join(f"{name}={value}" for name, value in about.env_options.items()),
        "kind": account.kind,
        "telescopes": account.telescopes,
        "says": account.says,
        "truth_says": _truth_says(account),
        "agents": agents,
        "action_names": _action_names(one),
        "steps": picture.n_steps,
        "frames_per_step": about.loops_per_step,
        "frames_per_second": about.loops_per_second,
        "arrays": {name: packed(array) for name, array in told.items() if array is not None},
        "picture": _picture(picture),
        "orders": None if orders is None else vars(orders) | {"agents": agents},
    }


_TOLD = (
    *("credit", "order", "contribution", "signal", "policy", "value", "error"),
    *("truth_step", "truth", "truth_error"),
)


def _named(unit: str, number: int) -> str:
    """A unit type with its number; names that have one keep it."""
    return unit if unit[-1:].isdigit() else f"{unit} {number}"


def _truth_says(account: Account) -> str | None:
    by = account.truth_by
    if by is None:
        return None
    what = {
        "sequential": "sequential credit in this order",
        "counterfactual": "counterfactual credit",
        "independent": "independent credit",
        "shapley": "Shapley value",
    }[by.kind]
    return f"the true {what} by {by.forks} forks a step, with standard errors"


def _action_names(one: Viewed) -> list[list[str]] | None:
    """Of each agent; None where actions are continuous and nobody names their numbers."""
    given = [list(row) for row in one.account.action_names]
    if given:
        return given
    _, n_agents, n_actions = one.picture.avail.shape
    if one.picture.actions.ndim == 3:
        return None
    return [[f"action {action}" for action in range(n_actions)]] * n_agents


def packed(array: np.ndarray) -> dict[str, Any]:
    """An array for the scripts: bytes in little-endian C order, as text."""
    plain = np.ascontiguousarray(array, array.dtype.newbyteorder("<"))
    text = base64.b64encode(plain.tobytes()).decode()
    return {"dtype": array.dtype.name, "shape": list(array.shape), "data": text}


def rounded(array: np.ndarray) -> dict[str, Any]:
    """An array of places in 65,536 steps between its ends: half the bytes, and nobody sees the difference."""
    low, high = float(array.min()), float(array.max())
    scale = (high - low) / FINE or 1.0
    return packed(np.round((array.astype(np.float64) - low) / scale).astype(np.uint16)) | {
        "scale": scale,
        "offset": low,
    }


def _picture(picture: Recording | Scene) -> dict[str, Any] | None:
    """What is drawn, or None."""
    if isinstance(picture, Scene):
        if not picture.names:
            return None
        arrays = {"radius": picture.radius, "x": picture.x, "y": picture.y, "lines": picture.lines}
        told = {"type": "scene", "names": picture.names, "kinds": picture.kinds, "area": picture.area}
        return told | {"arrays": {name: packed(array) for name, array in arrays.items()}}
    units = {name: getattr(picture, name) for name in ("radius", "health_max", "shield_max", "energy_max")}
    frames = {name: getattr(picture, name) for name in ("health", "shield", "energy", "target")}
    flags = {"flies": picture.flies, "shot": picture.shot, "heals": healing(picture)}
    arrays = {name: packed(array) for name, array in (units | frames).items()}
    arrays |= {name: packed(array.astype(np.uint8)) for name, array in flags.items()}
    return {
        "type": "battle",
        "names": picture.unit_names,
        "n_agents": picture.n_agents,
        "glyphs": [glyph(name) for name in picture.unit_names],
        "arrays": arrays | {"x": rounded(picture.x), "y": rounded(picture.y), "ground": packed(_ground(picture))},
    }


def _ground(battle: Recording) -> np.ndarray:
    """0 outside the map, 1 raised and not walkable; where one can walk 2 and a quarter each of the cliff level."""
    above = np.clip(4 * (battle.level - battle.level[battle.walkable].min()), 0, 2**8 - 3)
    return np.where(battle.walkable, 2 + np.round(above), battle.level > 0).astype(np.uint8)
