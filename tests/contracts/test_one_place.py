"""A named credit or order is added in one place: its own file, and a line of the table."""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import typing

import numpy as np
import pytest

from seca.algos import seca
from seca.credit.base import Credit
from seca.credit.named import CREDITS
from seca.order.base import GradientOrder, Order
from seca.order.named import ORDERS

PACKAGE = pathlib.Path(__file__).parent.parent.parent / "seca"
LINES = {
    "credit": '    "shared": lambda samples, orders: SHARED,\n',
    "order": '    "backwards": lambda path: BACKWARDS,\n',
}
CREDIT_FILE = '''
"""The same credit for everybody: what the team's action is worth above its policies."""

import jax.numpy as jnp

from seca.credit.base import Credit, taken_rows


def shared(q_fn, probs, action, order, key):
    """Q(u) - Q(pi)."""
    return jnp.full(probs.shape[0], q_fn(taken_rows(action, probs)) - q_fn(probs))


SHARED = Credit("shared", shared, reads_order=False)
'''
ORDER_FILE = '''
"""The last agent first."""

import jax.numpy as jnp

from seca.order.base import Order


def backwards(critic, episode, probs, key, state):
    """Agents by descending index."""
    return jnp.broadcast_to(jnp.arange(probs.shape[1])[::-1], (*episode.valid.shape, probs.shape[1]))


BACKWARDS = Order("backwards", backwards)
'''


@pytest.mark.slow
def test_a_credit_and_an_order_are_a_file_and_a_line(tmp_path: pathlib.Path) -> None:
    """In a copy of the package with a file and a line more for each, `seca train` takes them by their names."""
    package = tmp_path / "seca"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    for room, name, source in (("credit", "shared", CREDIT_FILE), ("order", "backwards", ORDER_FILE)):
        (package / room / f"{name}.py").write_text(source)
        table = package / room / "named.py"
        text, line = table.read_text(), LINES[room]
        assert text.count("] = {\n") == 1
        table.write_text(f"from seca.{room}.{name} import {name.upper()}\n" + text.replace("] = {\n", "] = {\n" + line))
    small = ["--actor-hidden", "8", "--critic-embed", "8", "--critic-width", "8", "--runners", "4", "--steps", "8"]
    command = [sys.executable, "-m", "seca", "train", "seca", "--env", "matrix/additive", "--devices", "1", *small]
    environment = os.environ | {"PYTHONPATH": str(tmp_path)}
    for name, options in (("a", ["--credit", "shared"]), ("b", ["--order", "backwards"])):
        ended = subprocess.run(
            [*command, *options, "--out", tmp_path / name],
            env=environment,
            cwd=tmp_path,
            capture_output=True,
            text=True,
        )
        assert ended.returncode == 0, ended.stderr
    lines = {name: (tmp_path / name / "metrics.jsonl").read_text().splitlines() for name in "ab"}
    shared, backwards = (json.loads(next(x for x in lines[name] if '"kind": "train"' in x)) for name in "ab")
    assert "rank_mean" not in shared and len(set(np.round(shared["advantage_agent_abs"], 6))) == 1
    assert backwards["rank_mean"] == [2, 1, 0]


def test_the_options_list_the_tables() -> None:
    """What the command line offers is what the tables hold: no list of names stands anywhere else."""
    hints = typing.get_type_hints(seca.SecaConfig)
    assert typing.get_args(hints["credit"]) == tuple(CREDITS)
    assert typing.get_args(hints["order"]) == tuple(ORDERS)
    made: list[Credit | Order] = [make(8, 8) for make in CREDITS.values()]
    made += [make(GradientOrder()) for make in ORDERS.values()]
    assert [part.name for part in made] == [*CREDITS, *ORDERS]
