"""What is wrong, or may be, with episodes that were played: each check says in one line what to change."""

import dataclasses
from collections.abc import Callable, Iterator

import numpy as np

from seca.envs.play import Played
from seca.types import EnvSpec

WIDE = 10.0
"""Beyond it a state is worth normalising for methods that make weights of it: SMAX's is (docs/environments.md)."""
LARGE = 100.0
"""Beyond it networks are fed what they hardly learn from: most of them are made for numbers around 1."""


@dataclasses.dataclass(frozen=True)
class Finding:
    """One line about an environment."""

    name: str
    """Short and without spaces, for programs: `auto-reset`."""
    line: str
    """What was seen, and what to change."""
    note: bool = False
    """Whether it may well be meant: a note is told, but is no failure."""


def starts(spec: EnvSpec, played: Played) -> Iterator[Finding]:
    """What `reset` shows is neither over nor paid."""
    del spec
    if played.done[0].any():
        yield Finding("over-at-reset", "`reset` shows episodes that are over: both flags must be False there")
    if (played.reward[0] != 0).any():
        yield Finding("paid-at-reset", "`reset` shows a reward: it must be 0, since nobody has acted")


def flags(spec: EnvSpec, played: Played) -> Iterator[Finding]:
    """An episode ends in one way."""
    del spec
    both = played.terminated & played.truncated
    if both.any():
        t = _first(both)
        line = f"`terminated` and `truncated` are both True at step {t}: an end by the rules is `terminated` alone, "
        yield Finding("both-flags", f"{line}also in the step of the limit, and a cut `truncated` alone")


def limit(spec: EnvSpec, played: Played) -> Iterator[Finding]:
    """An episode is over after `episode_limit` env steps, and is cut there only."""
    most, ends = spec.episode_limit, played.ends
    late = ends > most
    if played.steps >= most and late.any():
        count, ended = f"{late.sum()} of {late.size} episodes", ends[late].max() <= played.steps
        after = f"end by step {ends[late].max()}" if ended else f"are not over after {played.steps} steps"
        line = f"{count} {after}, but `episode_limit` is {most}: set `truncated` at step {most} where nothing has "
        yield Finding("limit-not-kept", f"{line}ended, or state the longest length")
    rows = np.minimum(ends, played.steps)
    at_end = np.arange(len(ends))
    cut = played.truncated[rows, at_end] & (rows < most)
    if cut.any():
        when = sorted(set(rows[cut].tolist()))
        line = f"episodes are truncated at step {_some(when)}, before `episode_limit` = {most}"
        if len(when) == 1:
            yield Finding("limit-too-long", f"{line}: set `episode_limit` to {when[0]}")
        else:
            yield Finding("cut-early", f"{line}: where the rules end it, set `terminated` instead", note=True)
    if most > 1 and (played.terminated[rows, at_end] & (rows == most)).all():
        line = f"every episode is terminated at the very limit of {most} steps: where that is a time limit, set "
        yield Finding("limit-as-end", f"{line}`truncated`, else values beyond it are taken for 0", note=True)
    if most > 1 and played.truncated[rows, at_end].all():
        line = f"none of {len(rows)} episodes ended but by being cut: values are learned as if it went on there, which "
        yield Finding(
            "never-ends", f"{line}had QMIX's diverge; --time-limit terminal takes the cut for the end", note=True
        )


def after_the_end(spec: EnvSpec, played: Played) -> Iterator[Finding]:
    """A finished episode stays as it is and earns nothing."""
    del spec
    over = np.logical_or.accumulate(played.done, axis=0)
    later = np.concatenate([np.zeros_like(over[:1]), over[:-1]])  # From the step after the end on.
    if (later & ~played.done).any():
        t = _first(later & ~played.done)
        line = f"an episode that was over goes on at step {t}: `step` must not reset; leave the state as it is "
        yield Finding("auto-reset", f"{line}where it is done (`jnp.where`, or seca.envs.base.where_done)")
        return
    moved = [name for name, array in _fields(played).items() if _moves(array, later)]
    if moved:
        line = f"{_names(moved)} still change after the end of an episode: return what was there where it is over"
        yield Finding("moves-after-end", line)
    if (later & (played.reward != 0)).any():
        t = _first(later & (played.reward != 0))
        yield Finding("paid-after-end", f"reward is paid after the end, at step {t}: it must be 0 there")
    if not moved and _looks_new(played):
        line = "what is shown at the end of an episode looks like the start of the next: show the last observation, "
        yield Finding("auto-reset", f"{line}as of a `step` that does not reset (the library's inner one, mostly)")


