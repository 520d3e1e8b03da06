"""An audit: drawn steps of a policy's own episodes, what they were worth by forks, and what a method says of them."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seca import numerics
from seca.algos.base import Claims
from seca.credit.base import KINDS, Credit, Kind
from seca.envs.base import Env, keys_replaced
from seca.envs.check import check_pure
from seca.order.base import Order
from seca.runs.opponent import fingerprint
from seca.truth.asked import Sums
from seca.truth.rounds import CRITIC, DRAWN_ARRAYS, OWN, SIGNAL, TEAM, ZERO, Audited, Drawn, Plan, Round, Rounds
from seca.truth.rounds import DRAWN as PER_ROUND

Tell = Callable[[float, int], None]
"""`tell(share, env_steps)`: how much is done, and the env steps that forks have played so far."""


@dataclasses.dataclass(kw_only=True)
class Audit(Drawn):
    """Truth and claims of some steps."""

    plan: Plan
    about: dict[str, Any]
    """What was audited, by whom and when: JSON."""
    credits: dict[str, np.ndarray]
    """What is claimed, by name, and the floors: what the policy follows where that is more than a credit, the team's
    error as if it were everybody's, and nothing."""
    kind: dict[str, Kind]
    """What each is an estimate of."""
    sums: Sums
    """The forks."""


_DEFAULTS = Plan()


