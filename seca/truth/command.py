"""`seca audit RUN`: from a run folder to the files and the table."""

import pathlib
import typing
from collections.abc import Sequence

import jax

from seca import files
from seca.algos.seca import SecaConfig
from seca.credit.base import Credit
from seca.credit.base import Kind as TruthKind
from seca.credit.named import CREDITS
from seca.errors import UsageError, refusing
from seca.host import machine
from seca.order.base import Order
from seca.order.named import ORDERS
from seca.runs import folder as folders
from seca.runs.load import Kind, LoadedRun, Newest, kind_name, load
from seca.sizes import sizes
from seca.truth import findings, picture
from seca.truth.audit import Audit, Tell, audit, claims_of
from seca.truth.rounds import DRAWN, EPISODES, Plan


def audit_run(
    path: pathlib.Path,
    steps: int | None = None,
    forks: int | None = None,
    seed: int | None = None,
    kinds: tuple[TruthKind, ...] = (),
    checkpoint: Kind | None = None,
    credits: Sequence[str] = (),
    order: str | None = None,
    out: pathlib.Path | None = None,
    add: bool = False,
    devices: Sequence[jax.Device] = (),
    tell: Tell | None = None,
) -> tuple[Audit, list[pathlib.Path]]:
    """Audit a run and write OUT.json, OUT.npz and OUT.png, by default `audit` in its folder; the files are returned.

    The first two also after every 64 steps: an audit that is cut off can be gone on with, by `add` and `steps`.

    Raises UsageError when the run cannot be read or has nothing to audit, there are files already and nothing is to be
    added to them, or what is to be added does not fit.
    """
    check_names(credits, order)
    given = None if out is None else files.usable("out", out)
    if given is not None and given.is_dir():
        raise UsageError(f"`out` is {out}, a folder: name the files in it, without their ending: {given / 'audit'}")
    folder = folders.existing(path)
    out = given or folder.path / "audit"
    written = [out.with_name(out.name + ending) for ending in (".npz", ".json", ".png")]
    before = findings.load(written[0]) if add else None
    for there in written if before is None else ():
        if there.exists():
            raise UsageError(f"`out` is {out}: {there} exists already; --add to an audit, or choose another --out")
    if before is not None:  # What is not said is as it was.
        steps, forks = steps or before.plan.steps, forks or before.plan.forks
        kinds, credits = kinds or before.plan.kinds, credits or [name for name in before.credits if name in CREDITS]
        seed = before.plan.seed if seed is None else seed
        order = order or (before.about.get("order") if before.about.get("order") in ORDERS else None)
        checkpoint = _checkpoint(before) if checkpoint is None else checkpoint
    plan = Plan(steps or Plan.steps, forks or Plan.forks, seed or Plan.seed, kinds)
    checkpoint = "latest" if checkpoint is None else checkpoint
    run = load(path, checkpoint)
    with refusing():
        others, other_order = _credits(run, credits), _order(run, order)
        claims_of(run, others, other_order)  # Whether there is anything, before memory is looked at.
        _check_memory(run, devices)
        about = {"run": str(path), "checkpoint": kind_name(checkpoint), "session": machine.session(jax.devices())}

        def save(found: Audit) -> list[pathlib.Path]:
            found.about |= about
            return findings.save(found, out)

        found = audit(run, plan, others, other_order, before, devices, tell, keep=save)
    return found, [*save(found), picture.save(found, written[2])]


def _checkpoint(before: Audit) -> Kind | None:
    """Which policy was audited, by the newest name or, of a snapshot, by its env steps; None where that is not said."""
    name = before.about.get("checkpoint")
    if name == kind_name(0):
        return before.about.get("env_steps")
    return name if name in typing.get_args(Newest) else None  # pyrefly: ignore


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
    spec, config, made = run.env.spec, _judging(run), []
    for name in names:
        credit = CREDITS[name](config.credit_samples, config.credit_orders)
        credit.check_serves(spec)
        made.append(credit)
    return made


def _order(run: LoadedRun, name: str | None) -> Order | None:
    """An order by name, with the options of the run's."""
    if name is None:
        return None
    return ORDERS[name](_judging(run).path)


def _judging(run: LoadedRun) -> SecaConfig:
    """Options of credits and orders: the run's, or the defaults where its method has none."""
    return run.config.algorithm if isinstance(run.config.algorithm, SecaConfig) else SecaConfig()


def needed_bytes(run: LoadedRun) -> int:
    """Estimated peak bytes of an audit, however many forks there are: they are played some at a time."""
    env, algorithm = run.env, run.algorithm
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 2))
    standing = jax.eval_shape(env.reset, keys), jax.eval_shape(lambda: algorithm.initial_carry(2))
    each = sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(standing)) // 2
    # Lanes before and after a step, what they begin from, and activations of about twice that.
    return algorithm.memory(EPISODES) + each * (DRAWN + 6 * sizes().audit_lanes)


def _check_memory(run: LoadedRun, devices: Sequence[jax.Device]) -> None:
    place = (devices or jax.devices())[0]
    free, needed = machine.free_memory(place), needed_bytes(run)
    needed *= len(devices) if place.platform == "cpu" and devices else 1
    if free is not None and needed > free:
        raise UsageError(
            f"`run` is of {run.env.spec.id}: auditing it needs about {needed / 2**30:.1f} GiB and "
            f"{free / 2**30:.1f} GiB are free"
        )
