"""What is found in episodes: each mistake of authors by its name, in what a little environment with it shows."""

import dataclasses
from typing import Any

import jax
import numpy as np
import pytest
from mistaken import LIMIT, Hunt

from seca.envs import findings, play
from seca.envs.play import Played
from seca.types import Box

SPEC = Hunt().make().spec


def played(hunt: Hunt, runners: int = 7, steps: int = LIMIT + 14) -> Played:
    env = hunt.make()
    keys = jax.random.split(jax.random.key(8), 2 * runners)
    return play.Player(env).play(keys[:runners], keys[runners:], play.legal(env.spec), steps)


@pytest.fixture(scope="module")
def right() -> Played:
    """Of what has no mistakes; to be changed by hand."""
    return played(Hunt())


def names(shown: Played, notes: bool = False) -> set[str]:
    return {finding.name for finding in findings.found(SPEC, shown) if finding.note == notes}


def test_what_is_right_passes(right: Played) -> None:
    assert findings.found(SPEC, right) == [] and findings.corrupted(SPEC, right) == []
    assert right.truncated.any() and right.terminated.any()


@pytest.mark.parametrize(
    ("mistakes", "found", "words"),
    [
        ({"goes_on": True}, {"auto-reset"}, "`step` must not reset"),
        ({"pays_on": True}, {"paid-after-end"}, "it must be 0 there"),
        ({"restarts": True}, {"auto-reset"}, "`step` must not reset"),
        ({"next_seen": True}, {"auto-reset"}, "show the last observation"),
        ({"both": True}, {"both-flags"}, "at step 12"),
        ({"late": 3}, {"limit-not-kept"}, "end by step 15, but `episode_limit` is 12: set `truncated` at step 12"),
        ({"endless": True, "flat_reward": True}, {"limit-not-kept", "constant-reward"}, "are not over after 26 steps"),
        ({"sooner": 4}, {"limit-too-long"}, "at step 8, before `episode_limit` = 12: set `episode_limit` to 8"),
        ({"no_op_lost": True}, {"no-action"}, "has no available action at step"),
        ({"nan": True}, {"not-finite"}, "`obs` holds nan at step"),
        ({"raw": True}, {"huge"}, "`obs` goes up to 6000 (agent"),
        ({"blind": True}, {"constant-obs"}, "`obs` never changes"),
        ({"flat_state": True}, {"constant-state"}, "`state` never changes"),
        ({"unpaid": True}, {"no-reward"}, "no reward in 7 episodes"),
        ({"flat_reward": True}, {"constant-reward"}, "the reward is 1 in every step"),
        ({"early_win": True}, {"won-early"}, "set it where `terminated` is"),
    ],
    ids=lambda part: next(iter(part), "") if isinstance(part, dict) else "",
)
def test_mistakes_are_found(mistakes: dict[str, Any], found: set[str], words: str) -> None:
    """Each by its name, and nothing else is called a mistake."""
    told = [finding for finding in findings.found(SPEC, played(Hunt(**mistakes))) if not finding.note]
    assert {finding.name for finding in told} == found
    assert words in told[0].line and "\n" not in told[0].line


@pytest.mark.parametrize(
    ("mistakes", "found"),
    [
        ({"unmasked": True}, {"never-masked"}),
        ({"twins": True}, {"same-obs"}),
        ({"as_end": True, "flat_reward": True, "unpaid": False}, {"limit-as-end"}),
    ],
    ids=lambda part: next(iter(part), ""),
)
def test_what_may_be_meant_is_a_note(mistakes: dict[str, Any], found: set[str]) -> None:
    shown = played(Hunt(**mistakes))
    assert names(shown, notes=True) == found and names(shown) <= {"constant-reward"}


def test_what_is_shown_by_reset(right: Played) -> None:
    over, paid = right.terminated.copy(), right.reward.copy()
    over[0, 3], paid[0, 3] = True, 1
    assert "over-at-reset" in names(dataclasses.replace(right, terminated=over))
    assert names(dataclasses.replace(right, reward=paid)) == {"paid-at-reset"}


def test_cuts_at_several_steps_are_a_note(right: Played) -> None:
    """An end of another kind, maybe; all at the same step is a limit that the spec has wrong."""
    turned = dataclasses.replace(right, truncated=right.done, terminated=np.zeros_like(right.done))
    turned = dataclasses.replace(turned, info={})
    assert names(turned) == set() and names(turned, notes=True) == {"cut-early", "never-ends"}
    spec = dataclasses.replace(SPEC, episode_limit=LIMIT + 2)
    late = dataclasses.replace(turned, truncated=np.arange(len(right.done))[:, None] >= np.full(7, LIMIT))
    [finding] = [told for told in findings.limit(spec, late) if not told.note]
    assert finding.line.endswith("set `episode_limit` to 12")


