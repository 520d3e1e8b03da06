"""The rounds of an audit: episodes of the policy, steps drawn from them, what is said of these, and their forks."""

import dataclasses
import functools
from collections.abc import Callable, Iterator
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int, Key

from seca import numerics
from seca.algos.base import Algorithm, Claim, Claims
from seca.credit.base import Kind
from seca.envs.base import Env
from seca.train.forking import credits_of_steps
from seca.train.rollout import collect
from seca.train.standing import Steps, standing_at
from seca.truth.asked import Sums, ask
from seca.truth.forks import Forks
from seca.types import Episodes, PyTree

EPISODES = 32
"""Episodes played in each round; claims that look at a whole batch, as SeCA's order does, look at these."""
DRAWN = 64
"""Steps drawn from each round, at most."""
BLOCK = 128
"""Forks of each step played before the next block of them."""


OWN = "credit"
"""The name of the method's own."""
CRITIC = "its critic's"
"""Beside credits that were tried out, those of the critic, which are followed in all other steps."""
SIGNAL, TEAM, ZERO = "credit + team", "team alone", "nothing"
"""Floors: with what the policy follows beside its credit, the same for all agents (nothing, where credits are tried
out); the critic's TD error as if it were everybody's credit; and 0."""


@runtime_checkable
class Audited(Protocol):
    """What an audit asks of a run: that of `seca.load`, or anything with these."""

    env: Env
    algorithm: Algorithm
    state: Any
    """With a `learner` and the `env_steps` of its training, as `TrainState`."""
    config: Any
    """With `preset`, `seed` and `algorithm.gamma`, as `RunConfig`."""


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


@dataclasses.dataclass(kw_only=True)
class Drawn:
    """Some steps of some episodes. Arrays are `[steps, agents]` or as said; agents in slots."""

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


DRAWN_ARRAYS = tuple(field.name for field in dataclasses.fields(Drawn))
"""Their names."""


@dataclasses.dataclass(kw_only=True)
class Round(Drawn):
    """The steps of one round, what is said of them, and where episodes stand before them."""

    credits: dict[str, np.ndarray]
    standing: Steps


