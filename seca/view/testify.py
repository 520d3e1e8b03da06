"""Play an episode by a run's policy, ask its method what it says of it, and measure what actions were worth."""

import dataclasses
import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from seca import numerics
from seca.algos.base import Claim, Claims
from seca.battles.play import Before, Played, Policy, of_run, picture_of, play, player
from seca.battles.recording import MOST_NUMBER
from seca.credit.base import Kind as CreditKind
from seca.envs.base import Env
from seca.envs.check import check_pure
from seca.runs import folder as folders
from seca.runs.folder import RunFolder
from seca.runs.load import Kind, LoadedRun, kind_name
from seca.train.forking import credits_of_steps
from seca.train.standing import Steps
from seca.truth.asked import Sums
from seca.truth.audit import check_discrete
from seca.truth.forks import Forks
from seca.truth.rounds import Round, add_forks, each_fork
from seca.types import EnvSpec, Episodes
from seca.view.account import Account, Orders, Truth, Viewed

PARTS = 100
"""Of a training, of which the order over training shows the means."""
_STREAM = 0x5EE2
"""Keeps what is drawn for a view apart from audits and evaluations."""

SAYS: dict[CreditKind, str] = {
    "sequential": "what its action added to the critic's value, who was judged before it held to what they did and "
    "everybody after it to their policies (Eq. 5)",
    "counterfactual": "the critic's value of the joint action less its mean over what this agent might have done "
    "(Eq. 3)",
    "independent": "the critic's value of its action less its mean over what it might have done, all others at their "
    "policies (Eq. 4)",
    "shapley": "what its action added to the critic's value, in the mean over orders to judge in",
}
"""What credits are, where the method does not say more."""

Tell = Callable[[float, int], None]
"""`tell(share, env_steps)` of the forks."""


@dataclasses.dataclass(frozen=True)
class Asked:
    """Which episode of a run, how it is played, and how much of its truth is measured."""

    checkpoint: Kind = "latest"
    seed: int = 0
    """Of the episodes, as in `seca evaluate --seed`."""
    battle: int = 0
    """Number of the episode."""
    sampled: bool = False
    """Whether actions are drawn as in training, and not the best ones."""
    truth: int = 0
    """How many steps are forked, those of which the method says most."""
    forks: int = 256
    """Of each of them."""


def view(
    run: LoadedRun,
    name: str,
    asked: Asked,
    orders: Orders | None = None,
    devices: Sequence[jax.Device] = (),
    tell: Tell | None = None,
) -> Viewed:
    """An episode of a run, and what its method says of it.

    Args:
        run: what acts and judges.
        name: of the run.
        asked: which episode, and what of it.
        orders: over its training.
        devices: over which forks are spread.
        tell: told of their progress.

    Raises:
        ValueError: the method says nothing of agents, or the truth cannot be measured in this environment.
    """
    claims = run.algorithm.claims
    if claims is None:
        raise ValueError(f"`run` was trained with {run.config.preset}, which says nothing of its agents")
    check_forkable(run, asked)
    policy = of_run(run, policy_name(run, name, asked), not asked.sampled)
    played = play(player(run.env), policy, asked.seed, asked.battle)
    told = _told(run, claims, played, _closing(policy, played))
    account = Account(
        run=name,
        method=run.config.preset,
        play="sampled" if asked.sampled else "greedy",
        action_names=run.env.action_names,
        orders=orders,
        **told,
    )
    if asked.truth:
        account = _with_truth(run, played, account, asked, devices, tell)
    return Viewed(picture_of(run.env, played), account)


def policy_name(run: LoadedRun, name: str, asked: Asked) -> str:
    """How a recording calls the policy."""
    return f"{name}, {kind_name(asked.checkpoint)} checkpoint at {int(run.state.env_steps):,} env steps"


def check_forkable(run: LoadedRun, asked: Asked) -> None:
    """Raise ValueError unless the truth that is asked for can be measured."""
    if asked.truth:
        check_discrete(run)
        check_pure(run.env)
        if asked.forks < 2:
            raise ValueError(f"`forks` is {asked.forks}; it must be at least 2")


