"""From a TOML file to runs, and what is no such file."""

import dataclasses
import json
import pathlib
from typing import Any

import pytest

from seca.config import from_preset
from seca.errors import UsageError
from seca.sweeps import plan, reproduce
from seca.sweeps.plan import differences, from_text, read, written

FILE = """
title = "two by two"
methods = ["seca", "qmix"]
envs = ["matrix/focus-fire", "matrix/peak"]
seeds = [3, 5]

[options]
steps = 2e3
runners = 4
eval_interval = 500
path.points = 3
"""
CHANGES = """
[[change]]
methods = ["qmix"]
envs = ["matrix/peak"]
options = { batch-episodes = 4, double-q = false }

[[variant]]
name = "published advantage"
methods = ["seca"]
options = { td-correction = 0 }
"""


def small(text: str = FILE, **replaced: str) -> plan.Plan:
    lines = [replaced.get(line.split(" = ")[0], line) for line in text.splitlines()]
    return from_text("\n".join(lines), "x.toml", "x")


def algorithm(cell: plan.Cell) -> Any:
    """Its options, of whatever class they are."""
    return cell.config.algorithm


def test_everything_of_the_first_seed_comes_first() -> None:
    made = small(FILE.replace("path.points = 3", ""))
    assert made.title == "two by two"
    assert [cell.name for cell in made.cells] == [
        *("focus-fire-seca-s3", "focus-fire-qmix-s3", "peak-seca-s3", "peak-qmix-s3"),
        *("focus-fire-seca-s5", "focus-fire-qmix-s5", "peak-seca-s5", "peak-qmix-s5"),
    ]
    for cell in made.cells:
        config = cell.config
        assert (config.seed, config.loop.steps, config.loop.runners) == (int(cell.name[-1]), 2000, 4)
        # Results do not depend on the machine's cores.
        assert config.devices == 1
        unchanged = dataclasses.replace(
            config, loop=from_preset(config.preset).loop, env="smac/2s3z", seed=0, devices=0
        )
        assert unchanged == from_preset(config.preset)


def test_changes_and_variants() -> None:
    cells = {cell.name: cell for cell in small(FILE.replace("path.points = 3", "") + CHANGES).cells}
    assert len(cells) == 12
    changed = [
        name for name, cell in cells.items() if cell.config.algorithm != from_preset(cell.config.preset).algorithm
    ]
    assert sorted(changed) == [
        *("focus-fire-seca-published-advantage-s3", "focus-fire-seca-published-advantage-s5"),
        *("peak-qmix-s3", "peak-qmix-s5"),
        *("peak-seca-published-advantage-s3", "peak-seca-published-advantage-s5"),
    ]
    assert algorithm(cells["peak-qmix-s3"]).batch_episodes == 4
    assert algorithm(cells["peak-qmix-s3"]).double_q is False
    assert algorithm(cells["peak-seca-published-advantage-s5"]).td_correction == 0.0
    assert cells["peak-seca-published-advantage-s5"].method == "seca, published advantage"
    assert cells["peak-seca-s5"].method == "seca"


def test_options_of_tables_and_lists() -> None:
    """TOML's tables, dotted keys and lists are one option each; dashes and underscores are one."""
    text = 'methods = ["seca"]\nenvs = ["smac/3m"]\nseeds = 1\n[options]\nloggers = ["tensorboard"]\n'
    [cell] = from_text(f"{text}path = {{ stage = 10 }}\n[environment]\nreward_sparse = true", "x", "x").cells
    assert algorithm(cell).path.stage == 10
    assert cell.config.loggers == ("tensorboard",)
    assert cell.config.env_options == {"reward_sparse": True}


def test_a_number_of_seeds_is_that_many() -> None:
    assert sorted({c.config.seed for c in small(FILE.replace("path.points = 3", ""), seeds="seeds = 3").cells}) == [
        0,
        1,
        2,
    ]


def test_what_the_command_line_asks_for_is_a_file(tmp_path: pathlib.Path) -> None:
    text = written(["seca"], ["matrix/peak"], [1, 4], {"steps": 500, "eval-interval": 100, "order": "fixed"})
    (tmp_path / "again.toml").write_text(text)
    cells = read(tmp_path / "again.toml").cells
    assert [(cell.config.seed, algorithm(cell).order) for cell in cells] == [(1, "fixed"), (4, "fixed")]


