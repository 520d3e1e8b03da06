"""Environments tried out: those that are right pass, and each mistake of authors is found by its name."""

import dataclasses
import json
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import pytest
from mistaken import LIMIT, Hunt

from seca.envs import registry, trial
from seca.envs.base import Env
from seca.envs.trial import Report
from seca.types import Box


def examined(env: Env, runners: int = 7, steps: int = 2000, seconds: float = 0.0) -> Report:
    return trial.examine(env, runners, 0, steps, seconds)


def names(report: Report, notes: bool = False) -> set[str]:
    return {finding.name for finding in report.findings if finding.note == notes}


def test_what_is_right_passes() -> None:
    """And what was played is told."""
    report = examined(Hunt().make(), runners=20)
    assert report.findings == () and report.failures == []
    seen = report.played
    assert seen["episodes"] == seen["runners"] == 20 and seen["lengths"][1] == LIMIT
    assert seen["wins"] + seen["truncated"] == 20 and seen["wins"] > 0 and seen["truncated"] > 0
    assert seen["returns"][0] >= -0.1 * LIMIT - 1e-5 and 0 < seen["masked"] < 1 / 3
    assert seen["forks"] is True
    # Three places, a clock and a key, and the places at the start.
    assert seen["state_bytes"] == 3 * 4 + 4 + 8 + 3 * 4
    text = trial.text(report).splitlines()
    assert text[0].startswith(
        "test/hunt (hunt-1): 2 agents, 3 actions, observations of 3, state of 4, at most 12 steps"
    )
    assert text[-1] == "nothing found" and "speed" not in "".join(text)


@pytest.mark.parametrize(
    ("mistakes", "found", "words"),
    [
        ({"keyless": True}, {"key-not-used"}, "draw them from the key it is given"),
        ({"outside": True}, {"not-repeatable"}, "draw from the key that `reset` is given alone"),
        ({"crowd": True}, {"batch-matters", "moves-after-end"}, "`obs` at step 0): let nothing depend on other"),
        ({"deaf": True}, {"actions-do-nothing"}, "`step` must use its actions"),
        ({"strict": True}, {"illegal-corrupts"}, "with actions that are not available `obs` and `state` hold"),
        ({"restarts": True, "unmasked": True}, {"auto-reset"}, "1. an episode that was over goes on at step"),
    ],
    ids=lambda part: next(iter(part)) if isinstance(part, dict) else "",
)
def test_mistakes_are_found(mistakes: dict[str, Any], found: set[str], words: str) -> None:
    """What only a second play shows; what one shows is in `test_findings`."""
    report = examined(Hunt(**mistakes).make())
    assert names(report) == found
    text = trial.text(report)
    assert words in text and text.endswith(f"\n{len(found)} finding{'s' * (len(found) > 1)}")


def test_shapes_come_first() -> None:
    """Nothing is played of what breaks the contract; a reward for each agent is told what it should be."""
    env = Hunt().make()

    def step(state: Any, actions: jax.Array) -> Any:
        after, shown = env.step(state, actions)
        return after, eqx.tree_at(lambda told: told.reward, shown, jnp.stack([shown.reward] * 2, axis=1))

    report = examined(dataclasses.replace(env, step=step))
    assert report.spec is None and names(report) == {"contract"}
    assert "`reward` of `step` is float32[5, 2]" in report.failures[0].line
    assert report.failures[0].line.endswith("one for the team, such as the mean over its agents")


def test_what_raises_is_told_with_its_step() -> None:
    env = Hunt().make()

    def fails(t: Any) -> Any:
        if t == 3:
            raise RuntimeError("the game has died")
        return t

    def step(state: Any, actions: jax.Array) -> Any:
        seen = jax.experimental.io_callback(fails, jax.ShapeDtypeStruct((), jnp.int32), state["t"].max())
        return env.step({**state, "t": state["t"] + seen * 0}, actions)

    report = examined(dataclasses.replace(env, step=step))
    assert "raises" in names(report)
    assert "in legal play, after 3 steps, `step` raises" in report.failures[0].line
    assert "the game has died" in report.failures[0].line


def test_ends_of_a_box_and_beyond() -> None:
    """A root of what leaves the box is no number; legal play never sees it."""
    env = Hunt(unmasked=True).make()
    spec = dataclasses.replace(env.spec, n_actions=1, box=Box((-1.0,), (1.0,)))

    def shown(given: Any) -> Any:
        return given[0], dataclasses.replace(given[1], avail=given[1].avail[..., :1])

    def step(state: Any, actions: jax.Array) -> Any:
        kept = jnp.sqrt(1 - actions[..., 0] ** 2)
        after, told = env.step(state, (kept > 0.7).astype(jnp.int32))
        return shown((after, dataclasses.replace(told, state=told.state + 0 * kept.sum(axis=1, keepdims=True))))

    boxed = Env(spec, lambda keys: shown(env.reset(keys)), step)
    report = examined(boxed)
    assert (
        names(report) == {"illegal-corrupts"} and "with ends of the box and beyond `state`" in report.failures[0].line
    )


def test_a_limit_that_is_not_reached() -> None:
    """So it says, and does not complain about what it has not seen."""
    report = examined(Hunt(endless=True, flat_reward=True).make(), steps=9)
    assert names(report, notes=True) == {"limit-not-reached"}
    assert "limit-not-kept" not in names(report)


def test_what_cannot_be_forked_is_no_mistake() -> None:
    """A host environment is no pure function."""
    env = Hunt().make()

    def reset(keys: jax.Array) -> Any:
        jax.experimental.io_callback(lambda: None, None)
        return env.reset(keys)

    report = examined(dataclasses.replace(env, reset=reset))
    assert report.findings == () and report.played["forks"] is False
    assert "forks: none, as `env` is test/hunt, which is no pure function" in trial.text(report)


def test_rates_are_told() -> None:
    report = examined(registry.make("matrix/additive"), seconds=0.01)
    rate = report.played["env_steps_per_s"]
    assert rate > 0 and "env steps/s with 7 runners" in trial.text(report)
    text = trial.text(trial.with_training(report, "qmix", rate / 4))
    assert "env steps/s with qmix, the environment 25% of its time" in text
    assert "with qmix\n" in trial.text(trial.with_training(examined(Hunt(unpaid=True).make()), "qmix", 5.0))


def test_a_report_as_json() -> None:
    report = json.loads(json.dumps(examined(Hunt(nan=True, unmasked=True).make()).as_json(), allow_nan=False))
    assert report["env"] == "test/hunt" and report["spec"]["obs_size"] == 3
    assert [line["name"] for line in report["findings"]] == ["not-finite"]
    assert [line["name"] for line in report["notes"]] == ["never-masked"]
    assert report["played"]["observations"] == [None, None]


def test_too_few_runners() -> None:
    with pytest.raises(ValueError, match="`runners` is 2; it must be at least 3"):
        examined(Hunt().make(), runners=2)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "notes"),
    [
        ("matrix/qtran", {}, {"never-masked", "no-luck"}),
        ("quadratic/apart", {}, {"no-luck"}),
        ("mpe/predator-prey", {}, {"never-masked"}),
        ("mpe/cooperative-navigation", {"actions": "continuous"}, {"never-ends"}),
        ("smac/3m", {}, set()),
    ],
)
def test_what_is_built_in_passes(name: str, options: dict[str, Any], notes: set[str]) -> None:
    report = examined(registry.make(name, options))
    assert names(report) == set() and names(report, notes=True) == notes
