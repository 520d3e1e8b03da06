"""`seca audit` of a run folder: files and table, adding to them, and what it refuses."""

import json
import pathlib
import re
import shutil

import jax
import numpy as np
import pytest
from refusals import assert_refused, snapshot

from seca import cli
from seca.errors import UsageError
from seca.host import machine
from seca.runs.load import load
from seca.sizes import CPU
from seca.truth import command
from seca.truth.rounds import DRAWN, EPISODES


def audit(run: pathlib.Path, *options: object) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main(["audit", str(run), *map(str, options)])
    assert ended.value.code == 0


@pytest.mark.slow
def test_a_run_is_audited_and_added_to(copied_run: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    before = snapshot(copied_run)
    audit(copied_run, "--steps", 6, "--forks", 8, "--truth", "shapley", "--credits", "independent")
    printed = capsys.readouterr().out
    assert "seca on matrix/focus-fire, 160 env steps: 6 steps of " in printed
    for name in (
        "credit (sequential)",
        "credit + team",
        "independent",
        "team alone",
        "it is taken to be deterministic",
    ):
        assert name in printed
    written = json.loads((copied_run / "audit.json").read_text())
    assert written["plan"]["kinds"] == ["sequential", "independent", "shapley"]
    assert written["about"]["env_steps"] == 160 and written["about"]["session"]["seca"]
    assert (copied_run / "audit.png").read_bytes()[:4] == b"\x89PNG"
    after = {path: content for path, content in snapshot(copied_run).items() if pathlib.Path(path).stem != "audit"}
    assert after == before, "an audit changes nothing in the run"

    (copied_run / "taken.json").write_text("{}")
    same = ["--truth", "shapley", "--credits", "independent"]
    refusals = [
        (["--steps", 6, "--forks", 8], ["`out`", "audit.npz exists already", "--add"]),
        (["--steps", 6, "--forks", 8, "--out", copied_run / "taken"], ["`out`", "taken.json exists already"]),
        (["--add", "--steps", 6, "--forks", 4, *same], ["`forks` is 4", "8"]),
        (["--add", "--steps", 5, "--forks", 8, *same], ["`steps` is 5", "6"]),
        (["--add", "--steps", 6, "--forks", 8, "--seed", 1, *same], ["`seed` is 1", "made with 0"]),
        (["--add", "--steps", 6, "--forks", 8, "--order", "random", *same], ["`order` is random", "as trained"]),
        (["--add", "--credits", "swept"], ["`credits` is credit, swept but", "made with credit, independent"]),
        (["--add", "--truth", "counterfactual"], ["`truth` is sequential, independent, counterfactual but"]),
        (["--steps", 6, "--out", copied_run], ["`out`", "a folder", "audit"]),
        (["--add", "--steps", 6, "--forks", 8, "--out", "nowhere", *same], ["`add`", "nowhere.npz"]),
    ]
    for options, fragments in refusals:
        assert_refused(["audit", str(copied_run), *map(str, options)], fragments, copied_run, capsys)
    audit(copied_run, "--steps", 7, "--forks", 10, "--add", "--json")
    told = json.loads(capsys.readouterr().out)
    assert told["plan"]["forks"] == 10 and told == json.loads((copied_run / "audit.json").read_text())
    with np.load(copied_run / "audit.npz") as stored:
        assert (stored["sum_forks"] == 10).all() and len(stored["sum_forks"]) == 7


@pytest.mark.slow
def test_an_audit_that_is_cut_off_goes_on(copied_run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    def cut(share: float, env_steps: int) -> None:
        if share > DRAWN / 70:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        command.audit_run(copied_run, 70, 4, tell=cut)
    left = json.loads((copied_run / "audit.json").read_text())
    assert left["plan"]["steps"] == DRAWN and left["about"]["run"] == str(copied_run)
    joined, files = command.audit_run(copied_run, 70, add=True)
    whole, _ = command.audit_run(copied_run, 70, 4, out=tmp_path / "whole")
    np.testing.assert_array_equal(joined.sums.total, whole.sums.total)
    assert joined.plan == whole.plan and [file.suffix for file in files] == [".json", ".npz", ".png"]


@pytest.mark.slow
def test_the_example_of_the_docs(
    copied_run: pathlib.Path,
    tmp_path: pathlib.Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """docs/credit.md, from Python; what it leaves can be added to."""
    page = (pathlib.Path(__file__).parents[2] / "docs" / "credit.md").read_text()
    [example] = re.findall(r"```python\n(.*?)```", page, flags=re.DOTALL)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "runs").mkdir()
    shutil.copytree(copied_run, tmp_path / "runs" / "x")
    small = example.replace("steps=64, forks=256", "steps=5, forks=6")
    assert small != example
    exec(compile(small, "docs/credit.md", "exec"), {"__name__": "__main__"})
    printed = capsys.readouterr().out
    assert "5 steps of" in printed and "swept" in printed
    assert (tmp_path / "mine.png").read_bytes()[:4] == b"\x89PNG"
    audit(tmp_path / "runs" / "x", "--add", "--forks", 8, "--out", tmp_path / "mine")
    assert json.loads((tmp_path / "mine.json").read_text())["plan"]["forks"] == 8


@pytest.mark.every
def test_another_order_and_the_best_policy(copied_run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    out = tmp_path / "other"
    options = ["--steps", 4, "--forks", 4, "--out", out, "--seed", 3]
    audit(copied_run, *options, "--order", "identity", "--checkpoint", "best")
    with np.load(f"{out}.npz") as stored:
        assert (stored["order"] == [0, 1]).all()
    audit(copied_run, "--add", "--forks", 6, "--out", out)
    added = json.loads((tmp_path / "other.json").read_text())
    assert added["plan"]["seed"] == 3 and added["plan"]["forks"] == 6 and added["plan"]["steps"] == 4
    assert added["about"]["order"] == "identity" and added["about"]["checkpoint"] == "best"


@pytest.mark.every
def test_a_run_that_judges_the_team_alone(
    copied_run: pathlib.Path, seca, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = tmp_path / "alone"
    options = ["--env", "matrix/focus-fire", "--runners", 4, "--eval-episodes", 8, "--steps", 8, "--out", run]
    assert seca("train", "ippo", *options).returncode == 0
    assert_refused(["audit", str(run)], ["`run` was trained with ippo", "judges the team alone"], tmp_path, capsys)
    untrained = tmp_path / "untrained"
    shutil.copytree(copied_run, untrained)
    shutil.rmtree(untrained / "checkpoints")
    assert_refused(["audit", str(untrained)], ["`run`", "no latest checkpoint"], tmp_path, capsys)


@pytest.mark.parametrize(
    ("credits", "order", "words"),
    [
        (["luck"], None, "`credits` holds 'luck': choose among .*swept"),
        (["swept", "independent", "swept"], None, "`credits` holds 'swept' twice"),
        ([], "last", "`order` is 'last': choose one of .*random"),
    ],
)
def test_names_are_looked_at_first(credits: list[str], order: str | None, words: str, tmp_path: pathlib.Path) -> None:
    """Before there has to be a run."""
    command.check_names(["swept", "independent"], "random")
    with pytest.raises(UsageError, match=words):
        command.audit_run(tmp_path / "gone", credits=credits, order=order)


@pytest.mark.slow
def test_an_audit_that_does_not_fit_is_not_begun(finished_run: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory for the method's claims, and for where the forks of all lanes stand, which one state and carry tell."""
    run, before = load(finished_run), snapshot(finished_run)
    shown = run.env.reset(jax.random.split(jax.random.key(0), 1)), run.algorithm.initial_carry(1)
    each = sum(x.nbytes for x in jax.tree.leaves(shown))
    needed = run.algorithm.memory(EPISODES) + each * (DRAWN + 6 * CPU.audit_lanes)
    assert command.needed_bytes(run) == needed
    for free in (None, needed):
        monkeypatch.setattr(machine, "free_memory", lambda place, free=free: free)
        command._check_memory(run, ())
    monkeypatch.setattr(machine, "free_memory", lambda place: needed - 1)
    with pytest.raises(UsageError, match="`run` is of matrix/focus-fire: auditing it needs about .* are free"):
        command.audit_run(finished_run)
    with pytest.raises(UsageError):  # Host devices share one memory.
        monkeypatch.setattr(machine, "free_memory", lambda place: 2 * needed - 1)
        command._check_memory(run, jax.devices()[:2])
    assert snapshot(finished_run) == before