def whole(spec: EnvSpec, played: Played, closing: np.ndarray) -> Episodes:
    """The episode as learners know it: a batch of one, padded to the limit; `closing` is the action of its last row."""
    length, limit = len(played.actions), spec.episode_limit

    def padded(rows: np.ndarray, room: int) -> jax.Array:
        return jnp.asarray(np.concatenate([rows, np.zeros((room - len(rows), *rows.shape[1:]), rows.dtype)])[None])

    steps = played.steps
    actions = np.concatenate([played.actions, closing.astype(played.actions.dtype)])
    return Episodes(
        reward=padded(steps.reward[1:], limit),
        terminated=padded(steps.terminated[1:], limit),
        truncated=padded(steps.truncated[1:], limit),
        valid=padded(np.ones(length, bool), limit),
        obs=padded(steps.obs, limit + 1),
        state=padded(steps.state, limit + 1),
        avail=padded(steps.avail, limit + 1),
        actions=padded(actions if actions.ndim == 3 else actions.astype(np.int32), limit + 1),
    )


@numerics.own()
def _closing(policy: Policy, played: Played) -> np.ndarray:
    """What would be done at the end, which only targets of critics read."""
    end = played.standing[-1]
    return np.asarray(policy.act(end.carry, end.time_step, end.state, jax.random.fold_in(_key(played), 2))[1])


@numerics.own()
def _told(run: LoadedRun, claims: Claims, played: Played, closing: np.ndarray) -> dict[str, Any]:
    """What the method says of an episode: fields of an account."""
    episodes, length = whole(run.env.spec, played, closing), len(played.actions)
    claim_key, try_key = jax.random.split(_key(played))
    learner, env_steps = run.state.learner, run.state.env_steps
    claim: Claim = jax.jit(claims.fn)(learner, episodes, env_steps, claim_key)
    fields = {"error": claim.team} | {name: getattr(claim, name) for name in _SAID}
    told: dict[str, Any] = {name: None if x is None else np.asarray(x)[0, :length] for name, x in fields.items()}
    told = {name: x if x is None else x.astype(np.int16 if name == "order" else np.float32) for name, x in told.items()}
    told |= {"kind": claims.kind or "shared", "says": claims.says or SAYS.get(claims.kind or "sequential", "")}
    told |= {"telescopes": claims.telescopes} | dict.fromkeys(("truth_by", "truth_step", "truth", "truth_error"))
    if run.algorithm.forking is not None:  # Credits are tried out where there are any to be tried.
        forks = run.algorithm.forking.options.forks
        told["credit"] = _tried(run, played, told["policy"], told["order"], try_key)
        told |= {
            "signal": None,
            "telescopes": False,
            "says": f"{SAYS['sequential']}, tried out by {forks} forks of each step",
        }
    for name, array in told.items():
        if isinstance(array, np.ndarray) and not (np.abs(array) <= MOST_NUMBER).all():
            raise ValueError(
                f"`run` is of {run.config.preset}, whose `{name}` is not finite here, or over {MOST_NUMBER:g}"
            )
    return told


_SAID = ("credit", "order", "contribution", "signal", "policy", "value")


def _key(played: Played) -> jax.Array:
    key = jax.random.fold_in(numerics.key(played.about.seed), _STREAM)
    return jax.random.fold_in(key, played.about.battle)


def standing(env: Env, before: Sequence[Before]) -> Steps:
    """Some places of an episode as a batch."""

    def together(axis: int) -> Callable[..., jax.Array]:
        return lambda *rows: jnp.concatenate(rows, axis=axis)

    state = jax.tree.map(together(env.state_batch_axis), *(one.state for one in before))
    shown, carry = jax.tree.map(together(0), *((one.time_step, one.carry) for one in before))
    return Steps(state, shown, carry, jnp.arange(len(before), dtype=jnp.int32))