def masks(spec: EnvSpec, played: Played) -> Iterator[Finding]:
    """Everybody can do something, the dead too."""
    if spec.box is not None:
        if (played.avail.any(axis=-1) != played.avail.all(axis=-1)).any():
            line = "`avail` differs between the numbers of one continuous action: it says whether an agent acts, "
            yield Finding("mixed-avail", f"{line}as often as there are numbers")
        return
    none = ~played.avail.any(axis=-1)
    if none.any():
        t, _, agent = np.argwhere(none)[0].tolist()
        line = f"agent {agent} has no available action at step {t}: leave everybody one, to the dead and the waiting a "
        yield Finding("no-action", f"{line}no-op, at the end of an episode too")
    if played.avail.all():
        line = "every action is always available: fine where that is so, else fill `avail` (a mask that got lost on "
        yield Finding("never-masked", f"{line}the way looks like this)", note=True)
    blank = ~played.obs.any(axis=-1) & played.obs[0].any(axis=-1) & ~played.done[..., None]
    free = blank & (played.avail.sum(axis=-1) > 1)
    if free.any():
        t, _, agent = np.argwhere(free)[0].tolist()
        line = f"agent {agent} sees nothing but 0 from step {t} on, as the dead do, and has "
        line += f"{played.avail.sum(axis=-1)[free].max()} actions: where it is dead, leave it one, the no-op"
        yield Finding("dead-acts", line, note=True)


def numbers(spec: EnvSpec, played: Played) -> Iterator[Finding]:
    """Everything is finite and of a size that networks are made for."""
    del spec
    shown = {"obs": played.obs, "state": played.state, "reward": played.reward}
    for name, array in shown.items():
        bad = ~np.isfinite(array)
        if bad.any():
            value, t = array[bad].flat[0], np.argwhere(bad)[0][0]
            line = f"`{name}` holds {value} at step {t}{_entry(name, bad)}: look for a division by 0, a root, or a "
            yield Finding("not-finite", f"{line}maximum over nothing")
        elif name != "reward" and array.size and np.abs(array).max() > LARGE:
            line = f"`{name}` goes up to {np.abs(array).max():.4g}{_entry(name, np.abs(array) > LARGE)}: divide by its "
            yield Finding("huge", f"{line}range, so that most numbers lie within -1 and 1")
        elif name == "state" and array.size and np.abs(array).max() > WIDE:
            line = f"`state` goes up to {np.abs(array).max():.4g}: mixing critics and mixers make their weights of it, "
            yield Finding("wide-state", f"{line}so divide it by its range, or train with --normalise state", note=True)


def observations(spec: EnvSpec, played: Played) -> Iterator[Finding]:
    """What is seen tells something. Of games of one step, in which there is nothing to see, nothing is asked."""
    if played.ends.max() < 2:
        return
    still = [agent for agent in range(spec.n_agents) if _constant(played.obs[:, :, agent])]
    if len(still) == spec.n_agents:
        yield Finding(
            "constant-obs", "`obs` never changes: build it from what `step` has changed, not from what was before"
        )
    elif still:
        line = f"`obs` of agent {_some(still)} never changes, in no episode: fine only for who needs to see nothing"
        yield Finding("constant-obs-of-one", line, note=True)
    elif spec.n_agents > 1 and (played.obs == played.obs[:, :, :1]).all():
        line = "all agents always see the same: fine where nothing is private (learners add an agent's number), else "
        yield Finding("same-obs", f"{line}give each its own", note=True)
    if _constant(played.state):
        line = "`state` never changes: critics see nothing; without a state lay all observations side by side"
        yield Finding("constant-state", line)


def rewards(spec: EnvSpec, played: Played) -> Iterator[Finding]:
    """Something is paid, and not always the same."""
    del spec
    before = np.arange(1, played.steps + 1)[:, None] <= played.ends
    paid = played.reward[1:][before]
    if not paid.size:
        return
    count = f"{played.ends.size} episodes of random play"
    if (paid == 0).all():
        line = (
            f"no reward in {count}: where that is not meant pay it in the step that earns it; where it is, know that "
        )
        yield Finding("no-reward", f"{line}nothing is learned before something is found by luck")
    elif np.ptp(paid) == 0 and np.ptp(played.ends) == 0 and paid.size > played.ends.size:
        line = f"the reward is {paid[0]:.4g} in every step of {count}, which are equally long: it must depend on what "
        yield Finding("constant-reward", f"{line}agents do")


def wins(spec: EnvSpec, played: Played) -> Iterator[Finding]:
    """`won` is set where an episode ends."""
    del spec
    won = played.info.get("won")
    if won is None:
        return
    early = won & ~played.done
    if early.any():
        yield Finding(
            "won-early", f"`won` is True at step {_first(early)}, before the end: set it where `terminated` is"
        )
    elif (won & played.truncated).any():
        line = "`won` is True of episodes that are truncated: fine where to last is to win, else a win is `terminated`"
        yield Finding("won-cut", line, note=True)