def test_what_moves_after_the_end(right: Played) -> None:
    """In any of what is shown, whatever is there."""
    for name in ("obs", "state", "avail"):
        array = getattr(right, name).copy()
        array[-1, 2] = ~array[-1, 2] if name == "avail" else array[-1, 2] + 1
        shown = dataclasses.replace(right, **{name: array})
        [finding] = [told for told in findings.after_the_end(SPEC, shown)]
        assert finding.name == "moves-after-end" and finding.line.startswith(f"`{name}` still change")
    lost = right.info["won"].copy()
    lost[-1] = False
    [finding] = findings.after_the_end(SPEC, dataclasses.replace(right, info={"won": lost}))
    assert finding.line.startswith("`info['won']` still")


def test_who_looks_dead_and_acts(right: Played) -> None:
    """Nothing but zeros from some step on; who has one action left is dead and right."""
    obs, avail = right.obs.copy(), right.avail.copy()
    obs[1:, :, 1] = 0
    dead = dataclasses.replace(right, obs=obs)
    [finding] = [told for told in findings.masks(SPEC, dead)]
    assert finding.name == "dead-acts" and "agent 1 sees nothing but 0 from step 1 on" in finding.line
    avail[1:, :, 1] = [True, False, False]
    assert list(findings.masks(SPEC, dataclasses.replace(dead, avail=avail))) == []


def test_who_sees_nothing_new(right: Played) -> None:
    obs = right.obs.copy()
    obs[:, :, 1] = 0.5
    [finding] = findings.observations(SPEC, dataclasses.replace(right, obs=obs))
    assert finding.name == "constant-obs-of-one" and "agent 1 never changes" in finding.line and finding.note


def test_games_of_one_step_show_nothing(right: Played) -> None:
    """A matrix game: there is nothing to see in it."""
    spec = dataclasses.replace(SPEC, episode_limit=1)
    shown = dataclasses.replace(
        right, obs=np.ones_like(right.obs), state=np.ones_like(right.state), terminated=right.terminated | True
    )
    assert list(findings.observations(spec, shown)) == []


def test_a_win_by_lasting_is_a_note(right: Played) -> None:
    won = right.info["won"] | right.truncated
    assert [finding.name for finding in findings.wins(SPEC, dataclasses.replace(right, info={"won": won}))] == [
        "won-cut"
    ]


def test_masks_of_boxes(right: Played) -> None:
    """All numbers of an action or none; who does not act has none, and that is no mistake."""
    spec = dataclasses.replace(SPEC, box=Box((-1.0,) * 3, (1.0,) * 3))
    assert [finding.name for finding in findings.masks(spec, right)] == ["mixed-avail"]
    none = dataclasses.replace(right, avail=np.zeros_like(right.avail))
    assert list(findings.masks(spec, none)) == []


def test_what_illegal_actions_do(right: Played) -> None:
    reward = right.reward.copy()
    reward[5, 1] = np.nan
    [finding] = findings.corrupted(SPEC, dataclasses.replace(right, reward=reward))
    assert finding.name == "illegal-corrupts" and "not available `reward` hold" in finding.line
    [finding] = findings.corrupted(SPEC, dataclasses.replace(right, broken="`step` raises KeyError: 7"))
    assert finding.name == "illegal-raises" and "`step` raises KeyError: 7: `step` must not raise" in finding.line


def test_differences_are_told_with_their_place(right: Played) -> None:
    """Rounding is none, a flag is; what only one of them has played does not count."""
    assert findings.difference(right, right) is None
    near = dataclasses.replace(right, state=right.state * (1 + 1e-6))
    assert findings.difference(right, near) is None
    over = right.truncated.copy()
    over[4, 6] = True
    assert findings.difference(right, dataclasses.replace(right, truncated=over)) == "`truncated` at step 4"
    cut = {name: getattr(right, name)[:3] for name in ("obs", "state", "avail", "reward", "terminated", "truncated")}
    short = dataclasses.replace(right, **cut, info={"won": right.info["won"][:3]})
    assert findings.difference(right, short) is None


@pytest.mark.parametrize(("top", "notes", "mistakes"), [(9.9, set(), set()), (40, {"wide-state"}, set())])
def test_a_wide_state(right: Played, top: float, notes: set[str], mistakes: set[str]) -> None:
    """Not so wide that it is a mistake, yet mixing critics fail with it: SMAX's is up to 40."""
    state = right.state.copy()
    state[1, 0, 0] = top
    shown = dataclasses.replace(right, state=state)
    assert names(shown, notes=True) == notes and names(shown) == mistakes


@pytest.mark.parametrize("itself", [0, 1])
def test_what_never_ends(right: Played, itself: int) -> None:
    """Not a mistake, yet whose values look beyond every end has nothing that they are anchored to."""
    rows, at_end = np.minimum(right.ends, right.steps), np.arange(len(right.ends))
    terminated, truncated = np.zeros_like(right.terminated), np.zeros_like(right.truncated)
    truncated[rows, at_end] = True
    terminated[rows[:itself], at_end[:itself]], truncated[rows[:itself], at_end[:itself]] = True, False
    shown = dataclasses.replace(right, terminated=terminated, truncated=truncated)
    found = {finding.name: finding.line for finding in findings.limit(SPEC, shown)}
    assert ("never-ends" in found) == (itself == 0)
    assert itself or f"none of {len(rows)} episodes ended but by being cut" in found["never-ends"]
