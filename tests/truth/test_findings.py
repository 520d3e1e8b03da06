"""Audits on disk: what is written is read again, what is damaged is refused in one line; groups; the table."""

import dataclasses
import json
import pathlib

import numpy as np
import pytest

from seca.errors import UsageError
from seca.truth import findings
from seca.truth.audit import Audit


def test_what_is_written_is_read_again(found: Audit, tmp_path: pathlib.Path) -> None:
    text, data = findings.save(found, tmp_path / "audit.of.mine")
    assert (text.name, data.name) == ("audit.of.mine.json", "audit.of.mine.npz")
    again = findings.load(data)
    assert again.plan == found.plan and again.about == found.about and again.kind == found.kind
    for name in ("battle", "time", "length", "action", "order", "choice"):
        np.testing.assert_array_equal(getattr(again, name), getattr(found, name))
    np.testing.assert_array_equal(again.sums.total, found.sums.total)
    written = json.loads(text.read_text())
    assert written == json.loads(json.dumps(findings.result(again)))
    assert written["scores"]["credit"]["agent_steps"] == int(found.choice.sum())
    assert written["scores"]["nothing"]["explained"] == 0
    assert set(written["against"]) == {"sequential", "independent"}
    with np.load(data) as stored:
        np.testing.assert_array_equal(stored["truth"], found.sums.mean())
        np.testing.assert_array_equal(stored["error"], found.sums.error())


def _changed(**arrays: np.ndarray | None):
    def change(stored: dict[str, np.ndarray]) -> None:
        for name, array in arrays.items():
            if array is None:
                del stored[name]
            else:
                stored[name] = array

    return change


def _told(**fields: object):
    def change(stored: dict[str, np.ndarray]) -> None:
        stored["about"] = np.array(json.dumps(json.loads(str(stored["about"])) | fields))

    return change


def _planned(**fields: object):
    def change(stored: dict[str, np.ndarray]) -> None:
        about = json.loads(str(stored["about"]))
        stored["about"] = np.array(json.dumps(about | {"plan": about["plan"] | fields}))

    return change


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (_changed(sum_total=None), "missing or unknown: sum_total"),
        (_changed(sum_total=np.zeros((3, 2, 3))), "`sum_total` is [3, 2, 3], not [30, 2, 3]"),
        (_changed(sum_squares=np.full((30, 2, 3), np.nan)), "`sum_squares`"),
        (_changed(order=np.zeros((30, 3), int)), "`order` holds what is no order"),
        (_changed(sum_forks=np.zeros(30, np.int64)), "`sum_forks` is not 40 everywhere"),
        (_changed(sum_forks=np.full(30, 3)), "`sum_forks` is not 40 everywhere"),
        (_changed(sum_counts=np.ones((30, 3, 2), np.int64)), "`sum_counts` are not of 40 forks"),
        (_changed(sum_total=np.zeros((30, 2, 3))), "`truth` is not the mean that `sum_total` has"),
        (_planned(forks="many"), "`forks` of the plan is 'many', which is no whole number"),
        (_planned(steps=30.0), "`steps` of the plan is 30.0, which is no whole number"),
        (_planned(seed=None), "`seed` of the plan is None"),
        (_planned(kinds=["luck", "independent"]), "`kinds` of the plan is luck, independent"),
        (_planned(kinds=[]), "`kinds` of the plan is empty"),
        (_changed(more=np.zeros(1)), "missing or unknown: more"),
        (_changed(action=np.zeros(30)), "damaged"),
        (_changed(about=np.array("{")), "damaged"),
        (_told(format=2), "`format` of audit"),
        (_told(plan={"steps": 30}), "damaged"),
        (_told(credits=3), "damaged"),
    ],
)
def test_damage_is_one_line(change, words: str, found: Audit, tmp_path: pathlib.Path) -> None:
    _, data = findings.save(found, tmp_path / "audit")
    with np.load(data) as file:
        stored = dict(file)
    change(stored)
    np.savez_compressed(data, **stored)
    with pytest.raises(UsageError) as refused:
        findings.load(data)
    assert words in str(refused.value) and str(data) in str(refused.value) and "\n" not in str(refused.value)


def test_no_file_and_no_audit(tmp_path: pathlib.Path) -> None:
    with pytest.raises(UsageError, match="nothing.npz: there is no such file"):
        findings.load(tmp_path / "nothing.npz")
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(UsageError, match="not a file of seca with an audit"):
        findings.load(tmp_path / "text.npz")


def test_groups_part_the_agent_steps(found: Audit) -> None:
    parts = findings.groups(found)
    assert set(parts) == {"unit", "judged", "time", "likeliest action"}
    for group, members in parts.items():
        np.testing.assert_array_equal(sum(of.astype(int) for of in members.values()), 1, err_msg=group)
    assert set(parts["unit"]) == {"agent 0", "agent 1", "agent 2"}
    np.testing.assert_array_equal(parts["judged"]["1. of 3"], np.broadcast_to([False, False, True], (30, 3)))
    scored = findings.result(found)["groups"]["judged"]
    assert sum(one["credit"]["agent_steps"] for one in scored.values()) == found.choice.sum()


def test_the_dead_do_not_count(found: Audit) -> None:
    dead = dataclasses.replace(found, choice=np.zeros_like(found.choice))
    dead.choice[0, 0] = True
    assert findings.scores(dead)["credit"].agent_steps == 1


def test_the_table_says_how_it_was_made(found: Audit) -> None:
    text = findings.table(found)
    assert text.startswith("table on test/game, 0 env steps: 30 steps of ") and "40 forks each, seed 0" in text
    assert max(map(len, text.splitlines())) <= 120
    assert "against the independent truth" in text and "nothing" in text