Check = Callable[[EnvSpec, Played], Iterator[Finding]]
CHECKS: tuple[Check, ...] = (
    *(starts, flags, limit, after_the_end, masks),
    *(numbers, observations, rewards, wins),
)
"""All that is looked for in one batch of random, legal play."""


def found(spec: EnvSpec, played: Played) -> list[Finding]:
    """Everything that the checks find in legal play, of which `reset` at least has shown something."""
    return [finding for check in CHECKS for finding in check(spec, played)]


def corrupted(spec: EnvSpec, played: Played) -> list[Finding]:
    """What illegal actions did to an environment in which legal ones do no harm."""
    what = "ends of the box and beyond" if spec.box is not None else "actions that are not available"
    if played.broken is not None:
        line = f"with {what} {played.broken}: `step` must not raise; take another action in their place (no-op, say)"
        return [Finding("illegal-raises", line)]
    shown = {"obs": played.obs, "state": played.state, "reward": played.reward}
    bad = [name for name, array in shown.items() if not np.isfinite(array).all()]
    if bad:
        line = f"with {what} {_names(bad)} hold numbers that are not finite: take another action in their place"
        return [Finding("illegal-corrupts", line)]
    return []


def difference(one: Played, other: Played) -> str | None:
    """Where the same episodes differ between two plays: `obs` at step 3; None where they agree but for rounding.

    Rows that only one of them has are left out.
    """
    rows = min(len(one.obs), len(other.obs))
    theirs = _fields(other) | {"reward": other.reward}
    for t in range(rows):
        for name, array in (_fields(one) | {"reward": one.reward}).items():
            here, there = array[t], theirs[name][t]
            exact = not np.issubdtype(here.dtype, np.floating)
            same = np.array_equal(here, there) if exact else np.allclose(here, there, 1e-3, 1e-4, equal_nan=True)
            if not same:
                return f"{name} at step {t}"
    return None


def _fields(played: Played) -> dict[str, np.ndarray]:
    """All that is shown, but for the reward, by its name."""
    told = {f"`info['{name}']`": array for name, array in played.info.items()}
    names = ("obs", "state", "avail", "terminated", "truncated")
    return {f"`{name}`": getattr(played, name) for name in names} | told


def _moves(array: np.ndarray, later: np.ndarray) -> bool:
    """Whether something changes from one row to the next where it must not any more."""
    same = array[1:] == array[:-1]
    if np.issubdtype(array.dtype, np.floating):
        same |= np.isnan(array[1:]) & np.isnan(array[:-1])
    return bool((~same.all(axis=tuple(range(2, same.ndim))) & later[1:]).any())


def _looks_new(played: Played) -> bool:
    """Whether ends look like starts.

    Asked of what all starts share and most episodes have left one step before their end, such as a clock, health, or
    a place: if all of that is back where it was at every end, a reset has come between.
    """
    ends, rows = played.ends, len(played.obs)
    over = (ends >= 2) & (ends < rows)
    if over.sum() < 2:
        return False
    all_shown = np.concatenate([played.obs.reshape(rows, len(ends), -1), played.state], axis=-1)[:, over]
    who, last = np.arange(over.sum()), ends[over]
    first = all_shown[0]
    shared = (first == first[:1]).all(axis=0)
    left = (all_shown[last - 1, who] != first).mean(axis=0) > 0.5
    told = shared & left
    return bool(told.any() and (all_shown[last, who] == first)[:, told].all())


def _constant(array: np.ndarray) -> bool:
    """Whether the vector at the last axis is the same in all rows of all episodes."""
    flat = array.reshape(-1, array.shape[-1])
    return bool((flat == flat[:1]).all())


def _first(where: np.ndarray) -> int:
    """The first row in which something is so."""
    return int(np.argwhere(where)[0][0])


def _entry(name: str, where: np.ndarray) -> str:
    """` (agent 1, number 3)` of the first place in which something is so; nothing of a reward."""
    place = np.argwhere(where)[0].tolist()[2:]
    if name == "obs":
        return f" (agent {place[0]}, number {place[1]})"
    return f" (number {place[0]})" if name == "state" else ""


def _some(values: list[int]) -> str:
    """`1, 2, 3 ...`."""
    return ", ".join(map(str, values[:3])) + (" ..." if len(values) > 3 else "")


def _names(names: list[str]) -> str:
    ticked = [name if name.startswith("`") else f"`{name}`" for name in names]
    return " and ".join(filter(None, [", ".join(ticked[:-1]), ticked[-1]]))
