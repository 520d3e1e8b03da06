"""An audit: drawn steps of a policy's own episodes, what they were worth by forks, and what a method says of them."""

import dataclasses
import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from seca import numerics
from seca.algos.base import Algorithm, Claim, Claims
from seca.credit.base import KINDS, Credit, Kind
from seca.envs.base import Env, keys_replaced
from seca.order.base import Order
from seca.runs.opponent import fingerprint
from seca.train.rollout import collect
from seca.truth.asked import Sums, ask
from seca.truth.forks import Forks, Steps, standing_at
from seca.types import Episodes

EPISODES = 32
"""Episodes played in each round; claims that look at a whole batch, as SeCA's order does, look at these."""
DRAWN = 64
"""Steps drawn from each round, at most."""
BLOCK = 128
"""Forks of each step played before the next block of them."""


@runtime_checkable
class Audited(Protocol):
    """What an audit asks of a run: that of `seca.load`, or anything with these."""

    env: Env
    algorithm: Algorithm
    state: Any
    """With a `learner` and the `env_steps` of its training, as `TrainState`."""
    config: Any
    """With `preset`, `seed` and `algorithm.gamma`, as `RunConfig`."""


Tell = Callable[[float, int], None]
"""`tell(share, env_steps)`: how much is done, and the env steps that forks have played so far."""


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is asked of an audit; all of it decides the numbers."""

    steps: int = 64
    """Steps of the team to draw."""
    forks: int = 256
    """Forks of each step."""
    seed: int = 0
    kinds: tuple[Kind, ...] = ()
    """Truths to measure; those that are claimed come first, named or not."""


@dataclasses.dataclass
class Audit:
    """Truth and claims of some steps. Arrays are `[steps, agents]` or as said; agents in slots."""

    plan: Plan
    about: dict[str, Any]
    """What was audited, by whom and when: JSON."""
    battle: np.ndarray
    """`[steps]`: number of the episode."""
    time: np.ndarray
    """`[steps]`: env steps before it."""
    length: np.ndarray
    """`[steps]`: env steps of its episode."""
    action: np.ndarray
    order: np.ndarray
    """Agent at each position, of the sequential truth."""
    choice: np.ndarray
    """Whether the agent had any: the dead have none."""
    credits: dict[str, np.ndarray]
    """What is claimed, by name, and the floors: what the policy follows where that is more than a credit, the team's
    error as if it were everybody's, and nothing."""
    kind: dict[str, Kind]
    """What each is an estimate of."""
    sums: Sums
    """The forks."""


