"""What each command can be told: how it is read, what it is unless told, and what its help says."""

import ast
import dataclasses
import inspect
import pathlib
from typing import Any

import pytest

from seca import options
from seca.errors import UsageError
from seca.options import (
    AuditOptions,
    BenchOptions,
    CheckEnvOptions,
    CompareOptions,
    EvaluateOptions,
    NoOptions,
    PlotOptions,
    ReportOptions,
    ReproduceOptions,
    ResumeOptions,
    SweepOptions,
    SweepRunOptions,
    SweepStatusOptions,
    ViewOptions,
    WatchOptions,
)
from seca.parsing import parse

RUN = pathlib.Path("runs/a")
KINDS = [
    *(ResumeOptions, EvaluateOptions, AuditOptions, PlotOptions, CompareOptions, ReportOptions, BenchOptions),
    *(CheckEnvOptions, WatchOptions, ViewOptions, SweepOptions, ReproduceOptions),
    *(SweepStatusOptions, SweepRunOptions, NoOptions),
]


@pytest.mark.parametrize(
    ("kind", "words", "expected"),
    [
        (ResumeOptions, ["runs/a"], {"run": RUN, "checkpoint": "latest"}),
        (ResumeOptions, ["runs/a", "--checkpoint", "best"], {"run": RUN, "checkpoint": "best"}),
        (
            EvaluateOptions,
            ["runs/a"],
            {"run": RUN, "episodes": 128, "checkpoint": "latest", "seed": 0, "opponent": None, "json": False},
        ),
        (
            EvaluateOptions,
            ["runs/a", "--episodes", "1e3", "--seed", "7", "--opponent", "kite", "--json"],
            {"run": RUN, "episodes": 1000, "checkpoint": "latest", "seed": 7, "opponent": "kite", "json": True},
        ),
        (EvaluateOptions, ["runs/a", "--checkpoint", "1e6"], {"checkpoint": 1_000_000}),
        (AuditOptions, ["runs/a"], {"steps": None, "forks": None, "truth": (), "credits": (), "add": False}),
        (
            AuditOptions,
            ["runs/a", "--steps", "9", "--forks", "2", "--truth", "shapley", "sequential", "--add"],
            {"steps": 9, "forks": 2, "truth": ("shapley", "sequential"), "add": True, "order": None, "out": None},
        ),
        (PlotOptions, ["runs/a", "b"], {"runs": (RUN, pathlib.Path("b")), "out": pathlib.Path("curves")}),
        (BenchOptions, [], {"what": "all", "env": "smac/2s3z", "preset": ("seca",), "batch": 32, "seconds": 10.0}),
        (BenchOptions, ["train", "--preset", "qmix", "vdn"], {"what": "train", "preset": ("qmix", "vdn")}),
        (CheckEnvOptions, ["matrix/peak"], {"env": "matrix/peak", "env_options": {}, "runners": 32, "steps": 2000}),
        (
            CheckEnvOptions,
            ["a:b", "--env-options", "limit=9", "--seed", "3", "--seconds", "0", "--preset", "qmix", "--json"],
            {"env_options": {"limit": 9}, "seed": 3, "seconds": 0.0, "preset": "qmix", "json": True},
        ),
        (WatchOptions, [], {"recording": None, "policy": None, "env_options": {}, "battle": 0, "fps": 20, "every": 2}),
        (
            WatchOptions,
            ["a.npz", "--env-options", "jitter=False", "reward_win=3", "--battle", "2"],
            {"recording": pathlib.Path("a.npz"), "env_options": {"jitter": False, "reward_win": 3}, "battle": 2},
        ),
        (NoOptions, [], {}),
    ],
)
def test_words_become_fields(kind: type, words: list[str], expected: dict[str, Any]) -> None:
    read = parse(kind, "command", words)
    assert {name: getattr(read, name) for name in expected} == expected


@pytest.mark.parametrize(
    ("kind", "field", "least", "most"),
    [
        (EvaluateOptions, "seed", 0, 2**32 - 1),
        (AuditOptions, "steps", 1, 100_000),
        (AuditOptions, "forks", 2, 1_000_000),
        (ViewOptions, "battle", 0, 2**31 - 1),
        (ViewOptions, "truth", 0, 100_000),
        (ViewOptions, "forks", 2, 1_000_000),
        (WatchOptions, "battle", 0, 2**31 - 1),
        (CheckEnvOptions, "runners", 3, 2**20),
    ],
)
def test_the_least_and_the_most(kind: type, field: str, least: int, most: int) -> None:
    """Both are taken, and one beyond either is refused by name."""
    run = [] if kind is WatchOptions else ["runs/a"]
    for value in (least, most):
        assert getattr(parse(kind, "command", [*run, f"--{field}", str(value)]), field) == value
    for value in (least - 1, most + 1):
        with pytest.raises(UsageError, match=f"`{field}` is {value}"):
            parse(kind, "command", [*run, f"--{field}={value}"])


@pytest.mark.parametrize("kind", [ResumeOptions, EvaluateOptions, AuditOptions])
def test_a_run_must_be_named(kind: type) -> None:
    with pytest.raises(UsageError, match="RUN"):
        parse(kind, "command", [])


def test_every_command_has_its_options_here() -> None:
    """And what they were told cannot be changed any more."""
    found = [
        kind for kind in vars(options).values() if dataclasses.is_dataclass(kind) and kind.__module__ == "seca.options"
    ]
    assert found == KINDS
    for kind in KINDS:
        assert vars(kind)["__dataclass_params__"].frozen, kind


@pytest.mark.parametrize("kind", KINDS)
def test_every_option_has_its_help_below_it(kind: type) -> None:
    """A docstring after each field, and one of the whole: tyro prints them."""
    [tree] = ast.parse(inspect.getsource(kind)).body
    assert isinstance(tree, ast.ClassDef) and ast.get_docstring(tree)
    for field, following in zip(tree.body, [*tree.body[1:], None], strict=True):
        if isinstance(field, ast.AnnAssign):
            told = (
                isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant) and following.value.value
            )
            assert isinstance(told, str) and told.endswith("."), ast.unparse(field)