def _tried(run: LoadedRun, played: Played, policy: np.ndarray, order: np.ndarray, key: jax.Array) -> np.ndarray:
    """The credits of all steps, tried out as in training those of some."""
    algorithm = run.algorithm
    assert algorithm.forking is not None
    steps = standing(run.env, played.standing[:-1])
    keys = jax.random.split(key, len(policy))
    tried = jax.jit(functools.partial(credits_of_steps, run.env, algorithm, algorithm.forking))
    told = run.state.learner, steps, policy, played.actions.astype(np.int32), order.astype(np.int32), keys
    return np.asarray(tried(*told, run.state.env_steps))


def most_said(account: Account, count: int) -> np.ndarray:
    """The steps of which the method says most, in their order: by its largest credit in absolute value.

    Where all agents are told the same, that is the team's error.
    """
    size = np.abs(account.credit).max(axis=1)
    return np.sort(np.argsort(-size, kind="stable")[:count])


def _with_truth(
    run: LoadedRun,
    played: Played,
    account: Account,
    asked: Asked,
    devices: Sequence[jax.Device],
    tell: Tell | None,
) -> Account:
    """The same with what actions of the steps of which most is said were worth."""
    kind: CreditKind = "shapley" if account.kind == "shared" else account.kind
    at = most_said(account, asked.truth)
    taken = played.actions[at].astype(np.int64)
    n_steps, n_agents = taken.shape
    by_number = np.broadcast_to(np.arange(n_agents), taken.shape)
    begun = standing(run.env, [played.standing[step] for step in at])
    drawn = Round(
        battle=np.full(n_steps, played.about.battle),
        time=at,
        length=np.full(n_steps, len(played.actions)),
        action=taken,
        order=by_number if account.order is None else account.order[at].astype(np.int64),
        choice=played.steps.avail[at].sum(axis=-1) > 1,
        credits={},
        standing=Steps(begun.env_state, begun.time_step, begun.carry, jnp.asarray(at, jnp.int32)),
    )
    spec = run.env.spec
    sums = Sums.nothing(n_steps, 1, n_agents, spec.n_actions)
    key = jax.random.fold_in(_key(played), 1)
    params = run.algorithm.policy(run.state.learner), run.state.env_steps
    playing = Forks(run.env, run.algorithm, run.config.algorithm.gamma, devices=tuple(devices))
    env_steps = 0
    for share, more, _ in add_forks(
        playing, *params, drawn, (kind,), asked.forks, functools.partial(each_fork, key), sums, slice(0, n_steps)
    ):
        env_steps += more
        if tell is not None:
            tell(share, env_steps)
    found: dict[str, Any] = {
        "truth_by": Truth(kind, asked.forks, played.about.seed),
        "truth_step": at.astype(np.int16),
        "truth": sums.mean()[:, 0].astype(np.float32),
        "truth_error": sums.error()[:, 0].astype(np.float32),
    }
    return dataclasses.replace(account, **found)


def _finite(numbers: Any) -> bool:
    """Whether a line tells a number of each agent."""
    return isinstance(numbers, list) and all(isinstance(x, int | float) and np.isfinite(x) for x in numbers)


def orders_of(folder: RunFolder) -> Orders | None:
    """Who was judged when over the training of a run, or None where its metrics do not tell."""
    trained = (line for line in folders.read_metrics(folder) if line["kind"] == "train")
    lines = [line for line in trained if _finite(line.get("rank_mean")) and _finite(line.get("contribution_mean", [0]))]
    if not lines:
        return None
    parts = [part for part in np.array_split(np.arange(len(lines)), min(PARTS, len(lines)))]

    def means(name: str) -> list[list[float]] | None:
        if any(name not in line for line in lines):
            return None
        rows = np.array([line[name] for line in lines], np.float64)
        return [[float(f"{number:.4g}") for number in rows[part].mean(axis=0)] for part in parts]

    place = means("rank_mean")
    assert place is not None
    return Orders([int(lines[part[-1]]["env_steps"]) for part in parts], place, means("contribution_mean"))