def audit(
    run: Audited,
    plan: Plan = _DEFAULTS,
    credits: Sequence[Credit] = (),
    order: Order | None = None,
    before: Audit | None = None,
    devices: Sequence[jax.Device] = (),
    tell: Tell | None = None,
    keep: Callable[[Audit], object] | None = None,
) -> Audit:
    """Measure what actions were worth, and what the run's method says of them.

    Args:
        run: a run whose method tells agents apart.
        plan: how much of what.
        credits: further credits, judged by the run's critic.
        order: who is judged first, if not as the run has it.
        before: an audit of the same run with the same seed, kinds and order, to which steps and forks are added.
        devices: over which forks are spread.
        tell: told of the progress.
        keep: given the audit of the steps so far, once they are more than those of `before`, and not of all: what a
            long one that is cut off leaves, to be gone on with by `before`.

    Raises:
        ValueError: the method tells no agents apart, has no order or credits of one's own, or the numbers of the plan
            are out of range.
    """
    claims = claims_of(run, credits, order)
    check_discrete(run)
    check_pure(run.env)
    check_plan(plan)
    needed = {name: claim.kind for name, claim in claims.items() if claim.kind is not None}  # All of them.
    plan = dataclasses.replace(plan, kinds=tuple(dict.fromkeys((*needed.values(), *plan.kinds))))
    about = _about(run, claims, order)
    found = Rounds(run, plan, claims, tuple(devices))
    sums = Sums.nothing(plan.steps, len(plan.kinds), run.env.spec.n_agents, run.env.spec.n_actions)
    if before is not None:
        check_addable(before, plan, about)
        at = len(before.sums.forks)
        for new, old in zip(_arrays(sums), _arrays(before.sums), strict=True):
            new[:at] = old
    rounds, played, ended = [], 0, np.zeros(2, np.int64)

    def so_far(steps: int) -> Audit:
        told = about | {"cut": float(ended[1] / max(ended[0], 1)), "forked_env_steps": played}
        return _joined(dataclasses.replace(plan, steps=steps), told, rounds, needed, sums)

    for number in range(-(-plan.steps // PER_ROUND)):
        round_ = found.play(number)
        rounds.append(round_)
        done = slice(number * PER_ROUND, number * PER_ROUND + len(round_.battle))
        if before is not None:
            _check_repeats(before, round_, done.start)
        for share, env_steps, forks in found.fork(number, round_, sums, done):
            played, ended = played + env_steps, ended + forks
            if tell is not None:
                tell((done.start + share * len(round_.battle)) / plan.steps, played)
        if keep is not None and (0 if before is None else before.plan.steps) < done.stop < plan.steps:
            keep(so_far(done.stop))
    return so_far(plan.steps)


def _joined(plan: Plan, about: dict[str, Any], rounds: Sequence[Round], needed: dict[str, Kind], sums: Sums) -> Audit:
    """The audit of these rounds, whose steps are the first of `sums`."""
    joined = {field: np.concatenate([getattr(r, field) for r in rounds]) for field in DRAWN_ARRAYS}
    said = {name: np.concatenate([r.credits[name] for r in rounds]) for name in rounds[0].credits}
    said[ZERO] = np.zeros(joined["action"].shape)
    return Audit(
        plan=plan,
        about=about,
        **joined,
        credits=said,
        kind={name: needed.get(name, needed[OWN]) for name in said},
        sums=Sums(*(array[: plan.steps] for array in _arrays(sums))),
    )


def check_discrete(run: Audited) -> None:
    """Raise ValueError where actions are continuous: what is drawn again is then never what was done."""
    if run.env.spec.box is not None:
        raise ValueError(
            f"`run` is of {run.env.spec.id} with continuous actions: an audit counts and compares discrete ones"
        )


def claims_of(run: Audited, credits: Sequence[Credit] = (), order: Order | None = None) -> dict[str, Claims]:
    """What is held against the truth, by name. Raises ValueError where there is nothing, or no other to be had."""
    own = run.algorithm.claims
    if own is None or own.kind is None:
        raise ValueError(
            f"`run` was trained with {run.config.preset}, which judges the team alone: there is no agent's credit to "
            "audit; the groups `explicit credit` and `value-based` of `seca algos` have one, and so have lica and riit"
        )
    if order is not None or credits:
        if own.under is None:
            field, value = ("order", order.name) if order is not None else ("credits", credits[0].name)
            raise ValueError(
                f"`{field}` is {value} but {run.config.preset} has no order, and no critic that others judge with"
            )
        own = own.under(None, order)
    found = {OWN: own}
    for credit in credits:
        if credit.name in (*found, CRITIC, SIGNAL, TEAM, ZERO):
            raise ValueError(f"`credits` holds '{credit.name}', which is taken: give it another name")
        assert own.under is not None
        found[credit.name] = own.under(credit, order)
    if order is not None and all(claim.kind != "sequential" for claim in found.values()):
        raise ValueError(f"`order` is {order.name} but no credit of {run.config.preset} depends on who is judged first")
    return found


def check_plan(plan: Plan) -> None:
    """Raise ValueError for numbers of steps or forks that mean nothing, and for what is no kind of truth."""
    for field, least in (("steps", 1), ("forks", 2)):
        if getattr(plan, field) < least:
            raise ValueError(f"`{field}` is {getattr(plan, field)}; it must be at least {least}")
    for kind in plan.kinds:
        if kind not in KINDS:
            raise ValueError(f"`kinds` holds '{kind}'; choose among {', '.join(KINDS)}")


def has_luck(env: Env) -> bool:
    """Whether anything is drawn anew when its states are forked."""
    if env.reseed is not keys_replaced:
        return True
    keys = jax.eval_shape(lambda: jax.random.split(numerics.key(0), 2))
    leaves = jax.tree.leaves(jax.eval_shape(env.reset, keys)[0])
    return any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves)


def check_addable(before: Audit, plan: Plan, about: dict[str, Any]) -> None:
    """Raise ValueError unless steps or forks of the plan can be added to what was measured before."""
    then = {"seed": before.plan.seed, "truth": list(before.plan.kinds)} | before.about
    now = {"seed": plan.seed, "truth": list(plan.kinds)} | about
    for field in ("env", "env_version", "policy", "gamma", "order", "claims", "truth", "seed"):
        if then.get(field) != now[field]:
            raise ValueError(
                f"`{_GIVEN_BY.get(field, field)}` is {_words(now[field])} but the audit to add to was made with "
                f"{_words(then.get(field))}"
            )
    for field in ("steps", "forks"):
        was, now = getattr(before.plan, field), getattr(plan, field)
        if now < was:
            raise ValueError(f"`{field}` is {now} but the audit to add to has {was} already")


_GIVEN_BY = {"policy": "checkpoint", "claims": "credits"}
"""What a user chooses that by."""


def _words(value: object) -> str:
    """A list, or the names of a table, as one writes them on the command line."""
    return ", ".join(map(str, value)) if isinstance(value, list | dict) else str(value)


def _check_repeats(before: Audit, round_: Round, start: int) -> None:
    """Raise ValueError unless the steps of a round are those that were drawn before."""
    for field in DRAWN_ARRAYS:
        then = getattr(before, field)[start:][: len(round_.battle)]
        if not np.array_equal(then, getattr(round_, field)[: len(then)]):
            raise ValueError(
                f"`before` has other steps (`{field}` differs) than this machine plays again: nothing can be added"
            )


def _about(run: Audited, claims: dict[str, Claims], order: Order | None) -> dict[str, Any]:
    spec = run.env.spec
    simulator = run.env.simulator
    names = [] if simulator is None else list(simulator.battlefield.unit_names[: spec.n_agents])
    return {
        "preset": run.config.preset,
        "env": spec.id,
        "env_version": spec.version,
        "training_seed": run.config.seed,
        "env_steps": int(run.state.env_steps),
        "gamma": run.config.algorithm.gamma,
        "luck": has_luck(run.env),
        "order": _order_name(claims, order),
        "policy": fingerprint(run.state.learner, run.state.env_steps),
        "unit_names": names,
        "claims": {name: claim.kind for name, claim in claims.items()},
    }


def _order_name(claims: dict[str, Claims], order: Order | None) -> str:
    """Whose order the sequential truth is measured in."""
    if order is not None:
        return order.name
    return "as trained" if any(claim.kind == "sequential" for claim in claims.values()) else "by number"


def _arrays(sums: Sums) -> tuple[np.ndarray, ...]:
    return sums.forks, sums.total, sums.squares, sums.counts