@pytest.mark.parametrize(
    ("line", "fragments"),
    [
        ("methods = []", ["`methods` is []", "list of names"]),
        ("methods = 3", ["`methods` is 3"]),
        ('methods = ["seca", "quickmix"]', ["`methods` is 'quickmix'", "qmix"]),
        ('methods = ["seca", "seca"]', ["`methods` holds 'seca' twice"]),
        ('envs = ["smac/2s3zz"]', ["2s3zz", "2s3z"]),
        ('envs = ["matrix/peak", "matrix/peak"]', ["`envs` holds 'matrix/peak' twice"]),
        ("seeds = 0", ["`seeds` is 0", "at least 1"]),
        ("seeds = [1, 1]", ["`seeds` holds 1 twice"]),
        ("seeds = [-1]", ["`seeds` is [-1]"]),
        ("seeds = true", ["`seeds` is true"]),
        ("seeds = 10_001", ["`seeds` is 10001"]),
        ("title = 1", ["`title` is 1"]),
        ("absolute = 1", ["`absolute` is 1", "true or false"]),
        ("sedes = 1", ["`sedes`", "seeds", "methods"]),
        ("[options", ["not TOML"]),
        ("[options]\nsteps = -1", ["`steps` is -1"]),
        ("[options]\nstepz = 5", ["stepz"]),
        ('[options]\nsteps = "many"', ["many", "--steps"]),
        ("[options]\nseed = 1", ["`options.seed`", "`seeds`"]),
        ('[options]\nenv = "matrix/peak"', ["`options.env`", "`envs`"]),
        ("[options]\nlr = 2024-01-01", ["`options.lr` is", "a number, a text"]),
        ("[environment]\nx = 2024-01-01", ["`environment.x` is", "a number, a text"]),
        ("[options]\nhelp = true", ["`options.help`"]),
        ('[options]\nloggers = ["--help"]', ["`options.loggers`", "--help"]),
        ("[options]\neval-interval = 5\neval_interval = 6", ["`options.eval-interval` is given twice"]),
        ("options = 3", ["`options` is 3", "table"]),
        ("environment = 3", ["`environment` is 3"]),
        ("[environment]\nopponentt = 'kite'", ["`env-options`", "opponentt"]),
        ("[options]\nsteps = 1000\neval-interval = 2000", ["`eval-interval`", "2,000", "1,000"]),
        ("change = 3", ["`change` is 3", "[[change]]"]),
        ("[[change]]\nenv = 1\noptions = { lr = 1 }", ["`change.env`", "envs"]),
        ('[[change]]\nenvs = ["smac/3m"]\noptions = { lr = 1 }', ["`change.envs` holds 'smac/3m'", "matrix/peak"]),
        ('[[change]]\nenvs = ["matrix/peak"]', ["`change.options` is empty"]),
        ('[[variant]]\noptions = { lr = 1 }', ["`variant.name` is missing"]),
        ("[[skip]]", ["`skip` names nothing", "`methods`, `envs` or `variants`"]),
        ('[[skip]]\nenvs = ["smac/3m"]', ["`skip.envs` holds 'smac/3m'", "matrix/peak"]),
        ('[[skip]]\nenvs = ["matrix/peak"]', ["`skip` leaves no run"]),
        ('[[skip]]\nenvs = ["matrix/peak"]\noptions = { lr = 1 }', ["`skip.options`"]),
        ('[[change]]\nvariants = ["x"]\noptions = { lr = 1 }', ["`change.variants` holds 'x'"]),
    ],
)  # fmt: skip
def test_bad_files_are_refused_in_one_line(line: str, fragments: list[str]) -> None:
    names = ("methods", "envs", "seeds")
    base = {"methods": 'methods = ["seca"]', "envs": 'envs = ["matrix/peak"]', "seeds": "seeds = 1"}
    field = line.split(" = ")[0]
    kept = [base[name] for name in names if name != field]
    with pytest.raises(UsageError) as refused:
        from_text("\n".join([*kept, line]), "x.toml", "x")
    words = str(refused.value)
    assert "\n" not in words and "x.toml" in words
    assert [fragment for fragment in fragments if fragment not in words] == [], words


