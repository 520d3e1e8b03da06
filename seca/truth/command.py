"""`seca audit RUN`: from a run folder to the files and the table."""

import pathlib
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import jax
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn

from seca import files
from seca.credit.base import Credit
from seca.credit.named import CREDITS
from seca.errors import UsageError, refusing
from seca.host import machine
from seca.order.base import GradientOrder, Order
from seca.order.named import ORDERS
from seca.runs import folder as folders
from seca.runs import opponent as opponents
from seca.runs.load import Kind, LoadedRun, load
from seca.truth import findings, picture
from seca.truth.audit import DRAWN, EPISODES, Audit, Plan, Tell, audit, claims_of
from seca.truth.forks import LANES


def audit_run(
    path: pathlib.Path,
    plan: Plan,
    checkpoint: Kind = "latest",
    credits: Sequence[str] = (),
    out: pathlib.Path | None = None,
    add: bool = False,
    devices: Sequence[jax.Device] = (),
    tell: Tell | None = None,
) -> tuple[Audit, list[pathlib.Path]]:
    """Audit a run and write OUT.json, OUT.npz and OUT.png, by default `audit` in its folder; the files are returned.

    Raises UsageError when the run cannot be read or has nothing to audit, there are files already and nothing is to be
    added to them, or what is to be added does not fit.
    """
    check_names(credits, plan.order)
    given = None if out is None else files.usable("out", out)
    folder = folders.existing(path)
    out = given or folder.path / "audit"
    data = out.with_name(out.name + ".npz")
    before = findings.load(data) if add else None
    if before is None and data.exists():
        raise UsageError(f"`out` is {out}: {data} exists already; --add to it, or choose another --out")
    run = load(path, checkpoint)
    with refusing():
        others, order = _credits(run, credits), _order(run, plan.order)
        claims_of(run, others, order)  # Whether there is anything, before memory is looked at.
        if before is not None:
            _check_same(before, run, checkpoint, credits)
        _check_memory(run, devices)
        found = audit(run, plan, others, order, before, devices, tell)
    found.about |= _about(path, run, checkpoint, credits)
    return found, [*findings.save(found, out), picture.save(found, out.with_name(out.name + ".png"))]


def _about(path: pathlib.Path, run: LoadedRun, checkpoint: Kind, credits: Sequence[str]) -> dict[str, Any]:
    return {
        "run": str(path),
        "checkpoint": checkpoint,
        "policy": opponents.fingerprint(run.state.learner, run.state.env_steps),
        "credits": list(credits),
        "session": machine.session(jax.devices()),
    }


def _check_same(before: Audit, run: LoadedRun, checkpoint: Kind, credits: Sequence[str]) -> None:
    """Raise UsageError unless the audit before was of this policy and asked for these credits."""
    now = _about(pathlib.Path(), run, checkpoint, credits)
    for field, what in (("policy", "policy"), ("credits", "`credits`")):
        if before.about.get(field) != now[field]:
            raise UsageError(
                f"`add` is given but the audit was made with {what} {before.about.get(field)} and now it is "
                f"{now[field]}; choose another --out"
            )


def check_names(credits: Sequence[str], order: str | None) -> None:
    """Raise UsageError for a credit or an order that nobody knows, and for credits named twice."""
    for number, name in enumerate(credits):
        if name not in CREDITS:
            raise UsageError(f"`credits` holds '{name}': choose among {', '.join(CREDITS)}")
        if name in credits[:number]:
            raise UsageError(f"`credits` holds '{name}' twice")
    if order is not None and order not in ORDERS:
        raise UsageError(f"`order` is '{order}': choose one of {', '.join(ORDERS)}")


def _credits(run: LoadedRun, names: Sequence[str]) -> list[Credit]:
    """Credits by name, with the numbers of samples and orders that the run would use."""
    spec, config, made = run.env.spec, run.config.algorithm, []
    for name in names:
        credit = CREDITS[name](getattr(config, "credit_samples", 8), getattr(config, "credit_orders", 8))
        credit.check(spec.n_agents, spec.n_actions)
        made.append(credit)
    return made


def _order(run: LoadedRun, name: str | None) -> Order | None:
    """An order by name, with the options of the run's."""
    if name is None:
        return None
    return ORDERS[name](getattr(run.config.algorithm, "path", GradientOrder()))


def needed_bytes(run: LoadedRun) -> int:
    """Estimated peak bytes of an audit, however many forks there are: they are played some at a time."""
    env, algorithm = run.env, run.algorithm
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
    standing = jax.eval_shape(env.reset, keys), jax.eval_shape(lambda: algorithm.initial_carry(2))
    each = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(standing)) // 2
    # Lanes before and after a step, what they begin from, and activations of about twice that.
    return algorithm.memory(EPISODES) + each * (DRAWN + 6 * LANES)


def _check_memory(run: LoadedRun, devices: Sequence[jax.Device]) -> None:
    place = (devices or jax.devices())[0]
    free, needed = machine.free_memory(place), needed_bytes(run)
    needed *= len(devices) if place.platform == "cpu" and devices else 1
    if free is not None and needed > free:
        raise UsageError(
            f"`run` is of {run.env.spec.id}: auditing it needs about {needed / 2**30:.1f} GiB and "
            f"{free / 2**30:.1f} GiB are free"
        )


@contextmanager
def shown() -> Iterator[Tell]:
    """Progress on standard error: a bar on a terminal, a line every ten seconds elsewhere."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _Lines()
        return
    bar = TextColumn("auditing"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn()
    columns = *bar, TextColumn("{task.fields[rate]}")
    with Progress(*columns, console=console, transient=True) as progress:
        task, begun = progress.add_task("", total=1.0, rate="compiling"), time.monotonic()
        yield lambda share, steps: progress.update(
            task, completed=share, rate=f"{steps / max(time.monotonic() - begun, 1e-9):,.0f} forked env steps/s"
        )


class _Lines:
    """Plain lines of progress."""

    def __init__(self, every: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        self._every, self._clock = every, clock
        self._begun = self._told = clock()

    def __call__(self, share: float, steps: int) -> None:
        now = self._clock()
        if now - self._told < self._every:
            return
        self._told, spent = now, now - self._begun
        left = spent * (1 - share) / share if share > 0 else 0.0
        rate = f"{steps / spent:,.0f} forked env steps/s"
        print(f"audit: {100 * share:.0f} % | {rate} | about {left:.0f} s left", file=sys.stderr, flush=True)
