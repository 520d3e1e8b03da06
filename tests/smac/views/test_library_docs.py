"""What docs/smac.md shows works."""

import pathlib
import re
import subprocess
import sys

import pytest
from tiers import cases

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "smac.md"
EXAMPLES = re.findall(r"```python\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
SCRIPTS = re.findall(r"```py\n(.*?)```", PAGE.read_text(), flags=re.DOTALL)
PRINTED = [
    r"\(32, 3, \d+\) \(32, 48\) \(32, 3, 9\) \(32,\)",
    r"(True|False) \(48,\)",
    r"\(3, 30\) \(48,\) 0",
    r"\{'state_shape': 48, 'obs_shape': 30, 'n_actions': 9, 'n_agents': 3, 'episode_limit': 60\}",
    r"\(8, 48\) \(8,\) \(8, 9\)",
]


@pytest.mark.slow
@pytest.mark.parametrize(("example", "printed"), list(zip(EXAMPLES, PRINTED, strict=True)))
def test_examples(example: str, printed: str, capsys: pytest.CaptureFixture[str]):
    exec(compile(example, PAGE.name, "exec"), {})
    assert re.fullmatch(printed + r"\n", capsys.readouterr().out)


@pytest.mark.parametrize(("script", "printed"), cases([(0, r"\(2, 3, 30\)"), (2, r"\[1, 1, 1, 1\]")]))
def test_workers(script: int, printed: str, tmp_path: pathlib.Path):
    """The files with spawned workers work as they stand. (SuperSuit, the one between, is not among our extras.)"""
    path = tmp_path / "workers.py"
    path.write_text(SCRIPTS[script])
    ended = subprocess.run([sys.executable, path], check=True, capture_output=True, text=True, timeout=300)
    assert re.fullmatch(printed + r"\n", ended.stdout) and "fork" not in ended.stderr


@pytest.mark.slow
def test_no_learning_code_is_loaded():
    """Importing the simulator and the views loads of this package but `seca.smac` what is plain: no learner."""
    code = (
        "import sys, seca.smac.simulator\n"
        "from seca.smac.views import gymnasium, jaxmarl, pettingzoo, pymarl\n"
        "parts = {name.split('.')[1] for name in sys.modules if name.startswith('seca.')}\n"
        "assert parts == {'smac', 'types', 'numerics', 'sizes'}, parts"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
