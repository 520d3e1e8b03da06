"""Files of episodes and what a method said of them: written and read again, drawn, and refused when damaged."""

import dataclasses
import json
import pathlib
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from recordings import battle
from views import NOTHING_MORE, account, scene, seen

from seca.battles import recording, render
from seca.battles import scene as scenes
from seca.errors import UsageError
from seca.view import account as accounts
from seca.view.account import Viewed

PICTURES: dict[str, Callable[[], Any]] = {
    "battle": battle,
    "scene": scene,
    "nothing drawn": lambda: scene(drawn=False),
    "continuous": lambda: scene(numbers=2),
}


@pytest.mark.parametrize("changes", [{}, NOTHING_MORE], ids=["everything", "credit alone"])
@pytest.mark.parametrize("name", PICTURES)
def test_what_is_written_is_read_again(name: str, changes: dict[str, Any], tmp_path: pathlib.Path) -> None:
    picture = PICTURES[name]()
    viewed, path = Viewed(picture, account(picture, **changes)), tmp_path / "x.npz"
    accounts.save(viewed, path)
    again = accounts.load(path)
    for one, other in ((viewed.account, again.account), (viewed.picture, again.picture)):
        for field in dataclasses.fields(one):  # pyrefly: ignore
            before, after = getattr(one, field.name), getattr(other, field.name)
            if isinstance(before, np.ndarray):
                np.testing.assert_array_equal(before, after, err_msg=field.name)
                assert before.dtype == after.dtype
            else:
                assert before == after, field.name
    with pytest.raises(UsageError, match="it exists already and is kept"):
        accounts.save(viewed, path)


def test_watch_draws_them_too(tmp_path: pathlib.Path) -> None:
    """A recording with an account is a recording; of what offers nothing to draw there is none."""
    accounts.save(seen(), tmp_path / "battle.npz")
    found = scenes.load(tmp_path / "battle.npz")
    assert isinstance(found, recording.Recording)
    render.render(found, tmp_path / "battle.png")
    picture = scene(drawn=False)
    accounts.save(Viewed(picture, account(picture)), tmp_path / "none.npz")
    with pytest.raises(UsageError, match="test/scene, which offers nothing to draw: `seca view` shows it"):
        render.render(scenes.load(tmp_path / "none.npz"), tmp_path / "none.png")


def test_a_recording_without_credit_is_refused(tmp_path: pathlib.Path) -> None:
    recording.save(battle(), tmp_path / "x.npz")
    with pytest.raises(UsageError, match=r"`recording` is .*x\.npz: it holds no credit; `seca view RUN`"):
        accounts.load(tmp_path / "x.npz")


def _array(name: str, change: Callable[[np.ndarray], np.ndarray]) -> Callable[[dict, dict], None]:
    def damage(arrays: dict[str, Any], about: dict[str, Any]) -> None:
        del about
        arrays["told_" + name] = change(arrays["told_" + name])

    return damage


def _told(**changes: Any) -> Callable[[dict, dict], None]:
    return lambda arrays, about: about["account"].update(changes)


def _without(name: str) -> Callable[[dict, dict], None]:
    return lambda arrays, about: arrays.pop("told_" + name)


DAMAGES: dict[str, tuple[Callable[[dict, dict], Any], str]] = {
    "no credit": (_without("credit"), "credit"),
    "a part of the truth": (_without("truth_error"), "a truth that is told in part"),
    "nobody's truth": (_told(truth_by=None), "a truth that is told in part"),
    "no order": (_without("order"), "a sequential credit without its order"),
    "an order of one agent twice": (_array("order", np.zeros_like), "no order"),
    "a credit of another length": (_array("credit", lambda x: x[:-1]), "`credit` has"),
    "a number that is none": (_array("value", lambda x: x * np.nan), "`value` holds a number that is not finite"),
    "another type": (_array("policy", lambda x: x.astype(np.float64)), "`policy` is float64"),
    "a policy of fewer actions": (_array("policy", lambda x: x[..., 1:]), "`policy` has 7 numbers for 8 actions"),
    "truth beyond the end": (_array("truth_step", lambda x: x + 1), "`truth_step` points beyond"),
    "truth twice": (_array("truth_step", np.zeros_like), "twice to one"),
    "unknown kind": (_told(kind="marvellous"), "`kind` is 'marvellous'"),
    "a kind of truth that is none": (_told(truth_by={"kind": "evil", "forks": 4, "seed": 0}), "`truth_by` is"),
    "forks that are no number": (_told(truth_by={"kind": "shapley", "forks": "x", "seed": 0}), "`truth_by` is"),
    "stairs from nowhere": (_without("value"), "prefix values without an order or a value"),
    "an order of another kind": (_told(kind="shapley"), "or an order of another"),
    "policies that are none": (_array("policy", lambda x: x + 1), "`policy` holds what is no probability"),
    "errors below 0": (_array("truth_error", lambda x: -x), "`truth_error` holds an error below 0"),
    "actions that there are not": (
        lambda arrays, about: arrays.update(actions=arrays["actions"] + np.int16(50)),
        "`actions` point beyond the 8",
    ),
    "unknown play": (_told(play="well"), "`play` is 'well'"),
    "names of too few actions": (_told(action_names=[["a"]] * 2), "`action_names`"),
    "names that cannot be drawn": (_told(action_names=[["\x07"] * 8] * 2), "not names"),
    "a text that is none": (_told(says=7), "not names"),
    "orders of too few agents": (_told(orders={"env_steps": [1], "place": [[0]], "contribution": None}), ""),
    "orders that are no numbers": (_told(orders={"env_steps": [1], "place": [["a", 1]], "contribution": None}), ""),
    "an account that is none": (lambda arrays, about: about.update(account=[1]), ""),
    "unknown arrays": (lambda arrays, about: arrays.update(told_more=np.zeros(1)), "unknown: more"),
}


@pytest.mark.parametrize("name", DAMAGES)
def test_damaged_files_are_refused(name: str, tmp_path: pathlib.Path) -> None:
    path, (damage, message) = tmp_path / "x.npz", DAMAGES[name]
    accounts.save(seen(), path)
    with np.load(path) as file:
        arrays = {key: file[key] for key in file.files}
    about = json.loads(str(arrays.pop("about")))
    damage(arrays, about)
    np.savez(path, about=np.array(json.dumps(about)), **arrays)
    with pytest.raises(UsageError) as error:
        accounts.load(path)
    assert str(path) in str(error.value) and message in str(error.value) and "\n" not in str(error.value)