class Rounds:
    """The programs of an audit, compiled once, and what they are called with."""

    def __init__(self, run: Audited, plan: Plan, claims: dict[str, Claims], devices: tuple[jax.Device, ...]) -> None:
        self._plan, self._state = plan, run.state
        self._params = run.algorithm.policy(run.state.learner)
        env, algorithm = run.env, run.algorithm
        self._collect = jax.jit(functools.partial(collect, env, algorithm))
        self._standing = jax.jit(functools.partial(standing_at, env, algorithm))
        self._claims = {name: jax.jit(claim.fn) for name, claim in claims.items()}
        self._forks = Forks(env, algorithm, run.config.algorithm.gamma, devices=devices)
        self._tried = None
        if algorithm.forking is not None:
            self._probs = algorithm.forking.probs
            self._tried = jax.jit(functools.partial(credits_of_steps, env, algorithm, algorithm.forking))
        self._n_agents, self._n_actions = env.spec.n_agents, env.spec.n_actions

    @numerics.own()
    def play(self, number: int) -> Round:
        """The steps of one round: of its episodes each step is as likely as any other."""
        play_key, claim_key, _ = round_keys(self._plan.seed, number)
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
        credits = {name: credit[at] for name, credit in credits.items()}
        if self._tried is not None:
            credits[CRITIC] = credits[OWN]
            credits.pop(SIGNAL, None)  # Where credits are tried out these alone are followed.
            of_steps = self._probs(episodes)[at][filled], episodes.actions[at][filled], order[at][filled]
            seeds = jax.random.split(jax.random.fold_in(claim_key, 1), DRAWN)
            credits[OWN] = np.asarray(self._tried(self._state.learner, standing, *of_steps, seeds, now))[:wanted]
        return Round(
            battle=number * EPISODES + episode,
            time=time,
            length=valid.sum(axis=1)[episode],
            action=np.asarray(episodes.actions)[at].astype(np.int64),
            order=order[at],
            choice=np.asarray(episodes.avail.sum(axis=-1) > 1)[at],
            credits=credits,
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
            shown = np.asarray(getattr(standing.time_step, name))[: len(at[0])]
            if not np.allclose(shown, np.asarray(getattr(episodes, name))[at], atol=1e-4):  # Two programs may round.
                raise ValueError(f"`env` does not repeat its episodes on this device (`{name}`): they cannot be forked")

    def fork(
        self, number: int, round_: Round, sums: Sums, done: slice
    ) -> Iterator[tuple[float, int, Int[np.ndarray, " 2"]]]:
        """Add the forks that are missing to the sums.

        After each part: the share of the round that is done, env steps played, and how many forks ended and were cut.
        """
        played = self._forks, self._params, self._state.env_steps
        asked = self._plan.kinds, self._plan.forks, functools.partial(self._fork_keys, number)
        yield from add_forks(*played, round_, *asked, sums, done)

    def _fork_keys(self, number: int, which: np.ndarray, fork: np.ndarray) -> Key[Array, " forks"]:
        _, _, key = round_keys(self._plan.seed, number)
        return each_fork(key, which, fork)


def add_forks(
    forks: Forks,
    params: PyTree,
    env_steps: Array,
    round_: Round,
    kinds: tuple[Kind, ...],
    wanted: int,
    keys_of: Callable[[np.ndarray, np.ndarray], Key[Array, " forks"]],
    sums: Sums,
    done: slice,
) -> Iterator[tuple[float, int, Int[np.ndarray, " 2"]]]:
    """Play the forks that some steps still want, and add them to the sums.

    After each part: the share that is done, env steps played, and how many forks ended and were cut.

    Args:
        forks: what plays them.
        params: the policy.
        env_steps: env steps of its training, for schedules.
        round_: the steps.
        kinds: truths that are asked for.
        wanted: forks of each step, those included that its sums have.
        keys_of: `keys_of(step, number)`, the luck of forks.
        sums: those of all steps.
        done: where these steps have theirs.
    """
    steps = np.arange(done.start, done.stop)
    have = sums.forks[done]
    for begin in range(int(have.min()), wanted, BLOCK):
        numbers = np.arange(begin, min(begin + BLOCK, wanted))
        which, fork = (x.ravel() for x in np.meshgrid(np.arange(len(steps)), numbers, indexing="ij"))
        missing = fork >= have[which]
        which, fork = which[missing], fork[missing]
        if not len(which):
            continue
        keys = keys_of(which, fork)
        told = params, env_steps, round_.standing
        drawn, scores = forks.draw(*told, which, keys)
        asked = ask(kinds, round_.action[which], drawn, round_.order[which], scores)
        returns, last = np.empty(len(asked.fork), np.float32), 0
        for part, values, counts in forks.returns(*told, which[asked.fork], asked.first, keys[asked.fork]):
            returns[part], last = values, part.stop
            share = (begin + len(numbers) * last / len(asked.fork)) / wanted
            yield share, int(counts[0]), np.array([len(values), counts[1]])
        sums.add(steps[which], asked.differences(returns), drawn)


@numerics.own()
def each_fork(key: Array, step: np.ndarray, fork: np.ndarray) -> Key[Array, " forks"]:
    """A key for each number of a fork of each step."""
    each = jax.vmap(lambda step, number: jax.random.fold_in(jax.random.fold_in(key, step), number))
    return each(jnp.asarray(step), jnp.asarray(fork))


_STREAM = 0xA0D17
"""Keeps the episodes of audits apart from those of training and of evaluations."""


@numerics.own()
def round_keys(seed: int, number: int) -> tuple[Array, Array, Array]:
    """Keys of one round of an audit: to play its episodes, for what is claimed of them, and for its forks."""
    key = jax.random.fold_in(jax.random.fold_in(numerics.key(seed), _STREAM), number)
    play, claim, fork = jax.random.split(key, 3)
    return play, claim, fork
