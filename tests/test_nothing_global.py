"""Importing and calling us changes nothing that a program around us has."""

import pathlib
import subprocess
import sys

import pytest

SNAPSHOT = """
import decimal, gc, importlib, locale, logging, os, pkgutil, random, signal, sys, threading, warnings
import equinox, flashbax, jax, jaxtyping, matplotlib, numpy, optax, PIL.Image, rich.console, tyro
import orbax.checkpoint, gymnasium, pettingzoo
matplotlib.use("svg")
numpy.seterr(over="raise")
warnings.filterwarnings("error", message="somebody's own")

def everything():
    loggers = [logging.getLogger(name) for name in (None, "absl", "jax", "seca", "matplotlib")]
    return {
        "warnings": list(warnings.filters),
        "logging": [(log.level, log.disabled, list(log.handlers), list(log.filters)) for log in loggers],
        "logging off below": logging.root.manager.disable,
        "environment": dict(os.environ),
        "folder": os.getcwd(),
        "path": list(sys.path),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)],
        "wake-up": signal.set_wakeup_fd(signal.set_wakeup_fd(-1)),
        "hooks": (sys.excepthook, threading.excepthook, sys.unraisablehook, sys.displayhook),
        "streams": (sys.stdout, sys.stderr, sys.stdin),
        "recursion": sys.getrecursionlimit(),
        "collector": (gc.isenabled(), gc.get_threshold()),
        "random": random.getstate(),
        "numpy random": str(numpy.random.get_state()),
        "numpy errors": numpy.geterr(),
        "numpy printing": numpy.get_printoptions(),
        "decimal": str(decimal.getcontext()),
        "locale": locale.setlocale(locale.LC_ALL),
        "umask": os.umask(os.umask(0o22)),
        "jax": dict(jax.config.values),
        "matplotlib": (matplotlib.get_backend(), dict(matplotlib.rcParams)),
    }

def compare(what):
    global before
    now = everything()
    changed = [name for name in before if now[name] != before[name]]
    assert not changed, f"{what} changes {changed}"

os.umask(0o22)
before = everything()
"""

IMPORTS = """
import seca
for module in pkgutil.walk_packages(seca.__path__, "seca."):
    if not module.name.endswith("__main__"):
        importlib.import_module(module.name)
        compare(module.name)
"""

CALLS = """
import pathlib
import seca
from seca.report import curves
from seca.battles import recording, watch
from seca.runs.evaluation import evaluate_run
from seca.train import checkpoint
from seca.smac.views.pymarl import SmacMultiAgentEnv
run, out = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
env = seca.make("matrix/focus-fire")
state, shown = env.reset(jax.random.split(jax.random.key(0), 2))
loaded = seca.load(run)
env.step(state, loaded.act(shown))
compare("acting")
evaluate_run(run, 2, "latest", 0)
compare("evaluating")
curves.plot([run], out / "curves")
compare("plotting")
checkpoint.save(out / "checkpoints", "latest", loaded.state, {})
compare("saving")
view = SmacMultiAgentEnv("2m_vs_1z", seed=1)
view.reset()
view.step([row.index(1) for row in view.get_avail_actions()])
compare("the views")
"""


@pytest.mark.slow
@pytest.mark.parametrize("code", [IMPORTS, CALLS], ids=["imports", "calls"])
def test_nothing_global_changes(code: str, finished_run: pathlib.Path, tmp_path: pathlib.Path) -> None:
    command = [sys.executable, "-c", SNAPSHOT + code, str(finished_run), str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