def audit(
    run: Audited,
    plan: Plan = Plan(),
    credits: Sequence[Credit] = (),
    order: Order | None = None,
    before: Audit | None = None,
    devices: Sequence[jax.Device] = (),
    tell: Tell | None = None,
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

    Raises:
        ValueError: the method tells no agents apart, has no order or credits of one's own, or the numbers of the plan
            are out of range.
    """
    claims = claims_of(run, credits, order)
    check_pure(run.env)
    check_plan(plan)
    needed = [claim.kind for claim in claims.values()]
    plan = dataclasses.replace(plan, kinds=tuple(dict.fromkeys((*needed, *plan.kinds))))
    about = _about(run, claims, order)
    found = _Rounds(run, plan, claims, tuple(devices))
    sums = Sums.nothing(plan.steps, len(plan.kinds), run.env.spec.n_agents, run.env.spec.n_actions)
    if before is not None:
        check_addable(before, plan, about)
        at = len(before.sums.forks)
        for new, old in zip(_arrays(sums), _arrays(before.sums), strict=True):
            new[:at] = old
    rounds, played, ended = [], 0, np.zeros(2, np.int64)
    for number in range(-(-plan.steps // DRAWN)):
        round_ = found.play(number)
        rounds.append(round_)
        done = slice(number * DRAWN, number * DRAWN + len(round_.battle))
        if before is not None:
            _check_repeats(before, round_, done.start)
        for share, env_steps, forks in found.fork(number, round_, sums, done):
            played, ended = played + env_steps, ended + forks
            if tell is not None:
                tell((done.start + share * len(round_.battle)) / plan.steps, played)
    joined = {field: np.concatenate([getattr(r, field) for r in rounds]) for field in _Round.ARRAYS}
    said = {name: np.concatenate([r.credits[name] for r in rounds]) for name in rounds[0].credits}
    said[ZERO] = np.zeros(joined["action"].shape)
    own = claims[OWN].kind
    return Audit(
        plan=plan,
        about=about | {"cut": float(ended[1] / max(ended[0], 1)), "forked_env_steps": played},
        **joined,
        credits=said,
        kind={name: claims[name].kind if name in claims else own for name in said},
        sums=sums,
    )


OWN = "credit"
"""The name of the method's own."""
SIGNAL, TEAM, ZERO = "credit + team", "team alone", "nothing"
"""Floors: with what the policy follows beside its credit, the same for all agents; the critic's TD error as if it were
everybody's credit; and 0."""


def claims_of(run: Audited, credits: Sequence[Credit] = (), order: Order | None = None) -> dict[str, Claims]:
    """What is held against the truth, by name. Raises ValueError where there is nothing, or no other to be had."""
    own = run.algorithm.claims
    if own is None:
        raise ValueError(
            f"`run` was trained with {run.config.preset}, which judges the team alone: there is no agent's credit to "
            "audit; the groups `explicit credit`, `implicit credit` and `value-based` of `seca algos` have one"
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
        if credit.name in (*found, SIGNAL, TEAM, ZERO):
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


def check_pure(env: Env) -> None:
    """Raise ValueError where `reset` or `step` do more than return something: their state is not all there is."""
    reset = jax.make_jaxpr(env.reset, return_shape=True)
    played, (state, _) = reset(jax.eval_shape(lambda: jax.random.split(numerics.key(0), 2)))
    actions = jax.ShapeDtypeStruct((2, env.spec.n_agents), jnp.int32)
    effects = played.effects | jax.make_jaxpr(env.step)(state, actions).effects
    if effects:
        raise ValueError(
            f"`env` is {env.spec.id}, which is no pure function ({', '.join(sorted(map(str, effects)))}): its episodes "
            "cannot be forked"
        )


def has_luck(env: Env) -> bool:
    """Whether anything is drawn anew when its states are forked."""
    if env.reseed is not keys_replaced:
        return True
    keys = jax.eval_shape(lambda: jax.random.split(numerics.key(0), 2))
    leaves = jax.tree.leaves(jax.eval_shape(env.reset, keys)[0])
    return any(jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key) for leaf in leaves)


def check_addable(before: Audit, plan: Plan, about: dict[str, Any]) -> None:
    """Raise ValueError unless steps or forks of the plan can be added to what was measured before."""
    then = {"seed": before.plan.seed, "kinds": list(before.plan.kinds)} | before.about
    now = {"seed": plan.seed, "kinds": list(plan.kinds)} | about
    for field in ("env", "env_version", "policy", "gamma", "order", "claims", "kinds", "seed"):
        if then.get(field) != now[field]:
            raise ValueError(f"`{field}` is {now[field]} but the audit to add to was made with {then.get(field)}")
    for field in ("steps", "forks"):
        was, now = getattr(before.plan, field), getattr(plan, field)
        if now < was:
            raise ValueError(f"`{field}` is {now} but the audit to add to has {was} already")


def _check_repeats(before: Audit, round_: "_Round", start: int) -> None:
    """Raise ValueError unless the steps of a round are those that were drawn before."""
    for field in _Round.ARRAYS:
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


@dataclasses.dataclass(frozen=True)
class _Round:
    """Some drawn steps of some episodes."""

    ARRAYS = ("battle", "time", "length", "action", "order", "choice")

    battle: np.ndarray
    time: np.ndarray
    length: np.ndarray
    action: np.ndarray
    order: np.ndarray
    choice: np.ndarray
    credits: dict[str, np.ndarray]
    standing: Steps


class _Rounds:
    """The programs of an audit, compiled once, and what they are called with."""

    def __init__(self, run: Audited, plan: Plan, claims: dict[str, Claims], devices: tuple[jax.Device, ...]) -> None:
        self._plan, self._state = plan, run.state
        self._params = run.algorithm.policy(run.state.learner)
        env, algorithm = run.env, run.algorithm
        self._collect = jax.jit(functools.partial(collect, env, algorithm))
        self._standing = jax.jit(functools.partial(standing_at, env, algorithm))
        self._claims = {name: jax.jit(claim.fn) for name, claim in claims.items()}
        self._forks = Forks(env, algorithm, run.config.algorithm.gamma, devices=devices)
        self._n_agents, self._n_actions = env.spec.n_agents, env.spec.n_actions

    @numerics.own()
    def play(self, number: int) -> _Round:
        """The steps of one round: of its episodes each step is as likely as any other."""
        play_key, claim_key, _ = _round_keys(self._plan.seed, number)
        keys, now = jax.random.split(play_key, EPISODES), self._state.env_steps
        episodes, _ = self._collect(self._params, keys, now)
        valid = np.asarray(episodes.valid)
        every = np.argwhere(valid)
        wanted = min(DRAWN, self._plan.steps - number * DRAWN)
        drawn = np.random.default_rng([self._plan.seed, number]).permutation(len(every))[:wanted]
        if len(drawn) < wanted:  # Shorter episodes than steps asked for, as one-step games have: again from the first.
            drawn = np.resize(drawn, wanted)
        episode, time = every[drawn].T
        filled = np.resize(np.arange(wanted), DRAWN)  # One shape, one program.
        standing = self._standing(self._params, keys, now, episode[filled], time[filled])
        at = (episode, time)
        self._check_standing(standing, episodes, at)
        credits, order = self._claimed(episodes, claim_key)
        return _Round(
            battle=number * EPISODES + episode,
            time=time,
            length=valid.sum(axis=1)[episode],
            action=np.asarray(episodes.actions)[at].astype(np.int64),
            order=order[at],
            choice=np.asarray(episodes.avail.sum(axis=-1) > 1)[at],
            credits={name: credit[at] for name, credit in credits.items()},
            standing=standing,
        )

    def _claimed(self, episodes: Episodes, key: Array) -> tuple[dict[str, np.ndarray], np.ndarray]:
        """Every claim over the episodes, and the order of the first that has one; else that of the agents' numbers."""
        found: dict[str, np.ndarray] = {}
        floors: dict[str, Array | None] = {}
        order = np.broadcast_to(np.arange(self._n_agents), (*episodes.valid.shape, self._n_agents))
        for name, fn in self._claims.items():
            claim: Claim = fn(self._state.learner, episodes, self._state.env_steps, key)
            found[name] = np.asarray(claim.credit)
            if claim.order is not None:  # All claims have the same: that of the run, or the one that was given.
                order = np.asarray(claim.order)
            if name == OWN:
                floors = {SIGNAL: claim.signal, TEAM: None if claim.team is None else claim.team[..., None]}
        for name, floor in floors.items():
            if floor is not None:
                found[name] = np.broadcast_to(np.asarray(floor), found[OWN].shape)
        return found, order

    def _check_standing(self, standing: Steps, episodes: Episodes, at: tuple[np.ndarray, np.ndarray]) -> None:
        """Raise ValueError where the episodes, played again, are not those that were collected."""
        for name in ("obs", "avail"):
            shown, seen = getattr(standing.time_step, name), getattr(episodes, name)
            if not np.array_equal(np.asarray(shown)[: len(at[0])], np.asarray(seen)[at]):
                raise ValueError(f"`env` does not repeat its episodes on this device (`{name}`): they cannot be forked")

    def fork(
        self, number: int, round_: _Round, sums: Sums, done: slice
    ) -> Iterator[tuple[float, int, Int[np.ndarray, " 2"]]]:
        """Add the forks that are missing to the sums.

        After each part: the share of the round that is done, env steps played, and how many forks ended and were cut.
        """
        steps = np.arange(done.start, done.stop)
        have = sums.forks[done]
        for begin in range(int(have.min()), self._plan.forks, BLOCK):
            numbers = np.arange(begin, min(begin + BLOCK, self._plan.forks))
            which, fork = (x.ravel() for x in np.meshgrid(np.arange(len(steps)), numbers, indexing="ij"))
            missing = fork >= have[which]
            which, fork = which[missing], fork[missing]
            if not len(which):
                continue
            keys = self._fork_keys(number, which, fork)
            told = self._params, self._state.env_steps, round_.standing
            drawn, scores = self._forks.draw(*told, which, keys)
            asked = ask(self._plan.kinds, round_.action[which], drawn, round_.order[which], scores)
            returns, last = np.empty(len(asked.fork), np.float32), 0
            for part, values, counts in self._forks.returns(*told, which[asked.fork], asked.first, keys[asked.fork]):
                returns[part], last = values, part.stop
                share = (begin + len(numbers) * last / len(asked.fork)) / self._plan.forks
                yield share, int(counts[0]), np.array([len(values), counts[1]])
            sums.add(steps[which], asked.differences(returns), drawn)

    @numerics.own()
    def _fork_keys(self, number: int, which: np.ndarray, fork: np.ndarray) -> Key[Array, " forks"]:
        _, _, key = _round_keys(self._plan.seed, number)
        each = jax.vmap(lambda step, number: jax.random.fold_in(jax.random.fold_in(key, step), number))
        return each(jnp.asarray(which), jnp.asarray(fork))


_STREAM = 0xA0D17
"""Keeps the episodes of audits apart from those of training and of evaluations."""


@numerics.own()
def _round_keys(seed: int, number: int) -> tuple[Array, Array, Array]:
    key = jax.random.fold_in(jax.random.fold_in(numerics.key(seed), _STREAM), number)
    play, claim, fork = jax.random.split(key, 3)
    return play, claim, fork