def test_options_of_environments_are_looked_at_before_anything_starts() -> None:
    text = 'methods = ["seca"]\nenvs = ["smac/3m"]\nseeds = 1\n[environment]\nopponent = '
    assert from_text(text + '"kite"', "x.toml", "x").cells[0].config.env_options == {"opponent": "kite"}
    with pytest.raises(UsageError, match="x.toml: `opponent` must be one of .*kite; got 'nobody'"):
        from_text(text + '"nobody"', "x.toml", "x")


def test_contradictory_changes_are_refused() -> None:
    twice = "".join(f'[[change]]\nmethods = ["qmix"]\noptions = {{ lr = {lr} }}\n' for lr in (0.1, 0.2))
    with pytest.raises(UsageError, match="`change` gives `lr` of qmix on matrix/focus-fire twice, as 0.1 and 0.2"):
        small(FILE.replace("path.points = 3", "") + twice)


def test_unlike_budgets_in_one_environment_are_refused_unless_said() -> None:
    text = FILE.replace("path.points = 3", "") + '[[change]]\nmethods = ["qmix"]\noptions = { steps = 1000 }\n'
    with pytest.raises(UsageError, match="`steps` of focus-fire-qmix-s3 is 1,000 but that of focus-fire-seca-s3 2,000"):
        small(text)
    assert {cell.config.loop.steps for cell in small("unequal = true\n" + text).cells} == {1000, 2000}
    by_env = text.replace('methods = ["qmix"]\noptions', 'envs = ["matrix/peak"]\noptions')
    assert {cell.config.loop.steps for cell in small(by_env).cells} == {1000, 2000}


def test_more_runs_than_anybody_means_are_refused() -> None:
    with pytest.raises(UsageError, match="over 10,000 runs"):
        small(seeds="seeds = 2_501")


def test_variants_that_would_share_a_folder_are_refused() -> None:
    names = "".join(
        f'[[variant]]\nname = "{name}"\noptions = {{ entropy-coef = {i} }}\n'
        for i, name in enumerate("a~b a*b".split())
    )
    with pytest.raises(UsageError, match="peak-seca-a-b-s0 would be that of two runs"):
        from_text(f'methods = ["seca"]\nenvs = ["matrix/peak"]\nseeds = 1\n{names}', "x", "x")


def test_a_file_that_cannot_be_read(tmp_path: pathlib.Path) -> None:
    (tmp_path / "bytes.toml").write_bytes(b"\xff\xfe")
    for name, fragment in (("absent.toml", "No such file"), ("bytes.toml", "not a text file"), ("", "directory")):
        with pytest.raises(UsageError, match=fragment):
            read(tmp_path / name)


def test_what_differs_between_configurations() -> None:
    one = from_preset("seca")
    other = dataclasses.replace(one, seed=2, checkpoint_interval=1.0, loggers=("wandb",))
    assert differences(one, one) == []
    assert differences(one, other) == ["seed 0 -> 2"]
    longer = dataclasses.replace(one, loop=dataclasses.replace(one.loop, steps=5))
    assert differences(one, longer) == [f"loop.steps {json.dumps(one.loop.steps)} -> 5"]


def test_what_is_skipped() -> None:
    """All runs that everything named in a `skip` applies to, and no others."""
    text = """
    methods = ["seca", "qmix"]
    envs = ["matrix/peak", "matrix/additive"]
    seeds = 2
    [[variant]]
    name = "slow"
    methods = ["qmix"]
    options = { lr = 1e-5 }
    [[skip]]
    methods = ["seca"]
    envs = ["matrix/additive"]
    [[skip]]
    variants = ["slow"]
    envs = ["matrix/peak"]
    """
    assert [cell.name for cell in from_text(text, "x.toml", "x").cells] == [
        f"{name}-s{seed}"
        for seed in (0, 1)
        for name in ("peak-seca", "peak-qmix", "additive-qmix", "additive-qmix-slow")
    ]


STUDIES = sorted((pathlib.Path(__file__).parents[2] / "benchmarks" / "studies").glob("*.toml"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_a_study_is_read_and_has_a_folder_of_its_own(path: pathlib.Path) -> None:
    """`seca reproduce NAME` has sweeps/NAME."""
    made = read(path)
    assert path.stem not in reproduce.FIGURES and len({cell.name for cell in made.cells}) == len(made.cells) > 1
